/* shape.cu - see shape.c. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

/* --- cast --------------------------------------------------------------------------------------------------------------- */
template <int N> __global__ void cast_kernel(gpu_mem x, gpu_mem y, int64_t n) {
    GPU_FOR(i, N, n) {
        float v[N];
        gpu_load_to<N>(x, i, n, v);
        gpu_store_to<N>(y, i, n, v, false);
    }
}
extern "C" vm_status cast_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, cast_kernel, gpu_wide(x, y), N, x, y, N);
}
