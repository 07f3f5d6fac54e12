/* inpaint_stage.h - the stage `vismin inpaint RUN`: from edit instructions to edited pictures. What the files of it share.
 *
 * An edit is one unit. Its box comes from the record, from a detector that looks for the phrase, or its mask from a file; up to `calls` calls of
 * `each` candidates, with steps, guidance and negative prompt drawn for each call; a judge scores them, a good enough one ends the search, the best
 * stays. Pictures stand in RUN/images/IMAGE_ID/EDIT_ID.png before the journal names them, and their texts hold the whole record: a line that is
 * lost is taken from there. All draws depend on the seed, the picture, the edit and the candidate alone.
 *
 * Units end as ok; void: no_box, box_too_large, empty_mask; or in error: bad_image, ground_error, judge_error, oom, not_finite. */
#ifndef VM_INPAINT_STAGE_H
#define VM_INPAINT_STAGE_H
#include "models/detector.h"
#include "pipeline/judge.h"
#include "pipeline/media.h"
#include "pipeline/paint.h"
#include "pipeline/stage.h"

enum { INPAINT_BOXES = 32, INPAINT_MAGIC = 3, INPAINT_CANDIDATES = 64 };
/* An edit instruction. Texts belong to its document. */
typedef struct {
    json_doc *doc;
    const char *id, *image_id, *file, *before, *after, *input, *edited;
    char *magic;           /* "v1, v2, v3"; NULL = none */
    char *about;           /* what the result depends on: the record and magic */
} inpaint_edit;
typedef struct {
    inpaint_edit *e;
    int64_t n, cap;
} inpaint_edits;
/* --edits FILE, else those of RUN/instruct; without those that RUN/vet has rejected; with the phrases of RUN/magic. One for each id. */
vm_status inpaint_edits_read(inpaint_edits *l, const char *run, const vm_args *a, vm_error *e);
void inpaint_edits_free(inpaint_edits *l);

/* Original behaviours, by --parity. */
typedef struct { bool boxes, geometry, composite, prompt, ranking, sampler; } inpaint_parity;

typedef struct {
    const vm_args *a;
    const char *run;
    media_places places;
    inpaint_edits edits;
    paint paint;
    paint_edit how;
    detector *detector;    /* NULL = none */
    char *detector_dir;
    judge *judge;          /* NULL = none */
    inpaint_parity parity;
    stage *stage;
    char tag[65];          /* hash of the configuration */
    int64_t calls, each;   /* candidates of a call */
} inpaint_job;

/* One edit: all of it, into the stage. Only what ends the run is returned: VM_EIO, VM_ESTOP. */
vm_status inpaint_work(inpaint_job *j, const inpaint_edit *x, const stage_unit *u, vm_error *e);
char *inpaint_prompt(const inpaint_edit *x, bool caption_first, vm_error *e); /* vm_free */
const char *inpaint_negative(const vm_args *a); /* --negative, or one that wants photographs of whole things */
char *inpaint_picture(const inpaint_job *j, const inpaint_edit *x, vm_error *e); /* path of the original; vm_free */

/* Where an edit takes place. */
typedef struct {
    vm_image mask;
    float box[4];                   /* around all of it */
    float boxes[4 * INPAINT_BOXES]; /* pixels; n of them; none where the mask comes from a file */
    double score[INPAINT_BOXES];    /* of a detector */
    int n;
    const char *source;             /* "record", "detect", "mask" */
} inpaint_place;
/* code: why there is none, which ends the unit; NULL when all is well. e: what a ground_error says. */
const char *inpaint_ground(inpaint_job *j, const inpaint_edit *x, const vm_image *im, inpaint_place *p, vm_error *e);

vm_status inpaint_run(const vm_args *a, vm_error *e); /* the command with a run directory */
#endif
