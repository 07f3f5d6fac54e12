/* optimizer.h - AdamW on the weights of a model as one step of a training: the norm of all gradients, the clipped
 * update, a moving average; moments on disk; learning rates. */
#ifndef VM_OPTIMIZER_H
#define VM_OPTIMIZER_H
#include "kernels/ops.h"
#include "models/weights.h"

typedef struct {
    vm_adam adam;
    float clip_norm; /* L2 norm of all gradients at most this; 0 = off */
    double ema;      /* decay of a moving average of what learns (weights_swap_average); 0 = none. Update n: min(ema,
                        n/(9+n)) */
} optimizer_config;

/* Begin with w and c alone. */
typedef struct {
    weight_set *w;
    optimizer_config c;
    int64_t updates; /* so far */
    vm_graph *norm, *update, *average;
} optimizer;

void optimizer_free(optimizer *o); /* not the weights */
/* L2 norm of all gradients. From here on the parameters that have gradients are known and stay the same. */
vm_status optimizer_norm(optimizer *o, double *norm, vm_error *e);
/* The update for gradients of that norm. */
vm_status optimizer_update(optimizer *o, double lr, double norm, vm_error *e);
vm_status optimizer_average(optimizer *o, vm_error *e); /* after an update; nothing without ema */

/* optim.safetensors in an existing directory: moments and averages; and back, bit for bit, with the number of updates.
 */
vm_status optimizer_save(const optimizer *o, const char *dir, vm_error *e);
vm_status optimizer_load(optimizer *o, const char *dir, int64_t updates, vm_error *e);
/* Bytes of weights as they are kept, and of gradients, moments and average of what learns, before any of it is allocated. */
typedef struct {
    size_t weights, gradients, moments, average;
} optimizer_bytes;
optimizer_bytes optimizer_memory(const optimizer *o);

/* Learning rate of a step, counted from 0: lr (step+1)/warm below warm; then
 *   cosine          1/2 lr (1 + cos(pi (step-warm)/(total-warm)))                                  (open_clip's
 * schedulers) const           lr const-cooldown  lr until the last `cooldown` steps, in which it falls to `end`: (1 -
 * e/cooldown)^power (lr - end) + end linear          lr (total-step)/(total-warm) (transformers' Trainer) */
typedef enum { LR_COSINE, LR_CONST, LR_CONST_COOLDOWN, LR_LINEAR } lr_kind;
typedef struct {
    lr_kind kind;
    double lr, power, end;
    int64_t warm, total, cooldown;
} lr_schedule;
double lr_at(const lr_schedule *s, int64_t step);

#endif
