/* tile.h - for *_cpu.c files only: products of small dense tiles in registers, and what attention does to a tile.
 *
 * Tiles are row-major, 64-byte aligned, their rows padded with zeros to a multiple of LANES, so that no product needs a
 * tail. One kernel serves all seven products of attention, because its left factor is read by broadcasts and may have
 * any strides (a transposed tile costs nothing). It keeps an MR x NV block of vectors in registers: 24 accumulators and
 * 4 loads of B per step on 32 registers, 12 and 2 on 16. Written with the compilers' vector types: one source for
 * SSE, AVX2, AVX-512, NEON and double. All loops over accumulators are unrolled; else they would go to the stack. */
#ifndef VM_TILE_H
#define VM_TILE_H
#include "kernels/cpu.h"

#if defined(__AVX512F__)
enum { VEC_BYTES = 64, NV = 4 };
#elif defined(__AVX__)
enum { VEC_BYTES = 32, NV = 2 };
#elif defined(__aarch64__)
enum { VEC_BYTES = 16, NV = 4 };
#else
enum { VEC_BYTES = 16, NV = 2 };
#endif
enum { LANES = VEC_BYTES / sizeof(vm_real), MR = 6 };
typedef vm_real vec __attribute__((vector_size(VEC_BYTES)));

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))
#define TILE __attribute__((aligned(64))) vm_real

INLINE int64_t round_lanes(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* --- one vector ---------------------------------------------------------------------------------------------------- */
INLINE vec vec_load(const vm_real *p) { return *(const vec *)p; }
INLINE void vec_store(vm_real *p, vec x) { *(vec *)p = x; }
INLINE vec vec_all(vm_real x) { return (vec){ 0 } + x; }
/* the larger; a NaN in a stays, one in b goes */
INLINE vec vec_max(vec a, vec b) {
    vec y = a;
    UNROLL for (int l = 0; l < LANES; l++) y[l] = a[l] < b[l] ? b[l] : a[l];
    return y;
}
INLINE vm_real vec_sum(vec x) {
    UNROLL for (int w = LANES / 2; w; w /= 2) {
        vec y = x;
        UNROLL for (int l = 0; l < LANES; l++) y[l] = x[l ^ w];
        x += y;
    }
    return x[0];
}
INLINE vm_real vec_largest(vec x) {
    UNROLL for (int w = LANES / 2; w; w /= 2) {
        vec y = x;
        UNROLL for (int l = 0; l < LANES; l++) y[l] = x[l ^ w];
        x = vec_max(x, y);
    }
    return x[0];
}
#ifdef VM_F64_BUILD
INLINE vec vec_exp2(vec x) {
    for (int l = 0; l < LANES; l++) x[l] = exp2(x[l]);
    return x;
}
#else
/* 2^x for x <= 0 (right up to 127): k = round(x), 2^k by exponent bits, 2^(x-k) by a polynomial with relative error
 * 9e-8 that is exact at 0. Below -126.5 exactly 0; NaN stays. */
typedef int32_t ivec __attribute__((vector_size(VEC_BYTES)));
INLINE vec vec_exp2(vec x) {
    const float magic = 12582912.0f + 127.0f; /* 1.5 * 2^23: adding it leaves k + 127 in the low bits */
    x = vec_max(x, vec_all(-127.0f));
    vec t = x + magic, r = x - (t - magic);
    vec p = r * 1.326472731307149e-3f + 9.671512991189957e-3f;
    p = p * r + 5.550733581185341e-2f;
    p = p * r + 2.402224242687225e-1f;
    p = p * r + 6.931470036506653e-1f;
    p = p * r + 1.0f;
    return p * (vec)((ivec)t << 23);
}
#endif

/* --- moving rows into tiles ---------------------------------------------------------------------------------------- */
/* LANES elements from anywhere, in memory f32 or bf16 */
typedef vm_real loose_vec __attribute__((vector_size(VEC_BYTES), aligned(sizeof(vm_real)), may_alias));
INLINE vec load_f32(const void *p) { return *(const loose_vec *)p; }
#ifdef VM_F64_BUILD
INLINE vec load_bf16(const uint16_t *p) {
    return (vec){ (vm_real)vm_bf16_to_f32(p[0]), (vm_real)vm_bf16_to_f32(p[1]) };
}
#else
typedef uint16_t half_vec __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef uint32_t uvec __attribute__((vector_size(VEC_BYTES)));
INLINE vec load_bf16(const uint16_t *p) { return (vec)(__builtin_convertvector(*(const half_vec *)p, uvec) << 16); }
#endif

/* n rows of m elements of float type t, `row` elements apart from element `at` -> tile [n][ld]; columns from m on
 * are 0. */
static inline void tile_rows(vm_real *tile, int64_t ld, const void *p, vm_type t, int64_t at, int64_t row, int64_t n,
                             int64_t m) {
    int64_t whole = t == VM_F16 ? 0 : m / LANES * LANES;
    for (int64_t i = 0; i < n; i++, at += row, tile += ld) {
        if (t == VM_F32) {
            const vm_real *x = (const vm_real *)p + at;
            int64_t c = 0;
            for (; c + 2 * LANES <= whole; c += 2 * LANES) { /* in pairs: gcc makes a call to memcpy of a plain copy */
                vec a = load_f32(x + c), b = load_f32(x + c + LANES);
                vec_store(tile + c, a), vec_store(tile + c + LANES, b);
            }
            if (c < whole) vec_store(tile + c, load_f32(x + c));
        } else {
            for (int64_t c = 0; c < whole; c += LANES) vec_store(tile + c, load_bf16((const uint16_t *)p + at + c));
        }
        if (whole == m && m == ld) continue;
        for (int64_t c = m / LANES * LANES; c < ld; c += LANES) vec_store(tile + c, vec_all(0));
        const vm_real *x = vm_row(p, t, at + whole, m - whole, tile + whole);
        for (int64_t c = whole; c < m; c++) tile[c] = x[c - whole];
    }
}

/* LANES x LANES block: in LANES-log rounds of interleaving row i with row i + LANES/2 */
#if defined(VM_F64_BUILD)
#define MIX_LOW 0, 2
#define MIX_HIGH 1, 3
#elif defined(__AVX512F__)
#define MIX_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define MIX_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
#define MIX_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define MIX_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define MIX_LOW 0, 4, 1, 5
#define MIX_HIGH 2, 6, 3, 7
#endif
INLINE void transpose_block(vm_real *y, int64_t ldy, const vm_real *x, int64_t ldx) {
    vec a[LANES], b[LANES];
    UNROLL for (int i = 0; i < LANES; i++) a[i] = load_f32(x + i * ldx);
    UNROLL for (int s = 1; s < LANES; s *= 2) {
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + LANES / 2], MIX_LOW);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + LANES / 2], MIX_HIGH);
        }
        UNROLL for (int i = 0; i < LANES; i++) a[i] = b[i];
    }
    UNROLL for (int i = 0; i < LANES; i++) vec_store(y + i * ldy, a[i]);
}
/* tile x [n][ldx] -> y [m][ldy], y[c][i] = x[i][c]; n and m multiples of LANES */
INLINE void tile_transpose(vm_real *y, int64_t ldy, const vm_real *x, int64_t ldx, int64_t n, int64_t m) {
    for (int64_t i = 0; i < n; i += LANES)
        for (int64_t c = 0; c < m; c += LANES) transpose_block(y + c * ldy + i, ldy, x + i * ldx + c, ldx);
}

/* --- the product --------------------------------------------------------------------------------------------------- */
INLINE void tile_micro(const int m, const int nv, int64_t K, const vm_real *a, int64_t ai, int64_t ak, const vm_real *b,
                       int64_t ldb, vm_real *c, int64_t ldc, bool add) {
    vec s[MR][NV];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int v = 0; v < nv; v++) s[i][v] = add ? vec_load(c + i * ldc + v * LANES) : (vec){ 0 };
    for (int64_t k = 0; k < K; k++, a += ak, b += ldb) {
        vec y[NV];
        UNROLL for (int v = 0; v < nv; v++) y[v] = vec_load(b + v * LANES);
        UNROLL for (int i = 0; i < m; i++)
            UNROLL for (int v = 0; v < nv; v++) s[i][v] += a[i * ai] * y[v];
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int v = 0; v < nv; v++) vec_store(c + i * ldc + v * LANES, s[i][v]);
}

/* C[m][N] = [C +] A[m][K] B[K][N] for 1 <= m <= MR rows; A's element (i,k) is a[i*ai + k*ak]; N a multiple of LANES. */
static __attribute__((noinline, unused)) void tile_mul_rows(int m, int64_t N, int64_t K, const vm_real *a, int64_t ai,
                                                            int64_t ak, const vm_real *b, int64_t ldb, vm_real *c,
                                                            int64_t ldc, bool add) {
#define MICRO(mm, vv)                                                              \
    case mm * 8 + vv:                                                              \
        if (vv <= NV) tile_micro(mm, VM_MIN(vv, NV), K, a, ai, ak, b, ldb, c, ldc, add); \
        break
#define MICRO_ROWS(mm) MICRO(mm, 1); MICRO(mm, 2); MICRO(mm, 3); MICRO(mm, 4)
    for (int64_t left = N / LANES; left > 0;) {
        int64_t blocks = (left + NV - 1) / NV, v = (left + blocks - 1) / blocks; /* even: 5 = 3 + 2 */
        switch (m * 8 + (int)v) {
            MICRO_ROWS(1);
            MICRO_ROWS(2);
            MICRO_ROWS(3);
            MICRO_ROWS(4);
            MICRO_ROWS(5);
            MICRO_ROWS(6);
        }
        left -= v, b += v * LANES, c += v * LANES;
    }
#undef MICRO_ROWS
#undef MICRO
}

/* How many of `left` rows the next block takes: as even as blocks of at most MR can be. */
INLINE int next_rows(int64_t left) {
    int64_t blocks = (left + MR - 1) / MR;
    return (int)((left + blocks - 1) / blocks);
}

#endif
