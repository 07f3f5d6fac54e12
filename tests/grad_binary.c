/* grad_binary.c - gradients of a op b: same shape, trailing part, one element; sums and broadcasts. */
#include "tests/gradcheck.h"

static vm_binary_kind kind;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_binary(g, in[0], in[1], kind);
    return 1;
}
/* both operands are the same value, which feeds a second op as well */
static int build_shared(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val h = vm_scale(g, in[0], 2, 0);
    vm_val y = vm_binary(g, h, h, kind), z = vm_binary(g, y, h, VM_ADD);
    out[0] = vm_binary(g, z, y, VM_ADD);
    return 1;
}

/* the gradient of a+b goes to both; b has one already from its second use, which must not leak into a's */
static int build_passed_on(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val a = vm_scale(g, in[0], 2, 0), b = vm_scale(g, in[0], 3, 1), y = vm_binary(g, a, b, VM_ADD);
    out[0] = vm_unary(g, y, VM_GELU, VM_F32);
    out[1] = vm_unary(g, b, VM_SQUARE, VM_F32);
    return 2;
}

/* as many elements on both sides, but an axis of 1 more in a: the gradient of b has the axes of b, which its rule counts on */
static int build_ones(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_binary(g, in[0], vm_permute(g, in[1], (const int[]){ 1, 0 }), kind);
    return 1;
}

TEST(every_kind) {
    static const struct { int nd; int64_t ne[3], nb; } shapes[] = {
        { 3, { 2, 3, 5 }, 3 }, { 3, { 2, 3, 5 }, 2 }, { 3, { 4, 3, 5 }, 1 }, { 1, { 1 }, 1 }, { 2, { 3, 1301 }, 1 },
        { 2, { 0, 4 }, 1 },    { 2, { 4, 0 }, 2 },    { 2, { 700, 20 }, 1 },
    };
    for (int k = VM_ADD; k <= VM_MAXIMUM; k++) {
        kind = (vm_binary_kind)k;
        double lo = k == VM_DIV ? 0.5 : 0;
        for (int s = 0; s < VM_LEN(shapes); s++)
            for (int param = 0; param < 2; param++) {
                gc_in in[2] = { { "a", .nd = shapes[s].nd }, { "b", .nd = (int)shapes[s].nb, .param = param,
                    .lo = lo, .hi = lo ? 2 : 0 } };
                memcpy(in[0].ne, shapes[s].ne, sizeof shapes[s].ne);
                for (int j = 0; j < in[1].nd; j++) in[1].ne[j] = shapes[s].ne[shapes[s].nd - in[1].nd + j];
                gradcheck(build, 2, in);
            }
        gradcheck(build, 2, (gc_in[]){ { "a", .nd = 2, .ne = { 3, 7 } }, { "scalar", .nd = 1, .ne = { 1 },
            .param = true, .lo = lo, .hi = lo ? 2 : 0 } });
    }
}
TEST(shared_operands) {
    for (int k = VM_ADD; k <= VM_MUL; k++) {
        kind = (vm_binary_kind)k;
        gradcheck(build_shared, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 } } });
        gradcheck(build_shared, 1, (gc_in[]){ { "w", .nd = 2, .ne = { 3, 5 }, .param = true } });
    }
}
TEST(leading_ones) {
    for (int k = VM_ADD; k <= VM_MAXIMUM; k++) {
        kind = (vm_binary_kind)k;
        gradcheck(build_ones, 2, (gc_in[]){ { "a", .nd = 4, .ne = { 1, 1, 3, 5 } }, { "b", .nd = 2, .ne = { 5, 3 }, .lo = 0.5, .hi = 2 } });
    }
}
TEST(gradient_passed_on) { gradcheck(build_passed_on, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 } } }); }

int main(void) {
    RUN(every_kind);
    RUN(shared_operands);
    RUN(leading_ones);
    RUN(gradient_passed_on);
    return test_end();
}
