/* grad_unary.c - derivatives of every function of one element, and of scale. */
#include "tests/gradcheck.h"

static vm_unary_kind kind;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_unary(g, in[0], kind, VM_F32);
    return 1;
}
static int build_scale(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_scale(g, in[0], -2.5f, 3);
    return 1;
}

TEST(whole_line) {
    static const vm_unary_kind kinds[] = { VM_RELU, VM_QUICK_GELU, VM_GELU, VM_GELU_TANH, VM_SILU, VM_SIGMOID, VM_TANH,
                                           VM_EXP, VM_SQUARE, VM_SOFTPLUS, VM_NEG };
    for (int k = 0; k < VM_LEN(kinds); k++) {
        kind = kinds[k];
        gradcheck(build, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 7, 11 }, .lo = -4, .hi = 4, .away = 1e-3 } });
        gradcheck(build, 1, (gc_in[]){ { "w", .nd = 1, .ne = { 3 }, .param = true, .away = 1e-3 } });
    }
}
TEST(positive_line) {
    for (int k = 0; k < 2; k++) {
        kind = k ? VM_LOG : VM_SQRT;
        gradcheck(build, 1, (gc_in[]){ { "x", .nd = 1, .ne = { 31 }, .lo = 0.5, .hi = 4 } });
    }
}
TEST(empty) {
    kind = VM_GELU;
    gradcheck(build, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 4 } } });
    gradcheck(build_scale, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 0 } } });
}
TEST(scale) { gradcheck(build_scale, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 1, 5 } } }); }

int main(void) {
    RUN(whole_line);
    RUN(positive_line);
    RUN(empty);
    RUN(scale);
    return test_end();
}
