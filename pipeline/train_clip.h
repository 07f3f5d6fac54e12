/* train_clip.h - the training loop as a function, for the command and the demo. */
#ifndef VM_TRAIN_CLIP_H
#define VM_TRAIN_CLIP_H
#include "models/lora.h"
#include "models/tower_groups.h"
#include "pipeline/clip_feed.h"
#include "pipeline/command.h"
#include "pipeline/train_val.h"

typedef struct {
    const char *out, *command; /* run directory; what made it (resume refuses another) */
    clip_train_config train;
    clip_schedule schedule;      /* its total is steps */
    tower_groups groups;
    lora_options lora;           /* r 0 = no adapter */
    const char *adapter;         /* PEFT directory to go on from, or NULL */
    const vm_args *args;         /* recorded in checkpoints; NULL = nothing is */
    int64_t steps, log_every, save_every, first_step;
    int keep_last, workers;      /* checkpoints; data threads */
    double max_bad;              /* share of the samples that may be unreadable */
    vm_comm *comm;               /* processes that share the batches; only rank 0 writes; NULL = one process */
    bool dry_run;                /* says what memory it takes, and ends */
    bool resume, recompute, theta_reset; /* theta_reset: adaptive margins begin anew in every epoch */
    bool resume_forced;          /* go on although options or data are others */
    bool wait_for_room;          /* on a full disk; else training goes on without the checkpoint */
    double skip_z;               /* spikes are skipped (train_guard.h); 0 = off */
    int64_t val_every;           /* steps between validations; 0 = at the end only */
    bool keep_best;              /* the checkpoint of the best validation stays */
    val_best best_by;
    uint64_t seed;
} train_clip_options;

/* Trains m in place; writes OUT/checkpoints, and what train_log.h says. val NULL: no validation. VM_ESTOP after a signal, with a
 * checkpoint; VM_EMODEL when there are no finite numbers to be had; VM_EIO when the last checkpoint cannot be written. */
vm_status train_clip_run(towers *m, clip_source *source, tok *t, const vm_preprocess *pp, train_val *val, const train_clip_options *o,
                         vm_error *e);

/* The options of the command and what they say; VM_EUSAGE names the option. (train_options.c) */
extern const vm_opt train_clip_opts[];
vm_status train_clip_read(train_clip_options *o, const vm_args *a, vm_error *e);
/* --val and what goes with it; n_data and bench are 0 without. o is that of train_clip_read. */
vm_status train_clip_read_val(train_val_options *v, const train_clip_options *o, const vm_args *a, vm_error *e);

/* --preset NAME: its values for all options that the command line leaves open; prints them with their sources. (train_presets.c) */
vm_status train_preset_apply(const vm_args *a, vm_error *e);
vm_status train_preset_show(const vm_args *a, vm_error *e); /* all presets when none is named */

#endif
