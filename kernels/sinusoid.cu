/* sinusoid.cu - see sinusoid.c. One pair of columns per thread forward, a warp per row back. Made once per run. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/sinusoid.h"
}

__device__ __forceinline__ float number(gpu_mem t, int64_t i) {
    return t.t == VM_I32 ? (float)((const int32_t *)t.p)[i] : ((const float *)t.p)[i];
}

__global__ void sinusoid_kernel(gpu_mem t, const vm_frequencies *q, gpu_mem y, int64_t R, int64_t C, gpu_div per_row,
                                int layout) {
    int64_t n = C / 2;
    GPU_FOR(i, 1, R * per_row.d) {
        int64_t k, row = gpu_divide(i, per_row, &k);
        if (k == n) { /* the last of an odd number of columns */
            gpu_put(y, row * C + C - 1, 0.0f);
            continue;
        }
        float a = number(t, row) * q->f[k], s, c;
        vm_sincos(q->scale * a, &s, &c);
        gpu_put(y, row * C + vm_sin_at(layout, n, k), q->amplitude * s);
        gpu_put(y, row * C + vm_cos_at(layout, n, k), q->amplitude * c);
    }
}
__global__ void sinusoid_back_kernel(gpu_mem dy, gpu_mem t, const vm_frequencies *q, float *dt, int64_t R, int64_t C,
                                     int layout, bool add) {
    int64_t row = (int64_t)blockIdx.x * (GPU_THREADS / 32) + threadIdx.x / 32, n = C / 2;
    int lane = threadIdx.x % 32;
    float sum = 0.0f;
    if (row >= R) return;
    for (int64_t k = lane; k < n; k += 32) {
        float a = number(t, row) * q->f[k], s, c;
        vm_sincos(q->scale * a, &s, &c);
        float ds = gpu_get(dy, row * C + vm_sin_at(layout, n, k)), dc = gpu_get(dy, row * C + vm_cos_at(layout, n, k));
        sum = fmaf(q->f[k], ds * c - dc * s, sum);
    }
    sum = warp_sum(sum) * q->scale * q->amplitude;
    if (lane == 0) dt[row] = add ? dt[row] + sum : sum;
}

extern "C" vm_status sinusoid_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_count(g, n->in[0]), C = n->i[1], per_row = (C + 1) / 2;
    if (!R) return VM_OK;
    const vm_frequencies *q = (const vm_frequencies *)gpu_table(g, n, n->ptr, sizeof *q);
    if (!q) return g->err.status;
    return GPU_LAUNCH(g, sinusoid_kernel, gpu_grid(g, R * per_row, GPU_THREADS), GPU_THREADS, 0, gpu_in(g, n, 0), q,
                      gpu_out(g, n, 0), R, C, gpu_div_by(per_row), (int)n->i[2]);
}
extern "C" vm_status sinusoid_back_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_count(g, n->in[1]), C = n->i[1];
    if (!R) return VM_OK;
    const vm_frequencies *q = (const vm_frequencies *)gpu_table(g, n, n->ptr, sizeof *q);
    if (!q) return g->err.status;
    return GPU_LAUNCH(g, sinusoid_back_kernel, gpu_blocks(R, GPU_THREADS / 32), GPU_THREADS, 0, gpu_in(g, n, 0),
                      gpu_in(g, n, 1), q, (float *)vm_o(g, n, 0), R, C, (int)n->i[2], vm_adds(g, n, 0));
}
