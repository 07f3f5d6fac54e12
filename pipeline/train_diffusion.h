/* train_diffusion.h - the training of a diffusion model's UNet as a function. */
#ifndef VM_TRAIN_DIFFUSION_H
#define VM_TRAIN_DIFFUSION_H
#include "pipeline/diffusion_feed.h"
#include "pipeline/train_loop.h"

typedef struct {
    train_options run;
    diffusion_feed *feed, *look; /* look: of the validation; NULL = none */
} train_diffusion_options;
/* Trains in place, as train_loop_run says. */
vm_status train_diffusion_run(diffusion_trainer *t, const train_diffusion_options *o, vm_error *e);
#endif
