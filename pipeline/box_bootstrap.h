/* box_bootstrap.h - how sure average precision is: the percentile bootstrap over pictures.
 *
 * Each resample draws as many pictures as there are, with replacement; one that is drawn k times counts k times with its annotations and
 * boxes. What became of each box does not change, so that only the curves are summed up again (Efron and Tibshirani 1993). */
#ifndef VM_BOX_BOOTSTRAP_H
#define VM_BOX_BOOTSTRAP_H
#include "pipeline/box_score.h"
#include "pipeline/metrics.h"

typedef struct { estimate ap, ap50, ap75; } box_intervals;

/* Intervals around the scores (of box_score with the same pooled). Categories without annotations in a resample are left out of its means.
 * Same seed, same result, whatever the number of threads. */
vm_status box_bootstrap(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, const box_scores *scores, int64_t resamples, uint64_t seed,
                        box_intervals *out, vm_error *e);
#endif
