/* test_unary.c - functions of one element and their derivatives against the C library in double. */
#include "tests/optest.h"

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double reference(vm_unary_kind k, double x) {
    switch (k) {
        case VM_NONE: return x;
        case VM_RELU: return fmax(x, 0);
        case VM_QUICK_GELU: return x * sigmoid(1.702 * x);
        case VM_GELU: return x * 0.5 * erfc(-x * M_SQRT1_2);
        case VM_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        case VM_SILU: return x * sigmoid(x);
        case VM_SIGMOID: return sigmoid(x);
        case VM_TANH: return tanh(x);
        case VM_EXP: return exp(x);
        case VM_LOG: return log(x);
        case VM_SQUARE: return x * x;
        case VM_SQRT: return sqrt(x);
        case VM_SOFTPLUS: return x > 30 ? x : log1p(exp(x));
        case VM_NEG: return -x;
    }
    return 0;
}

/* Two outputs of the same x, so that its gradient is added up. view: x begins at an odd place */
static void kind_case(vm_unary_kind k, vm_type tx, vm_type ty, int64_t rows, int64_t C, bool view) {
    op_case c = op_begin(VM_BF16);
    bool positive = k == VM_LOG || k == VM_SQRT;
    int64_t ne[] = { rows, C }, n = rows * C;
    vm_val x = (view ? op_view : op_input)(&c, tx, 2, ne, positive ? 0.25 : -6, 6), r = op_input(&c, VM_F32, 2, ne, -1, 1);
    vm_val y = vm_unary(c.g, x, k, ty), outs[] = { y, vm_scale(c.g, x, -0.5f, 0.25f) };
    vm_output(c.g, "y", y);
    vm_backward(c.g, 2, outs, (vm_val[]){ r, r }, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *want = vm_alloc((size_t)n * 8 + 1), *slope = vm_alloc((size_t)n * 8 + 1);
    for (int64_t i = 0; i < n; i++) {
        if (fabs(c.x[0][i + view]) < 1e-3) op_put(&c, 0, i + view, 1); /* kink of relu */
        double v = c.x[0][i + view], h = 1e-4;
        want[i] = reference(k, v);
        slope[i] = c.x[1][i] * ((reference(k, v + h) - reference(k, v - h)) / (2 * h) - 0.5);
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, C, op_tol(ty));
        op_near(&c, "dx", dx, slope, C, 2 * op_tol(tx));
    }
    for (int t = 1; t <= op_thread_counts(); t++) {
        vm_threads(t);
        op_run(&c);
        op_same(&c, dx, &bits);
    }
    vm_threads(0);
    vm_free(bits);
    vm_free(want);
    vm_free(slope);
    op_end(&c);
}

TEST(every_kind) {
    for (int k = VM_NONE; k <= VM_NEG; k++) {
        kind_case((vm_unary_kind)k, VM_F32, VM_F32, op_rows(107, 17), 61, false);
        kind_case((vm_unary_kind)k, VM_F32, VM_BF16, 1, 61, true);
        kind_case((vm_unary_kind)k, VM_BF16, VM_F32, 3, 61, false);
        kind_case((vm_unary_kind)k, VM_BF16, VM_BF16, 37, 61, true);
        kind_case((vm_unary_kind)k, VM_F16, VM_F16, 5, 256, false);
        kind_case((vm_unary_kind)k, VM_F32, VM_F32, 0, 61, false);
    }
}
TEST(every_size) { /* ends inside a vector, a block, a turn of the loop over blocks */
    static const int64_t C[] = { 1, 7, 8, 9, 31, 33, 1023, 1025, 2047, 2049, 8193 };
    for (int k = 0; k < VM_LEN(C); k++)
        for (int t = VM_F32; t <= VM_F16; t++) {
            kind_case(VM_SILU, (vm_type)t, VM_F32, 1, C[k], false);
            kind_case(VM_SILU, VM_F32, (vm_type)t, 1, C[k], true);
        }
    kind_case(VM_RELU, VM_BF16, VM_BF16, 1, 50001, false);
    kind_case(VM_RELU, VM_BF16, VM_BF16, 1, 50001, true);
}

TEST(nan_and_inf) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0, 1);
    static const double values[3] = { NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 3; i++) op_put(&c, 0, i, values[i]);
    vm_val relu = vm_unary(c.g, x, VM_RELU, VM_F32), sig = vm_unary(c.g, x, VM_SIGMOID, VM_F32), soft = vm_unary(c.g,
        x, VM_SOFTPLUS, VM_F32);
    vm_output(c.g, "relu", relu), vm_output(c.g, "sigmoid", sig), vm_output(c.g, "softplus", soft);
    OP_LEVELS(&c) {
        op_near(&c, "relu", relu, (double[]){ NAN, INFINITY, 0 }, 3, 0);
        op_near(&c, "sigmoid", sig, (double[]){ NAN, 1, 0 }, 3, 0);
        op_near(&c, "softplus", soft, (double[]){ NAN, INFINITY, 0 }, 3, 0);
    }
    op_end(&c);
}

TEST(scale) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        op_case c = op_begin(VM_BF16);
        vm_val x = op_input(&c, (vm_type)t, 2, (int64_t[]){ 7, 1031 }, -3, 3), y = vm_scale(c.g, x, -1.5f, 0.25f);
        vm_output(c.g, "y", y);
        double want[7 * 1031];
        for (int i = 0; i < 7 * 1031; i++) want[i] = -1.5 * c.x[0][i] + 0.25;
        OP_LEVELS(&c) op_near(&c, "scale", y, want, 1031, 1e-6);
        op_end(&c);
    }
}

TEST(wrong_type) {
    op_case c = op_begin(VM_F32);
    EXPECT(!vm_unary(c.g, op_input(&c, VM_I32, 1, (int64_t[]){ 3 }, 0, 9), VM_RELU, VM_F32));
    EXPECT(vm_plan(c.g) == VM_EMODEL);
    EXPECT_HAS(c.g->err.msg, "unary: input 0 is i32[3], a float tensor is needed");
    op_end(&c);
}

int main(void) {
    RUN(every_kind);
    RUN(every_size);
    RUN(nan_and_inf);
    RUN(scale);
    RUN(wrong_type);
    return test_end();
}
