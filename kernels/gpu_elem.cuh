/* gpu_elem.cuh - what kernels bound by memory share: values of a type that the launch knows, read and written N at a
 * time as f32; loops over elements that fill the device; division by numbers known at launch; sums over rows in a
 * fixed order.
 *
 * A kernel has two instances: N = 8 moves 16 or 32 bytes per access where all addresses are aligned to 16 bytes and
 * rows, where they matter, are multiples of 8; N = 1 takes anything (views at odd places). */
#ifndef VM_GPU_ELEM_CUH
#define VM_GPU_ELEM_CUH
#include "kernels/gpu.cuh"

/* A tensor as kernels see it: its address (NULL = none) and vm_type. */
typedef struct {
    void *p;
    int t;
} gpu_mem;
static inline gpu_mem gpu_in(const vm_graph *g, const vm_node *n, int k) {
    gpu_mem m = { vm_in(g, n, k), (int)g->v[n->in[k]].type };
    return m;
}
static inline gpu_mem gpu_out(const vm_graph *g, const vm_node *n, int k) {
    gpu_mem m = { vm_o(g, n, k), (int)g->v[n->out[k]].type };
    return m;
}
static inline bool gpu_on16(const void *p) { return (uintptr_t)p % 16 == 0; } /* also NULL */
static inline bool gpu_wide(gpu_mem a, gpu_mem b) { return gpu_on16(a.p) && gpu_on16(b.p); }
static inline bool gpu_wide3(gpu_mem a, gpu_mem b, gpu_mem c) { return gpu_wide(a, b) && gpu_on16(c.p); }

/* --- loads and stores --------------------------------------------------------------------------------------------- */
__device__ __forceinline__ float gpu_get(gpu_mem m, int64_t at) {
    if (m.t == VM_F32) return ((const float *)m.p)[at];
    if (m.t == VM_BF16) return to_f32(((const bf16 *)m.p)[at]);
    return to_f32(((const f16 *)m.p)[at]);
}
__device__ __forceinline__ void gpu_put(gpu_mem m, int64_t at, float x) {
    if (m.t == VM_F32) ((float *)m.p)[at] = x;
    else if (m.t == VM_BF16) ((bf16 *)m.p)[at] = from_f32<bf16>(x);
    else ((f16 *)m.p)[at] = from_f32<f16>(x);
}

template <class T, int N> __device__ __forceinline__ void gpu_load_as(const T *p, float *x) {
    vec<T, N> v = ld_vec<N>(p);
#pragma unroll
    for (int k = 0; k < N; k++) x[k] = to_f32(v.v[k]);
}
template <class T, int N> __device__ __forceinline__ void gpu_store_as(T *p, const float *x) {
    vec<T, N> v;
#pragma unroll
    for (int k = 0; k < N; k++) v.v[k] = from_f32<T>(x[k]);
    st_vec<N>(p, v);
}
/* x[0..N) = the elements from `at` on; N is 1, 4 or 8, and at is a multiple of it. */
template <int N> __device__ __forceinline__ void gpu_load(gpu_mem m, int64_t at, float *x) {
    if (m.t == VM_F32)
#pragma unroll
        for (int k = 0; k < N; k += 4) gpu_load_as<float, (N < 4 ? N : 4)>((const float *)m.p + at + k, x + k);
    else if (m.t == VM_BF16) gpu_load_as<bf16, N>((const bf16 *)m.p + at, x);
    else gpu_load_as<f16, N>((const f16 *)m.p + at, x);
}
/* The elements from `at` on = [themselves +] x[0..N); x is the sum then. */
template <int N> __device__ __forceinline__ void gpu_store(gpu_mem m, int64_t at, float *x, bool add) {
    if (add) {
        float old[N];
        gpu_load<N>(m, at, old);
#pragma unroll
        for (int k = 0; k < N; k++) x[k] += old[k];
    }
    if (m.t == VM_F32)
#pragma unroll
        for (int k = 0; k < N; k += 4) gpu_store_as<float, (N < 4 ? N : 4)>((float *)m.p + at + k, x + k);
    else if (m.t == VM_BF16) gpu_store_as<bf16, N>((bf16 *)m.p + at, x);
    else gpu_store_as<f16, N>((f16 *)m.p + at, x);
}
/* The same with an end of the tensor that may lie among the N: zeros beyond it, nothing stored there. */
template <int N> __device__ __forceinline__ void gpu_load_to(gpu_mem m, int64_t at, int64_t end, float *x) {
    if (at + N <= end) {
        gpu_load<N>(m, at, x);
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k++) x[k] = at + k < end ? gpu_get(m, at + k) : 0.0f;
}
template <int N> __device__ __forceinline__ void gpu_store_to(gpu_mem m, int64_t at, int64_t end, float *x, bool add) {
    if (at + N <= end) {
        gpu_store<N>(m, at, x, add);
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        if (at + k < end) gpu_put(m, at + k, x[k] + (add ? gpu_get(m, at + k) : 0.0f));
}

/* --- loops over elements ------------------------------------------------------------------------------------------ */
enum { GPU_THREADS = 256 };

/* Blocks of a loop whose blocks do per_block items a turn: no more than the device holds at once. */
static inline unsigned gpu_grid(const vm_graph *g, int64_t items, int64_t per_block) {
    int64_t blocks = (items + per_block - 1) / per_block, most = (int64_t)gpu_of(g)->sms * 8;
    return (unsigned)(blocks < most ? blocks : most);
}
/* i: the first element of each group of N that this thread has, below n */
#define GPU_FOR(i, N, n)                                                                                           \
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * (N); i < (n);                              \
         i += (int64_t)gridDim.x * blockDim.x * (N))
/* kernel<8> or kernel<1> over n > 0 elements; the value is a vm_status */
#define GPU_EACH(g, kernel, wide, n, ...)                                                                          \
    ((wide) ? GPU_LAUNCH(g, (kernel<8>), gpu_grid(g, n, 8 * GPU_THREADS), GPU_THREADS, 0, __VA_ARGS__)             \
            : GPU_LAUNCH(g, (kernel<1>), gpu_grid(g, n, GPU_THREADS), GPU_THREADS, 0, __VA_ARGS__))

/* Queues y[i] = value for all i < n (grad.cu). */
extern "C" vm_status gpu_fill(vm_graph *g, gpu_mem y, int64_t n, float value);

/* --- division by a number known at launch ------------------------------------------------------------------------- */
/* Granlund & Montgomery 1994: n/d = (n + high word of n mul) >> shift for n < 2^31; larger n divide in 64 bits. */
typedef struct {
    int64_t d;
    uint32_t mul, shift;
} gpu_div;
static inline gpu_div gpu_div_by(int64_t d) {
    gpu_div v = { d, 0, 31 };
    if (d < 1 || d > 0x7fffffff) return v; /* n < 2^31 <= d: 0 */
    for (v.shift = 0; (int64_t)1 << v.shift < d;) v.shift++;
    v.mul = (uint32_t)((((uint64_t)1 << 32) * (((uint64_t)1 << v.shift) - (uint64_t)d)) / (uint64_t)d + 1);
    return v;
}
__device__ __forceinline__ int64_t gpu_divide(int64_t n, gpu_div by, int64_t *rest) {
    int64_t q = n >> 31 ? n / by.d : (int64_t)((umulhi32((uint32_t)n, by.mul) + (uint32_t)n) >> by.shift);
    *rest = n - q * by.d;
    return q;
}

#endif
