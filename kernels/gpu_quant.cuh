/* gpu_quant.cuh - weights in 8 and 4 bits on the device (quant.h): codes to f32 in registers. A code c becomes the float 2^23 + c by its
 * bits, which is cheaper than a conversion; the 16 numbers of NF4 stand in shared memory, each in a bank of its own, so that 32 lanes
 * look up 32 codes at once. */
#ifndef VM_GPU_QUANT_CUH
#define VM_GPU_QUANT_CUH
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/linear_q.h"
}

typedef struct {
    const uint8_t *codes;
    const void *scales;         /* float, or uint8_t with nested */
    const float *zeros, *nested;
    const float *table;         /* in shared memory: gpu_table_fill */
    int64_t N, K, G;            /* G: blocks of a row, where blocks do not cross rows */
    gpu_div block;
    int kind;
    bool flat;
} gpu_codes;

static inline gpu_codes gpu_codes_of(const vm_graph *g, const vm_node *n) {
    vm_quant_weight w = lq_weight(g, n);
    gpu_codes c = { w.codes, w.scales, w.zeros, w.nested, NULL, w.N, w.K, (w.K + w.block - 1) / w.block, gpu_div_by(w.block), w.kind, w.flat };
    return c;
}

static __constant__ float gpu_nf4[16] = { /* vm_nf4 */
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f
};
/* By the first 16 threads; a barrier before it is read. */
__device__ __forceinline__ void gpu_table_fill(float *table) {
    if (threadIdx.x < 16) table[threadIdx.x] = gpu_nf4[threadIdx.x];
}

__device__ __forceinline__ float gpu_scale(const gpu_codes &w, int64_t b) {
    if (!w.nested) return ((const float *)w.scales)[b];
    return fmaf(w.nested[VM_NESTED_MAP + ((const uint8_t *)w.scales)[b]], w.nested[VM_NESTED_TOP + b / VM_NESTED_BLOCK], w.nested[0]);
}
__device__ __forceinline__ int64_t gpu_block_of(const gpu_codes &w, int64_t n, int64_t k) {
    int64_t rest;
    return w.flat ? gpu_divide(n * w.K + k, w.block, &rest) : n * w.G + gpu_divide(k, w.block, &rest);
}

/* 2^23 + the code of nibble or byte i of a word, as vm_quant has them in order: the high half of a byte first */
__device__ __forceinline__ uint32_t gpu_nibble(uint32_t word, int i) { return word >> (i / 2 * 8 + (i % 2 ? 0 : 4)) & 15u; }
__device__ __forceinline__ float gpu_float_of(uint32_t code) { return bits_f32(0x4b000000u | code) - 8388608.0f; }
/* s (c - z), or s table[c] */
__device__ __forceinline__ float gpu_weight4(const gpu_codes &w, uint32_t c, float s, float zs) {
    return w.kind == VM_NF4 ? w.table[c] * s : fmaf(gpu_float_of(c), s, -zs);
}
__device__ __forceinline__ float gpu_zero(const gpu_codes &w, int64_t b) { return w.kind == VM_INT8 ? 128.0f : w.zeros ? w.zeros[b] : 8.0f; }

/* Any one weight. */
__device__ __forceinline__ float gpu_weight(const gpu_codes &w, int64_t n, int64_t k) {
    int64_t e = n * w.K + k, b = gpu_block_of(w, n, k);
    float s = gpu_scale(w, b), zs = gpu_zero(w, b) * s;
    if (w.kind == VM_INT8) return fmaf(gpu_float_of(w.codes[e]), s, -zs);
    return gpu_weight4(w, e % 2 ? w.codes[e / 2] & 15u : w.codes[e / 2] >> 4, s, zs);
}
/* E (4 or 8) weights of row n from k on, in one block, their codes aligned. */
template <int E> __device__ __forceinline__ void gpu_weights(const gpu_codes &w, int64_t n, int64_t k, float *x) {
    int64_t e = n * w.K + k, b = gpu_block_of(w, n, k);
    float s = gpu_scale(w, b), zs = gpu_zero(w, b) * s;
    if (w.kind == VM_INT8) {
        vec<uint32_t, E / 4> c = ld_vec<E / 4>((const uint32_t *)(w.codes + e));
#pragma unroll
        for (int i = 0; i < E; i++) x[i] = fmaf(gpu_float_of(c.v[i / 4] >> (i % 4 * 8) & 255u), s, -zs);
        return;
    }
    uint32_t c = E == 8 ? *(const uint32_t *)(w.codes + e / 2) : *(const uint16_t *)(w.codes + e / 2);
#pragma unroll
    for (int i = 0; i < E; i++) x[i] = gpu_weight4(w, gpu_nibble(c, i), s, zs);
}
/* Whether gpu_weights may take every chunk of 8. */
static inline bool gpu_codes_whole(const gpu_codes &w) {
    return w.K % 8 == 0 && (w.block.d % 8 == 0 || (!w.flat && w.G == 1)) && (uintptr_t)w.codes % 8 == 0;
}

/* linear_q_rows.cu: up to LQ_ROWS rows of x (or any number, of weights that are not whole); dx of those. */
extern "C" vm_status gpu_lq_rows(vm_graph *g, vm_node *n);
extern "C" vm_status gpu_lq_dx_any(vm_graph *g, vm_node *n);

#endif
