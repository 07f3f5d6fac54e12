/* gdino_train.h - one training step of a Grounding DINO: pictures with texts and boxes in, updated weights out; the whole state on disk.
 *
 * The loss of grounding_dino.h with the boxes that queries are chosen by in place of the first ones, so that choosing is learnt (the
 * published training code; transformers' loss leaves it without a gradient), and at will that of denoising queries. */
#ifndef VM_GDINO_TRAIN_H
#define VM_GDINO_TRAIN_H
#include "models/gdino_denoise.h"
#include "models/optimizer.h"

typedef struct {
    vm_type dtype;
    bool deterministic;
    optimizer_config optimizer;
    gdino_denoise denoise;
    uint64_t seed;             /* of dropout and noise */
} gdino_train_config;

typedef struct {
    double loss, ce, bbox, giou; /* before the step: all, and of the last layer */
    double pick_ce, pick_bbox, pick_giou, noised; /* of what queries are chosen by; of denoising queries, all */
    double grad_norm;
    bool skipped;              /* non-finite or beyond the limits: nothing was changed */
} gdino_step;

typedef struct gdino_trainer gdino_trainer;
vm_status gdino_trainer_new(gdino_trainer **out, gdino *m, const gdino_train_config *c, vm_error *e);
void gdino_trainer_free(gdino_trainer *t); /* not the model */
/* targets: one for each picture. step: what dropout and noise are a function of. Steps whose loss or norm is larger than the limits are
 * skipped. */
vm_status gdino_trainer_step(gdino_trainer *t, const gdino_batch *b, const gdino_target *targets, uint64_t step, double lr, double most_loss,
                             double most_norm, gdino_step *out, vm_error *e);
/* What steps of such batches take, before anything of it is allocated. */
vm_status gdino_trainer_memory(gdino_trainer *t, const gdino_batch *b, const gdino_target *targets, optimizer_bytes *own, size_t *activations, vm_error *e);
int64_t gdino_trainer_updates(const gdino_trainer *t);
/* model.safetensors and optim.safetensors; and back, bit for bit. */
vm_status gdino_trainer_save(const gdino_trainer *t, const char *dir, vm_error *e);
vm_status gdino_trainer_load(gdino_trainer *t, const char *dir, int64_t updates, vm_error *e);
#endif
