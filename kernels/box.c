/* box.c - losses of boxes against the targets that they are matched with, and generalised IoU (Rezatofighi et al. 2019) of all pairs.
 *
 *   GIoU(a,b) = I/U - (C - U)/C;  I area of the intersection, U of the union, C of the smallest box around both (box.h)
 *   box_loss  L = 1/norm sum over b, t with match[b,t] >= 0 of |box - target|_1, or of 1 - GIoU;  box = boxes[b, match[b,t]]
 *   giou      y[b,n,m] = GIoU(a[b,n], b[b,m])
 *
 * Gradients are sums over the targets in their order, whoever is matched how often (deterministic); targets, match and norm are
 * constants. A few thousand boxes: bound by the launch. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(box_loss_cpu);
VM_CPU_DECLARE(box_loss_back_cpu);
VM_CPU_DECLARE(giou_cpu);
VM_CPU_DECLARE(giou_back_cpu);
VM_CUDA_DECLARE(box_loss_cuda);
VM_CUDA_DECLARE(box_loss_back_cuda);
VM_CUDA_DECLARE(giou_cuda);
VM_CUDA_DECLARE(giou_back_cuda);

static bool check_boxes(vm_graph *g, const vm_node *n, int k) {
    const vm_value *x = &g->v[n->in[k]];
    char s[64];
    if (!vm_check_type(g, n, k, VM_F32)) return false;
    if (x->nd != 3 || x->ne[2] != 4 || x->ne[0] != vm_dim(g, n->in[0], 0))
        return vm_bad(g, "%s: input %d is %s, boxes (B,N,4) are needed", n->op->name, k, vm_shape_text(g, n->in[k], s)), false;
    return true;
}

/* in boxes (B,Q,4), target (B,T,4), match (B,T) i32, norm [1]; i[0] kind; out loss [1], a term for each target */
static vm_status infer_loss(vm_graph *g, vm_node *n) {
    int64_t one = 1;
    if (!check_boxes(g, n, 0) || !check_boxes(g, n, 1) || !vm_check_type(g, n, 2, VM_I32) || !vm_check_type(g, n, 3, VM_F32) ||
        !vm_check_count(g, n, 2, vm_count(g, n->in[1]) / 4) || !vm_check_count(g, n, 3, 1))
        return VM_EMODEL;
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_out_like(g, n, VM_F32, n->in[2]);
    return VM_OK;
}

/* in boxes, target, match, norm, dL [1]; i[0] kind; out dboxes */
static vm_status infer_loss_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, VM_F32, n->in[0]);
    return VM_OK;
}
static const vm_op loss_back = { .name = "box_loss_back", .infer = infer_loss_back, .cpu = VM_CPU(box_loss_back_cpu),
    .cuda = VM_CUDA(box_loss_back_cuda), .acc_outs = 1 };

static void grad_loss(vm_graph *g, const vm_node *n) {
    vm_val in[] = { n->in[0], n->in[1], n->in[2], n->in[3], vm_dy(g, n, 0) };
    if (vm_wants(g, in[1]) || vm_wants(g, in[3]))
        vm_bad(g, "box_loss: targets and norm are constants and have no gradient");
    else if (vm_wants(g, in[0]))
        vm_add_grad(g, in[0], vm_append1(g, &loss_back, 5, in, &(vm_node){ .i = { n->i[0] } }));
}
static const vm_op loss = { .name = "box_loss", .infer = infer_loss, .grad = grad_loss, .cpu = VM_CPU(box_loss_cpu),
    .cuda = VM_CUDA(box_loss_cuda) };

vm_val vm_box_loss(vm_graph *g, vm_val boxes, vm_val target, vm_val match, vm_val norm, vm_box_kind kind) {
    if (!target || !match || !norm) return 0;
    return vm_append1(g, &loss, 4, (vm_val[]){ boxes, target, match, norm }, &(vm_node){ .i = { kind } });
}

/* in a (B,N,4), b (B,M,4); i[0] centre form; out y (B,N,M) */
static vm_status infer_giou(vm_graph *g, vm_node *n) {
    if (!check_boxes(g, n, 0) || !check_boxes(g, n, 1)) return VM_EMODEL;
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ vm_dim(g, n->in[0], 0), vm_dim(g, n->in[0], 1), vm_dim(g, n->in[1], 1) });
    return VM_OK;
}

/* in own boxes, the others, dy (B,N,M); i[0] centre form, i[1] whether the own ones are its columns; out the own ones' gradient */
static vm_status infer_giou_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, VM_F32, n->in[0]);
    return VM_OK;
}
static const vm_op giou_back = { .name = "giou_back", .infer = infer_giou_back, .cpu = VM_CPU(giou_back_cpu),
    .cuda = VM_CUDA(giou_back_cuda), .acc_outs = 1 };

static void grad_giou(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0);
    for (int k = 0; k < 2; k++) {
        vm_val in[] = { n->in[k], n->in[1 - k], dy };
        if (vm_wants(g, in[0]))
            vm_add_grad(g, in[0], vm_append1(g, &giou_back, 3, in, &(vm_node){ .i = { n->i[0], k } }));
    }
}
static const vm_op giou = { .name = "giou", .infer = infer_giou, .grad = grad_giou, .cpu = VM_CPU(giou_cpu),
    .cuda = VM_CUDA(giou_cuda) };

vm_val vm_giou(vm_graph *g, vm_val a, vm_val b, bool centre) {
    return b ? vm_append1(g, &giou, 2, (vm_val[]){ a, b }, &(vm_node){ .i = { centre } }) : 0;
}
