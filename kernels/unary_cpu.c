/* unary_cpu.c - one vectorised loop per function and per derivative, over pieces that stay in the first cache. */
#include "kernels/cpu.h"
#include "kernels/ops.h"

#define R(x) ((vm_real)(x))
#define SQRT_8_PI R(1.59576912160573071176)
#define CUBIC R(0.044715)

static inline vm_real gelu(vm_real x) {
    vm_real phi;
    return x * vm_normal(x, &phi);
}
static inline vm_real gelu_slope(vm_real x) {
    vm_real phi, cdf = vm_normal(x, &phi);
    return cdf + x * phi;
}
/* (1 + tanh(u))/2 = s(2u) */
static inline vm_real gelu_tanh_gate(vm_real x) { return vm_sigmoid(SQRT_8_PI * (x + CUBIC * x * x * x)); }
static inline vm_real gelu_tanh_slope(vm_real x) {
    vm_real s = gelu_tanh_gate(x);
    return s + x * s * (1 - s) * SQRT_8_PI * (1 + 3 * CUBIC * x * x);
}
static inline vm_real where_positive(vm_real x, vm_real d) { return x > 0 ? d : 0; } /* d is always read */
/* max(x,0) + log(1 + e^-|x|): no overflow */
static inline vm_real swish_slope(vm_real x, vm_real beta) {
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

static void apply(vm_unary_kind k, const vm_real *restrict a, int64_t n, vm_real *restrict y) {
    switch (k) {
        CASE(VM_NONE, x);
        CASE(VM_RELU, x < 0 ? 0 : x); /* keeps NaN */
        CASE(VM_QUICK_GELU, x * vm_sigmoid(R(1.702) * x));
        CASE(VM_GELU, gelu(x));
        CASE(VM_GELU_TANH, x * gelu_tanh_gate(x));
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
static void apply_slope(vm_unary_kind k, const vm_real *restrict d, const vm_real *restrict a, int64_t n,
                        vm_real *restrict y) {
    switch (k) {
        CASE(VM_NONE, d[i]);
        CASE(VM_RELU, where_positive(x, d[i]));
        CASE(VM_QUICK_GELU, d[i] * swish_slope(x, R(1.702)));
        CASE(VM_GELU, d[i] * gelu_slope(x));
        CASE(VM_GELU_TANH, d[i] * gelu_tanh_slope(x));
        CASE(VM_SILU, d[i] * swish_slope(x, 1));
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

vm_status VM_KERNEL(unary_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_unary_kind kind = (vm_unary_kind)n->i[1];
#pragma omp parallel for schedule(static) if (N * 8 > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK], *out = vm_row_begin(y, ty, at, y_);
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        apply(kind, vm_row(x, tx, at, m, x_), m, out);
        vm_row_end(y, ty, at, m, out);
    }
    return VM_OK;
}

vm_status VM_KERNEL(unary_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *dy = vm_in(g, n, 0), *x = vm_in(g, n, 1);
    void *dx = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type, tx = g->v[n->in[1]].type, to = g->v[n->out[0]].type;
    vm_unary_kind kind = (vm_unary_kind)n->i[1];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N * 8 > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real d_[VM_CHUNK], x_[VM_CHUNK], o_[VM_CHUNK], *out = vm_row_into(dx, to, at, o_, add);
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        apply_slope(kind, vm_row(dy, td, at, m, d_), vm_row(x, tx, at, m, x_), m, out);
        vm_row_done(dx, to, at, m, out, add);
    }
    return VM_OK;
}

vm_status VM_KERNEL(scale_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_real s = (vm_real)n->f[0], b = (vm_real)n->f[1];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        const vm_real *restrict a = vm_row(x, tx, at, m, x_);
        vm_real *restrict out = vm_row_into(y, ty, at, y_, add);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) out[i] = s * a[i] + b;
        vm_row_done(y, ty, at, m, out, add);
    }
    return VM_OK;
}
