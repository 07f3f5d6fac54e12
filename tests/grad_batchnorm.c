/* grad_batchnorm.c - gradients of batch normalisation: given statistics and those of the batch, ReLU, residual. */
#include "tests/gradcheck.h"

static vm_unary_kind act;
static int build_given(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_batchnorm(g, in[0], in[1], in[2], in[3], in[4], 0, 1e-3f, act, VM_F32);
    return 1;
}
static int build_given_residual(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_batchnorm(g, in[0], in[1], in[2], in[3], in[4], in[5], 1e-3f, act, VM_F32);
    return 1;
}
static int build_batch(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val stats[2];
    out[0] = vm_batchnorm_batch(g, in[0], in[1], in[2], 0, 1e-3f, act, VM_F32, stats);
    return 1;
}
static int build_batch_residual(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val stats[2], r = vm_scale(g, in[5], 2, 0);
    out[0] = vm_batchnorm_batch(g, in[0], in[1], in[2], r, 1e-3f, act, VM_F32, stats);
    out[1] = vm_scale(g, r, 3, 0); /* a second use of the residual */
    return 2;
}
/* as in residual networks: the input is the residual too */
static int build_batch_of_itself(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val stats[2];
    out[0] = vm_batchnorm_batch(g, in[0], in[1], in[2], in[0], 1e-3f, act, VM_F32, stats);
    return 1;
}

static void sized(gc_build b, int n_in, int64_t R, int64_t C) {
    act = act == VM_RELU ? VM_NONE : VM_RELU;
    gradcheck(b, n_in, (gc_in[]){ { "x", .nd = 4, .ne = { 1, R, 1, C } },
                                  { "w", .nd = 1, .ne = { C }, .param = true },
                                  { "b", .nd = 1, .ne = { C }, .param = true },
                                  { "mean", .nd = 1, .ne = { C }, .fixed = true },
                                  { "var", .nd = 1, .ne = { C }, .fixed = true, .lo = 0.5, .hi = 2 },
                                  { "residual", .nd = 4, .ne = { 1, R, 1, C } } });
}
static void sizes(gc_build b, int n_in, bool batch) {
    for (int k = 0; k < 2; k++) { /* with ReLU and without */
        sized(b, n_in, 5, 3);
        sized(b, n_in, 2, 1);
        sized(b, n_in, 3, 0);
    }
    sized(b, n_in, 131, 67); /* several chunks */
    if (batch) return;
    sized(b, n_in, 1, 3);
    sized(b, n_in, 0, 3);
}
TEST(given){ sizes(build_given, 5, false), sizes(build_given_residual, 6, false); }
TEST(batch) {
    sizes(build_batch, 3, true), sizes(build_batch_residual, 6, true), sizes(build_batch_of_itself, 3, true);
}
TEST(wide){ sized(build_batch_residual, 6, 3, 1030), sized(build_given_residual, 6, 3, 1030); } /* beyond a piece */

int main(void) {
    RUN(given);
    RUN(batch);
    RUN(wide);
    return test_end();
}
