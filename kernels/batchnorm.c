/* batchnorm.c - normalisation of channels over all rows (Ioffe & Szegedy 2015), with the sum and the ReLU that follow
 * it in residual networks:
 *
 *   h = (x - mean) r,  r = 1/sqrt(var + eps);  y = act(h w + b [+ residual]),  act none or ReLU
 *   with g = dy where y > 0 (all of dy without ReLU), M rows:
 *     dresidual = g;  db = sum g;  dw = sum g h
 *     dx = w r g                                   where mean and var are given (frozen, inference)
 *     dx = w r (g - db/M - h dw/M)                 where they are those of x (training)
 *
 * Sums run in fixed chunks (chunks.h). Bound by memory: two reads and one write forward, four reads and one write back.
 *
 * Running statistics are state, kept by an op of its own outside of what is recomputed. With constant statistics the
 * normalisation is part of the product before it: batchnorm_fold keeps the folded weight, made anew when one of its
 * sources has changed. */
#include <inttypes.h>

#include "kernels/chunks.h"
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(batchnorm_cpu);
VM_CPU_DECLARE(batchnorm_back_cpu);
VM_CPU_DECLARE(running_stats_cpu);
VM_CPU_DECLARE(batchnorm_fold_cpu);
VM_CUDA_DECLARE(batchnorm_cuda);
VM_CUDA_DECLARE(batchnorm_back_cuda);
VM_CUDA_DECLARE(running_stats_cuda);
VM_CUDA_DECLARE(batchnorm_fold_cuda);

/* in x, w, b, mean, var, residual; out y, mean, r, var, partial sums;
 * i[0] type of y, i[1] activation, i[2] whether mean and var are those of x */
static vm_status infer(vm_graph *g, vm_node *n) {
    int64_t C = vm_cols(g, n->in[0]), R = vm_rows(g, n->in[0]);
    char a[64], b[64];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    for (int k = 1; k < (n->i[2] ? 3 : 5); k++) {
        if (!n->in[k]) return vm_bad(g, "batchnorm: input %d is missing", k);
        if (!vm_check_type(g, n, k, VM_F32) || !vm_check_count(g, n, k, C)) return VM_EMODEL;
    }
    if (n->i[1] != VM_NONE && n->i[1] != VM_RELU)
        return vm_bad(g, "batchnorm: ReLU is the only activation that can follow");
    if (n->i[2] && R < 2)
        return vm_bad(g, "batchnorm: statistics of a batch need 2 values per channel, x is %s",
                      vm_shape_text(g, n->in[0], a));
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    if (n->in[5] && (!vm_check_float(g, n, 5) || !vm_same_shape(g, n->in[5], n->out[0])))
        return vm_bad(g, "batchnorm: residual %s for an output %s", vm_shape_text(g, n->in[5], a),
                      vm_shape_text(g, n->out[0], b));
    for (int k = 0; k < 3; k++) vm_node_out(g, n, VM_F32, 1, &C);
    if (n->i[2]) vm_node_out(g, n, VM_F32, 3, (int64_t[]){ vm_chunks_on(g, R, C), 2, C });
    return VM_OK;
}

/* in dy, x, w, mean, r, y (0 without ReLU); out dx, dw, db, partial sums, dresidual if asked for;
 * i[0] type of dx, i[1] whether mean and var depend on x, i[2] whether a residual is asked for, i[3] its type */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    int64_t C = vm_cols(g, n->in[1]);
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    for (int k = 0; k < 2; k++) vm_node_out(g, n, VM_F32, 1, &C);
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ vm_chunks_on(g, vm_rows(g, n->in[1]), C), 2, C });
    if (n->i[2]) vm_out_like(g, n, (vm_type)n->i[3], n->in[1]);
    return VM_OK;
}
static const vm_op back_op = { .name = "batchnorm_back",
                               .infer = infer_back,
                               .cpu = VM_CPU(batchnorm_back_cpu),
                               .cuda = VM_CUDA(batchnorm_back_cuda),
                               .acc_outs = 7 + 16 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], w = n->in[1], b = n->in[2], residual = n->in[5], dy = vm_dy(g, n, 0);
    bool relu = n->i[1] == VM_RELU, rest = vm_wants(g, residual);
    if (!vm_wants(g, n->in[3]) && !vm_wants(g, n->in[4]) && !vm_wants(g, x) && !vm_wants(g, w) && !vm_wants(g, b) &&
        !rest)
        return;
    if (!n->i[2] && (vm_wants(g, n->in[3]) || vm_wants(g, n->in[4]))) {
        vm_bad(g, "batchnorm: given statistics are constants and have no gradient");
        return;
    }
    vm_val in[] = { dy, x, w, n->out[1], n->out[2], relu ? n->out[0] : 0 };
    vm_node init = { .i = { g->v[x].type, n->i[2], relu && rest, rest ? g->v[residual].type : 0 } };
    vm_node *back = vm_append(g, &back_op, 6, in, &init);
    if (!back) return;
    vm_val out[] = { back->out[0], back->out[1], back->out[2], relu && rest ? back->out[4] : dy };
    vm_add_grad(g, x, out[0]);
    vm_add_grad(g, w, out[1]);
    vm_add_grad(g, b, out[2]);
    if (rest) vm_add_grad(g, residual, out[3]);
}
static const vm_op batchnorm = {
    .name = "batchnorm", .infer = infer, .grad = grad, .cpu = VM_CPU(batchnorm_cpu), .cuda = VM_CUDA(batchnorm_cuda)
};

vm_val vm_batchnorm(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_val mean, vm_val var, vm_val residual, float eps,
                    vm_unary_kind act, vm_type out) {
    vm_node init = { .i = { out, act, false }, .f = { (double)eps } };
    return vm_append1(g, &batchnorm, 6, (vm_val[]){ x, w, b, mean, var, residual }, &init);
}

vm_val vm_batchnorm_batch(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_val residual, float eps, vm_unary_kind act,
                          vm_type out, vm_val stats[2]) {
    vm_node init = { .i = { out, act, true }, .f = { (double)eps } };
    vm_val y = vm_append1(g, &batchnorm, 6, (vm_val[]){ x, w, b, 0, 0, residual }, &init);
    stats[0] = stats[1] = 0;
    if (y) stats[0] = g->n[g->v[y].node].out[1], stats[1] = g->n[g->v[y].node].out[3];
    return y;
}

/* --- running statistics: in mean, var of the batch, then the parameters of mean, var, count; i[0] rows, f[0] momentum
 * -- */
static vm_status infer_running(vm_graph *g, vm_node *n) {
    int64_t C = vm_count(g, n->in[0]);
    for (int k = 0; k < 5; k++) {
        if (!n->in[k]) return vm_bad(g, "running_stats: input %d is missing", k);
        if (!vm_check_type(g, n, k, VM_F32) || !vm_check_count(g, n, k, k < 4 ? C : 1)) return VM_EMODEL;
        const vm_value *p = &g->v[n->in[k]];
        if (k >= 2 && p->kind != VM_PARAM) return vm_bad(g, "running_stats: input %d is no parameter", k);
        if (k >= 2 && p->param->borrowed)
            return vm_bad(g, "running_stats: %s is mapped from a file; load weights for writing", p->param->name);
    }
    return VM_OK;
}
static void ran(vm_graph *g, vm_node *n) {
    for (int k = 2; k < 5; k++) vm_param_touch(g->v[n->in[k]].param);
}
static const vm_op running = { .name = "running_stats",
                               .infer = infer_running,
                               .cpu = VM_CPU(running_stats_cpu),
                               .cuda = VM_CUDA(running_stats_cuda),
                               .no_grad = true,
                               .stateful = true,
                               .ran = ran };

void vm_running_stats(vm_graph *g, const vm_val stats[2], int64_t rows, vm_param *mean, vm_param *var, vm_param *count,
                      float momentum) {
    vm_val in[] = { stats[0], stats[1], vm_weight(g, mean), vm_weight(g, var), vm_weight(g, count) };
    vm_append(g, &running, 5, in, &(vm_node){ .i = { rows }, .f = { (double)momentum } });
}

/* --- fold: in w (N,K), weight, bias, mean, var (N); ptr vm_folded; f[0] eps
 * -------------------------------------------- */
static vm_status infer_fold(vm_graph *g, vm_node *n) {
    const vm_folded *to = n->ptr;
    int64_t N = vm_rows(g, n->in[0]);
    for (int k = 0; k < 5; k++) {
        if (!n->in[k] || g->v[n->in[k]].kind != VM_PARAM)
            return vm_bad(g, "batchnorm_fold: input %d is no parameter", k);
        if (!vm_check_type(g, n, k, VM_F32) || (k && !vm_check_count(g, n, k, N))) return VM_EMODEL;
    }
    if (g->v[n->in[0]].nd != 2 || vm_param_count(to->w) != vm_count(g, n->in[0]) || vm_param_count(to->b) != N)
        return vm_bad(g, "batchnorm_fold: the folded weight has not the shape of its source");
    return VM_OK;
}
/* Nothing, but for the run after a change. */
static void cost_fold(const vm_graph *g, const vm_node *n, double *flops, double *bytes) { *flops = *bytes = 0; }
static bool fold_due(const vm_graph *g, const vm_node *n) {
    const vm_folded *to = n->ptr;
    for (int k = 0; k < 5; k++)
        if (to->of[k] != g->v[n->in[k]].param->version) return true;
    return false;
}
/* The folded weight is new where a source was. */
static void ran_fold(vm_graph *g, vm_node *n) {
    vm_folded *to = n->ptr;
    if (!fold_due(g, n)) return;
    for (int k = 0; k < 5; k++) to->of[k] = g->v[n->in[k]].param->version;
    vm_param_touch(to->w), vm_param_touch(to->b);
}
static const vm_op fold = { .name = "batchnorm_fold",
                            .infer = infer_fold,
                            .cost = cost_fold,
                            .cpu = VM_CPU(batchnorm_fold_cpu),
                            .cuda = VM_CUDA(batchnorm_fold_cuda),
                            .no_grad = true,
                            .stateful = true,
                            .ran = ran_fold,
                            .due = fold_due };

void vm_batchnorm_fold(vm_graph *g, vm_param *w, vm_param *const norm[4], float eps, vm_folded *to) {
    vm_val in[] = { vm_weight(g, w), vm_weight(g, norm[0]), vm_weight(g, norm[1]), vm_weight(g, norm[2]),
                    vm_weight(g, norm[3]) };
    if (g->err.status || vm_param_alloc(to->w, &g->err) || vm_param_alloc(to->b, &g->err)) return;
    to->w->trainable = to->b->trainable = false;
    vm_append(g, &fold, 5, in, &(vm_node){ .ptr = to, .f = { (double)eps } });
}
