/* box_counts.h - what a detector is worth when its boxes are used: those above a threshold, without those that a better one of the
 * phrase covers. A phrase that a picture is asked for is a question.
 *
 *   recall, precision   of boxes at half overlap, each box and each annotation once; found boxes within crowds count neither way
 *   pointing            questions with one annotation: the best box, whatever its score, overlaps it by half
 *   absent              questions without annotations that get no box
 *   counting            questions whose number of boxes is right; those with crowds are left out
 *   steady              questions whose number is the same at .25, .30, ..., .45, and how many of these numbers are right */
#ifndef VM_BOX_COUNTS_H
#define VM_BOX_COUNTS_H
#include "pipeline/boxes.h"

typedef struct {
    int64_t truths, hits, boxes;      /* annotations; of them found; boxes that count */
    int64_t alone, pointed;           /* questions with one annotation; right ones */
    int64_t absent, silent;           /* questions without; those without a box */
    int64_t counted, right;           /* questions that are counted; right numbers */
    int64_t present, present_right;   /* the same of those with annotations */
    int64_t off;                      /* sum of |boxes - annotations| of counted ones */
    int64_t steady, steady_right;
} box_counts;

/* threshold: of scores; nms: overlap above which the worse of two boxes of a phrase goes. each: of every category. */
vm_status box_count(const boxes_set *s, const boxes_item *found, int64_t n, double threshold, double nms, box_counts *all, box_counts *each,
                    vm_error *e);
#endif
