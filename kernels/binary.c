/* binary.c - a op b, element by element, where b has a's shape, or a trailing part of it, or one element.
 *
 *   add  da = dy, db = dy          mul  da = dy b,  db = dy a
 *   sub  da = dy, db = -dy         div  da = dy/b,  db = -dy a/b^2
 *   maximum  dy goes to the larger one, half to each where they are equal
 * and db is summed over the repetitions of b. Bound by memory. */
#include "kernels/binary.h"

#include "kernels/infer.h"
#include "kernels/reduce.h"

VM_CPU_DECLARE(binary_cpu);
VM_CPU_DECLARE(binary_back_cpu);
VM_CUDA_DECLARE(binary_cuda);
VM_CUDA_DECLARE(binary_back_cuda);

/* in a, b; out y; i[0] type of y, i[1] kind */
static vm_status infer(vm_graph *g, vm_node *n) {
    static const char *const names[] = { "add", "sub", "mul", "div", "maximum" };
    char sa[64], sb[64];
    if (!vm_check_float(g, n, 0) || !vm_check_float(g, n, 1)) return VM_EMODEL;
    const vm_value *a = &g->v[n->in[0]], *b = &g->v[n->in[1]];
    bool fits = b->nd <= a->nd;
    for (int k = 1; k <= b->nd && fits; k++) fits = b->ne[b->nd - k] == a->ne[a->nd - k];
    if (!fits && vm_count(g, n->in[1]) != 1)
        return vm_bad(g, "%s: %s and %s; the second must be the whole, a trailing part, or one element", names[n->i[1]],
                      vm_shape_text(g, n->in[0], sa), vm_shape_text(g, n->in[1], sb));
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    return VM_OK;
}

/* in dy, a, b; out what db would be if b had a's shape, or da; i[0] type, i[1] what (binary.h) */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    return VM_OK;
}
static const vm_op binary_back = { .name = "binary_back", .infer = infer_back, .cpu = VM_CPU(binary_back_cpu),
    .cuda = VM_CUDA(binary_back_cuda), .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n);
static const vm_op binary = { .name = "binary", .infer = infer, .grad = grad, .cpu = VM_CPU(binary_cpu),
    .cuda = VM_CUDA(binary_cuda), .acc_outs = 1 };

static vm_val product(vm_graph *g, vm_val a, vm_val b, vm_binary_kind k, vm_type t) {
    return vm_append1(g, &binary, 2, (vm_val[]){ a, b }, &(vm_node){ .i = { t, k } });
}

static void grad(vm_graph *g, const vm_node *n) {
    vm_val a = n->in[0], b = n->in[1], dy = vm_dy(g, n, 0), three[] = { dy, a, b };
    vm_binary_kind kind = (vm_binary_kind)n->i[1];
    vm_type ta = g->v[a].type;
    if (vm_wants(g, a)) {
        vm_val da = dy;
        if (kind == VM_MUL || kind == VM_DIV) da = product(g, dy, b, kind, ta);
        if (kind == VM_MAXIMUM) da = vm_append1(g, &binary_back, 3, three, &(vm_node){ .i = { ta, VM_MAXIMUM_A } });
        vm_add_grad(g, a, da);
    }
    if (vm_wants(g, b)) {
        vm_val db = dy;
        if (kind == VM_MUL) db = product(g, dy, a, VM_MUL, VM_F32);
        if (kind == VM_DIV) db = vm_append1(g, &binary_back, 3, three, &(vm_node){ .i = { VM_F32, VM_DIV_B } });
        if (kind == VM_MAXIMUM) db = vm_append1(g, &binary_back, 3, three, &(vm_node){ .i = { VM_F32, VM_MAXIMUM_B } });
        if (kind == VM_SUB || vm_count(g, a) != vm_count(g, b)) db = vm_sum_to(g, db, b, kind == VM_SUB ? -1 : 1);
        vm_add_grad(g, b, db);
    }
}

vm_val vm_binary(vm_graph *g, vm_val a, vm_val b, vm_binary_kind k) {
    if (!b) return 0;
    return product(g, a, b, k, VM_F32);
}
