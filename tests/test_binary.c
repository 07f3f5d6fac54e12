/* test_binary.c - element-wise operations: every way b may be shorter, types, NaN, threads. */
#include "tests/optest.h"

static double reference(vm_binary_kind k, double a, double b) {
    switch (k) {
        case VM_ADD: return a + b;
        case VM_SUB: return a - b;
        case VM_MUL: return a * b;
        case VM_DIV: return a / b;
        case VM_MAXIMUM: return a > b ? a : b;
    }
    return 0;
}

/* Two uses of a and b, so that their gradients are added up. view: both begin at an odd place */
static void shape_case_at(vm_binary_kind k, vm_type ta, vm_type tb, int64_t R, int64_t C, int nd_b, bool view) {
    op_case c = op_begin(VM_BF16);
    int64_t ne[] = { R, C }, Nb = nd_b == 2 ? R * C : nd_b == 1 ? C : 1;
    vm_val (*input)(op_case *, vm_type, int, const int64_t *, double, double) = view ? op_view : op_input;
    vm_val a = input(&c, ta, 2, ne, -2, 2), b = input(&c, tb, nd_b ? nd_b : 1, nd_b == 2 ? ne : &Nb, 0.5, 2);
    vm_val r = op_input(&c, VM_F32, 2, ne, -1, 1), y = vm_binary(c.g, a, b, k), wrt[] = { a, b };
    vm_val ys[] = { y, vm_binary(c.g, a, b, k) };
    vm_output(c.g, "y", y);
    vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, 2, wrt);
    vm_val da = vm_grad(c.g, a), db = vm_grad(c.g, b);
    vm_output(c.g, "da", da), vm_output(c.g, "db", db);
    size_t bytes = (size_t)(R * C + Nb) * sizeof(double);
    double *want = vm_alloc(bytes), *want_a = vm_alloc(bytes), *want_b = vm_calloc(1, bytes);
    for (int64_t i = 0; i < R * C; i++) {
        double u = c.x[0][i + view], v = c.x[1][i % Nb + view], d = 2 * c.x[2][i];
        want[i] = reference(k, u, v);
        double slope_a[] = { 1, 1, v, 1 / v, u > v ? 1 : u == v ? 0.5 : 0 };
        double slope_b[] = { 1, -1, u, -u / (v * v), u < v ? 1 : u == v ? 0.5 : 0 };
        want_a[i] = d * slope_a[k], want_b[i % Nb] += d * slope_b[k];
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(C, 1), OP_TOL_F32);
        op_near(&c, "da", da, want_a, VM_MAX(C, 1), 2 * op_tol(c.g->v[da].type));
        for (int64_t i = 0; i < Nb; i++) /* sums of R*C/Nb terms of size 1: rounding grows with their root */
            EXPECT_NEAR(op_get(&c, db, i), want_b[i], 4e-6 * (2 + sqrt((double)(R * C / Nb))) * 8);
    }
    for (int t = 1; t <= op_thread_counts(); t++) {
        vm_threads(t);
        op_run(&c);
        op_same(&c, db, &bits);
    }
    vm_threads(0);
    vm_free(bits), vm_free(want), vm_free(want_a), vm_free(want_b);
    op_end(&c);
}

static void shape_case(vm_binary_kind k, vm_type ta, vm_type tb, int64_t R, int64_t C, int nd_b) {
    shape_case_at(k, ta, tb, R, C, nd_b, false);
}
TEST(shapes_and_types) {
    for (int k = VM_ADD; k <= VM_MAXIMUM; k++)
        for (int nd_b = 0; nd_b <= 2; nd_b++) {
            shape_case((vm_binary_kind)k, VM_F32, VM_F32, op_rows(101, 19), 515, nd_b);
            shape_case((vm_binary_kind)k, VM_BF16, VM_F32, 7, 1030, nd_b);
            shape_case((vm_binary_kind)k, VM_F32, VM_BF16, op_rows(1009, 301), 3, nd_b);
            shape_case((vm_binary_kind)k, VM_F16, VM_BF16, 5, 1, nd_b);
            shape_case((vm_binary_kind)k, VM_F32, VM_F32, 0, 4, nd_b);
            shape_case((vm_binary_kind)k, VM_F16, VM_F16, 9, 128, nd_b);
            shape_case_at((vm_binary_kind)k, VM_F32, VM_F16, 3, 67, nd_b, true);
            shape_case_at((vm_binary_kind)k, VM_BF16, VM_F32, 2, 1024, nd_b, true);
        }
}

TEST(every_size) {
    static const int64_t C[] = { 1, 2, 7, 8, 9, 31, 32, 33, 1023, 1024, 1025, 8193 };
    for (int k = 0; k < VM_LEN(C); k++)
        for (int64_t R = 1; R <= 3; R++) shape_case(VM_DIV, VM_F32, VM_F32, R, C[k], (int)R % 2 + 1);
}

TEST(maximum_keeps_nan) {
    op_case c = op_begin(VM_F32);
    vm_val a = op_input(&c, VM_F32, 1, (int64_t[]){ 2 }, 0, 1), b = op_input(&c, VM_F32, 1, (int64_t[]){ 2 }, 0, 1);
    op_put(&c, 0, 0, NAN), op_put(&c, 1, 1, NAN);
    vm_val y = vm_binary(c.g, a, b, VM_MAXIMUM);
    vm_output(c.g, "y", y);
    OP_LEVELS(&c) EXPECT(isnan(op_get(&c, y, 0)) && isnan(op_get(&c, y, 1)));
    op_end(&c);
}

TEST(maximum_shares_a_tie) {
    op_case c = op_begin(VM_F32);
    vm_val a = op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0, 1);
    vm_val b = op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0, 1), wrt[] = { a, b };
    for (int i = 0; i < 3; i++) op_put(&c, 0, i, i), op_put(&c, 1, i, 1);
    vm_val y = vm_binary(c.g, a, b, VM_MAXIMUM);
    vm_backward(c.g, 1, &y, NULL, 2, wrt);
    vm_output(c.g, "da", vm_grad(c.g, a)), vm_output(c.g, "db", vm_grad(c.g, b));
    OP_LEVELS(&c) {
        op_near(&c, "da", vm_grad(c.g, a), (double[]){ 0, 0.5, 1 }, 3, 0);
        op_near(&c, "db", vm_grad(c.g, b), (double[]){ 1, 0.5, 0 }, 3, 0);
    }
    op_end(&c);
}

TEST(wrong_shapes) {
    op_case c = op_begin(VM_F32);
    vm_val a = op_input(&c, VM_F32, 2, (int64_t[]){ 3, 4 }, 0, 1), b = op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0, 1);
    EXPECT(!vm_binary(c.g, a, b, VM_MUL));
    EXPECT_HAS(c.g->err.msg, "mul: [3,4] and [3]; the second must be");
    op_end(&c);
}

int main(void) {
    RUN(shapes_and_types);
    RUN(every_size);
    RUN(maximum_keeps_nan);
    RUN(maximum_shares_a_tie);
    RUN(wrong_shapes);
    return test_end();
}
