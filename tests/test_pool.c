/* test_pool.c - pooling in floats against double loops at every processor level: windows, padding, ties, NaN. */
#include "tests/optest.h"

static void check(vm_pool k, bool max, vm_type t, int64_t B, int64_t H, int64_t W, int64_t C) {
    op_case c = op_begin(VM_BF16);
    vm_val x = op_input(&c, t, 4, (int64_t[]){ B, H, W, C }, -1, 1);
    for (int64_t i = 0; max && i < B * H * W * C; i += 3) op_put(&c, 0, i, 0.5); /* ties */
    vm_val y = max ? vm_maxpool2d(c.g, x, k, t) : vm_avgpool2d(c.g, x, k, t);
    int64_t ny = vm_count(c.g, y);
    vm_val seed = op_input(&c, t, 4, c.g->v[y].ne, -1, 1);
    vm_val again = max ? vm_maxpool2d(c.g, x, k, t) : vm_avgpool2d(c.g, x, k, t); /* its gradient is added */
    vm_backward(c.g, 2, (vm_val[]){ y, again }, (vm_val[]){ seed, seed }, 1, &x);
    vm_output(c.g, "y", y), vm_output(c.g, "dx", vm_grad(c.g, x));
    for (int64_t i = 0; i < ny; i++) c.x[1][i] *= 2;
    int64_t sh = k.stride[0] ? k.stride[0] : k.KH, sw = k.stride[1] ? k.stride[1] : k.KW;
    int64_t OH = (H + k.pad[0] + k.pad[2] - k.KH) / sh + 1, OW = (W + k.pad[1] + k.pad[3] - k.KW) / sw + 1;
    EXPECT(c.g->v[y].ne[1] == OH && c.g->v[y].ne[2] == OW);
    double *want = vm_calloc((size_t)(B * OH * OW * C) + 1, sizeof *want),
           *dx = vm_calloc((size_t)(B * H * W * C) + 1, sizeof *dx);
    for (int64_t o = 0; o < B * OH * OW * C; o++) {
        int64_t ch = o % C, j = o / C % OW, i = o / C / OW % OH, b = o / C / OW / OH, best = -1;
        for (int64_t u = 0; u < k.KH; u++)
            for (int64_t v = 0; v < k.KW; v++) {
                int64_t r = i * sh + u - k.pad[0], q = j * sw + v - k.pad[1], at = ((b * H + r) * W + q) * C + ch;
                if (r < 0 || r >= H || q < 0 || q >= W) continue;
                if (!max) want[o] += c.x[0][at] / (k.KH * k.KW), dx[at] += c.x[1][o] / (k.KH * k.KW);
                else if (best < 0 || c.x[0][at] > c.x[0][best]) best = at;
            }
        if (max) want[o] = c.x[0][best], dx[best] += c.x[1][o];
    }
    OP_LEVELS(&c) {
        op_near(&c, max ? "max" : "avg", y, want, VM_MAX(C, 1), max ? 0 : op_tol(t));
        op_near(&c, "dx", vm_grad(c.g, x), dx, VM_MAX(B * H * W * C, 1), 2 * op_tol(t));
    }
    vm_free(want), vm_free(dx);
    op_end(&c);
}
TEST(windows) {
    const vm_pool k[] = { { .KH = 2, .KW = 2 },
                          { .KH = 7, .KW = 7 },
                          { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } },
                          { .KH = 3, .KW = 2, .stride = { 1, 3 }, .pad = { 2, 0, 1, 1 } },
                          { .KH = 1, .KW = 2, .stride = { 3, 1 } } };
    for (int j = 0; j < VM_LEN(k); j++)
        for (int how = 0; how < 6; how++) {
            vm_type t = (vm_type)(how / 2);
            check(k[j], how & 1, t, 2, 14, 9, 33);
            check(k[j], how & 1, t, 2, 13, 11, 24);
            check(k[j], how & 1, t, 1, 7, 7, 1);
            check(k[j], how & 1, t, 0, 8, 8, 3);
            check(k[j], how & 1, t, 1, 8, 8, 0);
        }
    check(k[0], false, VM_F32, 1, 2, 3, 2050), check(k[0], true, VM_F32, 1, 2, 3, 2050);
    check((vm_pool){ .KH = 16, .KW = 16 }, true, VM_F32, 1, 17, 33, 8); /* 256 places to win at */
}
TEST(not_a_number){ /* is not lost in a window */
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 2, 4, 1 }, -1, 1);
    op_put(&c, 0, 5, NAN);
    vm_val y = vm_maxpool2d(c.g, x, (vm_pool){ .KH = 2, .KW = 2 }, VM_F32),
           z = vm_avgpool2d(c.g, x, (vm_pool){ .KH = 2, .KW = 2 }, VM_F32);
    vm_output(c.g, "y", y), vm_output(c.g, "z", z);
    OP_LEVELS(&c) {
        EXPECT(isnan(op_get(&c, y, 0)) && !isnan(op_get(&c, y, 1)));
        EXPECT(isnan(op_get(&c, z, 0)) && !isnan(op_get(&c, z, 1)));
    }
    op_end(&c);
}
TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 4, 4, 2 }, 0, 1);
    WRONG(vm_avgpool2d(c.g, x, (vm_pool){ .KH = 5, .KW = 1 }, VM_F32),
          "avgpool: x [1,4,4,2], pictures (B,H,W,C) of at least 5 x 1 are needed");
    WRONG(vm_maxpool2d(c.g, x, (vm_pool){ .KH = 0, .KW = 1 }, VM_F32),
          "maxpool: a window of 0 x 1, 1 to 256 pixels are possible");
    WRONG(vm_maxpool2d(c.g, x, (vm_pool){ .KH = 17, .KW = 16 }, VM_F32), "maxpool: a window of 17 x 16");
    WRONG(vm_avgpool2d(c.g, x, (vm_pool){ .KH = 2, .KW = 2, .pad = { 2 } }, VM_F32),
          "padding at 0 and it is smaller than the window");
    op_end(&c);
}

int main(void) {
    RUN(windows);
    RUN(not_a_number);
    RUN(errors);
    return test_end();
}
