/* unpack.h - for *_cpu.c files only: products of a row of weights in 8 or 4 bits with M rows of f32, unpacked in registers.
 *
 * 4 bits: a register of codes is LANES words of 8 codes. Word l holds weights 8l .. 8l+7, the earlier of each pair in the high half
 * of its byte, so a shift by 4j leaves weight 8l + (j^1) in the low bits of every word, and the number is looked up in a table of 16
 * that lies in a register: a shift, a look-up and M multiply-adds for LANES weights. x stands in that order once for all rows of the
 * weight: [vector of codes][j][row of x][l]. The scale of a block multiplies sums of up to 8 products.
 *
 * 8 bits: LANES bytes become LANES numbers; x stands as [vector][row of x][l]. */
#ifndef VM_UNPACK_H
#define VM_UNPACK_H
#include "kernels/tile.h"

#ifndef VM_F64_BUILD
#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { UNPACK_WEIGHTS = 8 * LANES }; /* 4-bit weights in a register of codes */

typedef uint32_t loose_words __attribute__((vector_size(VEC_BYTES), aligned(1), may_alias));
typedef int8_t loose_bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

/* --- the table of 16 numbers, and one number for each word of codes -------------------------------------------------- */
#if defined(__AVX512F__)
typedef struct { __m512 t; } unpack_table;
INLINE unpack_table unpack_table_of(const float *t) { return (unpack_table){ _mm512_loadu_ps(t) }; }
INLINE vec unpack_look(unpack_table t, uvec codes, const int j) {
    return (vec)_mm512_permutexvar_ps((__m512i)(codes >> 4 * j), t.t); /* looks at the low 4 bits */
}
INLINE vec unpack_spread(const float *s, ivec which) { return (vec)_mm512_permutexvar_ps((__m512i)which, _mm512_loadu_ps(s)); }
#elif defined(__AVX2__)
typedef struct { __m256 low, high; } unpack_table;
INLINE unpack_table unpack_table_of(const float *t) { return (unpack_table){ _mm256_loadu_ps(t), _mm256_loadu_ps(t + 8) }; }
INLINE vec unpack_look(unpack_table t, uvec codes, const int j) {
    __m256i at = (__m256i)(codes >> 4 * j);
    return (vec)_mm256_blendv_ps(_mm256_permutevar8x32_ps(t.low, at), _mm256_permutevar8x32_ps(t.high, at),
                                 (__m256)(codes << (28 - 4 * j)));
}
INLINE vec unpack_spread(const float *s, ivec which) { return (vec)_mm256_permutevar8x32_ps(_mm256_loadu_ps(s), (__m256i)which); }
#else
typedef struct { const float *t; } unpack_table;
INLINE unpack_table unpack_table_of(const float *t) { return (unpack_table){ t }; }
INLINE vec unpack_look(unpack_table t, uvec codes, const int j) {
    vec y = { 0 };
    UNROLL for (int l = 0; l < LANES; l++) y[l] = t.t[codes[l] >> 4 * j & 15];
    return y;
}
INLINE vec unpack_spread(const float *s, ivec which) {
    vec y = { 0 };
    UNROLL for (int l = 0; l < LANES; l++) y[l] = s[which[l]];
    return y;
}
#endif

/* Whether scales lie so that a register of codes has one, or whole words of it have. */
static inline bool unpack_fits4(int64_t K, int64_t block) {
    return K % 8 == 0 && block % 8 == 0 && (block % UNPACK_WEIGHTS == 0 || UNPACK_WEIGHTS % block == 0);
}

/* Row m of M of x as unpack_dots4 reads it: n numbers, a multiple of UNPACK_WEIGHTS with zeros behind the row; vectors of the M rows
 * stand side by side. sums: of each word's 8. */
static inline void unpack_x4(const float *restrict x, int64_t n, int M, int m, float *restrict y, float *restrict sums) {
    y += m * LANES, sums += m * LANES;
    for (; n > 0; n -= UNPACK_WEIGHTS, x += UNPACK_WEIGHTS, y += UNPACK_WEIGHTS * M, sums += LANES * M)
        for (int l = 0; l < LANES; l++) {
            sums[l] = 0;
            for (int j = 0; j < 8; j++) sums[l] += y[j * M * LANES + l] = x[8 * l + (j ^ 1)];
        }
}
/* The same for unpack_dots8, n a multiple of LANES. */
static inline void unpack_x8(const float *restrict x, int64_t n, int M, int m, float *restrict y) {
    for (y += m * LANES; n > 0; n -= LANES, x += LANES, y += M * LANES) vec_store(y, load_f32(x));
}

/* Moving scales along with registers of codes: one register after another gets its own. */
typedef struct {
    const float *s;
    int64_t step, each, left; /* scales per register (0 = several registers share one: each; left of them) */
    ivec which;
} unpack_scales;
INLINE unpack_scales unpack_scales_of(const float *s, int64_t block) {
    unpack_scales u = { s, UNPACK_WEIGHTS / block, VM_MAX(block / UNPACK_WEIGHTS, (int64_t)1), 0, { 0 } };
    u.left = u.each;
    for (int l = 0; l < LANES && u.step > 1; l++) u.which[l] = (int32_t)(8 * l / block);
    return u;
}
INLINE vec unpack_scale(const unpack_scales *u) { return u->step > 1 ? unpack_spread(u->s, u->which) : vec_all(*u->s); }
INLINE void unpack_next(unpack_scales *u) {
    if (u->step) u->s += u->step;
    else if (!--u->left) u->left = u->each, u->s++;
}

/* sum[m] += <weights, x_m>, spread over the lanes, of n 4-bit weights (n a multiple of 8): codes, scales s and zeros z of code 8 (z may be NULL) of blocks
 * that begin here, with LANES floats to read behind the last; x and its sums as unpack_x4 leaves them. ahead: codes that come soon. */
INLINE void unpack_dots4(const int M, const uint8_t *codes, const uint8_t *ahead, int64_t n, const float *table, const float *s, const float *z,
                         int64_t block, const float *x, const float *sums, vec *sum) {
    unpack_table t = unpack_table_of(table);
    unpack_scales scale = unpack_scales_of(s, block), zero = unpack_scales_of(z, block);
    vec all[8];
    UNROLL for (int m = 0; m < M; m++) all[m] = sum[m];
    for (; n > 0; n -= UNPACK_WEIGHTS, codes += VEC_BYTES, x += UNPACK_WEIGHTS * M, sums += LANES * M) {
        uvec c = { 0 };
        __builtin_prefetch(ahead), ahead += VEC_BYTES;
        if (n >= UNPACK_WEIGHTS) c = (uvec)*(const loose_words *)codes;
        else memcpy(&c, codes, (size_t)n / 2); /* the rest meets zeros of x */
        vec part[8];
        UNROLL for (int j = 0; j < 8; j++) {
            vec w = unpack_look(t, c, j);
            UNROLL for (int m = 0; m < M; m++) {
                vec p = w * vec_load(x + (j * M + m) * LANES);
                part[m] = j ? part[m] + p : p;
            }
        }
        if (z) {
            vec w = unpack_scale(&zero);
            UNROLL for (int m = 0; m < M; m++) part[m] -= w * vec_load(sums + m * LANES);
            unpack_next(&zero);
        }
        vec w = unpack_scale(&scale);
        UNROLL for (int m = 0; m < M; m++) all[m] += w * part[m];
        unpack_next(&scale);
    }
    UNROLL for (int m = 0; m < M; m++) sum[m] = all[m];
}

/* n 4-bit weights (a multiple of LANES) in their own order as numbers: y = s table[code] + shift */
INLINE void unpack_line4(const uint8_t *codes, int64_t n, const float *table, float s, float shift, float *restrict y) {
    unpack_table t = unpack_table_of(table);
    for (int64_t i = 0; i < n; i += LANES, codes += LANES / 2) {
        uvec c;
#if defined(__AVX2__)
        __m128i b = _mm_setzero_si128();
        memcpy(&b, codes, LANES / 2);
        b = _mm_unpacklo_epi8(_mm_srli_epi16(b, 4), b); /* of each byte the high half, then the low one; what is above is not looked at */
#if defined(__AVX512F__)
        c = (uvec)_mm512_cvtepu8_epi32(b);
#else
        c = (uvec)_mm256_and_si256(_mm256_cvtepu8_epi32(b), _mm256_set1_epi32(15));
#endif
#else
        UNROLL for (int l = 0; l < LANES; l++) c[l] = codes[l / 2] >> (l % 2 ? 0 : 4);
#endif
        *(loose_vec *)(y + i) = unpack_look(t, c, 0) * s + shift;
    }
}

/* --- 8 bits ------------------------------------------------------------------------------------------------------------ */
INLINE vec unpack_bytes(const uint8_t *codes) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)codes),
                                                                     _mm_set1_epi8(-128))));
#elif defined(__AVX2__)
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_xor_si128(_mm_loadl_epi64((const __m128i *)(const void *)codes),
                                                                     _mm_set1_epi8(-128))));
#else
    vec y = { 0 };
    UNROLL for (int l = 0; l < LANES; l++) y[l] = (float)(codes[l] - 128);
    return y;
#endif
}

/* Whether blocks of 8-bit weights begin at whole vectors of x. */
static inline bool unpack_fits8(int64_t K, int64_t block) { return block % LANES == 0 || block >= K; }

/* sum[m] += <weights, x_m>, spread over the lanes, of n 8-bit weights in blocks that begin here; x as unpack_x8 leaves it. With few rows several vectors are
 * summed side by side, else each addition would wait for the one before. */
INLINE void unpack_dots8(const int M, const int side, const uint8_t *codes, const uint8_t *ahead, int64_t n, const float *s, int64_t block, const float *x,
                         vec *sum) {
    vec all[8];
    UNROLL for (int m = 0; m < M; m++) all[m] = sum[m];
    for (int64_t k = 0; k < n; k += block, s++) {
        int64_t end = VM_MIN(k + block, n), c = k;
        vec part[8];
        UNROLL for (int m = 0; m < M * side; m++) part[m] = vec_all(0);
        for (; c + side * LANES <= end; c += side * LANES) {
            __builtin_prefetch(ahead + c);
            UNROLL for (int v = 0; v < side; v++) {
                vec w = unpack_bytes(codes + c + v * LANES);
                UNROLL for (int m = 0; m < M; m++) part[v * M + m] += w * vec_load(x + (c + v * LANES) * M + m * LANES);
            }
        }
        for (; c < end; c += LANES) {
            uint8_t rest[16];
            int64_t left = VM_MIN((int64_t)LANES, end - c);
            memset(rest, 128, sizeof rest); /* zeros */
            memcpy(rest, codes + c, (size_t)left);
            vec w = unpack_bytes(rest);
            UNROLL for (int m = 0; m < M; m++) part[m] += w * vec_load(x + c * M + m * LANES);
        }
        UNROLL for (int v = 1; v < side; v++) UNROLL
        for (int m = 0; m < M; m++) part[m] += part[v * M + m];
        UNROLL for (int m = 0; m < M; m++) all[m] += part[m] * *s;
    }
    UNROLL for (int m = 0; m < M; m++) sum[m] = all[m];
}
#endif
#endif
