/* gdino_io.c - configurations, parameters, tensor names and folders of grounding_dino.h. */
#include <string.h>

#include "io/file.h"
#include "models/gdino_parts.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
static vm_status refuse(json_value root, vm_error *e) {
    static const struct { const char *key; bool want; } flags[] = { { "two_stage", true }, { "use_timm_backbone", false } };
    for (int k = 0; k < VM_LEN(flags) && !e->status; k++)
        if (json_bool(root, flags[k].key, flags[k].want, e) != flags[k].want && !e->status)
            json_fail(json_get(root, flags[k].key), e, "only %s is supported", flags[k].want ? "true" : "false");
    json_value backbone = json_get(root, "backbone_config"), text = json_get(root, "text_config");
    const char *vision = json_str(backbone, "model_type", "swin", e), *bert = json_str(text, "model_type", "bert", e);
    const char *position = json_str(root, "position_embedding_type", "sine", e);
    if (e->status) return e->status;
    if (strcmp(vision, "swin")) return json_fail(backbone, e, "backbone \"%s\" is not supported; \"swin\" is", vision);
    if (strcmp(bert, "bert")) return json_fail(text, e, "text encoder \"%s\" is not supported; \"bert\" is", bert);
    if (strcmp(position, "sine")) return json_fail(root, e, "positions \"%s\" are not supported; \"sine\" ones are", position);
    if (json_int(root, "query_dim", 4, 0, 1 << 20, e) != 4 && !e->status) json_fail(json_get(root, "query_dim"), e, "only 4 is supported");
    return e->status;
}

static vm_status fits(const gdino_config *c, json_value root, vm_error *e) {
    if (c->width % 32) return json_fail(root, e, "d_model %d is no multiple of 32, the groups of its norms", (int)c->width);
    if (c->enc_heads % 2 || c->width % c->enc_heads || c->width % c->dec_heads)
        return json_fail(root, e, "%d and %d attention heads do not divide d_model %d, or the first are odd", (int)c->enc_heads, (int)c->dec_heads, (int)c->width);
    if (c->enc_mlp % c->enc_heads) return json_fail(root, e, "%d attention heads do not divide encoder_ffn_dim %d", (int)c->enc_heads, (int)c->enc_mlp);
    if (c->levels < c->swin.outs)
        return json_fail(root, e, "num_feature_levels %d for %d maps of the backbone", (int)c->levels, c->swin.outs);
    return VM_OK;
}

vm_status gdino_config_parse(gdino_config *c, json_value root, vm_error *e) {
    const int64_t W = 1 << 16;
    *c = (gdino_config){ .bert = { .vocab = 30522, .heads = 12, .types = 2 } };
    c->scaled = !strcmp(json_str(root, "model_type", "grounding-dino", e), "mm-grounding-dino");
    c->shared_classes = json_bool(root, "decoder_cls_embed_share", true, e);
    if (refuse(root, e) || swin_config_parse(&c->swin, json_get(root, "backbone_config"), e) ||
        bert_config_parse(&c->bert, json_get(root, "text_config"), e))
        return e->status;
    if (!json_has(json_get(root, "backbone_config")) && c->swin.stages == 4)
        for (c->swin.outs = 0; c->swin.outs < 3; c->swin.outs++) c->swin.out[c->swin.outs] = c->swin.outs + 1;
    c->width = json_int(root, "d_model", 256, 32, W, e), c->queries = json_int(root, "num_queries", 900, 1, W, e);
    c->enc_layers = json_int(root, "encoder_layers", 6, 1, 1000, e), c->dec_layers = json_int(root, "decoder_layers", 6, 1, GDINO_LAYERS, e);
    c->enc_mlp = json_int(root, "encoder_ffn_dim", 2048, 2, W, e), c->dec_mlp = json_int(root, "decoder_ffn_dim", 2048, 1, W, e);
    c->enc_heads = json_int(root, "encoder_attention_heads", 8, 1, 1024, e), c->dec_heads = json_int(root, "decoder_attention_heads", 8, 1, 1024, e);
    c->enc_points = json_int(root, "encoder_n_points", 4, 1, 64, e), c->dec_points = json_int(root, "decoder_n_points", 4, 1, 64, e);
    c->levels = json_int(root, "num_feature_levels", 4, 1, GDINO_LEVELS, e), c->text_len = json_int(root, "max_text_len", 256, 1, W, e);
    c->temperature = json_num(root, "positional_embedding_temperature", 20, 1, 1e9, e);
    c->eps = (float)json_num(root, "layer_norm_eps", 1e-5, 0, 1, e);
    const char *act = json_str(root, "activation_function", "relu", e);
    c->shared_boxes = json_bool(root, "decoder_bbox_embed_share", true, e), c->auxiliary = json_bool(root, "auxiliary_loss", false, e);
    c->learned = json_bool(root, "embedding_init_target", true, e);
    c->costs = (matcher_costs){ json_num(root, "class_cost", 1, 0, 1e6, e), json_num(root, "bbox_cost", 5, 0, 1e6, e),
                                json_num(root, "giou_cost", 2, 0, 1e6, e), 0.25, 2 };
    c->box_weight = json_num(root, "bbox_loss_coefficient", 5, 0, 1e6, e), c->giou_weight = json_num(root, "giou_loss_coefficient", 2, 0, 1e6, e);
    c->focal = json_num(root, "focal_alpha", 0.25, 0, 1, e);
    c->dropout = json_num(root, "dropout", 0.1, 0, 0.99, e), c->fusion_drop = json_num(root, "fusion_droppath", 0.1, 0, 0.99, e);
    if (e->status) return e->status;
    if ((c->act = nn_activation(act)) == VM_NONE) return json_fail(json_get(root, "activation_function"), e, "activation \"%s\" is not known", act);
    return fits(c, root, e);
}

/* --- parameters: named as in files ---------------------------------------------------------------------------------- */
/* A linear layer, or with in 0 a norm. */
static gdino_pair pair(weight_set *w, int64_t out, int64_t in, const char *name, const char *part) {
    gdino_pair p = { .w = weight_new(w, in ? 2 : 1, (int64_t[]){ out, in }, "%s%s.weight", name, part) };
    p.b = weight_new(w, 1, &out, "%s%s.bias", name, part);
    return p;
}

static void new_attn(weight_set *w, gdino_attn *a, int64_t d, const char *layer, const char *part) {
    char name[160];
    snprintf(name, sizeof name, "%s%s.", layer, part);
    a->q = pair(w, d, d, name, "query"), a->k = pair(w, d, d, name, "key"), a->v = pair(w, d, d, name, "value"), a->out = pair(w, d, d, name, "out_proj");
}

static void new_deform(weight_set *w, gdino_deform *p, const gdino_config *c, int64_t NH, int64_t P, const char *layer, const char *part) {
    char name[160];
    int64_t d = c->width, n = NH * c->levels * P;
    snprintf(name, sizeof name, "%s%s.", layer, part);
    p->offsets = pair(w, 2 * n, d, name, "sampling_offsets"), p->weights = pair(w, n, d, name, "attention_weights");
    p->value = pair(w, d, d, name, "value_proj"), p->out = pair(w, d, d, name, "output_proj");
}

/* A stack of n layers of d columns, the first of `in`, the last to `out`. */
static void new_head(weight_set *w, gdino_pair *p, int n, int64_t in, int64_t d, int64_t out, const char *name) {
    for (int k = 0; k < n; k++) {
        char part[24];
        snprintf(part, sizeof part, ".layers.%d", k);
        p[k] = pair(w, k + 1 < n ? d : out, k ? d : in, name, part);
    }
}

static void new_encoder_layer(weight_set *w, gdino_encoder_layer *l, const gdino_config *c, int i) {
    char name[96], part[128];
    int64_t d = c->width, F = c->enc_mlp, half = F / 2;
    snprintf(name, sizeof name, "model.encoder.layers.%d.", i);
    l->norm_vision = pair(w, d, 0, name, "fusion_layer.layer_norm_vision"), l->norm_text = pair(w, d, 0, name, "fusion_layer.layer_norm_text");
    l->vision = pair(w, half, d, name, "fusion_layer.attn.vision_proj"), l->text = pair(w, half, d, name, "fusion_layer.attn.text_proj");
    l->vision_value = pair(w, half, d, name, "fusion_layer.attn.values_vision_proj"), l->text_value = pair(w, half, d, name, "fusion_layer.attn.values_text_proj");
    l->vision_out = pair(w, d, half, name, "fusion_layer.attn.out_vision_proj"), l->text_out = pair(w, d, half, name, "fusion_layer.attn.out_text_proj");
    l->vision_scale = weight_new(w, 1, &d, "%sfusion_layer.vision_param", name), l->text_scale = weight_new(w, 1, &d, "%sfusion_layer.text_param", name);
    snprintf(part, sizeof part, "%stext_enhancer_layer.", name);
    new_attn(w, &l->self, d, part, "self_attn");
    l->self_norm = pair(w, d, 0, part, "layer_norm_before"), l->text_norm = pair(w, d, 0, part, "layer_norm_after");
    l->text_fc1 = pair(w, half, d, part, "fc1"), l->text_fc2 = pair(w, d, half, part, "fc2");
    snprintf(part, sizeof part, "%sdeformable_layer.", name);
    new_deform(w, &l->deform, c, c->enc_heads, c->enc_points, part, "self_attn");
    l->deform_norm = pair(w, d, 0, part, "self_attn_layer_norm"), l->norm = pair(w, d, 0, part, "final_layer_norm");
    l->fc1 = pair(w, F, d, part, "fc1"), l->fc2 = pair(w, d, F, part, "fc2");
}

static void new_decoder_layer(weight_set *w, gdino_decoder_layer *l, const gdino_config *c, int i) {
    char name[96];
    int64_t d = c->width;
    snprintf(name, sizeof name, "model.decoder.layers.%d.", i);
    new_attn(w, &l->self, d, name, "self_attn"), new_attn(w, &l->text, d, name, "encoder_attn_text");
    new_deform(w, &l->deform, c, c->dec_heads, c->dec_points, name, "encoder_attn");
    l->self_norm = pair(w, d, 0, name, "self_attn_layer_norm"), l->text_norm = pair(w, d, 0, name, "encoder_attn_text_layer_norm");
    l->deform_norm = pair(w, d, 0, name, "encoder_attn_layer_norm"), l->norm = pair(w, d, 0, name, "final_layer_norm");
    l->fc1 = pair(w, c->dec_mlp, d, name, "fc1"), l->fc2 = pair(w, d, c->dec_mlp, name, "fc2");
}

static void new_projections(gdino *m) {
    const gdino_config *c = &m->c;
    int64_t d = c->width, in = 0;
    for (int l = 0; l < c->levels; l++) {
        char name[64];
        snprintf(name, sizeof name, "model.input_proj_vision.%d.", l);
        if (l < c->swin.outs) in = c->swin.width << c->swin.out[l];
        m->project[l] = pair(&m->w, d, l < c->swin.outs ? in : 9 * in, name, "0"), m->project_norm[l] = pair(&m->w, d, 0, name, "1");
        if (l >= c->swin.outs) in = d;
    }
}

static vm_status make(gdino *m, vm_error *e) {
    const gdino_config *c = &m->c;
    int64_t d = c->width;
    char name[64];
    m->enc = vm_calloc((size_t)c->enc_layers, sizeof *m->enc), m->dec = vm_calloc((size_t)c->dec_layers, sizeof *m->dec);
    if (!m->enc || !m->dec) return vm_nomem(e, 4096, "a Grounding DINO");
    if (swin_new(&m->swin, &m->w, &c->swin, e) || bert_text_new(&m->bert, &m->w, &c->bert, "text", e)) return e->status;
    m->own = m->w.n;
    new_projections(m);
    m->text = pair(&m->w, d, c->bert.width, "model.", "text_projection");
    m->level = weight_new(&m->w, 2, (int64_t[]){ c->levels, d }, "model.level_embed");
    if (c->learned) m->query = weight_new(&m->w, 2, (int64_t[]){ c->queries, d }, "model.query_position_embeddings.weight");
    for (int i = 0; i < c->enc_layers; i++) new_encoder_layer(&m->w, &m->enc[i], c, i);
    m->pick = pair(&m->w, d, d, "model.", "enc_output"), m->pick_norm = pair(&m->w, d, 0, "model.", "enc_output_norm");
    new_head(&m->w, m->pick_box, 3, d, d, 4, "model.encoder_output_bbox_embed");
    m->dec_norm = pair(&m->w, d, 0, "model.decoder.", "layer_norm");
    new_head(&m->w, m->place, 2, 2 * d, d, d, "model.decoder.reference_points_head");
    for (int i = 0; i < c->dec_layers; i++) {
        new_decoder_layer(&m->w, &m->dec[i], c, i);
        snprintf(name, sizeof name, "bbox_embed.%d", i);
        if (i && c->shared_boxes) memcpy(m->dec[i].box, m->dec[0].box, sizeof m->dec[i].box);
        else new_head(&m->w, m->dec[i].box, 3, d, d, 4, name);
    }
    for (int i = 0; i < c->dec_layers && c->scaled; i++)
        m->dec[i].class_bias = i && c->shared_classes ? m->dec[0].class_bias : weight_new(&m->w, 1, (int64_t[]){ 1 }, "class_embed.%d.bias", i);
    if (c->scaled) m->pick_bias = weight_new(&m->w, 1, (int64_t[]){ 1 }, "model.encoder_output_class_embed.bias");
    if (m->w.err.status) *e = m->w.err;
    return e->status;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
static const char swin_plain[] = "model.backbone.conv_encoder.model.", swin_nested[] = "model.backbone.conv_encoder.model.swin.";

/* The shape of a parameter in the file: that of a convolution has its window. */
static void tie_own(const gdino *m, weight_map *map, vm_param *p) {
    for (int l = 0; l < m->c.levels; l++)
        if (m->project[l].w == p) {
            int64_t k = l < m->c.swin.outs ? 1 : 3, ne[] = { p->ne[0], p->ne[1] / (k * k), k, k };
            tie_whole(map, p, 4, ne, 0, "%s", p->name);
            return;
        }
    if (strstr(p->name, "class_embed")) tie_whole(map, p, 0, NULL, 0, "%s", p->name);
    else tie_whole(map, p, p->nd, p->ne, 0, "%s%s", strncmp(p->name, "bbox_embed", 10) ? "" : m->box_prefix, p->name);
}

void gdino_map(const gdino *m, weight_map *map) {
    const int64_t from = map->n;
    swin_tie(&m->swin, map, m->swin_prefix);
    for (int64_t i = from; i < map->n; i++) { /* the norms of maps lie beside what is called swin, not in it */
        char *nested = strstr(map->t[i].name, ".swin.hidden_states_norms.");
        if (nested) memmove(nested, nested + 5, strlen(nested + 5) + 1);
    }
    bert_tie(&m->bert, map, "model.text_backbone.", false);
    for (int64_t i = m->own; i < m->w.n; i++) tie_own(m, map, m->w.p[i]);
}

/* The head for boxes is in files up to twice for every layer, as part of the model and of its decoder, though they are the same. */
static void tie_clones(const gdino *m, weight_map *map) {
    for (int64_t k = 0; k < 2; k++)
        for (int64_t i = 0; i < m->c.dec_layers; i++)
            for (int j = 0; j < 3; j++)
                for (int b = 0; b < 2; b++) {
                    char name[96];
                    vm_param *p = b ? m->dec[i].box[j].b : m->dec[i].box[j].w;
                    snprintf(name, sizeof name, "%sbbox_embed.%d.layers.%d.%s", k ? "model.decoder." : "", (int)i, j, b ? "bias" : "weight");
                    bool own = (k ? "model.decoder." : "")[0] == m->box_prefix[0] && (!i || !m->c.shared_boxes);
                    if (!own && st_find(m->file, name)) tie_whole(map, p, p->nd, p->ne, W_CLONE, "%s", name);
                }
    for (int64_t i = 0; i < 2 * m->c.dec_layers && m->c.scaled; i++) { /* so are the biases of its logits */
        char name[64];
        const int64_t layer = i / 2;
        snprintf(name, sizeof name, "%sclass_embed.%d.bias", i % 2 ? "model.decoder." : "", (int)layer);
        if ((i % 2 || (layer && m->c.shared_classes)) && st_find(m->file, name)) tie_whole(map, m->dec[layer].class_bias, 0, NULL, W_CLONE, "%s", name);
    }
}

/* --- folders -------------------------------------------------------------------------------------------------------- */
static const char folder[] = "the folder of a Grounding DINO";

bool gdino_is_gdino(const char *dir) {
    vm_error none = { 0 };
    json_doc *d = json_config(dir, folder, &none);
    const char *type = d ? json_str(json_root(d), "model_type", "", &none) : "";
    const bool is = !strcmp(type, "grounding-dino") || !strcmp(type, "mm-grounding-dino");
    json_free(d);
    return is;
}

static vm_status load(gdino *m, bool writable, vm_error *e) {
    weight_map map = { 0 };
    m->box_prefix = st_find(m->file, "bbox_embed.0.layers.0.weight") ? "" : "model.decoder.";
    m->swin_prefix = st_find(m->file, "model.backbone.conv_encoder.model.swin.embeddings.norm.weight") ? swin_nested : swin_plain;
    gdino_map(m, &map);
    tie_clones(m, &map);
    weights_load(&map, m->file, (const char *const[]){ "", NULL }, writable, &m->unused, e);
    weight_map_free(&map);
    return e->status;
}

vm_status gdino_new_of(gdino **out, vm_backend *be, const gdino_config *c, vm_error *e) {
    gdino *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a Grounding DINO");
    m->c = *c, m->w.be = be, m->box_prefix = "", m->swin_prefix = swin_plain;
    if (make(m, e)) gdino_free(m);
    else *out = m;
    return e->status;
}

vm_status gdino_new(gdino **out, vm_backend *be, const char *dir, vm_error *e) {
    gdino_config c;
    json_doc *d = json_config(dir, folder, e);
    *out = NULL;
    if (d && !gdino_config_parse(&c, json_root(d), e)) gdino_new_of(out, be, &c, e);
    json_free(d);
    return e->status;
}

vm_status gdino_open(gdino **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    if (gdino_new(out, be, dir, e) || (!st_open(&(*out)->file, dir, e) && !load(*out, writable, e))) return e->status;
    gdino_free(*out);
    *out = NULL;
    return e->status;
}

vm_status gdino_save(const gdino *m, const char *dir, st_dtype t, vm_error *e) {
    weight_map map = { 0 };
    gdino_map(m, &map);
    weights_save(&map, dir, "model.safetensors", t, NULL, e);
    weight_map_free(&map);
    return e->status;
}

vm_status gdino_restore(gdino *m, const char *dir, vm_error *e) {
    weight_map map = { 0 };
    gdino_map(m, &map);
    weights_restore(&map, dir, "model", e);
    weight_map_free(&map);
    return e->status;
}

void gdino_free(gdino *m) {
    if (!m) return;
    weights_free(&m->w);
    swin_free(&m->swin), bert_text_free(&m->bert);
    vm_free(m->enc), vm_free(m->dec), vm_free(m->unused);
    st_close(m->file);
    vm_free(m);
}
