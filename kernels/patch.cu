/* patch.cu - see patch.c. Each side is written along its rows; what is read with a stride (the channels of a pixel,
 * the planes of a patch) lies within a few lines that stay in the first cache until all of them is read. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

typedef struct {
    gpu_div P, nh, nw, C, H, W;
} sizes;

/* y (B, nh nw, C P P) from x (B,H,W,C) */
__global__ void patchify_kernel(const float *x, gpu_mem y, sizes s, int64_t n) {
    GPU_FOR(e, 1, n) {
        int64_t i, r, c, col, row, b;
        b = gpu_divide(gpu_divide(gpu_divide(gpu_divide(gpu_divide(e, s.P, &i), s.P, &r), s.C, &c), s.nw, &col), s.nh,
                       &row);
        gpu_put(y, e, x[((b * s.H.d + row * s.P.d + r) * s.W.d + col * s.P.d + i) * s.C.d + c]);
    }
}
/* dx (B,H,W,C) from dy; zeros in the remainder */
__global__ void patchify_back_kernel(gpu_mem dy, float *dx, sizes s, int64_t n) {
    GPU_FOR(e, 1, n) {
        int64_t c, w, h, b = gpu_divide(gpu_divide(gpu_divide(e, s.C, &c), s.W, &w), s.H, &h);
        int64_t i, r, col = gpu_divide(w, s.P, &i), row = gpu_divide(h, s.P, &r);
        bool inside = col < s.nw.d && row < s.nh.d;
        dx[e] =
            inside ? gpu_get(dy, ((((b * s.nh.d + row) * s.nw.d + col) * s.C.d + c) * s.P.d + r) * s.P.d + i) : 0.0f;
    }
}

static sizes sizes_of(const int64_t *ne, int64_t P) {
    sizes s = { gpu_div_by(P),     gpu_div_by(ne[1] / P), gpu_div_by(ne[2] / P),
                gpu_div_by(ne[3]), gpu_div_by(ne[1]),     gpu_div_by(ne[2]) };
    return s;
}
extern "C" vm_status patchify_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    if (!N) return VM_OK;
    return GPU_LAUNCH(g, patchify_kernel, gpu_grid(g, N, GPU_THREADS), GPU_THREADS, 0, (const float *)vm_in(g, n, 0),
                      gpu_out(g, n, 0), sizes_of(g->v[n->in[0]].ne, n->i[0]), N);
}
extern "C" vm_status patchify_back_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    if (!N) return VM_OK;
    return GPU_LAUNCH(g, patchify_back_kernel, gpu_grid(g, N, GPU_THREADS), GPU_THREADS, 0, gpu_in(g, n, 0),
                      (float *)vm_o(g, n, 0), sizes_of(g->v[n->out[0]].ne, n->i[0]), N);
}
