/* grad.cu - see grad.c: a seed of ones, and y = [y +] x. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

template <int N> __global__ void fill_kernel(gpu_mem y, int64_t n, float value) {
    GPU_FOR(i, N, n) {
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = value;
        gpu_store_to<N>(y, i, n, v, false);
    }
}
template <int N> __global__ void accumulate_kernel(gpu_mem x, gpu_mem y, int64_t n, bool add) {
    GPU_FOR(i, N, n) {
        float v[N];
        gpu_load_to<N>(x, i, n, v);
        gpu_store_to<N>(y, i, n, v, add);
    }
}

extern "C" vm_status gpu_fill(vm_graph *g, gpu_mem y, int64_t n, float value) {
    if (!n) return VM_OK;
    return GPU_EACH(g, fill_kernel, gpu_on16(y.p), n, y, n, value);
}
extern "C" vm_status ones_cuda(vm_graph *g, vm_node *n) {
    return gpu_fill(g, gpu_out(g, n, 0), vm_count(g, n->out[0]), 1.0f);
}
extern "C" vm_status accumulate_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, accumulate_kernel, gpu_wide(x, y), N, x, y, N, vm_adds(g, n, 0));
}
