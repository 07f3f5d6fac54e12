/* contrastive.c - losses of all queries against all keys without ever holding the M x N logits: softmax, and sigmoid below.
 *
 *   x_ij = s <q_i, k_j>;  L = mean over kept rows of -log( e^(x_it) / sum_j e^(x_ij) )
 *
 * q (M,E), k (N,E), s [1]. t is column i (VM_TARGET_SELF), or a column of its own with logit s pos_i, pos (M), which joins
 * the sum (VM_TARGET_POSITIVE), or column 0 (VM_TARGET_FIRST, pos then is an ordinary column). hide (N) i32: a column with
 * hide_j < 0 is in no sum, and a row i of VM_TARGET_SELF with hide_i < 0 is not kept; in such rows columns j != i with
 * hide_j = hide_i are left out too (equal captions are no negatives of each other).
 *
 * Two passes over tiles of rows, as flash attention does it (Dao 2022): the forward pass keeps maximum and log-sum of each
 * row, the backward pass computes a tile of logits again and turns it into G = (softmax - onehot) dL / kept:
 *   dq = s G k;  dk = s G^T q;  ds = <G, q k^T> + <G_pos, pos>;  dpos = s G_pos.
 * FLOPs 2 M N E forward, 6 M N E backward; memory one tile. */
#include "kernels/contrastive.h"

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(pair_sigmoid_cpu);
VM_CPU_DECLARE(pair_sigmoid_back_cpu);
VM_CPU_DECLARE(contrastive_cpu);
VM_CPU_DECLARE(contrastive_back_cpu);
VM_CUDA_DECLARE(pair_sigmoid_cuda);
VM_CUDA_DECLARE(pair_sigmoid_back_cuda);
VM_CUDA_DECLARE(contrastive_cuda);
VM_CUDA_DECLARE(contrastive_back_cuda);

static void free_products(vm_node *n) {
    vm_contrastive_products *p = n->cache;
    for (int k = 0; p && k < 2; k++)
        vm_gemm_free(p->logits[k]), vm_gemm_free(p->dq[k]), vm_gemm_free(p->dk[k]);
    vm_free(p);
}

static void tile_out(vm_graph *g, vm_node *n, int64_t M, int64_t N) { /* on the GPU tiles stay on the chip */
    int64_t room = vm_contrastive_room(M, N);
    if (g->be->device == VM_CUDA_DEV) vm_node_out(g, n, VM_F32, 1, &room);
    else vm_node_out(g, n, VM_F32, 2, (int64_t[]){ vm_contrastive_tile(M, N), N });
}

static vm_status check(vm_graph *g, vm_node *n) { /* in q, k, s, hide */
    char a[64], b[64];
    vm_value q = g->v[n->in[0]], k = g->v[n->in[1]];
    if (q.type != VM_F32 || k.type != VM_F32 || q.nd != 2 || k.nd != 2 || q.ne[1] != k.ne[1])
        return vm_bad(g, "%s: queries %s %s do not fit keys %s %s", n->op->name, vm_type_name(q.type), vm_shape_text(g, n->in[0], a),
                      vm_type_name(k.type), vm_shape_text(g, n->in[1], b));
    if (!vm_check_type(g, n, 2, VM_F32) || !vm_check_count(g, n, 2, 1)) return VM_EMODEL;
    if (n->in[3] && (!vm_check_type(g, n, 3, VM_I32) || !vm_check_count(g, n, 3, k.ne[0]))) return VM_EMODEL;
    return VM_OK;
}

/* in q, k, s, hide, pos; out loss [1], maxima and log-sums (2,M), kept rows [1], a tile */
static vm_status infer(vm_graph *g, vm_node *n) {
    int64_t one = 1, M = vm_dim(g, n->in[0], 0), N = vm_dim(g, n->in[1], 0);
    if (check(g, n)) return VM_EMODEL;
    if (n->in[4] && (!vm_check_type(g, n, 4, VM_F32) || !vm_check_count(g, n, 4, M))) return VM_EMODEL;
    if (n->i[0] == VM_TARGET_SELF && M > N)
        return vm_bad(g, "contrastive: %lld queries, each with the key of its number, but %lld keys", (long long)M, (long long)N);
    if (n->i[0] == VM_TARGET_FIRST && N < 1) return vm_bad(g, "contrastive: no keys, and the first is the target");
    if ((n->i[0] == VM_TARGET_POSITIVE) && !n->in[4]) return vm_bad(g, "contrastive: the target is pos, which is missing");
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ 2, M });
    vm_node_out(g, n, VM_F32, 1, &one);
    tile_out(g, n, M, N);
    return VM_OK;
}
static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double M = (double)vm_dim(g, n->in[0], 0), N = (double)vm_dim(g, n->in[1], 0), E = (double)vm_dim(g, n->in[0], 1);
    *flops = 2 * M * N * E;
    *bytes = (M + N) * E * 4;
}

/* in q, k, s, hide, pos, dL [1], maxima and log-sums, kept; out dq, dk, ds, dpos, a tile */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    int64_t one = 1, M = vm_dim(g, n->in[0], 0);
    vm_out_like(g, n, VM_F32, n->in[0]);
    vm_out_like(g, n, VM_F32, n->in[1]);
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_node_out(g, n, VM_F32, 1, &M);
    tile_out(g, n, M, vm_dim(g, n->in[1], 0));
    return VM_OK;
}
static void cost_back(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost(g, n, flops, bytes);
    *flops *= 3, *bytes *= 3;
}
static const vm_op contrastive_back = { .name = "contrastive_back", .infer = infer_back, .cost = cost_back,
    .cpu = VM_CPU(contrastive_back_cpu), .cuda = VM_CUDA(contrastive_back_cuda), .acc_outs = 15, .free_node = free_products };

static void grad(vm_graph *g, const vm_node *n) {
    const vm_node f = *n;
    bool wanted = vm_wants(g, f.in[0]) || vm_wants(g, f.in[1]) || vm_wants(g, f.in[2]) || vm_wants(g, f.in[4]);
    if (!wanted) return;
    vm_val in[] = { f.in[0], f.in[1], f.in[2], f.in[3], f.in[4], vm_dy(g, n, 0), f.out[1], f.out[2] };
    vm_node *b = vm_append(g, &contrastive_back, 8, in, &(vm_node){ .i = { f.i[0] } });
    if (!b) return;
    const vm_val out[] = { b->out[0], b->out[1], b->out[2], b->out[3] };
    static const int of[] = { 0, 1, 2, 4 };
    for (int k = 0; k < 4; k++)
        if (f.in[of[k]]) vm_add_grad(g, f.in[of[k]], out[k]);
}
static const vm_op contrastive = { .name = "contrastive", .infer = infer, .grad = grad, .cost = cost,
    .cpu = VM_CPU(contrastive_cpu), .cuda = VM_CUDA(contrastive_cuda), .free_node = free_products };

vm_val vm_contrastive(vm_graph *g, vm_val q, vm_val k, vm_val scale, vm_val hide, vm_val pos, vm_target target) {
    if (!q || !k || !scale) return 0;
    return vm_append1(g, &contrastive, 5, (vm_val[]){ q, k, scale, hide, pos }, &(vm_node){ .i = { target } });
}

/* --- sigmoid ----------------------------------------------------------------------------------------------------------
 *   x_ij = s <q_i, k_j> + b;  y_ij = 1 where i = j, else -1;  L = 1/c sum over kept cells of log(1 + e^(-y_ij x_ij))
 * (Zhai et al. 2023), c the number of kept rows or of kept cells; cells are kept as columns of VM_TARGET_SELF are.
 *   G = (sigmoid(x) - [i = j]) dL / c;  dq, dk, ds as above;  db = sum of G. */
/* in q, k, s, hide, b; out loss [1], c [1], a tile */
static vm_status infer_sigmoid(vm_graph *g, vm_node *n) {
    int64_t one = 1, M = vm_dim(g, n->in[0], 0), N = vm_dim(g, n->in[1], 0);
    if (check(g, n) || !vm_check_type(g, n, 4, VM_F32) || !vm_check_count(g, n, 4, 1)) return VM_EMODEL;
    if (M > N) return vm_bad(g, "pair_sigmoid: %lld queries, each with the key of its number, but %lld keys", (long long)M, (long long)N);
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_node_out(g, n, VM_F32, 1, &one);
    tile_out(g, n, M, N);
    return VM_OK;
}
/* in q, k, s, hide, b, dL [1], c; out dq, dk, ds, db, a tile */
static vm_status infer_sigmoid_back(vm_graph *g, vm_node *n) {
    int64_t one = 1;
    vm_out_like(g, n, VM_F32, n->in[0]);
    vm_out_like(g, n, VM_F32, n->in[1]);
    vm_node_out(g, n, VM_F32, 1, &one);
    vm_node_out(g, n, VM_F32, 1, &one);
    tile_out(g, n, vm_dim(g, n->in[0], 0), vm_dim(g, n->in[1], 0));
    return VM_OK;
}
static const vm_op pair_sigmoid_back = { .name = "pair_sigmoid_back", .infer = infer_sigmoid_back, .cost = cost_back,
    .cpu = VM_CPU(pair_sigmoid_back_cpu), .cuda = VM_CUDA(pair_sigmoid_back_cuda), .acc_outs = 15, .free_node = free_products };
static void grad_sigmoid(vm_graph *g, const vm_node *n) {
    const vm_node f = *n;
    vm_val in[] = { f.in[0], f.in[1], f.in[2], f.in[3], f.in[4], vm_dy(g, n, 0), f.out[1] };
    static const int of[] = { 0, 1, 2, 4 };
    bool wanted = false;
    for (int k = 0; k < 4; k++) wanted |= vm_wants(g, f.in[of[k]]);
    vm_node *b = wanted ? vm_append(g, &pair_sigmoid_back, 7, in, NULL) : NULL;
    if (!b) return;
    const vm_val out[] = { b->out[0], b->out[1], b->out[2], b->out[3] };
    for (int k = 0; k < 4; k++) vm_add_grad(g, f.in[of[k]], out[k]);
}
static const vm_op pair_sigmoid = { .name = "pair_sigmoid", .infer = infer_sigmoid, .grad = grad_sigmoid, .cost = cost,
    .cpu = VM_CPU(pair_sigmoid_cpu), .cuda = VM_CUDA(pair_sigmoid_cuda), .free_node = free_products };

vm_val vm_pair_sigmoid(vm_graph *g, vm_val q, vm_val k, vm_val scale, vm_val bias, vm_val hide, bool per_cell) {
    if (!q || !k || !scale || !bias) return 0;
    return vm_append1(g, &pair_sigmoid, 5, (vm_val[]){ q, k, scale, hide, bias }, &(vm_node){ .i = { VM_TARGET_SELF, per_cell } });
}
