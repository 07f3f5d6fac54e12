/* deform.c - deformable attention over several feature maps (Zhu et al. 2020, Deformable DETR): each head of each query reads P
 * points on each of L maps.
 *
 *   y[b,q,h] = sum over l, p of a * bilinear(map l of value[b,:,h]; X W_l - 1/2, Y H_l - 1/2)
 *
 * with (X, Y) = loc[b,q,h,l,p] relative to the map, a = weight[b,q,h,l P + p] behind the softmax; zeros outside the map (align_corners
 * = false). Value holds the maps one behind the other, each row by row. With d = dy[b,q,h], corners v00 v01 / v10 v11 and fractions
 * fx, fy of a point:
 *
 *   dvalue[corner] += a w_corner d;  da = <d, bilinear>;
 *   dX = W_l a <d, (1-fy)(v01-v00) + fy(v11-v10)>;  dY = H_l a <d, (1-fx)(v10-v00) + fx(v11-v01)>
 *
 * dvalue is a sum over many points. The CPU gives each map of each head to one thread, which walks the queries in order; CUDA sorts the
 * points by cell first (deform_back.cu) and sums in order of the queries. Bound by the gather of 4 rows of HS elements per point, which
 * lie in the cache. */
#include "kernels/deform.h"

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(deform_attention_cpu);
VM_CPU_DECLARE(deform_attention_back_cpu);
VM_CUDA_DECLARE(deform_attention_cuda);
VM_CUDA_DECLARE(deform_attention_back_cuda);

/* in value (B,S,NH*HS), loc (B,Q,NH,L,P,2), weight (B,Q,NH,...); i: deform.h; out y (B,Q,NH*HS) */
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value v = g->v[n->in[0]], loc = g->v[n->in[1]];
    char a[64], b[64];
    if (!vm_check_float(g, n, 0) || !vm_check_type(g, n, 1, VM_F32) || !vm_check_type(g, n, 2, VM_F32)) return VM_EMODEL;
    int64_t S = 0, L = n->i[DEFORM_LEVELS];
    for (int64_t l = 0; l < L; l++) S += n->i[2 * l] * n->i[2 * l + 1];
    if (v.nd != 3 || loc.nd != 6 || loc.ne[5] != 2 || loc.ne[0] != v.ne[0] || loc.ne[2] < 1 || v.ne[2] % loc.ne[2])
        return vm_bad(g, "deform_attention: locations %s do not fit values %s", vm_shape_text(g, n->in[1], a),
                      vm_shape_text(g, n->in[0], b));
    if (L != loc.ne[3] || S != v.ne[1])
        return vm_bad(g, "deform_attention: %lld maps of %lld cells for values %s and locations %s", (long long)L, (long long)S,
                      vm_shape_text(g, n->in[0], b), vm_shape_text(g, n->in[1], a));
    if (!vm_check_count(g, n, 2, vm_count(g, n->in[1]) / 2)) return VM_EMODEL;
    n->i[DEFORM_HEADS] = loc.ne[2], n->i[DEFORM_POINTS] = loc.ne[4];
    vm_node_out(g, n, (vm_type)n->i[DEFORM_OUT], 3, (int64_t[]){ v.ne[0], loc.ne[1], v.ne[2] });
    return VM_OK;
}

static void cost_of(const vm_graph *g, const vm_node *n, vm_val value, vm_val loc, double times, double *flops, double *bytes) {
    double points = (double)vm_count(g, loc) / 2, HS = (double)vm_cols(g, value) / (double)n->i[DEFORM_HEADS];
    *flops = times * 8 * points * HS;
    *bytes = times * ((double)vm_count(g, value) * (double)vm_type_size(g->v[value].type) + points * 3 * sizeof(vm_real));
}
static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost_of(g, n, n->in[0], n->in[1], 1, flops, bytes);
}
static void cost_back(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost_of(g, n, n->in[1], n->in[2], 3, flops, bytes);
}

/* in dy, value, loc, weight; out dvalue f32, dloc, dweight, then what the sort by cells needs on CUDA */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    for (int k = 1; k < 4; k++) vm_out_like(g, n, VM_F32, n->in[k]);
    if (g->be->device != VM_CUDA_DEV) return VM_OK;
    vm_value loc = g->v[n->in[2]];
    int64_t tasks = loc.ne[0] * loc.ne[2], points = loc.ne[1] * loc.ne[3] * loc.ne[4];
    vm_node_out(g, n, VM_I32, 3, (int64_t[]){ tasks, DEFORM_RUNS, deform_bins(n->i) });
    vm_node_out(g, n, VM_I32, 2, (int64_t[]){ tasks, points });
    return VM_OK;
}
static const vm_op back = { .name = "deform_attention_back", .infer = infer_back, .cost = cost_back,
    .cpu = VM_CPU(deform_attention_back_cpu), .cuda = VM_CUDA(deform_attention_back_cuda), .acc_outs = 7 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val in[] = { vm_dy(g, n, 0), n->in[0], n->in[1], n->in[2] };
    vm_node init = { 0 };
    for (int k = 0; k < DEFORM_OUT; k++) init.i[k] = n->i[k];
    for (int k = 0; k < 3; k++) init.i[DEFORM_OUT] |= (int64_t)vm_wants(g, n->in[k]) << k;
    vm_node *m = vm_append(g, &back, 4, in, &init);
    if (!m) return;
    vm_val d[] = { m->out[0], m->out[1], m->out[2] };
    for (int k = 0; k < 3; k++) vm_add_grad(g, n->in[k], d[k]);
}
static const vm_op deform_attention = { .name = "deform_attention", .infer = infer, .grad = grad, .cost = cost,
    .cpu = VM_CPU(deform_attention_cpu), .cuda = VM_CUDA(deform_attention_cuda) };

vm_val vm_deform_attention(vm_graph *g, vm_val value, vm_val loc, vm_val weight, int L, const int64_t levels[][2], vm_type out) {
    vm_node init = { 0 };
    if (!loc || !weight) return 0;
    if (L < 1 || L > DEFORM_MAX_LEVELS)
        return vm_bad(g, "deform_attention: %d maps, at most %d", L, DEFORM_MAX_LEVELS), 0;
    for (int l = 0; l < L; l++) init.i[2 * l] = levels[l][0], init.i[2 * l + 1] = levels[l][1];
    init.i[DEFORM_LEVELS] = L, init.i[DEFORM_OUT] = out;
    return vm_append1(g, &deform_attention, 3, (vm_val[]){ value, loc, weight }, &init);
}
