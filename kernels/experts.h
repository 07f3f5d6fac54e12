/* experts.h - what experts.c and its kernels share: the products of the CPU, whose number of rows is known at the run only. */
#ifndef VM_EXPERTS_H
#define VM_EXPERTS_H
#include <string.h>

#include "kernels/gemm.h"

/* The rows of an expert are taken in chunks of 256, 64, or what is left rounded up to a power of two (copied and filled with zeros):
 * products of sizes 2^k, made when first needed. */
enum { EXPERTS_SIZES = 9, EXPERTS_ROWS = 1 << (EXPERTS_SIZES - 1) };
typedef struct { vm_gemm *of[2][EXPERTS_SIZES]; } experts_products;
/* Product number k of node n, made when first needed, and again when it now adds or no longer does; deterministic as the graph is. tail:
 * of the last tile of a weight that is taken in tiles, which has a size of its own. NULL: the graph has the error. */
vm_gemm *experts_product(vm_graph *g, vm_node *n, int tail, int k, vm_gemm_shape s);
void experts_free(vm_node *n); /* vm_op.free_node */
/* Whether offsets of E experts rise from 0 to at most M. */
bool experts_offsets(vm_graph *g, const vm_node *n, const int32_t *offsets, int64_t E, int64_t M);

/* k of the next chunk of `left` rows. */
static inline int experts_chunk(int64_t left) {
    int k = 0;
    if (left >= 256) return 8;
    if (left >= 64) return 6;
    while ((int64_t)1 << k < left) k++;
    return k;
}

/* Rows row .. row + m of v as those of a product of `size` rows: where they stand, or a copy filled up with zeros. */
static inline void *experts_at(const vm_value *v, int64_t row) {
    return (char *)v->data + (size_t)row * (size_t)v->ne[v->nd - 1] * vm_type_size(v->type);
}
static inline void *experts_filled(const vm_value *v, int64_t row, int64_t m, int64_t size, const vm_value *room) {
    size_t line = (size_t)v->ne[v->nd - 1] * vm_type_size(v->type);
    if (m == size) return experts_at(v, row);
    memcpy(room->data, experts_at(v, row), (size_t)m * line);
    memset((char *)room->data + (size_t)m * line, 0, (size_t)(size - m) * line);
    return room->data;
}

#endif
