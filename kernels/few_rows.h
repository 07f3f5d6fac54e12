/* few_rows.h - for *_cpu.c files only: products of a few rows with a weight that stays as it stands in memory, row after row, in f32,
 * bf16 or f16: y[m] = W x[m]. Decoding is bound by the bytes of W, so no copy in another layout or type is made: its numbers become
 * f32 in registers, and up to FEW_ROWS rows of x share one pass over it.
 *
 * x stands as vectors of its M rows side by side, [vector of columns][row][lane], with zeros behind the last column. Each lane adds up
 * its columns in ascending order and one order of the lanes ends every sum, whatever M is and however many threads there are: the bits
 * of a row depend on nothing else. */
#ifndef VM_FEW_ROWS_H
#define VM_FEW_ROWS_H
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/tile.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

enum { FEW_ROWS = VM_FEW_ROWS,
       FEW_LINES = 16,      /* rows of W that a thread takes at a time */
       FEW_SHARED = 8192 }; /* numbers of x that these share before going on to further columns: they stay in the first-level cache */

INLINE vec load_f16(const uint16_t *p) {
#if defined(__AVX512F__) && !defined(VM_F64_BUILD)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined(__F16C__) && !defined(VM_F64_BUILD)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#else
    vec y = { 0 };
    UNROLL for (int l = 0; l < LANES; l++) y[l] = (vm_real)vm_f16_to_f32(p[l]);
    return y;
#endif
}
INLINE vec few_load(const void *p, const vm_type t) { return t == VM_F32 ? load_f32(p) : t == VM_BF16 ? load_bf16(p) : load_f16(p); }

/* sum[r][m] += <columns of row r of W, x_m> for R rows, n columns from here on; ld: bytes between rows. */
INLINE void few_block(const int R, const int M, const vm_type t, const char *w, size_t ld, int64_t n, const vm_real *x, vec (*sum)[FEW_ROWS]) {
    const size_t each = t == VM_F32 ? sizeof(vm_real) : 2;
    vec all[4][FEW_ROWS];
    UNROLL for (int r = 0; r < R; r++) UNROLL
    for (int m = 0; m < M; m++) all[r][m] = sum[r][m];
    enum { LINE = 64 };
    const int side = VM_MAX((int)(LINE / (LANES * each)), 1); /* vectors of a cache line */
    for (; n >= side * LANES; n -= side * LANES, w += side * LANES * each, x += side * M * LANES)
        UNROLL for (int r = 0; r < R; r++) {
            __builtin_prefetch(w + (size_t)(R + r) * ld, 0, 2); /* the rows that come behind these */
            UNROLL for (int v = 0; v < side; v++) {
                vec y = few_load(w + (size_t)r * ld + (size_t)v * LANES * each, t);
                UNROLL for (int m = 0; m < M; m++) all[r][m] += y * vec_load(x + (v * M + m) * LANES);
            }
        }
    for (; n >= LANES; n -= LANES, w += LANES * each, x += M * LANES)
        UNROLL for (int r = 0; r < R; r++) {
            vec y = few_load(w + (size_t)r * ld, t);
            UNROLL for (int m = 0; m < M; m++) all[r][m] += y * vec_load(x + m * LANES);
        }
    if (n) /* the rest meets zeros of x */
        UNROLL for (int r = 0; r < R; r++) {
            char rest[LANES * sizeof(vm_real)] = { 0 };
            memcpy(rest, w + (size_t)r * ld, (size_t)n * each);
            vec v = few_load(rest, t);
            UNROLL for (int m = 0; m < M; m++) all[r][m] += v * vec_load(x + m * LANES);
        }
    UNROLL for (int r = 0; r < R; r++) UNROLL
    for (int m = 0; m < M; m++) sum[r][m] = all[r][m];
}

/* The same for `lines` rows of W: as many together as registers hold the sums of. */
static __attribute__((noinline, unused)) void few_lines(int M, vm_type t, const char *w, size_t ld, int64_t lines, int64_t n, const vm_real *x,
                                                        vec (*sum)[FEW_ROWS]) {
#define FEW(mm, R, tt)                                                                           \
    case mm * 4 + tt:                                                                            \
        for (; i + R <= lines; i += R) few_block(R, mm, tt, w + (size_t)i * ld, ld, n, x, sum + i); \
        for (; i < lines; i++) few_block(1, mm, tt, w + (size_t)i * ld, ld, n, x, sum + i);      \
        break
#define FEW_TYPES(mm, R) FEW(mm, R, VM_F32); FEW(mm, R, VM_BF16); FEW(mm, R, VM_F16)
    enum { WIDE = VEC_BYTES == 64 };
    int64_t i = 0;
    switch (M * 4 + (int)t) {
        FEW_TYPES(1, 4);
        FEW_TYPES(2, 4);
        FEW_TYPES(3, (WIDE ? 4 : 2));
        FEW_TYPES(4, (WIDE ? 4 : 2));
        FEW_TYPES(5, (WIDE ? 2 : 1));
        FEW_TYPES(6, (WIDE ? 2 : 1));
        FEW_TYPES(7, (WIDE ? 2 : 1));
        FEW_TYPES(8, (WIDE ? 2 : 1));
    }
#undef FEW_TYPES
#undef FEW
}

/* Row `at` of x (K columns of type t) as row m of M in room. */
static inline void few_place(vm_real *room, int M, int m, const void *x, vm_type t, int64_t at, int64_t K) {
    for (int64_t k = 0; k < K; k += VM_CHUNK) {
        vm_real tmp[VM_CHUNK], part[VM_CHUNK + 16] = { 0 };
        int64_t n = VM_MIN((int64_t)VM_CHUNK, K - k);
        memcpy(part, vm_row(x, t, at * K + k, n, tmp), (size_t)n * sizeof *part);
        for (int64_t c = 0; c < n; c += LANES) vec_store(room + (k + c) * M + m * LANES, load_f32(part + c));
    }
}

typedef struct {
    const vm_value *x, *y;   /* rows of K and N numbers */
    const void *w;           /* (N,K) of type t */
    vm_type t;
    int64_t N, K;
    const vm_real *bias;     /* NULL = none */
    vm_unary_kind act;       /* behind the bias */
    bool add;                /* onto what y holds */
    vm_real *room;           /* vm_few_room(K), aligned */
} few_product;

/* Row m of y, numbers n0 .. n0 + lines, from sums [lines][row]. */
static inline void few_end(const few_product *p, int64_t m, int64_t n0, int64_t lines, int row, vec (*sum)[FEW_ROWS]) {
    vm_real tmp[FEW_LINES], *to = vm_row_into(p->y->data, p->y->type, m * p->N + n0, tmp, p->add);
    for (int64_t i = 0; i < lines; i++) {
        to[i] = vec_sum(sum[i][row]) + (p->bias ? p->bias[n0 + i] : 0);
        if (p->act != VM_NONE) to[i] = vm_activation((double)to[i], p->act);
    }
    vm_row_done(p->y->data, p->y->type, m * p->N + n0, lines, to, p->add);
}

/* Rows first .. first + n of y from those of x. */
static inline void few_rows_run(const few_product *p, int64_t first, int64_t n) {
    const int64_t N = p->N, K = p->K;
    const size_t each = vm_type_size(p->t), ld = (size_t)K * each;
    for (int64_t m0 = first; m0 < first + n; m0 += FEW_ROWS) {
        const int M = (int)VM_MIN((int64_t)FEW_ROWS, first + n - m0);
        const int64_t columns = FEW_SHARED / M / 16 * 16;
#pragma omp parallel if (N * K > VM_PAR_MIN)
        {
#pragma omp for schedule(static)
            for (int m = 0; m < M; m++) few_place(p->room, M, m, p->x->data, p->x->type, m0 + m, K);
#pragma omp for schedule(static)
            for (int64_t n0 = 0; n0 < N; n0 += FEW_LINES) {
                vec sum[FEW_LINES][FEW_ROWS] = { { { 0 } } };
                int64_t lines = VM_MIN((int64_t)FEW_LINES, N - n0);
                for (int64_t k = 0; k < K; k += columns)
                    few_lines(M, p->t, (const char *)p->w + (size_t)n0 * ld + (size_t)k * each, ld, lines, VM_MIN(columns, K - k), p->room + k * M, sum);
                for (int m = 0; m < M; m++) few_end(p, m0 + m, n0, lines, m, sum);
            }
        }
    }
}

#endif
