/* unary.cu - see unary.c. One read and one write per element; the function is a jump that all threads take. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
#include "kernels/gpu_unary.cuh"

template <int N> __global__ void unary_kernel(gpu_mem x, gpu_mem y, int64_t n, int kind) {
    GPU_FOR(i, N, n) {
        float v[N];
        gpu_load_to<N>(x, i, n, v);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = gpu_unary(kind, v[k]);
        gpu_store_to<N>(y, i, n, v, false);
    }
}
template <int N> __global__ void unary_back_kernel(gpu_mem dy, gpu_mem x, gpu_mem dx, int64_t n, int kind, bool add) {
    GPU_FOR(i, N, n) {
        float d[N], v[N];
        gpu_load_to<N>(dy, i, n, d);
        gpu_load_to<N>(x, i, n, v);
#pragma unroll
        for (int k = 0; k < N; k++) d[k] = gpu_unary_slope(kind, v[k], d[k]);
        gpu_store_to<N>(dx, i, n, d, add);
    }
}
template <int N> __global__ void scale_kernel(gpu_mem x, gpu_mem y, int64_t n, float scale, float shift, bool add) {
    GPU_FOR(i, N, n) {
        float v[N];
        gpu_load_to<N>(x, i, n, v);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = fmaf(scale, v[k], shift);
        gpu_store_to<N>(y, i, n, v, add);
    }
}

extern "C" vm_status unary_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, unary_kernel, gpu_wide(x, y), N, x, y, N, (int)n->i[1]);
}
extern "C" vm_status unary_back_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem dy = gpu_in(g, n, 0), x = gpu_in(g, n, 1), dx = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, unary_back_kernel, gpu_wide3(dy, x, dx), N, dy, x, dx, N, (int)n->i[1], vm_adds(g, n, 0));
}
extern "C" vm_status scale_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, scale_kernel, gpu_wide(x, y), N, x, y, N, (float)n->f[0], (float)n->f[1], vm_adds(g, n, 0));
}
