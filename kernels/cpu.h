/* cpu.h - for *_cpu.c files only: the name suffix of the processor level, typed rows, vectorisable math.
 *
 * A *_cpu.c file is compiled once per level (Makefile). All here is static inline, so each copy gets its own code. */
#ifndef VM_CPU_H
#define VM_CPU_H
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/graph.h"

#ifndef VM_LEVEL_SUFFIX
#define VM_LEVEL_SUFFIX _base
#endif
#define VM_PASTE2(a, b) a##b
#define VM_PASTE(a, b) VM_PASTE2(a, b)
#define VM_KERNEL(f) VM_PASTE(f, VM_LEVEL_SUFFIX)

/* Regions below this many operations stay on the calling thread: waking the others costs more. */
#define VM_PAR_MIN 50000

typedef uint16_t vm_bf16;

static inline float vm_bf16_to_f32(vm_bf16 h) {
    union { uint32_t u; float f; } x = { (uint32_t)h << 16 };
    return x.f;
}
/* round to nearest even; NaN stays NaN */
static inline vm_bf16 vm_f32_to_bf16(float f) {
    union { float f; uint32_t u; } x = { f };
    uint32_t r = (x.u + 0x7fffu + ((x.u >> 16) & 1)) >> 16;
    return (vm_bf16)((x.u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : r);
}


/* IEEE half. The exponent is re-based by a multiplication, which turns subnormals into normals as well. */
static inline float vm_f16_to_f32(uint16_t h) {
    union { uint32_t u; float f; } x = { (uint32_t)(h & 0x7fffu) << 13 };
    x.f *= 0x1p112f;
    x.u |= (h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0;
    x.u |= (uint32_t)(h & 0x8000u) << 16;
    return x.f;
}
/* round to nearest even; beyond 65520 infinite; NaN stays NaN */
static inline uint16_t vm_f32_to_f16(float f) {
    union { float f; uint32_t u; } x = { f }, a, small;
    a.u = x.u & 0x7fffffffu;
    small.f = a.f + 0.5f; /* the last bits of 0.5 + tiny are those of the subnormal half, rounded by the addition */
    uint32_t normal = (a.u - (112u << 23) + 0xfffu + ((a.u >> 13) & 1)) >> 13;
    uint32_t r = a.u < 0x38800000u ? small.u - 0x3f000000u : normal;
    r = a.u >= 0x477ff000u ? 0x7c00u : r;
    r = a.u > 0x7f800000u ? 0x7e00u : r;
    return (uint16_t)(r | (x.u >> 16 & 0x8000u));
}

/* Kernels that read rows of any float type work on at most this many elements at a time, in buffers on the stack. */
enum { VM_CHUNK = 1024 };

/* n elements from p[at...] of float type t as vm_real: the address itself when they already are, else converted into
 * tmp. */
static inline const vm_real *vm_row(const void *p, vm_type t, int64_t at, int64_t n, vm_real *restrict tmp) {
    if (t == VM_F32) return (const vm_real *)p + at;
    const uint16_t *restrict h = (const uint16_t *)p + at;
    if (t == VM_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) tmp[i] = (vm_real)vm_bf16_to_f32(h[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) tmp[i] = (vm_real)vm_f16_to_f32(h[i]);
    }
    return tmp;
}
/* Where to compute n results for p[at...]: in place for vm_real, else in tmp, to be stored by vm_row_end. */
static inline vm_real *vm_row_begin(void *p, vm_type t, int64_t at, vm_real *tmp) {
    return t == VM_F32 ? (vm_real *)p + at : tmp;
}
static inline void vm_row_end(void *p, vm_type t, int64_t at, int64_t n, const vm_real *restrict tmp) {
    if (t == VM_F32) return;
    uint16_t *restrict h = (uint16_t *)p + at;
    if (t == VM_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) h[i] = vm_f32_to_bf16((float)tmp[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) h[i] = vm_f32_to_f16((float)tmp[i]);
    }
}
/* For results that may add: compute n <= VM_CHUNK of them in vm_row_into(...), then vm_row_done stores or adds them. */
static inline vm_real *vm_row_into(void *p, vm_type t, int64_t at, vm_real *tmp, bool add) {
    return add ? tmp : vm_row_begin(p, t, at, tmp);
}
static inline void vm_row_done(void *p, vm_type t, int64_t at, int64_t n, const vm_real *restrict r, bool add) {
    vm_real old[VM_CHUNK];
    if (add) {
        const vm_real *restrict o = vm_row(p, t, at, n, old);
        vm_real *restrict y = vm_row_begin(p, t, at, old);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = o[i] + r[i];
        r = y;
    }
    vm_row_end(p, t, at, n, r);
}

/* Sums over a row in four runs: one running sum would wait for itself at each addition. */
#define VM_ROW_SUM(name, args, term)                                                                               \
    static inline vm_real name args {                                                                              \
        vm_real s0 = 0, s1 = 0, s2 = 0, s3 = 0;                                                                    \
        int64_t q = n / 4, i = 0;                                                                                  \
        _Pragma("omp simd reduction(+ : s0, s1, s2, s3)") for (i = 0; i < q; i++) {                                \
            s0 += term(i), s1 += term(i + q), s2 += term(i + 2 * q), s3 += term(i + 3 * q);                        \
        }                                                                                                          \
        for (i = 4 * q; i < n; i++) s0 += term(i);                                                                 \
        return (s0 + s1) + (s2 + s3);                                                                              \
    }
#define VM_TERM(i) x[i]
VM_ROW_SUM(vm_row_sum, (const vm_real *restrict x, int64_t n), VM_TERM)
#undef VM_TERM
#define VM_TERM(i) (x[i] * y[i])
VM_ROW_SUM(vm_row_dot, (const vm_real *restrict x, const vm_real *restrict y, int64_t n), VM_TERM)
#undef VM_TERM
#define VM_TERM(i) ((x[i] - m) * (x[i] - m))
VM_ROW_SUM(vm_row_sqdev, (const vm_real *restrict x, vm_real m, int64_t n), VM_TERM) /* sum of (x-m)^2 */
#undef VM_TERM

/* Partial sums of chunks.h, added in chunk order: out[c] (+)= scale * sum over k of part[k*stride + c] */
static inline void vm_sum_chunks(const vm_real *part, int64_t n_chunks, int64_t stride, int64_t C, vm_real scale,
                                 vm_real *out, bool add) {
    enum { BLOCK = 256 };
#pragma omp parallel for schedule(static) if (n_chunks * C > VM_PAR_MIN)
    for (int64_t c0 = 0; c0 < C; c0 += BLOCK) {
        vm_real s[BLOCK] = { 0 };
        int64_t m = VM_MIN((int64_t)BLOCK, C - c0);
        for (int64_t k = 0; k < n_chunks; k++) {
            const vm_real *restrict p = part + k * stride + c0;
#pragma omp simd
            for (int64_t c = 0; c < m; c++) s[c] += p[c];
        }
        for (int64_t c = 0; c < m; c++) out[c0 + c] = scale * s[c] + (add ? out[c0 + c] : 0);
    }
}

/* --- exp, tanh, log, Phi without branches, so that loops over them vectorise; in the f64 build the library's ------ */
#ifdef VM_F64_BUILD
static inline vm_real vm_exp(vm_real x) { return exp(x); }
static inline vm_real vm_tanh(vm_real x) { return tanh(x); }
static inline vm_real vm_log(vm_real x) { return log(x); }
static inline vm_real vm_normal(vm_real x, vm_real *phi) {
    *phi = 0.39894228040143267794 * exp(-0.5 * x * x);
    return 0.5 * erfc(-x * 0.70710678118654752440);
}
#else
/* e^x = 2^k e^r, |r| <= ln2/2, degree-6 polynomial, within 2 ulp; 0 below -87.33 (no subnormals), inf above 88.72, NaN
 * kept. k comes out of the last bits of a float near 1.5 2^23, and is added to the exponent of e^r. */
static inline float vm_exp(float x) {
    union { float f; uint32_t u; } k = { x * 1.44269504088896341f + 0x1.8p23f }, y;
    float n = k.f - 0x1.8p23f;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    y.f = p * (r * r) + r + 1.0f;
    y.u += k.u << 23;
    float e = x < -87.336544f ? 0.0f : y.f;
    e = x > 88.722839f ? INFINITY : e;
    return x != x ? x : e;
}
static inline float vm_tanh(float x) {
    float t = fabsf(x), e = vm_exp(-2.0f * t);
    float big = (1.0f - e) / (1.0f + e), x2 = x * x;
    /* near 0 the quotient cancels: odd polynomial there */
    float p = x * (1.0f + x2 * (-0.333332926f + x2 * (0.133230954f + x2 * (-0.0526514f + x2 * 0.0176f))));
    float s = copysignf(big, x);
    return t < 0.35f ? p : s;
}
/* x = 2^k (1+f), 1+f in [sqrt(1/2), sqrt(2)): k ln2 + f - f^2/2 + f^3 p(f), p fitted with relative error 6e-9. */
static inline float vm_log(float x) {
    bool tiny = x < 1.17549435e-38f;
    union { float f; int32_t i; } m = { tiny ? x * 0x1p23f : x };
    int32_t k = (m.i - 0x3f3504f3) >> 23;
    m.i = (int32_t)((uint32_t)m.i - ((uint32_t)k << 23));
    float f = m.f - 1.0f, e = (float)k - (tiny ? 23.0f : 0.0f), p = -0.0785959206f;
    p = p * f + 0.128816401f;
    p = p * f - 0.131287586f;
    p = p * f + 0.141811932f;
    p = p * f - 0.166245538f;
    p = p * f + 0.200022862f;
    p = p * f - 0.250008104f;
    p = p * f + 0.333333167f;
    float y = e * -2.12194440e-4f + f * f * (p * f - 0.5f);
    y = y + f + e * 0.693359375f;
    y = x > 3.4028235e38f ? x : y;
    y = x == 0 ? -INFINITY : y;
    return x >= 0 ? y : NAN;
}
/* Phi(x), and phi(x) = e^(-x^2/2)/sqrt(2 pi): the tail is Phi(-z) = e^(-z^2/2) p(z), p fitted on [0,8] so that Phi errs
 * by less than 2.5e-7 and x Phi by less than 2e-7 max(1,|x|). One exponential serves both. */
static inline float vm_normal(float x, float *phi) {
    float a = fabsf(x), z = a < 14.0f ? a : 14.0f, e = vm_exp(-0.5f * z * z), p = 1.21707205e-06f;
    p = p * z - 2.79102661e-05f;
    p = p * z + 0.000286034834f;
    p = p * z - 0.00175925602f;
    p = p * z + 0.00742515642f;
    p = p * z - 0.023564062f;
    p = p * z + 0.0604962442f;
    p = p * z - 0.132183538f;
    p = p * z + 0.249832536f;
    p = p * z - 0.39892803f;
    p = p * z + 0.499999785f;
    *phi = 0.398942280f * e;
    return x > 0 ? 1.0f - e * p : e * p;
}
#endif
/* log(1 + e^x) with all digits of small results: 1 + e would drop them */
static inline vm_real vm_softplus(vm_real x) {
    vm_real e = vm_exp(x > 0 ? -x : x);
#ifdef VM_F64_BUILD
    vm_real l = log1p(e);
#else
    vm_real series = e * (1.0f - e * (0.5f - e * (0.333333333f - e * (0.25f - e * 0.2f)))), whole = vm_log(1 + e);
    vm_real l = e < 0.0625f ? series : whole;
#endif
    return (x > 0 ? x : 0) + l;
}
static inline vm_real vm_sigmoid(vm_real x) { return 1 / (1 + vm_exp(-x)); }

#endif
