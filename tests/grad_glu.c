/* grad_glu.c - gradients of gated linear units, of two tensors and of packed halves in either order. */
#include "tests/gradcheck.h"

static vm_unary_kind act;
static bool gate_first;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_glu(g, in[0], in[1], act, VM_F32), 1;
}
static int build_packed(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_glu_packed(g, in[0], gate_first, act, VM_F32), 1;
}
static int build_self(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_glu(g, in[0], in[0], act, VM_F32), 1;
}

static void sized(int64_t R, int64_t C) {
    gradcheck(build, 2, (gc_in[]){ { "value", .nd = 2, .ne = { R, C }, .away = 0.01 },
                                   { "gate", .nd = 2, .ne = { R, C }, .away = 0.01 } });
    gradcheck(build, 2, (gc_in[]){ { "value", .nd = 2, .ne = { R, C }, .fixed = true },
                                   { "gate", .nd = 2, .ne = { R, C }, .away = 0.01 } });
    for (int k = 0; k < 2; k++) {
        gate_first = k;
        gradcheck(build_packed, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 1, R, 2 * C }, .away = 0.01 } });
    }
    gradcheck(build_self, 1, (gc_in[]){ { "x", .nd = 2, .ne = { R, C }, .away = 0.01 } });
}
TEST(kinds) {
    const vm_unary_kind kinds[] = { VM_SILU, VM_GELU, VM_GELU_TANH, VM_SIGMOID, VM_RELU, VM_QUICK_GELU };
    for (int k = 0; k < VM_LEN(kinds); k++) {
        act = kinds[k];
        sized(3, 5), sized(1, 1);
    }
}
TEST(sizes) {
    act = VM_SILU;
    sized(0, 4), sized(3, 0), sized(2, 1100), sized(37, 3);
}
int main(void) {
    RUN(kinds);
    RUN(sizes);
    return test_end();
}
