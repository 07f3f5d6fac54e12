/* reduce.c - sums and their opposites. Accumulated in double over fixed pieces, so the number of threads does not change
 * a bit and long sums stay exact. Bound by memory.
 *
 *   sum: dx = dy everywhere;  sum_axis: y = scale sum_k x[..., k, ...], dx = scale dy spread;  broadcast: dx = sum over n */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(sum_axis_cpu);
VM_CPU_DECLARE(spread_cpu);

/* in x; i = outer, n, inner (x seen as outer x n x inner), then the output shape; f = scale; out f32 */
static vm_status infer_axis(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_node_out(g, n, VM_F32, (int)n->i[3], n->i + 4);
    return VM_OK;
}
/* in y (outer x inner); i as above; out outer x n x inner of type i[10] */
static vm_status infer_spread(vm_graph *g, vm_node *n) {
    vm_node_out(g, n, (vm_type)n->i[10], (int)n->i[3], n->i + 4);
    return VM_OK;
}
static void grad_axis(vm_graph *g, const vm_node *n);
static void grad_spread(vm_graph *g, const vm_node *n);
static const vm_op sum_axis = { .name = "sum_axis", .infer = infer_axis, .grad = grad_axis, .cpu = VM_CPU(sum_axis_cpu), .acc_outs = 1 };
static const vm_op spread = { .name = "spread", .infer = infer_spread, .grad = grad_spread, .cpu = VM_CPU(spread_cpu), .acc_outs = 1 };

static vm_node with_shape(const vm_node *n, const vm_value *shape, vm_type t) {
    vm_node m = { .i = { n->i[0], n->i[1], n->i[2], shape->nd }, .f = { n->f[0] } };
    for (int k = 0; k < shape->nd; k++) m.i[4 + k] = shape->ne[k];
    m.i[10] = t;
    return m;
}

static void grad_axis(vm_graph *g, const vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node m = with_shape(n, &x, x.type);
    vm_val dy = vm_dy(g, n, 0);
    if (vm_wants(g, n->in[0])) vm_add_grad(g, n->in[0], vm_append1(g, &spread, 1, &dy, &m));
}
static void grad_spread(vm_graph *g, const vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node m = with_shape(n, &x, VM_F32);
    vm_val dy = vm_dy(g, n, 0);
    if (vm_wants(g, n->in[0])) vm_add_grad(g, n->in[0], vm_append1(g, &sum_axis, 1, &dy, &m));
}

vm_val vm_sum_axis(vm_graph *g, vm_val x, int axis, float scale) {
    if (!x) return 0;
    vm_value v = g->v[x];
    if (axis < 0) axis += v.nd;
    if (axis < 0 || axis >= v.nd) return vm_bad(g, "sum_axis: no axis %d in a tensor of %d axes", axis, v.nd), 0;
    vm_node m = { .i = { 1, v.ne[axis], 1, v.nd - 1 }, .f = { (double)scale } };
    for (int k = 0; k < v.nd; k++) {
        if (k != axis) m.i[k < axis ? 0 : 2] *= v.ne[k], m.i[4 + k - (k > axis)] = v.ne[k];
    }
    return vm_append1(g, &sum_axis, 1, &x, &m);
}

static vm_val sum_all(vm_graph *g, vm_val x, double scale) {
    if (!x) return 0;
    return vm_append1(g, &sum_axis, 1, &x, &(vm_node){ .i = { 1, vm_count(g, x), 1, 1, 1 }, .f = { scale } });
}
vm_val vm_sum(vm_graph *g, vm_val x) { return sum_all(g, x, 1); }
vm_val vm_mean(vm_graph *g, vm_val x) { return x ? sum_all(g, x, vm_count(g, x) ? 1 / (double)vm_count(g, x) : 0) : 0; }

vm_val vm_broadcast(vm_graph *g, vm_val x, int64_t n) {
    if (!x) return 0;
    vm_value v = g->v[x];
    if (v.nd == VM_AXES) return vm_bad(g, "broadcast: a tensor of %d axes cannot get one more", v.nd), 0;
    vm_node m = { .i = { 1, n, vm_count(g, x), v.nd + 1, n }, .f = { 1 } };
    for (int k = 0; k < v.nd; k++) m.i[5 + k] = v.ne[k];
    m.i[10] = v.type;
    return vm_append1(g, &spread, 1, &x, &m);
}
