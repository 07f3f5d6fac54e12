/* loss.h - training losses as graphs. Features come L2-normalised: img (Ni,E), txt (Nt,E); scale s (1) = exp(logit_scale).
 *
 * Rows 0..n-1 of both are originals: image i belongs to caption i. Behind them stand minimal changes, K for each original,
 * column by column: change k of original i is row n + k n' + i, where the first n' originals have changes. valid (K,n') f32
 * is 1 where a change exists and 0 where its row only fills the place; 0 (no value) = all exist. */
#ifndef VM_LOSS_H
#define VM_LOSS_H
#include "kernels/ops.h"

/* InfoNCE (Radford et al. 2021) of the first B rows, which are pairs; further rows are hard negatives: extra columns that
 * never act as queries.  L = 1/2 [ CE(s img[:B] txt^T) + CE(s txt[:B] img^T) ]
 * hide_txt (Nt), hide_img (Ni) i32 or 0: which columns are left out, as vm_contrastive has it. */
vm_val loss_info_nce(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t B, vm_val hide_txt, vm_val hide_img);

/* Twins: an original and its minimal change, rows i and at + k n + i of both matrices, i < n, k < K. Mean over all valid
 * ones of the four two-way terms, softplus(s (wrong - right)): each image between the two captions, each caption between the
 * two images. softplus(x) = log(1 + e^x). -> [1] */
vm_val loss_twins(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t n, int64_t at, int64_t K, vm_val valid);

/* Intra-modal contrast of CE-CLIP (Zhang et al. 2024, eq. 3): each caption against all changed captions neg (H,E), with the
 * matching of its image, g_i = s <img_i, txt_i>, as the right answer: mean over i of -log( e^g_i / (e^g_i + sum_j e^(s <txt_i, neg_j>)) ).
 * The published code has two other readings, which pull every caption towards the first negative:
 *   LOSS_IMC_REF_HEAD (2024-03-27): softmax over the negatives alone, target 0;
 *   LOSS_IMC_REF_2023: g_i in the sum, target the first negative.
 * hide (H) i32 or 0. -> [1] */
typedef enum { LOSS_IMC_POSITIVE, LOSS_IMC_REF_HEAD, LOSS_IMC_REF_2023 } loss_imc_kind;
vm_val loss_imc(vm_graph *g, vm_val img, vm_val txt, vm_val neg, vm_val scale, vm_val hide, loss_imc_kind kind);

/* Cross-modal rank of CE-CLIP (eq. 5): with g_i as above and d_ki = s <img_i, neg_ki> of K columns of n changed captions,
 *   L = 1/(Kn) sum relu(theta_k + d_ki - g_i) over valid cells.
 * theta (K,n) holds theta_k in every cell of row k. */
typedef struct {
    vm_val loss; /* [1] */
    vm_val g, d; /* (n), (K,n): what the adaptive thresholds are made of (loss_theta) */
} rank_loss;
rank_loss loss_rank(vm_graph *g, vm_val img, vm_val txt, vm_val neg, vm_val scale, vm_val theta, vm_val valid, int64_t n, int64_t K);

/* Thresholds of the next step from g (n) and d (K,n) of this one, column by column; valid (K,n) or NULL.
 *   mean: theta_k = mean of all g - mean of the valid d_k;  max: theta_k = max over i of (g_i valid_ki - d_ki valid_ki) / 5
 * then clamped to [0, upper]; a column without a valid cell keeps what it had. fixed: theta stays. */
typedef enum { LOSS_THETA_MEAN, LOSS_THETA_MAX, LOSS_THETA_FIXED } loss_theta_kind;
void loss_theta(double *theta, loss_theta_kind kind, double upper, int64_t n, int64_t K, const vm_real *g, const vm_real *d, const vm_real *valid);

/* The sigmoid loss (Zhai et al. 2023) of N pairs: x = s img txt^T + bias, y = 1 on the diagonal and -1 elsewhere,
 *   L = 1/N sum_ij -log sigmoid(y_ij x_ij)     (LOSS_PER_ROW)     or 1/N^2 of the sum (LOSS_PER_CELL: the fork that trained VisMin)
 * hide (N) i32 or 0: which cells are left out, as vm_contrastive has it; N then counts what is kept. -> [1] */
typedef enum { LOSS_PER_ROW, LOSS_PER_CELL } loss_mean;
vm_val loss_sigmoid(vm_graph *g, vm_val img, vm_val txt, vm_val scale, vm_val bias, vm_val hide, loss_mean mean);

#endif
