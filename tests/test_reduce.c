/* test_reduce.c - sums over any axis, broadcasts, long sums, independence of threads. */
#include "tests/optest.h"

/* y = half the sums, a second time so that the gradient is added up; view: x begins at an odd place */
static void axis_case(vm_type t, int64_t O, int64_t A, int64_t I, bool view) {
    op_case c = op_begin(VM_BF16);
    vm_val x = (view ? op_view : op_input)(&c, t, 3, (int64_t[]){ O, A, I }, -1, 2), y = vm_sum_axis(c.g, x, 1, 0.5f);
    vm_val r = op_input(&c, VM_F32, 2, (int64_t[]){ O, I }, -1, 1), ys[] = { y, vm_sum_axis(c.g, x, 1, 0.25f) };
    vm_output(c.g, "y", y);
    vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *want = vm_calloc((size_t)(O * I) + 1, sizeof(double)), *back = vm_calloc((size_t)(O * A * I) + 1,
        sizeof(double));
    for (int64_t i = 0; i < O * A * I; i++) {
        int64_t j = i / (A * I) * I + i % I;
        want[j] += 0.5 * c.x[0][i + view], back[i] = 0.75 * c.x[1][j];
    }
    EXPECT(c.g->v[y].nd == 2 && c.g->v[y].ne[0] == O && c.g->v[y].ne[1] == I);
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "sum_axis", y, want, VM_MAX(I, 1), OP_TOL_F32);
        op_near(&c, "its gradient", dx, back, VM_MAX(I, 1), 2 * op_tol(t));
    }
    for (int n = 1; n <= op_thread_counts(); n++) {
        vm_threads(n);
        op_run(&c);
        op_same(&c, y, &bits);
    }
    vm_threads(0);
    vm_free(bits), vm_free(want), vm_free(back);
    op_end(&c);
}

TEST(sum_axis) {
    static const int64_t s[][3] = { { 1, 80, 700 }, { 70, 50, 33 }, { 3, 18001, 1 },  { 1, 9001, 3 }, { 2, 5, 2100 },
                                    { 5, 1, 7 },     { 1, 1, 1 },    { 0, 3, 2 },      { 3, 0, 2 },    { 2, 3, 0 },
                                    { 1, 110, 513 }, { 100, 999, 1 },  { 3, 7, 31 },       { 2, 9, 32 },
                                    { 1, 8193, 1 },  { 2, 1023, 129 }, { 1, 700, 128 },    { 3, 2049, 1 } };
    for (int k = 0; k < VM_LEN(s); k++)
        for (int t = VM_F32; t <= VM_F16; t++) {
            axis_case((vm_type)t, s[k][0], s[k][1], s[k][2], false);
            if (k % 2) axis_case((vm_type)t, s[k][0], s[k][1], s[k][2], true);
        }
}

/* gradients of weights add up in place, over two runs too */
TEST(sums_are_added) {
    enum { R = 77, C = 40 };
    vm_param *p = vm_param_new(op_backend(), "b", VM_F32, 1, (int64_t[]){ C }, NULL);
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ R, C }, -1, 1), y = vm_binary(c.g, x, vm_weight(c.g, p), VM_ADD);
    vm_val z = vm_binary(c.g, x, vm_weight(c.g, p), VM_SUB), r = op_input(&c, VM_F32, 2, (int64_t[]){ R, C }, -1, 1);
    vm_backward(c.g, 2, (vm_val[]){ y, z }, (vm_val[]){ r, x }, 0, NULL);
    double want[C] = { 0 };
    float got[C];
    for (int i = 0; i < R * C; i++) want[i % C] += c.x[1][i] - c.x[0][i];
    for (int run = 1; run <= 3; run++) {
        c.g->accumulate = run > 1;
        EXPECT(op_run(&c) && !c.g->be->download(c.g->be, got, p->grad, sizeof got, &c.g->err));
        for (int i = 0; i < C; i++) EXPECT_NEAR(got[i], run * want[i], 3e-5);
    }
    op_end(&c);
    vm_param_free(p);
}

TEST(long_sums_stay_accurate) {
    op_case c = op_begin(VM_F32);
    int64_t N = op_rows(1000003, 300007);
    vm_val x = op_input(&c, VM_F32, 1, &N, 0, 2), sum = vm_sum(c.g, x), mean = vm_mean(c.g, x);
    vm_output(c.g, "sum", sum), vm_output(c.g, "mean", mean);
    double want = 0;
    for (int64_t i = 0; i < N; i++) want += c.x[0][i];
    OP_LEVELS(&c) {
        EXPECT_NEAR(op_get(&c, sum, 0) / want, 1, 2e-7);
        EXPECT_NEAR(op_get(&c, mean, 0) * (double)N / want, 1, 3e-7);
    }
    op_end(&c);
}

TEST(broadcast) {
    static const int64_t sizes[] = { 0, 1, 4, 8, 13, 40, 121, 364, 1024, 1093 };
    for (int t = VM_F32; t <= VM_F16; t++)
        for (int k = 0; k < VM_LEN(sizes); k++) {
            int64_t C = sizes[k];
            op_case c = op_begin(VM_BF16);
            vm_val x = op_input(&c, (vm_type)t, 1, &C, -1, 1), y = vm_broadcast(c.g, x, 57);
            vm_output(c.g, "y", y);
            EXPECT(c.g->v[y].nd == 2 && c.g->v[y].ne[0] == 57 && c.g->v[y].ne[1] == C && (int)c.g->v[y].type == t);
            OP_LEVELS(&c)
                for (int64_t i = 0; i < 57 * C; i++) EXPECT(op_get(&c, y, i) == c.x[0][i % C]);
            op_end(&c);
        }
}

TEST(empty_mean_is_zero) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 0, 5 }, 0, 1), mean = vm_mean(c.g, x);
    vm_output(c.g, "mean", mean);
    OP_LEVELS(&c) EXPECT(op_get(&c, mean, 0) == 0);
    op_end(&c);
}

TEST(wrong_axis) {
    op_case c = op_begin(VM_F32);
    EXPECT(!vm_sum_axis(c.g, op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0, 1), 1, 1));
    EXPECT_HAS(c.g->err.msg, "sum_axis: axis 1 of a tensor of 1 axes");
    op_end(&c);
}

int main(void) {
    RUN(sum_axis);
    RUN(sums_are_added);
    RUN(long_sums_stay_accurate);
    RUN(broadcast);
    RUN(empty_mean_is_zero);
    RUN(wrong_axis);
    return test_end();
}
