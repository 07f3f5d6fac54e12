/* test_softmax.c - softmax and cross-entropy with their gradients against double-precision loops; masks. */
#include "tests/optest.h"

static double log_sum_exp(const double *x, int64_t V) {
    double m = -INFINITY, s = 0;
    for (int64_t i = 0; i < V; i++) m = fmax(m, x[i]);
    for (int64_t i = 0; i < V; i++) s += exp(x[i] - m);
    return m + log(s);
}

static void softmax_case(vm_type t, int64_t R, int64_t V, double range) {
    op_case c = op_begin(VM_BF16);
    vm_val x = op_input(&c, t, 2, (int64_t[]){ R, V }, -range, range), r = op_input(&c, VM_F32, 2, (int64_t[]){ R,
        V }, -1, 1);
    vm_val y = vm_softmax(c.g, x);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *want = vm_alloc((size_t)(R * V) * sizeof(double) + 1), *back = vm_alloc((size_t)(R * V) * sizeof(double)
        + 1);
    for (int64_t row = 0; row < R; row++) {
        double lse = log_sum_exp(c.x[0] + row * V, V), dot = 0;
        for (int64_t i = row * V; i < (row + 1) * V; i++) want[i] = exp(c.x[0][i] - lse), dot += want[i] * c.x[1][i];
        for (int64_t i = row * V; i < (row + 1) * V; i++) back[i] = want[i] * (c.x[1][i] - dot);
    }
    OP_LEVELS(&c) {
        op_near(&c, "softmax", y, want, V, OP_TOL_F32);
        if (V > 1) op_near(&c, "its gradient", dx, back, V, 3 * op_tol(c.g->v[dx].type)); /* dy - <y,dy> cancels */
    }
    vm_free(want), vm_free(back);
    op_end(&c);
}
TEST(softmax) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        softmax_case((vm_type)t, 77, 129, 5);
        softmax_case((vm_type)t, 5, 3001, 20);
        softmax_case((vm_type)t, 3, 2056, 20);
        softmax_case((vm_type)t, 19, 64, 20);
        softmax_case((vm_type)t, 9, 1, 5);
        softmax_case((vm_type)t, 0, 5, 5);
    }
    softmax_case(VM_F32, 3, 11, 1e4);
}

TEST(masked_rows) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 3, 4 }, -1, 1);
    for (int i = 0; i < 4; i++) op_put(&c, 0, i, -INFINITY);
    op_put(&c, 0, 5, -INFINITY), op_put(&c, 0, 8, NAN);
    vm_val y = vm_softmax(c.g, x);
    vm_output(c.g, "y", y);
    OP_LEVELS(&c) {
        for (int i = 0; i < 4; i++) EXPECT(op_get(&c, y, i) == 0); /* nothing to attend to */
        EXPECT(op_get(&c, y, 5) == 0);
        EXPECT_NEAR(op_get(&c, y, 4) + op_get(&c, y, 6) + op_get(&c, y, 7), 1, 1e-6);
        for (int i = 8; i < 12; i++) EXPECT(isnan(op_get(&c, y, i)));
    }
    op_end(&c);
}

static void entropy_case(vm_type t, int64_t R, int64_t V, double range, int ignored_every) {
    op_case c = op_begin(VM_BF16);
    vm_val x = op_input(&c, t, 2, (int64_t[]){ R, V }, -range, range), id = op_input(&c, VM_I32, 1, &R, 0, (double)V);
    vm_val loss = vm_cross_entropy(c.g, x, id);
    vm_output(c.g, "loss", loss);
    vm_backward(c.g, 1, &loss, NULL, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *back = vm_calloc((size_t)(R * V) + 1, sizeof(double)), want = 0;
    int64_t kept = 0;
    for (int64_t i = 0; i < R; i++) {
        if (ignored_every && i % ignored_every == 0) op_put(&c, 1, i, -100);
        kept += c.x[1][i] != -100;
    }
    for (int64_t i = 0; i < R; i++) {
        if (c.x[1][i] == -100) continue;
        double lse = log_sum_exp(c.x[0] + i * V, V);
        int64_t target = i * V + (int64_t)c.x[1][i];
        want += (lse - c.x[0][target]) / (double)kept;
        for (int64_t j = i * V; j < (i + 1) * V; j++) back[j] = (exp(c.x[0][j] - lse) - (j == target)) / (double)kept;
    }
    OP_LEVELS(&c) {
        EXPECT_NEAR(op_get(&c, loss, 0), want, 1e-6 * want);
        op_near(&c, "gradient", dx, back, VM_MAX(V, 1), op_tol(c.g->v[dx].type));
    }
    vm_free(back);
    op_end(&c);
}
TEST(cross_entropy) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        entropy_case((vm_type)t, 37, 5, 4, 0);
        entropy_case((vm_type)t, 3, 4096, 4, 0);
        entropy_case((vm_type)t, 9, 1024, 4, 2);
        entropy_case((vm_type)t, 7, 3203, 4, 3);
        if (t != VM_F16) entropy_case((vm_type)t, 301, 97, 100, 2); /* there a row whose gradient is what 1 - p leaves */
        entropy_case((vm_type)t, 5, 3, 4, 1); /* all ignored: loss and gradient 0 */
        entropy_case((vm_type)t, 0, 3, 4, 0);
    }
}
/* logit scale 100: the loss of a row that is right is far smaller than its logits */
TEST(small_loss_keeps_its_digits) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 1, 3 }, 0, 1), id = op_input(&c, VM_I32, 1, (int64_t[]){ 1 }, 0, 1);
    op_put(&c, 0, 0, 97.3), op_put(&c, 0, 1, 87.9), op_put(&c, 0, 2, -40);
    vm_val loss = vm_cross_entropy(c.g, x, id);
    vm_output(c.g, "loss", loss);
    double want = log1p(exp(c.x[0][1] - c.x[0][0]) + exp(c.x[0][2] - c.x[0][0]));
    OP_LEVELS(&c) EXPECT_NEAR(op_get(&c, loss, 0), want, 2e-3 * want);
    op_end(&c);
}
TEST(bad_target) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 3, 4 }, 0, 1), id = op_input(&c, VM_I32, 1, (int64_t[]){ 3 }, 0, 1);
    op_put(&c, 1, 2, 4);
    vm_output(c.g, "loss", vm_cross_entropy(c.g, x, id));
    vm_set(c.g, "x0", c.raw[0]), vm_set(c.g, "x1", c.raw[1]);
    if (!vm_run(c.g)) vm_wait(c.g);
    EXPECT(c.g->err.status == VM_EINPUT);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? "cross_entropy met the value 4" : "target 4 in row 2, there are 4 classes");
    op_end(&c);
}

int main(void) {
    RUN(softmax);
    RUN(masked_rows);
    RUN(cross_entropy);
    RUN(small_loss_keeps_its_digits);
    RUN(bad_target);
    return test_end();
}
