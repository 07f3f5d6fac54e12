/* grad_shape.c - gradients of moved elements. */
#include "tests/gradcheck.h"

static int axis;
static int build_slices(vm_graph *g, const vm_val *in, vm_val *out) {
    int64_t n = vm_dim(g, in[0], axis);
    out[0] = vm_slice(g, in[0], axis, 0, n / 2);
    out[1] = vm_slice(g, in[0], axis, 1, n - 1);
    out[2] = vm_slice(g, vm_scale(g, in[0], 3, 0), axis, n - 1, 1);
    return 3;
}
static int build_concat(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_concat(g, 3, (vm_val[]){ in[0], in[1], in[0] }, axis);
    return 1;
}
static int build_moves(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val y = vm_permute(g, in[0], (int[]){ 2, 0, 1 });
    out[0] = vm_reshape(g, vm_unary(g, y, VM_SQUARE, VM_F32), 1, (int64_t[]){ vm_count(g, y) });
    out[1] = vm_cast(g, vm_permute(g, vm_reshape(g, in[0], 2, (int64_t[]){ vm_dim(g, in[0], 0), vm_dim(g, in[0], 1)
        * vm_dim(g, in[0], 2) }), (int[]){ 1, 0 }), VM_F32);
    return 2;
}

TEST(slice) {
    for (axis = 0; axis < 3; axis++) {
        gradcheck(build_slices, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 4, 5 } } });
        gradcheck(build_slices, 1, (gc_in[]){ { "w", .nd = 3, .ne = { 2, 3, 2 }, .param = true } });
        gradcheck(build_slices, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 1, 1, 1 } } });
    }
    axis = 1;
    gradcheck(build_slices, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 4, 0 } } });
    gradcheck(build_slices, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 3, 1033 } } });
}
TEST(concat) {
    for (axis = 0; axis < 3; axis++) {
        gradcheck(build_concat, 2, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 4, 5 } }, { "y", .nd = 3,
            .ne = { axis ? 3 : 1, axis == 1 ? 1 : 4, axis == 2 ? 1 : 5 } } });
        gradcheck(build_concat, 2, (gc_in[]){ { "v", .nd = 3, .ne = { 2, 2, 2 }, .param = true }, { "w", .nd = 3,
            .ne = { axis ? 2 : 0, axis == 1 ? 0 : 2, axis == 2 ? 0 : 2 }, .param = true } });
    }
}
TEST(reshape_permute_cast) {
    gradcheck(build_moves, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 4, 5 } } });
    gradcheck(build_moves, 1, (gc_in[]){ { "w", .nd = 3, .ne = { 2, 1, 7 }, .param = true } });
    gradcheck(build_moves, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 0, 7 } } });
}
int main(void) {
    RUN(slice);
    RUN(concat);
    RUN(reshape_permute_cast);
    return test_end();
}
