/* blip.c - BLIP's graphs, and BLIP as a member of the towers. Formulas: the published implementation. */
#include "models/blip.h"

#include <string.h>

vm_status blip_new(blip_model **out, vm_backend *be, const blip_config *c, vm_error *e) {
    blip_model *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a BLIP model");
    int64_t V = c->width, P = c->patch, n = c->image_size / P, E = c->embed, C = c->text.width, two = 2;
    m->c = *c, m->w.be = be;
    m->t = (towers){ .family = &blip_family, .w = &m->w, .image_size = c->image_size, .context = VM_MIN(c->text.positions, (int64_t)BLIP_CONTEXT),
                     .vocab = c->text.vocab, .embed = E, .rows = n * n + 1, .row_width = V, .pad = (int32_t)c->pad, .norm_eps = 1e-12f,
                     .text_act = c->text.act, .vision_act = c->act };
    weight_set *w = &m->w;
    m->vision = vm_calloc((size_t)c->layers + 1, sizeof *m->vision);
    if (!m->vision || bert_text_new(&m->text, w, &c->text, "text", e)) {
        blip_free(m);
        return e->status ? e->status : vm_nomem(e, sizeof *m->vision, "a BLIP model");
    }
    m->class_embed = weight_new(w, 2, (int64_t[]){ 1, V }, "vision.class");
    m->patch_w = weight_new(w, 2, (int64_t[]){ V, 3 * P * P }, "vision.patch.weight"), m->patch_b = weight_new(w, 1, &V, "vision.patch.bias");
    m->vision_pos = weight_new(w, 2, (int64_t[]){ n * n + 1, V }, "vision.pos");
    m->post_w = weight_new(w, 1, &V, "vision.post.weight"), m->post_b = weight_new(w, 1, &V, "vision.post.bias");
    for (int64_t i = 0; i < c->layers; i++) {
        char name[48];
        snprintf(name, sizeof name, "vision.%d", (int)i);
        nn_layer_new(w, &m->vision[i], V, c->mlp, NN_FUSED, name);
    }
    m->vision_proj_w = weight_new(w, 2, (int64_t[]){ E, V }, "vision.proj.weight"), m->vision_proj_b = weight_new(w, 1, &E, "vision.proj.bias");
    m->text_proj_w = weight_new(w, 2, (int64_t[]){ E, C }, "text.proj.weight"), m->text_proj_b = weight_new(w, 1, &E, "text.proj.bias");
    m->itm_w = weight_new(w, 2, (int64_t[]){ 2, C }, "itm.weight"), m->itm_b = weight_new(w, 1, &two, "itm.bias");
    if (w->err.status) {
        *e = w->err;
        blip_free(m);
        return e->status;
    }
    *out = m;
    return VM_OK;
}

void blip_free(blip_model *m) {
    if (!m) return;
    weights_free(&m->w);
    bert_text_free(&m->text);
    vm_free(m->vision);
    vm_free(m->t.unused);
    st_close(m->file);
    vm_free(m);
}

/* --- graphs -------------------------------------------------------------------------------------------------------- */
vm_val blip_image_rows(vm_graph *g, const blip_model *m, vm_val pixels) {
    const blip_config *c = &m->c;
    if (!pixels) return 0;
    if (vm_dim(g, pixels, 1) != c->image_size || vm_dim(g, pixels, 2) != c->image_size)
        return vm_bad(g, "images of %d x %d for a model of %d x %d; preprocess them first", (int)vm_dim(g, pixels, 1), (int)vm_dim(g, pixels, 2),
                      (int)c->image_size, (int)c->image_size), 0;
    nn_attn a = { .NH = (int)c->heads, .eps = c->eps, .act = c->act, .recompute = m->t.recompute && g->training };
    vm_scope(g, "vision.embed");
    vm_val x = nn_linear(g, vm_patchify(g, pixels, (int)c->patch, g->dtype), m->patch_w, m->patch_b, VM_NONE, 0, VM_F32);
    vm_val cls = vm_broadcast(g, vm_weight(g, m->class_embed), vm_dim(g, pixels, 0)); /* (B,1,V) */
    x = vm_binary(g, vm_concat(g, 2, (vm_val[]){ cls, x }, 1), vm_weight(g, m->vision_pos), VM_ADD);
    for (int64_t i = 0; i < c->layers; i++) {
        vm_scope(g, m->vision[i].ln1_w->name);
        x = nn_layer_all(g, x, &m->vision[i], a);
    }
    vm_scope(g, "vision.head");
    x = nn_norm(g, x, m->post_w, m->post_b, c->eps, VM_F32);
    vm_scope(g, NULL);
    return x;
}

vm_val blip_image_features(vm_graph *g, const blip_model *m, vm_val rows) {
    if (!rows) return 0;
    vm_val first = vm_reshape(g, vm_slice(g, rows, 1, 0, 1), 2, (int64_t[]){ vm_dim(g, rows, 0), m->c.width });
    return nn_linear(g, vm_cast(g, first, g->dtype), m->vision_proj_w, m->vision_proj_b, VM_NONE, 0, VM_F32);
}

static vm_val first_row(vm_graph *g, const blip_model *m, vm_val ids, vm_val mask, vm_val rows) {
    vm_val x = bert_first(g, &m->text, &(bert_input){ .ids = ids, .key_mask = mask, .rows = rows });
    return x ? vm_cast(g, x, g->dtype) : 0;
}

vm_val blip_text_features(vm_graph *g, const blip_model *m, vm_val ids, vm_val mask) {
    return nn_linear(g, first_row(g, m, ids, mask, 0), m->text_proj_w, m->text_proj_b, VM_NONE, 0, VM_F32);
}

vm_val blip_match(vm_graph *g, const blip_model *m, vm_val rows, vm_val ids, vm_val mask) {
    return rows ? nn_linear(g, first_row(g, m, ids, mask, rows), m->itm_w, m->itm_b, VM_NONE, 0, VM_F32) : 0;
}

/* --- as one of the towers ------------------------------------------------------------------------------------------- */
static const blip_model *of(const towers *t) { return (const blip_model *)t; }

static bool is_blip(json_value config, bool open_clip) {
    vm_error none = { 0 };
    return !open_clip && !strcmp(json_str(config, "model_type", "", &none), "blip");
}

static vm_status open_towers(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e) {
    blip_model *m = NULL;
    if (o->how != TOWERS_READ)
        return vm_fail(e, VM_EUSAGE, "%s: a BLIP model has no temperature to train the two towers with; embed, eval and forward take it", dir);
    if (!blip_open(&m, be, dir, false, e)) *out = &m->t;
    return e->status;
}

static void free_towers(towers *t) { blip_free((blip_model *)t); }
static vm_val image(vm_graph *g, const towers *t, vm_val pixels) { return blip_image_features(g, of(t), blip_image_rows(g, of(t), pixels)); }
static vm_val text(vm_graph *g, const towers *t, vm_val ids, vm_val at, vm_val mask) { return blip_text_features(g, of(t), ids, mask); }

/* Row 0 of what stands before the padding. */
static int64_t text_rows(const towers *t, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask) {
    int64_t used = 1;
    for (int64_t b = 0; b < B; b++) {
        int64_t n = T;
        while (n > 1 && (attention_mask ? !attention_mask[b * T + n - 1] : ids[b * T + n - 1] == t->pad)) n--;
        for (int64_t i = 0; i < T; i++) mask[b * T + i] = i < n && (!attention_mask || attention_mask[b * T + i]);
        at[b] = 0, used = VM_MAX(used, n);
    }
    return used;
}

static void map(const towers *t, bool hf, weight_map *m) { blip_map(of(t), m); }
static vm_val rows(vm_graph *g, const towers *t, vm_val pixels) { return blip_image_rows(g, of(t), pixels); }

/* log p / (1 - p) of p = softmax(no, yes)[yes]: yes - no. */
static vm_val match(vm_graph *g, const towers *t, vm_val picture, vm_val ids, vm_val mask) {
    vm_val x = blip_match(g, of(t), picture, ids, mask);
    if (!x) return 0;
    int64_t B = vm_dim(g, x, 0);
    return vm_reshape(g, vm_binary(g, vm_slice(g, x, 1, 1, 1), vm_slice(g, x, 1, 0, 1), VM_SUB), 1, &B);
}

const towers_family blip_family = { .name = "blip", .is = is_blip, .open = open_towers, .free = free_towers, .image = image, .text = text,
                                    .text_rows = text_rows, .map = map, .rows = rows, .match = match };
