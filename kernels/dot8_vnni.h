/* dot8_vnni.h - dot8.h with vpdpbusd of AVX-512: products of 64 bytes added in fours. */
#ifndef VM_DOT8_VNNI_H
#define VM_DOT8_VNNI_H
#define DOT8_VNNI_TARGET __attribute__((target("avx512vnni")))

typedef struct {
    __m512i early, late; /* codes as bytes: of 4 bits those in the high halves, in the low ones; of 8 bits `late` alone */
    __m512 scale, zero;
} dot8_codes;

/* `many` scales for the lanes of a register (0: any number), all of which there are. */
DOT8_VNNI_TARGET INLINE __m512 dot8_vnni_spread(const int many, const float *s, __m512i which, int64_t there) {
    if (many == 1) return _mm512_set1_ps(*s);
    if (many == 2) return _mm512_mask_broadcastss_ps(_mm512_set1_ps(s[0]), 0xff00, _mm_load_ss(s + 1));
    return _mm512_permutexvar_ps(which, _mm512_maskz_loadu_ps((__mmask16)((1u << there) - 1), s));
}

/* A register of codes; `some` of its bytes are there, and the rest meets zeros of x. */
DOT8_VNNI_TARGET INLINE dot8_codes dot8_vnni_codes(const dot8_kind k, const int many, const uint8_t *codes, int64_t some, __m512i bytes, const float *s,
                                                   const float *z, __m512i which, int64_t there) {
    const __m512i low = _mm512_set1_epi8(15);
    dot8_codes c = { .late = some == DOT8_BYTES ? _mm512_loadu_si512(codes) : _mm512_maskz_loadu_epi8((1ull << some) - 1, codes) };
    if (k.kind != VM_INT8) {
        c.early = _mm512_and_si512(_mm512_srli_epi16(c.late, 4), low), c.late = _mm512_and_si512(c.late, low);
        if (k.kind == VM_NF4) c.early = _mm512_shuffle_epi8(bytes, c.early), c.late = _mm512_shuffle_epi8(bytes, c.late);
    }
    c.scale = dot8_vnni_spread(many, s, which, there);
    if (k.zeros) c.zero = dot8_vnni_spread(many, z, which, there);
    return c;
}

/* all[i][m] += register i times row m of x */
DOT8_VNNI_TARGET INLINE void dot8_vnni_step(const dot8_kind k, const int R, const int M, const dot8_codes *c, const char *x, __m512 (*all)[DOT8_ROWS]) {
    const int lines = k.kind == VM_INT8 ? 3 : 4;
    UNROLL for (int m = 0; m < M; m++, x += lines * DOT8_BYTES) {
        const __m512i start = _mm512_load_si512(x + (lines - 2) * DOT8_BYTES);
        const __m512 scale = _mm512_load_ps(x + (lines - 1) * DOT8_BYTES);
        UNROLL for (int i = 0; i < R; i++) {
            __m512i t = k.zeros ? _mm512_setzero_si512() : start;
            if (k.kind != VM_INT8) t = _mm512_dpbusd_epi32(t, c[i].early, _mm512_load_si512(x));
            t = _mm512_dpbusd_epi32(t, c[i].late, _mm512_load_si512(x + (lines - 3) * DOT8_BYTES));
            __m512 f = _mm512_cvtepi32_ps(t);
            if (k.zeros) f = _mm512_sub_ps(f, _mm512_mul_ps(c[i].zero, (__m512)start));
            all[i][m] = _mm512_add_ps(all[i][m], _mm512_mul_ps(_mm512_mul_ps(f, scale), c[i].scale));
        }
    }
}

/* R rows of the weight from number i on. */
DOT8_VNNI_TARGET INLINE void dot8_vnni_rows(const dot8_kind k, const int R, const int M, const int many, const dot8_rows *r, int64_t i, const uint8_t *table,
                                            const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    const int64_t columns = k.kind == VM_INT8 ? DOT8_BYTES : 2 * DOT8_BYTES, line = (k.kind == VM_INT8 ? 3 : 4) * DOT8_BYTES;
    const int per = k.kind == VM_INT8 ? 1 : 2;
    dot8_scales at = dot8_scales_of(r, columns);
    const float *s = r->s + i * r->s_row, *z = k.zeros ? r->z + i * r->s_row : NULL;
    const uint8_t *codes = r->codes + i * r->row;
    __m512i bytes = _mm512_setzero_si512(), which = bytes;
    if (k.kind == VM_NF4) bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
    if (many != 1) which = _mm512_srlv_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi32(at.shift));
    __m512 all[4][DOT8_ROWS];
    UNROLL for (int j = 0; j < R; j++) UNROLL
    for (int m = 0; m < M; m++) all[j][m] = r->first ? _mm512_setzero_ps() : _mm512_load_ps(sum[i + j][m]);
    dot8_codes c[4];
    int64_t n = r->n;
    for (; n >= columns; n -= columns, codes += DOT8_BYTES, x += M * line) {
        UNROLL for (int j = 0; j < R; j++) {
            _mm_prefetch(codes + DOT8_AHEAD + j * r->row, _MM_HINT_T0);
            c[j] = dot8_vnni_codes(k, many, codes + j * r->row, DOT8_BYTES, bytes, s + j * r->s_row, k.zeros ? z + j * r->s_row : NULL, which, at.many);
        }
        dot8_vnni_step(k, R, M, c, x, all);
        if (--at.left == 0) s += at.many, z += k.zeros ? at.many : 0, at.blocks -= at.many, at.left = at.each;
    }
    if (n) {
        UNROLL for (int j = 0; j < R; j++)
            c[j] = dot8_vnni_codes(k, many == 1 ? 1 : 0, codes + j * r->row, n / per, bytes, s + j * r->s_row, k.zeros ? z + j * r->s_row : NULL,
                                   which, VM_MIN(at.many, at.blocks));
        dot8_vnni_step(k, R, M, c, x, all);
    }
    UNROLL for (int j = 0; j < R; j++) UNROLL
    for (int m = 0; m < M; m++) _mm512_store_ps(sum[i + j][m], all[j][m]);
}

DOT8_VNNI_TARGET INLINE void dot8_vnni_any(const dot8_kind k, const int M, const int many, const dot8_rows *r, const uint8_t *table, const char *x,
                                           float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    enum { TOGETHER = 2 }; /* of the weight's rows, when x has several: they share what is read of it */
    int64_t i = 0;
    for (; M >= 4 && i + TOGETHER <= r->lines; i += TOGETHER) dot8_vnni_rows(k, TOGETHER, M, many, r, i, table, x, sum);
    for (; i < r->lines; i++) dot8_vnni_rows(k, 1, M, many, r, i, table, x, sum);
}
DOT8_VNNI_TARGET INLINE void dot8_vnni_scales(const dot8_kind k, const int M, const dot8_rows *r, const uint8_t *table, const char *x,
                                              float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    const int64_t many = dot8_scales_of(r, dot8_columns(k.kind)).many;
    if (many == 1) dot8_vnni_any(k, M, 1, r, table, x, sum);
    else if (many == 2) dot8_vnni_any(k, M, 2, r, table, x, sum);
    else dot8_vnni_any(k, M, 0, r, table, x, sum);
}
DOT8_VNNI_TARGET static void dot8_vnni(dot8_kind k, int M, const dot8_rows *r, const uint8_t *table, const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    DOT8_EACH(dot8_vnni_scales)
}
#endif
