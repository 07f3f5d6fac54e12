/* clip_text.c - see clip_text.h. */
#include "models/clip_text.h"

#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "models/clip.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
static vm_status read_config(clip_text_config *c, json_value v, vm_error *e) {
    json_value act = json_get(v, "hidden_act");
    *c = (clip_text_config){ .vocab = json_int(v, "vocab_size", 49408, 1, 1 << 24, e), .context = json_int(v, "max_position_embeddings", 77, 1, 1 << 16, e),
                             .width = json_int(v, "hidden_size", 512, 1, 1 << 16, e), .layers = json_int(v, "num_hidden_layers", 12, 1, 1 << 10, e),
                             .heads = json_int(v, "num_attention_heads", 8, 1, 1 << 10, e), .embed = json_int(v, "projection_dim", 512, 1, 1 << 16, e), .mlp = json_int(v, "intermediate_size", 2048, 1, 1 << 18, e),
                             .eos = json_int(v, "eos_token_id", 49407, -1, 1 << 24, e), .eps = (float)json_num(v, "layer_norm_eps", 1e-5, 0, 1, e),
                             .act = nn_activation(json_str(v, "hidden_act", "quick_gelu", e)) };
    c->pool_argmax = c->eos == 2; /* published before the library compared ids: their end token is the last of the vocabulary */
    if (!e->status && c->act == VM_NONE) json_fail(act, e, "is not an activation that is known");
    if (!e->status && c->width % c->heads) json_fail(json_get(v, "hidden_size"), e, "%d columns in %d heads", (int)c->width, (int)c->heads);
    return e->status;
}

static const char folder[] = "the text_encoder folder of a diffusion model";

bool clip_text_is(const char *dir) {
    vm_error none = { 0 };
    json_doc *d = json_config(dir, folder, &none);
    bool is = d && !strcmp(json_str(json_root(d), "model_type", "", &none), "clip_text_model");
    json_free(d);
    return is;
}

vm_status clip_text_config_read(clip_text_config *c, const char *dir, vm_error *e) {
    json_doc *d = json_config(dir, folder, e);
    json_value whole = json_get(json_root(d), "text_config");
    if (d) read_config(c, json_has(whole) ? whole : json_root(d), e);
    json_free(d);
    return e->status;
}

/* --- parameters ----------------------------------------------------------------------------------------------------- */
static vm_param *make(clip_text *m, int nd, const int64_t *ne, int flags, const char *prefix, const char *name) {
    vm_param *p = weight_new(&m->w, nd, ne, "%s", name);
    if (p) tie_whole(&m->map, p, nd, ne, flags, "%s%s", prefix, name);
    return p;
}

/* Published files have all but the projection behind "text_model."; the library's later ones have no prefix. */
static vm_status make_all(clip_text *m, vm_error *e) {
    const clip_text_config *c = &m->c;
    const char *pre = st_find(m->file, "text_model.final_layer_norm.weight") ? "text_model." : "";
    int64_t C = c->width;
    char name[64];
    if (!(m->layer = vm_calloc((size_t)c->layers, sizeof *m->layer))) return vm_nomem(e, (size_t)c->layers * sizeof *m->layer, "layers");
    m->token = make(m, 2, (int64_t[]){ c->vocab, C }, W_TABLE, pre, "embeddings.token_embedding.weight");
    m->position = make(m, 2, (int64_t[]){ c->context, C }, 0, pre, "embeddings.position_embedding.weight");
    for (int64_t k = 0; k < c->layers; k++) {
        snprintf(name, sizeof name, "layer.%d", (int)k);
        nn_layer_new(&m->w, &m->layer[k], C, c->mlp, NN_FUSED, name);
    }
    m->ln_w = make(m, 1, &C, 0, pre, "final_layer_norm.weight"), m->ln_b = make(m, 1, &C, 0, pre, "final_layer_norm.bias");
    if (st_find(m->file, "text_projection.weight")) m->projection = make(m, 2, (int64_t[]){ c->embed, C }, 0, "", "text_projection.weight");
    snprintf(name, sizeof name, "%sencoder.layers", pre);
    if (!m->w.err.status) nn_tie_layers(&m->map, m->layer, c->layers, C, c->mlp, &nn_names_hf, name);
    if (m->w.err.status) *e = m->w.err;
    else if (m->map.err.status) *e = m->map.err;
    return e->status;
}

vm_status clip_text_open(clip_text **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    clip_text *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a text encoder");
    m->w.be = be;
    if (!clip_text_config_read(&m->c, dir, e) && !st_open_base(&m->file, dir, "model", e) && !make_all(m, e))
        weights_load(&m->map, m->file, (const char *const[]){ "", NULL }, writable, &m->unused, e);
    if (e->status) clip_text_free(m);
    else *out = m;
    return e->status;
}

void clip_text_free(clip_text *m) {
    if (!m) return;
    weight_map_free(&m->map);
    weights_free(&m->w);
    vm_free(m->layer);
    vm_free(m->unused);
    st_close(m->file);
    vm_free(m);
}

/* --- graphs --------------------------------------------------------------------------------------------------------- */
clip_text_states clip_text_run(vm_graph *g, const clip_text *m, vm_val ids, vm_val end) {
    const clip_text_config *c = &m->c;
    clip_text_states s = { 0 };
    if (!ids) return s;
    int64_t T = vm_dim(g, ids, 1);
    if (T > c->context) {
        vm_bad(g, "texts of %d tokens for a context of %d", (int)T, (int)c->context);
        return s;
    }
    nn_attn a = { .NH = (int)c->heads, .eps = c->eps, .act = c->act, .causal = true };
    vm_scope(g, "embeddings");
    vm_val x = vm_embedding(g, vm_weight(g, m->token), ids);
    x = vm_binary(g, x, vm_slice(g, vm_weight(g, m->position), 0, 0, T), VM_ADD);
    for (int64_t k = 0; k < c->layers; k++) {
        vm_scope(g, m->layer[k].ln1_w->name);
        s.penultimate = x;
        x = nn_layer_all(g, x, &m->layer[k], a);
    }
    vm_scope(g, "head");
    s.last = nn_norm(g, x, m->ln_w, m->ln_b, c->eps, VM_F32);
    if (end) s.pooled = vm_pick(g, s.last, end);
    if (end && m->projection) s.pooled = nn_linear(g, vm_cast(g, s.pooled, g->dtype), m->projection, NULL, VM_NONE, 0, VM_F32);
    vm_scope(g, NULL);
    return s;
}

void clip_text_end(const clip_text_config *c, int64_t B, int64_t T, const int32_t *ids, int32_t *end) {
    for (int64_t b = 0; b < B; b++) end[b] = (int32_t)clip_end_row(ids + b * T, T, c->eos, c->pool_argmax);
}
