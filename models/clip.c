/* clip.c - CLIP's two towers as graphs. Formulas: models_text_vision of the published implementation; pre-norm blocks,
 * class token, causal text. Only the pooled row goes through the end of the last layer (nn_layer_one): nothing else of
 * that layer reaches the features. */
#include "models/clip.h"

#include <math.h>
#include <string.h>

static void new_layers(weight_set *w, nn_layer *l, const clip_tower *t, const char *tower) {
    char name[48];
    for (int64_t i = 0; i < t->layers; i++) {
        snprintf(name, sizeof name, "%s.%d", tower, (int)i);
        nn_layer_new(w, &l[i], t->width, t->mlp, i == t->layers - 1 ? NN_SPLIT : NN_FUSED, name);
    }
}

/* What stands before and behind the layers of a vision transformer. */
static void new_vision(clip_model *m) {
    weight_set *w = &m->w;
    const clip_config *c = &m->c;
    int64_t V = c->vision.width, E = c->embed, P = c->patch, n = c->image_size / P;
    m->class_embed = weight_new(w, 2, (int64_t[]){ 1, V }, "vision.class");
    m->patch_embed = weight_new(w, 2, (int64_t[]){ V, 3 * P * P }, "vision.patch");
    m->vision_pos = weight_new(w, 2, (int64_t[]){ n * n + 1, V }, "vision.pos");
    m->pre_w = weight_new(w, 1, &V, "vision.pre.weight"), m->pre_b = weight_new(w, 1, &V, "vision.pre.bias");
    m->post_w = weight_new(w, 1, &V, "vision.post.weight"), m->post_b = weight_new(w, 1, &V, "vision.post.bias");
    m->vision_proj = weight_new(w, 2, (int64_t[]){ E, V }, "vision.proj");
}

resnet_config clip_resnet_config(const clip_config *c) {
    resnet_config r = { .width = c->vision.width, .heads = c->vision.heads, .image_size = c->image_size, .embed = c->embed };
    memcpy(r.blocks, c->blocks, sizeof r.blocks);
    return r;
}

char *clip_vision_text(const clip_config *c, char buf[160]) {
    if (!clip_is_resnet(c))
        snprintf(buf, 160, "%d px in patches of %d: %d layers of %d, %d heads", (int)c->image_size, (int)c->patch, (int)c->vision.layers,
                 (int)c->vision.width, (int)c->vision.heads);
    else
        snprintf(buf, 160, "%d px: ResNet of %d+%d+%d+%d blocks, width %d, %d heads", (int)c->image_size, (int)c->blocks[0], (int)c->blocks[1],
                 (int)c->blocks[2], (int)c->blocks[3], (int)c->vision.width, (int)c->vision.heads);
    return buf;
}

vm_status clip_new(clip_model **out, vm_backend *be, const clip_config *c, vm_error *e) {
    clip_model *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a CLIP model");
    m->c = *c, m->w.be = be;
    m->t = (towers){ .family = &clip_family, .w = &m->w, .image_size = c->image_size, .context = c->context, .vocab = c->vocab, .embed = c->embed,
                     .pad = (int32_t)VM_MAX(c->pad, (int64_t)0), .norm_eps = c->norm_eps, .text_act = c->text_act, .vision_act = c->vision_act,
                     .act_assumed = c->act_assumed };
    m->text = vm_calloc((size_t)c->text.layers + 1, sizeof *m->text);
    m->vision = vm_calloc((size_t)c->vision.layers + 1, sizeof *m->vision);
    if (!m->text || !m->vision) {
        clip_free(m);
        return vm_nomem(e, sizeof *m, "a CLIP model");
    }
    weight_set *w = &m->w;
    int64_t one[] = { 1 }, T = c->text.width, E = c->embed;
    m->t.logit_scale = weight_new(w, 1, one, "logit_scale");
    m->token_embed = weight_new(w, 2, (int64_t[]){ c->vocab, T }, "text.token_embed");
    m->text_pos = weight_new(w, 2, (int64_t[]){ c->context, T }, "text.pos");
    m->text_ln_w = weight_new(w, 1, &T, "text.ln.weight"), m->text_ln_b = weight_new(w, 1, &T, "text.ln.bias");
    m->text_proj = weight_new(w, 2, (int64_t[]){ E, T }, "text.proj");
    resnet_config rc = clip_resnet_config(c);
    if (clip_is_resnet(c)) resnet_new(&m->resnet, w, &rc, e);
    else new_vision(m);
    new_layers(w, m->text, &c->text, "text");
    if (!m->resnet) new_layers(w, m->vision, &c->vision, "vision");
    if (!e->status && w->err.status) *e = w->err;
    if (e->status) {
        clip_free(m);
        return e->status;
    }
    /* weight decay: matrices only, and not the temperature (training practice of open_clip) */
    for (int64_t i = 0; i < w->n; i++) w->p[i]->decay = w->p[i]->nd > 1;
    if (m->class_embed) m->class_embed->decay = false; /* one vector in the published layouts */
    *out = m;
    return VM_OK;
}

void clip_free(clip_model *m) {
    if (!m) return;
    weights_free(&m->w);
    resnet_free(m->resnet);
    vm_free(m->text);
    vm_free(m->vision);
    vm_free(m->t.unused);
    st_close(m->file);
    vm_free(m);
}

/* --- graphs -------------------------------------------------------------------------------------------------------- */
/* The second to last layers of a tower on all rows, the last one on row idx. Scope labels live with the weights' names. */
static vm_val tower(vm_graph *g, vm_val x, vm_val idx, const nn_layer *layers, int64_t n, nn_attn a, vm_val row_mask) {
    for (int64_t i = 0; i + 1 < n; i++) {
        vm_scope(g, layers[i].ln1_w->name);
        x = nn_layer_all(g, x, &layers[i], a);
    }
    vm_scope(g, layers[n - 1].ln1_w->name);
    a.key_mask = row_mask, a.causal = false;
    return nn_layer_one(g, x, idx, &layers[n - 1], a);
}

vm_val clip_image_features(vm_graph *g, const clip_model *m, vm_val pixels) {
    const clip_config *c = &m->c;
    if (!pixels) return 0;
    if (vm_dim(g, pixels, 1) != c->image_size || vm_dim(g, pixels, 2) != c->image_size) {
        vm_bad(g, "images of %d x %d for a model of %d x %d; preprocess them first", (int)vm_dim(g, pixels, 1), (int)vm_dim(g, pixels, 2),
               (int)c->image_size, (int)c->image_size);
        return 0;
    }
    if (m->resnet) return resnet_features(g, m->resnet, &m->t, pixels);
    int64_t B = vm_dim(g, pixels, 0);
    vm_scope(g, "vision.embed");
    vm_val x = nn_linear(g, vm_patchify(g, pixels, (int)c->patch, g->dtype), m->patch_embed, NULL, VM_NONE, 0, VM_F32);
    vm_val cls = vm_broadcast(g, vm_weight(g, m->class_embed), B); /* (B,1,V) */
    x = vm_concat(g, 2, (vm_val[]){ cls, x }, 1);
    x = vm_binary(g, x, vm_weight(g, m->vision_pos), VM_ADD);
    x = nn_norm(g, x, m->pre_w, m->pre_b, c->vision_eps, VM_F32);
    nn_attn a = { .NH = (int)c->vision.heads, .eps = c->vision_eps, .act = c->vision_act, .recompute = m->t.recompute && g->training };
    x = tower(g, x, 0, m->vision, c->vision.layers, a, 0);
    vm_scope(g, "vision.head");
    x = nn_norm(g, x, m->post_w, m->post_b, c->vision_eps, g->dtype);
    x = nn_linear(g, x, m->vision_proj, NULL, VM_NONE, 0, VM_F32);
    vm_scope(g, NULL);
    return x;
}

vm_val clip_text_features(vm_graph *g, const clip_model *m, vm_val ids, vm_val at, vm_val mask) {
    const clip_config *c = &m->c;
    if (!ids) return 0;
    int64_t T = vm_dim(g, ids, 1);
    if (T > c->context) {
        vm_bad(g, "texts of %d tokens for a context of %d", (int)T, (int)c->context);
        return 0;
    }
    vm_scope(g, "text.embed");
    vm_val x = vm_embedding(g, vm_weight(g, m->token_embed), ids);
    x = vm_binary(g, x, vm_slice(g, vm_weight(g, m->text_pos), 0, 0, T), VM_ADD);
    nn_attn a = { .NH = (int)c->text.heads, .eps = c->text_eps, .act = c->text_act, .causal = true, .recompute = m->t.recompute && g->training,
                  .key_mask = mask }; /* hides tokens from all that see them, not from the end token alone */
    x = tower(g, x, at, m->text, c->text.layers, a, mask);
    vm_scope(g, "text.head");
    x = nn_norm(g, x, m->text_ln_w, m->text_ln_b, c->text_eps, g->dtype);
    x = nn_linear(g, x, m->text_proj, NULL, VM_NONE, 0, VM_F32);
    vm_scope(g, NULL);
    return x;
}

int64_t clip_end_row(const int32_t *ids, int64_t T, int64_t eos, bool argmax) {
    int64_t row = 0;
    for (int64_t t = 1; t < T && argmax; t++)
        if (ids[t] > ids[row]) row = t;
    while (!argmax && row < T && ids[row] != eos) row++;
    return row < T ? row : 0; /* no end token: the reference takes position 0 */
}

int64_t clip_text_rows(const clip_config *c, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask) {
    int64_t used = 1;
    for (int64_t b = 0; b < B; b++) {
        int64_t row = clip_end_row(ids + b * T, T, c->eos, c->pool_argmax);
        at[b] = (int32_t)row;
        used = VM_MAX(used, row + 1);
        for (int64_t t = 0; t < T; t++) mask[b * T + t] = t <= row && (!attention_mask || attention_mask[b * T + t]);
    }
    return used;
}

/* --- initialisation ------------------------------------------------------------------------------------------------- */
static double layer_std(const vm_param *p, const clip_tower *t, const nn_layer *layers) {
    double w = (double)t->width;
    for (int64_t i = 0; i < t->layers; i++) {
        const nn_layer *l = &layers[i];
        if (p == l->out_w || p == l->fc2_w) return 1 / sqrt(w * 2 * (double)t->layers);
        if (p == l->fc1_w) return 1 / sqrt(2 * w);
        if (p == l->qkv_w || p == l->q_w || p == l->k_w || p == l->v_w) return 1 / sqrt(w);
    }
    return 0;
}

vm_status clip_init(clip_model *m, uint64_t seed, vm_error *e) {
    const clip_config *c = &m->c;
    for (int64_t i = 0; i < m->w.n; i++) {
        vm_param *p = m->w.p[i];
        double std = 0, value = 0;
        if (m->resnet && resnet_init(m->resnet, p, &std, &value)) ;
        else if (p == m->token_embed) std = 0.02;
        else if (p == m->text_pos) std = 0.01;
        else if (p == m->text_proj) std = 1 / sqrt((double)c->text.width);
        else if (p == m->class_embed || p == m->vision_pos || p == m->vision_proj) std = 1 / sqrt((double)c->vision.width);
        else if (p == m->patch_embed) std = 1 / sqrt(3.0 * 3.0 * (double)(c->patch * c->patch)); /* std of U(+-1/sqrt(fan in)) */
        else if (p->nd == 2) std = VM_MAX(layer_std(p, &c->text, m->text), m->resnet ? 0 : layer_std(p, &c->vision, m->vision));
        else if (p == m->t.logit_scale) value = log(1 / 0.07);
        else {
            size_t n = strlen(p->name);
            value = n > 7 && !strcmp(p->name + n - 7, ".weight"); /* norms: weight 1, bias 0 */
        }
        if (std > 0 ? weight_normal(p, seed, (uint64_t)i, std, e) : weight_fill(p, value, e)) return e->status;
    }
    return VM_OK;
}

/* --- as one of the towers ------------------------------------------------------------------------------------------- */
static bool is_clip(json_value config, bool open_clip) {
    vm_error none = { 0 };
    return open_clip || !strcmp(json_str(config, "model_type", "", &none), "clip");
}

static vm_status open_towers(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e) {
    clip_model *m = NULL;
    clip_config c;
    if (o->how != TOWERS_FRESH) clip_open(&m, be, dir, o->how == TOWERS_TRAIN, e);
    else if (!clip_config_read(&c, dir, e) && !clip_new(&m, be, &c, e)) clip_init(m, o->seed, e);
    if (!e->status && m->c.act_assumed && o->activation != VM_NONE) {
        clip_set_activation(&m->c, o->activation);
        m->t.text_act = m->c.text_act, m->t.vision_act = m->c.vision_act, m->t.act_assumed = false;
    }
    if (e->status) clip_free(m);
    else *out = &m->t;
    return e->status;
}

static const clip_model *of(const towers *t) { return (const clip_model *)t; }
static void free_towers(towers *t) { clip_free((clip_model *)t); }
static vm_val image(vm_graph *g, const towers *t, vm_val pixels) { return clip_image_features(g, of(t), pixels); }
static vm_val text(vm_graph *g, const towers *t, vm_val ids, vm_val at, vm_val mask) { return clip_text_features(g, of(t), ids, at, mask); }
static int64_t rows(const towers *t, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask) {
    return clip_text_rows(&of(t)->c, B, T, ids, attention_mask, at, mask);
}
static vm_status save(const towers *t, const char *dir, st_dtype type, bool both, vm_error *e) { return clip_save(of(t), dir, type, both, e); }

static void map(const towers *t, bool hf, weight_map *m) { clip_map(of(t), hf ? CLIP_HF : of(t)->c.layout, m); }

/* A directory of clip_save has HF names where there are such, whatever the model was read from. */
static vm_status load(towers *t, const char *dir, vm_error *e) {
    weight_map m = { 0 };
    bool hf = !of(t)->resnet;
    clip_map(of(t), hf ? CLIP_HF : CLIP_OPEN, &m);
    weights_restore(&m, dir, hf ? "model" : "open_clip_model", e);
    weight_map_free(&m);
    return e->status;
}

const towers_family clip_family = { .name = "clip", .is = is_clip, .open = open_towers, .free = free_towers, .image = image, .text = text,
                                    .text_rows = rows, .save = save, .map = map, .load = load };
