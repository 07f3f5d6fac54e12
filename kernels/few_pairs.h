/* few_pairs.h - for *_cpu.c files only: few_rows.h for x and W in bf16 on processors with vdpbf16ps, which multiplies pairs of neighbours and
 * adds both products to an f32. VM_LEAST_PAIR_ROWS to VM_PAIR_ROWS rows of x share what is read of W from memory, FEW_ROWS of them what is
 * read into registers. Bits of a row do not depend on the others, nor on threads. */
#ifndef VM_FEW_PAIRS_H
#define VM_FEW_PAIRS_H
#include "kernels/few_rows.h"
#include "kernels/tile_bf16.h"

#if defined(__AVX512BW__) && !defined(VM_F64_BUILD)
enum { PAIR_COLUMNS = 2 * LANES, /* of a register */
       PAIR_LINES = 12,          /* rows of W that a thread takes at a time: a multiple of those that share registers */
       PAIR_SHARED = 12288 };    /* numbers of x that these share before going on to further columns */

/* sum[r][m] += <n columns of row r of W, x_m> for R rows; x: [register of columns][row], zeros behind the last column. */
BF16_TARGET INLINE void pair_block(const int R, const int M, const uint16_t *w, int64_t ld, int64_t n, const uint16_t *x, vec (*sum)[FEW_ROWS]) {
    __m512 all[4][FEW_ROWS];
    UNROLL for (int r = 0; r < R; r++) UNROLL
    for (int m = 0; m < M; m++) all[r][m] = (__m512)sum[r][m];
    for (; n > 0; n -= PAIR_COLUMNS, w += PAIR_COLUMNS, x += M * PAIR_COLUMNS) {
        const __mmask32 there = n < PAIR_COLUMNS ? (1u << n) - 1 : ~0u;
        __m512i y[4];
        UNROLL for (int r = 0; r < R; r++) {
            __builtin_prefetch(w + (R + r) * ld, 0, 2); /* the rows that come behind these */
            y[r] = _mm512_maskz_loadu_epi16(there, w + r * ld);
        }
        UNROLL for (int m = 0; m < M; m++) {
            const __m512bh z = (__m512bh)_mm512_load_si512(x + m * PAIR_COLUMNS);
            UNROLL for (int r = 0; r < R; r++) all[r][m] = _mm512_dpbf16_ps(all[r][m], (__m512bh)y[r], z);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL
    for (int m = 0; m < M; m++) sum[r][m] = (vec)all[r][m];
}

BF16_TARGET static __attribute__((noinline)) void pair_lines(int M, const uint16_t *w, int64_t ld, int64_t lines, int64_t n, const uint16_t *x,
                                                             vec (*sum)[FEW_ROWS]) {
#define PAIRS(mm, R)                                                                    \
    case mm:                                                                            \
        for (; i + R <= lines; i += R) pair_block(R, mm, w + i * ld, ld, n, x, sum + i); \
        for (; i < lines; i++) pair_block(1, mm, w + i * ld, ld, n, x, sum + i);         \
        break
    int64_t i = 0;
    switch (M) { /* no group has fewer rows: pair_rows */
        PAIRS(4, 4);
        PAIRS(5, 4);
        PAIRS(6, 4);
        PAIRS(7, 3);
        PAIRS(8, 3);
    }
#undef PAIRS
}

/* Row m of M of x in its place. */
static inline void pair_place(uint16_t *room, int64_t M, int64_t m, const uint16_t *x, int64_t K) {
    for (int64_t k = 0; k < K; k += PAIR_COLUMNS) {
        uint16_t *to = room + k * M + m * PAIR_COLUMNS;
        if (K - k < PAIR_COLUMNS) memset(to, 0, PAIR_COLUMNS * sizeof *to);
        memcpy(to, x + k, (size_t)VM_MIN((int64_t)PAIR_COLUMNS, K - k) * sizeof *to);
    }
}

/* Rows m0 .. m0 + m of M: as even as groups of at most FEW_ROWS can be, which then have 4 and more. */
static inline int pair_rows(int64_t M, int64_t m0) {
    int64_t groups = (M - m0 + FEW_ROWS - 1) / FEW_ROWS;
    return (int)((M - m0 + groups - 1) / groups);
}

/* few_rows_run for all M rows; p->room: vm_pair_room */
static inline void few_pairs_run(const few_product *p, int64_t M) {
    const int64_t N = p->N, K = p->K, padded = (K + PAIR_COLUMNS - 1) / PAIR_COLUMNS * PAIR_COLUMNS;
    const uint16_t *w = p->w;
    uint16_t *room = (uint16_t *)(void *)p->room;
#pragma omp parallel if (N * K > VM_PAR_MIN)
    {
        for (int64_t m0 = 0, now; m0 < M; m0 += now) {
            now = pair_rows(M, m0);
#pragma omp for schedule(static)
            for (int64_t m = 0; m < now; m++) pair_place(room + m0 * padded, now, m, (const uint16_t *)p->x->data + (m0 + m) * K, K);
        }
#pragma omp for schedule(static)
        for (int64_t n0 = 0; n0 < N; n0 += PAIR_LINES)
            for (int64_t m0 = 0, now; m0 < M; m0 += now) {
                vec sum[PAIR_LINES][FEW_ROWS] = { { { 0 } } };
                int64_t lines = VM_MIN((int64_t)PAIR_LINES, N - n0);
                now = pair_rows(M, m0);
                const int64_t columns = PAIR_SHARED / now / PAIR_COLUMNS * PAIR_COLUMNS;
                for (int64_t k = 0; k < K; k += columns)
                    pair_lines((int)now, w + n0 * K + k, K, lines, VM_MIN(columns, K - k), room + m0 * padded + k * now, sum);
                for (int64_t m = 0; m < now; m++) few_end(p, m0 + m, n0, lines, (int)m, sum);
            }
    }
}
#else
static inline void few_pairs_run(const few_product *p, int64_t M) {}
#endif
#endif
