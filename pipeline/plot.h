/* plot.h - curves and bars as SVG: static, no scripts, readable on light and dark ground, in a page or as a file. */
#ifndef VM_PLOT_H
#define VM_PLOT_H
#include "io/file.h"

enum { PLOT_SERIES = 8 }; /* colours; further series repeat them */

typedef struct {
    const char *name;
    const double *x, *y; /* n of each; points that are not finite are left out and break the line */
    int64_t n;
} plot_series;

typedef struct {
    const char *title, *x_label, *y_label; /* each may be NULL */
    const plot_series *series;
    int n;
    bool log_x, log_y;      /* points <= 0 are left out then */
    double y_min, y_max;    /* both 0: from the data */
    const char *level_name; /* a dashed line across at y = level; NULL = none */
    double level;
} plot_curves;
/* Writes one <svg> element. Long series are thinned to the extremes of each pixel column. */
vm_status plot_write_curves(vm_out *o, const plot_curves *p, vm_error *e);

typedef struct {
    const char *title, *y_label;
    const char *const *group; /* along the x axis */
    int n_groups;
    const char *const *series; /* bars of each group */
    int n_series;
    const double *value;      /* [group][series]; NaN = no bar */
    const double *low, *high; /* the same for error bars; NULL = none */
    double y_min, y_max;      /* both 0: from the data; 0 is always in view */
    const char *level_name;
    double level;
} plot_bars;
vm_status plot_write_bars(vm_out *o, const plot_bars *p, vm_error *e);

/* Style rules .d0 {background} ... with the colours of the series, for legends outside of plots. */
vm_status plot_write_colours(vm_out *o, vm_error *e);

/* Ticks for an axis from lo to hi, lo < hi: at most max (<= 16), at 1, 2 or 5 times a power of ten; on a log axis at
 * powers of ten, with 2 and 5 between them when these are few. Returns how many. */
int plot_ticks(double lo, double hi, bool log_axis, int max, double *ticks);
#endif
