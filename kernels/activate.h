/* activate.h - the functions of vm_unary_kind on runs of elements, and their derivatives (formulas: unary.c): one
 * vectorised loop each. For *_cpu.c files. */
#ifndef VM_ACTIVATE_H
#define VM_ACTIVATE_H
#include "kernels/cpu.h"
#include "kernels/ops.h"

#define R(x) ((vm_real)(x))
#define SQRT_8_PI R(1.59576912160573071176)
#define CUBIC R(0.044715)

static inline vm_real vm_gelu(vm_real x) {
    vm_real phi;
    return x * vm_normal(x, &phi);
}
static inline vm_real vm_gelu_slope(vm_real x) {
    vm_real phi, cdf = vm_normal(x, &phi);
    return cdf + x * phi;
}
/* (1 + tanh(u))/2 = s(2u) */
static inline vm_real vm_gelu_tanh_gate(vm_real x) { return vm_sigmoid(SQRT_8_PI * (x + CUBIC * x * x * x)); }
static inline vm_real vm_gelu_tanh_slope(vm_real x) {
    vm_real s = vm_gelu_tanh_gate(x);
    return s + x * s * (1 - s) * SQRT_8_PI * (1 + 3 * CUBIC * x * x);
}
static inline vm_real vm_where_positive(vm_real x, vm_real d) { return x > 0 ? d : 0; } /* d is always read */
static inline vm_real vm_swish_slope(vm_real x, vm_real beta) {
    vm_real s = vm_sigmoid(beta * x);
    return s * (1 + beta * x * (1 - s));
}

#define CASE(kind, expr)                                                                                            \
    case kind:                                                                                                     \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                                      \
            vm_real x = a[i];                                                                                      \
            (void)x;                                                                                               \
            y[i] = (expr);                                                                                         \
        }                                                                                                          \
        break

/* y = f(a) */
static inline void vm_apply(vm_unary_kind k, const vm_real *restrict a, int64_t n, vm_real *restrict y) {
    switch (k) {
        CASE(VM_NONE, x);
        CASE(VM_RELU, x < 0 ? 0 : x); /* keeps NaN */
        CASE(VM_QUICK_GELU, x * vm_sigmoid(R(1.702) * x));
        CASE(VM_GELU, vm_gelu(x));
        CASE(VM_GELU_TANH, x * vm_gelu_tanh_gate(x));
        CASE(VM_SILU, x * vm_sigmoid(x));
        CASE(VM_SIGMOID, vm_sigmoid(x));
        CASE(VM_TANH, vm_tanh(x));
        CASE(VM_EXP, vm_exp(x));
        CASE(VM_LOG, vm_log(x));
        CASE(VM_SQUARE, x * x);
        CASE(VM_SQRT, (vm_real)sqrt(x));
        CASE(VM_SOFTPLUS, vm_softplus(x));
        CASE(VM_NEG, -x);
    }
}

/* y = f'(a) d */
static inline void vm_apply_slope(vm_unary_kind k, const vm_real *restrict d, const vm_real *restrict a, int64_t n,
                                  vm_real *restrict y) {
    switch (k) {
        CASE(VM_NONE, d[i]);
        CASE(VM_RELU, vm_where_positive(x, d[i]));
        CASE(VM_QUICK_GELU, d[i] * vm_swish_slope(x, R(1.702)));
        CASE(VM_GELU, d[i] * vm_gelu_slope(x));
        CASE(VM_GELU_TANH, d[i] * vm_gelu_tanh_slope(x));
        CASE(VM_SILU, d[i] * vm_swish_slope(x, 1));
        CASE(VM_SIGMOID, d[i] * vm_sigmoid(x) * (1 - vm_sigmoid(x)));
        CASE(VM_TANH, d[i] * (1 - vm_tanh(x) * vm_tanh(x)));
        CASE(VM_EXP, d[i] * vm_exp(x));
        CASE(VM_LOG, d[i] / x);
        CASE(VM_SQUARE, d[i] * 2 * x);
        CASE(VM_SQRT, d[i] * R(0.5) / (vm_real)sqrt(x));
        CASE(VM_SOFTPLUS, d[i] * vm_sigmoid(x));
        CASE(VM_NEG, -d[i]);
    }
}
#undef CASE
#undef CUBIC
#undef SQRT_8_PI
#undef R

#endif
