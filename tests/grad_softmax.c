/* grad_softmax.c - gradients of softmax and cross-entropy. */
#include "tests/gradcheck.h"

static int build_softmax(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_softmax(g, in[0]);
    return 1;
}
static int build_cross_entropy(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_cross_entropy(g, vm_scale(g, in[0], 4, 0), in[1]);
    return 1;
}
static void entropy_case(int64_t R, int64_t V, const int32_t *target) {
    gradcheck(build_cross_entropy, 2, (gc_in[]){ { "x", .nd = 2, .ne = { R, V } }, { "t", .nd = 1, .ne = { R },
        .ids = target } });
}

TEST(softmax) {
    gradcheck(build_softmax, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 3, 7 }, .lo = -5, .hi = 5 } });
    gradcheck(build_softmax, 1, (gc_in[]){ { "w", .nd = 2, .ne = { 2, 1031 }, .param = true, .lo = -5, .hi = 5 } });
    gradcheck(build_softmax, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 1 } } });
    gradcheck(build_softmax, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 5 } } });
    gradcheck(build_softmax, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 5, 0 } } });
}
TEST(cross_entropy) {
    entropy_case(5, 7, (int32_t[]){ 0, 6, -100, 3, 3 });
    entropy_case(2, 1031, (int32_t[]){ 1030, 512 });
    entropy_case(3, 4, (int32_t[]){ -100, -100, -100 });
    entropy_case(2, 1, (int32_t[]){ 0, 0 });
    entropy_case(0, 4, (int32_t[]){ 0 });
}
int main(void) {
    RUN(softmax);
    RUN(cross_entropy);
    return test_end();
}
