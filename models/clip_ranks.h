/* clip_ranks.h - the contrastive loss of a batch whose rows are spread over several processes (kernels/comm.h).
 *
 * Every rank has the same number of originals and changes of each kind. Features of all ranks are gathered, each rank computes the
 * loss of the whole batch and keeps the gradients of its own rows: exact gradients, also of features that are only negatives
 * elsewhere (training.md §1.5, "on / on"). Summed over ranks, gradients of weights are those of one process with the whole batch;
 * that of the temperature is whole on every rank and is not summed.
 *
 * The whole batch stands in the order that one process would use: originals with changes of rank 0, 1, ..., originals without,
 * then each column of changes. */
#ifndef VM_CLIP_RANKS_H
#define VM_CLIP_RANKS_H
#include "kernels/comm.h"
#include "models/clip_loss.h"

typedef struct clip_ranks clip_ranks;
vm_status clip_ranks_new(clip_ranks **out, vm_comm *c, const towers *m, vm_error *e); /* keeps both */
void clip_ranks_free(clip_ranks *x);

/* clip_head_run for the rows of this rank: r, img, txt, d_img and d_txt are local, the terms are of the whole batch. */
vm_status clip_ranks_run(clip_ranks *x, clip_head *h, const clip_rows *r, int64_t n_img, int64_t n_txt, const vm_real *img, const vm_real *txt,
                         vm_real *d_img, vm_real *d_txt, clip_terms *out, vm_error *e);
const char *clip_ranks_way(const clip_ranks *x); /* what sums gradients: "mpi", "nccl" */
/* Gradients of all weights but the temperature: summed over ranks. */
vm_status clip_ranks_sum_gradients(clip_ranks *x, vm_error *e);
#endif
