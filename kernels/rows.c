/* rows.c - rows out of tables: embedding (any ids) and pick (one row per sequence). Bound by memory.
 *
 *   y[i] = table[id[i]];  dtable[v] = sum of dy[i] with id[i] = v, in the order of i (deterministic)
 *   y[b] = x[b, idx[b]];  dx[b, t] = dy[b] at t = idx[b], else 0 */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(embedding_cpu);
VM_CPU_DECLARE(embedding_back_cpu);
VM_CPU_DECLARE(pick_cpu);
VM_CPU_DECLARE(pick_back_cpu);
VM_CUDA_DECLARE(embedding_cuda);
VM_CUDA_DECLARE(embedding_back_cuda);
VM_CUDA_DECLARE(pick_cuda);
VM_CUDA_DECLARE(pick_back_cuda);

/* in table (V,C), ids (...); out (...,C) f32 */
static vm_status infer_embedding(vm_graph *g, vm_node *n) {
    vm_value t = g->v[n->in[0]], id = g->v[n->in[1]];
    if (!vm_check_float(g, n, 0) || !vm_check_type(g, n, 1, VM_I32)) return VM_EMODEL;
    if (t.nd != 2 || id.nd >= VM_AXES)
        return vm_bad(g, "embedding: a table of 2 axes is needed, this one has %d", t.nd);
    id.ne[id.nd] = t.ne[1];
    vm_node_out(g, n, VM_F32, id.nd + 1, id.ne);
    return VM_OK;
}

/* Of the table only the rows that are asked for are read. */
static void cost_embedding(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double row = (double)vm_cols(g, n->in[0]);
    *flops = 0;
    *bytes = (double)vm_count(g, n->in[1]) * (4 + row * (double)(vm_type_size(g->v[n->in[0]].type) + sizeof(vm_real)));
}

/* in dy, ids; i[0] V; out dtable (V,C) f32, on a GPU the positions in the order of their ids */
static vm_status infer_embedding_back(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->in[1]);
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ n->i[0], vm_cols(g, n->in[0]) });
    if (g->be->device != VM_CPU_DEV) vm_node_out(g, n, VM_I32, 1, &N);
    return VM_OK;
}
static const vm_op embedding_back = { .name = "embedding_back", .infer = infer_embedding_back,
    .cpu = VM_CPU(embedding_back_cpu), .cuda = VM_CUDA(embedding_back_cuda), .acc_outs = 1 };

static void grad_embedding(vm_graph *g, const vm_node *n) {
    vm_val table = n->in[0];
    if (!vm_wants(g, table)) return;
    vm_node init = { .i = { vm_dim(g, table, 0) } };
    vm_add_grad(g, table, vm_append1(g, &embedding_back, 2, (vm_val[]){ vm_dy(g, n, 0), n->in[1] }, &init));
}
static const vm_op embedding = { .name = "embedding", .infer = infer_embedding, .grad = grad_embedding,
    .cost = cost_embedding, .cpu = VM_CPU(embedding_cpu), .cuda = VM_CUDA(embedding_cuda) };

vm_val vm_embedding(vm_graph *g, vm_val table, vm_val ids) {
    return ids ? vm_append1(g, &embedding, 2, (vm_val[]){ table, ids }, NULL) : 0;
}

/* in x (B,T,C), idx (B); out (B,C) of x's type */
static vm_status infer_pick(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    if (!vm_check_float(g, n, 0) || !vm_check_type(g, n, 1, VM_I32)) return VM_EMODEL;
    if (x.nd != 3 || vm_count(g, n->in[1]) != x.ne[0])
        return vm_bad(g, "pick: one index for each of %lld sequences is needed", (long long)x.ne[0]);
    vm_node_out(g, n, x.type, 2, (int64_t[]){ x.ne[0], x.ne[2] });
    return VM_OK;
}

/* in dy (B,C), idx (B); i = T, type; out (B,T,C) */
static vm_status infer_pick_back(vm_graph *g, vm_node *n) {
    vm_node_out(g, n, (vm_type)n->i[1], 3, (int64_t[]){ vm_dim(g, n->in[0], 0), n->i[0], vm_cols(g, n->in[0]) });
    return VM_OK;
}
static const vm_op pick_back = { .name = "pick_back", .infer = infer_pick_back, .cpu = VM_CPU(pick_back_cpu),
    .cuda = VM_CUDA(pick_back_cuda), .acc_outs = 1 };

static void grad_pick(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0];
    if (!vm_wants(g, x)) return;
    vm_node init = { .i = { vm_dim(g, x, 1), g->v[x].type } };
    vm_add_grad(g, x, vm_append1(g, &pick_back, 2, (vm_val[]){ vm_dy(g, n, 0), n->in[1] }, &init));
}
static const vm_op pick = { .name = "pick", .infer = infer_pick, .grad = grad_pick, .cpu = VM_CPU(pick_cpu),
    .cuda = VM_CUDA(pick_cuda) };

vm_val vm_pick(vm_graph *g, vm_val x, vm_val idx) {
    return idx ? vm_append1(g, &pick, 2, (vm_val[]){ x, idx }, NULL) : 0;
}
