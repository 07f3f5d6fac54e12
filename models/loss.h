/* loss.h - training losses as graphs. Features come L2-normalised: img (Ni,E), txt (Nt,E), scale (1) = exp(logit_scale). */
#ifndef VM_LOSS_H
#define VM_LOSS_H
#include "kernels/ops.h"

typedef struct {
    vm_val loss;        /* [1] */
    vm_val i2t, t2i;    /* logits (B,Nt), (B,Ni) */
} contrastive;

/* InfoNCE (Radford et al. 2021) of the first B rows, which are pairs; further rows are hard negatives: extra columns that
 * never act as queries. target (B) i32 = 0..B-1.
 *   L = 1/2 [ CE(s img[:B] txt^T) + CE(s txt[:B] img^T) ] */
contrastive loss_info_nce(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t B, vm_val target);

/* Twins: rows k and at+k of both matrices, k < n, are an original and its minimal change. Mean of the four two-way terms,
 *   softplus(s (wrong - right)): each image between the two captions, each caption between the two images.
 * softplus(x) = log(1 + e^x). -> [1] */
vm_val loss_twins(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t n, int64_t at);

#endif
