/* linear.c - y = act(x W^T + b) [+ residual], the workhorse. FLOPs 2 M N K; bound by arithmetic from about 30 rows on.
 *
 * Gradients: dx = dy W, dW = dy^T x, db = column sums of dy, dresidual = dy. In training an activation is a node of its
 * own (its input is needed), and a weight kept in f32 is rounded to 16 bits into a workspace of the arena right before
 * each product, so that no second copy of the weights lives on. On a device a further output may hold sums of parts
 * (gpu_gemm.h).
 *
 * A weight of inference in 16 bits stays as it is on the processor: a few rows of x read it in place (few_rows.h, few_pairs.h), more are products
 * with it, or where their type is another one, with tiles of it that are converted and forgotten. */
#include <inttypes.h>

#include "kernels/gemm.h"
#include "kernels/gpu_gemm.h"
#include "kernels/infer.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(linear_cpu);
VM_CPU_DECLARE(linear_dx_cpu);
VM_CPU_DECLARE(linear_dw_cpu);
VM_CPU_DECLARE(linear_db_cpu);
VM_CUDA_DECLARE(linear_cuda);
VM_CUDA_DECLARE(linear_dx_cuda);
VM_CUDA_DECLARE(linear_dw_cuda);
VM_CUDA_DECLARE(linear_db_cuda);

/* Room for a few rows of x, or a tile of a weight in another type and its results. */
static void stays_workspace(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], w = g->v[n->in[1]];
    int64_t M = vm_rows(g, n->in[0]), lines = vm_tile_lines(w.ne[0], w.ne[1], x.type);
    if (vm_stays_pairs(g, x.type, w.type, M)) vm_node_out(g, n, VM_F32, 1, (int64_t[]){ vm_pair_room(M, w.ne[1]) });
    else if (vm_stays_few(g, M)) vm_node_out(g, n, VM_F32, 1, (int64_t[]){ vm_few_room(w.ne[1]) });
    else if (w.type != x.type) vm_node_out(g, n, x.type, 2, (int64_t[]){ lines, w.ne[1] }), vm_node_out(g, n, VM_F32, 2, (int64_t[]){ M, lines });
}

/* Room for the 16-bit copy of a weight, as a further output; kernels find it behind their result. */
static void weight_workspace(vm_graph *g, vm_node *n, vm_val w, vm_type product) {
    vm_value x = g->v[w];
    bool constant = x.kind == VM_PARAM && !g->training && !g->deterministic; /* packed once instead */
    if (product != VM_F32 && x.type != product && !constant) vm_node_out(g, n, product, x.nd, x.ne);
}

static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], w = g->v[n->in[1]];
    char a[64], b[64];
    if (!vm_is_float(w.type) || !vm_can_multiply(g, x.type, (vm_type)n->i[0]))
        return vm_bad(g, "linear: %s x %s -> %s is not possible%s", vm_type_name(x.type), vm_type_name(w.type),
                      vm_type_name((vm_type)n->i[0]), vm_f16_hint(g, x.type));
    if (w.nd != 2 || x.nd < 1 || x.ne[x.nd - 1] != w.ne[1])
        return vm_bad(g, "linear: x %s does not fit weight %s", vm_shape_text(g, n->in[0], a),
                      vm_shape_text(g, n->in[1], b));
    if (n->in[2] && (g->v[n->in[2]].nd != 1 || g->v[n->in[2]].ne[0] != w.ne[0]))
        return vm_bad(g, "linear: bias %s for %" PRId64 " outputs", vm_shape_text(g, n->in[2], a), w.ne[0]);
    if (n->in[2] && !vm_check_type(g, n, 2, VM_F32)) return VM_EMODEL;
    x.ne[x.nd - 1] = w.ne[0];
    vm_node_out(g, n, (vm_type)n->i[0], x.nd, x.ne);
    if (vm_stays(g, n->in[1])) stays_workspace(g, n);
    else weight_workspace(g, n, n->in[1], x.type);
    vm_gpu_planned(g, n, x.type, 1, vm_rows(g, n->in[0]), w.ne[0], w.ne[1], true, g->deterministic);
    if (n->in[3]) {
        if (!vm_same_shape(g, n->in[3], n->out[0]))
            return vm_bad(g, "linear: residual %s for an output %s", vm_shape_text(g, n->in[3], a),
                          vm_shape_text(g, n->out[0], b));
        n->acc[0] = n->in[3];
    }
    return VM_OK;
}

/* in[1] of linear and linear_dx */
static bool packs(const vm_graph *g, const vm_node *n, int k) { return k == 1 && vm_linear_packs(g, n->in[1]); }

static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double M = (double)vm_rows(g, n->in[0]), K = (double)vm_cols(g, n->in[0]), N = (double)vm_dim(g, n->in[1], 0);
    *flops = 2 * M * N * K;
    vm_type t = g->v[n->in[0]].type, w = vm_stays(g, n->in[1]) ? g->v[n->in[1]].type : t;
    *bytes = M * K * (double)vm_type_size(t) + N * K * (double)vm_type_size(w) + M * N * (double)vm_type_size(g->v[n->out[0]].type);
}

/* dy (...,N), w (N,K) -> dx (...,K) of x's type */
static vm_status infer_dx(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]], w = g->v[n->in[1]];
    dy.ne[dy.nd - 1] = w.ne[1];
    vm_node_out(g, n, (vm_type)n->i[0], dy.nd, dy.ne);
    weight_workspace(g, n, n->in[1], dy.type);
    vm_gpu_planned(g, n, dy.type, 1, vm_rows(g, n->in[0]), w.ne[1], w.ne[0], true, g->deterministic);
    return VM_OK;
}
static void cost_dx(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double M = (double)vm_rows(g, n->in[0]), N = (double)vm_cols(g, n->in[0]), K = (double)vm_dim(g, n->in[1], 1);
    *flops = 2 * M * N * K;
    *bytes = (M * N + N * K) * (double)vm_type_size(g->v[n->in[0]].type) +
             M * K * (double)vm_type_size(g->v[n->out[0]].type);
}
static const vm_op linear_dx = { .name = "linear_dx", .infer = infer_dx, .cost = cost_dx, .cpu = VM_CPU(linear_dx_cpu),
                                 .cuda = VM_CUDA(linear_dx_cuda), .acc_outs = 1, .packs = packs, .free_node = vm_gemm_node_free };

/* dy (...,N), x (...,K) -> dW (N,K) f32 */
static vm_status infer_dw(vm_graph *g, vm_node *n) {
    int64_t M = vm_rows(g, n->in[0]), N = vm_cols(g, n->in[0]), K = vm_cols(g, n->in[1]);
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ N, K });
    vm_gpu_planned(g, n, g->v[n->in[1]].type, 1, N, K, M, false, false);
    return VM_OK;
}
static void cost_dw(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double M = (double)vm_rows(g, n->in[0]), N = (double)vm_cols(g, n->in[0]), K = (double)vm_cols(g, n->in[1]);
    *flops = 2 * M * N * K;
    *bytes = (M * N + M * K) * (double)vm_type_size(g->v[n->in[0]].type) + N * K * 4;
}
static const vm_op linear_dw = { .name = "linear_dw", .infer = infer_dw, .cost = cost_dw, .cpu = VM_CPU(linear_dw_cpu),
                                 .cuda = VM_CUDA(linear_dw_cuda), .acc_outs = 1, .free_node = vm_gemm_node_free };

/* dy (...,N) -> db (N) f32 */
static vm_status infer_db(vm_graph *g, vm_node *n) {
    vm_node_out(g, n, VM_F32, 1, (int64_t[]){ vm_cols(g, n->in[0]) });
    vm_gpu_planned_sums(g, n, vm_rows(g, n->in[0]), vm_cols(g, n->in[0]));
    return VM_OK;
}
static const vm_op linear_db = { .name = "linear_db", .infer = infer_db, .cpu = VM_CPU(linear_db_cpu),
                                 .cuda = VM_CUDA(linear_db_cuda), .acc_outs = 1 };
vm_val vm_column_sums(vm_graph *g, vm_val dy) { return vm_append1(g, &linear_db, 1, &dy, NULL); }

static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0), x = n->in[0], w = n->in[1], b = n->in[2], residual = n->in[3];
    if (n->i[1] != VM_NONE) {
        vm_bad(g, "linear: a fused activation has no gradient; build the graph with g->training");
        return;
    }
    if (vm_wants(g, b)) vm_add_grad(g, b, vm_column_sums(g, dy));
    if (vm_wants(g, x) || vm_wants(g, w)) {
        vm_val d = g->v[dy].type == g->v[x].type ? dy : vm_cast(g, dy, g->v[x].type);
        if (vm_wants(g, w)) vm_add_grad(g, w, vm_append1(g, &linear_dw, 2, (vm_val[]){ d, x }, NULL));
        if (vm_wants(g, x) && vm_stays(g, w)) w = vm_cast(g, w, g->v[x].type);
        if (vm_wants(g, x))
            vm_add_grad(g, x, vm_append1(g, &linear_dx, 2, (vm_val[]){ d, w }, &(vm_node){ .i = { g->v[x].type } }));
    }
    if (residual) vm_add_grad(g, residual, dy);
}

static const vm_op linear = { .name = "linear", .infer = infer, .grad = grad, .cost = cost, .cpu = VM_CPU(linear_cpu),
                              .cuda = VM_CUDA(linear_cuda), .acc_outs = 1, .acc_in = 3, .packs = packs, .free_node = vm_gemm_node_free };

/* Whether the kernel brings weight w to type t by itself: packing converts, and f32 is rounded into the workspace. */
static bool converts(const vm_graph *g, vm_val w, vm_type t) {
    const vm_value *x = &g->v[w];
    if (vm_stays(g, w)) return true;
    return x->kind == VM_PARAM && (x->type != VM_F16 || g->be->device == VM_CUDA_DEV) &&
           ((!g->training && !g->deterministic) || (x->type == VM_F32 && t != VM_F32));
}

vm_val vm_linear(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_unary_kind act, vm_val residual, vm_type out) {
    if (!x || !w) return 0;
    if (g->dtype != VM_F32 && g->v[x].type != g->dtype) x = vm_cast(g, x, g->dtype);
    if (x && g->v[w].type != g->v[x].type && !converts(g, w, g->v[x].type)) w = vm_cast(g, w, g->v[x].type);
    if (!x || !w) return 0;
    if (act != VM_NONE && (g->training || residual || act > VM_TANH)) { /* products end in the first few only */
        vm_val h = vm_linear(g, x, w, b, VM_NONE, 0, g->dtype);
        vm_val y = vm_unary(g, h, act, residual ? VM_F32 : out);
        return residual ? vm_binary(g, y, residual, VM_ADD) : y;
    }
    if (residual) out = g->v[residual].type;
    return vm_append1(g, &linear, 4, (vm_val[]){ x, w, b, residual }, &(vm_node){ .i = { out, act } });
}
