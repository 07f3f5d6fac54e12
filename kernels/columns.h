/* columns.h - for *_cpu.c files only: tiles of results on their way into a wider matrix. */
#ifndef VM_COLUMNS_H
#define VM_COLUMNS_H
#include "kernels/cpu.h"

/* A tile of results c (M,m) becomes columns j .. j + m of y (M,N), or is added to them. Products write tiles that are dense: into columns
 * of a wider matrix oneDNN has no fast ones that add, nor any of bf16. */
static inline void vm_put_columns(const vm_real *c, int64_t M, int64_t m, void *y, vm_type t, int64_t N, int64_t j, bool add) {
#pragma omp parallel for schedule(static) if (M * m > VM_PAR_MIN)
    for (int64_t i = 0; i < M; i++)
        for (int64_t k = 0; k < m; k += VM_CHUNK) {
            vm_real tmp[VM_CHUNK];
            int64_t n = VM_MIN((int64_t)VM_CHUNK, m - k), at = i * N + j + k;
            vm_real *to = vm_row_into(y, t, at, tmp, add);
            memcpy(to, c + i * m + k, (size_t)n * sizeof *to);
            vm_row_done(y, t, at, n, to, add);
        }
}

#endif
