/* dot8_many.h - the products of dot8.h for many rows of x, whose lanes are rows of the weight: codes of DOT8_MANY_LINES of these are
 * turned and unpacked once for all rows of x, and only every DOT8_GROUP columns a sum of whole numbers becomes a float.
 *
 *   y = sum over blocks b of s[b] (sum over groups g of b of scale_x[g] (sum of codes times x - offset sum of x) - z[b] sum of x)
 *
 * in that order, one operation after the other: all ways of computing it give the same bits, though not those of dot8_run. */
#ifndef VM_DOT8_MANY_H
#define VM_DOT8_MANY_H
#include "kernels/dot8.h"

/* Rows of x from which it is faster; rows of the weight at a time. */
enum { DOT8_MANY = 4, DOT8_MANY_LINES = 32 };

static inline bool dot8_many_fits(int64_t K, int64_t block) { return block >= K || block % DOT8_GROUP == 0; }

/* DOT8_GROUP columns of a row of x, as codes meet them in fours: of 4 bits first four times those of the high halves, then of the low ones.
 * start: -offset sum of x, 0 with zeros; sum: of the numbers of x, from the beginning of the weight's block on. */
typedef struct {
    int8_t q[DOT8_GROUP];
    int32_t start;
    float scale, sum;
} dot8_x;

/* Codes of a group as bytes: for each four columns those four of one row after the other. */
typedef uint8_t dot8_panel[DOT8_GROUP / 4][4 * DOT8_MANY_LINES];
typedef float dot8_sums_of[DOT8_MANY_LINES];

/* n columns of row m of M of x, from column k on, which begins a group; y: [group][M]. */
static inline void dot8_many_place(dot8_kind kind, const vm_real *x, int64_t k, int64_t n, int64_t block, int64_t M, int64_t m, dot8_x *y) {
    const int offset = kind.kind == VM_INT4 ? 8 : 128;
    for (int64_t c = 0; c < n; c += DOT8_GROUP, k += DOT8_GROUP) {
        dot8_x *to = y + k / DOT8_GROUP * M + m;
        float part[DOT8_GROUP] = { 0 };
        int8_t q[DOT8_GROUP];
        int32_t sum = 0;
        for (int64_t i = 0; i < VM_MIN((int64_t)DOT8_GROUP, n - c); i++) part[i] = (float)x[c + i];
        to->scale = dot8_round(part, q) * (kind.kind == VM_NF4 ? 1 / DOT8_NF4 : 1);
        for (int i = 0; i < DOT8_GROUP; i++) sum += q[i];
        to->start = kind.zeros ? 0 : -offset * sum;
        to->sum = (k % block ? to[-M].sum : 0) + to->scale * (float)sum;
        if (kind.kind == VM_INT8) memcpy(to->q, q, DOT8_GROUP);
        else
            for (int i = 0; i < DOT8_GROUP / 2; i++) to->q[i] = q[2 * i], to->q[DOT8_GROUP / 2 + i] = q[2 * i + 1];
    }
}

/* --- codes of a register's columns ------------------------------------------------------------------------------------ */
/* The fours of `bytes` bytes of each of the rows beside each other; what is missing is 0. */
static inline void dot8_many_turn(const uint8_t *codes, int64_t row, int64_t lines, int64_t bytes, uint32_t (*to)[DOT8_MANY_LINES]) {
    __attribute__((aligned(64))) uint32_t from[DOT8_MANY_LINES][DOT8_LANES];
    if (lines < DOT8_MANY_LINES || bytes < DOT8_BYTES) memset(from, 0, sizeof from);
    if (bytes == DOT8_BYTES)
        for (int64_t i = 0; i < lines; i++) memcpy(from[i], codes + i * row, DOT8_BYTES);
    else
        for (int64_t i = 0; i < lines; i++) memcpy(from[i], codes + i * row, (size_t)bytes);
#ifdef VM_F64_BUILD
    for (int i = 0; i < DOT8_MANY_LINES; i++)
        for (int d = 0; d < DOT8_LANES; d++) to[d][i] = from[i][d];
#else
    /* as words, whatever they mean */
    tile_transpose((vm_real *)(void *)to, DOT8_MANY_LINES, (const vm_real *)(const void *)from, DOT8_LANES, DOT8_MANY_LINES, DOT8_LANES);
#endif
}

/* Both codes of each byte, or what the table has for them. */
static inline void dot8_many_halves(const uint8_t *codes, bool look, const uint8_t *table, uint8_t *high, uint8_t *low) {
    enum { BYTES = 4 * DOT8_MANY_LINES };
#if defined(DOT8_HAVE_VNNI)
    const __m512i four = _mm512_set1_epi8(15), bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
    for (int b = 0; b < BYTES; b += 64) {
        __m512i c = _mm512_load_si512(codes + b), h = _mm512_and_si512(_mm512_srli_epi16(c, 4), four), l = _mm512_and_si512(c, four);
        if (look) h = _mm512_shuffle_epi8(bytes, h), l = _mm512_shuffle_epi8(bytes, l);
        _mm512_store_si512(high + b, h), _mm512_store_si512(low + b, l);
    }
#elif defined(DOT8_HAVE_AVX2)
    const __m256i four = _mm256_set1_epi8(15), bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
    for (int b = 0; b < BYTES; b += 32) {
        __m256i c = _mm256_load_si256((const __m256i *)(const void *)(codes + b));
        __m256i h = _mm256_and_si256(_mm256_srli_epi16(c, 4), four), l = _mm256_and_si256(c, four);
        if (look) h = _mm256_shuffle_epi8(bytes, h), l = _mm256_shuffle_epi8(bytes, l);
        _mm256_store_si256((__m256i *)(void *)(high + b), h), _mm256_store_si256((__m256i *)(void *)(low + b), l);
    }
#else
    for (int b = 0; b < BYTES; b++) high[b] = look ? table[codes[b] >> 4] : codes[b] >> 4, low[b] = look ? table[codes[b] & 15] : codes[b] & 15;
#endif
}

/* A register of each row from codes on, as panels of its groups. */
static inline void dot8_many_panels(dot8_kind k, const uint8_t *codes, int64_t row, int64_t lines, int64_t bytes, const uint8_t *table,
                                    dot8_panel *to) {
    __attribute__((aligned(64))) uint32_t words[DOT8_LANES][DOT8_MANY_LINES];
    if (k.kind == VM_INT8) { /* two panels of eight fours */
        dot8_many_turn(codes, row, lines, bytes, (uint32_t(*)[DOT8_MANY_LINES])(void *)to);
        return;
    }
    dot8_many_turn(codes, row, lines, bytes, words);
    for (int d = 0; d < DOT8_LANES; d++)
        dot8_many_halves((const uint8_t *)words[d], k.kind == VM_NF4, table, to[d / 4][d % 4], to[d / 4][4 + d % 4]);
}

/* --- sums of a group --------------------------------------------------------------------------------------------------- */
/* sum[m] = or += panel times x[m], as numbers */
#ifdef DOT8_HAVE_VNNI
DOT8_VNNI_TARGET static __attribute__((noinline)) void dot8_many_vnni(const dot8_panel w, int M, const dot8_x *x, bool first, dot8_sums_of *sum) {
    __m512i a[DOT8_GROUP / 4], b[DOT8_GROUP / 4];
    UNROLL for (int k = 0; k < DOT8_GROUP / 4; k++) a[k] = _mm512_load_si512(w[k]), b[k] = _mm512_load_si512(w[k] + DOT8_BYTES);
    for (int m = 0; m < M; m++) {
        __m512i s = _mm512_set1_epi32(x[m].start), t = s;
        UNROLL for (int k = 0; k < DOT8_GROUP / 4; k++) {
            int32_t four;
            memcpy(&four, x[m].q + 4 * k, 4);
            __m512i y = _mm512_set1_epi32(four);
            s = _mm512_dpbusd_epi32(s, a[k], y), t = _mm512_dpbusd_epi32(t, b[k], y);
        }
        const __m512 scale = _mm512_set1_ps(x[m].scale);
        __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(s), scale), h = _mm512_mul_ps(_mm512_cvtepi32_ps(t), scale);
        if (!first) f = _mm512_add_ps(_mm512_load_ps(sum[m]), f), h = _mm512_add_ps(_mm512_load_ps(sum[m] + DOT8_LANES), h);
        _mm512_store_ps(sum[m], f), _mm512_store_ps(sum[m] + DOT8_LANES, h);
    }
}
#endif
#ifdef DOT8_HAVE_AVX2
static __attribute__((noinline)) void dot8_many_avx2(const dot8_panel w, int M, const dot8_x *x, bool first, dot8_sums_of *sum) {
    for (int m = 0; m < M; m++)
        for (int l = 0; l < DOT8_MANY_LINES; l += 16) {
            __m256i s = _mm256_set1_epi32(x[m].start), t = s;
            UNROLL for (int k = 0; k < DOT8_GROUP / 4; k++) {
                int32_t four;
                memcpy(&four, x[m].q + 4 * k, 4);
                __m256i y = _mm256_set1_epi32(four);
                s = dot8_avx2_fours(s, _mm256_load_si256((const __m256i *)(const void *)(w[k] + 4 * l)), y);
                t = dot8_avx2_fours(t, _mm256_load_si256((const __m256i *)(const void *)(w[k] + 4 * l + 32)), y);
            }
            __m256 scale = _mm256_set1_ps(x[m].scale), f = _mm256_mul_ps(_mm256_cvtepi32_ps(s), scale);
            __m256 h = _mm256_mul_ps(_mm256_cvtepi32_ps(t), scale);
            if (!first) f = _mm256_add_ps(_mm256_load_ps(sum[m] + l), f), h = _mm256_add_ps(_mm256_load_ps(sum[m] + l + 8), h);
            _mm256_store_ps(sum[m] + l, f), _mm256_store_ps(sum[m] + l + 8, h);
        }
}
#endif
static inline void dot8_many_plain(const dot8_panel w, int M, const dot8_x *x, bool first, dot8_sums_of *sum) {
    for (int m = 0; m < M; m++)
        for (int l = 0; l < DOT8_MANY_LINES; l++) {
            int32_t t = x[m].start;
            for (int k = 0; k < DOT8_GROUP / 4; k++)
                for (int b = 0; b < 4; b++) t += w[k][4 * l + b] * x[m].q[4 * k + b];
            float f = (float)t * x[m].scale;
            sum[m][l] = first ? f : sum[m][l] + f;
        }
}
static inline void dot8_many_group(dot8_way way, const dot8_panel w, int M, const dot8_x *x, bool first, dot8_sums_of *sum) {
#ifdef DOT8_HAVE_VNNI
    if (way == DOT8_VNNI) {
        dot8_many_vnni(w, M, x, first, sum);
        return;
    }
#endif
#ifdef DOT8_HAVE_AVX2
    if (way == DOT8_AVX2) {
        dot8_many_avx2(w, M, x, first, sum);
        return;
    }
#endif
    dot8_many_plain(w, M, x, first, sum);
}

/* all[m] += s (sum[m] - z x[m].sum) at the end of a block; z NULL = no zeros */
static inline void dot8_many_block(int M, const dot8_x *x, const float *restrict s, const float *restrict z, dot8_sums_of *restrict sum,
                                   dot8_sums_of *restrict all) {
    for (int m = 0; m < M; m++) {
        const float of = x[m].sum;
        for (int l = 0; l < DOT8_MANY_LINES; l++) all[m][l] += s[l] * (z ? sum[m][l] - z[l] * of : sum[m][l]);
    }
}
#endif
