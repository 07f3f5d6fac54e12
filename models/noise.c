/* noise.c - see noise.h. */
#include "models/noise.h"

#include <math.h>

#include "kernels/philox.h"

enum { WORDS = 624, MIDDLE = 397, BLOCK = 16 };

noise noise_begin(noise_kind kind, uint64_t seed) {
    noise s = { .kind = kind, .seed = seed, .at = WORDS };
    s.mt[0] = (uint32_t)seed;
    for (uint32_t k = 1; k < WORDS; k++) s.mt[k] = 1812433253u * (s.mt[k - 1] ^ s.mt[k - 1] >> 30) + k;
    return s;
}

static uint32_t mt_next(noise *s) {
    if (s->at == WORDS) {
        for (int k = 0; k < WORDS; k++) {
            uint32_t y = (s->mt[k] & 0x80000000u) | (s->mt[(k + 1) % WORDS] & 0x7fffffffu);
            s->mt[k] = s->mt[(k + MIDDLE) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        s->at = 0;
    }
    uint32_t y = s->mt[s->at++];
    y ^= y >> 11, y ^= y << 7 & 0x9d2c5680u, y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static float uniform(noise *s) { return (float)(mt_next(s) & 0xffffff) * 0x1p-24f; }

static void normal_block(float *x) {
    for (int k = 0; k < BLOCK / 2; k++) {
        float radius = sqrtf(-2 * logf(1 - x[k])), angle = 6.2831853071795864769f * x[k + BLOCK / 2];
        x[k] = radius * cosf(angle), x[k + BLOCK / 2] = radius * sinf(angle);
    }
}

/* n >= 16; a rest is the end of a whole block, drawn anew. */
static void draw_cpu(noise *s, int64_t n, float *x) {
    for (int64_t i = 0; i < n; i++) x[i] = uniform(s);
    for (int64_t i = 0; i + BLOCK <= n; i += BLOCK) normal_block(x + i);
    if (n % BLOCK == 0) return;
    for (int k = 0; k < BLOCK; k++) x[n - BLOCK + k] = uniform(s);
    normal_block(x + n - BLOCK);
}

static void draw_philox(const noise *s, int64_t n, float *x) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t w[4];
        vm_philox(s->seed, (uint64_t)i, s->draws, w);
        float u = ((float)w[0] + 0.5f) * 0x1p-32f, v = ((float)w[1] + 0.5f) * 0x1p-32f * 6.2831853071795864769f;
        x[i] = sqrtf(-2 * logf(u)) * sinf(v);
    }
}

vm_status noise_map(noise *s, int64_t C, int64_t HW, float *out, vm_error *e) {
    int64_t n = C * HW, least = VM_MAX(n, (int64_t)BLOCK);
    float *x = vm_alloc((size_t)least * sizeof *x);
    if (!x) return vm_nomem(e, (size_t)least * sizeof *x, "noise");
    if (s->kind == NOISE_CPU) draw_cpu(s, least, x);
    else if (s->kind == NOISE_PHILOX) draw_philox(s, n, x);
    else s->given(s->ctx, n, x, e);
    s->draws++;
    for (int64_t i = 0; i < HW && !e->status; i++)
        for (int64_t c = 0; c < C; c++) out[i * C + c] = x[c * HW + i];
    vm_free(x);
    return e->status;
}
