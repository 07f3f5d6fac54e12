/* reduce.c - sums over axes and their adjoint, repetition. Both see their tensor as (O,A,I):
 *
 *   sum        y[o,i]   = scale sum_a x[o,a,i]        dx = broadcast of dy
 *   broadcast  y[o,a,i] = scale x[o,i]                dx = sum of dy
 *
 * Sums run in fixed chunks (chunks.h), so that they do not depend on the number of threads. Bound by memory. */
#include "kernels/reduce.h"

#include "kernels/chunks.h"
#include "kernels/infer.h"

VM_CPU_DECLARE(sum_cpu);
VM_CPU_DECLARE(broadcast_cpu);
VM_CUDA_DECLARE(sum_cuda);
VM_CUDA_DECLARE(broadcast_cuda);

/* i[0..2] = O, A, I; i[3] type of y; i[4] axes of y, i[5..] their sizes; f[0] scale */
static vm_status infer_sum(vm_graph *g, vm_node *n) {
    int64_t O = n->i[0], A = n->i[1], I = n->i[2];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_node_out(g, n, (vm_type)n->i[3], (int)n->i[4], n->i + 5);
    bool cpu = g->be->device == VM_CPU_DEV;
    int64_t most = cpu ? 64 : 1024, blocks = VM_MAX(O * (I / (cpu ? 1024 : 128) + 1), (int64_t)1); /* tasks that need no chunks */
    int64_t chunks = vm_chunks_upto(VM_MAX(most / blocks, (int64_t)1), A, I);
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ O, chunks, I }); /* partial sums */
    return VM_OK;
}
static vm_status infer_broadcast(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_node_out(g, n, (vm_type)n->i[3], (int)n->i[4], n->i + 5);
    return VM_OK;
}

static void grad_sum(vm_graph *g, const vm_node *n);
static void grad_broadcast(vm_graph *g, const vm_node *n);
static const vm_op sum_op = { .name = "sum", .infer = infer_sum, .grad = grad_sum, .cpu = VM_CPU(sum_cpu),
    .cuda = VM_CUDA(sum_cuda), .acc_outs = 1 };
static const vm_op broadcast = { .name = "broadcast", .infer = infer_broadcast, .grad = grad_broadcast,
                                 .cpu = VM_CPU(broadcast_cpu), .cuda = VM_CUDA(broadcast_cuda), .acc_outs = 1 };

/* x as (O,A,I), summed or repeated to shape ne of type t. */
static vm_val append(vm_graph *g, const vm_op *op, vm_val x, int64_t O, int64_t A, int64_t I, double scale, vm_type t,
                     int nd, const int64_t *ne) {
    vm_node init = { .i = { O, A, I, t, nd }, .f = { scale } };
    for (int k = 0; k < nd; k++) init.i[5 + k] = ne[k];
    return vm_append1(g, op, 1, &x, &init);
}

static void grad_to_input(vm_graph *g, const vm_node *n, const vm_op *op, vm_type t) {
    vm_value x = g->v[n->in[0]];
    if (vm_wants(g, n->in[0]))
        vm_add_grad(g, n->in[0], append(g, op, vm_dy(g, n, 0), n->i[0], n->i[1], n->i[2], n->f[0], t, x.nd, x.ne));
}
static void grad_sum(vm_graph *g, const vm_node *n) { grad_to_input(g, n, &broadcast, g->v[n->in[0]].type); }
static void grad_broadcast(vm_graph *g, const vm_node *n) { grad_to_input(g, n, &sum_op, VM_F32); }

vm_val vm_sum_to(vm_graph *g, vm_val x, vm_val like, float scale) {
    if (!x || !like) return 0;
    vm_value l = g->v[like];
    int64_t I = vm_count(g, like);
    return append(g, &sum_op, x, 1, I ? vm_count(g, x) / I : 0, I, (double)scale, VM_F32, l.nd, l.ne);
}

vm_val vm_sum(vm_graph *g, vm_val x) {
    return x ? append(g, &sum_op, x, 1, vm_count(g, x), 1, 1, VM_F32, 1, (int64_t[]){ 1 }) : 0;
}

vm_val vm_mean(vm_graph *g, vm_val x) {
    if (!x) return 0;
    int64_t N = vm_count(g, x);
    return append(g, &sum_op, x, 1, N, 1, N ? 1 / (double)N : 0, VM_F32, 1, (int64_t[]){ 1 });
}

vm_val vm_sum_axis(vm_graph *g, vm_val x, int axis, float scale) {
    if (!x) return 0;
    const vm_value *v = &g->v[x];
    int k = axis < 0 ? axis + v->nd : axis, m = 0;
    int64_t O = 1, I = 1, ne[VM_AXES];
    if (k < 0 || k >= v->nd) return vm_bad(g, "sum_axis: axis %d of a tensor of %d axes", axis, v->nd), 0;
    for (int j = 0; j < k; j++) O *= v->ne[j], ne[m++] = v->ne[j];
    for (int j = k + 1; j < v->nd; j++) I *= v->ne[j], ne[m++] = v->ne[j];
    return append(g, &sum_op, x, O, v->ne[k], I, (double)scale, VM_F32, m, ne);
}

vm_val vm_broadcast(vm_graph *g, vm_val x, int64_t n) {
    if (!x) return 0;
    vm_value v = g->v[x];
    if (v.nd == VM_AXES) return vm_bad(g, "broadcast: the input has %d axes already", v.nd), 0;
    int64_t ne[VM_AXES] = { n };
    for (int k = 0; k < v.nd; k++) ne[k + 1] = v.ne[k];
    return append(g, &broadcast, x, 1, n, vm_count(g, x), 1, v.type, v.nd + 1, ne);
}
