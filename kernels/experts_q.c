/* experts_q.c - products of rows with the weight of their expert (experts.c), weights in 8 or 4 bits that never change (quant.h).
 *
 *   y[i] = x[i] W_e^T for offsets[e] <= i < offsets[e+1];  dx[i] = dy[i] W_e
 *
 * codes (E,N,K) or (E,N,K/2); scales, zeros and nested scales of the experts one behind the other, each expert's as of a weight of its own
 * (blocks of NF4 cross no expert). order (E,K): which column of x stands at each place of an expert's codes. The rows of an expert go
 * the ways of linear_q.c: few ones share passes over the codes, with x rounded to 8 bits where the graph allows it; more are products
 * with tiles of the weight. Bound by the bytes of the codes of those experts that have rows. */
#include <inttypes.h>

#include "kernels/dot8_form.h"
#include "kernels/experts.h"
#include "kernels/experts_q.h"
#include "kernels/infer.h"
#include "kernels/linear.h"

VM_CPU_DECLARE(experts_q_cpu);
VM_CPU_DECLARE(experts_q8_cpu);
VM_CPU_DECLARE(experts_q_dx_cpu);
VM_CUDA_DECLARE(experts_q_cuda);
VM_CUDA_DECLARE(experts_q_dx_cuda);

static bool check_all(vm_graph *g, vm_node *n) {
    char a[64];
    if (!vm_check_float(g, n, LQ_X) || !lq_check_weight(g, n, 3) || !vm_check_type(g, n, EQ_OFFSETS, VM_I32)) return false;
    const int64_t E = vm_dim(g, n->in[LQ_CODES], 0), K = n->i[LQ_K];
    if (g->v[n->in[LQ_X]].nd != 2) return vm_bad(g, "%s: x %s, 2 axes are needed", n->op->name, vm_shape_text(g, n->in[LQ_X], a)), false;
    if (n->in[EQ_ORDER] && (!vm_check_type(g, n, EQ_ORDER, VM_I32) || !vm_check_count(g, n, EQ_ORDER, E * K))) return false;
    return vm_check_count(g, n, EQ_OFFSETS, E + 1);
}

/* Room for tiles of a weight: lines of per_line numbers of type t, and up to EXPERTS_ROWS rows of either side. None on a device, whose tiles
 * are in shared memory: there these outputs are empty, so that those behind them have the same places. */
static void tile_room(vm_graph *g, vm_node *n, vm_type t, int64_t M, int64_t lines, int64_t per_line, bool steep) {
    if (g->be->device != VM_CPU_DEV) M = 0;
    int64_t rows = M ? VM_MIN((int64_t)1 << experts_chunk(M), (int64_t)EXPERTS_ROWS) : 0, now = M ? vm_tile_lines(lines, per_line, t) : 0;
    vm_node_out(g, n, t, 2, steep ? (int64_t[]){ per_line, now } : (int64_t[]){ now, per_line });
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ rows, now });
    vm_node_out(g, n, t, 2, (int64_t[]){ rows, per_line });
}

static vm_status infer_all(vm_graph *g, vm_node *n, bool rounded) {
    vm_value x = g->v[n->in[LQ_X]];
    vm_type out = (vm_type)n->i[LQ_OUT];
    char a[64];
    if (!check_all(g, n)) return VM_EMODEL;
    const int64_t N = n->i[LQ_N], K = n->i[LQ_K], M = x.ne[0];
    const bool few = rounded || lq_few(g, x.type, M);
    if (x.ne[1] != K) return vm_bad(g, "%s: x %s does not fit weights of %" PRId64 " columns", n->op->name, vm_shape_text(g, n->in[LQ_X], a), K);
    if (out != VM_F32 && out != x.type) return vm_bad(g, "%s: %s -> %s is not possible", n->op->name, vm_type_name(x.type), vm_type_name(out));
    vm_node_out(g, n, out, 2, (int64_t[]){ M, N });
    if (rounded) vm_node_out(g, n, VM_U8, 1, (int64_t[]){ dot8_room((vm_quant_kind)n->i[LQ_KIND], M, K) });
    else vm_node_out(g, n, VM_F32, 2, (int64_t[]){ g->be->device == VM_CPU_DEV ? LQ_ROWS : 0, lq_room(K) });
    tile_room(g, n, x.type, few ? 0 : M, N, K, false);
    vm_node_out(g, n, x.type, 2, (int64_t[]){ n->in[EQ_ORDER] ? M : 0, K });
    return VM_OK;
}
static vm_status infer(vm_graph *g, vm_node *n) { return infer_all(g, n, false); }
static vm_status infer_rounded(vm_graph *g, vm_node *n) { return infer_all(g, n, true); }

/* in dy (M,N), the weights, offsets, order; out dx (M,K), room */
static vm_status infer_dx(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[LQ_X]];
    const int64_t M = dy.ne[0], N = n->i[LQ_N], K = n->i[LQ_K], moved = n->in[EQ_ORDER] ? M : 0;
    vm_node_out(g, n, (vm_type)n->i[LQ_OUT], 2, (int64_t[]){ M, K });
    vm_node_out(g, n, VM_F32, 1, (int64_t[]){ 0 });
    tile_room(g, n, dy.type, M, K, N, true);
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ moved, K });
    vm_node_out(g, n, VM_I32, 1, (int64_t[]){ moved && g->be->device == VM_CPU_DEV ? K : 0 });
    return VM_OK;
}
static const vm_op experts_q_dx = { .name = "experts_q_dx", .infer = infer_dx, .cost = lq_cost, .cpu = VM_CPU(experts_q_dx_cpu),
    .cuda = VM_CUDA(experts_q_dx_cuda), .acc_outs = 1, .free_node = experts_free };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0), x = n->in[LQ_X];
    if (vm_wants(g, n->in[LQ_SCALES]) || vm_wants(g, n->in[LQ_ZEROS]) || vm_wants(g, n->in[LQ_NESTED])) {
        vm_bad(g, "experts_q: a quantised weight is a constant and has no gradient");
        return;
    }
    if (!vm_wants(g, x)) return;
    vm_type t = g->v[x].type, with = t == VM_F16 && g->be->device == VM_CPU_DEV ? VM_F32 : t; /* gemm.h has no products of f16 */
    vm_val in[EQ_N_IN] = { [LQ_X] = g->v[dy].type == with ? dy : vm_cast(g, dy, with) };
    for (int k = LQ_CODES; k < EQ_N_IN; k++) in[k] = n->in[k];
    vm_node init = { .i = { t, n->i[LQ_KIND], n->i[LQ_BLOCK], n->i[LQ_N], n->i[LQ_K] } };
    vm_add_grad(g, x, vm_append1(g, &experts_q_dx, EQ_N_IN, in, &init));
}
static const vm_op experts_q = { .name = "experts_q", .infer = infer, .grad = grad, .cost = lq_cost, .cpu = VM_CPU(experts_q_cpu),
    .cuda = VM_CUDA(experts_q_cuda), .free_node = experts_free };
static const vm_op experts_q8 = { .name = "experts_q8", .infer = infer_rounded, .cost = lq_cost, .cpu = VM_CPU(experts_q8_cpu) };

vm_val vm_experts_q(vm_graph *g, vm_val x, vm_val codes, vm_val scales, vm_val offsets, vm_val order, vm_quant q, vm_type out) {
    if (!x || !codes || !scales || !offsets) return 0;
    if (g->dtype != VM_F32 && g->v[x].type != g->dtype) x = vm_cast(g, x, g->dtype);
    vm_val in[EQ_N_IN] = { [LQ_X] = x, [LQ_CODES] = codes, [LQ_SCALES] = scales, [LQ_ZEROS] = q.zeros, [LQ_NESTED] = q.nested,
                           [EQ_OFFSETS] = offsets, [EQ_ORDER] = order };
    return vm_append1(g, lq_rounds(g, x, codes, q) ? &experts_q8 : &experts_q, EQ_N_IN, in, &(vm_node){ .i = { out, q.kind, q.block } });
}
