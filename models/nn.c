/* nn.c - see nn.h. */
#include "models/nn.h"

#include <string.h>

/* Columns at.. of y, n of them, plus s B (A x) of a part, turned to its magnitudes. */
static vm_val with_part(vm_graph *g, vm_val x, vm_val y, const nn_lora *l, const nn_lora_part *p) {
    vm_val h = vm_scale(g, vm_linear(g, x, vm_weight(g, p->a), 0, VM_NONE, 0, VM_F32), l->scale, 0);
    vm_val z = y ? vm_linear(g, h, vm_weight(g, p->b), 0, VM_NONE, y, g->v[y].type) : 0;
    return p->m ? vm_binary(g, z, vm_binary(g, vm_weight(g, p->m), vm_weight(g, p->n), VM_DIV), VM_MUL) : z;
}

static vm_val add_low_rank(vm_graph *g, vm_val x, vm_val y, const nn_lora *l) {
    if (!x || !y) return 0;
    const int64_t N = vm_cols(g, y);
    const int last = g->v[y].nd - 1;
    if (l->n == 1 && l->part[0].rows == N) return with_part(g, x, y, l, &l->part[0]);
    vm_val piece[2 * NN_LORA_PARTS + 1]; /* parts and what lies between them */
    int n = 0;
    int64_t at = 0;
    for (int k = 0; k <= l->n; k++) {
        int64_t next = k < l->n ? l->part[k].at : N;
        if (next > at) piece[n++] = vm_slice(g, y, last, at, next - at);
        at = next;
        if (k == l->n) break;
        piece[n++] = with_part(g, x, vm_slice(g, y, last, at, l->part[k].rows), l, &l->part[k]);
        at += l->part[k].rows;
    }
    return vm_concat(g, n, piece, last);
}

static vm_val weight_or_0(vm_graph *g, vm_param *p) { return p ? vm_weight(g, p) : 0; }

/* The columns of x (...,K) in another order. */
static vm_val columns(vm_graph *g, vm_val x, vm_val order) {
    if (!x) return 0;
    vm_value v = g->v[x];
    const int turn[] = { 1, 0 };
    vm_val rows = vm_permute(g, vm_reshape(g, x, 2, (int64_t[]){ vm_rows(g, x), vm_cols(g, x) }), turn);
    return vm_reshape(g, vm_permute(g, vm_gather_rows(g, rows, order), turn), v.nd, v.ne);
}

static vm_quant quant_of(vm_graph *g, const nn_quant *q) {
    return (vm_quant){ (vm_quant_kind)q->kind, q->block, weight_or_0(g, q->zeros), weight_or_0(g, q->nested) };
}

/* x W^T + b [+ residual], W in numbers or in codes and scales. */
static vm_val product(vm_graph *g, vm_val x, vm_param *w, vm_param *b, vm_val residual, vm_type out) {
    const nn_quant *q = w->quant;
    if (!q) return vm_linear(g, x, vm_weight(g, w), weight_or_0(g, b), VM_NONE, residual, out);
    if (q->order) x = columns(g, x, vm_weight(g, q->order));
    return vm_linear_q(g, x, vm_weight(g, q->codes), vm_weight(g, q->scales), weight_or_0(g, b), quant_of(g, q), residual, out);
}

vm_val nn_experts(vm_graph *g, vm_val x, vm_param *w, vm_val offsets, vm_type out) {
    const nn_quant *q = w->quant;
    if (!q) return vm_experts(g, x, vm_weight(g, w), offsets, out);
    return vm_experts_q(g, x, vm_weight(g, q->codes), vm_weight(g, q->scales), offsets, weight_or_0(g, q->order), quant_of(g, q), out);
}

vm_val nn_linear(vm_graph *g, vm_val x, vm_param *w, vm_param *b, vm_unary_kind act, vm_val residual, vm_type out) {
    if (!w->lora && !w->quant) return vm_linear(g, x, vm_weight(g, w), weight_or_0(g, b), act, residual, out);
    const bool turned = w->lora && w->lora->part[0].m; /* bias and residual are no part of what is turned */
    bool later = act != VM_NONE || turned; /* the addition comes before the activation, the residual after it */
    vm_val y = product(g, x, w, turned ? NULL : b, later ? 0 : residual, turned ? VM_F32 : out);
    if (w->lora) y = add_low_rank(g, x, y, w->lora);
    if (!later) return y;
    if (turned && b) y = vm_binary(g, y, vm_weight(g, b), VM_ADD);
    if (act != VM_NONE) y = vm_unary(g, y, act, residual ? VM_F32 : out);
    if (residual) y = vm_binary(g, y, residual, VM_ADD);
    return residual || act != VM_NONE ? y : vm_cast(g, y, out);
}

vm_val nn_drop_path(vm_graph *g, vm_val x, float p) {
    if (!x || p <= 0) return x;
    const vm_value v = g->v[x];
    const int64_t B = v.ne[0];
    vm_val ones = vm_scale(g, vm_randn(g, VM_F32, 1, &B), 0, 1), kept = vm_broadcast(g, vm_dropout(g, ones, p), vm_count(g, x) / B);
    return vm_binary(g, x, vm_reshape(g, vm_permute(g, kept, (const int[]){ 1, 0 }), v.nd, v.ne), VM_MUL);
}

vm_val nn_norm(vm_graph *g, vm_val x, vm_param *w, vm_param *b, float eps, vm_type out) {
    return vm_layernorm(g, x, vm_weight(g, w), vm_weight(g, b), eps, out);
}

void nn_layer_new(weight_set *w, nn_layer *l, int64_t C, int64_t mlp, nn_kind kind, const char *name) {
    const bool split = kind != NN_FUSED, ln1 = kind != NN_POOL;
    int64_t c1[] = { C }, c3[] = { 3 * C }, m1[] = { mlp }, cc[] = { C, C }, c3c[] = { 3 * C, C }, mc[] = { mlp, C }, cm[] = { C, mlp };
    const struct { vm_param **p; int nd; const int64_t *ne; const char *part; bool want; } parts[] = {
        { &l->ln1_w, 1, c1, "ln1.weight", ln1 },     { &l->ln1_b, 1, c1, "ln1.bias", ln1 },
        { &l->qkv_w, 2, c3c, "qkv.weight", !split },  { &l->qkv_b, 1, c3, "qkv.bias", !split },
        { &l->q_w, 2, cc, "q.weight", split },        { &l->q_b, 1, c1, "q.bias", split },
        { &l->k_w, 2, cc, "k.weight", split },        { &l->k_b, 1, c1, "k.bias", split },
        { &l->v_w, 2, cc, "v.weight", split },        { &l->v_b, 1, c1, "v.bias", split },
        { &l->out_w, 2, cc, "out.weight", true },     { &l->out_b, 1, c1, "out.bias", true },
        { &l->ln2_w, 1, c1, "ln2.weight", true },     { &l->ln2_b, 1, c1, "ln2.bias", true },
        { &l->fc1_w, 2, mc, "fc1.weight", true },     { &l->fc1_b, 1, m1, "fc1.bias", true },
        { &l->fc2_w, 2, cm, "fc2.weight", true },     { &l->fc2_b, 1, c1, "fc2.bias", true },
    };
    for (int k = 0; k < VM_LEN(parts); k++)
        if (parts[k].want) *parts[k].p = weight_new(w, parts[k].nd, parts[k].ne, "%s.%s", name, parts[k].part);
}

/* In training, what is cheap to compute again (norms, activations) is not kept: a segment of it and the product that reads
 * it. The product's own clone is dead, so a third of the activations goes for a percent of the time. */
static void cheap_begin(vm_graph *g, const nn_attn *a) {
    if (g->training && !a->recompute) vm_checkpoint_begin(g);
}
static void cheap_end(vm_graph *g, const nn_attn *a) {
    if (g->training && !a->recompute) vm_checkpoint_end(g);
}

static vm_val norm_linear(vm_graph *g, vm_val x, vm_param *nw, vm_param *nb, vm_param *w, vm_param *b, vm_unary_kind act, const nn_attn *a) {
    cheap_begin(g, a);
    vm_val h = nn_linear(g, nn_norm(g, x, nw, nb, a->eps, g->dtype), w, b, act, 0, g->dtype);
    cheap_end(g, a);
    return h;
}

static vm_val mlp(vm_graph *g, vm_val x, const nn_layer *l, nn_attn a) {
    vm_unary_kind fused = g->training ? VM_NONE : a.act;
    vm_val h = norm_linear(g, x, l->ln2_w, l->ln2_b, l->fc1_w, l->fc1_b, fused, &a);
    cheap_begin(g, &a);
    if (fused == VM_NONE) h = vm_unary(g, h, a.act, g->dtype);
    x = nn_linear(g, h, l->fc2_w, l->fc2_b, VM_NONE, x, VM_F32);
    cheap_end(g, &a);
    return x;
}

vm_val nn_layer_all(vm_graph *g, vm_val x, const nn_layer *l, nn_attn a) {
    if (a.recompute) vm_checkpoint_begin(g);
    vm_val h = norm_linear(g, x, l->ln1_w, l->ln1_b, l->qkv_w, l->qkv_b, VM_NONE, &a);
    h = vm_attention_packed(g, h, (vm_attn){ .NH = a.NH, .NKV = a.NH, .causal = a.causal, .key_mask = a.key_mask });
    x = nn_linear(g, h, l->out_w, l->out_b, VM_NONE, x, VM_F32);
    x = mlp(g, x, l, a);
    if (a.recompute) vm_checkpoint_end(g);
    return x;
}

static vm_val row(vm_graph *g, vm_val x, vm_val idx, int64_t at) {
    if (idx) return vm_pick(g, x, idx);
    return vm_reshape(g, vm_slice(g, x, 1, at, 1), 2, (int64_t[]){ vm_dim(g, x, 0), vm_dim(g, x, 2) });
}

vm_val nn_layer_one(vm_graph *g, vm_val x, vm_val idx, const nn_layer *l, nn_attn a) {
    if (!x) return 0;
    int64_t B = vm_dim(g, x, 0), C = vm_dim(g, x, 2);
    vm_val h = nn_norm(g, x, l->ln1_w, l->ln1_b, a.eps, g->dtype);
    vm_val q = nn_linear(g, row(g, h, idx, a.row), l->q_w, l->q_b, VM_NONE, 0, g->dtype);
    vm_val k = nn_linear(g, h, l->k_w, l->k_b, VM_NONE, 0, g->dtype), v = nn_linear(g, h, l->v_w, l->v_b, VM_NONE, 0, g->dtype);
    q = vm_reshape(g, q, 3, (int64_t[]){ B, 1, C });
    h = vm_attention(g, q, k, v, (vm_attn){ .NH = a.NH, .NKV = a.NH, .key_mask = a.key_mask });
    h = vm_reshape(g, h, 2, (int64_t[]){ B, C });
    x = nn_linear(g, h, l->out_w, l->out_b, VM_NONE, row(g, x, idx, a.row), VM_F32);
    return mlp(g, x, l, a);
}

vm_val nn_pool(vm_graph *g, vm_val x, vm_param *probe, const nn_layer *l, nn_attn a) {
    if (!x) return 0;
    int64_t B = vm_dim(g, x, 0), C = vm_dim(g, x, 2);
    vm_val q = nn_linear(g, vm_weight(g, probe), l->q_w, l->q_b, VM_NONE, 0, g->dtype); /* the same for all: once */
    vm_val k = nn_linear(g, x, l->k_w, l->k_b, VM_NONE, 0, g->dtype), v = nn_linear(g, x, l->v_w, l->v_b, VM_NONE, 0, g->dtype);
    vm_val h = vm_attention(g, vm_broadcast(g, q, B), k, v, (vm_attn){ .NH = a.NH, .NKV = a.NH, .key_mask = a.key_mask });
    h = vm_reshape(g, h, 2, (int64_t[]){ B, C });
    return mlp(g, nn_linear(g, h, l->out_w, l->out_b, VM_NONE, 0, VM_F32), l, a);
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
const nn_names nn_names_hf = { "self_attn.%c_proj.", "self_attn.out_proj.", "layer_norm1.", "layer_norm2.", "mlp.fc1.", "mlp.fc2.", false };
const nn_names nn_names_open_clip = { "attn.in_proj_", "attn.out_proj.", "ln_1.", "ln_2.", "mlp.c_fc.", "mlp.c_proj.", true };
const nn_names nn_names_timm = { "attn.qkv.", "attn.proj.", "norm1.", "norm2.", "mlp.fc1.", "mlp.fc2.", true };

/* Query, key and value are thirds of one parameter or parameters of their own; thirds of one file tensor or three. */
static void tie_qkv(weight_map *map, const nn_layer *l, int64_t C, const nn_names *names, const char *pre) {
    vm_param *const w[] = { l->q_w, l->k_w, l->v_w }, *const b[] = { l->q_b, l->k_b, l->v_b };
    for (int bias = 0; bias < 2; bias++)
        for (int k = 0; k < 3; k++) {
            vm_param *p = l->qkv_w ? (bias ? l->qkv_b : l->qkv_w) : (bias ? b[k] : w[k]);
            int64_t at = l->qkv_w ? k * C : 0, file_at = names->joined ? k * C : 0, ne[] = { names->joined ? 3 * C : C, C };
            const char *letter = names->joined ? NULL : strchr(names->in_proj, '%');
            int head = letter ? (int)(letter - names->in_proj) : (int)strlen(names->in_proj);
            char third[2] = { letter ? "qkv"[k] : 0 };
            tie_rows(map, p, at, C, file_at, bias ? 1 : 2, ne, "%s%.*s%s%s%s", pre, head, names->in_proj, third, letter ? letter + 2 : "",
                     bias ? "bias" : "weight");
        }
}

void nn_tie_layer(weight_map *m, const nn_layer *l, int64_t C, int64_t mlp, const nn_names *names, const char *pre) {
    const int64_t cc[] = { C, C }, mc[] = { mlp, C }, cm[] = { C, mlp };
    const struct { vm_param *w, *b; const int64_t *ne; int nd; int64_t bias; const char *name; } parts[] = {
        { l->out_w, l->out_b, cc, 2, C, names->out }, { l->ln1_w, l->ln1_b, cc, 1, C, names->ln1 },
        { l->ln2_w, l->ln2_b, cc, 1, C, names->ln2 }, { l->fc1_w, l->fc1_b, mc, 2, mlp, names->fc1 },
        { l->fc2_w, l->fc2_b, cm, 2, C, names->fc2 },
    };
    tie_qkv(m, l, C, names, pre);
    for (int k = 0; k < VM_LEN(parts); k++) {
        if (!parts[k].name) continue;
        tie_whole(m, parts[k].w, parts[k].nd, parts[k].ne, 0, "%s%sweight", pre, parts[k].name);
        tie_whole(m, parts[k].b, 1, &parts[k].bias, 0, "%s%sbias", pre, parts[k].name);
    }
}

void nn_tie_layers(weight_map *m, const nn_layer *layers, int64_t n, int64_t C, int64_t mlp, const nn_names *names, const char *prefix) {
    for (int64_t i = 0; i < n; i++) {
        char pre[128];
        snprintf(pre, sizeof pre, "%s.%d.", prefix, (int)i);
        nn_tie_layer(m, &layers[i], C, mlp, names, pre);
    }
}

/* --- activations ---------------------------------------------------------------------------------------------------- */
static const struct { const char *name; vm_unary_kind k; } acts[] = {
    { "quick_gelu", VM_QUICK_GELU },     { "gelu", VM_GELU }, { "gelu_pytorch_tanh", VM_GELU_TANH },
    { "gelu_new", VM_GELU_TANH },        { "silu", VM_SILU }, { "swish", VM_SILU },
    { "relu", VM_RELU },
};

vm_unary_kind nn_activation(const char *name) {
    for (int k = 0; k < VM_LEN(acts); k++)
        if (!strcmp(name, acts[k].name)) return acts[k].k;
    return VM_NONE;
}

const char *nn_activation_name(vm_unary_kind k) {
    for (int i = 0; i < VM_LEN(acts); i++)
        if (acts[i].k == k) return acts[i].name;
    return "none";
}
