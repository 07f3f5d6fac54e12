/* plot.c - see plot.h. */
#include "pipeline/plot.h"

#include <math.h>
#include <string.h>

#include "io/markup.h"

enum { W = 640, PLOT_H = 250, RIGHT = 16, BOTTOM = 46, TICKS = 16, MARKED = 40, THIN = 1200 };

/* Distinguishable with the common kinds of colour blindness; the second of each is for dark ground. */
static const char *const colours[PLOT_SERIES][2] = {
    { "#2563eb", "#7db0ff" }, { "#e07b00", "#ffb454" }, { "#0f8a6c", "#4fd6b0" }, { "#b0379a", "#f08bdc" },
    { "#7a6a00", "#dccb4e" }, { "#6d4fd0", "#b9a5ff" }, { "#c23a3a", "#ff8f8f" }, { "#4b5563", "#b4bcc8" },
};

/* A frame: data range and where it lies in the picture. */
typedef struct {
    vm_out *o;
    vm_error *e;
    double x0, x1, y0, y1;            /* data; logarithms on log axes */
    double left, top, right, bottom;  /* pixels */
    int height;
} frame;

static double px(const frame *f, double x) { return f->left + (x - f->x0) / (f->x1 - f->x0) * (f->right - f->left); }
static double py(const frame *f, double y) { return f->bottom - (y - f->y0) / (f->y1 - f->y0) * (f->bottom - f->top); }

int plot_ticks(double lo, double hi, bool log_axis, int max, double *ticks) {
    static const int steps[] = { 1, 2, 5, 10 };
    int n = 0;
    if (log_axis) {
        int first = (int)floor(log10(lo)), last = (int)ceil(log10(hi)), stride = (last - first) / max + 1;
        bool between = last - first <= max / 4;
        for (int d = first; d <= last; d += stride)
            for (int k = 0; k < (between ? 3 : 1); k++) {
                double t = steps[k] * pow(10, d);
                if (t >= lo * (1 - 1e-9) && t <= hi * (1 + 1e-9) && n < max) ticks[n++] = t;
            }
        return n;
    }
    double decade = pow(10, floor(log10((hi - lo) / max)));
    for (int k = 0; k < VM_LEN(steps) + 1; k++) {
        double step = decade * (k < VM_LEN(steps) ? steps[k] : 20), from = ceil(lo / step - 1e-9),
               to = floor(hi / step + 1e-9);
        if (to - from + 1 > max) continue;
        for (double i = from; i <= to; i++) ticks[n++] = i * step + 0.0; /* no -0 */
        break;
    }
    return n;
}

static void tick_text(char out[32], const double *ticks, int n, int i, bool log_axis) {
    double step = n > 1 ? ticks[1] - ticks[0] : fabs(ticks[0]), size = fmax(fabs(ticks[0]), fabs(ticks[n - 1]));
    int digits = step > 0 ? (int)fmax(0, -floor(log10(step) + 1e-9)) : 0;
    if (log_axis || size >= 1e6 || digits > 5) snprintf(out, 32, "%g", ticks[i]);
    else snprintf(out, 32, "%.*f", digits, ticks[i]);
}

/* Text of class `class` with its anchor: "start", "middle", "end". */
static void put_text(const frame *f, double x, double y, const char *class, const char *anchor, const char *text) {
    vm_out_printf(f->o, f->e, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y, anchor);
    markup_text(f->o, text, f->e);
    vm_out_text(f->o, "</text>\n", f->e);
}

static void put_style(const frame *f) {
    vm_out_text(f->o,
                "<style>.vp{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
                ".vp .ti{font-size:15px;font-weight:600}"
                ".vp text{fill:#1f2328}.vp .so{fill:#606874}.vp .gr{stroke:#e4e7eb}.vp .ax{stroke:#8b949e}"
                ".vp .le{stroke:#606874;stroke-dasharray:5 4}.vp .lv{stroke:#fff;stroke-width:4px;paint-order:stroke}"
                ".vp .er{stroke:#1f2328;stroke-width:1.4}.vp .li{fill:none;stroke-width:2;stroke-linejoin:round}",
                f->e);
    for (int k = 0; k < PLOT_SERIES; k++)
        vm_out_printf(f->o, f->e, ".vp .s%d{stroke:%s}.vp .f%d{fill:%s}", k, colours[k][0], k, colours[k][0]);
    vm_out_text(f->o,
                "@media(prefers-color-scheme:dark){.vp text{fill:#e6e9ee}.vp .so{fill:#9aa4b1}"
                ".vp .gr{stroke:#2c333c}.vp .ax{stroke:#6e7781}"
                ".vp .le{stroke:#9aa4b1}.vp .lv{stroke:#171b21}.vp .er{stroke:#e6e9ee}",
                f->e);
    for (int k = 0; k < PLOT_SERIES; k++)
        vm_out_printf(f->o, f->e, ".vp .s%d{stroke:%s}.vp .f%d{fill:%s}", k, colours[k][1], k, colours[k][1]);
    vm_out_text(f->o, "}</style>\n", f->e);
}

vm_status plot_write_colours(vm_out *o, vm_error *e) {
    for (int k = 0; k < PLOT_SERIES; k++) vm_out_printf(o, e, ".d%d{background:%s}", k, colours[k][0]);
    vm_out_text(o, "\n@media(prefers-color-scheme:dark){", e);
    for (int k = 0; k < PLOT_SERIES; k++) vm_out_printf(o, e, ".d%d{background:%s}", k, colours[k][1]);
    return vm_out_text(o, "}\n", e);
}

/* An estimate: no font is known here. */
static double text_width(const char *s) {
    double n = 0;
    for (; *s; s++) n += ((uint8_t)*s & 0xc0) != 0x80;
    return 7.0 * n;
}

typedef const char *(*name_of)(const void *of, int k);

/* Opens the element: title, legend (when there is more than one name), and room for axes below. */
static void begin(frame *f, const char *title, int n, name_of name, const void *of) {
    double x = 14, y = title ? 48 : 22;
    int rows = n > 1;
    for (int k = 0; k < n && n > 1; k++) {
        double w = text_width(name(of, k)) + 36;
        if (x + w > W && x > 14) x = 14, rows++;
        x += w;
    }
    f->top = (title ? 40 : 18) + 21 * rows, f->bottom = f->top + PLOT_H, f->right = W - RIGHT,
    f->height = (int)f->bottom + BOTTOM;
    vm_out_printf(
        f->o, f->e,
        "<svg class=\"vp\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", W,
        f->height);
    markup_text(f->o, title ? title : "plot", f->e);
    vm_out_text(f->o, "\">\n", f->e);
    put_style(f);
    if (title) put_text(f, 14, 22, "ti", "start", title);
    x = 14;
    for (int k = 0; k < n && n > 1; k++) {
        double w = text_width(name(of, k)) + 36;
        if (x + w > W && x > 14) x = 14, y += 21;
        vm_out_printf(f->o, f->e, "<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"10\" rx=\"2\"/>",
                      k % PLOT_SERIES, x, y - 9);
        put_text(f, x + 20, y, "ln", "start", name(of, k));
        x += w;
    }
}

static void put_y_axis(frame *f, const char *label, bool log_axis) {
    double t[TICKS], widest = 0;
    char text[32];
    int n = plot_ticks(log_axis ? pow(10, f->y0) : f->y0, log_axis ? pow(10, f->y1) : f->y1, log_axis, 7, t);
    for (int k = 0; k < n; k++) tick_text(text, t, n, k, log_axis), widest = fmax(widest, text_width(text));
    f->left = widest + (label ? 36 : 18);
    for (int k = 0; k < n; k++) {
        double y = py(f, log_axis ? log10(t[k]) : t[k]);
        vm_out_printf(f->o, f->e, "<line class=\"gr\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", f->left,
                      f->right, y, y);
        tick_text(text, t, n, k, log_axis);
        put_text(f, f->left - 7, y + 4, "so", "end", text);
    }
    if (!label) return;
    double middle = (f->top + f->bottom) / 2;
    vm_out_printf(f->o, f->e, "<text class=\"so\" text-anchor=\"middle\" transform=\"translate(16 %.1f) rotate(-90)\">",
                  middle);
    markup_text(f->o, label, f->e);
    vm_out_text(f->o, "</text>\n", f->e);
}

static void put_x_line(const frame *f, double y) {
    vm_out_printf(f->o, f->e, "<line class=\"ax\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", f->left,
                  f->right, y, y);
}

static void put_level(const frame *f, const char *name, double y) {
    if (!name || !(y >= f->y0 && y <= f->y1)) return;
    vm_out_printf(f->o, f->e, "<line class=\"le\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", f->left, f->right,
                  py(f, y), py(f, y));
    put_text(f, f->right - 4, py(f, y) - 5, "so lv", "end", name);
}

/* Widens [lo, hi] when it is empty or no range at all; a margin of 5 % else. */
static void settle_range(double *lo, double *hi) {
    if (!(*lo <= *hi)) *lo = 0, *hi = 1;
    double margin = *hi > *lo ? 0.05 * (*hi - *lo) : fabs(*lo) > 0 ? 0.1 * fabs(*lo) : 1;
    *lo -= margin, *hi += margin;
}

/* --- curves ------------------------------------------------------------------------------------------------------- */
static bool point(const plot_curves *p, const plot_series *s, int64_t i, double *x, double *y) {
    *x = p->log_x ? (s->x[i] > 0 ? log10(s->x[i]) : NAN) : s->x[i];
    *y = p->log_y ? (s->y[i] > 0 ? log10(s->y[i]) : NAN) : s->y[i];
    return isfinite(*x) && isfinite(*y);
}

static void find_ranges(frame *f, const plot_curves *p) {
    double x, y;
    f->x0 = f->y0 = INFINITY, f->x1 = f->y1 = -INFINITY;
    for (int k = 0; k < p->n; k++)
        for (int64_t i = 0; i < p->series[k].n; i++)
            if (point(p, &p->series[k], i, &x, &y)) {
                f->x0 = fmin(f->x0, x), f->x1 = fmax(f->x1, x), f->y0 = fmin(f->y0, y), f->y1 = fmax(f->y1, y);
            }
    settle_range(&f->y0, &f->y1);
    if (!(f->x0 < f->x1)) settle_range(&f->x0, &f->x1);
    if (p->y_min < p->y_max)
        f->y0 = p->log_y ? log10(p->y_min) : p->y_min, f->y1 = p->log_y ? log10(p->y_max) : p->y_max;
}

static void put_curve(const frame *f, const plot_curves *p, int k) {
    const plot_series *s = &p->series[k];
    int64_t step = s->n > THIN ? (s->n + THIN / 2 - 1) / (THIN / 2) : 1;
    bool open = false;
    double x, y;
    vm_out_printf(f->o, f->e, "<path class=\"li s%d\" d=\"", k % PLOT_SERIES);
    for (int64_t from = 0; from < s->n; from += step) {
        int64_t at[2] = { from, from }; /* where the lowest and the highest point are */
        int64_t end = VM_MIN(from + step, s->n);
        double low = INFINITY, high = -INFINITY;
        for (int64_t i = from; i < end; i++)
            if (point(p, s, i, &x, &y)) {
                if (y < low) low = y, at[0] = i;
                if (y > high) high = y, at[1] = i;
            }
        if (at[0] > at[1]) at[0] ^= at[1], at[1] ^= at[0], at[0] ^= at[1];
        for (int j = 0; j < (at[0] == at[1] ? 1 : 2); j++) {
            bool there = point(p, s, at[j], &x, &y);
            if (there)
                vm_out_printf(f->o, f->e, "%c%.1f %.1f", open ? 'L' : 'M', px(f, x),
                              fmin(fmax(py(f, y), f->top - 1), f->bottom + 1));
            open = there;
        }
    }
    vm_out_text(f->o, "\"/>\n", f->e);
    for (int64_t i = 0; i < s->n && s->n <= MARKED; i++)
        if (point(p, s, i, &x, &y)) {
            vm_out_printf(f->o, f->e, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"><title>",
                          k % PLOT_SERIES, px(f, x), py(f, y));
            markup_text(f->o, s->name, f->e);
            vm_out_printf(f->o, f->e, ": %.6g at %.6g</title></circle>\n", s->y[i], s->x[i]);
        }
}

static const char *curve_name(const void *p, int k) { return ((const plot_curves *)p)->series[k].name; }

vm_status plot_write_curves(vm_out *o, const plot_curves *p, vm_error *e) {
    frame f = { .o = o, .e = e };
    double t[TICKS];
    char text[32];
    find_ranges(&f, p);
    begin(&f, p->title, p->n, curve_name, p);
    put_y_axis(&f, p->y_label, p->log_y);
    int n = plot_ticks(p->log_x ? pow(10, f.x0) : f.x0, p->log_x ? pow(10, f.x1) : f.x1, p->log_x, 8, t);
    for (int k = 0; k < n; k++) {
        tick_text(text, t, n, k, p->log_x);
        put_text(&f, px(&f, p->log_x ? log10(t[k]) : t[k]), f.bottom + 18, "so", "middle", text);
    }
    if (p->x_label) put_text(&f, (f.left + f.right) / 2, f.bottom + 37, "so", "middle", p->x_label);
    put_x_line(&f, f.bottom);
    put_level(&f, p->level_name, p->log_y ? log10(p->level) : p->level);
    for (int k = 0; k < p->n; k++) put_curve(&f, p, k);
    return vm_out_text(o, "</svg>\n", e);
}

/* --- bars --------------------------------------------------------------------------------------------------------- */
static const char *bar_name(const void *p, int k) { return ((const plot_bars *)p)->series[k]; }

static void put_bar(const frame *f, const plot_bars *p, int g, int s, double x, double width) {
    int i = g * p->n_series + s;
    double v = p->value[i], from = py(f, 0), to = py(f, v);
    if (!isfinite(v)) return;
    vm_out_printf(f->o, f->e, "<g><title>");
    markup_text(f->o, p->series[s], f->e);
    vm_out_text(f->o, ", ", f->e);
    markup_text(f->o, p->group[g], f->e);
    vm_out_printf(f->o, f->e, ": %.4g", v);
    bool range = p->low && p->high && isfinite(p->low[i]) && isfinite(p->high[i]);
    if (range) vm_out_printf(f->o, f->e, " [%.4g, %.4g]", p->low[i], p->high[i]);
    vm_out_printf(f->o, f->e,
                  "</title><rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\"/>",
                  s % PLOT_SERIES, x, fmin(from, to), width, fabs(from - to));
    if (range) {
        double m = x + width / 2, c = fmin(4, width / 4), a = py(f, p->low[i]), b = py(f, p->high[i]);
        vm_out_printf(f->o, f->e,
                      "<path class=\"er\" fill=\"none\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh%.1fM%.1f %.1fh%.1f\"/>", m, a, b,
                      m - c, a, 2 * c, m - c, b, 2 * c);
    }
    vm_out_text(f->o, "</g>\n", f->e);
}

vm_status plot_write_bars(vm_out *o, const plot_bars *p, vm_error *e) {
    frame f = { .o = o, .e = e, .x0 = 0, .x1 = p->n_groups };
    for (int i = 0; i < p->n_groups * p->n_series; i++) {
        const double v[3] = { p->value[i], p->low ? p->low[i] : NAN, p->high ? p->high[i] : NAN };
        for (int k = 0; k < 3; k++)
            if (isfinite(v[k])) f.y0 = fmin(f.y0, v[k]), f.y1 = fmax(f.y1, v[k]);
    }
    f.y1 = f.y1 > f.y0 ? f.y1 + 0.05 * (f.y1 - f.y0) : 1, f.y0 = f.y0 < 0 ? f.y0 - 0.05 * (f.y1 - f.y0) : 0;
    if (p->y_min < p->y_max) f.y0 = fmin(p->y_min, 0), f.y1 = fmax(p->y_max, 0);
    begin(&f, p->title, p->n_series, bar_name, p);
    put_y_axis(&f, p->y_label, false);
    for (int g = 0; g < p->n_groups; g++) {
        double slot = (f.right - f.left) / p->n_groups, from = f.left + slot * (g + 0.12),
               width = slot * 0.76 / VM_MAX(p->n_series, 1);
        for (int s = 0; s < p->n_series; s++)
            put_bar(&f, p, g, s, from + s * width + width * 0.06, fmin(width * 0.88, 60));
        put_text(&f, f.left + slot * (g + 0.5), f.bottom + 20, "ln", "middle", p->group[g]);
    }
    put_x_line(&f, py(&f, 0));
    put_level(&f, p->level_name, p->level);
    return vm_out_text(o, "</svg>\n", e);
}
