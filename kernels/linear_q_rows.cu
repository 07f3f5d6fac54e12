/* linear_q_rows.cu - products of up to LQ_ROWS rows of x with a quantised weight, and those of weights in odd blocks: gpu_quant_rows.cuh. */
#include "kernels/gpu_quant_rows.cuh"

/* BITS 4 or 8; MT >= M rows of x; R rows of the weight per warp. */
template <int BITS, int MT, int R> __global__ void lq_rows_kernel(lq_call c) {
    GPU_SHARED(float, xs, [LQ_SHARED]);
    GPU_SHARED(float, table, [16]);
    lq_rows<BITS, MT, R>(c, blockIdx.x, xs, table);
}
/* A warp per row of the weight and LQ_ROWS rows of x (blockIdx.y). */
__global__ void lq_any_kernel(lq_call c) {
    GPU_SHARED(float, table, [16]);
    gpu_table_fill(table);
    c.w.table = table;
    __syncthreads();
    lq_any(c, (int64_t)blockIdx.x * LQ_WARPS + threadIdx.x / 32, (int64_t)blockIdx.y * LQ_ROWS);
}
/* A thread per element of dx. */
__global__ void lq_dx_any_kernel(lq_call c) {
    GPU_SHARED(float, table, [16]);
    int64_t i = (int64_t)blockIdx.x * LQ_WARPS * 32 + threadIdx.x, m = i / c.w.K;
    gpu_table_fill(table);
    c.w.table = table;
    __syncthreads();
    if (m < c.M) lq_dx_any(c, m, i % c.w.K);
}

template <int BITS, int R> static vm_status by_rows(vm_graph *g, const lq_call &c) {
    unsigned blocks = gpu_blocks(c.w.N, LQ_WARPS * R);
    if (c.M == 1) return GPU_LAUNCH(g, (lq_rows_kernel<BITS, 1, R>), blocks, LQ_WARPS * 32, 0, c);
    if (c.M <= 4) return GPU_LAUNCH(g, (lq_rows_kernel<BITS, 4, R>), blocks, LQ_WARPS * 32, 0, c);
    return GPU_LAUNCH(g, (lq_rows_kernel<BITS, 8, R>), blocks, LQ_WARPS * 32, 0, c);
}

extern "C" vm_status gpu_lq_rows(vm_graph *g, vm_node *n) {
    lq_call c = lq_call_of(g, n, (const float *)vm_in(g, n, LQ_BIAS));
    if (!lq_rows_take(c.w) || c.M > LQ_ROWS)
        return GPU_LAUNCH(g, lq_any_kernel, dim3(gpu_blocks(c.w.N, LQ_WARPS), gpu_blocks(c.M, LQ_ROWS)), LQ_WARPS * 32, 0, c);
    bool many = lq_rows_many(g, c.w.N);
    if (c.w.kind == VM_INT8) return many ? by_rows<8, 4>(g, c) : by_rows<8, 1>(g, c);
    return many ? by_rows<4, 4>(g, c) : by_rows<4, 1>(g, c);
}
extern "C" vm_status gpu_lq_dx_any(vm_graph *g, vm_node *n) {
    lq_call c = lq_call_of(g, n, NULL);
    return GPU_LAUNCH(g, lq_dx_any_kernel, gpu_blocks((int64_t)c.M * c.w.K, LQ_WARPS * 32), LQ_WARPS * 32, 0, c);
}
