/* quant.c - see quant.h. Runs once per weight, on the host. */
#include "kernels/quant.h"

#include <math.h>

const float vm_nf4[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f
};

static float largest(const float *w, int64_t n) {
    float a = 0;
    for (int64_t i = 0; i < n; i++) a = fmaxf(a, fabsf(w[i]));
    return a;
}
static uint8_t to_code(float x, int zero, int most) {
    return (uint8_t)VM_MAX(0, VM_MIN(most, (int)rintf(x) + zero));
}
/* Code number i of a row of 4-bit codes. */
static void put4(uint8_t *codes, int64_t i, uint8_t c) {
    codes[i / 2] = i & 1 ? (uint8_t)((codes[i / 2] & 0xf0) | c) : (uint8_t)(c << 4);
}

void vm_quantize_int8(const float *w, int64_t N, int64_t K, int64_t block, uint8_t *codes, float *scales) {
    if (!block) block = VM_MAX(K, (int64_t)1);
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < VM_MAX(K, (int64_t)1); k += block, scales++) {
            int64_t m = VM_MIN(block, K - k);
            const float *x = w + n * K + k;
            *scales = largest(x, m) / 127;
            for (int64_t i = 0; i < m; i++) codes[n * K + k + i] = to_code(*scales > 0 ? x[i] / *scales : 0, 128, 255);
        }
}

void vm_quantize_int4(const float *w, int64_t N, int64_t K, int64_t block, uint8_t *codes, float *scales, float *zeros) {
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k += block, scales++) {
            int64_t m = VM_MIN(block, K - k);
            const float *x = w + n * K + k;
            float low = 0, high = 0;
            for (int64_t i = 0; i < m; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
            *scales = zeros ? (high - low) / 15 : largest(x, m) / 7;
            int zero = zeros && *scales > 0 ? (int)rintf(-low / *scales) : 8;
            if (zeros) *zeros++ = (float)zero;
            for (int64_t i = 0; i < m; i++)
                put4(codes + n * (K / 2), k + i, to_code(*scales > 0 ? x[i] / *scales : 0, zero, 15));
        }
}

void vm_quantize_nf4(const float *w, int64_t n, int64_t block, uint8_t *codes, float *scales) {
    for (int64_t k = 0; k < n; k += block, scales++) {
        int64_t m = VM_MIN(block, n - k);
        *scales = largest(w + k, m);
        float inverse = 1 / fmaxf(*scales, 1e-38f);
        for (int64_t i = 0; i < m; i++) {
            float u = fmaxf(-1, fminf(1, w[k + i] * inverse));
            int c = 0;
            while (c < 15 && u > (vm_nf4[c] + vm_nf4[c + 1]) / 2) c++;
            put4(codes, k + i, (uint8_t)c);
        }
    }
}

void vm_dynamic_map(float map[256]) {
    for (int e = 0, at = 0; e < 7; e++)
        for (int i = 0; i < 1 << e; i++, at++) {
            double part = 0.9 / (1 << e);
            float x = (float)(pow(10, e - 6) * (double)(float)(0.1 + part * (i + 0.5)));
            map[128 + at] = x, map[126 - at] = -x;
        }
    map[127] = 0, map[255] = 1;
}

static uint8_t nearest(const float map[256], float x) {
    int c = 0;
    while (c < 255 && x > map[c] + (map[c + 1] - map[c]) / 2) c++;
    return (uint8_t)c;
}

void vm_quantize_scales(const float *scales, int64_t n, uint8_t *codes, float *nested) {
    float *map = nested + VM_NESTED_MAP, *top = nested + VM_NESTED_TOP;
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += (double)scales[i];
    nested[0] = n ? (float)(mean / (double)n) : 0;
    vm_dynamic_map(map);
    for (int64_t k = 0; k < n; k += VM_NESTED_BLOCK, top++) {
        int64_t m = VM_MIN((int64_t)VM_NESTED_BLOCK, n - k);
        *top = 0;
        for (int64_t i = k; i < k + m; i++) *top = fmaxf(*top, fabsf(scales[i] - nested[0]));
        for (int64_t i = k; i < k + m; i++) codes[i] = nearest(map, *top > 0 ? (scales[i] - nested[0]) / *top : 0);
    }
}
