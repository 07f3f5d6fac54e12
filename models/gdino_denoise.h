/* gdino_denoise.h - further queries that learn from boxes which are off by a little (Li et al. 2022, DN-DETR; Zhang et al. 2022, DINO).
 *
 * A group holds every target of a picture twice: with corners moved by up to half a side times the noise, from which the target is to be
 * found, and by half a side to a whole one, which is to be called nothing. The phrase that a query begins with is at times another one of
 * the text. Queries see those of their group; the model's own see none of them. As many groups as fit. */
#ifndef VM_GDINO_DENOISE_H
#define VM_GDINO_DENOISE_H
#include "models/grounding_dino.h"

typedef struct {
    int64_t most;              /* queries of a picture; 0 = none */
    double box_noise;          /* 1: corners by up to half a side (Open-GroundingDINO) */
    double label_noise;        /* probability of another phrase */
} gdino_denoise;

/* Queries for batches of at most `targets` boxes a picture: gdino_batch.noised. */
int64_t gdino_denoise_count(const gdino_denoise *n, int64_t targets);
/* Their part of the loss [1], outputs "loss.NAME_dn" and "loss.NAME_dn_i"; T tokens, weights as of the other queries. */
vm_val gdino_denoise_loss(vm_graph *g, const gdino *m, const gdino_batch *b, const gdino_out *o, int64_t targets);
/* Noise is a function of seed and step. */
vm_status gdino_denoise_fill(vm_graph *g, const gdino *m, const gdino_batch *b, const gdino_target *t, int64_t targets, const gdino_denoise *n,
                             uint64_t seed, uint64_t step, vm_error *e);
#endif
