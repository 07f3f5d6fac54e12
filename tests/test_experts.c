/* test_experts.c - products of rows with the weight of their expert against plain loops; experts without rows, rows without an expert;
 * offsets that cannot be. */
#include "tests/optest.h"

static void experts_case(vm_type t, vm_type out, int64_t E, int64_t N, int64_t K, const int32_t *offsets, int64_t M) {
    op_case c = op_begin(t);
    vm_val x = op_input(&c, t, 2, (int64_t[]){ M, K }, -1, 1), w = op_input(&c, t, 3, (int64_t[]){ E, N, K }, -1, 1);
    vm_val o = op_input(&c, VM_I32, 1, (int64_t[]){ E + 1 }, 0, 1), r = op_input(&c, out, 2, (int64_t[]){ M, N }, -1, 1);
    for (int64_t e = 0; e <= E; e++) op_put(&c, 2, e, offsets[e]);
    vm_val y = vm_experts(c.g, x, w, o, out);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 2, (vm_val[]){ x, w });
    vm_val dx = vm_grad(c.g, x), dw = vm_grad(c.g, w);
    vm_output(c.g, "dx", dx), vm_output(c.g, "dw", dw);
    double *want = vm_calloc((size_t)(M * N) + 1, sizeof *want), *bx = vm_calloc((size_t)(M * K) + 1, sizeof *bx),
           *bw = vm_calloc((size_t)(E * N * K) + 1, sizeof *bw);
    for (int64_t e = 0; e < E; e++)
        for (int64_t i = offsets[e]; i < offsets[e + 1]; i++)
            for (int64_t n = 0; n < N; n++)
                for (int64_t k = 0; k < K; k++) {
                    double d = c.x[3][i * N + n];
                    want[i * N + n] += c.x[0][i * K + k] * c.x[1][(e * N + n) * K + k];
                    bx[i * K + k] += d * c.x[1][(e * N + n) * K + k], bw[(e * N + n) * K + k] += d * c.x[0][i * K + k];
                }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(N, (int64_t)1), out == VM_F32 ? OP_TOL_F32 : OP_TOL_BF16);
        op_near(&c, "dx", dx, bx, VM_MAX(K, (int64_t)1), t == VM_F32 ? OP_TOL_F32 : 0x1p-7); /* dy is rounded too */
        op_near(&c, "dw", dw, bw, VM_MAX(N * K, (int64_t)1), t == VM_F32 ? OP_TOL_F32 : 0x1p-7);
    }
    vm_free(want), vm_free(bx), vm_free(bw);
    op_end(&c);
}
TEST(experts) {
    static const int32_t ragged[] = { 0, 3, 3, 68, 70 }, one[] = { 0, 17 }, none[] = { 0, 0, 0 }, tiles[] = { 0, 64, 129, 192 };
    for (int t = VM_F32; t <= (op_on_device() ? VM_F16 : VM_BF16); t++)
        for (int half = 0; half <= (t != VM_F32); half++) {
            vm_type out = half ? (vm_type)t : VM_F32;
            experts_case((vm_type)t, out, 4, 33, 72, ragged, 70);
            experts_case((vm_type)t, out, 4, 8, 16, ragged, 73);
            experts_case((vm_type)t, out, 1, 1, 1, one, 17);
            experts_case((vm_type)t, out, 2, 5, 3, none, 4);
            experts_case((vm_type)t, out, 2, 5, 3, none, 0);
            experts_case((vm_type)t, out, 3, 65, 40, tiles, 192);
        }
    static const int32_t many[] = { 0, 340, 340 + 77 };
    experts_case(VM_F32, VM_F32, 2, 20, 30, many, 420);
}

/* Experts' weights of inference in 16 bits, on either side of the few rows that read them in place. */
TEST(experts_that_stay_in_16_bits) {
    enum { E = 4, N = 21, K = 70, M = 40 };
    static const int32_t offsets[] = { 0, 3, 3, 24, 38 };
    if (op_on_device()) return;
    for (int t = VM_F32; t <= VM_BF16; t++)
        for (int kept = VM_BF16; kept <= VM_F16; kept++) {
            op_case c = op_begin((vm_type)t);
            vm_param *p = vm_param_new(op_backend(), "w", (vm_type)kept, 3, (int64_t[]){ E, N, K }, NULL);
            vm_val x = op_input(&c, (vm_type)t, 2, (int64_t[]){ M, K }, -1, 1), o = op_input(&c, VM_I32, 1, (int64_t[]){ E + 1 }, 0, 1);
            for (int e = 0; e <= E; e++) op_put(&c, 1, e, offsets[e]);
            vm_val y = vm_experts(c.g, x, vm_weight(c.g, p), o, VM_F32);
            vm_output(c.g, "y", y);
            double want[M * N] = { 0 };
            for (int e = 0; e < E; e++)
                for (int n = 0; n < N; n++)
                    for (int k = 0; k < K; k++) {
                        double w = op_store(p->data, (vm_type)kept, (e * N + n) * K + k, test_uniform(&c.state));
                        for (int i = offsets[e]; i < offsets[e + 1]; i++) want[i * N + n] += c.x[0][i * K + k] * w;
                    }
            OP_LEVELS(&c) op_near(&c, "y", y, want, N, OP_TOL_F32);
            op_end(&c);
            vm_param_free(p);
        }
}

TEST(offsets_that_cannot_be) {
    static const int32_t bad[][3] = { { 1, 2, 3 }, { 0, 3, 2 }, { 0, 2, 5 }, { 0, -1, 2 } };
    for (int k = 0; k < VM_LEN(bad); k++) {
        op_case c = op_begin(VM_F32);
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 3 }, -1, 1), w = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 2, 3 }, -1, 1);
        vm_val o = op_input(&c, VM_I32, 1, (int64_t[]){ 3 }, 0, 1), y = vm_experts(c.g, x, w, o, VM_F32);
        for (int e = 0; e < 3; e++) op_put(&c, 2, e, bad[k][e]);
        vm_output(c.g, "y", y);
        for (int i = 0; i < 3; i++) vm_set(c.g, (const char *[]){ "x0", "x1", "x2" }[i], c.raw[i]);
        EXPECT((vm_run(c.g) || vm_wait(c.g)) && c.g->err.status == VM_EINPUT);
        EXPECT_HAS(c.g->err.msg, op_on_device() ? "op experts met the value" : "experts: offset");
        op_end(&c);
    }
}

static void route_case(int64_t M, int64_t k, int64_t E, int64_t most) { /* experts below most are asked for */
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_I32, 2, (int64_t[]){ M, k }, 0, (double)most);
    vm_routing r = vm_route(c.g, x, E);
    vm_output(c.g, "rows", r.rows), vm_output(c.g, "offsets", r.offsets), vm_output(c.g, "place", r.place);
    OP_LEVELS(&c) {
        int64_t at = 0;
        for (int64_t e = 0; e < E; e++) {
            EXPECT(op_get(&c, r.offsets, e) == (double)at);
            for (int64_t i = 0; i < M * k; i++) {
                if (c.x[0][i] != (double)e) continue;
                EXPECT(op_get(&c, r.place, i) == (double)at && op_get(&c, r.rows, at) == (double)(i / k));
                at++;
            }
        }
        EXPECT(op_get(&c, r.offsets, E) == (double)(M * k));
    }
    op_end(&c);
}
TEST(route) {
    route_case(300, 2, 8, 8);
    route_case(33, 1, 5, 3);
    route_case(128, 2, 1, 1);
    route_case(7, 3, 70, 70);
    route_case(0, 2, 4, 4);
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_I32, 2, (int64_t[]){ 3, 2 }, 0, 4);
    vm_routing r = vm_route(c.g, x, 4);
    op_put(&c, 0, 3, 4);
    vm_output(c.g, "rows", r.rows);
    vm_set(c.g, "x0", c.raw[0]);
    EXPECT((vm_run(c.g) || vm_wait(c.g)) && c.g->err.status == VM_EINPUT);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? "op route met the value 4" : "route: expert 4 of token 1, there are 4");
    op_end(&c);
}

/* A mixture of experts as models have it, against loops: softmax, the k best, their weights made to sum to 1. */
TEST(mixture) {
    enum { M = 19, K = 8, N = 12, E = 5, BEST = 2 };
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1), gate = op_input(&c, VM_F32, 2, (int64_t[]){ E, K }, -1, 1);
    vm_val w = op_input(&c, VM_F32, 3, (int64_t[]){ E, N, K }, -1, 1), best, p;
    p = vm_topk(c.g, vm_softmax(c.g, vm_linear(c.g, x, gate, 0, VM_NONE, 0, VM_F32)), BEST, &best);
    vm_routing r = vm_route(c.g, best, E);
    vm_val y = vm_gather_rows(c.g, vm_experts(c.g, vm_gather_rows(c.g, x, r.rows), w, r.offsets, VM_F32), r.place);
    p = vm_reshape(c.g, p, 3, (int64_t[]){ M, 1, BEST });
    vm_val ones = vm_scale(c.g, vm_slice(c.g, y, 2, 0, 1), 0, 1); /* (M,BEST,1) */
    vm_val sum = vm_matmul(c.g, p, ones, false, false, 1, VM_F32), mixed = vm_matmul(c.g, p, y, false, false, 1, VM_F32);
    vm_output(c.g, "sum", sum), vm_output(c.g, "y", mixed);
    OP_LEVELS(&c)
        for (int m = 0; m < M; m++) {
            double s[E], all = 0, want[N] = { 0 };
            for (int e = 0; e < E; e++) {
                s[e] = 0;
                for (int k = 0; k < K; k++) s[e] += c.x[0][m * K + k] * c.x[1][e * K + k];
                all += s[e] = exp(s[e]);
            }
            double two = 0;
            for (int j = 0; j < BEST; j++) {
                int e = 0;
                for (int i = 1; i < E; i++) e = s[i] > s[e] ? i : e;
                for (int n = 0; n < N; n++)
                    for (int k = 0; k < K; k++) want[n] += s[e] / all * c.x[0][m * K + k] * c.x[2][(e * N + n) * K + k];
                two += s[e] / all, s[e] = -1;
            }
            EXPECT_NEAR(op_get(&c, sum, m), two, 1e-5);
            for (int n = 0; n < N; n++) EXPECT_NEAR(op_get(&c, mixed, m * N + n), want[n], 1e-4);
        }
    op_end(&c);
}

int main(void) {
    RUN(experts);
    RUN(experts_that_stay_in_16_bits);
    RUN(route);
    RUN(mixture);
    RUN(offsets_that_cannot_be);
    return test_end();
}
