/* llm_train.h - one training step of a language model: texts with marks of what counts in, updated weights out.
 *
 *   L = 1/K sum over the K marked tokens of -log p(token | what stands before it)
 *
 * A step is made of pieces, each a plan of its own: the gradients of all of them add up with the weight that their
 * tokens have in the whole step, so the number of pieces changes nothing but memory. Products in the dtype of the
 * configuration, masters, norms, softmax, loss and moments in f32. Matrices decay, vectors do not. */
#ifndef VM_LLM_TRAIN_H
#define VM_LLM_TRAIN_H
#include "models/llm.h"
#include "models/optimizer.h"

typedef struct {
    optimizer_config optimizer;
    vm_type dtype;
    bool deterministic;
    bool recompute; /* keep only the inputs of layers and compute the rest again in the backward pass */
} llm_train_config;

/* Texts side by side, filled up on the right with any token; target -100 = does not count, else what follows the token.
 * With `first` several stand in one row, each of which sees itself and has positions from 0 on: loss and gradients are
 * those of the texts side by side, without what fills up. */
typedef struct {
    int64_t B, T;
    const int32_t *ids, *targets; /* (B,T) */
    const int32_t *first;         /* (B,T): where in its row the text of each token begins; NULL = at 0 */
} llm_piece;

typedef struct {
    double loss, grad_norm; /* before the step */
    int64_t counted;        /* tokens with a target */
    bool skipped;           /* non-finite, beyond the limits, or nothing counts: no weight was changed */
} llm_train_step;

typedef struct llm_trainer llm_trainer;
vm_status llm_trainer_new(llm_trainer **out, llm *m, const llm_train_config *c, vm_error *e);
void llm_trainer_free(llm_trainer *t); /* not the model; accepts NULL */
vm_status llm_trainer_step(llm_trainer *t, int n, const llm_piece *pieces, double lr, llm_train_step *out, vm_error *e);
/* The first half of a step: loss, counted, and gradients into the parameters. */
vm_status llm_trainer_gradients(llm_trainer *t, int n, const llm_piece *pieces, llm_train_step *out, vm_error *e);
/* The mean loss of texts that are only looked at. */
vm_status llm_trainer_loss(llm_trainer *t, const llm_piece *piece, double *loss, int64_t *counted, vm_error *e);
/* Steps whose loss or gradient norm is larger are skipped, too; INFINITY = no limit, as at first. */
void llm_trainer_limit(llm_trainer *t, double loss, double grad_norm);
int64_t llm_trainer_updates(const llm_trainer *t);
/* Bytes of weights, gradients and moments, and of activations for a piece of this size, before they are allocated. */
vm_status llm_trainer_memory(llm_trainer *t, int64_t B, int64_t T, optimizer_bytes *own, size_t *activations,
                             vm_error *e);

/* A checkpoint in an existing directory (model.safetensors, or the adapter when there is one, and optim.safetensors);
 * and back, bit for bit. */
vm_status llm_trainer_save(const llm_trainer *t, const char *dir, vm_error *e);
vm_status llm_trainer_load(llm_trainer *t, const char *dir, int64_t updates, vm_error *e);
#endif
