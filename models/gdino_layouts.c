/* gdino_layouts.c - see gdino_layouts.h. The two layouts differ in words; query, key and value are one tensor in both. MMDetection merges patches by
 * unfolding, whose columns are (channel, row, column) where ours are (column, row) blocks of channels. */
#include "models/gdino_layouts.h"

#include <math.h>
#include <string.h>

#include "models/gdino_parts.h"

/* %d: stage, block; layer. */
typedef struct {
    const char *patch, *patch_norm, *block, *qkv, *table, *out, *fc1, *fc2, *merge, *map_norm; /* the backbone */
    const char *bert, *text, *project, *project_norm, *extra, *extra_norm, *level, *query;
    const char *fusion, *enhance, *enc, *dec, *in_proj, *out_proj, *text_in, *text_out, *linear1, *linear2;
    const char *norm[2], *dec_norm[4];                           /* of self-attention, text, points, network */
    const char *pick, *pick_norm, *last_norm, *place;
    const char *box, *pick_box;                                  /* %d: layer; part of a head */
    const char *class_bias;                                      /* NULL = none */
    int head_step;                                               /* parts of heads are counted by so many */
} words;

static const words all_words[] = {
    [GDINO_IDEA] = {
        "backbone.0.patch_embed.proj", "backbone.0.patch_embed.norm", "backbone.0.layers.%d.blocks.%d.", "attn.qkv", "attn.relative_position_bias_table",
        "attn.proj", "mlp.fc1", "mlp.fc2", "backbone.0.layers.%d.downsample.", "backbone.0.norm%d",
        "bert.", "feat_map", "input_proj.%d.0", "input_proj.%d.1", "input_proj.%d.0", "input_proj.%d.1", "transformer.level_embed", "transformer.tgt_embed.weight",
        "transformer.encoder.fusion_layers.%d.", "transformer.encoder.text_layers.%d.", "transformer.encoder.layers.%d.", "transformer.decoder.layers.%d.",
        "self_attn.in_proj_", "self_attn.out_proj", "ca_text.in_proj_", "ca_text.out_proj", "linear1", "linear2",
        { "norm1", "norm2" }, { "norm2", "catext_norm", "norm1", "norm3" },
        "transformer.enc_output", "transformer.enc_output_norm", "transformer.decoder.norm", "transformer.decoder.ref_point_head.layers.%d",
        "bbox_embed.%d.layers.%d", "transformer.enc_out_bbox_embed.layers.%d", NULL, 1,
    },
    [GDINO_MMDET] = {
        "backbone.patch_embed.projection", "backbone.patch_embed.norm", "backbone.stages.%d.blocks.%d.", "attn.w_msa.qkv", "attn.w_msa.relative_position_bias_table",
        "attn.w_msa.proj", "ffn.layers.0.0", "ffn.layers.1", "backbone.stages.%d.downsample.", "backbone.norm%d",
        "language_model.language_backbone.body.model.", "text_feat_map", "neck.convs.%d.conv", "neck.convs.%d.gn", "neck.extra_convs.%d.conv", "neck.extra_convs.%d.gn",
        "level_embed", "query_embedding.weight",
        "encoder.fusion_layers.%d.", "encoder.text_layers.%d.", "encoder.layers.%d.", "decoder.layers.%d.",
        "self_attn.attn.in_proj_", "self_attn.attn.out_proj", "cross_attn_text.attn.in_proj_", "cross_attn_text.attn.out_proj", "ffn.layers.0.0", "ffn.layers.1",
        { "norms.0", "norms.1" }, { "norms.0", "norms.1", "norms.2", "norms.3" },
        "memory_trans_fc", "memory_trans_norm", "decoder.norm", "decoder.ref_point_head.layers.%d",
        "bbox_head.reg_branches.%d.%d", NULL, "bbox_head.cls_branches.%d.bias", 2,
    },
};

gdino_layout gdino_layout_find(const weight_source *s, const char **prefix) {
    static const char *const prefixes[] = { "", "module.", "model.", "model.module.", "state_dict.", "state_dict.module." };
    for (int l = GDINO_IDEA; l <= GDINO_MMDET; l++)
        for (int k = 0; k < VM_LEN(prefixes); k++) {
            char name[96];
            snprintf(name, sizeof name, "%s%s", prefixes[k], all_words[l].level);
            bool is = weight_find(s, name) != NULL;
            snprintf(name, sizeof name, "%s%s.weight", prefixes[k], all_words[l].patch);
            if (is && weight_find(s, name)) return *prefix = prefixes[k], (gdino_layout)l;
        }
    return GDINO_NO_LAYOUT;
}

/* --- sizes ---------------------------------------------------------------------------------------------------------- */
typedef struct {
    const weight_source *s;
    const words *w;
    const char *prefix;
    vm_error *e;
} reader;

static const st_tensor *find(const reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const st_tensor *find(const reader *r, const char *fmt, ...) {
    char name[200], all[260];
    va_list a;
    va_start(a, fmt);
    vsnprintf(name, sizeof name, fmt, a);
    va_end(a);
    snprintf(all, sizeof all, "%s%s", r->prefix, name);
    return weight_find(r->s, all);
}

/* Axis k of a tensor that must be there. */
static int64_t side(const reader *r, int k, const st_tensor *t, const char *what) {
    if (t && t->nd > k) return t->shape[k];
    if (!r->e->status) vm_fail(r->e, VM_EMODEL, "%s: no %s in it", r->s->path, what);
    return 1;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static char *text_of(char out[200], const char *fmt, int a, int b, const char *end) {
    const int n = snprintf(out, 160, fmt, a, b);
    snprintf(out + n, 200 - (size_t)n, "%s", end);
    return out;
}
#pragma GCC diagnostic pop

static void read_swin(const reader *r, swin_config *c) {
    char name[200];
    const words *w = r->w;
    const st_tensor *patch = find(r, "%s.weight", w->patch), *t;
    *c = (swin_config){ .width = side(r, 0, patch, w->patch), .patch = side(r, 3, patch, w->patch), .mlp_ratio = 4, .qkv_bias = true, .act = VM_GELU,
                        .eps = 1e-5f, .drop_path = 0.1 };
    while (c->stages < SWIN_STAGES && (t = find(r, "%s", text_of(name, w->block, (int)c->stages, 0, w->table)))) {
        const int s = (int)c->stages++;
        c->heads[s] = side(r, 1, t, name), c->window = ((int64_t)lround(sqrt((double)side(r, 0, t, name))) + 1) / 2;
        while (find(r, "%s", text_of(name, w->block, s, (int)c->depth[s], w->table))) c->depth[s]++;
        if (find(r, "%s", text_of(name, w->map_norm, s, 0, ".weight"))) c->out[c->outs++] = s;
    }
    if (!c->stages || !c->outs) vm_fail(r->e, VM_EMODEL, "%s: no stages of a Swin backbone in it", r->s->path);
}

static void read_bert(const reader *r, bert_config *c) {
    const char *b = r->w->bert;
    const st_tensor *word = find(r, "%sembeddings.word_embeddings.weight", b), *type = find(r, "%sembeddings.token_type_embeddings.weight", b);
    *c = (bert_config){ .vocab = side(r, 0, word, "words of BERT"), .width = side(r, 1, word, "words of BERT"), .eps = 1e-12f, .act = VM_GELU,
                        .positions = side(r, 0, find(r, "%sembeddings.position_embeddings.weight", b), "positions of BERT"), .types = type ? type->shape[0] : 0 };
    while (find(r, "%sencoder.layer.%d.output.dense.weight", b, (int)c->layers)) c->layers++;
    c->mlp = side(r, 0, find(r, "%sencoder.layer.0.intermediate.dense.weight", b), "layers of BERT"), c->heads = VM_MAX(c->width / 64, (int64_t)1);
}

static int64_t count_layers(const reader *r, const char *fmt) {
    char name[200];
    int64_t n = 0;
    while (find(r, "%s", text_of(name, fmt, (int)n, 0, "self_attn.out_proj.weight")) || find(r, "%s", text_of(name, fmt, (int)n, 0, "self_attn.attn.out_proj.weight")) ||
           find(r, "%s", text_of(name, fmt, (int)n, 0, "self_attn.output_proj.weight")))
        n++;
    return n;
}

/* Heads of deformable attention with the published 4 points. */
static int64_t heads_of(const reader *r, const char *layer, const char *attn, int64_t levels) {
    char name[200];
    const int64_t rows = side(r, 0, find(r, "%s%s.attention_weights.weight", text_of(name, layer, 0, 0, ""), attn), "deformable attention");
    if (rows % (4 * levels) && !r->e->status)
        vm_fail(r->e, VM_EMODEL, "%s: %lld weights of deformable attention are no multiple of 4 points in %lld maps", r->s->path, (long long)rows, (long long)levels);
    return rows / (4 * levels);
}

/* Are tensors NAME of all layers the same? */
static bool same(const reader *r, const char *fmt, int part, int64_t layers, const char *end) {
    char name[200];
    const st_tensor *first = find(r, "%s", text_of(name, fmt, 0, part, end));
    float *a = first ? vm_alloc((size_t)first->len * 2 * sizeof *a + 1) : NULL, *b = a ? a + first->len : NULL;
    bool is = a != NULL && !r->s->read_f32(r->s->file, first, 0, first->len, a, r->e);
    for (int64_t i = 1; i < layers && is; i++) {
        const st_tensor *t = find(r, "%s", text_of(name, fmt, (int)i, part, end));
        is = t && t->len == first->len && !r->s->read_f32(r->s->file, t, 0, t->len, b, r->e) && !memcmp(a, b, (size_t)t->len * sizeof *a);
    }
    vm_free(a);
    return is;
}

static vm_status read_config(const reader *r, gdino_layout layout, gdino_config *c) {
    char name[200];
    const words *w = r->w;
    const st_tensor *level = find(r, "%s", w->level), *query = find(r, "%s", w->query);
    *c = (gdino_config){ .levels = side(r, 0, level, w->level), .width = side(r, 1, level, w->level), .queries = side(r, 0, query, w->query), .learned = true,
                         .enc_layers = count_layers(r, w->enc), .dec_layers = count_layers(r, w->dec), .enc_points = 4, .dec_points = 4, .text_len = 256,
                         .temperature = 20, .eps = 1e-5f, .act = VM_RELU, .scaled = layout == GDINO_MMDET, .costs = { 1, 5, 2, 0.25, 2 }, .box_weight = 5,
                         .giou_weight = 2, .focal = 0.25, .dropout = 0.1, .fusion_drop = 0.1 };
    read_swin(r, &c->swin), read_bert(r, &c->bert);
    if (r->e->status) return r->e->status;
    if (!c->enc_layers || !c->dec_layers || c->dec_layers > GDINO_LAYERS) return vm_fail(r->e, VM_EMODEL, "%s: %lld layers of the encoder, %lld of the decoder", r->s->path, (long long)c->enc_layers, (long long)c->dec_layers);
    char end[64];
    snprintf(end, sizeof end, "%s.weight", w->linear1);
    c->enc_mlp = side(r, 0, find(r, "%s", text_of(name, w->enc, 0, 0, end)), "networks of the encoder");
    c->dec_mlp = side(r, 0, find(r, "%s", text_of(name, w->dec, 0, 0, end)), "networks of the decoder");
    c->enc_heads = heads_of(r, w->enc, "self_attn", c->levels), c->dec_heads = heads_of(r, w->dec, "cross_attn", c->levels);
    c->shared_boxes = true;
    for (int k = 0; k < 3 && !r->e->status; k++) c->shared_boxes &= same(r, w->box, k * w->head_step, c->dec_layers, ".weight") && same(r, w->box, k * w->head_step, c->dec_layers, ".bias");
    c->shared_classes = w->class_bias && same(r, w->class_bias, 0, c->dec_layers, "");
    return r->e->status;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
static void tie_pair(weight_map *map, const gdino_pair *p, const char *name) {
    tie_whole(map, p->w, p->w->nd, p->w->ne, 0, "%s.weight", name), tie_whole(map, p->b, 1, p->b->ne, 0, "%s.bias", name);
}
static void tie_part(weight_map *map, const gdino_pair *p, const char *layer, const char *part) {
    char name[300];
    snprintf(name, sizeof name, "%.200s%s", layer, part);
    tie_pair(map, p, name);
}

static void tie_swin(const gdino *m, const words *w, weight_map *map) {
    char layer[200], name[260];
    const swin *x = &m->swin;
    const int64_t P = x->c.patch;
    tie_whole(map, x->patch_w, 4, (int64_t[]){ x->c.width, 3, P, P }, 0, "%s.weight", w->patch), tie_whole(map, x->patch_b, 1, x->patch_b->ne, 0, "%s.bias", w->patch);
    tie_pair(map, &(gdino_pair){ x->ln_w, x->ln_b }, w->patch_norm);
    for (int s = 0; s < x->c.stages; s++) {
        const swin_stage *t = &x->stage[s];
        for (int i = 0; i < x->c.depth[s]; i++) {
            const swin_block *b = &t->block[i];
            text_of(layer, w->block, s, i, "");
            const struct { gdino_pair p; const char *part; } parts[] = {
                { { b->ln1_w, b->ln1_b }, "norm1" }, { { b->qkv_w, b->qkv_b }, w->qkv }, { { b->out_w, b->out_b }, w->out },
                { { b->ln2_w, b->ln2_b }, "norm2" }, { { b->fc1_w, b->fc1_b }, w->fc1 }, { { b->fc2_w, b->fc2_b }, w->fc2 },
            };
            for (int k = 0; k < VM_LEN(parts); k++) tie_part(map, &parts[k].p, layer, parts[k].part);
            tie_whole(map, b->bias, 2, b->bias->ne, 0, "%s%s", layer, w->table);
        }
        if (t->merge_w) {
            text_of(layer, w->merge, s, 0, "");
            tie_whole(map, t->merge_w, 2, t->merge_w->ne, 0, "%sreduction.weight", layer);
            tie_part(map, &(gdino_pair){ t->merge_ln_w, t->merge_ln_b }, layer, "norm");
        }
        if (t->norm_w) tie_pair(map, &(gdino_pair){ t->norm_w, t->norm_b }, text_of(name, w->map_norm, s, 0, ""));
    }
}

/* Query, key and value as thirds of one tensor. */
static void tie_attn(weight_map *map, const gdino_attn *a, const char *layer, const char *in, const char *out) {
    const gdino_pair *part[] = { &a->q, &a->k, &a->v };
    const int64_t d = a->q.b->ne[0], all[] = { 3 * d, d };
    for (int k = 0; k < 3; k++) {
        tie_rows(map, part[k]->w, 0, d, k * d, 2, all, "%s%sweight", layer, in);
        tie_rows(map, part[k]->b, 0, d, k * d, 1, all, "%s%sbias", layer, in);
    }
    tie_part(map, &a->out, layer, out);
}

static void tie_deform(weight_map *map, const gdino_deform *p, const char *layer, const char *name) {
    static const char *const parts[] = { "sampling_offsets", "attention_weights", "value_proj", "output_proj" };
    const gdino_pair *of[] = { &p->offsets, &p->weights, &p->value, &p->out };
    char part[80];
    for (int k = 0; k < 4; k++) snprintf(part, sizeof part, "%s.%s", name, parts[k]), tie_part(map, of[k], layer, part);
}

static void tie_encoder(const gdino_encoder_layer *l, const words *w, int i, weight_map *map) {
    char layer[200];
    text_of(layer, w->fusion, i, 0, "");
    const struct { const gdino_pair *p; const char *part; } fusion[] = {
        { &l->norm_vision, "layer_norm_v" }, { &l->norm_text, "layer_norm_l" }, { &l->vision, "attn.v_proj" }, { &l->text, "attn.l_proj" },
        { &l->vision_value, "attn.values_v_proj" }, { &l->text_value, "attn.values_l_proj" }, { &l->vision_out, "attn.out_v_proj" }, { &l->text_out, "attn.out_l_proj" },
    };
    for (int k = 0; k < VM_LEN(fusion); k++) tie_part(map, fusion[k].p, layer, fusion[k].part);
    tie_whole(map, l->vision_scale, 1, l->vision_scale->ne, 0, "%sgamma_v", layer), tie_whole(map, l->text_scale, 1, l->text_scale->ne, 0, "%sgamma_l", layer);
    tie_attn(map, &l->self, text_of(layer, w->enhance, i, 0, ""), w->in_proj, w->out_proj);
    tie_part(map, &l->self_norm, layer, w->norm[0]), tie_part(map, &l->text_norm, layer, w->norm[1]);
    tie_part(map, &l->text_fc1, layer, w->linear1), tie_part(map, &l->text_fc2, layer, w->linear2);
    tie_deform(map, &l->deform, text_of(layer, w->enc, i, 0, ""), "self_attn");
    tie_part(map, &l->deform_norm, layer, w->norm[0]), tie_part(map, &l->norm, layer, w->norm[1]);
    tie_part(map, &l->fc1, layer, w->linear1), tie_part(map, &l->fc2, layer, w->linear2);
}

static void tie_decoder(const gdino *m, const words *w, int i, weight_map *map) {
    const gdino_decoder_layer *l = &m->dec[i];
    const gdino_pair *norm[] = { &l->self_norm, &l->text_norm, &l->deform_norm, &l->norm };
    char layer[200], name[200];
    tie_attn(map, &l->self, text_of(layer, w->dec, i, 0, ""), w->in_proj, w->out_proj);
    tie_attn(map, &l->text, layer, w->text_in, w->text_out);
    tie_deform(map, &l->deform, layer, "cross_attn");
    for (int k = 0; k < 4; k++) tie_part(map, norm[k], layer, w->dec_norm[k]);
    tie_part(map, &l->fc1, layer, w->linear1), tie_part(map, &l->fc2, layer, w->linear2);
    for (int k = 0; k < 3 && (!i || !m->c.shared_boxes); k++) tie_pair(map, &l->box[k], text_of(name, w->box, i, k * w->head_step, ""));
    if (l->class_bias && (!i || !m->c.shared_classes)) tie_whole(map, l->class_bias, 1, l->class_bias->ne, 0, "%s", text_of(name, w->class_bias, i, 0, ""));
}

static void tie_all(const gdino *m, const words *w, weight_map *map) {
    char name[200];
    const int last = (int)m->c.dec_layers, outs = m->c.swin.outs;
    tie_swin(m, w, map);
    bert_tie(&m->bert, map, w->bert, false);
    tie_pair(map, &m->text, w->text);
    for (int l = 0; l < m->c.levels; l++) {
        const vm_param *p = m->project[l].w;
        const bool extra = l >= outs;
        const int64_t k = extra ? 3 : 1, ne[] = { p->ne[0], p->ne[1] / (k * k), k, k };
        const int at = extra && w->extra != w->project ? l - outs : l; /* counted anew where they have a name of their own */
        tie_whole(map, m->project[l].w, 4, ne, 0, "%s", text_of(name, extra ? w->extra : w->project, at, 0, ".weight"));
        tie_whole(map, m->project[l].b, 1, m->project[l].b->ne, 0, "%s", text_of(name, extra ? w->extra : w->project, at, 0, ".bias"));
        tie_pair(map, &m->project_norm[l], text_of(name, extra ? w->extra_norm : w->project_norm, at, 0, ""));
    }
    tie_whole(map, m->level, 2, m->level->ne, 0, "%s", w->level), tie_whole(map, m->query, 2, m->query->ne, 0, "%s", w->query);
    for (int i = 0; i < m->c.enc_layers; i++) tie_encoder(&m->enc[i], w, i, map);
    for (int i = 0; i < last; i++) tie_decoder(m, w, i, map);
    tie_pair(map, &m->pick, w->pick), tie_pair(map, &m->pick_norm, w->pick_norm), tie_pair(map, &m->dec_norm, w->last_norm);
    for (int k = 0; k < 2; k++) tie_pair(map, &m->place[k], text_of(name, w->place, k, 0, ""));
    for (int k = 0; k < 3; k++) tie_pair(map, &m->pick_box[k], w->pick_box ? text_of(name, w->pick_box, k, 0, "") : text_of(name, w->box, last, k * w->head_step, ""));
    if (m->pick_bias) tie_whole(map, m->pick_bias, 1, m->pick_bias->ne, 0, "%s", text_of(name, w->class_bias, last, 0, ""));
}

/* Columns (channel, row, column) of unfolded patches to blocks of channels at (0,0), (1,0), (0,1), (1,1). */
static vm_status fold(vm_param *p, vm_error *e) {
    static const int place[] = { 0, 2, 1, 3 };
    const int64_t cols = p->nd == 2 ? p->ne[1] : p->ne[0], rows = vm_param_count(p) / cols, C = cols / 4;
    vm_real *all = p->data, *row = vm_alloc((size_t)cols * sizeof *row);
    if (!row) return vm_nomem(e, (size_t)cols * sizeof *row, "a row");
    for (int64_t i = 0; i < rows; i++) {
        memcpy(row, all + i * cols, (size_t)cols * sizeof *row);
        for (int64_t c = 0; c < cols; c++) all[i * cols + c] = row[c % C * 4 + place[c / C]];
    }
    vm_param_touch(p);
    vm_free(row);
    return VM_OK;
}

vm_status gdino_open_layout(gdino **out, vm_backend *be, const weight_source *s, gdino_layout layout, const char *prefix, vm_error *e) {
    const words *w = &all_words[layout];
    const reader r = { s, w, prefix, e };
    gdino_config c;
    weight_map map = { 0 };
    *out = NULL;
    if (read_config(&r, layout, &c) || gdino_new_of(out, be, &c, e)) return e->status;
    gdino *m = *out;
    tie_all(m, w, &map);
    weights_load_from(&map, s, (const char *const[]){ prefix, NULL }, true, &m->unused, e);
    weight_map_free(&map);
    for (int k = 0; k < c.swin.stages && layout == GDINO_MMDET && !e->status; k++) {
        const swin_stage *t = &m->swin.stage[k];
        if (t->merge_w && !fold(t->merge_w, e) && !fold(t->merge_ln_w, e)) fold(t->merge_ln_b, e);
    }
    if (!e->status) return VM_OK;
    gdino_free(m);
    *out = NULL;
    return e->status;
}
