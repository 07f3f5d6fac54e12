/* linear_q.h - what linear_q.c and its kernels share: attributes and inputs of the nodes. */
#ifndef VM_LINEAR_Q_H
#define VM_LINEAR_Q_H
#include "kernels/quant.h"

/* Inputs: x or dy, then the weight at the same places in both ops; BIAS and RESIDUAL of linear_q only. */
enum { LQ_X, LQ_CODES, LQ_SCALES, LQ_ZEROS, LQ_NESTED, LQ_N_DX, LQ_BIAS = LQ_N_DX, LQ_RESIDUAL, LQ_N_IN };
/* vm_node.i: type of the result, kind, block, the weight's rows and columns. */
enum { LQ_OUT, LQ_KIND, LQ_BLOCK, LQ_N, LQ_K };

/* Up to this many rows of x share one pass over the codes. */
enum { LQ_ROWS = 8 };

/* Whether the CPU goes over the codes for every few rows: the one way that gives a row the same bits among any others, and the one
 * for f16, which it has no products of. */
static inline bool lq_few(const vm_graph *g, vm_type x, int64_t M) { return M <= LQ_ROWS || g->deterministic || x == VM_F16; }
/* A row of x there: padded with zeros to whole vectors of codes, then sums of its eights. */
static inline int64_t lq_padded(int64_t K) { return (K + 127) / 128 * 128; }
static inline int64_t lq_room(int64_t K) { return lq_padded(K) + lq_padded(K) / 8; }

/* Whether the node's inputs are a weight in codes (nd 2), or a stack of them (nd 3), whose parts stand one behind the other in each input.
 * Sets LQ_N and LQ_K, those of one. */
bool lq_check_weight(vm_graph *g, vm_node *n, int nd);
void lq_cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes);
/* Whether x is rounded to 8 bits (ops.h). */
bool lq_rounds(const vm_graph *g, vm_val x, vm_val codes, vm_quant q);

static inline vm_quant_weight lq_weight(const vm_graph *g, const vm_node *n) {
    return vm_quant_weight_of((vm_quant_kind)n->i[LQ_KIND], n->i[LQ_N], n->i[LQ_K], n->i[LQ_BLOCK],
                              (const uint8_t *)vm_in(g, n, LQ_CODES), vm_in(g, n, LQ_SCALES), (const vm_real *)vm_in(g, n, LQ_ZEROS),
                              (const vm_real *)vm_in(g, n, LQ_NESTED));
}

#endif
