/* siglip.c - SigLIP's two towers as graphs, and as a member of the towers. Formulas: the published implementation. Only the
 * last row of a text goes through the end of the last layer (nn_layer_one): nothing else of that layer reaches the feature. */
#include "models/siglip.h"

#include <math.h>
#include <string.h>

static void new_layers(weight_set *w, nn_layer *l, const siglip_tower *t, bool one_row, const char *tower) {
    char name[48];
    for (int64_t i = 0; i < t->layers; i++) {
        snprintf(name, sizeof name, "%s.%d", tower, (int)i);
        nn_layer_new(w, &l[i], t->width, t->mlp, one_row && i == t->layers - 1 ? NN_SPLIT : NN_FUSED, name);
    }
}

vm_status siglip_new(siglip_model **out, vm_backend *be, const siglip_config *c, vm_error *e) {
    siglip_model *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a SigLIP model");
    m->c = *c, m->w.be = be;
    m->t = (towers){ .family = &siglip_family, .w = &m->w, .image_size = c->image_size, .context = c->context, .vocab = c->vocab, .embed = c->vision.width,
                     .pad = (int32_t)VM_MAX(c->pad, (int64_t)0), .text_act = c->text.act, .vision_act = c->vision.act };
    m->text = vm_calloc((size_t)c->text.layers + 1, sizeof *m->text);
    m->vision = vm_calloc((size_t)c->vision.layers + 1, sizeof *m->vision);
    if (!m->text || !m->vision) {
        siglip_free(m);
        return vm_nomem(e, sizeof *m, "a SigLIP model");
    }
    weight_set *w = &m->w;
    int64_t one[] = { 1 }, T = c->text.width, V = c->vision.width, P = c->patch, n = c->image_size / P;
    m->t.logit_scale = weight_new(w, 1, one, "logit_scale"), m->t.logit_bias = weight_new(w, 1, one, "logit_bias");
    m->token_embed = weight_new(w, 2, (int64_t[]){ c->vocab, T }, "text.token_embed");
    m->text_pos = weight_new(w, 2, (int64_t[]){ c->context, T }, "text.pos");
    m->text_ln_w = weight_new(w, 1, &T, "text.ln.weight"), m->text_ln_b = weight_new(w, 1, &T, "text.ln.bias");
    m->text_head_w = weight_new(w, 2, (int64_t[]){ V, T }, "text.head.weight"), m->text_head_b = weight_new(w, 1, &V, "text.head.bias");
    m->patch_w = weight_new(w, 2, (int64_t[]){ V, 3 * P * P }, "vision.patch.weight"), m->patch_b = weight_new(w, 1, &V, "vision.patch.bias");
    m->vision_pos = weight_new(w, 2, (int64_t[]){ n * n, V }, "vision.pos");
    m->post_w = weight_new(w, 1, &V, "vision.post.weight"), m->post_b = weight_new(w, 1, &V, "vision.post.bias");
    m->probe = weight_new(w, 2, (int64_t[]){ 1, V }, "vision.probe");
    new_layers(w, m->text, &c->text, true, "text"), new_layers(w, m->vision, &c->vision, false, "vision");
    nn_layer_new(w, &m->head, V, c->vision.mlp, NN_POOL, "vision.head");
    if (w->err.status) {
        *e = w->err;
        siglip_free(m);
        return e->status;
    }
    for (int64_t i = 0; i < w->n; i++) w->p[i]->decay = w->p[i]->nd > 1; /* matrices and the probe */
    *out = m;
    return VM_OK;
}

void siglip_free(siglip_model *m) {
    if (!m) return;
    weights_free(&m->w);
    vm_free(m->text);
    vm_free(m->vision);
    vm_free(m->t.unused);
    st_close(m->file);
    vm_free(m);
}

/* --- graphs -------------------------------------------------------------------------------------------------------- */
static nn_attn attn(const vm_graph *g, const siglip_model *m, const siglip_tower *t) {
    return (nn_attn){ .NH = (int)t->heads, .eps = t->eps, .act = t->act, .recompute = m->t.recompute && g->training };
}

vm_val siglip_image_features(vm_graph *g, const siglip_model *m, vm_val pixels) {
    const siglip_config *c = &m->c;
    if (!pixels) return 0;
    if (vm_dim(g, pixels, 1) != c->image_size || vm_dim(g, pixels, 2) != c->image_size) {
        vm_bad(g, "images of %d x %d for a model of %d x %d; preprocess them first", (int)vm_dim(g, pixels, 1), (int)vm_dim(g, pixels, 2),
               (int)c->image_size, (int)c->image_size);
        return 0;
    }
    nn_attn a = attn(g, m, &c->vision);
    vm_scope(g, "vision.embed");
    vm_val x = nn_linear(g, vm_patchify(g, pixels, (int)c->patch, g->dtype), m->patch_w, m->patch_b, VM_NONE, 0, VM_F32);
    x = vm_binary(g, x, vm_weight(g, m->vision_pos), VM_ADD);
    for (int64_t i = 0; i < c->vision.layers; i++) {
        vm_scope(g, m->vision[i].ln1_w->name);
        x = nn_layer_all(g, x, &m->vision[i], a);
    }
    vm_scope(g, "vision.head");
    x = nn_norm(g, x, m->post_w, m->post_b, c->vision.eps, g->dtype);
    x = nn_pool(g, x, m->probe, &m->head, a);
    vm_scope(g, NULL);
    return x;
}

vm_val siglip_text_features(vm_graph *g, const siglip_model *m, vm_val ids, vm_val at, vm_val mask) {
    const siglip_config *c = &m->c;
    if (!ids) return 0;
    int64_t T = vm_dim(g, ids, 1);
    if (T > c->context) {
        vm_bad(g, "texts of %d tokens for a context of %d", (int)T, (int)c->context);
        return 0;
    }
    nn_attn a = attn(g, m, &c->text);
    a.key_mask = mask;
    vm_scope(g, "text.embed");
    vm_val x = vm_embedding(g, vm_weight(g, m->token_embed), ids);
    x = vm_binary(g, x, vm_slice(g, vm_weight(g, m->text_pos), 0, 0, T), VM_ADD);
    for (int64_t i = 0; i < c->text.layers; i++) {
        vm_scope(g, m->text[i].ln1_w->name);
        x = i + 1 < c->text.layers ? nn_layer_all(g, x, &m->text[i], a) : nn_layer_one(g, x, at, &m->text[i], a);
    }
    vm_scope(g, "text.head");
    x = nn_norm(g, x, m->text_ln_w, m->text_ln_b, c->text.eps, g->dtype);
    x = nn_linear(g, x, m->text_head_w, m->text_head_b, VM_NONE, 0, VM_F32);
    vm_scope(g, NULL);
    return x;
}

/* --- initialisation ------------------------------------------------------------------------------------------------- */
vm_status siglip_init(siglip_model *m, uint64_t seed, vm_error *e) {
    for (int64_t i = 0; i < m->w.n; i++) {
        vm_param *p = m->w.p[i];
        size_t n = strlen(p->name);
        double rows = (double)p->ne[0], cols = p->nd > 1 ? (double)p->ne[1] : 1, std = 0, value = 0;
        if (p == m->t.logit_scale) value = log(10);
        else if (p == m->t.logit_bias) value = -10;
        else if (p == m->token_embed || p == m->text_pos || p == m->vision_pos) std = 1 / sqrt(cols);
        else if (p == m->patch_w || p == m->text_head_w) std = 1 / sqrt(cols);
        else if (p->nd > 1) std = sqrt(2 / ((n > 10 && !strcmp(p->name + n - 10, "qkv.weight") ? rows / 3 : rows) + cols)); /* Xavier */
        else value = n > 7 && !strcmp(p->name + n - 7, ".weight"); /* norms: weight 1, bias 0 */
        if (std > 0 ? weight_normal(p, seed, (uint64_t)i, std, e) : weight_fill(p, value, e)) return e->status;
    }
    return VM_OK;
}

/* --- as one of the towers ------------------------------------------------------------------------------------------- */
static const siglip_model *of(const towers *t) { return (const siglip_model *)t; }

static bool is_siglip(json_value config, bool open_clip) {
    vm_error none = { 0 };
    return !open_clip && !strcmp(json_str(config, "model_type", "", &none), "siglip");
}

static vm_status open_towers(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e) {
    siglip_model *m = NULL;
    siglip_config c;
    if (o->how != TOWERS_FRESH) siglip_open(&m, be, dir, o->how == TOWERS_TRAIN, e);
    else if (!siglip_config_read(&c, dir, e) && !siglip_new(&m, be, &c, e)) siglip_init(m, o->seed, e);
    if (e->status) siglip_free(m);
    else *out = &m->t;
    return e->status;
}

static void free_towers(towers *t) { siglip_free((siglip_model *)t); }
static vm_val image(vm_graph *g, const towers *t, vm_val pixels) { return siglip_image_features(g, of(t), pixels); }
static vm_val text(vm_graph *g, const towers *t, vm_val ids, vm_val at, vm_val mask) { return siglip_text_features(g, of(t), ids, at, mask); }

/* The last row, which sees the pads too; all columns matter. */
static int64_t rows(const towers *t, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask) {
    for (int64_t b = 0; b < B; b++) at[b] = (int32_t)T - 1;
    for (int64_t i = 0; i < B * T; i++) mask[i] = !attention_mask || attention_mask[i];
    return T;
}

static vm_status save(const towers *t, const char *dir, st_dtype type, bool both, vm_error *e) { return siglip_save(of(t), dir, type, e); }

static void map(const towers *t, bool hf, weight_map *m) { siglip_map(of(t), m); }

static vm_status load(towers *t, const char *dir, vm_error *e) {
    weight_map m = { 0 };
    siglip_map(of(t), &m);
    weights_restore(&m, dir, "model", e);
    weight_map_free(&m);
    return e->status;
}

const towers_family siglip_family = { .name = "siglip", .is = is_siglip, .open = open_towers, .free = free_towers, .image = image, .text = text,
                                      .text_rows = rows, .save = save, .map = map, .load = load };
