/* report_eval.h - evaluations in a page: tables of several models, differences from a control, pairs to look at. */
#ifndef VM_REPORT_EVAL_H
#define VM_REPORT_EVAL_H
#include "pipeline/eval_result.h"
#include "pipeline/page.h"

/* Models on the same items, judged by the same rule; the first one's items and splits count. */
typedef struct {
    const eval_result *const *model;
    int n;
    int control;      /* differences are taken from this one; -1 = none */
    int pairs;        /* of each category in the gallery */
    uint64_t seed;    /* of the bootstrap */
} report_eval;

/* The metrics per split and model with 95 % intervals; bars; what chance gives. */
vm_status report_scores(page *p, const report_eval *r, vm_error *e);
/* Every model minus the control on the same pairs, with paired-bootstrap intervals. Nothing without control. */
vm_status report_differences(page *p, const report_eval *r, vm_error *e);
/* Pairs of each category: first those on which the models do not agree, at most half of all, then the others in the
 * order of the data. */
vm_status report_gallery(page *p, const report_eval *r, vm_error *e);
/* What the numbers mean: the rules, chance, and why relation is hard. */
void report_meaning(page *p);

/* A curve of a training log (JSON Lines with numbers `x` and `y`); *n points, vm_free of *xs and *ys. Lines without are
 * passed over. */
vm_status report_read_curve(const char *path, const char *x, const char *y, double **xs, double **ys, int64_t *n,
                            vm_error *e);
#endif
