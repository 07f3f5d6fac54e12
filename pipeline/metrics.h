/* metrics.h - what scores of minimal changes are worth: outcomes of pairs and choices, shares, intervals, differences of
 * two models, and the numbers of VALSE. */
#ifndef VM_METRICS_H
#define VM_METRICS_H
#include "kernels/base.h"

/* The scores of a pair: s[2 c + i] is how well caption c fits image i; caption i belongs to image i. With
 * sci = s[2 c + i]:
 *   text  = s00 > s10 and s11 > s01   each image prefers its caption
 *   image = s00 > s01 and s11 > s10   each caption prefers its image
 *   group = text and image
 * Strictly greater: a tie is wrong. A NaN or an infinity anywhere makes the pair invalid, and wrong. Beside them:
 *   match = s00 + s11 > s01 + s10     the right matching of the two beats the crossed one (arXiv 2510.07632)
 *   mmvp  = s00 > s01 and s11 >= s10  MMVP's own score: a softmax over the two images for each caption, the first one
 *                                     is chosen above 1/2, so that a tie goes to the second */
typedef enum { PAIR_TEXT, PAIR_IMAGE, PAIR_GROUP, PAIR_METRICS } pair_metric;
extern const char *const pair_metric_name[PAIR_METRICS]; /* "text", "image", "group" */
extern const double pair_chance[PAIR_METRICS];           /* of independent continuous scores: 1/4, 1/4, 1/6 */
typedef struct {
    bool right[PAIR_METRICS], match, mmvp;
    bool invalid, tie; /* a score that is no number; one of the four comparisons between equal numbers */
} pair_outcome;
pair_outcome pair_judge(const float s[4]);

/* A choice among k options, the right one being number gold. t = how many others have its score; it counts as right when
 * no other option scores higher and
 *   TIES_WRONG  t = 0
 *   TIES_HALF   t = 0; else it counts 1 / (1 + t)
 *   TIES_FIRST  always: an arg-max that meets the right option first
 * Its rank is 1 + the number of higher ones + (all, half, none) of t. */
typedef enum { TIES_WRONG, TIES_HALF, TIES_FIRST } tie_rule;
extern const char *const tie_rule_name[3]; /* "wrong", "half", "first" */
typedef struct {
    double credit; /* 0, 1, or between them (TIES_HALF) */
    double rank;   /* from 1; 0 when invalid */
    double margin; /* score of the right option minus the best other one; NaN when invalid */
    bool invalid, tie; /* a score that is no number; another option has the score of the right one */
} choice_outcome;
choice_outcome choice_judge(const float *s, int k, int gold, tie_rule ties);

/* A value and its 95 % interval; NaN where there is nothing to estimate. */
typedef struct {
    double value, low, high;
} estimate;

/* correct of n, with Wilson's score interval (E. B. Wilson, JASA 22, 1927). correct may have a fraction (TIES_HALF). */
estimate share_estimate(double correct, int64_t n);

enum { BOOTSTRAP_RESAMPLES = 2000 };
/* The 95 % interval of a value by the percentiles of n values of resamples, which are sorted; those that are no number are left out. */
estimate percentile_interval(double value, double *draws, int64_t n);
/* Differences of two models on the same items, by the percentile bootstrap: each resample draws whole items with
 * replacement inside every category. a[k][i] and b[k][i] are what item i of category k counts (0 to 1), n[k] of them;
 * b NULL: no second model, plain means of a. each (may be NULL): mean of a - b per category; *mean: the mean over the
 * categories, empty ones left out. Same seed, same result. */
vm_status paired_bootstrap(int categories, const int64_t *n, const float *const *a, const float *const *b,
                           int64_t resamples, uint64_t seed, estimate *each, estimate *mean, vm_error *e);

/* McNemar's exact test (Q. McNemar, Psychometrika 12, 1947): items that only one of two models gets right, so many each.
 * The two-sided probability of a split as uneven as this or more so if each were a fair coin; 1 without such items. */
double mcnemar(int64_t only_a, int64_t only_b);

/* Area under the ROC curve of positives against negatives: the share of pairs (positive, negative) in which the positive
 * is higher, ties half (mid-ranks; Hanley and McNeil 1982, whose standard error gives the interval). Scores that are no
 * numbers are left out; NaN without positives or negatives. VM_EDEVICE: memory. */
vm_status auroc(const float *positive, int64_t n_positive, const float *negative, int64_t n_negative, estimate *out,
                vm_error *e);

/* VALSE (arXiv 2112.07566): a caption and a foil on one image.
 *   acc_r  share with score(caption) > score(foil)
 *   auroc  captions against foils
 * and from probabilities that a text fits, which only a calibrated head has (p NULL: the following are NaN)
 *   p_c    share with p(caption) > 1/2      p_f  share with p(foil) < 1/2
 *   acc    mean of p_c and p_f              min  the smaller one */
typedef struct {
    estimate acc_r, auroc, p_c, p_f, acc, min;
} valse_scores;
/* caption[i], foil[i]: scores of item i; p_caption, p_foil: their probabilities, both NULL when there are none. */
vm_status valse_judge(int64_t n, const float *caption, const float *foil, const float *p_caption, const float *p_foil,
                      valse_scores *out, vm_error *e);
#endif
