/* test_interpolate.c - resizing on the device and its gradient against double loops, and against numbers of torch. */
#include "tests/optest.h"

static double tol(vm_type t) { return t == VM_F16 ? 0x1p-10 : op_tol(t); }

/* Weight of source pixel r for output i, by the formulas alone. */
static double weight(vm_resize_kind k, int64_t in, int64_t out, int64_t i, int64_t r) {
    double at = k == VM_BILINEAR ? ((double)i + 0.5) * (double)in / (double)out - 0.5
                                 : out > 1 ? (double)i * (double)(in - 1) / (double)(out - 1) : 0;
    if (k == VM_NEAREST) return i * in / out == r;
    at = fmin(fmax(at, 0), (double)(in - 1));
    return fmax(0, 1 - fabs(at - (double)r));
}

static void check(vm_resize_kind k, int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW, vm_type tx,
                  vm_type ty) {
    op_case c = op_begin(VM_BF16);
    vm_val x = op_input(&c, tx, 4, (int64_t[]){ B, H, W, C }, -1, 1);
    vm_val r = op_input(&c, ty, 4, (int64_t[]){ B, OH, OW, C }, -1, 1);
    vm_val y = vm_resize(c.g, x, OH, OW, k, ty);
    vm_val outs[] = { y, x }, seeds[] = { r, op_input(&c, tx, 4, (int64_t[]){ B, H, W, C }, -1, 1) };
    vm_backward(c.g, 2, outs, seeds, 1, &x); /* a second use of x: the gradient adds */
    vm_output(c.g, "y", y), vm_output(c.g, "dx", vm_grad(c.g, x));
    double *want = vm_calloc((size_t)(B * OH * OW * C) + 1, 8), *dx = vm_calloc((size_t)(B * H * W * C) + 1, 8);
    for (int64_t p = 0; p < B * OH * OW; p++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t w = 0; w < W; w++) {
                double v = weight(k, H, OH, p / OW % OH, h) * weight(k, W, OW, p % OW, w);
                int64_t from = ((p / OW / OH * H + h) * W + w) * C;
                for (int64_t i = 0; v > 0 && i < C; i++)
                    want[p * C + i] += v * c.x[0][from + i], dx[from + i] += v * c.x[1][p * C + i];
            }
    for (int64_t i = 0; i < B * H * W * C; i++) dx[i] += c.x[2][i];
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(C, 1), k == VM_NEAREST && tx == ty ? 0 : 8 * OP_TOL_F32 + tol(ty));
        op_near(&c, "dx", vm_grad(c.g, x), dx, VM_MAX(C, 1), 8 * OP_TOL_F32 + 2 * tol(tx));
    }
    vm_free(want), vm_free(dx);
    op_end(&c);
}
TEST(sizes) {
    for (int k = 0; k < 3; k++) {
        vm_resize_kind kind = (vm_resize_kind)k;
        check(kind, 2, 5, 7, 8, 10, 14, VM_F32, VM_F32);
        check(kind, 1, 7, 5, 3, 13, 11, VM_F32, VM_F32);
        check(kind, 1, 13, 17, 16, 5, 6, VM_F32, VM_F32);
        check(kind, 1, 4, 4, 1, 4, 4, VM_F32, VM_F32);
        check(kind, 1, 1, 6, 9, 5, 1, VM_F32, VM_F32);
        check(kind, 2, 6, 1, 4, 1, 3, VM_F32, VM_F32);
        check(kind, 1, 3, 2, 1033, 4, 5, VM_F32, VM_F32);
        check(kind, 1, 31, 29, 40, 62, 58, VM_F32, VM_F32);
        check(kind, 0, 3, 3, 8, 6, 6, VM_F32, VM_F32), check(kind, 1, 3, 3, 0, 6, 6, VM_F32, VM_F32);
        check(kind, 1, 3, 3, 8, 0, 6, VM_F32, VM_F32);
    }
}
TEST(types) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int k = 0; k < 3; k++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                if (a || b) check((vm_resize_kind)k, 1, 4, 5, a == b ? 24 : 13, 7, 10, t[a], t[b]);
}
TEST(published) { /* torch.nn.functional.interpolate of 0 1 2 3 to five */
    static const double want[3][5] = { { 0, 0, 1, 2, 3 }, { 0, 0.7, 1.5, 2.3, 3 }, { 0, 0.75, 1.5, 2.25, 3 } };
    for (int k = 0; k < 3; k++) {
        op_case c = op_begin(VM_F32);
        vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 1, 4, 1 }, 0, 1);
        for (int i = 0; i < 4; i++) op_put(&c, 0, i, i);
        vm_val y = vm_resize(c.g, x, 1, 5, (vm_resize_kind)k, VM_F32);
        vm_output(c.g, "y", y);
        OP_LEVELS(&c)
            for (int i = 0; i < 5; i++) EXPECT_NEAR(op_get(&c, y, i), want[k][i], 1e-6);
        op_end(&c);
    }
}
TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 4, 0, 2 }, 0, 1),
           v = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 2 }, 0, 1);
    WRONG(vm_resize(c.g, x, 8, 8, VM_NEAREST, VM_F32), "resize: 0 pixels to 8");
    WRONG(vm_resize(c.g, x, 1 << 20, 0, VM_NEAREST, VM_F32), "resize: 4 pixels to 1048576");
    WRONG(vm_resize(c.g, v, 8, 8, VM_NEAREST, VM_F32), "resize: x [4,2], pictures (B,H,W,C) are needed");
    op_end(&c);
}
int main(void) {
    RUN(sizes);
    RUN(types);
    RUN(published);
    RUN(errors);
    return test_end();
}
