/* train_lm.h - the training of a language model as a function. */
#ifndef VM_TRAIN_LM_H
#define VM_TRAIN_LM_H
#include "pipeline/lm_feed.h"
#include "pipeline/train_loop.h"

typedef struct {
    train_options run;
    llm_train_config train;
    int64_t batch, pieces;  /* texts of a step, in pieces of batch / pieces each */
    bool in_order, packs;   /* packs: texts one behind the other in rows (lm_feed.h) */
    bool dry_run;           /* says what memory it takes, and ends */
    uint64_t seed;
} train_lm_options;

/* Trains m in place, as train_loop_run says. val NULL: no validation. */
vm_status train_lm_run(llm *m, const lm_data *data, const lm_data *val, const train_lm_options *o, vm_error *e);

#endif
