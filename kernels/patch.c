/* patch.c - a picture as a matrix of patches, so that a convolution with stride = kernel is a linear map: columns in
 * channel, row, column order (that of published convolution weights). A permutation; so is its gradient. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(patchify_cpu);
VM_CPU_DECLARE(patchify_back_cpu);
VM_CUDA_DECLARE(patchify_cuda);
VM_CUDA_DECLARE(patchify_back_cuda);

/* in pixels (B,H,W,C) f32; i = P, type of y; out (B, H/P W/P, C P P) */
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    int64_t P = n->i[0];
    if (!vm_check_type(g, n, 0, VM_F32)) return VM_EMODEL;
    if (P < 1 || P > 1024) return vm_bad(g, "patchify: patches of %lld pixels, 1 to 1024 are possible", (long long)P);
    if (x.nd != 4 || x.ne[1] < P || x.ne[2] < P)
        return vm_bad(g, "patchify: images (B,H,W,C) of at least %lld pixels a side are needed", (long long)P);
    vm_node_out(g, n, (vm_type)n->i[1], 3, (int64_t[]){ x.ne[0], (x.ne[1] / P) * (x.ne[2] / P), x.ne[3] * P * P });
    return VM_OK;
}

/* in dy, pixels (for the shape); i[0] P; out like pixels */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, VM_F32, n->in[1]);
    return VM_OK;
}
static const vm_op patchify_back = {
    .name = "patchify_back", .infer = infer_back, .cpu = VM_CPU(patchify_back_cpu), .cuda = VM_CUDA(patchify_back_cuda)
};

static void grad(vm_graph *g, const vm_node *n) {
    if (!vm_wants(g, n->in[0])) return;
    vm_node init = { .i = { n->i[0] } };
    vm_add_grad(g, n->in[0], vm_append1(g, &patchify_back, 2, (vm_val[]){ vm_dy(g, n, 0), n->in[0] }, &init));
}
static const vm_op patchify = {
    .name = "patchify", .infer = infer, .grad = grad, .cpu = VM_CPU(patchify_cpu), .cuda = VM_CUDA(patchify_cuda)
};

vm_val vm_patchify(vm_graph *g, vm_val pixels, int P, vm_type out) {
    return vm_append1(g, &patchify, 1, &pixels, &(vm_node){ .i = { P, out } });
}
