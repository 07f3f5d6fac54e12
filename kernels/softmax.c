/* softmax.c - softmax over the last axis and cross-entropy of rows (both in f32, row maximum subtracted).
 *
 *   y = e^(x-m) / sum;                       dx = y (dy - <y,dy>); a row of -inf only gives 0
 *   L = mean over kept rows of (m - x_t) + log sum e^(x-m), in this order: a small loss keeps its digits;
 *                                            dx = (softmax(x) - onehot(t)) dL / n_kept, 0 at ignored rows (target -100)
 * Bound by memory for long rows, by exp for short ones. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(softmax_cpu);
VM_CPU_DECLARE(softmax_back_cpu);
VM_CPU_DECLARE(cross_entropy_cpu);
VM_CPU_DECLARE(cross_entropy_back_cpu);
VM_CUDA_DECLARE(softmax_cuda);
VM_CUDA_DECLARE(softmax_back_cuda);
VM_CUDA_DECLARE(cross_entropy_cuda);
VM_CUDA_DECLARE(cross_entropy_back_cuda);

static vm_status infer_softmax(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_out_like(g, n, VM_F32, n->in[0]);
    return VM_OK;
}
/* in dy, y; out dx f32 */
static vm_status infer_softmax_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, VM_F32, n->in[1]);
    return VM_OK;
}
static const vm_op softmax_back = { .name = "softmax_back", .infer = infer_softmax_back,
    .cpu = VM_CPU(softmax_back_cpu), .cuda = VM_CUDA(softmax_back_cuda), .acc_outs = 1 };
static void grad_softmax(vm_graph *g, const vm_node *n) {
    vm_val in[] = { vm_dy(g, n, 0), n->out[0] };
    if (vm_wants(g, n->in[0])) vm_add_grad(g, n->in[0], vm_append1(g, &softmax_back, 2, in, NULL));
}
static const vm_op softmax = { .name = "softmax", .infer = infer_softmax, .grad = grad_softmax,
    .cpu = VM_CPU(softmax_cpu), .cuda = VM_CUDA(softmax_cuda) };
vm_val vm_softmax(vm_graph *g, vm_val x) { return vm_append1(g, &softmax, 1, &x, NULL); }

/* in logits (...,V), target (...); out loss [1], maxima and log-sums of rows (2,R), number of kept rows [1] */
static vm_status infer_ce(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0) || !vm_check_type(g, n, 1, VM_I32)) return VM_EMODEL;
    if (!vm_check_count(g, n, 1, vm_rows(g, n->in[0]))) return VM_EMODEL;
    int64_t one = 1, R = vm_rows(g, n->in[0]);
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ 2, R });
    vm_node_out(g, n, VM_F32, 1, &one);
    return VM_OK;
}
/* in dL [1], logits, target, maxima and log-sums, kept; out dlogits f32 */
static vm_status infer_ce_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, VM_F32, n->in[1]);
    return VM_OK;
}
static const vm_op cross_entropy_back = { .name = "cross_entropy_back", .infer = infer_ce_back,
    .cpu = VM_CPU(cross_entropy_back_cpu), .cuda = VM_CUDA(cross_entropy_back_cuda), .acc_outs = 1 };
static void grad_ce(vm_graph *g, const vm_node *n) {
    if (!vm_wants(g, n->in[0])) return;
    vm_val in[] = { vm_dy(g, n, 0), n->in[0], n->in[1], n->out[1], n->out[2] };
    vm_add_grad(g, n->in[0], vm_append1(g, &cross_entropy_back, 5, in, NULL));
}
static const vm_op cross_entropy = { .name = "cross_entropy", .infer = infer_ce, .grad = grad_ce,
    .cpu = VM_CPU(cross_entropy_cpu), .cuda = VM_CUDA(cross_entropy_cuda) };
vm_val vm_cross_entropy(vm_graph *g, vm_val logits, vm_val target) {
    return target ? vm_append1(g, &cross_entropy, 2, (vm_val[]){ logits, target }, NULL) : 0;
}
