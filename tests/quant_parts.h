/* quant_parts.h - the numbers that codes stand for, and x rounded to 8 bits, in double, by the definitions of quant.h and ops.h alone. */
#ifndef VM_TESTS_QUANT_PARTS_H
#define VM_TESTS_QUANT_PARTS_H
#include <math.h>

#include "kernels/quant.h"

/* Number (n,k) of a weight of K columns. rounded: those of NF4 to 8 bits. zeros NULL = none. */
static inline double quant_number(vm_quant_kind kind, int64_t block, int64_t K, bool rounded, const uint8_t *codes, const double *scale, const double *zeros,
                                  int64_t n, int64_t k) {
    int64_t e = n * K + k, G = block ? (K + block - 1) / block : 1, b = kind == VM_NF4 ? e / block : n * G + (block ? k / block : 0);
    int c = kind == VM_INT8 ? codes[e] : e % 2 ? codes[e / 2] & 15 : codes[e / 2] >> 4;
    if (kind == VM_INT8) return (c - 128) * scale[b];
    if (kind == VM_INT4) return (c - (zeros ? zeros[b] : 8)) * scale[b];
    return scale[b] * (rounded ? rint((double)vm_nf4[c] * 123.25) / 123.25 : (double)vm_nf4[c]);
}

/* K numbers, each 32 by their largest. */
static inline void quant_rounded(const double *x, int64_t K, double *out) {
    for (int64_t k = 0; k < K; k += 32) {
        int64_t n = VM_MIN((int64_t)32, K - k);
        float most = 0;
        for (int64_t i = k; i < k + n; i++) most = fmaxf(most, fabsf((float)x[i]));
        for (int64_t i = k; i < k + n; i++) out[i] = most > 0 ? (double)rintf((float)x[i] * (127 / most)) * (double)(most / 127) : 0;
    }
}

#endif
