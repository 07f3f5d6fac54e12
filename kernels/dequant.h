/* dequant.h - rows of weights in 8 and 4 bits as numbers in memory, on the processor: a byte of two codes is looked up at once. */
#ifndef VM_DEQUANT_H
#define VM_DEQUANT_H
#include <string.h>

#include "kernels/quant.h"

/* Both weights of a byte before their scale, for every byte. */
typedef struct { vm_real v[256][2]; } vm_quant_pairs;
static inline void vm_quant_pairs_make(vm_quant_pairs *t, vm_quant_kind kind) {
    for (int c = 0; c < 256; c++)
        for (int k = 0; k < 2; k++) {
            int code = k ? c & 15 : c >> 4;
            t->v[c][k] = kind == VM_NF4 ? (vm_real)vm_nf4[code] : (vm_real)(code - 8);
        }
}

/* Weights k0 .. k0 + m of row n. t: of vm_quant_pairs_make, for 4 bits. */
static inline void vm_dequantize(const vm_quant_weight *w, const vm_quant_pairs *t, int64_t n, int64_t k0, int64_t m,
                                 vm_real *restrict y) {
    int64_t first = n * w->K, G = (w->K + w->block - 1) / w->block;
    for (int64_t k = k0, end; k < k0 + m; y += end - k, k = end) {
        int64_t b = w->flat ? (first + k) / w->block : n * G + k / w->block;
        end = VM_MIN(k0 + m, w->flat ? (b + 1) * w->block - first : (k / w->block + 1) * w->block);
        vm_real s = vm_quant_scale(w, b), shift = w->zeros ? (8 - w->zeros[b]) * s : 0;
        int64_t len = end - k, i = 0, e = first + k;
        if (w->kind == VM_INT8) {
            const uint8_t *c = w->codes + e;
#pragma omp simd
            for (int64_t j = 0; j < len; j++) y[j] = (vm_real)(c[j] - 128) * s;
            continue;
        }
        if (e & 1 && len) y[i++] = t->v[w->codes[e / 2]][1];
        const uint8_t *c = w->codes + (e + i) / 2;
        for (; i + 2 <= len; i += 2, c++) memcpy(y + i, t->v[*c], 2 * sizeof *y);
        if (i < len) y[i] = t->v[*c][0];
#pragma omp simd
        for (int64_t j = 0; j < len; j++) y[j] = y[j] * s + shift;
    }
}

#endif
