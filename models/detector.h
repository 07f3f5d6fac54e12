/* detector.h - boxes for phrases in pictures of any size: a folder of Grounding DINO with its tokenizer and image processor. */
#ifndef VM_DETECTOR_H
#define VM_DETECTOR_H
#include "io/image.h"
#include "models/grounding_dino.h"

typedef struct detector detector;
vm_status detector_open(detector **out, vm_backend *be, vm_type dtype, const char *dir, vm_error *e);
/* Around a model in use elsewhere, which is not owned; dir: its tokenizer and image processor. */
vm_status detector_wrap(detector **out, gdino *m, vm_type dtype, const char *dir, vm_error *e);
void detector_free(detector *d);               /* accepts NULL */
const char *detector_unused(const detector *d); /* warning of the loader, or NULL */

/* What to look for from now on: phrases, lower-cased, each ended by a period; "a cat. a dog" is two. The text side of the network runs
 * here, once for all pictures. */
vm_status detector_ask(detector *d, const char *const *phrases, int64_t n, vm_error *e);
/* How many of the phrases, from the first on, the model reads at once; 0 when the first is too long by itself. */
vm_status detector_fits(detector *d, const char *const *phrases, int64_t n, int64_t *fit, vm_error *e);
int64_t detector_count(const detector *d);
const char *detector_phrase(const detector *d, int64_t k);

typedef struct {
    double threshold;          /* a query counts if its best token is more probable */
    double text_threshold;     /* tokens that are more probable are its words */
    double nms;                /* of two boxes of a phrase with a larger intersection over union the better one stays; 1 = both */
    double min_area, max_area; /* parts of the picture; others are dropped */
    double min_score;          /* a phrase whose best box scores less is not in the picture */
    int64_t most;              /* boxes of a picture, the best ones; 0 = all */
    int64_t batch;             /* pictures of one size in the network at a time; 0 = 1 */
} detector_options;
typedef struct {
    float box[4];              /* x0, y0, x1, y1 in pixels, within the picture */
    float score;               /* probability of its best token */
    int64_t phrase;            /* the one with the most probable token */
    char *words;               /* what of the text is above text_threshold, in its order */
} detector_box;
/* Why a phrase has no box in a picture. */
typedef enum {
    DETECTOR_FOUND,
    DETECTOR_NO_BOX,           /* no query is above the threshold */
    DETECTOR_TOO_LARGE,        /* all that are cover more than max_area */
    DETECTOR_TOO_SMALL,        /* all that are cover less than min_area, or some this and the others that */
    DETECTOR_WEAK              /* the best score lies below min_score: networks find boxes for what is not there */
} detector_status;
extern const char *const detector_status_name[DETECTOR_WEAK + 1]; /* "ok", "no_box", "box_too_large", "box_too_small", "low_score" */
typedef struct {
    detector_status status;
    int64_t boxes;
    float best;                /* the largest score of a query that is of this phrase more than of another, with a box or without */
} detector_answer;
typedef struct {
    detector_box *box;         /* best first */
    int64_t n;
    detector_answer *answer;   /* of each phrase */
} detector_found;

/* Boxes in N pictures; those that the image processor makes equally large go through the network together. All of out[] is set; on an
 * error nothing is in it. detector_found_free. Plans are kept for sizes that come again; pictures that are given again right away, for other phrases, do
 * not go through the picture side a second time. */
vm_status detector_run_many(detector *d, int64_t N, const vm_image *const *rgb, const detector_options *o, detector_found *out, vm_error *e);
void detector_found_free(detector_found *f); /* and zeroes it */
/* Boxes of one picture, best first; detector_boxes_free. */
vm_status detector_run(detector *d, const vm_image *rgb, const detector_options *o, detector_box **found, int64_t *n, vm_error *e);
/* Whether one of n boxes is of b's phrase and overlaps it by more than nms. */
bool detector_covered(const detector_box *better_ones, int64_t n, const detector_box *b, double nms);
void detector_boxes_free(detector_box *found, int64_t n);
#endif
