/* metrics.h - what scores of minimal pairs are worth: outcomes, shares, intervals, differences of two models. */
#ifndef VM_METRICS_H
#define VM_METRICS_H
#include "kernels/base.h"

/* The scores of a pair: s[2 c + i] is how well caption c fits image i; caption i belongs to image i. With
 * sci = s[2 c + i]:
 *   text  = s00 > s10 and s11 > s01   each image prefers its caption
 *   image = s00 > s01 and s11 > s10   each caption prefers its image
 *   group = text and image
 * Strictly greater: a tie is wrong. A NaN anywhere makes the pair invalid, and wrong. */
typedef enum { PAIR_TEXT, PAIR_IMAGE, PAIR_GROUP, PAIR_METRICS } pair_metric;
extern const char *const pair_metric_name[PAIR_METRICS]; /* "text", "image", "group" */
extern const double pair_chance[PAIR_METRICS];           /* of independent continuous scores: 1/4, 1/4, 1/6 */
typedef struct {
    bool right[PAIR_METRICS];
    bool invalid, tie; /* a NaN; one of the four comparisons between equal numbers */
} pair_outcome;
pair_outcome pair_judge(const float s[4]);

/* A value and its 95 % interval; NaN where there is nothing to estimate. */
typedef struct {
    double value, low, high;
} estimate;

/* correct of n, with Wilson's score interval (E. B. Wilson, JASA 22, 1927). */
estimate share_estimate(int64_t correct, int64_t n);

enum { BOOTSTRAP_RESAMPLES = 2000 };
/* Differences of two models on the same items, by the percentile bootstrap: each resample draws whole items with
 * replacement inside every category. a[k][i] and b[k][i] are outcomes (0 or 1) of item i of category k, n[k] of them;
 * b NULL: no second model, plain shares of a. each (may be NULL): mean of a - b per category; *mean: the mean over the
 * categories, empty ones left out. Same seed, same result. */
vm_status paired_bootstrap(int categories, const int64_t *n, const uint8_t *const *a, const uint8_t *const *b,
                           int64_t resamples, uint64_t seed, estimate *each, estimate *mean, vm_error *e);
#endif
