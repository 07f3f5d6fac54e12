/* train_clip.h - the training of two towers as a function, for the command and the demo. */
#ifndef VM_TRAIN_CLIP_H
#define VM_TRAIN_CLIP_H
#include "models/lora.h"
#include "models/tower_groups.h"
#include "pipeline/clip_feed.h"
#include "pipeline/command.h"
#include "pipeline/train_loop.h"
#include "pipeline/train_val.h"

typedef struct {
    train_options run;
    clip_train_config train;
    tower_groups groups;
    lora_options lora;           /* r 0 = no adapter */
    const char *adapter;         /* PEFT directory to go on from, or NULL */
    int workers;                 /* data threads */
    double max_bad;              /* share of the samples that may be unreadable */
    bool dry_run;                /* says what memory it takes, and ends */
    bool recompute, theta_reset; /* theta_reset: adaptive margins begin anew in every epoch */
    val_best best_by;
    uint64_t seed;
} train_clip_options;

/* Trains m in place, as train_loop_run says. val NULL: no validation. (train_clip_task.c) */
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
