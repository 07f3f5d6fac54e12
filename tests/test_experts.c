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

int main(void) {
    RUN(experts);
    RUN(offsets_that_cannot_be);
    return test_end();
}
