/* moments.h - means and sums of squared deviations of columns, for *_cpu.c files: rows are walked in blocks that
 * stay in the second cache, each block in two passes, then joined (Chan, Golub & LeVeque 1979), so that memory is
 * read once and nothing cancels. */
#ifndef VM_MOMENTS_H
#define VM_MOMENTS_H
#include "kernels/cpu.h"

/* Joins (m,s) of n values, per column, with (bm,bs) of nb more. */
static inline void vm_join(vm_real *restrict m, vm_real *restrict s, int64_t n,
                           const vm_real *restrict bm, const vm_real *restrict bs, int64_t nb, int64_t C) {
    vm_real part = (vm_real)nb / (vm_real)(n + nb), both = part * (vm_real)n;
#pragma omp simd
    for (int64_t c = 0; c < C; c++) {
        vm_real d = bm[c] - m[c];
        m[c] += d * part, s[c] += bs[c] + d * d * both;
    }
}

/* Columns c0.. of rows r0..r1: mean and sum of squared deviations into m, s. */
static inline void vm_moments(const void *x, vm_type t, int64_t C, int64_t c0, int64_t cols, int64_t r0,
                              int64_t r1, vm_real *m, vm_real *s) {
    vm_real bm[VM_CHUNK], bs[VM_CHUNK], tmp[VM_CHUNK];
    int64_t block = VM_MAX(16384 / C, (int64_t)4);
    memset(m, 0, (size_t)cols * sizeof *m), memset(s, 0, (size_t)cols * sizeof *s);
    for (int64_t r = r0; r < r1; r += block) {
        int64_t end = VM_MIN(r + block, r1);
        vm_real scale = 1 / (vm_real)(end - r);
        memset(bm, 0, (size_t)cols * sizeof *bm), memset(bs, 0, (size_t)cols * sizeof *bs);
        for (int64_t i = r; i < end; i++) {
            const vm_real *restrict a = vm_row(x, t, i * C + c0, cols, tmp);
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) bm[c] += a[c];
        }
        for (int64_t c = 0; c < cols; c++) bm[c] *= scale;
        for (int64_t i = r; i < end; i++) {
            const vm_real *restrict a = vm_row(x, t, i * C + c0, cols, tmp);
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) bs[c] += (a[c] - bm[c]) * (a[c] - bm[c]);
        }
        vm_join(m, s, r - r0, bm, bs, end - r, cols);
    }
}

#endif
