/* report_eval.h - evaluations in a page: tables of several models, differences from a control, pairs to look at. */
#ifndef VM_REPORT_EVAL_H
#define VM_REPORT_EVAL_H
#include "pipeline/eval_result.h"
#include "pipeline/page.h"

/* Which items come first in the gallery: those that the models do not agree on (at most half of each category, then the
 * order of the data), or those that the first model gets most wrong. */
typedef enum { GALLERY_DIFFERING, GALLERY_WORST } gallery_order;

/* Models on the same items, judged by the same rule; the first one's items and splits count. */
typedef struct {
    const eval_result *const *model;
    int n;
    int control;      /* differences are taken from this one; -1 = none */
    int shown;        /* items of each category in the gallery */
    gallery_order order;
    uint64_t seed;    /* of the bootstrap */
} report_eval;

/* The metrics per split and model with 95 % intervals; bars; what chance gives. */
vm_status report_scores(page *p, const report_eval *r, vm_error *e);
/* Every model minus the control on the same pairs, with paired-bootstrap intervals. Nothing without control. */
vm_status report_differences(page *p, const report_eval *r, vm_error *e);
/* Items of each category with their pictures. */
vm_status report_gallery(page *p, const report_eval *r, vm_error *e);
void report_item(page *p, const report_eval *r, const eval_item *x); /* one of model[0]'s set */
/* What r made of item x of the set `of`, or NULL when it was not scored; s (may be NULL): its scores. */
const eval_score *report_score(const eval_result *r, const eval_set *of, const eval_item *x, const float **s);
/* The page of one evaluation: scores and its worst items; DIR/index.html. */
vm_status report_worst(const eval_result *r, const char *dir, int shown, vm_error *e);
/* What the numbers mean: the rules, chance, and why relation is hard. */
void report_meaning(page *p, eval_kind kind);

/* A curve of a training log (JSON Lines with numbers `x` and `y`); *n points, vm_free of *xs and *ys. Lines without are
 * passed over. */
vm_status report_read_curve(const char *path, const char *x, const char *y, double **xs, double **ys, int64_t *n,
                            vm_error *e);
#endif
