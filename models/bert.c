/* bert.c - the graph of bert.h. Texts that share a picture are stacked into one sequence of queries for cross-attention, so
 * that the picture's keys and values are computed once: nothing is masked there, so queries do not know of each other. */
#include "models/bert.h"

#include <string.h>

/* --- parameters ----------------------------------------------------------------------------------------------------- */
static void new_attn(weight_set *w, bert_attn *a, int64_t C, int64_t from, bool split, const char *name) {
    int64_t c1[] = { C }, c3[] = { 3 * C }, cc[] = { C, C }, c3c[] = { 3 * C, C }, cf[] = { C, from };
    const struct { vm_param **p; int nd; const int64_t *ne; const char *part; bool want; } parts[] = {
        { &a->qkv_w, 2, c3c, "qkv.weight", !split }, { &a->qkv_b, 1, c3, "qkv.bias", !split },
        { &a->q_w, 2, cc, "q.weight", split },       { &a->q_b, 1, c1, "q.bias", split },
        { &a->k_w, 2, cf, "k.weight", split },       { &a->k_b, 1, c1, "k.bias", split },
        { &a->v_w, 2, cf, "v.weight", split },       { &a->v_b, 1, c1, "v.bias", split },
        { &a->out_w, 2, cc, "out.weight", true },    { &a->out_b, 1, c1, "out.bias", true },
        { &a->ln_w, 1, c1, "ln.weight", true },      { &a->ln_b, 1, c1, "ln.bias", true },
    };
    for (int k = 0; k < VM_LEN(parts); k++)
        if (parts[k].want) *parts[k].p = weight_new(w, parts[k].nd, parts[k].ne, "%s.%s", name, parts[k].part);
}

vm_status bert_text_new(bert_text *m, weight_set *w, const bert_config *c, const char *name, vm_error *e) {
    int64_t C = c->width, M = c->mlp, cc[] = { C, C }, mc[] = { M, C }, cm[] = { C, M };
    char part[64];
    *m = (bert_text){ .c = *c, .layer = vm_calloc((size_t)c->layers + 1, sizeof *m->layer) };
    if (!m->layer) return vm_nomem(e, (size_t)c->layers * sizeof *m->layer, "a BERT model");
    m->word = weight_new(w, 2, (int64_t[]){ c->vocab, C }, "%s.word", name);
    m->position = weight_new(w, 2, (int64_t[]){ c->positions, C }, "%s.position", name);
    if (c->types) m->type = weight_new(w, 2, (int64_t[]){ c->types, C }, "%s.type", name);
    m->ln_w = weight_new(w, 1, &C, "%s.ln.weight", name), m->ln_b = weight_new(w, 1, &C, "%s.ln.bias", name);
    for (int64_t i = 0; i < c->layers; i++) {
        bert_layer *l = &m->layer[i];
        snprintf(part, sizeof part, "%s.%d.self", name, (int)i);
        new_attn(w, &l->self, C, C, c->first_only && i == c->layers - 1, part);
        snprintf(part, sizeof part, "%s.%d.cross", name, (int)i);
        if (c->cross) new_attn(w, &l->cross, C, c->cross, true, part);
        l->fc1_w = weight_new(w, 2, mc, "%s.%d.fc1.weight", name, (int)i), l->fc1_b = weight_new(w, 1, &M, "%s.%d.fc1.bias", name, (int)i);
        l->fc2_w = weight_new(w, 2, cm, "%s.%d.fc2.weight", name, (int)i), l->fc2_b = weight_new(w, 1, &C, "%s.%d.fc2.bias", name, (int)i);
        l->ln_w = weight_new(w, 1, &C, "%s.%d.ln.weight", name, (int)i), l->ln_b = weight_new(w, 1, &C, "%s.%d.ln.bias", name, (int)i);
    }
    if (c->pooler) m->pool_w = weight_new(w, 2, cc, "%s.pool.weight", name), m->pool_b = weight_new(w, 1, &C, "%s.pool.bias", name);
    if (w->err.status) *e = w->err;
    return e->status;
}

void bert_text_free(bert_text *m) {
    vm_free(m->layer);
    m->layer = NULL;
}

/* --- graph ---------------------------------------------------------------------------------------------------------- */
static vm_val embed(vm_graph *g, const bert_text *m, const bert_input *in) {
    int64_t T = vm_dim(g, in->ids, 1), C = m->c.width;
    vm_val x = vm_embedding(g, vm_weight(g, m->word), in->ids);
    if (in->positions) x = vm_binary(g, x, vm_embedding(g, vm_weight(g, m->position), in->positions), VM_ADD);
    else x = vm_binary(g, x, vm_slice(g, vm_weight(g, m->position), 0, 0, T), VM_ADD);
    if (m->type && in->types) x = vm_binary(g, x, vm_embedding(g, vm_weight(g, m->type), in->types), VM_ADD);
    else if (m->type) x = vm_binary(g, x, vm_reshape(g, vm_slice(g, vm_weight(g, m->type), 0, 0, 1), 1, &C), VM_ADD);
    return nn_norm(g, x, m->ln_w, m->ln_b, m->c.eps, VM_F32);
}

/* LN(x + out(h)) */
static vm_val add_norm(vm_graph *g, const bert_text *m, vm_val x, vm_val h, const bert_attn *a) {
    return nn_norm(g, nn_linear(g, h, a->out_w, a->out_b, VM_NONE, x, VM_F32), a->ln_w, a->ln_b, m->c.eps, VM_F32);
}

static vm_val act(vm_graph *g, vm_val x) { return vm_cast(g, x, g->dtype); }

/* x (B,T,C) -> (B,T,C), or (B,1,C) when only the first row goes on. */
static vm_val self_attention(vm_graph *g, const bert_text *m, vm_val x, const bert_attn *a, const bert_input *in, bool first) {
    vm_attn how = { .NH = (int)m->c.heads, .NKV = (int)m->c.heads, .key_mask = in->key_mask, .bias = in->bias };
    vm_val y = act(g, x);
    if (!first) return add_norm(g, m, x, vm_attention_packed(g, nn_linear(g, y, a->qkv_w, a->qkv_b, VM_NONE, 0, g->dtype), how), a);
    if (in->bias) how.bias = vm_slice(g, in->bias, g->v[in->bias].nd - 2, 0, 1);
    vm_val q = nn_linear(g, vm_slice(g, y, 1, 0, 1), a->q_w, a->q_b, VM_NONE, 0, g->dtype);
    vm_val k = nn_linear(g, y, a->k_w, a->k_b, VM_NONE, 0, g->dtype), v = nn_linear(g, y, a->v_w, a->v_b, VM_NONE, 0, g->dtype);
    return add_norm(g, m, vm_slice(g, x, 1, 0, 1), vm_attention(g, q, k, v, how), a);
}

static vm_val cross_attention(vm_graph *g, const bert_text *m, vm_val x, const bert_attn *a, vm_val rows) {
    if (!x || !rows) return 0;
    int64_t B = vm_dim(g, x, 0), T = vm_dim(g, x, 1), C = m->c.width, I = vm_dim(g, rows, 0);
    vm_val q = nn_linear(g, act(g, x), a->q_w, a->q_b, VM_NONE, 0, g->dtype);
    vm_val k = nn_linear(g, rows, a->k_w, a->k_b, VM_NONE, 0, g->dtype), v = nn_linear(g, rows, a->v_w, a->v_b, VM_NONE, 0, g->dtype);
    q = vm_reshape(g, q, 3, (int64_t[]){ I, B / I * T, C });
    vm_val h = vm_attention(g, q, k, v, (vm_attn){ .NH = (int)m->c.heads, .NKV = (int)m->c.heads });
    return add_norm(g, m, x, vm_reshape(g, h, 3, (int64_t[]){ B, T, C }), a);
}

static vm_val mlp(vm_graph *g, const bert_text *m, vm_val x, const bert_layer *l) {
    vm_val h = nn_linear(g, act(g, x), l->fc1_w, l->fc1_b, m->c.act, 0, g->dtype);
    return nn_norm(g, nn_linear(g, h, l->fc2_w, l->fc2_b, VM_NONE, x, VM_F32), l->ln_w, l->ln_b, m->c.eps, VM_F32);
}

/* All rows, or (B,1,C) with `first`. */
static vm_val layers(vm_graph *g, const bert_text *m, const bert_input *in, bool first) {
    if (!in->ids) return 0;
    int64_t B = vm_dim(g, in->ids, 0), T = vm_dim(g, in->ids, 1);
    if (T > m->c.positions || T < 1) return vm_bad(g, "texts of %d tokens for a model of %d positions", (int)T, (int)m->c.positions), 0;
    vm_val rows = in->rows && m->c.cross ? act(g, in->rows) : 0;
    if (in->rows && (!rows || vm_dim(g, rows, 0) < 1 || B % vm_dim(g, rows, 0)))
        return vm_bad(g, "%d texts for the rows of %d pictures in a model %s cross-attention", (int)B, (int)vm_dim(g, in->rows, 0), m->c.cross ? "with" : "without"), 0;
    vm_scope(g, m->word->name);
    vm_val x = embed(g, m, in);
    for (int64_t i = 0; i < m->c.layers; i++) {
        const bert_layer *l = &m->layer[i];
        vm_scope(g, l->ln_w->name);
        x = self_attention(g, m, x, &l->self, in, first && i == m->c.layers - 1);
        if (rows) x = cross_attention(g, m, x, &l->cross, rows);
        x = mlp(g, m, x, l);
    }
    vm_scope(g, NULL);
    return x;
}

vm_val bert_hidden(vm_graph *g, const bert_text *m, const bert_input *in) {
    if (m->c.first_only) return vm_bad(g, "this text encoder was made for its first row alone"), 0;
    return layers(g, m, in, false);
}

vm_val bert_first(vm_graph *g, const bert_text *m, const bert_input *in) {
    vm_val x = layers(g, m, in, m->c.first_only);
    return x ? vm_reshape(g, vm_slice(g, x, 1, 0, 1), 2, (int64_t[]){ vm_dim(g, x, 0), m->c.width }) : 0;
}

vm_val bert_pool(vm_graph *g, const bert_text *m, vm_val first) {
    if (!m->pool_w) return vm_bad(g, "this text encoder has no pooler"), 0;
    return vm_unary(g, nn_linear(g, act(g, first), m->pool_w, m->pool_b, VM_NONE, 0, VM_F32), VM_TANH, VM_F32);
}

vm_val bert_sentence(vm_graph *g, vm_val hidden, vm_val mask) {
    if (!hidden || !mask) return 0;
    int64_t B = vm_dim(g, hidden, 0), T = vm_dim(g, hidden, 1), C = vm_dim(g, hidden, 2);
    vm_val sum = vm_matmul(g, vm_reshape(g, mask, 3, (int64_t[]){ B, 1, T }), hidden, false, false, 1, VM_F32);
    return vm_l2norm(g, vm_reshape(g, sum, 2, (int64_t[]){ B, C }), 1e-12f); /* the mean's length does not matter */
}
