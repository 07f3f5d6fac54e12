/* gpu_sum.cuh - sums over rows for the kernels of other ops (reduce.cu has them). */
#ifndef VM_GPU_SUM_CUH
#define VM_GPU_SUM_CUH
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/chunks.h"
}

/* y[o,k,i] = [itself +] scale * the sum of x[o,a,i] over the rows a of chunk k; rows of x lie `row` elements apart. */
typedef struct {
    gpu_mem x, y;
    int64_t O, A, I, chunks, row;
    float scale;
    bool add;
} gpu_sums;
/* Queues one launch, in an order of additions that the sizes fix; zeros where A = 0. */
extern "C" vm_status gpu_sum_rows(vm_graph *g, gpu_sums s);

/* Partial sums of chunks: y (C) = [itself +] the sum of n_chunks rows of C numbers, `stride` apart */
static inline vm_status gpu_sum_chunks(vm_graph *g, const float *part, int64_t n_chunks, int64_t stride, int64_t C,
                                       void *y, bool add) {
    gpu_sums s = { { (void *)part, VM_F32 }, { y, VM_F32 }, 1, n_chunks, C, 1, stride, 1.0f, add };
    return gpu_sum_rows(g, s);
}
__device__ __forceinline__ int64_t gpu_chunk_begin(int64_t R, int64_t n_chunks, int64_t k) { return R * k / n_chunks; }

#endif
