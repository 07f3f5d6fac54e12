/* tile_bf16.h - for *_cpu.c files only: the product of tile.h for bf16 factors on processors with vdpbf16ps, which
 * multiplies pairs of bf16 and adds both products to an f32: twice the rate of f32.
 *
 * The left factor is rows of bf16 as they stand in memory (even strides). The right factor is a tile of words, each a
 * pair of neighbours along k, the earlier in the low half: [K/2][ld]. Only the AVX-512 copy of a kernel has the code;
 * elsewhere tile_bf16_usable() is a constant false. */
#ifndef VM_TILE_BF16_H
#define VM_TILE_BF16_H
#include "kernels/tile.h"

#if defined(__AVX512BW__) && !defined(VM_F64_BUILD)
#include <immintrin.h>

#define BF16_TARGET __attribute__((target("avx512bf16")))

static inline bool tile_bf16_usable(void) { return vm_cpu_has_bf16(); }

/* n <= LANES rows of m (even) bf16 -> words y[m/2][ldy], y[c][i] = pair c of row i; tmp: LANES x round_lanes(m/2). */
static inline void bf16_transpose(vm_real *y, int64_t ldy, const void *p, int64_t at, int64_t row, int64_t n, int64_t m,
                                  vm_real *tmp) {
    int64_t ld = round_lanes(m / 2);
    if (n == LANES && ld == m / 2) { /* as words, whatever they mean */
        tile_transpose(y, ldy, (const vm_real *)p + at / 2, row / 2, LANES, ld);
        return;
    }
    tile_rows(tmp, ld, p, VM_F32, at / 2, row / 2, n, m / 2);
    for (int64_t i = n * ld; i < LANES * ld; i++) tmp[i] = 0;
    tile_transpose(y, ldy, tmp, ld, LANES, ld);
}

/* Word i of one register and word i of another beside each other, i from 0 and from LANES on */
#define BF16_PAIR(i) i, 2 * LANES + i
#define BF16_PAIRS(i) BF16_PAIR(i), BF16_PAIR(i + 1), BF16_PAIR(i + 2), BF16_PAIR(i + 3)
static const uint16_t bf16_pairs[2][2 * LANES] = { { BF16_PAIRS(0), BF16_PAIRS(4), BF16_PAIRS(8), BF16_PAIRS(12) },
                                                   { BF16_PAIRS(16), BF16_PAIRS(20), BF16_PAIRS(24), BF16_PAIRS(28) } };

/* n rows of m bf16 -> words y[(n+1)/2][ldy] of rows 2i and 2i+1; 0 where there is no row or column. */
static inline void bf16_pair_rows(vm_real *y, int64_t ldy, const void *p, int64_t at, int64_t row, int64_t n,
                                  int64_t m) {
    for (int64_t i = 0; i < n; i += 2, at += 2 * row, y += ldy) {
        const uint16_t *low = (const uint16_t *)p + at, *high = i + 1 < n ? low + row : NULL;
        int64_t c = 0;
        for (; c + 2 * LANES <= m && high; c += 2 * LANES) {
            __m512i a = _mm512_loadu_si512(low + c), b = _mm512_loadu_si512(high + c);
            for (int k = 0; k < 2; k++)
                vec_store(y + c + k * LANES, (vec)_mm512_permutex2var_epi16(a, _mm512_loadu_si512(bf16_pairs[k]), b));
        }
        for (; c + LANES <= m && high; c += LANES) {
            uvec a = __builtin_convertvector(*(const half_vec *)(low + c), uvec);
            uvec b = __builtin_convertvector(*(const half_vec *)(high + c), uvec);
            vec_store(y + c, (vec)(a | b << 16));
        }
        for (; c < ldy; c++) ((uint32_t *)y)[c] = c < m ? low[c] | (high ? (uint32_t)high[c] << 16 : 0) : 0;
    }
}

/* m rows of n (a multiple of LANES) f32 -> bf16, round to nearest even; strides in elements */
BF16_TARGET static inline void bf16_round_rows(uint16_t *y, int64_t ldy, const vm_real *x, int64_t ldx, int m,
                                               int64_t n) {
    for (int i = 0; i < m; i++, x += ldx, y += ldy)
        for (int64_t j = 0; j < n; j += LANES)
            _mm256_storeu_si256((__m256i *)(y + j), (__m256i)_mm512_cvtneps_pbh((__m512)vec_load(x + j)));
}

BF16_TARGET INLINE void bf16_micro(const int m, const int nv, int64_t pairs, const uint16_t *a, int64_t ai,
                                   const vm_real *b, int64_t ldb, vm_real *c, int64_t ldc, bool add) {
    __m512 s[MR][NV];
    UNROLL
    for (int i = 0; i < m; i++) UNROLL
    for (int v = 0; v < nv; v++) s[i][v] = add ? (__m512)vec_load(c + i * ldc + v * LANES) : _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; k++, a += 2, b += ldb) {
        __m512bh y[NV];
        UNROLL for (int v = 0; v < nv; v++) y[v] = (__m512bh)vec_load(b + v * LANES);
        UNROLL for (int i = 0; i < m; i++) {
            int32_t word;
            memcpy(&word, a + i * ai, 4);
            __m512bh x = (__m512bh)_mm512_set1_epi32(word);
            UNROLL for (int v = 0; v < nv; v++) s[i][v] = _mm512_dpbf16_ps(s[i][v], x, y[v]);
        }
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int v = 0; v < nv; v++) vec_store(c + i * ldc + v * LANES, (vec)s[i][v]);
}

/* C[m][N] = [C +] A[m][2*pairs] B[pairs][N], 1 <= m <= MR, N a multiple of LANES; ai: elements between rows of A. */
BF16_TARGET static __attribute__((noinline, unused)) void bf16_mul_rows(int m, int64_t N, int64_t pairs, const uint16_t *a,
                                                                int64_t ai, const vm_real *b, int64_t ldb, vm_real *c,
                                                                int64_t ldc, bool add) {
    for (int64_t left = N / LANES; left > 0;) {
        int64_t blocks = (left + NV - 1) / NV, v = (left + blocks - 1) / blocks;
#define MICRO(mm, vv) case mm * 8 + vv: bf16_micro(mm, vv, pairs, a, ai, b, ldb, c, ldc, add); break
#define MICRO_ROWS(mm) MICRO(mm, 1); MICRO(mm, 2); MICRO(mm, 3); MICRO(mm, 4)
        switch (m * 8 + (int)v) {
            MICRO_ROWS(1);
            MICRO_ROWS(2);
            MICRO_ROWS(3);
            MICRO_ROWS(4);
            MICRO_ROWS(5);
            MICRO_ROWS(6);
        }
#undef MICRO_ROWS
#undef MICRO
        left -= v, b += v * LANES, c += v * LANES;
    }
}

#else
static inline bool tile_bf16_usable(void) { return false; }
INLINE void bf16_transpose(vm_real *y, int64_t ldy, const void *p, int64_t at, int64_t row, int64_t n, int64_t m,
                           vm_real *tmp) {}
INLINE void bf16_pair_rows(vm_real *y, int64_t ldy, const void *p, int64_t at, int64_t row, int64_t n, int64_t m) {}
INLINE void bf16_round_rows(uint16_t *y, int64_t ldy, const vm_real *x, int64_t ldx, int m, int64_t n) {}
INLINE void bf16_mul_rows(int m, int64_t N, int64_t pairs, const uint16_t *a, int64_t ai, const vm_real *b, int64_t ldb,
                          vm_real *c, int64_t ldc, bool add) {}
#endif
#endif
