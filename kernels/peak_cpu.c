/* peak_cpu.c - the loops behind peak.c, once per processor level. */
#include "kernels/cpu.h"

#if defined(__AVX512F__) && !defined(VM_F64_BUILD)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float lanes __attribute__((vector_size(4 * LANES)));

enum { CHAINS = 10 }; /* independent sums: more than latency times units, fewer than registers */

double VM_KERNEL(vm_peak_f32)(int64_t rounds, volatile float *sink) {
    lanes a[CHAINS], b, c;
    for (int l = 0; l < LANES; l++) b[l] = 0.999f + *sink, c[l] = 0.001f;
    for (int k = 0; k < CHAINS; k++) a[k] = c * (float)k;
    for (int64_t r = 0; r < rounds; r++)
        for (int k = 0; k < CHAINS; k++) a[k] = a[k] * b + c;
    for (int k = 1; k < CHAINS; k++) a[0] += a[k];
    *sink = a[0][0] * 0;
    return (double)rounds * CHAINS * LANES * 2;
}

#if defined(__AVX512F__) && !defined(VM_F64_BUILD)
__attribute__((target("avx512bf16"))) double VM_KERNEL(vm_peak_bf16)(int64_t rounds, volatile float *sink) {
    __m512 a[CHAINS];
    __m512i ones = _mm512_set1_epi16(0x3f80);
    for (int k = 0; k < CHAINS; k++) a[k] = _mm512_set1_ps(*sink);
    for (int64_t r = 0; r < rounds; r++)
        for (int k = 0; k < CHAINS; k++) a[k] = _mm512_dpbf16_ps(a[k], (__m512bh)ones, (__m512bh)ones);
    for (int k = 1; k < CHAINS; k++) a[0] = _mm512_add_ps(a[0], a[k]);
    *sink = _mm512_cvtss_f32(a[0]) * 0;
    return (double)rounds * CHAINS * 16 * 4;
}
#else
double VM_KERNEL(vm_peak_bf16)(int64_t rounds, volatile float *sink) { return 0; }
#endif

uint64_t VM_KERNEL(vm_peak_sum)(const uint64_t *p, int64_t n) {
    uint64_t s = 0;
    for (int64_t i = 0; i < n; i++) s += p[i];
    return s;
}
