/* grad_pool.c - gradients of average and max pooling: windows that overlap, leave gaps, and reach over the edge. */
#include "tests/gradcheck.h"

static vm_pool k;
static int build_avg(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_avgpool2d(g, in[0], k, VM_F32), 1;
}
static int build_max(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_maxpool2d(g, in[0], k, VM_F32), 1;
}

static void sized(int64_t B, int64_t H, int64_t W, int64_t C) {
    gradcheck(build_avg, 1, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } } });
    gradcheck(build_max, 1, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } } });
}
#define WINDOW(...) k = (vm_pool){ __VA_ARGS__ }

TEST(windows) {
    WINDOW(.KH = 2, .KW = 2), sized(2, 4, 6, 3), sized(1, 5, 7, 1), sized(0, 4, 4, 3), sized(1, 4, 4, 0);
    WINDOW(.KH = 1, .KW = 1), sized(1, 3, 2, 2);
    WINDOW(.KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 }), sized(1, 7, 6, 2);
    WINDOW(.KH = 3, .KW = 2, .stride = { 1, 3 }, .pad = { 2, 0, 1, 1 }), sized(2, 5, 7, 2);
    WINDOW(.KH = 2, .KW = 2, .stride = { 3, 3 }), sized(1, 8, 8, 1);
    WINDOW(.KH = 5, .KW = 3), sized(1, 5, 3, 1027); /* one window; more channels than a piece */
}
int main(void) {
    RUN(windows);
    return test_end();
}
