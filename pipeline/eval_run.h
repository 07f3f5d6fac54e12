/* eval_run.h - a model on a set of items: every score once, in a journal, and what the scores are worth. */
#ifndef VM_EVAL_RUN_H
#define VM_EVAL_RUN_H
#include "pipeline/eval_model.h"
#include "pipeline/eval_set.h"
#include "pipeline/metrics.h"

/* Of one split. used + skipped = records. */
typedef struct {
    int64_t n, n_skipped;      /* scored; not: bad record, picture missing or broken */
    int64_t n_invalid, ties;   /* of the scored: a score is not a number; an undecided comparison */
    int64_t n_degenerate;      /* of the scored: both captions are equal, or both pictures */
    int64_t correct[PAIR_METRICS];
} eval_tally;

typedef struct {
    bool scored;
    float s[4];
    pair_outcome o;
} eval_score;

/* Scores of all items of a set by one model. */
typedef struct {
    char *model;        /* name */
    const eval_set *set;
    eval_set *own_set;  /* freed with the result; NULL = the set belongs to somebody else */
    eval_score *score;  /* one per item */
    eval_tally *tally;  /* one per split */
    int n_splits;
    eval_fault *fault;  /* pictures that could not be read; the set's own faults are in the set */
    int64_t n_faults, cap_faults;
    keymap text;
} eval_result;

typedef struct {
    int64_t batch;               /* items that are worked on together; 0 = 64 */
    const char *journal;         /* samples.jsonl, appended to and read from; NULL = none */
    bool fresh;                  /* start the journal anew */
    bool allow_truncated, exif_rotate, strict;
} eval_options;

/* Scores every item. With a journal, items whose captions and pictures are as they were are taken from it. A journal of
 * another model or other options is VM_EINPUT. After a signal: VM_ESTOP with the journal on disk. *out is set on VM_OK
 * only. */
vm_status eval_run(eval_result **out, const eval_set *set, const eval_model *m, const eval_options *o, vm_error *e);
void eval_result_free(eval_result *r); /* accepts NULL */
void eval_result_tally(eval_result *r); /* fills o and tally from the scores */
eval_result *eval_result_new(const eval_set *set, const char *model, vm_error *e);

/* Shares of one metric: of a split, pooled over all items (split -1). */
estimate eval_share(const eval_result *r, int split, pair_metric metric);

/* Means over splits of one metric of r, minus the same of control (NULL: nothing is taken off) on the items that both
 * have scored. each: one estimate per split of r, or NULL. leave_out: name of a split that does not count in the mean,
 * or NULL. */
vm_status eval_difference(const eval_result *r, const eval_result *control, pair_metric metric, const char *leave_out,
                          uint64_t seed, estimate *each, estimate *mean, vm_error *e);

/* All of it at once, for programs: loads VisMin from data (a folder or file), scores it. limit: items of each category,
 * 0 = all. The result owns its set. */
vm_status eval_vismin_run(eval_result **out, const eval_model *m, const char *data, const media_places *places,
                          int64_t limit, const eval_options *o, vm_error *e);
#endif
