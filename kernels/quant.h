/* quant.h - weights in 8 and 4 bits (vm_linear_q of ops.h): how codes and scales become numbers again, and how they are made.
 *
 *   INT8  codes (N,K): c + 128, w = c s;  block weights of a row share a scale, 0 = the whole row
 *   INT4  codes (N,K/2): two of a row in a byte, the earlier in the high half; w = (c - z) s, z = 8 where there are no zeros;
 *         scales and zeros (N, K/block rounded up)
 *   NF4   codes as INT4, w = nf4[c] s (Dettmers et al. 2023, QLoRA); blocks run over the weights row after row and may cross rows
 *         (as bitsandbytes has them); scales (N K/block rounded up), the largest magnitudes
 *
 * Scales are f32; or themselves u8 codes of "nested" scales, f32 [257 + n/256 rounded up]: s_b = map[c_b] top[b/256] + offset, in the
 * order offset, map (256), top. */
#ifndef VM_QUANT_H
#define VM_QUANT_H
#include "kernels/ops.h"

enum { VM_NESTED_BLOCK = 256, VM_NESTED_MAP = 1, VM_NESTED_TOP = 257 };

extern const float vm_nf4[16]; /* ascending: quantiles of the normal distribution, in which 0 is one */

/* Scales of a weight (N,K): how many. */
static inline int64_t vm_quant_scales(vm_quant_kind kind, int64_t N, int64_t K, int64_t block) {
    if (kind == VM_INT8 && !block) return N;
    return kind == VM_NF4 ? (N * K + block - 1) / block : N * ((K + block - 1) / block);
}
static inline int64_t vm_nested_len(int64_t n_scales) { return VM_NESTED_TOP + (n_scales + VM_NESTED_BLOCK - 1) / VM_NESTED_BLOCK; }

/* --- on the host: codes and scales out of numbers ------------------------------------------------------------------- */
/* w (N,K) f32. s = largest magnitude of the row (or block) / 127; c = w / s, rounded to nearest even. */
void vm_quantize_int8(const float *w, int64_t N, int64_t K, int64_t block, uint8_t *codes, float *scales);
/* K even. With zeros: s = (largest - smallest, 0 among them) / 15, z = -smallest / s rounded; without: s = largest magnitude / 7. */
void vm_quantize_int4(const float *w, int64_t N, int64_t K, int64_t block, uint8_t *codes, float *scales, float *zeros);
/* n weights row after row: the nearest of the 16 (of two equally near the lower), as bitsandbytes does it, bit for bit. */
void vm_quantize_nf4(const float *w, int64_t n, int64_t block, uint8_t *codes, float *scales);
/* n f32 scales -> u8 codes and nested [vm_nested_len(n)]: offset = mean, map = the signed dynamic one (vm_dynamic_map). */
void vm_quantize_scales(const float *scales, int64_t n, uint8_t *codes, float *nested);
/* 0, 1, and for e = 0..6 both signs of 10^(e-6) times the middles of 2^e equal parts of [0.1, 1]; ascending. */
void vm_dynamic_map(float map[256]);

/* --- numbers out of codes and scales -------------------------------------------------------------------------------- */
typedef struct {
    vm_quant_kind kind;
    int64_t N, K, block;     /* block > 0 */
    bool flat;               /* blocks cross rows */
    const uint8_t *codes;
    const void *scales;      /* vm_real, or uint8_t with nested */
    const vm_real *zeros, *nested;
} vm_quant_weight;

static inline vm_quant_weight vm_quant_weight_of(vm_quant_kind kind, int64_t N, int64_t K, int64_t block, const uint8_t *codes,
                                                 const void *scales, const vm_real *zeros, const vm_real *nested) {
    if (!block) block = VM_MAX(K, (int64_t)1);
    return (vm_quant_weight){ kind, N, K, block, kind == VM_NF4 && K % block, codes, scales, zeros, nested };
}
static inline vm_real vm_quant_scale(const vm_quant_weight *w, int64_t b) {
    if (!w->nested) return ((const vm_real *)w->scales)[b];
    return w->nested[VM_NESTED_MAP + ((const uint8_t *)w->scales)[b]] * w->nested[VM_NESTED_TOP + b / VM_NESTED_BLOCK] + w->nested[0];
}

#endif
