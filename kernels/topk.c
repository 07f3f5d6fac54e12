/* topk.c - the k largest entries of each row, and rows taken by index. Bound by memory.
 *
 *   topk          values[b,j], indices[b,j]: entry number j of row b in descending order. NaN is the largest value; of equal
 *                 ones (-0 equals 0) the lower index comes first, so that the order is the same everywhere.
 *                 dx[b, indices[b,j]] = dvalues[b,j], else 0
 *   gather_rows   y[b,q] = x[b, idx[b,q]];  dx[b,n] = sum of dy[b,q] with idx[b,q] = n, in the order of q (deterministic) */
#include <inttypes.h>

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(topk_cpu);
VM_CPU_DECLARE(topk_back_cpu);
VM_CPU_DECLARE(gather_rows_cpu);
VM_CPU_DECLARE(gather_rows_back_cpu);
VM_CUDA_DECLARE(topk_cuda);
VM_CUDA_DECLARE(topk_back_cuda);
VM_CUDA_DECLARE(gather_rows_cuda);
VM_CUDA_DECLARE(gather_rows_back_cuda);

/* in x (...,N); i[0] k; out values (...,k) f32, indices (...,k) i32, and on CUDA a list of what was found */
static vm_status infer_topk(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    int64_t N = x.ne[x.nd - 1];
    if (n->i[0] < 0 || n->i[0] > N || N > INT32_MAX)
        return vm_bad(g, "topk: the %" PRId64 " largest of %" PRId64 " entries", n->i[0], N);
    x.ne[x.nd - 1] = n->i[0];
    vm_node_out(g, n, VM_F32, x.nd, x.ne);
    vm_node_out(g, n, VM_I32, x.nd, x.ne);
    if (g->be->device != VM_CPU_DEV) vm_node_out(g, n, VM_I32, x.nd, x.ne);
    return VM_OK;
}

/* in dvalues (...,k), indices (...,k); i[0] N, i[1] type of x; out dx (...,N) */
static vm_status infer_topk_back(vm_graph *g, vm_node *n) {
    vm_value d = g->v[n->in[0]];
    d.ne[d.nd - 1] = n->i[0];
    vm_node_out(g, n, (vm_type)n->i[1], d.nd, d.ne);
    return VM_OK;
}
static const vm_op topk_back = { .name = "topk_back", .infer = infer_topk_back, .cpu = VM_CPU(topk_back_cpu),
    .cuda = VM_CUDA(topk_back_cuda), .acc_outs = 1 };

static void grad_topk(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], in[] = { vm_dy(g, n, 0), n->out[1] };
    if (!vm_wants(g, x)) return;
    vm_node init = { .i = { vm_cols(g, x), g->v[x].type } };
    vm_add_grad(g, x, vm_append1(g, &topk_back, 2, in, &init));
}
static const vm_op topk = { .name = "topk", .infer = infer_topk, .grad = grad_topk, .cpu = VM_CPU(topk_cpu),
    .cuda = VM_CUDA(topk_cuda) };

vm_val vm_topk(vm_graph *g, vm_val x, int64_t k, vm_val *indices) {
    vm_val values = vm_append1(g, &topk, 1, &x, &(vm_node){ .i = { k } });
    *indices = values ? g->n[g->v[values].node].out[1] : 0;
    return values;
}

/* in x (B,N,C), idx (B,Q) or x (N,C), idx (...); out rows of x's type */
static vm_status infer_gather(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], id = g->v[n->in[1]];
    char a[64], b[64];
    if (!vm_check_float(g, n, 0) || !vm_check_type(g, n, 1, VM_I32)) return VM_EMODEL;
    if (!(x.nd == 3 && id.nd == 2 && id.ne[0] == x.ne[0]) && !(x.nd == 2 && id.nd < VM_AXES))
        return vm_bad(g, "gather_rows: indices %s for rows of %s", vm_shape_text(g, n->in[1], a),
                      vm_shape_text(g, n->in[0], b));
    id.ne[id.nd] = x.ne[x.nd - 1];
    vm_node_out(g, n, x.type, id.nd + 1, id.ne);
    return VM_OK;
}

/* Of x only the rows that are asked for are read. */
static void cost_gather(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double row = (double)vm_cols(g, n->in[0]) * (double)vm_type_size(g->v[n->in[0]].type);
    *flops = 0;
    *bytes = (double)vm_count(g, n->in[1]) * (4 + 2 * row);
}

/* in dy (...,C), idx; i: axes of x, sizes of x (3); out dx as x, f32: rows may be asked for often */
static vm_status infer_gather_back(vm_graph *g, vm_node *n) {
    vm_node_out(g, n, VM_F32, (int)n->i[0], n->i + 1);
    return VM_OK;
}
static const vm_op gather_rows_back = { .name = "gather_rows_back", .infer = infer_gather_back,
    .cpu = VM_CPU(gather_rows_back_cpu), .cuda = VM_CUDA(gather_rows_back_cuda), .acc_outs = 1 };

static void grad_gather(vm_graph *g, const vm_node *n) {
    vm_val in[] = { vm_dy(g, n, 0), n->in[1] };
    if (!vm_wants(g, n->in[0])) return;
    vm_value x = g->v[n->in[0]];
    vm_node init = { .i = { x.nd, x.ne[0], x.ne[1], x.ne[2] } };
    vm_add_grad(g, n->in[0], vm_append1(g, &gather_rows_back, 2, in, &init));
}
static const vm_op gather_rows = { .name = "gather_rows", .infer = infer_gather, .grad = grad_gather,
    .cost = cost_gather, .cpu = VM_CPU(gather_rows_cpu), .cuda = VM_CUDA(gather_rows_cuda) };

vm_val vm_gather_rows(vm_graph *g, vm_val x, vm_val idx) {
    return idx ? vm_append1(g, &gather_rows, 2, (vm_val[]){ x, idx }, NULL) : 0;
}
