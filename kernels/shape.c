/* shape.c - the same elements elsewhere: reshape and detach (views), slice, concat, permute, and cast between float types.
 *
 * Slice and concat see tensors as outer x axis x inner; a slice whose outer part is 1 is a view. Gradients: slice pads
 * with zeros, concat slices, permute permutes back, cast casts back. Bound by memory. */
#include "kernels/infer.h"
#include "kernels/ops.h"
#include "kernels/shape.h"

VM_CPU_DECLARE(slice_cpu);
VM_CPU_DECLARE(slice_back_cpu);
VM_CPU_DECLARE(concat_cpu);
VM_CPU_DECLARE(permute_cpu);
VM_CPU_DECLARE(cast_cpu);
VM_CUDA_DECLARE(slice_cuda);
VM_CUDA_DECLARE(slice_back_cuda);
VM_CUDA_DECLARE(concat_cuda);
VM_CUDA_DECLARE(permute_cuda);
VM_CUDA_DECLARE(cast_cuda);

/* --- reshape: i = nd, sizes --------------------------------------------------------------------------------------- */
static vm_status infer_reshape(vm_graph *g, vm_node *n) {
    vm_node_view(g, n, n->in[0], 0, (int)n->i[0], n->i + 1);
    char s[64];
    if (n->n_out && vm_count(g, n->in[0]) != vm_count(g, n->out[0]))
        return vm_bad(g, "reshape: %s does not have %lld elements", vm_shape_text(g, n->in[0], s),
                      (long long)vm_count(g, n->out[0]));
    return VM_OK;
}
static void grad_reshape(vm_graph *g, const vm_node *n) {
    vm_value x = g->v[n->in[0]];
    if (vm_wants(g, n->in[0])) vm_add_grad(g, n->in[0], vm_reshape(g, vm_dy(g, n, 0), x.nd, x.ne));
}
static const vm_op reshape = { .name = "reshape", .infer = infer_reshape, .grad = grad_reshape, .view = true };

vm_val vm_reshape(vm_graph *g, vm_val x, int nd, const int64_t *ne) {
    vm_node m = { .i = { nd } };
    if (nd > VM_AXES) return vm_bad(g, "reshape: %d axes, at most %d", nd, VM_AXES), 0;
    for (int k = 0; k < nd; k++) m.i[1 + k] = ne[k];
    return vm_append1(g, &reshape, 1, &x, &m);
}

/* --- detach -------------------------------------------------------------------------------------------------------- */
static vm_status infer_detach(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node_view(g, n, n->in[0], 0, x.nd, x.ne);
    return VM_OK;
}
static const vm_op detach = { .name = "detach", .infer = infer_detach, .view = true, .no_grad = true };

vm_val vm_detach(vm_graph *g, vm_val x) { return vm_append1(g, &detach, 1, &x, NULL); }

/* --- slice: i = axis, at, n --------------------------------------------------------------------------------------- */
static vm_status infer_slice(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    x.ne[n->i[0]] = n->i[2];
    vm_node_out(g, n, x.type, x.nd, x.ne);
    return VM_OK;
}
static vm_status infer_slice_view(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    int64_t outer, inner;
    vm_extents(&x, n->i[0], &outer, &inner);
    x.ne[n->i[0]] = n->i[2];
    vm_node_view(g, n, n->in[0], n->i[1] * inner, x.nd, x.ne);
    return VM_OK;
}
/* in dy, x (for the shape); i as above; out dx: zeros around dy */
static vm_status infer_slice_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, g->v[n->in[0]].type, n->in[1]);
    return VM_OK;
}
static const vm_op slice_back = { .name = "slice_back", .infer = infer_slice_back, .cpu = VM_CPU(slice_back_cpu),
    .cuda = VM_CUDA(slice_back_cuda), .acc_outs = 1 };
static void grad_slice(vm_graph *g, const vm_node *n) {
    vm_node m = { .i = { n->i[0], n->i[1], n->i[2] } };
    vm_val in[] = { vm_dy(g, n, 0), n->in[0] };
    if (vm_wants(g, n->in[0])) vm_add_grad(g, n->in[0], vm_append1(g, &slice_back, 2, in, &m));
}
static const vm_op slice = { .name = "slice", .infer = infer_slice, .grad = grad_slice, .cpu = VM_CPU(slice_cpu),
    .cuda = VM_CUDA(slice_cuda) };
static const vm_op slice_view = { .name = "slice_view", .infer = infer_slice_view, .grad = grad_slice, .view = true };

vm_val vm_slice(vm_graph *g, vm_val x, int axis, int64_t at, int64_t n) {
    if (!x) return 0;
    vm_value v = g->v[x];
    if (axis < 0) axis += v.nd;
    if (axis < 0 || axis >= v.nd || at < 0 || n < 0 || at > v.ne[axis] - n) {
        char s[64];
        return vm_bad(g, "slice: %lld entries from %lld of axis %d of %s", (long long)n, (long long)at, axis,
                      vm_shape_text(g, x, s)), 0;
    }
    if (at == 0 && n == v.ne[axis]) return x;
    int64_t outer, inner;
    vm_extents(&v, axis, &outer, &inner);
    return vm_append1(g, outer == 1 ? &slice_view : &slice, 1, &x, &(vm_node){ .i = { axis, at, n } });
}

/* --- concat: i[0] axis -------------------------------------------------------------------------------------------- */
static vm_status infer_concat(vm_graph *g, vm_node *n) {
    vm_value y = g->v[n->in[0]];
    int64_t axis = n->i[0], total = 0;
    for (int k = 0; k < n->n_in; k++) {
        vm_value x = g->v[n->in[k]];
        bool fits = x.nd == y.nd && x.type == y.type;
        for (int a = 0; fits && a < y.nd; a++) fits = a == axis || x.ne[a] == y.ne[a];
        char s[64], t[64];
        if (!fits)
            return vm_bad(g, "concat: %s %s does not fit %s %s on axis %d", vm_shape_text(g, n->in[k], s),
                          vm_type_name(x.type), vm_shape_text(g, n->in[0], t), vm_type_name(y.type), (int)axis);
        total += x.ne[axis];
    }
    y.ne[axis] = total;
    vm_node_out(g, n, y.type, y.nd, y.ne);
    return VM_OK;
}
static void grad_concat(vm_graph *g, const vm_node *n) {
    int64_t at = 0;
    for (int k = 0; k < n->n_in; k++) {
        int64_t len = vm_dim(g, n->in[k], (int)n->i[0]);
        if (vm_wants(g, n->in[k])) vm_add_grad(g, n->in[k], vm_slice(g, vm_dy(g, n, 0), (int)n->i[0], at, len));
        at += len;
    }
}
static const vm_op concat = { .name = "concat", .infer = infer_concat, .grad = grad_concat, .cpu = VM_CPU(concat_cpu),
    .cuda = VM_CUDA(concat_cuda) };

vm_val vm_concat(vm_graph *g, int n, const vm_val *x, int axis) {
    if (n < 1) return vm_bad(g, "concat: nothing to join"), 0;
    for (int k = 0; k < n; k++)
        if (!x[k]) return 0;
    if (axis < 0) axis += g->v[x[0]].nd;
    if (axis < 0 || axis >= g->v[x[0]].nd)
        return vm_bad(g, "concat: no axis %d in tensors of %d axes", axis, g->v[x[0]].nd), 0;
    return vm_append1(g, &concat, n, x, &(vm_node){ .i = { axis } });
}

/* --- permute: i[k] = axis of x that becomes axis k ---------------------------------------------------------------- */
static vm_status infer_permute(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    int64_t ne[VM_AXES];
    unsigned seen = 0;
    for (int k = 0; k < x.nd; k++) {
        if (n->i[k] < 0 || n->i[k] >= x.nd)
            return vm_bad(g, "permute: no axis %d in a tensor of %d axes", (int)n->i[k], x.nd);
        seen |= 1u << n->i[k];
        ne[k] = x.ne[n->i[k]];
    }
    if (seen != (1u << x.nd) - 1) return vm_bad(g, "permute: an axis is named twice");
    vm_node_out(g, n, x.type, x.nd, ne);
    return VM_OK;
}
static void grad_permute(vm_graph *g, const vm_node *n) {
    int back[VM_AXES];
    for (int k = 0; k < g->v[n->in[0]].nd; k++) back[n->i[k]] = k;
    if (vm_wants(g, n->in[0])) vm_add_grad(g, n->in[0], vm_permute(g, vm_dy(g, n, 0), back));
}
static const vm_op permute = { .name = "permute", .infer = infer_permute, .grad = grad_permute,
    .cpu = VM_CPU(permute_cpu), .cuda = VM_CUDA(permute_cuda) };

vm_val vm_permute(vm_graph *g, vm_val x, const int *axes) {
    vm_node m = { .i = { 0 } };
    for (int k = 0; x && k < g->v[x].nd; k++) m.i[k] = axes[k];
    return vm_append1(g, &permute, 1, &x, &m);
}

/* --- cast: i[0] type ---------------------------------------------------------------------------------------------- */
static vm_status infer_cast(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    if (!vm_is_float((vm_type)n->i[0])) return vm_bad(g, "cast: to %s, a float type is needed", vm_type_name((vm_type)n->i[0]));
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    return VM_OK;
}
static void grad_cast(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], dy = vm_dy(g, n, 0);
    if (!vm_wants(g, x)) return;
    vm_type t = g->v[x].type == VM_F32 ? VM_F32 : g->v[dy].type;
    vm_add_grad(g, x, vm_cast(g, dy, t));
}
static const vm_op cast = { .name = "cast", .infer = infer_cast, .grad = grad_cast, .cpu = VM_CPU(cast_cpu),
    .cuda = VM_CUDA(cast_cuda) };

vm_val vm_cast(vm_graph *g, vm_val x, vm_type t) {
    if (x && g->v[x].type == t) return x;
    return vm_append1(g, &cast, 1, &x, &(vm_node){ .i = { t } });
}
