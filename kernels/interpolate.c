/* interpolate.c - pictures (B,H,W,C) of another size, as torch.nn.functional.interpolate without antialiasing:
 *
 *   nearest            y[i] = x[floor(i H / OH)]
 *   bilinear           source (i + 1/2) H / OH - 1/2, clamped to the picture: its four neighbours, weighted
 *   bilinear, corners  source i (H - 1) / (OH - 1): the corner pixels' centres coincide (align_corners)
 *
 * The gradient gathers: an input pixel sums over the outputs that read it, in their order (interpolate.h), so that
 * no two threads write to one place. Bound by memory. */
#include "kernels/interpolate.h"

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(resize_cpu);
VM_CPU_DECLARE(resize_back_cpu);
VM_CUDA_DECLARE(resize_cuda);
VM_CUDA_DECLARE(resize_back_cuda);

/* in x; out y; i[0] type of y, i[1] kind, i[2], i[3] OH, OW */
static vm_status infer(vm_graph *g, vm_node *n) {
    char a[64];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_value x = g->v[n->in[0]];
    if (x.nd != 4) return vm_bad(g, "resize: x %s, pictures (B,H,W,C) are needed", vm_shape_text(g, n->in[0], a));
    for (int k = 1; k < 3; k++) {
        int64_t in = x.ne[k], out = n->i[1 + k];
        if (out < 0 || in > VM_RESIZE_MAX || out > VM_RESIZE_MAX || (!in && out))
            return vm_bad(g, "resize: %lld pixels to %lld, 1 to %d are possible", (long long)in, (long long)out,
                          VM_RESIZE_MAX);
    }
    vm_node_out(g, n, (vm_type)n->i[0], 4, (int64_t[]){ x.ne[0], n->i[2], n->i[3], x.ne[3] });
    return VM_OK;
}

/* in dy; out dx; i[0] type of dx, i[1] kind, i[2], i[3] H, W */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]];
    vm_node_out(g, n, (vm_type)n->i[0], 4, (int64_t[]){ dy.ne[0], n->i[2], n->i[3], dy.ne[3] });
    return VM_OK;
}
static const vm_op back_op = { .name = "resize_back", .infer = infer_back, .cpu = VM_CPU(resize_back_cpu),
                               .cuda = VM_CUDA(resize_back_cuda), .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0);
    vm_value x = g->v[n->in[0]];
    if (!vm_wants(g, n->in[0])) return;
    vm_node init = { .i = { x.type, n->i[1], x.ne[1], x.ne[2] } };
    vm_add_grad(g, n->in[0], vm_append1(g, &back_op, 1, &dy, &init));
}
static const vm_op resize = { .name = "resize", .infer = infer, .grad = grad, .cpu = VM_CPU(resize_cpu),
                              .cuda = VM_CUDA(resize_cuda) };

vm_val vm_resize(vm_graph *g, vm_val x, int64_t OH, int64_t OW, vm_resize_kind kind, vm_type out) {
    return vm_append1(g, &resize, 1, &x, &(vm_node){ .i = { out, kind, OH, OW } });
}
