/* judge.h - how well an edited picture shows what the edit asked for: one interface, whoever judges.
 *
 *   clip   the margin of a contrastive model: cos(picture, caption after the edit) - cos(picture, caption before), on the whole picture and on a
 *          crop around what was edited
 *   none   nothing is judged: the first candidate stays
 *
 * A further judge fills a judge_kind and joins the table in judge.c. */
#ifndef VM_JUDGE_H
#define VM_JUDGE_H
#include "io/image.h"
#include "pipeline/run.h"

typedef struct judge judge;
typedef enum { JUDGE_FULL = 1, JUDGE_CROP = 2, JUDGE_BOTH = 3 } judge_where;
typedef struct {
    const char *before, *after; /* captions */
    const float *box;           /* x0, y0, x1, y1 in pixels: around all that was edited */
    judge_where where;
} judge_task;
typedef struct {
    double score, full, crop;   /* score: the mean of what was asked for; what was not is NaN */
    int questions;              /* that it rests on */
} judge_score;

typedef struct {
    const char *name;
    double accept;              /* a score that is good enough when --accept is not given */
    vm_status (*open)(judge *j, const vm_args *a, vm_error *e);
    vm_status (*score)(judge *j, const judge_task *t, int64_t n, const vm_image *candidates, judge_score *out, vm_error *e);
    void (*close)(judge *j);
    const char *(*model)(const judge *j); /* the folder; NULL = none */
} judge_kind;
struct judge {
    const judge_kind *kind;
    double accept;
    judge_where where;
    void *own;
};

/* --judge, --judge-on, --accept; *out NULL for "none". */
vm_status judge_open(judge **out, const vm_args *a, vm_error *e);
void judge_close(judge *j); /* accepts NULL */
/* Ten per cent around the box, at least 64 pixels a side, within w x h. */
void judge_crop(const float box[4], int w, int h, int crop[4]);
extern const judge_kind judge_clip;

#define JUDGE_OPTS                                                                                                                     \
    { "judge", OPT_STR, "clip", "NAME", "who ranks the candidates: clip, none", 0, 0 },                                                \
        { "judge-model", OPT_STR, NULL, "DIR", "the judge's model", 0, 0 },                                                           \
        { "judge-on", OPT_STR, "both", "WHAT", "full: the whole picture, crop: around what was edited, both", 0, 0 },                  \
        { "accept", OPT_FLOAT, NULL, "S", "a score that ends the search (clip: 0.05)", 0, 0 }
#endif
