/* window.cu - see window.c. N channels of one token (or pixel) per thread. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/window.h"
}

/* y[i] = [itself +] x[the token or pixel that i comes from], zeros where there is none */
template <int N> __global__ void window_kernel(gpu_mem x, gpu_mem y, vm_window_shape s, int64_t items, gpu_div vectors,
                                               bool back, bool add) {
    GPU_FOR(i, 1, items) {
        int64_t c, row = gpu_divide(i, vectors, &c);
        int32_t from = back ? vm_window_token(&s, (int32_t)row) : vm_window_pixel(&s, (int32_t)row);
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = 0.0f;
        if (from >= 0) gpu_load<N>(x, (from * vectors.d + c) * N, v);
        else if (add) continue;
        gpu_store<N>(y, i * N, v, add);
    }
}

static vm_status move(vm_graph *g, vm_node *n, bool back) {
    vm_window_shape s = vm_window_of(n);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    int64_t C = vm_cols(g, n->out[0]), N = C % 8 == 0 && gpu_wide(x, y) ? 8 : 1, items = vm_count(g, n->out[0]) / N;
    bool add = vm_adds(g, n, 0);
    if (!items) return VM_OK;
    unsigned grid = gpu_grid(g, items, GPU_THREADS);
    gpu_div vectors = gpu_div_by(C / N);
    return N == 8 ? GPU_LAUNCH(g, (window_kernel<8>), grid, GPU_THREADS, 0, x, y, s, items, vectors, back, add)
                  : GPU_LAUNCH(g, (window_kernel<1>), grid, GPU_THREADS, 0, x, y, s, items, vectors, back, add);
}
extern "C" vm_status window_cuda(vm_graph *g, vm_node *n) { return move(g, n, false); }
extern "C" vm_status unwindow_cuda(vm_graph *g, vm_node *n) { return move(g, n, true); }
