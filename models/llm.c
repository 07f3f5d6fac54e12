/* llm.c - the graphs of llm.h. */
#include "models/llm_decode.h"

#include <math.h>
#include <string.h>

/* --- parameters ----------------------------------------------------------------------------------------------------- */
static void new_layer(llm *m, llm_layer *l, int i) {
    const llm_config *c = &m->c;
    int64_t H = c->width, I = c->mlp, Q = c->NH * c->HS, K = c->NKV * c->HS;
    const bool one = !c->experts;
    const struct { vm_param **p; int64_t out, in; const char *name; bool want; } parts[] = {
        { &l->ln1, H, 0, "ln1", true },
        { &l->q_w, Q, H, "q.weight", true },       { &l->q_b, Q, 0, "q.bias", c->qkv_bias },
        { &l->k_w, K, H, "k.weight", true },       { &l->k_b, K, 0, "k.bias", c->qkv_bias },
        { &l->v_w, K, H, "v.weight", true },       { &l->v_b, K, 0, "v.bias", c->qkv_bias },
        { &l->o_w, H, Q, "o.weight", true },       { &l->o_b, H, 0, "o.bias", c->out_bias },
        { &l->ln2, H, 0, "ln2", true },
        { &l->gate_w, I, H, "gate.weight", one },  { &l->gate_b, I, 0, "gate.bias", c->mlp_bias },
        { &l->up_w, I, H, "up.weight", one },      { &l->up_b, I, 0, "up.bias", c->mlp_bias },
        { &l->down_w, H, I, "down.weight", one },  { &l->down_b, H, 0, "down.bias", c->mlp_bias },
        { &l->router, c->experts, H, "router.weight", !one },
    };
    const struct { vm_param **p; int64_t out, in; const char *name; } experts[] = {
        { &l->gate_w, I, H, "gate" }, { &l->up_w, I, H, "up" }, { &l->down_w, H, I, "down" } };
    for (int k = 0; k < VM_LEN(parts); k++)
        if (parts[k].want)
            *parts[k].p = weight_new(&m->w, parts[k].in ? 2 : 1, (int64_t[]){ parts[k].out, parts[k].in }, "layers.%d.%s", i, parts[k].name);
    for (int k = 0; k < VM_LEN(experts) && !one; k++)
        *experts[k].p = weight_new(&m->w, 3, (int64_t[]){ c->experts, experts[k].out, experts[k].in }, "layers.%d.%s.weight", i, experts[k].name);
}

vm_status llm_make(llm **out, vm_backend *be, const llm_config *c, vm_error *e) {
    llm *m = *out = vm_calloc(1, sizeof *m);
    if (!m) return vm_nomem(e, sizeof *m, "a language model");
    m->c = *c, m->w.be = be;
    if (!(m->layer = vm_calloc((size_t)c->layers + 1, sizeof *m->layer))) return vm_nomem(e, (size_t)c->layers * sizeof *m->layer, "a language model");
    m->embed = weight_new(&m->w, 2, (int64_t[]){ c->vocab, c->width }, "embed");
    for (int64_t i = 0; i < c->layers; i++) new_layer(m, &m->layer[i], (int)i);
    m->norm = weight_new(&m->w, 1, &c->width, "norm");
    m->head = c->tied ? m->embed : weight_new(&m->w, 2, (int64_t[]){ c->vocab, c->width }, "head");
    if (m->w.err.status) *e = m->w.err;
    return e->status;
}

void llm_free(llm *m) {
    if (!m) return;
    lora_free(m->adapter);
    weights_free(&m->w);
    llm_config_free(&m->c);
    vm_free(m->layer);
    vm_free(m->unused);
    st_close(m->file);
    gguf_close(m->gguf);
    vm_free(m);
}

vm_status llm_new(llm **out, vm_backend *be, const llm_config *c, uint64_t seed, vm_error *e) {
    llm *m = NULL;
    if (!llm_make(&m, be, c, e)) {
        snprintf(m->prefix, sizeof m->prefix, "model.");
        for (int64_t i = 0; i < m->w.n && !e->status; i++) {
            vm_param *p = m->w.p[i];
            const char *dot = strrchr(p->name, '.');
            bool ends_branch = strstr(p->name, ".o.weight") || strstr(p->name, ".down.weight");
            p->decay = p->nd > 1;
            if (p->nd > 1) weight_normal(p, seed, (uint64_t)i, ends_branch ? 0.02 / sqrt(2.0 * (double)c->layers) : 0.02, e);
            else weight_fill(p, dot && !strcmp(dot, ".bias") ? 0 : c->gemma ? 0 : 1, e);
        }
    }
    if (e->status) llm_free(m), m = NULL;
    *out = m;
    return e->status;
}

/* --- graph ---------------------------------------------------------------------------------------------------------- */
static vm_val norm(vm_graph *g, const llm *m, vm_val x, vm_param *w, vm_type out) {
    vm_val by = vm_weight(g, w);
    return vm_rmsnorm(g, x, m->c.gemma ? vm_scale(g, by, 1, 1) : by, m->c.eps, out);
}

/* The table of angles that all layers share. */
static vm_val angles(vm_graph *g, const llm *m, vm_val positions, int64_t length) {
    vm_rope_kind k = m->c.rope;
    k.length = length;
    if (k.scaling == VM_ROPE_LONG) k.divisors = length > k.original ? m->c.long_divisors : m->c.short_divisors;
    return vm_rope_table(g, positions, &k);
}

/* x: where keys and values are kept; NULL = nowhere, all of them are h's own. */
static vm_val attention(vm_graph *g, const llm *m, const llm_layer *l, int64_t i, vm_val h, vm_val table, vm_val key_mask, vm_val first,
                        const llm_step *x) {
    const llm_config *c = &m->c;
    vm_attn how = { .NH = (int)c->NH, .NKV = (int)c->NKV, .causal = true, .key_mask = key_mask, .first = first,
                    .window = i >= c->window_from ? (int)c->window : 0 };
    vm_val q = nn_linear(g, h, l->q_w, l->q_b, VM_NONE, 0, g->dtype), k = nn_linear(g, h, l->k_w, l->k_b, VM_NONE, 0, g->dtype),
           v = nn_linear(g, h, l->v_w, l->v_b, VM_NONE, 0, g->dtype);
    q = vm_rope(g, q, table, how.NH, how.NH, false, g->dtype), k = vm_rope(g, k, table, how.NKV, how.NKV, false, g->dtype);
    if (x) {
        k = vm_kv_append(g, vm_weight(g, x->cache[2 * i]), k, x->at, x->written, x->pages);
        v = vm_kv_append(g, vm_weight(g, x->cache[2 * i + 1]), v, x->at, x->written, x->pages);
        how.lengths = x->seen, how.pages = x->pages;
    }
    return vm_attention(g, q, k, v, how);
}

/* Each token goes through the experts that its router likes best, and their results are mixed by the router's weights, made to sum
 * to 1 (which is the softmax over these alone): rows are sorted by expert, multiplied, and fetched back. */
static vm_val mixture(vm_graph *g, const llm *m, const llm_layer *l, vm_val h, vm_val residual) {
    const llm_config *c = &m->c;
    if (!h) return 0;
    int64_t M = vm_rows(g, h), H = c->width;
    vm_val best, flat = vm_reshape(g, h, 2, (int64_t[]){ M, H });
    vm_val p = vm_softmax(g, vm_topk(g, nn_linear(g, flat, l->router, NULL, VM_NONE, 0, VM_F32), c->chosen, &best));
    vm_routing r = vm_route(g, best, c->experts);
    vm_val x = vm_gather_rows(g, flat, r.rows);
    vm_val gate = nn_experts(g, x, l->gate_w, r.offsets, g->dtype), up = nn_experts(g, x, l->up_w, r.offsets, g->dtype);
    vm_val y = nn_experts(g, vm_glu(g, up, gate, c->act, g->dtype), l->down_w, r.offsets, VM_F32);
    y = vm_matmul(g, vm_reshape(g, p, 3, (int64_t[]){ M, 1, c->chosen }), vm_gather_rows(g, y, r.place), false, false, 1, VM_F32);
    return y ? vm_binary(g, residual, vm_reshape(g, y, g->v[residual].nd, g->v[residual].ne), VM_ADD) : 0;
}

static vm_val mlp(vm_graph *g, const llm *m, const llm_layer *l, vm_val h, vm_val residual) {
    if (m->c.experts) return mixture(g, m, l, h, residual);
    vm_val gate = nn_linear(g, h, l->gate_w, l->gate_b, VM_NONE, 0, g->dtype), up = nn_linear(g, h, l->up_w, l->up_b, VM_NONE, 0, g->dtype);
    return nn_linear(g, vm_glu(g, up, gate, m->c.act, g->dtype), l->down_w, l->down_b, VM_NONE, residual, VM_F32);
}

static vm_val hidden(vm_graph *g, const llm *m, vm_val ids, vm_val positions, vm_val key_mask, vm_val first, int64_t length,
                     const llm_step *step) {
    const llm_config *c = &m->c;
    vm_scope(g, m->embed->name);
    vm_val x = vm_embedding(g, vm_weight(g, m->embed), ids), table = angles(g, m, positions, length);
    if (c->gemma) x = vm_scale(g, x, sqrtf((float)c->width), 0);
    for (int64_t i = 0; i < c->layers; i++) {
        const llm_layer *l = &m->layer[i];
        vm_scope(g, l->ln1->name);
        if (m->recompute && g->training) vm_checkpoint_begin(g);
        vm_val y = attention(g, m, l, i, norm(g, m, x, l->ln1, g->dtype), table, key_mask, first, step);
        x = nn_linear(g, y, l->o_w, l->o_b, VM_NONE, x, VM_F32);
        x = mlp(g, m, l, norm(g, m, x, l->ln2, g->dtype), x);
        if (m->recompute && g->training) vm_checkpoint_end(g);
    }
    vm_scope(g, m->norm->name);
    return norm(g, m, x, m->norm, VM_F32);
}

vm_val llm_hidden(vm_graph *g, const llm *m, vm_val ids, vm_val positions, vm_val key_mask, vm_val first, int64_t length) {
    return hidden(g, m, ids, positions, key_mask, first, length, NULL);
}
vm_val llm_cached(vm_graph *g, const llm *m, const llm_step *x) { return hidden(g, m, x->ids, x->positions, 0, 0, x->length, x); }

vm_val llm_logits(vm_graph *g, const llm *m, vm_val hidden) {
    vm_scope(g, m->head->name);
    return nn_linear(g, vm_cast(g, hidden, g->dtype), m->head, NULL, VM_NONE, 0, VM_F32);
}

vm_val llm_loss(vm_graph *g, const llm *m, vm_val hidden, vm_val targets) {
    return vm_cross_entropy(g, llm_logits(g, m, hidden), targets);
}
