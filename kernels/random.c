/* random.c - dropout and normal noise from Philox (philox.h), keyed by (g->seed, g->step, node, element): the numbers
 * depend neither on threads nor on devices, and a recomputed node draws the same ones.
 *
 *   dropout  y = x m,  dx = dy m,  m = 1/(1-p) with probability 1-p, else 0; m is drawn again, not kept
 *   randn    Box-Muller: four normals of each block
 *
 * Layout of a stream (random_cpu.c): a piece of 1024 elements takes 256 blocks; word k of block i is that of element
 * 256 k + i. Bound by arithmetic (40 integer products for four elements). */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(dropout_cpu);
VM_CPU_DECLARE(randn_cpu);
VM_CUDA_DECLARE(dropout_cuda);
VM_CUDA_DECLARE(randn_cuda);

/* in x; out y; i[0] type of y, i[1] whether i[2] is the key (gradient) instead of the node's; f[0] p */
static vm_status infer_dropout(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    return VM_OK;
}
static void grad_dropout(vm_graph *g, const vm_node *n);
static const vm_op dropout = { .name = "dropout", .infer = infer_dropout, .grad = grad_dropout,
                               .cpu = VM_CPU(dropout_cpu), .cuda = VM_CUDA(dropout_cuda), .acc_outs = 1 };

static void grad_dropout(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], dy = vm_dy(g, n, 0);
    if (!vm_wants(g, x)) return;
    int64_t key = n->i[1] ? n->i[2] : (int64_t)n->key;
    vm_node init = { .i = { g->v[x].type, true, key }, .f = { n->f[0] } };
    vm_add_grad(g, x, vm_append1(g, &dropout, 1, &dy, &init));
}

vm_val vm_dropout(vm_graph *g, vm_val x, float p) {
    if (!(p >= 0 && p < 1)) return vm_bad(g, "dropout: probability %g is not in [0, 1)", (double)p), 0;
    if (p == 0) return x;
    return vm_append1(g, &dropout, 1, &x, &(vm_node){ .i = { VM_F32 }, .f = { (double)p } });
}

/* out y; i[0] type, i[1] axes, i[2..] sizes */
static vm_status infer_randn(vm_graph *g, vm_node *n) {
    if (!vm_is_float((vm_type)n->i[0])) return vm_bad(g, "randn: numbers of type %s", vm_type_name((vm_type)n->i[0]));
    vm_node_out(g, n, (vm_type)n->i[0], (int)n->i[1], n->i + 2);
    return VM_OK;
}
static const vm_op randn = {
    .name = "randn", .infer = infer_randn, .cpu = VM_CPU(randn_cpu), .cuda = VM_CUDA(randn_cuda), .no_grad = true
};

vm_val vm_randn(vm_graph *g, vm_type t, int nd, const int64_t *ne) {
    vm_node init = { .i = { t, nd } };
    if (nd < 0 || nd > VM_AXES) return vm_bad(g, "randn: a tensor of %d axes, at most %d", nd, VM_AXES), 0;
    for (int k = 0; k < nd; k++) init.i[2 + k] = ne[k];
    return vm_append1(g, &randn, 0, NULL, &init);
}
