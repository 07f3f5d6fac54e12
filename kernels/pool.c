/* pool.c - windows of pictures (B,H,W,C) to one value per channel.
 *
 *   avg  y = sum over the window / (KH KW), padding counting as 0
 *        dx = sum over the windows that hold it of dy / (KH KW)
 *   max  y = largest of the window, padding never; the first of equals, whose number in the window is kept
 *        dx = sum of dy of the windows where it was that one
 *
 * Backward passes gather, so that no two threads write to one place. Bound by memory. */
#include <inttypes.h>

#include "kernels/infer.h"
#include "kernels/pool.h"

VM_CPU_DECLARE(avgpool_cpu);
VM_CPU_DECLARE(avgpool_back_cpu);
VM_CPU_DECLARE(maxpool_cpu);
VM_CPU_DECLARE(maxpool_back_cpu);
VM_CUDA_DECLARE(avgpool_cuda);
VM_CUDA_DECLARE(avgpool_back_cuda);
VM_CUDA_DECLARE(maxpool_cuda);
VM_CUDA_DECLARE(maxpool_back_cuda);

static void put(vm_node *n, vm_pool k) {
    const int64_t v[] = { k.KH, k.KW, k.stride[0], k.stride[1], k.pad[0], k.pad[1], k.pad[2], k.pad[3] };
    for (int j = 0; j < VM_LEN(v); j++) n->i[j] = v[j];
}
vm_pool vm_pool_of(const vm_node *n) {
    const int64_t *i = n->i;
    return (vm_pool){ (int)i[0], (int)i[1], { (int)i[2], (int)i[3] }, { (int)i[4], (int)i[5], (int)i[6], (int)i[7] } };
}

/* in x; i: fields of vm_pool, type of y; out y, for max the winners (VM_U8) */
static vm_status infer_any(vm_graph *g, vm_node *n, bool max) {
    vm_pool k = vm_pool_of(n);
    char a[64];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_value x = g->v[n->in[0]];
    const char *name = n->op->name;
    if (k.KH < 1 || k.KW < 1 || k.KH > 256 || k.KW > 256 || (max && k.KH * k.KW > 256))
        return vm_bad(g, "%s: a window of %d x %d, %s are possible", name, k.KH, k.KW,
                      max ? "1 to 256 pixels" : "1 to 256 a side");
    for (int j = 0; j < 4; j++)
        if ((j < 2 && k.stride[j] < 1) || k.pad[j] < 0 || k.pad[j] >= (j % 2 ? k.KW : k.KH))
            return vm_bad(g, "%s: strides begin at 1, padding at 0 and it is smaller than the window", name);
    if (x.nd != 4 || x.ne[1] + k.pad[0] + k.pad[2] < k.KH || x.ne[2] + k.pad[1] + k.pad[3] < k.KW)
        return vm_bad(g, "%s: x %s, pictures (B,H,W,C) of at least %d x %d are needed", name,
                      vm_shape_text(g, n->in[0], a), k.KH, k.KW);
    int64_t OH = (x.ne[1] + k.pad[0] + k.pad[2] - k.KH) / k.stride[0] + 1,
            OW = (x.ne[2] + k.pad[1] + k.pad[3] - k.KW) / k.stride[1] + 1;
    const int64_t ne[] = { x.ne[0], OH, OW, x.ne[3] };
    vm_node_out(g, n, (vm_type)n->i[8], 4, ne);
    if (max) vm_node_out(g, n, VM_U8, 4, ne);
    return VM_OK;
}
static vm_status infer_avg(vm_graph *g, vm_node *n) { return infer_any(g, n, false); }
static vm_status infer_max(vm_graph *g, vm_node *n) { return infer_any(g, n, true); }

/* in dy, winners of max; i: fields of vm_pool, type of dx, H, W; out dx */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]];
    vm_node_out(g, n, (vm_type)n->i[8], 4, (int64_t[]){ dy.ne[0], n->i[9], n->i[10], dy.ne[3] });
    return VM_OK;
}
static const vm_op avg_back = { .name = "avgpool_back",
                                .infer = infer_back,
                                .cpu = VM_CPU(avgpool_back_cpu),
                                .cuda = VM_CUDA(avgpool_back_cuda),
                                .acc_outs = 1 };
static const vm_op max_back = { .name = "maxpool_back",
                                .infer = infer_back,
                                .cpu = VM_CPU(maxpool_back_cpu),
                                .cuda = VM_CUDA(maxpool_back_cuda),
                                .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0];
    bool max = n->n_out == 2;
    if (!vm_wants(g, x)) return;
    vm_node init = { .i = { 0 } };
    put(&init, vm_pool_of(n));
    init.i[8] = g->v[x].type, init.i[9] = g->v[x].ne[1], init.i[10] = g->v[x].ne[2];
    vm_val in[] = { vm_dy(g, n, 0), n->out[1] };
    vm_add_grad(g, x, vm_append1(g, max ? &max_back : &avg_back, max ? 2 : 1, in, &init));
}
static const vm_op avg = {
    .name = "avgpool", .infer = infer_avg, .grad = grad, .cpu = VM_CPU(avgpool_cpu), .cuda = VM_CUDA(avgpool_cuda)
};
static const vm_op max = {
    .name = "maxpool", .infer = infer_max, .grad = grad, .cpu = VM_CPU(maxpool_cpu), .cuda = VM_CUDA(maxpool_cuda)
};

static vm_val append(vm_graph *g, const vm_op *op, vm_val x, vm_pool k, vm_type out) {
    vm_node init = { .i = { 0 } };
    if (!k.stride[0]) k.stride[0] = k.KH;
    if (!k.stride[1]) k.stride[1] = k.KW;
    put(&init, k);
    init.i[8] = out;
    return vm_append1(g, op, 1, &x, &init);
}
vm_val vm_avgpool2d(vm_graph *g, vm_val x, vm_pool k, vm_type out) { return append(g, &avg, x, k, out); }
vm_val vm_maxpool2d(vm_graph *g, vm_val x, vm_pool k, vm_type out) { return append(g, &max, x, k, out); }
