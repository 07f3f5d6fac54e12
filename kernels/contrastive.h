/* contrastive.h - what contrastive.c and its kernels share: the size of a tile, the products of a node. */
#ifndef VM_CONTRASTIVE_H
#define VM_CONTRASTIVE_H
#include "kernels/gemm.h"

/* Rows of a tile: 2M logits (8 MB), at most 256 rows, enough for a product to run at full speed. The double-precision
 * build has tiny tiles, so that the gradient checks see several of them and a shorter last one. */
static inline int64_t vm_contrastive_tile(int64_t M, int64_t N) {
#ifdef VM_F64_BUILD
    const int64_t most = 2;
#else
    const int64_t most = 256;
#endif
    int64_t rows = VM_MAX((int64_t)16, (2 << 20) / VM_MAX(N, (int64_t)1));
    return VM_MIN(M, VM_MIN(rows, most));
}

/* On the GPU: parts of the keys that different blocks sum over, and the floats that the kernels need beside their results. */
static inline int64_t vm_contrastive_splits(int64_t M, int64_t N) {
    int64_t rows = VM_MAX((M + 63) / 64, (int64_t)1), columns = VM_MAX((N + 63) / 64, (int64_t)1);
    return VM_MIN(VM_MIN(columns, VM_MAX(264 / rows, (int64_t)1)), (int64_t)32);
}
static inline int64_t vm_contrastive_room(int64_t M, int64_t N) { return M * (2 * vm_contrastive_splits(M, N) + 3); }

typedef struct {
    vm_gemm *logits[2], *dq[2], *dk[2]; /* of a whole tile, of the shorter last one */
} vm_contrastive_products;

#endif
