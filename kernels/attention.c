/* attention.c - scaled dot-product attention, its shapes, gradient rule and cost.
 *
 *   S = scale Q K^T [or cap tanh of it / cap] + bias,  hidden keys -inf;  lse = log sum exp S;  P = exp(S - lse);  Y = P V
 *   D = sum_c dY Y;  dV = P^T dY;  dS = P (dY V^T - D) = dbias, then times 1 - tanh^2;  dQ = scale dS K;  dK = scale dS^T Q
 *
 * Scores exist as tiles only (Dao 2023, FlashAttention-2): the forward pass keeps lse, the backward pass recomputes P
 * from it. Heads are grouped (Ainslie et al. 2023): NH / NKV query heads read one key/value head, whose gradients are
 * summed over them. Bound by arithmetic: 4 (forward) and 10 (backward) operations per visible pair and channel; with few
 * queries (decoding from a cache) by reading K and V once, pages that sequences share once for all of them.
 *
 * On the GPU the backward pass recomputes S twice (14 operations): once along the keys for dQ, once along the queries for
 * dK and dV, so that every sum has one owner and a fixed order. */
#include "kernels/attention.h"

#include <inttypes.h>
#include <math.h>

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(attention_cpu);
VM_CPU_DECLARE(attention_back_cpu);
VM_CPU_DECLARE(attention_bias_back_cpu);
VM_CUDA_DECLARE(attention_cuda);
VM_CUDA_DECLARE(attention_back_cuda);
VM_CUDA_DECLARE(attention_bias_back_cuda);

/* --- shapes -------------------------------------------------------------------------------------------------------- */
static vm_status check_mask(vm_graph *g, const vm_node *n, int64_t B, int64_t Tk) {
    const vm_value *m = &g->v[n->in[ATTN_MASK]];
    char s[64];
    if (!n->in[ATTN_MASK] || (m->type == VM_I32 && m->nd == 2 && m->ne[0] == B && m->ne[1] == Tk)) return VM_OK;
    return vm_bad(g, "attention: the key mask is %s%s, i32[%" PRId64 ",%" PRId64 "] is needed", vm_type_name(m->type),
                  vm_shape_text(g, n->in[ATTN_MASK], s), B, Tk);
}

static vm_status check_bias(vm_graph *g, const vm_node *n, int64_t B, int64_t Tq, int64_t Tk) {
    if (!n->in[ATTN_BIAS]) return VM_OK;
    const vm_value *b = &g->v[n->in[ATTN_BIAS]];
    const int64_t *ne = b->ne + VM_MAX(b->nd - 3, 0);
    char s[64];
    if (b->type == VM_F32 && (b->nd == 3 || (b->nd == 4 && b->ne[0] == B)) && (ne[0] == 1 || ne[0] == n->i[ATTN_NH]) &&
        ne[1] == Tq && ne[2] == Tk)
        return VM_OK;
    return vm_bad(g,
                  "attention: the bias is %s%s, f32 [%" PRId64 " or 1,%" PRId64 ",%" PRId64 "] is needed, [%" PRId64
                  "] before it or not",
                  vm_type_name(b->type), vm_shape_text(g, n->in[ATTN_BIAS], s), n->i[ATTN_NH], Tq, Tk, B);
}

static vm_status check_rows(vm_graph *g, const vm_node *n, int64_t B, int64_t Tq) {
    const vm_value *len = &g->v[n->in[ATTN_LENGTHS]], *pages = &g->v[n->in[ATTN_PAGES]], *first = &g->v[n->in[ATTN_FIRST]];
    char s[64];
    if (n->in[ATTN_LENGTHS] && (len->type != VM_I32 || len->nd != 1 || len->ne[0] != B))
        return vm_bad(g, "attention: the lengths are %s%s, i32[%" PRId64 "] is needed", vm_type_name(len->type),
                      vm_shape_text(g, n->in[ATTN_LENGTHS], s), B);
    if (n->in[ATTN_PAGES] && (pages->type != VM_I32 || pages->nd != 2 || pages->ne[0] != B))
        return vm_bad(g, "attention: the pages are %s%s, i32[%" PRId64 ",pages] is needed", vm_type_name(pages->type),
                      vm_shape_text(g, n->in[ATTN_PAGES], s), B);
    if (n->in[ATTN_FIRST] && (first->type != VM_I32 || first->nd != 2 || first->ne[0] != B || first->ne[1] != Tq))
        return vm_bad(g, "attention: the first keys are %s%s, i32[%" PRId64 ",%" PRId64 "] is needed",
                      vm_type_name(first->type), vm_shape_text(g, n->in[ATTN_FIRST], s), B, Tq);
    if (n->in[ATTN_PAGES] && n->i[ATTN_PACKED]) return vm_bad(g, "attention: packed queries, keys and values have no pages");
    if (!(n->f[1] >= 0)) return vm_bad(g, "attention: softcap %g is not positive", n->f[1]);
    return VM_OK;
}

static vm_status infer(vm_graph *g, vm_node *n) {
    int64_t NH = n->i[ATTN_NH], NKV = n->i[ATTN_NKV];
    bool packed = n->i[ATTN_PACKED];
    char s[64], t[64];
    if (NH < 1 || NKV < 1 || NH % NKV)
        return vm_bad(g, "attention: %" PRId64 " query heads do not divide among %" PRId64 " key heads", NH, NKV);
    for (int k = 0; k < (packed ? 1 : 3); k++)
        if (!n->in[k] || !vm_is_float(g->v[n->in[k]].type) || g->v[n->in[k]].nd != 3)
            return vm_bad(g, "attention: input %d is %s, (B,T,columns) is needed", k,
                          n->in[k] ? vm_shape_text(g, n->in[k], s) : "missing");
    if (!(n->f[0] >= 0)) return vm_bad(g, "attention: scale %g is not positive", n->f[0]);
    const vm_value *q = &g->v[n->in[0]];
    if (check_rows(g, n, q->ne[0], q->ne[1])) return VM_EMODEL;
    int64_t B = q->ne[0], Tq = q->ne[1], Tk = Tq, heads = packed ? NH + 2 * NKV : NH, HS = q->ne[2] / heads;
    if (HS < 1 || HS > ATTN_MAX_HS || HS * heads != q->ne[2])
        return vm_bad(g, "attention: %s has not %" PRId64 " heads of 1 to %d columns", vm_shape_text(g, n->in[0], s),
                      heads, ATTN_MAX_HS);
    if (!packed) {
        bool paged = n->in[ATTN_PAGES];
        int64_t first = paged ? g->v[n->in[ATTN_K]].ne[0] : B, rows = g->v[n->in[ATTN_K]].ne[1];
        Tk = paged ? g->v[n->in[ATTN_PAGES]].ne[1] * rows : rows;
        for (int k = ATTN_K; k <= ATTN_V; k++) {
            const int64_t *ne = g->v[n->in[k]].ne;
            if (ne[0] != first || ne[1] != rows || ne[2] != NKV * HS)
                return vm_bad(g,
                              "attention: queries %s with %" PRId64 " heads do not fit keys or values %s with %" PRId64,
                              vm_shape_text(g, n->in[0], s), NH, vm_shape_text(g, n->in[k], t), NKV);
        }
    }
    if (check_mask(g, n, B, Tk) || check_bias(g, n, B, Tq, Tk)) return VM_EMODEL;
    n->i[ATTN_HS] = HS;
    if (n->f[0] == 0) n->f[0] = 1 / sqrt((double)HS);
    vm_node_out(g, n, g->dtype, 3, (int64_t[]){ B, Tq, NH * HS });
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ B, NH, Tq });
    vm_node_out(g, n, VM_F32, 1, (int64_t[]){ attn_split_room(g, n) });
    return VM_OK;
}

/* out: a gradient per wanted input, in order; last a workspace: on the GPU D, else where dq must be summed over tiles of
 * keys the sums */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    attn_call a = attn_of(g, n);
    for (int k = 0; k < (n->i[ATTN_PACKED] ? 1 : 3); k++)
        if (n->i[ATTN_WANT] >> k & 1) vm_out_like(g, n, g->v[n->in[k]].type, n->in[k]);
    bool gpu = g->be->device == VM_CUDA_DEV;
    int64_t sums = gpu || a.Tk > attn_back_tile(a.HS) ? a.B * a.NH * a.Tq : 0;
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ sums, gpu ? 1 : (a.HS + 15) / 16 * 16 });
    return VM_OK;
}

static vm_status infer_bias_back(vm_graph *g, vm_node *n) { /* out dbias, D on the GPU */
    attn_call a = attn_of(g, n);
    vm_out_like(g, n, VM_F32, n->in[ATTN_BIAS]);
    vm_node_out(g, n, VM_F32, 1, (int64_t[]){ g->be->device == VM_CUDA_DEV ? a.B * a.NH * a.Tq : 0 });
    return VM_OK;
}

/* --- cost ---------------------------------------------------------------------------------------------------------- */
static double visible_pairs(const attn_call *a) { /* as if every query began at key 0, which only a run knows better */
    double pairs = 0;
    for (int64_t i = 0; i < a->Tq; i++) pairs += (double)VM_MAX(attn_hi(a, i) - attn_lo(a, i), (int64_t)0);
    return pairs * (double)(a->B * a->NH);
}

static void operand_bytes(const vm_graph *g, const vm_node *n, double *bytes) {
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k]) *bytes += (double)vm_count(g, n->in[k]) * (double)vm_type_size(g->v[n->in[k]].type);
    for (int k = 0; k < n->n_out; k++)
        *bytes += (double)vm_count(g, n->out[k]) * (double)vm_type_size(g->v[n->out[k]].type);
}

static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    attn_call a = attn_of(g, n);
    *flops = 4 * (double)a.HS * visible_pairs(&a);
    operand_bytes(g, n, bytes);
}
static void cost_back(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost(g, n, flops, bytes);
    *flops *= 2.5;
}

static const vm_op attention_back = {
    .name = "attention_back", .infer = infer_back, .cost = cost_back, .cpu = VM_CPU(attention_back_cpu),
    .cuda = VM_CUDA(attention_back_cuda)
};
static const vm_op attention_bias_back = { .name = "attention_bias_back", .infer = infer_bias_back, .cost = cost,
                                           .cpu = VM_CPU(attention_bias_back_cpu),
                                           .cuda = VM_CUDA(attention_bias_back_cuda) };

/* --- gradient ------------------------------------------------------------------------------------------------------ */
static void grad(vm_graph *g, const vm_node *n) {
    vm_val in[ATTN_N_BACK], bias = n->in[ATTN_BIAS];
    vm_node init = { .f = { n->f[0], n->f[1] } };
    for (int k = 0; k < ATTN_N_IN; k++) in[k] = n->in[k];
    for (int k = 0; k < ATTN_WANT; k++) init.i[k] = n->i[k];
    in[ATTN_DY] = vm_dy(g, n, 0), in[ATTN_Y] = n->out[0], in[ATTN_LSE] = n->out[1];
    if (!in[ATTN_DY]) return;
    bool wanted = vm_wants(g, in[0]) || vm_wants(g, in[1]) || vm_wants(g, in[2]) || vm_wants(g, bias);
    if (in[ATTN_PAGES] && wanted) {
        vm_bad(g, "attention: keys and values in pages have no gradient");
        return;
    }
    for (int k = 0; k < 3; k++) init.i[ATTN_WANT] |= (int64_t)vm_wants(g, in[k]) << k;
    if (init.i[ATTN_WANT]) {
        vm_node *back = vm_append(g, &attention_back, ATTN_N_BACK, in, &init);
        if (!back) return;
        vm_val out[VM_MAX_OUT];
        for (int k = 0; k < back->n_out; k++) out[k] = back->out[k];
        for (int k = 0, o = 0; k < 3; k++)
            if (init.i[ATTN_WANT] >> k & 1) vm_add_grad(g, in[k], out[o++]);
    }
    if (vm_wants(g, bias)) {
        vm_node *back = vm_append(g, &attention_bias_back, ATTN_N_BACK, in, &init);
        if (back) vm_add_grad(g, bias, back->out[0]);
    }
}

/* --- constructors -------------------------------------------------------------------------------------------------- */
static const vm_op attention = {
    .name = "attention", .infer = infer, .grad = grad, .cost = cost, .cpu = VM_CPU(attention_cpu),
    .cuda = VM_CUDA(attention_cuda)
};

static vm_val append(vm_graph *g, vm_val q, vm_val k, vm_val v, vm_attn a, bool packed) {
    vm_node init = { .f = { (double)a.scale, (double)a.softcap },
                     .i = { a.NH, a.NKV, 0, a.causal, VM_MAX(a.window, 0), packed, 0 } };
    return vm_append1(g, &attention, ATTN_N_IN, (vm_val[]){ q, k, v, a.key_mask, a.bias, a.lengths, a.pages, a.first },
                      &init);
}
vm_val vm_attention(vm_graph *g, vm_val q, vm_val k, vm_val v, vm_attn a) { return append(g, q, k, v, a, false); }
vm_val vm_attention_packed(vm_graph *g, vm_val qkv, vm_attn a) { return append(g, qkv, 0, 0, a, true); }
