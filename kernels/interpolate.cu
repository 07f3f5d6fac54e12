/* interpolate.cu - see interpolate.c. N channels of one output (or input) pixel per thread. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/interpolate.h"
}

typedef struct {
    vm_resize_axis row, col;
    gpu_div vectors, width, height; /* of the tensor that is written: C/N, columns, rows */
    int64_t C, items;
} sizes;
static inline sizes sizes_of(const vm_graph *g, const vm_node *n, vm_val x, vm_val y, vm_val written, int N) {
    const int64_t *a = g->v[x].ne, *b = g->v[y].ne, *w = g->v[written].ne;
    sizes s = { vm_resize_axis_of((int)n->i[1], a[1], b[1]), vm_resize_axis_of((int)n->i[1], a[2], b[2]),
                gpu_div_by(w[3] / N), gpu_div_by(w[2]), gpu_div_by(w[1]), w[3], vm_count(g, written) / N };
    return s;
}

template <int N> __global__ void resize_kernel(gpu_mem x, gpu_mem y, sizes s) {
    GPU_FOR(i, 1, s.items) {
        int64_t c, q, r, b = gpu_divide(gpu_divide(gpu_divide(i, s.vectors, &c), s.width, &q), s.height, &r);
        vm_resize_tap u = vm_resize_at(&s.row, (int32_t)r), v = vm_resize_at(&s.col, (int32_t)q);
        int64_t top = (b * s.row.in + u.i0) * s.col.in, bottom = (b * s.row.in + u.i1) * s.col.in;
        float a[N], e[N];
        gpu_load<N>(x, (top + v.i0) * s.C + c * N, a);
        if (s.row.mix) {
#pragma unroll
            for (int k = 0; k < N; k++) a[k] *= (1.0f - u.w1) * (1.0f - v.w1);
            gpu_load<N>(x, (top + v.i1) * s.C + c * N, e);
#pragma unroll
            for (int k = 0; k < N; k++) a[k] = fmaf((1.0f - u.w1) * v.w1, e[k], a[k]);
            gpu_load<N>(x, (bottom + v.i0) * s.C + c * N, e);
#pragma unroll
            for (int k = 0; k < N; k++) a[k] = fmaf(u.w1 * (1.0f - v.w1), e[k], a[k]);
            gpu_load<N>(x, (bottom + v.i1) * s.C + c * N, e);
#pragma unroll
            for (int k = 0; k < N; k++) a[k] = fmaf(u.w1 * v.w1, e[k], a[k]);
        }
        gpu_store<N>(y, i * N, a, false);
    }
}
template <int N> __global__ void resize_back_kernel(gpu_mem dy, gpu_mem dx, sizes s, bool add) {
    GPU_FOR(i, 1, s.items) {
        int64_t c, q, r, b = gpu_divide(gpu_divide(gpu_divide(i, s.vectors, &c), s.width, &q), s.height, &r);
        int32_t u1 = vm_resize_to(&s.row, (int32_t)r), v0 = vm_resize_from(&s.col, (int32_t)q),
                v1 = vm_resize_to(&s.col, (int32_t)q);
        float a[N], d[N];
#pragma unroll
        for (int k = 0; k < N; k++) a[k] = 0.0f;
        for (int32_t u = vm_resize_from(&s.row, (int32_t)r); u < u1; u++) {
            float wr = vm_resize_weight(&s.row, u, (int32_t)r);
            for (int32_t v = v0; v < v1; v++) {
                float w = wr * vm_resize_weight(&s.col, v, (int32_t)q);
                gpu_load<N>(dy, ((b * s.row.out + u) * s.col.out + v) * s.C + c * N, d);
#pragma unroll
                for (int k = 0; k < N; k++) a[k] = fmaf(w, d[k], a[k]);
            }
        }
        gpu_store<N>(dx, i * N, a, add);
    }
}

extern "C" vm_status resize_cuda(vm_graph *g, vm_node *n) {
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!vm_count(g, n->out[0])) return VM_OK;
    bool wide = vm_cols(g, n->out[0]) % 8 == 0 && gpu_wide(x, y);
    sizes s = sizes_of(g, n, n->in[0], n->out[0], n->out[0], wide ? 8 : 1);
    unsigned grid = gpu_grid(g, s.items, GPU_THREADS);
    return wide ? GPU_LAUNCH(g, (resize_kernel<8>), grid, GPU_THREADS, 0, x, y, s)
                : GPU_LAUNCH(g, (resize_kernel<1>), grid, GPU_THREADS, 0, x, y, s);
}
extern "C" vm_status resize_back_cuda(vm_graph *g, vm_node *n) {
    gpu_mem dy = gpu_in(g, n, 0), dx = gpu_out(g, n, 0);
    if (!vm_count(g, n->out[0])) return VM_OK;
    bool wide = vm_cols(g, n->out[0]) % 8 == 0 && gpu_wide(dy, dx), add = vm_adds(g, n, 0);
    sizes s = sizes_of(g, n, n->out[0], n->in[0], n->out[0], wide ? 8 : 1);
    unsigned grid = gpu_grid(g, s.items, GPU_THREADS);
    return wide ? GPU_LAUNCH(g, (resize_back_kernel<8>), grid, GPU_THREADS, 0, dy, dx, s, add)
                : GPU_LAUNCH(g, (resize_back_kernel<1>), grid, GPU_THREADS, 0, dy, dx, s, add);
}
