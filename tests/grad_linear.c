/* grad_linear.c - gradients of vm_linear: bias, residual, activations, weights and inputs used several times. */
#include "tests/gradcheck.h"

static int build_plain(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_linear(g, in[0], in[1], 0, VM_NONE, 0, VM_F32);
    return 1;
}
static int build_bias(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_linear(g, in[0], in[1], in[2], VM_NONE, 0, VM_F32);
    return 1;
}
static int build_residual(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_linear(g, in[0], in[1], in[2], VM_NONE, in[3], VM_F32);
    return 1;
}
/* nothing else reads the residual: it may stand in place */
static int build_residual_of_node(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val r = vm_scale(g, in[3], 2, 1);
    out[0] = vm_scale(g, vm_linear(g, in[0], in[1], in[2], VM_NONE, r, VM_F32), 3, 0);
    return 1;
}
/* the residual is the product's own input */
static int build_residual_of_input(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val x = vm_scale(g, in[0], 2, 1);
    out[0] = vm_linear(g, x, in[1], in[2], VM_NONE, x, VM_F32);
    return 1;
}
/* a later reader of the residual */
static int build_residual_read_again(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val r = vm_scale(g, in[3], 2, 1), y = vm_linear(g, in[0], in[1], in[2], VM_NONE, r, VM_F32);
    out[0] = vm_binary(g, y, r, VM_MUL);
    return 1;
}
static int build_chain_of_residuals(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val x = vm_scale(g, in[0], 1, 0);
    for (int k = 0; k < 3; k++) x = vm_linear(g, vm_scale(g, x, 0.5f, 0), in[1], in[2], VM_NONE, x, VM_F32);
    out[0] = x;
    return 1;
}
#define ACT(k)                                                                             \
    static int build_act_##k(vm_graph *g, const vm_val *in, vm_val *out) {                 \
        out[0] = vm_linear(g, in[0], in[1], in[2], VM_##k, 0, VM_F32);                     \
        out[1] = vm_linear(g, in[0], in[1], in[2], VM_##k, in[3], VM_F32);                 \
        return 2;                                                                          \
    }
ACT(QUICK_GELU) ACT(GELU) ACT(GELU_TANH) ACT(SILU) ACT(SIGMOID) ACT(TANH) ACT(EXP) ACT(SOFTPLUS)
/* tied weights: the same parameter as two layers, once on the output of the other */
static int build_tied(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val h = vm_linear(g, in[0], in[1], in[2], VM_TANH, 0, VM_F32);
    out[0] = vm_linear(g, h, in[1], in[2], VM_NONE, h, VM_F32);
    return 1;
}
/* embedding table as output weight */
static int build_tied_table(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val e = vm_embedding(g, in[0], in[1]);
    out[0] = vm_linear(g, e, in[0], 0, VM_NONE, 0, VM_F32);
    return 1;
}
static int build_fan_out(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val x = vm_scale(g, in[0], 1, 0);
    for (int k = 0; k < 3; k++)
        out[k] = vm_linear(g, x, in[1], in[2], k == 1 ? VM_TANH : VM_NONE, k == 2 ? x : 0, VM_F32);
    return 3;
}
static int build_weight_of_node(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val w = vm_scale(g, in[1], 2, 0.5f), b = vm_scale(g, in[2], 3, 0);
    out[0] = vm_linear(g, in[0], w, b, VM_NONE, 0, VM_F32);
    return 1;
}
static int build_x_is_w(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_linear(g, in[0], in[0], 0, VM_NONE, 0, VM_F32);
    return 1;
}

/* x (2,M,K), w (N,K), b (N), residual (2,M,N) */
static void sized(gc_build build, int n_in, int64_t M, int64_t K, int64_t N) {
    gradcheck(build, n_in, (gc_in[]){ { "x", .nd = 3, .ne = { 2, M, K } },
                                      { "w", .nd = 2, .ne = { N, K }, .param = true },
                                      { "b", .nd = 1, .ne = { N }, .param = true },
                                      { "residual", .nd = 3, .ne = { 2, M, N } } });
}

TEST(plain) {
    sized(build_plain, 2, 3, 5, 7);
    sized(build_plain, 2, 1, 1, 1);
    sized(build_plain, 2, 0, 5, 7);
    sized(build_plain, 2, 3, 5, 0);
    gradcheck(build_plain, 2, (gc_in[]){ { "x", .nd = 1, .ne = { 5 } }, { "w", .nd = 2, .ne = { 3, 5 } } });
}
TEST(bias) {
    sized(build_bias, 3, 3, 5, 7);
    sized(build_bias, 3, 1, 1, 131); /* two blocks of columns */
    sized(build_bias, 3, 0, 5, 7);
    sized(build_bias, 3, 3, 0, 7); /* the bias alone */
}
TEST(residual) {
    sized(build_residual, 4, 3, 5, 7);
    sized(build_residual, 4, 3, 0, 7);
    sized(build_residual_of_node, 4, 3, 5, 7);
    sized(build_residual_of_input, 3, 3, 5, 5);
    sized(build_residual_read_again, 4, 3, 5, 7);
    sized(build_chain_of_residuals, 3, 2, 4, 4);
}
TEST(activations) {
    sized(build_act_QUICK_GELU, 4, 3, 5, 7);
    sized(build_act_GELU, 4, 3, 5, 7);
    sized(build_act_GELU_TANH, 4, 3, 5, 7);
    sized(build_act_SILU, 4, 3, 5, 7);
    sized(build_act_SIGMOID, 4, 3, 5, 7);
    sized(build_act_TANH, 4, 3, 5, 7);
    sized(build_act_EXP, 4, 3, 5, 7);
    sized(build_act_SOFTPLUS, 4, 3, 5, 7);
}
TEST(parameters_as_inputs) { /* learnt queries: the gradient of x is a parameter's */
    gradcheck(build_bias, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 }, .param = true },
                                        { "w", .nd = 2, .ne = { 4, 5 }, .param = true },
                                        { "b", .nd = 1, .ne = { 4 }, .param = true } });
    gradcheck(build_residual, 4, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 }, .param = true },
                                            { "w", .nd = 2, .ne = { 4, 5 } },
                                            { "b", .nd = 1, .ne = { 4 } },
                                            { "residual", .nd = 2, .ne = { 3, 4 }, .param = true } });
}
TEST(used_several_times) {
    sized(build_tied, 3, 3, 5, 5);
    sized(build_fan_out, 3, 3, 5, 5);
    gradcheck(build_tied_table, 2,
              (gc_in[]){ { "table", .nd = 2, .ne = { 6, 5 }, .param = true },
                         { "ids", .nd = 2, .ne = { 2, 3 }, .ids = (const int32_t[]){ 1, 5, 1, 0, 2, 1 } } });
    gradcheck(build_x_is_w, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 4, 5 } } });
    gradcheck(build_x_is_w, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 4, 5 }, .param = true } });
}
TEST(computed_weights) {
    sized(build_weight_of_node, 3, 3, 5, 7);
    gradcheck(
        build_weight_of_node, 3,
        (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 } }, { "w", .nd = 2, .ne = { 4, 5 } }, { "b", .nd = 1, .ne = { 4 } } });
}
TEST(frozen) {
    gradcheck(build_bias, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 } },
                                        { "w", .nd = 2, .ne = { 4, 5 }, .param = true, .fixed = true },
                                        { "b", .nd = 1, .ne = { 4 }, .param = true, .fixed = true } });
    gradcheck(build_bias, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 }, .fixed = true },
                                        { "w", .nd = 2, .ne = { 4, 5 }, .param = true, .fixed = true },
                                        { "b", .nd = 1, .ne = { 4 }, .param = true } });
}

int main(void) {
    RUN(plain);
    RUN(bias);
    RUN(residual);
    RUN(activations);
    RUN(parameters_as_inputs);
    RUN(used_several_times);
    RUN(computed_weights);
    RUN(frozen);
    return test_end();
}
