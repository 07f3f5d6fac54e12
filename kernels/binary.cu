/* binary.cu - see binary.c. A short b is read again and again from a cache: in vectors where its size allows, else
 * value by value with its place counted round. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/binary.h"
}

/* x[0..N) = the values that elements i.. of a tensor meet in b, which repeats */
template <int N>
static __device__ __forceinline__ void repeated(gpu_mem b, gpu_div size, int64_t i, int64_t end, float *x) {
    int64_t j;
    gpu_divide(i, size, &j);
    if (size.d % N == 0) {
        gpu_load<N>(b, j, x);
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
        x[k] = i + k < end ? gpu_get(b, j) : 0.0f;
        j = j + 1 == size.d ? 0 : j + 1;
    }
}

static __device__ __forceinline__ float apply(int kind, float a, float b) {
    switch (kind) {
        case VM_ADD: return a + b;
        case VM_SUB: return a - b;
        case VM_MUL: return a * b;
        case VM_DIV: return a / b;
        default: return a < b || b != b ? b : a; /* the larger; NaN wins */
    }
}
/* the part of the larger one: 1, or 1/2 when equal */
static __device__ __forceinline__ float share(float mine, float other) {
    return mine > other ? 1.0f : mine == other ? 0.5f : 0.0f;
}
static __device__ __forceinline__ float apply_back(int what, float d, float a, float b) {
    if (what == VM_DIV_B) return -d * a / (b * b);
    return d * (what == VM_MAXIMUM_A ? share(a, b) : share(b, a));
}

template <int N>
__global__ void binary_kernel(gpu_mem a, gpu_mem b, gpu_mem y, gpu_div size, int64_t n, int kind, bool add) {
    GPU_FOR(i, N, n) {
        float u[N], v[N];
        gpu_load_to<N>(a, i, n, u);
        repeated<N>(b, size, i, n, v);
#pragma unroll
        for (int k = 0; k < N; k++) u[k] = apply(kind, u[k], v[k]);
        gpu_store_to<N>(y, i, n, u, add);
    }
}
template <int N> __global__ void binary_back_kernel(gpu_mem dy, gpu_mem a, gpu_mem b, gpu_mem y, gpu_div size,
                                                    int64_t n, int what, bool add) {
    GPU_FOR(i, N, n) {
        float d[N], u[N], v[N];
        gpu_load_to<N>(dy, i, n, d);
        gpu_load_to<N>(a, i, n, u);
        repeated<N>(b, size, i, n, v);
#pragma unroll
        for (int k = 0; k < N; k++) d[k] = apply_back(what, d[k], u[k], v[k]);
        gpu_store_to<N>(y, i, n, d, add);
    }
}

extern "C" vm_status binary_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem a = gpu_in(g, n, 0), b = gpu_in(g, n, 1), y = gpu_out(g, n, 0);
    gpu_div size = gpu_div_by(vm_count(g, n->in[1]));
    if (!N) return VM_OK;
    return GPU_EACH(g, binary_kernel, gpu_wide3(a, b, y), N, a, b, y, size, N, (int)n->i[1], vm_adds(g, n, 0));
}
extern "C" vm_status binary_back_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem dy = gpu_in(g, n, 0), a = gpu_in(g, n, 1), b = gpu_in(g, n, 2), y = gpu_out(g, n, 0);
    gpu_div size = gpu_div_by(vm_count(g, n->in[2]));
    if (!N) return VM_OK;
    return GPU_EACH(g, binary_back_kernel, gpu_wide3(dy, a, y) && gpu_on16(b.p), N, dy, a, b, y, size, N, (int)n->i[1],
                    vm_adds(g, n, 0));
}
