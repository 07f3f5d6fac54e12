/* test_topk.c - the k largest: order, ties, NaN, every place of a row; rows by index and their sums; indices out of range. */
#include "tests/optest.h"

/* Whether entry i of row x comes before entry j. */
static bool before(const double *x, int64_t i, int64_t j) {
    if (isnan(x[i]) || isnan(x[j])) return isnan(x[i]) && (!isnan(x[j]) || i < j);
    return x[i] > x[j] || (x[i] == x[j] && i < j);
}

/* kind 0: any values; 1: few different ones; 2: with NaN, infinities and zeros of both signs; 3: all alike */
static void topk_case(vm_type t, int64_t R, int64_t N, int64_t k, int kind) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, t, 2, (int64_t[]){ R, N }, -1, 1), idx, y = vm_topk(c.g, x, k, &idx);
    vm_val r = op_input(&c, VM_F32, 2, (int64_t[]){ R, k }, -1, 1);
    for (int64_t i = 0; i < R * N; i++) {
        double v = c.x[0][i], odd[] = { NAN, INFINITY, -INFINITY, 0.0, -0.0, NAN, 1e-30, -1e-30 };
        op_put(&c, 0, i, kind == 1 ? floor(4 * v) : kind == 2 && i % 3 ? odd[test_rand(&c.state) % 8] : kind == 3 ? 0.5 : v);
    }
    vm_output(c.g, "y", y), vm_output(c.g, "idx", idx);
    vm_backward(c.g, 1, &y, &r, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    OP_LEVELS(&c)
        for (int64_t b = 0; b < R; b++) {
            const double *row = c.x[0] + b * N;
            bool *taken = vm_calloc((size_t)N + 1, 1);
            for (int64_t j = 0; j < k; j++) {
                int64_t at = (int64_t)op_get(&c, idx, b * k + j);
                double v = op_get(&c, y, b * k + j);
                EXPECT(at >= 0 && at < N && !taken[at]);
                if (at < 0 || at >= N) break;
                taken[at] = true;
                EXPECT(v == row[at] || (isnan(v) && isnan(row[at])));
                if (j) EXPECT(before(row, (int64_t)op_get(&c, idx, b * k + j - 1), at));
                EXPECT_NEAR(op_get(&c, dx, b * N + at), c.x[1][b * k + j], t == VM_F32 ? 0 : OP_TOL_BF16);
            }
            int64_t last = k ? (int64_t)op_get(&c, idx, b * k + k - 1) : 0;
            for (int64_t i = 0; i < N; i++) {
                if (!taken[i] && k) EXPECT(before(row, last, i));
                if (!taken[i]) EXPECT(op_get(&c, dx, b * N + i) == 0);
            }
            vm_free(taken);
        }
    op_end(&c);
}
TEST(topk) {
    for (int t = VM_F32; t <= VM_F16; t++)
        for (int kind = 0; kind < 4; kind++) {
            topk_case((vm_type)t, 3, 1500, 37, kind);
            topk_case((vm_type)t, 1, 7, 7, kind);
            topk_case((vm_type)t, 2, 1025, 1, kind);
            topk_case((vm_type)t, 5, 1, 1, kind);
            topk_case((vm_type)t, 2, 260, 258, kind);
        }
    topk_case(VM_F32, 2, 9, 0, 0);
    topk_case(VM_F32, 0, 9, 3, 0);
    topk_case(VM_F32, 2, 0, 0, 0);
    topk_case(VM_F32, 1, 3000, 1500, 1);
}

static void gather_case(vm_type t, int64_t B, int64_t N, int64_t C, int64_t Q) { /* B 0: not batched */
    op_case c = op_begin(VM_F32);
    int64_t b = VM_MAX(B, (int64_t)1);
    vm_val x = B ? op_input(&c, t, 3, (int64_t[]){ B, N, C }, -1, 1) : op_input(&c, t, 2, (int64_t[]){ N, C }, -1, 1);
    vm_val idx = op_input(&c, VM_I32, 2, (int64_t[]){ b, Q }, 0, (double)N), y = vm_gather_rows(c.g, x, idx);
    vm_val r = op_input(&c, t, 3, (int64_t[]){ b, Q, C }, -1, 1);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *want = vm_alloc((size_t)(b * Q * C) * sizeof *want + 1), *back = vm_calloc((size_t)(b * N * C) + 1, sizeof *back);
    for (int64_t i = 0; i < b * Q * C; i++) {
        int64_t at = (i / C / Q * N + (int64_t)c.x[1][i / C]) * C + i % C;
        want[i] = c.x[0][at], back[at] += c.x[2][i];
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "gather_rows", y, want, C, 0);
        op_near(&c, "gradient", dx, back, C, OP_TOL_F32);
    }
    for (int n = 1; n <= 3; n++) {
        vm_threads(n);
        op_run(&c);
        op_same(&c, dx, &bits);
    }
    vm_threads(0);
    vm_free(bits), vm_free(want), vm_free(back);
    op_end(&c);
}
TEST(gather_rows) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        gather_case((vm_type)t, 2, 33, 70, 300);
        gather_case((vm_type)t, 3, 5, 1, 7);
        gather_case((vm_type)t, 0, 50, 257, 31);
        gather_case((vm_type)t, 1, 1, 129, 65);
        gather_case((vm_type)t, 2, 4, 8, 0);
        gather_case((vm_type)t, 0, 300, 64, 2);
    }
}

TEST(refusals) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 3, 2 }, 0, 1), idx = op_input(&c, VM_I32, 2, (int64_t[]){ 2, 2 }, 0, 3);
    vm_output(c.g, "y", vm_gather_rows(c.g, x, idx));
    op_put(&c, 1, 3, 3);
    vm_set(c.g, "x0", c.raw[0]), vm_set(c.g, "x1", c.raw[1]);
    EXPECT((vm_run(c.g) || vm_wait(c.g)) && c.g->err.status == VM_EINPUT);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? "op gather_rows met the value 3" : "gather_rows: index 3 at position 3, there are 3 rows");
    op_end(&c);
    c = op_begin(VM_F32);
    x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 3 }, 0, 1);
    EXPECT(!vm_topk(c.g, x, 4, &idx) && !idx);
    EXPECT_HAS(c.g->err.msg, "topk: the 4 largest of 3 entries");
    op_end(&c);
    c = op_begin(VM_F32);
    x = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 3, 2 }, 0, 1), idx = op_input(&c, VM_I32, 2, (int64_t[]){ 3, 2 }, 0, 3);
    EXPECT(!vm_gather_rows(c.g, x, idx));
    EXPECT_HAS(c.g->err.msg, "gather_rows: indices [3,2] for rows of [2,3,2]");
    op_end(&c);
}

int main(void) {
    RUN(topk);
    RUN(gather_rows);
    RUN(refusals);
    return test_end();
}
