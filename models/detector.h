/* detector.h - boxes for phrases in pictures of any size: a folder of Grounding DINO with its tokenizer and image processor. */
#ifndef VM_DETECTOR_H
#define VM_DETECTOR_H
#include "io/image.h"
#include "kernels/graph.h"

typedef struct detector detector;
vm_status detector_open(detector **out, vm_backend *be, vm_type dtype, const char *dir, vm_error *e);
void detector_free(detector *d);               /* accepts NULL */
const char *detector_unused(const detector *d); /* warning of the loader, or NULL */

/* What to look for from now on: phrases, lower-cased, each ended by a period; "a cat. a dog" is two. */
vm_status detector_ask(detector *d, const char *const *phrases, int64_t n, vm_error *e);
int64_t detector_count(const detector *d);
const char *detector_phrase(const detector *d, int64_t k);

typedef struct {
    double threshold;          /* a query counts if its best token is more probable */
    double text_threshold;     /* tokens that are more probable are its words */
    double nms;                /* of two boxes of a phrase with a larger intersection over union the better one stays; 1 = both */
    double min_area, max_area; /* parts of the picture; others are dropped */
    int64_t most;              /* boxes of a picture, the best ones; 0 = all */
} detector_options;
typedef struct {
    float box[4];              /* x0, y0, x1, y1 in pixels, within the picture */
    float score;               /* probability of its best token */
    int64_t phrase;            /* the one with the most probable token */
    char *words;               /* what of the text is above text_threshold, in its order */
} detector_box;
/* Boxes of one picture, best first; detector_boxes_free. The plan is kept for pictures of the same size. */
vm_status detector_run(detector *d, const vm_image *rgb, const detector_options *o, detector_box **found, int64_t *n, vm_error *e);
/* Whether one of n boxes is of b's phrase and overlaps it by more than nms. */
bool detector_covered(const detector_box *better_ones, int64_t n, const detector_box *b, double nms);
void detector_boxes_free(detector_box *found, int64_t n);
#endif
