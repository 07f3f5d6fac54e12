/* dot8.h - for *_cpu.c files only: products of a row of weights in 8 or 4 bits with rows of x that were rounded to 8 bits, whose sums
 * are whole numbers.
 *
 * A register of codes is 64 bytes: 64 columns of 8 bits or 128 of 4, 16 lanes of 4 bytes. A lane's sum of codes times x is exact, and is
 * then multiplied by the scale of x and by that of the weight and added to the lane of the row's sum, three operations that round once
 * each (the file that includes this is compiled without contraction to fused ones). All ways of computing it (vpdpbusd, AVX2, plain C)
 * therefore give the same bits.
 *
 * Codes are unsigned: int4 stands for c - 8, int8 for c - 128, and the numbers of NF4 become a table of bytes that stand for
 * (byte - 128) / DOT8_NF4. What is too much, 8 or 128 times the sum of x, is where each lane's sum begins. With zeros of its own a weight
 * has s (c - z) = s (sum c x - z sum x), the second sum kept as floats. */
#ifndef VM_DOT8_H
#define VM_DOT8_H
#include "kernels/dot8_form.h"
#include "kernels/tile.h"

#ifndef VM_F64_BUILD
#if defined(__AVX2__)
#include <immintrin.h>
#define DOT8_HAVE_AVX2
#endif
#if defined(__AVX512BW__) && defined(__AVX512VL__)
#define DOT8_HAVE_VNNI /* asked at run time */
#endif
#endif

/* DOT8_GROUP numbers: q = x / scale rounded to nearest even, -127 to 127; returns the scale, the largest magnitude / 127. Where that is
 * below 2^-100 all count as 0; where a number is not finite all are 0 and the scale is NaN. */
static inline float dot8_round(const float *restrict x, int8_t *restrict q) {
    uint32_t bits[DOT8_GROUP], most = 0;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < DOT8_GROUP; i++) most = VM_MAX(most, bits[i] & 0x7fffffffu); /* of bits, so that a NaN is the largest */
    union { uint32_t u; float f; } top = { most };
    bool finite = most < 0x7f800000u, some = finite && top.f >= 0x1p-100f;
    if (!some) {
        memset(q, 0, DOT8_GROUP);
        return finite ? 0 : NAN;
    }
    float by = 127 / top.f;
    for (int i = 0; i < DOT8_GROUP; i++) q[i] = (int8_t)(int)rintf(x[i] * by);
    return top.f / 127;
}

/* sum[l] of each neighbouring `each` (4 or 8) of q */
static inline void dot8_sums(const int8_t *restrict q, int64_t each, int32_t *restrict sum) {
    int16_t pair[DOT8_BYTES], four[DOT8_LANES * 2];
    int n = (int)each * DOT8_LANES / 4;
    for (int i = 0; i < 2 * n; i++) pair[i] = (int16_t)(q[2 * i] + q[2 * i + 1]);
    for (int i = 0; i < n; i++) four[i] = (int16_t)(pair[2 * i] + pair[2 * i + 1]);
    for (int l = 0; l < DOT8_LANES; l++) sum[l] = each == 4 ? four[l] : four[2 * l] + four[2 * l + 1];
}

/* Row m of M of x: n numbers from a whole register on. y: where that register's lines of row 0 stand. */
static inline void dot8_place(dot8_kind k, const vm_real *x, int64_t n, int M, int m, char *y) {
    const int64_t columns = dot8_columns(k.kind), lines = dot8_lines(k.kind), each = columns / DOT8_LANES;
    const int offset = k.kind == VM_INT4 ? 8 : 128;
    const float table = k.kind == VM_NF4 ? 1 / DOT8_NF4 : 1;
    y += m * lines * DOT8_BYTES;
    for (; n > 0; n -= columns, x += columns, y += M * lines * DOT8_BYTES) {
        float part[2 * DOT8_BYTES] = { 0 }, group[2 * DOT8_BYTES / DOT8_GROUP];
        int8_t q[2 * DOT8_BYTES], *to = (int8_t *)y;
        int32_t sum[DOT8_LANES];
        for (int64_t c = 0; c < VM_MIN(columns, n); c++) part[c] = (float)x[c];
        for (int64_t c = 0; c < columns; c += DOT8_GROUP) group[c / DOT8_GROUP] = dot8_round(part + c, q + c) * table;
        if (k.kind == VM_INT8) memcpy(to, q, DOT8_BYTES);
        else
            for (int c = 0; c < DOT8_BYTES; c++) to[c] = q[2 * c], to[DOT8_BYTES + c] = q[2 * c + 1];
        dot8_sums(q, each, sum);
        int32_t *start = (int32_t *)(void *)(y + (lines - 2) * DOT8_BYTES);
        float *as_float = (float *)(void *)start, *scale = (float *)(void *)(y + (lines - 1) * DOT8_BYTES);
        for (int l = 0; l < DOT8_LANES; l++) {
            if (k.zeros) as_float[l] = (float)sum[l];
            else start[l] = -offset * sum[l];
            scale[l] = group[l * each / DOT8_GROUP];
        }
    }
}

/* Rows of the weight from a whole register and the beginning of a block on: n columns. */
typedef struct {
    int64_t lines, n, row; /* row: bytes between rows of codes */
    const uint8_t *codes;
    const vm_real *s, *z; /* scales and zeros of the blocks, s_row between rows; z NULL = none */
    int64_t s_row, block; /* block: as dot8_fits wants it, or n and more */
    bool first;           /* the first columns: sums begin here, at 0 */
} dot8_rows;

/* Moving scales along with registers of codes. */
typedef struct {
    int64_t many, each, left, blocks; /* scales per register (1, and `each` registers share it), scales that there are */
    int shift;                        /* lane l has scale l >> shift of its register */
} dot8_scales;
static inline dot8_scales dot8_scales_of(const dot8_rows *r, int64_t columns) {
    bool whole = r->block >= r->n || r->block % columns == 0;
    int64_t each = r->block >= r->n ? INT64_MAX : VM_MAX(r->block / columns, (int64_t)1), many = whole ? 1 : columns / r->block;
    return (dot8_scales){ many, each, each, (r->n + r->block - 1) / r->block, __builtin_ctz(DOT8_LANES / (unsigned)many) };
}

enum { DOT8_AHEAD = 8192 }; /* bytes: how far ahead of the sums codes are asked for; rows stand behind each other */

/* Code for every kind and number of rows: f(kind, M, ...). */
#define DOT8_KIND(f, m)                                                                \
    case m:                                                                            \
        if (k.kind == VM_INT8) f((dot8_kind){ VM_INT8, false }, m, r, table, x, sum);    \
        else if (k.kind == VM_NF4) f((dot8_kind){ VM_NF4, false }, m, r, table, x, sum); \
        else if (k.zeros) f((dot8_kind){ VM_INT4, true }, m, r, table, x, sum);          \
        else f((dot8_kind){ VM_INT4, false }, m, r, table, x, sum);                      \
        break
#define DOT8_EACH(f)       \
    switch (M) {           \
        DOT8_KIND(f, 1);   \
        DOT8_KIND(f, 2);   \
        DOT8_KIND(f, 4);   \
        DOT8_KIND(f, 8);   \
    }

#ifdef DOT8_HAVE_VNNI
#include "kernels/dot8_vnni.h"
#endif
#ifdef DOT8_HAVE_AVX2
#include "kernels/dot8_avx2.h"
#endif

/* --- plain ---------------------------------------------------------------------------------------------------------- */
static inline void dot8_plain(dot8_kind k, int M, const dot8_rows *r, const uint8_t *table, const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    const int64_t columns = dot8_columns(k.kind), lines = dot8_lines(k.kind);
    const int per = k.kind == VM_INT8 ? 1 : 2;
    for (int64_t i = 0; i < r->lines; i++) {
        const char *y = x;
        dot8_scales at = dot8_scales_of(r, columns);
        const vm_real *s = r->s + i * r->s_row, *z = k.zeros ? r->z + i * r->s_row : NULL;
        if (r->first) memset(sum[i], 0, (size_t)M * sizeof *sum[i]);
        for (int64_t c = 0; c < r->n; c += columns) {
            uint8_t w[2][DOT8_BYTES] = { { 0 } };
            int64_t bytes = VM_MIN((int64_t)DOT8_BYTES, (r->n - c) / per);
            for (int64_t b = 0; b < bytes; b++) {
                uint8_t code = r->codes[i * r->row + c / per + b];
                w[0][b] = per == 1 ? code : table[code >> 4], w[1][b] = per == 1 ? 0 : table[code & 15];
            }
            for (int m = 0; m < M; m++, y += lines * DOT8_BYTES) {
                const int8_t *q = (const int8_t *)y;
                const void *start = y + (lines - 2) * DOT8_BYTES;
                const float *scale = (const float *)(const void *)(y + (lines - 1) * DOT8_BYTES);
                for (int l = 0; l < DOT8_LANES; l++) {
                    int32_t total = k.zeros ? 0 : ((const int32_t *)start)[l];
                    for (int h = 0; h < per; h++)
                        for (int b = 4 * l; b < 4 * l + 4; b++) total += w[h][b] * q[h * DOT8_BYTES + b];
                    int64_t b = VM_MIN((int64_t)(l >> at.shift), at.blocks - 1);
                    float t = (float)total;
                    if (k.zeros) t -= (float)z[b] * ((const float *)start)[l];
                    sum[i][m][l] += t * scale[l] * (float)s[b];
                }
            }
            if (--at.left == 0) s += at.many, z += k.zeros ? at.many : 0, at.blocks -= at.many, at.left = at.each;
        }
    }
}

/* --- what the processor has ------------------------------------------------------------------------------------------ */
typedef enum { DOT8_PLAIN, DOT8_AVX2, DOT8_VNNI } dot8_way;
static inline dot8_way dot8_best(void) {
#ifdef DOT8_HAVE_VNNI
    if (vm_cpu_has_vnni()) return DOT8_VNNI;
#endif
#ifdef DOT8_HAVE_AVX2
    return DOT8_AVX2;
#else
    return DOT8_PLAIN;
#endif
}

/* sum[i][m] (+)= row i of the weight times M (1, 2, 4 or 8) rows of x, over the lanes. table: bytes that 4-bit codes stand for. */
static inline void dot8_run(dot8_way way, dot8_kind k, int M, const dot8_rows *r, const uint8_t *table, const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
#ifdef DOT8_HAVE_VNNI
    if (way == DOT8_VNNI) {
        dot8_vnni(k, M, r, table, x, sum);
        return;
    }
#endif
#ifdef DOT8_HAVE_AVX2
    if (way == DOT8_AVX2) {
        dot8_avx2(k, M, r, table, x, sum);
        return;
    }
#endif
    dot8_plain(k, M, r, table, x, sum);
}

/* The sum over the lanes, always in this order. */
static inline float dot8_total(const float *x) {
    float a[8], b[4];
    for (int l = 0; l < 8; l++) a[l] = x[l] + x[l + 8];
    for (int l = 0; l < 4; l++) b[l] = a[l] + a[l + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}
#endif
