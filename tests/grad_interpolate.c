/* grad_interpolate.c - gradients of resizing: larger, smaller, one pixel, the same size. */
#include "tests/gradcheck.h"

static int64_t OH, OW;
static vm_resize_kind kind;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_resize(g, in[0], OH, OW, kind, VM_F32), 1;
}

static void sized(int64_t B, int64_t H, int64_t W, int64_t C, int64_t to_h, int64_t to_w) {
    OH = to_h, OW = to_w;
    for (int k = 0; k < 3; k++) {
        kind = (vm_resize_kind)k;
        gradcheck(build, 1, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } } });
    }
}
TEST(sizes) {
    sized(2, 3, 4, 2, 6, 8), sized(1, 5, 7, 3, 7, 5), sized(1, 7, 6, 1, 2, 3), sized(1, 3, 3, 2, 3, 3);
    sized(1, 1, 1, 2, 4, 3), sized(2, 5, 4, 1, 1, 1), sized(1, 2, 9, 1, 13, 2), sized(1, 2, 2, 1030, 3, 3);
}
TEST(empty) { sized(0, 2, 2, 3, 4, 4), sized(1, 2, 2, 0, 4, 4), sized(1, 3, 2, 2, 0, 4), sized(1, 0, 2, 2, 0, 4); }

int main(void) {
    RUN(sizes);
    RUN(empty);
    return test_end();
}
