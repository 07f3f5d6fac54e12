/* nn.c - see nn.h. */
#include "models/nn.h"

#include <string.h>

vm_val nn_linear(vm_graph *g, vm_val x, vm_param *w, vm_param *b, vm_unary_kind act, vm_val residual, vm_type out) {
    return vm_linear(g, x, vm_weight(g, w), b ? vm_weight(g, b) : 0, act, residual, out);
}

vm_val nn_norm(vm_graph *g, vm_val x, vm_param *w, vm_param *b, float eps, vm_type out) {
    return vm_layernorm(g, x, vm_weight(g, w), vm_weight(g, b), eps, out);
}

void nn_layer_new(weight_set *w, nn_layer *l, int64_t C, int64_t mlp, bool split, const char *name) {
    int64_t c1[] = { C }, c3[] = { 3 * C }, m1[] = { mlp }, cc[] = { C, C }, c3c[] = { 3 * C, C }, mc[] = { mlp, C }, cm[] = { C, mlp };
    const struct { vm_param **p; int nd; const int64_t *ne; const char *part; bool want; } parts[] = {
        { &l->ln1_w, 1, c1, "ln1.weight", true },     { &l->ln1_b, 1, c1, "ln1.bias", true },
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

static vm_val row(vm_graph *g, vm_val x, vm_val idx) {
    if (idx) return vm_pick(g, x, idx);
    return vm_reshape(g, vm_slice(g, x, 1, 0, 1), 2, (int64_t[]){ vm_dim(g, x, 0), vm_dim(g, x, 2) });
}

vm_val nn_layer_one(vm_graph *g, vm_val x, vm_val idx, const nn_layer *l, nn_attn a) {
    if (!x) return 0;
    int64_t B = vm_dim(g, x, 0), C = vm_dim(g, x, 2);
    vm_val h = nn_norm(g, x, l->ln1_w, l->ln1_b, a.eps, g->dtype);
    vm_val q = nn_linear(g, row(g, h, idx), l->q_w, l->q_b, VM_NONE, 0, g->dtype);
    vm_val k = nn_linear(g, h, l->k_w, l->k_b, VM_NONE, 0, g->dtype), v = nn_linear(g, h, l->v_w, l->v_b, VM_NONE, 0, g->dtype);
    q = vm_reshape(g, q, 3, (int64_t[]){ B, 1, C });
    h = vm_attention(g, q, k, v, (vm_attn){ .NH = a.NH, .NKV = a.NH, .key_mask = a.key_mask });
    h = vm_reshape(g, h, 2, (int64_t[]){ B, C });
    x = nn_linear(g, h, l->out_w, l->out_b, VM_NONE, row(g, x, idx), VM_F32);
    return mlp(g, x, l, a);
}

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
