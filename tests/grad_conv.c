/* grad_conv.c - gradients of vm_conv2d: strides, asymmetric padding, dilation, groups, depthwise, bias, residual,
 * activations, empty tensors. */
#include "tests/gradcheck.h"

static vm_conv k;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_conv2d(g, in[0], in[1], in[2], k, VM_NONE, 0, VM_F32);
    return 1;
}
static int build_residual(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val r = vm_conv2d(g, in[0], in[1], 0, k, VM_NONE, 0, VM_F32); /* nothing else reads it */
    out[0] = vm_conv2d(g, in[0], in[1], in[2], k, VM_NONE, vm_scale(g, r, 2, 0.5f), VM_F32);
    return 1;
}
static int build_act(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_conv2d(g, in[0], in[1], in[2], k, VM_SILU, 0, VM_F32);
    out[1] = vm_conv2d(g, in[0], in[1], in[2], k, VM_TANH, vm_scale(g, out[0], 0.5f, 0), VM_F32);
    return 2;
}
/* the same weight twice, the second time on the first result, which is also the residual */
static int build_tied(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val h = vm_conv2d(g, in[0], in[1], in[2], k, VM_TANH, 0, VM_F32);
    out[0] = vm_conv2d(g, h, in[1], in[2], k, VM_NONE, h, VM_F32);
    return 1;
}
static int build_computed_weight(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_conv2d(g, in[0], vm_scale(g, in[1], 2, 0.5f), vm_scale(g, in[2], 3, 0), k, VM_NONE, 0, VM_F32);
    return 1;
}

/* x (B,H,W,C), N kernels */
static void sized(gc_build b, int64_t B, int64_t H, int64_t W, int64_t C, int64_t N) {
    int groups = VM_MAX(k.groups, 1);
    gradcheck(b, 3, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } },
                               { "w", .nd = 2, .ne = { N, C / groups * k.KH * k.KW }, .param = true },
                               { "b", .nd = 1, .ne = { N }, .param = true } });
}
#define KERNEL(...) k = (vm_conv){ __VA_ARGS__ }

TEST(kernels) {
    KERNEL(.KH = 1, .KW = 1), sized(build, 2, 3, 2, 3, 5); /* vm_linear */
    KERNEL(.KH = 1, .KW = 1, .stride = { 2, 2 }), sized(build, 2, 5, 4, 3, 2);
    KERNEL(.KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 }), sized(build, 2, 4, 5, 3, 2);
    KERNEL(.KH = 7, .KW = 7, .stride = { 2, 2 }, .pad = { 3, 3, 3, 3 }), sized(build, 1, 9, 7, 2, 3);
    KERNEL(.KH = 2, .KW = 5), sized(build, 2, 3, 7, 1, 1);
    KERNEL(.KH = 5, .KW = 3), sized(build, 1, 5, 3, 3, 2); /* one place */
}
TEST(strides_padding_dilation) {
    KERNEL(.KH = 3, .KW = 3, .stride = { 2, 3 }, .pad = { 0, 1, 2, 3 }), sized(build, 2, 5, 7, 2, 3);
    KERNEL(.KH = 3, .KW = 2, .dilation = { 2, 3 }, .pad = { 2, 0, 1, 3 }), sized(build, 1, 5, 6, 2, 2);
    KERNEL(.KH = 3, .KW = 3, .stride = { 2, 2 }, .dilation = { 2, 2 }, .pad = { 2, 2, 2, 2 }),
        sized(build, 1, 7, 7, 2, 2);
    KERNEL(.KH = 2, .KW = 2, .stride = { 3, 3 }), sized(build, 1, 7, 8, 2, 2); /* pixels that nothing reads */
    KERNEL(.KH = 2, .KW = 2, .pad = { 3, 3, 0, 0 }), sized(build, 1, 2, 1, 2, 2); /* outputs of padding alone */
}
TEST(groups) {
    KERNEL(.KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 }, .groups = 2), sized(build, 2, 3, 4, 4, 6);
    KERNEL(.KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 }, .groups = 5), sized(build, 1, 4, 3, 5, 5);
    KERNEL(.KH = 3, .KW = 3, .stride = { 2, 2 }, .groups = 3),
        sized(build, 1, 5, 5, 3, 6); /* two kernels per channel */
    KERNEL(.KH = 1, .KW = 1, .groups = 2), sized(build, 1, 3, 3, 4, 2);
}
TEST(empty) {
    KERNEL(.KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 });
    sized(build, 0, 4, 4, 3, 2);
    sized(build, 1, 4, 4, 0, 2); /* the bias alone */
    sized(build, 1, 4, 4, 3, 0);
    sized(build_residual, 1, 2, 2, 0, 2);
}
TEST(epilogues) {
    KERNEL(.KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 });
    sized(build_residual, 1, 3, 4, 2, 3);
    sized(build_act, 1, 3, 4, 2, 3);
    sized(build_tied, 1, 3, 4, 3, 3);
    sized(build_computed_weight, 1, 3, 4, 2, 3);
    KERNEL(.KH = 1, .KW = 1);
    sized(build_residual, 1, 3, 4, 2, 3);
    sized(build_tied, 1, 3, 4, 3, 3);
}
TEST(frozen) {
    KERNEL(.KH = 3, .KW = 2, .pad = { 1, 0, 1, 1 });
    gradcheck(build, 3, (gc_in[]){ { "x", .nd = 4, .ne = { 1, 3, 4, 2 } },
                                   { "w", .nd = 2, .ne = { 3, 12 }, .param = true, .fixed = true },
                                   { "b", .nd = 1, .ne = { 3 }, .param = true, .fixed = true } });
    gradcheck(build, 3, (gc_in[]){ { "x", .nd = 4, .ne = { 1, 3, 4, 2 }, .fixed = true },
                                   { "w", .nd = 2, .ne = { 3, 12 }, .param = true },
                                   { "b", .nd = 1, .ne = { 3 }, .param = true, .fixed = true } });
}

int main(void) {
    RUN(kernels);
    RUN(strides_padding_dilation);
    RUN(groups);
    RUN(empty);
    RUN(epilogues);
    RUN(frozen);
    return test_end();
}
