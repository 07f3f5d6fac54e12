/* test_host.c - a C function between nodes. */
#include "tests/optest.h"

static vm_status sort_and_count(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    int *calls = ctx;
    const float *x = in[0];
    float *y = out[0];
    int32_t *negative = out[1];
    if (x[0] == 7) return vm_fail(e, VM_EINPUT, "seven is not liked");
    if (x[0] == 8) return VM_EMODEL; /* without a sentence */
    *negative = 0, ++*calls;
    for (int i = 0; i < 5; i++) {
        int k = i;
        for (*negative += x[i] < 0; k > 0 && y[k - 1] > x[i]; k--) y[k] = y[k - 1];
        y[k] = x[i];
    }
    return n_in == 1 && n_out == 2 ? VM_OK : VM_EMODEL;
}

TEST(call) {
    op_case c = op_begin(VM_F32);
    int calls = 0;
    vm_val x = op_input(&c, VM_F32, 1, (int64_t[]){ 5 }, -1, 1), h = vm_scale(c.g, x, 2, 0), out[2];
    vm_shape shapes[] = { { VM_F32, 1, { 5 } }, { VM_I32, 1, { 1 } } };
    EXPECT(vm_host(c.g, "sort", sort_and_count, &calls, 1, &h, 2, shapes, out));
    memset(shapes, 0, sizeof shapes); /* not needed any more */
    vm_val y = vm_scale(c.g, out[0], 1, 0);
    vm_output(c.g, "y", y), vm_output(c.g, "count", out[1]);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    EXPECT(!c.g->err.status && !vm_grad(c.g, x)); /* it carries no gradient */
    int runs = 0;
    OP_LEVELS(&c) {
        int negative = 0;
        for (int i = 0; i < 5; i++) negative += c.x[0][i] < 0;
        for (int i = 0; i < 4; i++) EXPECT(op_get(&c, y, i) <= op_get(&c, y, i + 1));
        EXPECT(op_get(&c, out[1], 0) == negative);
        EXPECT(calls == ++runs);
    }
    for (int k = 7; k <= 8; k++) {
        op_put(&c, 0, 0, k / 2.0);
        vm_set(c.g, "x0", c.raw[0]);
        EXPECT(vm_run(c.g) == (k == 7 ? VM_EINPUT : VM_EMODEL));
        EXPECT_HAS(c.g->err.msg, k == 7 ? "seven is not liked" : "sort failed");
    }
    op_end(&c);
}
int main(void) {
    RUN(call);
    return test_end();
}
