/* grad_norm.c - gradients of layernorm, rmsnorm, l2norm. */
#include "tests/gradcheck.h"

static int build_layernorm(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_layernorm(g, in[0], in[1], in[2], 1e-5f, VM_F32);
    return 1;
}
static int build_bare(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_layernorm(g, in[0], 0, 0, 1e-5f, VM_F32);
    return 1;
}
static int build_rmsnorm(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_rmsnorm(g, in[0], in[1], 1e-6f, VM_F32);
    return 1;
}
static int build_l2norm(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_l2norm(g, in[0], 0);
    return 1;
}
static int build_l2norm_clamped(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_l2norm(g, in[0], 10);
    return 1;
}

static void affine_case(gc_build build, int n_in, int64_t R, int64_t C) {
    gradcheck(build, n_in, (gc_in[]){ { "x", .nd = 3, .ne = { 2, R, C } },
                                      { "w", .nd = 1, .ne = { C }, .param = true },
                                      { "b", .nd = 1, .ne = { C }, .param = true } });
}

TEST(layernorm) {
    affine_case(build_layernorm, 3, 3, 7);
    affine_case(build_layernorm, 3, 23, 1031); /* several chunks of rows and of columns */
    affine_case(build_layernorm, 3, 1, 2);
    affine_case(build_layernorm, 3, 0, 5);
}
TEST(layernorm_without_weights) { gradcheck(build_bare, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 4, 13 } } }); }
TEST(layernorm_frozen) {
    gradcheck(build_layernorm, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 4, 5 } },
                                             { "w", .nd = 1, .ne = { 5 }, .param = true, .fixed = true },
                                             { "b", .nd = 1, .ne = { 5 }, .param = true, .fixed = true } });
}
TEST(rmsnorm) {
    affine_case(build_rmsnorm, 2, 3, 7);
    affine_case(build_rmsnorm, 2, 1, 1);
    affine_case(build_rmsnorm, 2, 0, 5);
}
TEST(l2norm) {
    gradcheck(build_l2norm, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 7 } } });
    gradcheck(build_l2norm, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 2, 1 }, .away = 0.1 } });
    gradcheck(build_l2norm, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 3 } } });
    gradcheck(build_l2norm_clamped, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 5 } } });
}

int main(void) {
    RUN(layernorm);
    RUN(layernorm_without_weights);
    RUN(layernorm_frozen);
    RUN(rmsnorm);
    RUN(l2norm);
    return test_end();
}
