/* test_glu.c - gated linear units and their gradients against double loops: two tensors, packed halves in either
 * order. */
#include "tests/optest.h"

static double tol(vm_type t) { return t == VM_F16 ? 0x1p-10 : op_tol(t); }

static double f(vm_unary_kind k, double x) {
    switch (k) {
    case VM_SILU: return x / (1 + exp(-x));
    case VM_GELU: return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case VM_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case VM_SIGMOID: return 1 / (1 + exp(-x));
    case VM_RELU: return fmax(x, 0);
    default: return x / (1 + exp(-1.702 * x));
    }
}
static double slope(vm_unary_kind k, double x) {
    double h = 1e-5;
    return k == VM_RELU ? x > 0 : (f(k, x + h) - f(k, x - h)) / (2 * h);
}

enum { APART, VALUE_FIRST, GATE_FIRST };

/* twice: x and gate have a second use, so that kernels add onto its gradient */
static void check_use(bool twice, vm_unary_kind k, int how, int64_t R, int64_t C, vm_type tx, vm_type tg, vm_type ty,
                      vm_type td) {
    op_case c = op_begin(VM_BF16);
    const int64_t ne[] = { R, C }, wide[] = { R, 2 * C };
    vm_val x = how == APART ? op_input(&c, tx, 2, ne, -4, 4) : op_input(&c, tx, 2, wide, -4, 4);
    vm_val gate = how == APART ? op_input(&c, tg, 2, ne, -6, 6) : 0, r = op_input(&c, td, 2, ne, -1, 1),
           wrt[] = { x, gate };
    vm_val y = how == APART ? vm_glu(c.g, x, gate, k, ty) : vm_glu_packed(c.g, x, how == GATE_FIRST, k, ty);
    EXPECT(vm_rows(c.g, y) == R && vm_cols(c.g, y) == C);
    vm_val outs[] = { y, x, gate }, seeds[] = { r, op_input(&c, tx, 2, how == APART ? ne : wide, -1, 1), 0 };
    if (gate) seeds[2] = op_input(&c, tg, 2, ne, -1, 1);
    vm_backward(c.g, twice ? gate ? 3 : 2 : 1, outs, seeds, how == APART ? 2 : 1, wrt);
    vm_val dx = vm_grad(c.g, x), dgate = vm_grad(c.g, gate);
    vm_output(c.g, "y", y), vm_output(c.g, "dx", dx);
    if (gate) vm_output(c.g, "dgate", dgate);
    size_t n = (size_t)(R * C) + 1;
    double *want = vm_calloc(n, 8), *dv = vm_calloc(2 * n, 8), *dg = vm_calloc(n, 8);
    for (int64_t i = 0; i < R * C; i++) {
        int64_t row = i / C, at = row * 2 * C + i % C;
        int64_t v = how == GATE_FIRST ? at + C : at, u = how == GATE_FIRST ? at : at + C;
        double value = how == APART ? c.x[0][i] : c.x[0][v], z = how == APART ? c.x[1][i] : c.x[0][u];
        double dy = c.x[how == APART ? 2 : 1][i];
        want[i] = value * f(k, z);
        dv[how == APART ? i : v] = dy * f(k, z), *(how == APART ? &dg[i] : &dv[u]) = dy * value * slope(k, z);
    }
    for (int64_t i = 0; twice && i < vm_count(c.g, x); i++) dv[i] += c.x[gate ? 3 : 2][i];
    for (int64_t i = 0; twice && gate && i < R * C; i++) dg[i] += c.x[4][i];
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(C, 1), tol(ty));
        op_near(&c, "dx", dx, dv, VM_MAX(how == APART ? C : 2 * C, 1), (1 + twice) * tol(tx));
        if (gate) op_near(&c, "dgate", dgate, dg, VM_MAX(C, 1), (1 + twice) * tol(tg));
    }
    vm_free(want), vm_free(dv), vm_free(dg);
    op_end(&c);
}
static void check(vm_unary_kind k, int how, int64_t R, int64_t C, vm_type tx, vm_type tg, vm_type ty, vm_type td) {
    check_use(false, k, how, R, C, tx, tg, ty, td), check_use(true, k, how, R, C, tx, tg, ty, td);
}
TEST(kinds) {
    const vm_unary_kind kinds[] = { VM_SILU, VM_GELU, VM_GELU_TANH, VM_SIGMOID, VM_RELU, VM_QUICK_GELU };
    for (int k = 0; k < VM_LEN(kinds); k++)
        for (int how = 0; how < 3; how++) check(kinds[k], how, 7, 24, VM_F32, VM_F32, VM_F32, VM_F32);
}
TEST(types) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int k = 0; k < 3; k++)
        for (int how = 0; how < 3; how++) {
            check(VM_SILU, how, 5, 40, t[k], t[(k + 1) % 3], t[k], t[k]);
            check(VM_GELU, how, 3, 13, t[k], t[k], t[(k + 2) % 3], t[(k + 1) % 3]);
        }
}
TEST(sizes) {
    const int64_t C[] = { 1, 2, 7, 8, 9, 255, 1024, 1025, 1376 };
    for (int k = 0; k < VM_LEN(C); k++)
        for (int how = 0; how < 3; how++) check(VM_SILU, how, k % 3 + 1, C[k], VM_F32, VM_F32, VM_F32, VM_F32);
    for (int how = 0; how < 3; how++) {
        check(VM_SILU, how, 0, 4, VM_F32, VM_F32, VM_F32, VM_F32);
        check(VM_SILU, how, 4, 0, VM_F32, VM_F32, VM_F32, VM_F32);
        check(VM_SILU, how, 61, 264, VM_BF16, VM_BF16, VM_BF16, VM_BF16);
    }
}
TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 5 }, 0, 1);
    vm_val y = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 4 }, 0, 1);
    EXPECT(!vm_glu_packed(c.g, x, true, VM_SILU, VM_F32));
    EXPECT_HAS(c.g->err.msg, "glu: x [2,5], an even number of columns is needed");
    vm_error_clear(&c.g->err);
    EXPECT(!vm_glu(c.g, x, y, VM_SILU, VM_F32));
    EXPECT_HAS(c.g->err.msg, "glu: value [2,5], gate [2,4]");
    vm_error_clear(&c.g->err);
    EXPECT(!vm_glu(c.g, x, x, VM_EXP, VM_F32));
    EXPECT_HAS(c.g->err.msg, "glu: the activation of a gate");
    op_end(&c);
}
int main(void) {
    RUN(kinds);
    RUN(types);
    RUN(sizes);
    RUN(errors);
    return test_end();
}
