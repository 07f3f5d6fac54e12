/* linear_q.c - y = x W^T + b [+ residual] of a weight in 8 or 4 bits that never changes (quant.h); dx = dy W.
 *
 * A few rows (decoding) are bound by the bytes of the codes: they are unpacked in registers, and up to LQ_ROWS rows of x share one
 * pass over them; where the graph allows it x is rounded to 8 bits first (linear_q8_cpu.c). More rows (prefill, training of adapters on a quantised base) are products: a tile of the weight is brought to
 * the type of x, multiplied, and forgotten. No second copy of the weight ever exists. */
#include <inttypes.h>

#include "kernels/dot8_form.h"
#include "kernels/gemm.h"
#include "kernels/gpu_gemm.h"
#include "kernels/infer.h"
#include "kernels/linear.h"
#include "kernels/linear_q.h"

VM_CPU_DECLARE(linear_q_cpu);
VM_CPU_DECLARE(linear_q8_cpu);
VM_CPU_DECLARE(linear_q_dx_cpu);
VM_CUDA_DECLARE(linear_q_cuda);
VM_CUDA_DECLARE(linear_q_dx_cuda);

bool lq_check_weight(vm_graph *g, vm_node *n, int nd) {
    vm_quant_kind kind = (vm_quant_kind)n->i[LQ_KIND];
    vm_value c = g->v[n->in[LQ_CODES]];
    int64_t per_byte = kind == VM_INT8 ? 1 : 2, block = n->i[LQ_BLOCK], E = nd == 3 ? c.ne[0] : 1;
    const char *op = n->op->name;
    char a[64];
    if (!vm_check_type(g, n, LQ_CODES, VM_U8)) return false;
    if (c.nd != nd) return vm_bad(g, "%s: codes %s, %d axes are needed", op, vm_shape_text(g, n->in[LQ_CODES], a), nd), false;
    n->i[LQ_N] = c.ne[nd - 2], n->i[LQ_K] = c.ne[nd - 1] * per_byte;
    if (kind > VM_NF4 || block < 0 || (!block && kind != VM_INT8))
        return vm_bad(g, "%s: blocks of %" PRId64 " weights are not possible", op, block), false;
    int64_t scales = vm_quant_scales(kind, n->i[LQ_N], n->i[LQ_K], block);
    if (!vm_check_type(g, n, LQ_SCALES, n->in[LQ_NESTED] ? VM_U8 : VM_F32) || !vm_check_count(g, n, LQ_SCALES, E * scales)) return false;
    if (n->in[LQ_ZEROS] && kind != VM_INT4) return vm_bad(g, "%s: only int4 has zeros", op), false;
    if (n->in[LQ_ZEROS] && (!vm_check_type(g, n, LQ_ZEROS, VM_F32) || !vm_check_count(g, n, LQ_ZEROS, E * scales))) return false;
    if (n->in[LQ_NESTED] &&
        (!vm_check_type(g, n, LQ_NESTED, VM_F32) || !vm_check_count(g, n, LQ_NESTED, E * vm_nested_len(scales))))
        return false;
    return true;
}

/* in LQ_*; out y (...,N), and on the CPU room for rows of x (few of them), or for a tile of the weight and its results */
static vm_status infer_all(vm_graph *g, vm_node *n, bool rounded) {
    vm_value x = g->v[n->in[LQ_X]];
    char a[64], b[64];
    if (!vm_check_float(g, n, LQ_X) || !lq_check_weight(g, n, 2)) return VM_EMODEL;
    int64_t N = n->i[LQ_N], K = n->i[LQ_K], M = vm_rows(g, n->in[LQ_X]);
    if (x.ne[x.nd - 1] != K)
        return vm_bad(g, "linear_q: x %s does not fit a weight of %" PRId64 " columns", vm_shape_text(g, n->in[LQ_X], a), K);
    if (n->i[LQ_OUT] != VM_F32 && n->i[LQ_OUT] != x.type)
        return vm_bad(g, "linear_q: %s -> %s is not possible", vm_type_name(x.type), vm_type_name((vm_type)n->i[LQ_OUT]));
    if (n->in[LQ_BIAS] && (!vm_check_type(g, n, LQ_BIAS, VM_F32) || !vm_check_count(g, n, LQ_BIAS, N))) return VM_EMODEL;
    x.ne[x.nd - 1] = N;
    vm_node_out(g, n, (vm_type)n->i[LQ_OUT], x.nd, x.ne);
    if (n->in[LQ_RESIDUAL]) {
        if (!vm_same_shape(g, n->in[LQ_RESIDUAL], n->out[0]))
            return vm_bad(g, "linear_q: residual %s for an output %s", vm_shape_text(g, n->in[LQ_RESIDUAL], a),
                          vm_shape_text(g, n->out[0], b));
        n->acc[0] = n->in[LQ_RESIDUAL];
    }
    vm_gpu_planned(g, n, x.type, 1, M, N, K, false, g->deterministic);
    if (g->be->device != VM_CPU_DEV) return VM_OK;
    int64_t lines = vm_tile_lines(N, K, x.type);
    if (rounded) vm_node_out(g, n, VM_U8, 1, (int64_t[]){ dot8_room((vm_quant_kind)n->i[LQ_KIND], M, K) });
    else if (lq_few(g, x.type, M)) vm_node_out(g, n, VM_F32, 2, (int64_t[]){ LQ_ROWS, lq_room(K) });
    else vm_node_out(g, n, x.type, 2, (int64_t[]){ lines, K }), vm_node_out(g, n, VM_F32, 2, (int64_t[]){ M, lines });
    return VM_OK;
}

static vm_status infer(vm_graph *g, vm_node *n) { return infer_all(g, n, false); }
static vm_status infer_rounded(vm_graph *g, vm_node *n) { return infer_all(g, n, true); }

void lq_cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double M = (double)vm_rows(g, n->in[LQ_X]), N = (double)n->i[LQ_N], K = (double)n->i[LQ_K];
    *flops = 2 * M * N * K;
    *bytes = (double)vm_count(g, n->in[LQ_CODES]);
    for (int k = LQ_SCALES; k <= LQ_NESTED; k++)
        if (n->in[k]) *bytes += (double)vm_count(g, n->in[k]) * (double)vm_type_size(g->v[n->in[k]].type);
    *bytes += (double)vm_count(g, n->in[LQ_X]) * (double)vm_type_size(g->v[n->in[LQ_X]].type) +
              (double)vm_count(g, n->out[0]) * (double)vm_type_size(g->v[n->out[0]].type);
}

/* in dy (...,N), the weight; out dx (...,K), on the CPU a tile of columns of the weight and its results */
static vm_status infer_dx(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[LQ_X]];
    dy.ne[dy.nd - 1] = n->i[LQ_K];
    vm_node_out(g, n, (vm_type)n->i[LQ_OUT], dy.nd, dy.ne);
    vm_gpu_planned(g, n, dy.type, 1, vm_rows(g, n->in[LQ_X]), n->i[LQ_K], n->i[LQ_N], false, g->deterministic);
    if (g->be->device != VM_CPU_DEV) return VM_OK;
    vm_type t = dy.type == VM_F16 ? VM_F32 : dy.type;
    int64_t columns = vm_tile_lines(n->i[LQ_K], n->i[LQ_N], t);
    vm_node_out(g, n, t, 2, (int64_t[]){ n->i[LQ_N], columns });
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ vm_rows(g, n->in[LQ_X]), columns });
    return VM_OK;
}
static const vm_op linear_q_dx = { .name = "linear_q_dx", .infer = infer_dx, .cost = lq_cost, .cpu = VM_CPU(linear_q_dx_cpu),
    .cuda = VM_CUDA(linear_q_dx_cuda), .acc_outs = 1, .free_node = vm_gemm_node_free };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0), x = n->in[LQ_X], b = n->in[LQ_BIAS], residual = n->in[LQ_RESIDUAL];
    if (vm_wants(g, n->in[LQ_SCALES]) || vm_wants(g, n->in[LQ_ZEROS]) || vm_wants(g, n->in[LQ_NESTED])) {
        vm_bad(g, "linear_q: a quantised weight is a constant and has no gradient");
        return;
    }
    if (vm_wants(g, b)) vm_add_grad(g, b, vm_column_sums(g, dy));
    if (vm_wants(g, x)) {
        vm_val d = g->v[dy].type == g->v[x].type ? dy : vm_cast(g, dy, g->v[x].type);
        vm_val in[LQ_N_DX] = { d, n->in[LQ_CODES], n->in[LQ_SCALES], n->in[LQ_ZEROS], n->in[LQ_NESTED] };
        vm_node init = { .i = { g->v[x].type, n->i[LQ_KIND], n->i[LQ_BLOCK], n->i[LQ_N], n->i[LQ_K] } };
        vm_add_grad(g, x, vm_append1(g, &linear_q_dx, LQ_N_DX, in, &init));
    }
    if (residual) vm_add_grad(g, residual, dy);
}
static const vm_op linear_q = { .name = "linear_q", .infer = infer, .grad = grad, .cost = lq_cost, .cpu = VM_CPU(linear_q_cpu),
    .cuda = VM_CUDA(linear_q_cuda), .acc_outs = 1, .acc_in = LQ_RESIDUAL, .free_node = vm_gemm_node_free };

static const vm_op linear_q8 = { .name = "linear_q8", .infer = infer_rounded, .cost = lq_cost, .cpu = VM_CPU(linear_q8_cpu), .acc_outs = 1, .acc_in = LQ_RESIDUAL };

bool lq_rounds(const vm_graph *g, vm_val x, vm_val codes, vm_quant q) {
    if (!g->rounded || g->be->device != VM_CPU_DEV || g->v[codes].nd < 2) return false;
    int64_t K = vm_cols(g, codes) * (q.kind == VM_INT8 ? 1 : 2);
    return (vm_rows(g, x) <= VM_ROUNDED_ROWS || g->deterministic) && (q.kind != VM_NF4 || (q.block > 0 && K % q.block == 0)) &&
           dot8_fits(q.kind, K, q.block ? q.block : K);
}

vm_val vm_linear_q(vm_graph *g, vm_val x, vm_val codes, vm_val scales, vm_val b, vm_quant q, vm_val residual, vm_type out) {
    if (!x || !codes || !scales) return 0;
    if (g->dtype != VM_F32 && g->v[x].type != g->dtype) x = vm_cast(g, x, g->dtype);
    if (residual) out = g->v[residual].type;
    vm_val in[LQ_N_IN] = { [LQ_X] = x, [LQ_CODES] = codes, [LQ_SCALES] = scales, [LQ_ZEROS] = q.zeros, [LQ_NESTED] = q.nested,
                           [LQ_BIAS] = b, [LQ_RESIDUAL] = residual };
    return vm_append1(g, lq_rounds(g, x, codes, q) ? &linear_q8 : &linear_q, LQ_N_IN, in, &(vm_node){ .i = { out, q.kind, q.block } });
}
