/* eval_run.h - a model on a set of items: every score once, in a journal. */
#ifndef VM_EVAL_RUN_H
#define VM_EVAL_RUN_H
#include "io/image.h"
#include "pipeline/embed_cache.h"
#include "pipeline/eval_model.h"
#include "pipeline/eval_result.h"

typedef struct {
    int64_t batch;           /* items that are worked on together; 0 = 64 */
    const char *journal;     /* samples.jsonl, appended to and read from; NULL = none */
    bool fresh;              /* start the journal anew */
    const char *metric;      /* name of an eval_rule; NULL = the usual one */
    tie_rule ties;
    const char *template;    /* captions are put in place of "{}"; NULL = that of the rule */
    float temperature;       /* see eval_result */
    bool allow_truncated, exif_rotate;
    image_alpha alpha;
    int64_t max_pixels;      /* 0 = as io/image.h */
    embed_cache *cache;      /* of this model's vectors; NULL = none */
} eval_options;

/* Scores every item. With a journal, items whose captions and pictures are as they were are taken from it. A journal of
 * another model or other options is VM_EINPUT. After a signal: VM_ESTOP with the journal on disk. *out is set on VM_OK
 * only. */
vm_status eval_run(eval_result **out, const eval_set *set, const eval_model *m, const eval_options *o, vm_error *e);

/* All of it at once, for programs: loads the data set of that name from a folder or file and scores it. limit: as in
 * eval_set. The result owns its set. */
vm_status eval_data(eval_result **out, const eval_model *m, const char *dataset, const char *data, double limit,
                    const eval_options *o, vm_error *e);
#endif
