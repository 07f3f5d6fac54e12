/* box_score.h - how good found boxes are: COCO's twelve numbers.
 *
 * Boxes of a phrase in a picture, best first and at most 100, each take the free annotation that they overlap most, if by
 * at least t (t = .50, .55, ..., .95). What is taken is right, the rest is wrong; annotations of another size than the one asked
 * for and crowds are taken last and then count neither way, as do free boxes of another size. Over all pictures, best first,
 * that gives recall r and precision p; the average precision is the mean over r = 0, .01, ..., 1 of the largest p at a recall of at
 * least r (Lin et al. 2014, pycocotools). Sizes by area: small below 32^2, large above 96^2. */
#ifndef VM_BOX_SCORE_H
#define VM_BOX_SCORE_H
#include "pipeline/boxes.h"

enum { BOX_OVERLAPS = 10, BOX_RECALLS = 101, BOX_MOST = 100 };
typedef enum { BOX_ALL, BOX_SMALL, BOX_MEDIUM, BOX_LARGE, BOX_SIZES } box_size;
extern const int box_cuts[3]; /* 1, 10, 100 boxes of a phrase in a picture */

typedef struct {              /* NaN: no annotations to find */
    double ap[BOX_SIZES], ap50, ap75; /* means over phrases and overlaps; ap50, ap75: at that overlap */
    double ar[3];             /* recall with the best 1, 10, 100 boxes of each phrase and picture */
    double ar_size[BOX_SIZES]; /* with 100 */
} box_scores;

/* pooled: every phrase of a picture is asked by itself, and all of them are one list. each (may be NULL, not with pooled): of
 * every category. Results for phrases that a picture is not asked for are left out. */
vm_status box_score(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, box_scores *all, box_scores *each, vm_error *e);

/* What the average precision of boxes of any size is computed from, for other sums over it (box_bootstrap.h): lists (one for each category, or
 * pooled one), each of found boxes, best first, and of annotations that were to be found. A bit for each overlap. */
typedef struct {
    int64_t image;
    uint16_t right, ignored;
} box_verdict;
typedef struct {
    int64_t lists, *first, *first_truth; /* (lists + 1) */
    box_verdict *v;
    int64_t *truth;                      /* pictures */
    int64_t cap_v, cap_truth;
} box_verdicts;
vm_status box_judge(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, box_verdicts *out, vm_error *e);
void box_verdicts_free(box_verdicts *v);
/* The mean over BOX_RECALLS recalls of the largest precision at a recall of at least that, of a curve (r, p)[n] whose recalls rise. p becomes
 * the largest precision from each place on. */
double box_mean_precision(const double *r, double *p, int64_t n);
#endif
