/* glu.cu - see glu.c. N elements of a row per thread; one read and one write. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
#include "kernels/gpu_unary.cuh"

/* Value and gate of element i of the result: in tensors of their own (C.d = 0), or in rows of 2C. */
typedef struct {
    gpu_mem v, gate;
    gpu_div C;
    bool gate_first;
} halves;
static inline halves halves_of(const vm_graph *g, const vm_node *n, int k, int64_t C) {
    bool packed = n->n_in == k + 1;
    halves h = { gpu_in(g, n, k), gpu_in(g, n, packed ? k : k + 1), gpu_div_by(packed ? C : 0), n->i[2] != 0 };
    return h;
}
static inline bool halves_wide(halves h) { return gpu_wide(h.v, h.gate) && h.C.d % 8 == 0; }
__device__ __forceinline__ void places(const halves &h, int64_t i, int64_t *v, int64_t *gate) {
    int64_t rest, at = i;
    *v = *gate = i;
    if (!h.C.d) return;
    at += gpu_divide(i, h.C, &rest) * h.C.d;
    *v = h.gate_first ? at + h.C.d : at, *gate = h.gate_first ? at : at + h.C.d;
}

template <int N> __global__ void glu_kernel(halves h, gpu_mem y, int64_t n, int act) {
    GPU_FOR(i, N, n) {
        float v[N], a[N];
        int64_t at_v, at_g;
        places(h, i, &at_v, &at_g);
        gpu_load_to<N>(h.v, at_v, at_v + n - i, v);
        gpu_load_to<N>(h.gate, at_g, at_g + n - i, a);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] *= gpu_unary(act, a[k]);
        gpu_store_to<N>(y, i, n, v, false);
    }
}
template <int N> __global__ void glu_back_kernel(gpu_mem dy, halves h, gpu_mem dv, gpu_mem dgate, int64_t n, int act,
                                                 bool add_v, bool add_g) {
    GPU_FOR(i, N, n) {
        float d[N], v[N], a[N];
        int64_t at_v, at_g;
        places(h, i, &at_v, &at_g);
        gpu_load_to<N>(dy, i, n, d);
        gpu_load_to<N>(h.v, at_v, at_v + n - i, v);
        gpu_load_to<N>(h.gate, at_g, at_g + n - i, a);
#pragma unroll
        for (int k = 0; k < N; k++) {
            float slope = gpu_unary_slope(act, a[k], d[k] * v[k]);
            v[k] = d[k] * gpu_unary(act, a[k]), a[k] = slope;
        }
        gpu_store_to<N>(dv, at_v, at_v + n - i, v, add_v);
        gpu_store_to<N>(dgate, at_g, at_g + n - i, a, add_g);
    }
}

extern "C" vm_status glu_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    halves h = halves_of(g, n, 0, vm_cols(g, n->out[0]));
    return GPU_EACH(g, glu_kernel, halves_wide(h) && gpu_on16(y.p), N, h, y, N, (int)n->i[1]);
}
extern "C" vm_status glu_back_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->in[0]);
    int two = n->n_out == 2;
    gpu_mem dy = gpu_in(g, n, 0), dv = gpu_out(g, n, 0), dgate = gpu_out(g, n, two);
    if (!N) return VM_OK;
    halves h = halves_of(g, n, 1, vm_cols(g, n->in[0]));
    return GPU_EACH(g, glu_back_kernel, halves_wide(h) && gpu_wide3(dy, dv, dgate), N, dy, h, dv, dgate, N,
                    (int)n->i[1], vm_adds(g, n, 0), vm_adds(g, n, two));
}
