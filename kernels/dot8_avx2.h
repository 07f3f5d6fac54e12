/* dot8_avx2.h - dot8.h with AVX2: bytes widened to 16 bits, since vpmaddubsw would saturate. */
#ifndef VM_DOT8_AVX2_H
#define VM_DOT8_AVX2_H

/* t + c[0] x[0] + ... + c[3] x[3] of each 4 bytes, c unsigned, x signed */
static inline __m256i dot8_avx2_fours(__m256i t, __m256i c, __m256i x) {
    __m256i even = _mm256_madd_epi16(_mm256_and_si256(c, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(c, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(t, _mm256_add_epi32(even, odd));
}

/* sum += a register of codes times a row of x, in two halves */
INLINE void dot8_avx2_step(const dot8_kind k, const uint8_t *codes, __m256i low, __m256i bytes, const float *scale, const float *zero, const char *x, float *sum) {
    const int lines = k.kind == VM_INT8 ? 3 : 4;
    UNROLL for (int h = 0; h < 2; h++) {
        const char *y = x + h * DOT8_BYTES / 2;
        __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)(codes + h * DOT8_BYTES / 2));
        __m256i start = _mm256_load_si256((const __m256i *)(const void *)(y + (lines - 2) * DOT8_BYTES)), t = k.zeros ? _mm256_setzero_si256() : start;
        if (k.kind != VM_INT8) {
            __m256i early = _mm256_and_si256(_mm256_srli_epi16(c, 4), low);
            c = _mm256_and_si256(c, low);
            if (k.kind == VM_NF4) early = _mm256_shuffle_epi8(bytes, early), c = _mm256_shuffle_epi8(bytes, c);
            t = dot8_avx2_fours(t, early, _mm256_load_si256((const __m256i *)(const void *)y));
        }
        t = dot8_avx2_fours(t, c, _mm256_load_si256((const __m256i *)(const void *)(y + (lines - 3) * DOT8_BYTES)));
        __m256 f = _mm256_cvtepi32_ps(t);
        if (k.zeros) f = _mm256_sub_ps(f, _mm256_mul_ps(_mm256_loadu_ps(zero + 8 * h), _mm256_castsi256_ps(start)));
        f = _mm256_mul_ps(_mm256_mul_ps(f, _mm256_load_ps((const float *)(const void *)(y + (lines - 1) * DOT8_BYTES))), _mm256_loadu_ps(scale + 8 * h));
        _mm256_store_ps(sum + 8 * h, _mm256_add_ps(_mm256_load_ps(sum + 8 * h), f));
    }
}

INLINE void dot8_avx2_rows(const dot8_kind k, const int M, const dot8_rows *r, const uint8_t *table, const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    const int64_t columns = k.kind == VM_INT8 ? DOT8_BYTES : 2 * DOT8_BYTES;
    const int lines = k.kind == VM_INT8 ? 3 : 4, per = k.kind == VM_INT8 ? 1 : 2;
    const __m256i low = _mm256_set1_epi8(15);
    __m256i bytes = _mm256_setzero_si256();
    if (k.kind == VM_NF4) bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
    for (int64_t i = 0; i < r->lines; i++) {
        const char *y = x;
        dot8_scales at = dot8_scales_of(r, columns);
        const float *s = r->s + i * r->s_row, *z = k.zeros ? r->z + i * r->s_row : NULL;
        const uint8_t *codes = r->codes + i * r->row;
        if (r->first) memset(sum[i], 0, (size_t)M * sizeof *sum[i]);
        for (int64_t n = r->n; n > 0; n -= columns, codes += DOT8_BYTES) {
            uint8_t rest[DOT8_BYTES] = { 0 };
            const uint8_t *from = codes;
            float scale[DOT8_LANES], zero[DOT8_LANES];
            _mm_prefetch((const char *)codes + DOT8_AHEAD, _MM_HINT_T0);
            if (n < columns) memcpy(rest, codes, (size_t)(n / per)), from = rest; /* what is missing meets zeros of x */
            for (int l = 0; l < DOT8_LANES; l++) {
                int64_t b = VM_MIN((int64_t)(l >> at.shift), at.blocks - 1);
                scale[l] = s[b], zero[l] = k.zeros ? z[b] : 0;
            }
            for (int m = 0; m < M; m++, y += lines * DOT8_BYTES) dot8_avx2_step(k, from, low, bytes, scale, zero, y, sum[i][m]);
            if (--at.left == 0) s += at.many, z += k.zeros ? at.many : 0, at.blocks -= at.many, at.left = at.each;
        }
    }
}
static void dot8_avx2(dot8_kind k, int M, const dot8_rows *r, const uint8_t *table, const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    DOT8_EACH(dot8_avx2_rows)
}
#endif
