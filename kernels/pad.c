/* pad.c - zeros around a tensor, and their removal: each is the other's gradient. Bound by memory. */
#include "kernels/pad.h"

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(pad_cpu);
VM_CPU_DECLARE(crop_cpu);
VM_CUDA_DECLARE(pad_cuda);
VM_CUDA_DECLARE(crop_cuda);

/* i: entries before (6 axes), after (6 axes); outwards: they are added, else taken away */
static vm_status infer_any(vm_graph *g, vm_node *n, int64_t sign) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_value x = g->v[n->in[0]];
    for (int k = 0; k < x.nd; k++) {
        int64_t a = n->i[k], b = n->i[VM_AXES + k], most = (int64_t)1 << 40;
        if (a < 0 || b < 0 || a > most || b > most || (sign < 0 && a + b > x.ne[k])) {
            char s[64];
            return vm_bad(g, "%s: %lld before and %lld after axis %d of %s", n->op->name, (long long)a, (long long)b, k,
                          vm_shape_text(g, n->in[0], s));
        }
        x.ne[k] += sign * (a + b);
    }
    vm_node_out(g, n, x.type, x.nd, x.ne);
    return VM_OK;
}
static vm_status infer_pad(vm_graph *g, vm_node *n) { return infer_any(g, n, 1); }
static vm_status infer_crop(vm_graph *g, vm_node *n) { return infer_any(g, n, -1); }

static void grad(vm_graph *g, const vm_node *n);
static const vm_op pad = { .name = "pad", .infer = infer_pad, .grad = grad, .cpu = VM_CPU(pad_cpu),
                           .cuda = VM_CUDA(pad_cuda), .acc_outs = 1 };
static const vm_op crop = { .name = "crop", .infer = infer_crop, .grad = grad, .cpu = VM_CPU(crop_cpu),
                            .cuda = VM_CUDA(crop_cuda), .acc_outs = 1 };

static vm_val append(vm_graph *g, const vm_op *op, vm_val x, const int64_t *before, const int64_t *after) {
    vm_node init = { .i = { 0 } };
    bool any = false;
    if (!x) return 0;
    for (int k = 0; k < g->v[x].nd; k++) {
        init.i[k] = before[k], init.i[VM_AXES + k] = after[k];
        any |= before[k] || after[k];
    }
    return any ? vm_append1(g, op, 1, &x, &init) : x;
}
static void grad(vm_graph *g, const vm_node *n) {
    if (!vm_wants(g, n->in[0])) return;
    vm_add_grad(g, n->in[0], append(g, n->op == &pad ? &crop : &pad, vm_dy(g, n, 0), n->i, n->i + VM_AXES));
}

vm_val vm_pad(vm_graph *g, vm_val x, const int64_t *before, const int64_t *after) {
    return append(g, &pad, x, before, after);
}
vm_val vm_crop(vm_graph *g, vm_val x, const int64_t *before, const int64_t *after) {
    return append(g, &crop, x, before, after);
}
