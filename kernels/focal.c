/* focal.c - the focal loss (Lin et al. 2017) of independent yes/no decisions, summed:
 *
 *   L = 1/norm sum w alpha_t m^gamma ce;   ce = log(1 + e^x) - x y,  p = sigmoid(x),  m = 1 - p_t = p (1-y) + (1-p) y,
 *                                          alpha_t = alpha y + (1-alpha) (1-y), or 1 when alpha < 0
 *   dx = dL w/norm alpha_t m^gamma ((p - y) - gamma (2y-1) p (1-p) ce / m)
 *
 * y in [0,1]; elements of weight 0 are not looked at (their logit may be -inf). Targets, weights and norm are constants. Sums run
 * in fixed chunks (chunks.h). Bound by memory. */
#include "kernels/chunks.h"
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(focal_cpu);
VM_CPU_DECLARE(focal_back_cpu);
VM_CUDA_DECLARE(focal_cuda);
VM_CUDA_DECLARE(focal_back_cuda);

/* in x, y, w or 0, norm [1]; f alpha, gamma; out loss [1], partial sums */
static vm_status infer(vm_graph *g, vm_node *n) {
    int64_t one = 1, N = vm_count(g, n->in[0]), chunks = vm_chunks(N, 8);
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    for (int k = 1; k < 4; k++)
        if (n->in[k] && (!vm_check_type(g, n, k, VM_F32) || !vm_check_count(g, n, k, k < 3 ? N : 1))) return VM_EMODEL;
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_node_out(g, n, VM_F32, 1, &chunks);
    return VM_OK;
}

/* in x, y, w or 0, norm, dL [1]; i[0] type of dx; out dx */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    return VM_OK;
}
static const vm_op back = { .name = "focal_back", .infer = infer_back, .cpu = VM_CPU(focal_back_cpu),
    .cuda = VM_CUDA(focal_back_cuda), .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val in[] = { n->in[0], n->in[1], n->in[2], n->in[3], vm_dy(g, n, 0) };
    if (vm_wants(g, in[1]) || vm_wants(g, in[2]) || vm_wants(g, in[3]))
        vm_bad(g, "focal: targets, weights and norm are constants and have no gradient");
    else if (vm_wants(g, in[0]))
        vm_add_grad(g, in[0], vm_append1(g, &back, 5, in,
                                         &(vm_node){ .i = { g->v[in[0]].type }, .f = { n->f[0], n->f[1] } }));
}
static const vm_op focal = { .name = "focal", .infer = infer, .grad = grad, .cpu = VM_CPU(focal_cpu),
    .cuda = VM_CUDA(focal_cuda) };

vm_val vm_focal(vm_graph *g, vm_val x, vm_val y, vm_val w, vm_val norm, float alpha, float gamma) {
    if (!y || !norm) return 0;
    return vm_append1(g, &focal, 4, (vm_val[]){ x, y, w, norm }, &(vm_node){ .f = { (double)alpha, (double)gamma } });
}
