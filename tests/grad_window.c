/* grad_window.c - gradients of windows, patch merging, padding and cropping. */
#include "tests/gradcheck.h"

static int size, shift;
static int64_t B, H, W;
static int build_window(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_window(g, in[0], size, shift), 1;
}
static int build_unwindow(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_unwindow(g, in[0], B, H, W, size, shift), 1;
}
static int build_merge(vm_graph *g, const vm_val *in, vm_val *out) { return out[0] = vm_patch_merge(g, in[0]), 1; }

static void sized(int64_t b, int64_t h, int64_t w, int64_t C, int n, int s) {
    B = b, H = h, W = w, size = n, shift = s;
    gradcheck(build_window, 1, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } } });
    gradcheck(build_unwindow, 1,
              (gc_in[]){ { "y", .nd = 3, .ne = { B * vm_window_count(H, W, n), n * n, C } } });
    gradcheck(build_merge, 1, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } } });
}
TEST(windows) {
    sized(2, 4, 6, 3, 2, 0), sized(1, 4, 6, 2, 2, 1), sized(2, 5, 7, 1, 3, 1), sized(1, 2, 3, 2, 4, 2);
    sized(1, 1, 1, 2, 1, 0), sized(1, 3, 3, 1100, 2, 1), sized(0, 4, 4, 2, 2, 1), sized(1, 0, 4, 2, 2, 0);
    sized(1, 4, 4, 0, 2, 1);
}

static int64_t before[VM_AXES], after[VM_AXES];
static int build_pad(vm_graph *g, const vm_val *in, vm_val *out) { return out[0] = vm_pad(g, in[0], before, after), 1; }
static int build_crop(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_crop(g, in[0], before, after), 1;
}

TEST(pad) {
    const int64_t how[][6] = { { 0, 1, 0, 0, 2, 0 }, { 0, 0, 1, 0, 0, 3 }, { 1, 0, 0, 1, 0, 0 }, { 0, 0, 0, 0, 0, 0 },
                               { 1, 2, 1, 0, 1, 2 }, { 0, 2, 0, 0, 2, 0 } };
    for (int k = 0; k < VM_LEN(how); k++) {
        for (int a = 0; a < 3; a++) before[a] = how[k][a], after[a] = how[k][3 + a];
        gradcheck(build_pad, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 3, 4 } } });
        gradcheck(build_pad, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 0, 4 } } });
        gradcheck(build_crop, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 4, 4, 6 } } });
    }
    gradcheck(build_pad, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 1, 2, 1100 } } });
}
int main(void) {
    RUN(windows);
    RUN(pad);
    return test_end();
}
