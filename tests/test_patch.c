/* test_patch.c - patchify: every pixel at its column, remainders dropped. */
#include "tests/optest.h"

static void patch_case(vm_type t, int64_t B, int64_t H, int64_t W, int64_t C, int P) {
    op_case c = op_begin(VM_BF16);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ B, H, W, C }, -1, 1), y = vm_patchify(c.g, x, P, t);
    int64_t nh = H / P, nw = W / P, K = C * P * P;
    vm_val r = op_input(&c, t, 3, (int64_t[]){ B, nh * nw, K }, -1, 1);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 1, &x);
    vm_output(c.g, "dx", vm_grad(c.g, x));
    double *dx = vm_calloc((size_t)(B * H * W * C) + 1, sizeof *dx);
    EXPECT(c.g->v[y].nd == 3 && c.g->v[y].ne[0] == B && c.g->v[y].ne[1] == nh * nw && c.g->v[y].ne[2] == K);
    OP_LEVELS(&c) {
        for (int64_t i = 0; i < B * nh * nw * K; i++) {
            int64_t k = i % P, row = i / P % P, ch = i / (P * P) % C, p = i / K % (nh * nw), b = i / K / (nh * nw);
            int64_t at = ((b * H + p / nw * P + row) * W + p % nw * P + k) * C + ch;
            double want = c.x[0][at], got = op_get(&c, y, i);
            dx[at] = c.x[1][i];
            if (t == VM_F32) EXPECT(got == want);
            else EXPECT_NEAR(got, want, fabs(want) * 0x1p-8);
        }
        op_near(&c, "dx", vm_grad(c.g, x), dx, VM_MAX(C, 1), 0); /* zeros in the remainder */
    }
    vm_free(dx);
    op_end(&c);
}
TEST(patchify) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        patch_case((vm_type)t, 2, 64, 96, 3, 32);
        patch_case((vm_type)t, 1, 45, 30, 3, 14);
        patch_case((vm_type)t, 3, 5, 7, 1, 2);
        patch_case((vm_type)t, 1, 4, 4, 5, 1);
        patch_case((vm_type)t, 1, 81, 41, 7, 40); /* a patch plane beyond a piece */
        patch_case((vm_type)t, 0, 8, 8, 3, 4);
        patch_case((vm_type)t, 2, 33, 31, 3, 31);
    }
}
TEST(too_small) {
    op_case c = op_begin(VM_F32);
    EXPECT(!vm_patchify(c.g, op_input(&c, VM_F32, 4, (int64_t[]){ 1, 8, 3, 3 }, 0, 1), 4, VM_F32));
    EXPECT_HAS(c.g->err.msg, "patchify: images (B,H,W,C) of at least 4 pixels a side are needed");
    op_end(&c);
}
int main(void) {
    RUN(patchify);
    RUN(too_small);
    return test_end();
}
