/* train_clip.h - the training loop as a function, for the command and the demo. */
#ifndef VM_TRAIN_CLIP_H
#define VM_TRAIN_CLIP_H
#include "pipeline/clip_data.h"

typedef struct {
    const char *out, *command; /* run directory; what made it (resume refuses another) */
    clip_train_config train;
    double lr;
    int64_t steps, warmup, log_every, save_every, first_step;
    int keep_last;
    bool resume, recompute, theta_reset; /* theta_reset: adaptive margins begin anew in every epoch */
    uint64_t seed;
} train_clip_options;

/* Trains m in place; writes OUT/log.jsonl and OUT/checkpoints. VM_ESTOP after a signal, with a checkpoint. */
vm_status train_clip_run(towers *m, clip_source *source, tok *t, const vm_preprocess *pp, const train_clip_options *o, vm_error *e);

/* The options of the command and what they say; VM_EUSAGE names the option. (train_options.c) */
extern const vm_opt train_clip_opts[];
vm_status train_clip_read(train_clip_options *o, const vm_args *a, vm_error *e);

#endif
