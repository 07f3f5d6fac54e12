/* clip_train.h - one training step of two towers (contrastive language-image pre-training, whatever the family): batch in,
 * updated weights out; saving and loading of the whole state.
 *
 * The towers turn the batch into features, clip_loss.h turns the features of the whole batch into a loss and the gradients
 * of the features, the towers turn these into gradients of weights. With `chunk`, at most that many rows are in a tower at a
 * time (GradCache, Gao et al. 2021): all chunks forward without keeping activations; the loss once; each chunk forward again
 * and backward with its slice. The same gradients as of the batch in one piece, that of the temperature included.
 *
 * AdamW as open_clip uses it: no decay for vectors and the temperature, which is clamped to [0, ln 100]
 * after each step unless the loss is the sigmoid one. */
#ifndef VM_CLIP_TRAIN_H
#define VM_CLIP_TRAIN_H
#include "models/clip_loss.h"
#include "models/clip_ranks.h"
#include "models/optimizer.h"

typedef struct {
    clip_loss_config loss;
    vm_type dtype;          /* of matrix products; masters, norms, softmax and loss are f32 */
    bool deterministic;
    int64_t chunk;          /* rows in a tower at a time; 0 = all */
    vm_adam adam;
    float clip_norm;        /* L2 norm of all gradients at most this; 0 = off */
    float max_logit_scale;  /* ln 100 */
    double ema;             /* see optimizer_config */
    vm_comm *comm;          /* batches are this rank's share of one batch (clip_ranks.h); NULL = one process */
} clip_train_config;

typedef struct {
    int64_t n_orig, n_twins, K; /* clip_rows; K 0 = 1 */
    bool text_only;
    int64_t T;              /* columns of ids and mask */
    float *pixels;          /* (n,S,S,3), n = n_orig + n_twins, or n_orig when text_only */
    int32_t *ids, *at, *mask; /* of n_orig + n_twins captions */
    float *valid;           /* (n_twins), NULL = all are */
} clip_batch;

typedef struct {
    clip_terms terms;       /* before the step */
    double grad_norm, scale;
    bool skipped;           /* non-finite loss or gradient, or beyond the limits: nothing was changed */
} clip_step;

typedef struct clip_trainer clip_trainer;
vm_status clip_trainer_new(clip_trainer **out, towers *m, const clip_train_config *c, vm_error *e);
void clip_trainer_free(clip_trainer *t); /* not the model */
vm_status clip_trainer_step(clip_trainer *t, const clip_batch *b, double lr, clip_step *out, vm_error *e);
/* Steps whose loss or gradient norm is larger are skipped, too; INFINITY = no limit, as at first. */
void clip_trainer_limit(clip_trainer *t, double loss, double grad_norm);
/* The first half of a step: gradients into the parameters. */
vm_status clip_trainer_gradients(clip_trainer *t, const clip_batch *b, clip_terms *out, vm_error *e);
int64_t clip_trainer_steps(const clip_trainer *t); /* optimizer updates so far */
size_t clip_trainer_bytes(const clip_trainer *t);  /* what activations and the loss take so far */
const char *clip_trainer_way(const clip_trainer *t); /* what sums gradients over processes: "mpi", "nccl"; NULL = one process */
vm_graph *clip_trainer_graph(const clip_trainer *t); /* of the last step, for profiles; NULL before it */

/* Bytes of a run on batches of these rows, captions at their longest: known before anything of it is allocated. */
typedef struct {
    size_t weights, gradients, moments, average, activations, loss, features, batch;
} clip_memory;
vm_status clip_trainer_memory(clip_trainer *t, const clip_rows *r, clip_memory *out, vm_error *e);
clip_head *clip_trainer_head(const clip_trainer *t);  /* thresholds of the loss, for saving and loading */

/* A model directory (towers_family.save), or the adapter when there is one (lora_save), with optim.safetensors into an existing directory; and back, bit for bit. */
vm_status clip_trainer_save(const clip_trainer *t, const char *dir, vm_error *e);
vm_status clip_trainer_load(clip_trainer *t, const char *dir, int64_t steps, vm_error *e);

#endif
