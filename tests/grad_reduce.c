/* grad_reduce.c - gradients of sums and broadcasts. */
#include "tests/gradcheck.h"

static int axis;
static int build_axis(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_sum_axis(g, in[0], axis, 0.25f);
    return 1;
}
static int build_total(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_sum(g, in[0]);
    out[1] = vm_mean(g, in[0]);
    return 2;
}
static int build_broadcast(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_broadcast(g, in[0], 5);
    out[1] = vm_broadcast(g, in[0], 1);
    return 2;
}

TEST(sum_axis) {
    for (axis = -1; axis < 3; axis++) {
        gradcheck(build_axis, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 5, 2 } } });
        gradcheck(build_axis, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 1, 1, 1 } } });
        gradcheck(build_axis, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 0, 3 } } });
    }
    axis = 0;
    gradcheck(build_axis, 1, (gc_in[]){ { "w", .nd = 2, .ne = { 17, 1031 }, .param = true } });
}
TEST(sum_and_mean) {
    gradcheck(build_total, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 7 } } });
    gradcheck(build_total, 1, (gc_in[]){ { "w", .nd = 1, .ne = { 20000 }, .param = true } });
    gradcheck(build_total, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 7 } } });
}
TEST(broadcast) {
    gradcheck(build_broadcast, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 7 } } });
    gradcheck(build_broadcast, 1, (gc_in[]){ { "w", .nd = 1, .ne = { 2500 }, .param = true } });
    gradcheck(build_broadcast, 1, (gc_in[]){ { "w", .nd = 1, .ne = { 0 }, .param = true } });
}

int main(void) {
    RUN(sum_axis);
    RUN(sum_and_mean);
    RUN(broadcast);
    return test_end();
}
