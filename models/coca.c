/* coca.c - CoCa's graphs, and CoCa as a member of the towers. Formulas: the published implementation. Only the first query of the
 * pooling and only the class token's row of the last text layer are computed: nothing else reaches the features. */
#include "models/coca.h"

#include <string.h>

static void new_layers(weight_set *w, nn_layer *l, const coca_tower *t, bool one_row, const char *tower) {
    char name[48];
    for (int64_t i = 0; i < t->layers; i++) {
        snprintf(name, sizeof name, "%s.%d", tower, (int)i);
        nn_layer_new(w, &l[i], t->width, t->mlp, one_row && i == t->layers - 1 ? NN_SPLIT : NN_FUSED, name);
    }
}

static void new_pool(coca_model *m) {
    weight_set *w = &m->w;
    int64_t V = m->c.vision.width, E = m->c.embed, EE[] = { E, E }, EV[] = { E, V };
    m->query = weight_new(w, 2, (int64_t[]){ m->c.queries, E }, "pool.query");
    m->ln_q_w = weight_new(w, 1, &E, "pool.ln_q.weight"), m->ln_q_b = weight_new(w, 1, &E, "pool.ln_q.bias");
    m->ln_k_w = weight_new(w, 1, &V, "pool.ln_k.weight"), m->ln_k_b = weight_new(w, 1, &V, "pool.ln_k.bias");
    m->q_w = weight_new(w, 2, EE, "pool.q.weight"), m->q_b = weight_new(w, 1, &E, "pool.q.bias");
    m->k_w = weight_new(w, 2, EV, "pool.k.weight"), m->k_b = weight_new(w, 1, &E, "pool.k.bias");
    m->v_w = weight_new(w, 2, EV, "pool.v.weight"), m->v_b = weight_new(w, 1, &E, "pool.v.bias");
    m->out_w = weight_new(w, 2, EE, "pool.out.weight"), m->out_b = weight_new(w, 1, &E, "pool.out.bias");
}

vm_status coca_new(coca_model **out, vm_backend *be, const coca_config *c, vm_error *e) {
    coca_model *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a CoCa model");
    m->c = *c, m->w.be = be;
    m->t = (towers){ .family = &coca_family, .w = &m->w, .image_size = c->image_size, .context = c->context, .vocab = c->vocab, .embed = c->embed,
                     .pad = c->pad, .norm_eps = 1e-12f, .text_act = c->act, .vision_act = c->act };
    m->text = vm_calloc((size_t)c->text.layers + 1, sizeof *m->text);
    m->vision = vm_calloc((size_t)c->vision.layers + 1, sizeof *m->vision);
    if (!m->text || !m->vision) {
        coca_free(m);
        return vm_nomem(e, sizeof *m, "a CoCa model");
    }
    weight_set *w = &m->w;
    int64_t one[] = { 1 }, T = c->text.width, V = c->vision.width, E = c->embed, P = c->patch, n = c->image_size / P;
    m->t.logit_scale = weight_new(w, 1, one, "logit_scale");
    m->token_embed = weight_new(w, 2, (int64_t[]){ c->vocab, T }, "text.token_embed");
    m->text_class = weight_new(w, 2, (int64_t[]){ 1, T }, "text.class");
    m->text_pos = weight_new(w, 2, (int64_t[]){ c->context + 1, T }, "text.pos");
    m->text_ln_w = weight_new(w, 1, &T, "text.ln.weight"), m->text_ln_b = weight_new(w, 1, &T, "text.ln.bias");
    m->text_proj = weight_new(w, 2, (int64_t[]){ E, T }, "text.proj");
    m->class_embed = weight_new(w, 2, (int64_t[]){ 1, V }, "vision.class");
    m->patch_w = weight_new(w, 2, (int64_t[]){ V, 3 * P * P }, "vision.patch");
    m->vision_pos = weight_new(w, 2, (int64_t[]){ n * n + 1, V }, "vision.pos");
    m->pre_w = weight_new(w, 1, &V, "vision.pre.weight"), m->pre_b = weight_new(w, 1, &V, "vision.pre.bias");
    m->post_w = weight_new(w, 1, &E, "vision.post.weight"), m->post_b = weight_new(w, 1, &E, "vision.post.bias");
    m->vision_proj = weight_new(w, 2, (int64_t[]){ E, E }, "vision.proj");
    new_pool(m);
    new_layers(w, m->text, &c->text, true, "text"), new_layers(w, m->vision, &c->vision, false, "vision");
    if (w->err.status) {
        *e = w->err;
        coca_free(m);
        return e->status;
    }
    *out = m;
    return VM_OK;
}

void coca_free(coca_model *m) {
    if (!m) return;
    weights_free(&m->w);
    vm_free(m->text);
    vm_free(m->vision);
    vm_free(m->t.unused);
    st_close(m->file);
    vm_free(m);
}

/* --- graphs -------------------------------------------------------------------------------------------------------- */
static nn_attn attn(const vm_graph *g, const coca_model *m, const coca_tower *t) {
    return (nn_attn){ .NH = (int)t->heads, .eps = 1e-5f, .act = m->c.act, .recompute = m->t.recompute && g->training };
}

/* The first of the learnt queries looks at the rows x (B,T,V) -> (B,E). */
static vm_val pool(vm_graph *g, const coca_model *m, vm_val x, float eps) {
    int64_t B = vm_dim(g, x, 0), E = m->c.embed;
    vm_val k = nn_norm(g, x, m->ln_k_w, m->ln_k_b, eps, g->dtype), v = nn_linear(g, k, m->v_w, m->v_b, VM_NONE, 0, g->dtype);
    vm_val q = nn_norm(g, vm_slice(g, vm_weight(g, m->query), 0, 0, 1), m->ln_q_w, m->ln_q_b, eps, g->dtype);
    q = vm_broadcast(g, nn_linear(g, q, m->q_w, m->q_b, VM_NONE, 0, g->dtype), B); /* the same for all: once */
    k = nn_linear(g, k, m->k_w, m->k_b, VM_NONE, 0, g->dtype);
    vm_val h = vm_attention(g, q, k, v, (vm_attn){ .NH = (int)m->c.pool_heads, .NKV = (int)m->c.pool_heads });
    return nn_linear(g, vm_reshape(g, h, 2, (int64_t[]){ B, E }), m->out_w, m->out_b, VM_NONE, 0, VM_F32);
}

vm_val coca_image_features(vm_graph *g, const coca_model *m, vm_val pixels) {
    const coca_config *c = &m->c;
    if (!pixels) return 0;
    if (vm_dim(g, pixels, 1) != c->image_size || vm_dim(g, pixels, 2) != c->image_size)
        return vm_bad(g, "images of %d x %d for a model of %d x %d; preprocess them first", (int)vm_dim(g, pixels, 1), (int)vm_dim(g, pixels, 2),
                      (int)c->image_size, (int)c->image_size), 0;
    nn_attn a = attn(g, m, &c->vision);
    vm_scope(g, "vision.embed");
    vm_val x = nn_linear(g, vm_patchify(g, pixels, (int)c->patch, g->dtype), m->patch_w, NULL, VM_NONE, 0, VM_F32);
    vm_val cls = vm_broadcast(g, vm_weight(g, m->class_embed), vm_dim(g, pixels, 0)); /* (B,1,V) */
    x = vm_binary(g, vm_concat(g, 2, (vm_val[]){ cls, x }, 1), vm_weight(g, m->vision_pos), VM_ADD);
    x = nn_norm(g, x, m->pre_w, m->pre_b, a.eps, VM_F32);
    for (int64_t i = 0; i < c->vision.layers; i++) {
        vm_scope(g, m->vision[i].ln1_w->name);
        x = nn_layer_all(g, x, &m->vision[i], a);
    }
    vm_scope(g, "vision.head");
    x = nn_norm(g, pool(g, m, x, a.eps), m->post_w, m->post_b, a.eps, g->dtype);
    x = nn_linear(g, x, m->vision_proj, NULL, VM_NONE, 0, VM_F32);
    vm_scope(g, NULL);
    return x;
}

vm_val coca_text_features(vm_graph *g, const coca_model *m, vm_val ids, vm_val at, vm_val mask) {
    const coca_config *c = &m->c;
    if (!ids || !at || !mask) return 0;
    int64_t B = vm_dim(g, ids, 0), T = vm_dim(g, ids, 1), C = c->text.width;
    if (T > c->context || T < 1) return vm_bad(g, "texts of %d tokens for a context of %d", (int)T, (int)c->context), 0;
    nn_attn a = attn(g, m, &c->text);
    vm_scope(g, "text.embed");
    vm_val x = vm_binary(g, vm_embedding(g, vm_weight(g, m->token_embed), ids), vm_slice(g, vm_weight(g, m->text_pos), 0, 0, T), VM_ADD);
    vm_val place = vm_embedding(g, vm_weight(g, m->text_pos), at); /* (B,C) */
    vm_val cls = vm_binary(g, place, vm_reshape(g, vm_weight(g, m->text_class), 1, &C), VM_ADD);
    x = vm_concat(g, 2, (vm_val[]){ x, vm_reshape(g, cls, 3, (int64_t[]){ B, 1, C }) }, 1);
    /* one late: the first token is always seen (at is never 0), each further one as the one before it, the class token as the last */
    a.key_mask = vm_concat(g, 2, (vm_val[]){ vm_reshape(g, at, 2, (int64_t[]){ B, 1 }), mask }, 1);
    a.causal = true;
    for (int64_t i = 0; i + 1 < c->text.layers; i++) {
        vm_scope(g, m->text[i].ln1_w->name);
        x = nn_layer_all(g, x, &m->text[i], a);
    }
    a.causal = false, a.row = T; /* the class token's row, which all the others stand before */
    vm_scope(g, m->text[c->text.layers - 1].ln1_w->name);
    x = nn_layer_one(g, x, 0, &m->text[c->text.layers - 1], a);
    vm_scope(g, "text.head");
    x = nn_norm(g, x, m->text_ln_w, m->text_ln_b, a.eps, g->dtype);
    x = nn_linear(g, x, m->text_proj, NULL, VM_NONE, 0, VM_F32);
    vm_scope(g, NULL);
    return x;
}

/* --- as one of the towers ------------------------------------------------------------------------------------------- */
static const coca_model *of(const towers *t) { return (const coca_model *)t; }

static bool is_coca(json_value config, bool open_clip) { return open_clip && coca_is_coca(config); }

static vm_status open_towers(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e) {
    coca_model *m = NULL;
    if (o->how != TOWERS_READ)
        return vm_fail(e, VM_EUSAGE, "%s: CoCa learns from captions too, whose decoder is not built; embed, eval and forward take its towers", dir);
    if (!coca_open(&m, be, dir, false, e)) *out = &m->t;
    return e->status;
}

static void free_towers(towers *t) { coca_free((coca_model *)t); }
static vm_val image(vm_graph *g, const towers *t, vm_val pixels) { return coca_image_features(g, of(t), pixels); }
static vm_val text(vm_graph *g, const towers *t, vm_val ids, vm_val at, vm_val mask) { return coca_text_features(g, of(t), ids, at, mask); }

/* Padding is known by its id alone. Behind the last token that is none, one more is seen. */
static int64_t text_rows(const towers *t, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask) {
    int64_t used = 1;
    (void)attention_mask; /* the reference takes none */
    for (int64_t b = 0; b < B; b++) {
        at[b] = (int32_t)T;
        for (int64_t i = 0; i < T; i++) {
            mask[b * T + i] = ids[b * T + i] != t->pad;
            if (mask[b * T + i]) used = VM_MAX(used, i + 2);
        }
    }
    return VM_MIN(used, T);
}

static void map(const towers *t, bool hf, weight_map *m) { coca_map(of(t), m); }

const towers_family coca_family = { .name = "coca", .is = is_coca, .open = open_towers, .free = free_towers, .image = image, .text = text,
                                    .text_rows = text_rows, .map = map };
