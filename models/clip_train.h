/* clip_train.h - one training step of two towers (contrastive language-image pre-training, whatever the family): batch in, updated weights out; saving and loading of the whole state.
 *
 * Losses: InfoNCE over all rows as pairs ("itc": originals and their edits are each other's hard negatives, the way VisMin
 * trains); InfoNCE of the originals with the edits as extra columns only ("itc-hn"); both with an optional twin term.
 * AdamW as open_clip uses it: no decay for vectors and the temperature, which is clamped to [0, ln 100] after each step. */
#ifndef VM_CLIP_TRAIN_H
#define VM_CLIP_TRAIN_H
#include "models/loss.h"
#include "models/towers.h"

typedef enum { CLIP_ITC, CLIP_ITC_HN } clip_loss;

typedef struct {
    clip_loss loss;
    float twin_weight;      /* of the twin term; needs batches with twins */
    vm_type dtype;          /* of matrix products; masters, norms, softmax and loss are f32 */
    bool deterministic;
    vm_adam adam;
    float clip_norm;        /* L2 norm of all gradients at most this; 0 = off */
    float max_logit_scale;  /* ln 100 */
} clip_train_config;

/* Originals in rows 0..n_orig-1; the first n_twins of them have an edit, in rows n_orig..n_orig+n_twins-1. */
typedef struct {
    int64_t n_orig, n_twins;
    int64_t T;              /* columns of ids and mask */
    float *pixels;          /* (n,S,S,3), n = n_orig + n_twins */
    int32_t *ids, *at, *mask;
} clip_batch;

typedef struct {
    double loss, itc, twin; /* before the step */
    double grad_norm, scale;
    bool skipped;           /* non-finite loss or gradient: nothing was changed */
} clip_step;

typedef struct clip_trainer clip_trainer;
vm_status clip_trainer_new(clip_trainer **out, towers *m, const clip_train_config *c, vm_error *e);
void clip_trainer_free(clip_trainer *t); /* not the model */
vm_status clip_trainer_step(clip_trainer *t, const clip_batch *b, double lr, clip_step *out, vm_error *e);
int64_t clip_trainer_steps(const clip_trainer *t); /* optimizer updates so far */
size_t clip_trainer_bytes(const clip_trainer *t);  /* arenas of the plans made so far */
vm_graph *clip_trainer_graph(const clip_trainer *t); /* of the last step, for profiles; NULL before it */

/* A model directory (towers_family.save) with optim.safetensors into an existing directory; and back, bit for bit. */
vm_status clip_trainer_save(const clip_trainer *t, const char *dir, vm_error *e);
vm_status clip_trainer_load(clip_trainer *t, const char *dir, int64_t steps, vm_error *e);

/* lr (step+1)/warm below warm, then cosine to 0 at total (open_clip's cosine_lr); steps count from 0. */
double clip_lr(double lr, int64_t step, int64_t warm, int64_t total);

#endif
