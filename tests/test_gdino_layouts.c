/* test_gdino_layouts.c - checkpoints of Grounding DINO in the names of IDEA-Research and MMDetection: a small model is written in them, name by name
 * translated from Hugging Face's, and must come back bit for bit, with its sizes. */
#include <unistd.h>

#include "models/gdino_layouts.h"
#include "models/gdino_parts.h"
#include "pipeline/detect_data.h"
#include "tests/test.h"

static char dir[64];

/* Rewrites apply one after the other to names that begin with `where`. */
typedef struct { const char *where, *from, *to; } rewrite;
#define SWIN "model.backbone.conv_encoder.model."
static const rewrite common[] = {
    { SWIN, ".layernorm_before", ".norm1" }, { SWIN, ".layernorm_after", ".norm2" }, { SWIN "hidden_states_norms.stage2", SWIN "hidden_states_norms.stage2", "backbone.norm1" },
    { SWIN "hidden_states_norms.stage3", SWIN "hidden_states_norms.stage3", "backbone.norm2" },
    { "model.encoder.", "layer_norm_vision", "layer_norm_v" }, { "model.encoder.", "layer_norm_text", "layer_norm_l" },
    { "model.encoder.", "values_vision_proj", "values_v_proj" }, { "model.encoder.", "values_text_proj", "values_l_proj" }, { "model.encoder.", "out_vision_proj", "out_v_proj" },
    { "model.encoder.", "out_text_proj", "out_l_proj" }, { "model.encoder.", "attn.vision_proj", "attn.v_proj" }, { "model.encoder.", "attn.text_proj", "attn.l_proj" },
    { "model.encoder.", "vision_param", "gamma_v" }, { "model.encoder.", "text_param", "gamma_l" },
};
static const rewrite idea[] = {
    { SWIN, "attention.self.relative_position", "attn.relative_position" }, { SWIN, "attention.self.", "attn." }, { SWIN, "attention.output.dense", "attn.proj" },
    { SWIN, "intermediate.dense", "mlp.fc1" }, { SWIN, "output.dense", "mlp.fc2" }, { SWIN, "embeddings.patch_embeddings.projection", "patch_embed.proj" },
    { SWIN, "embeddings.norm", "patch_embed.norm" }, { SWIN, SWIN "encoder.", "backbone.0." }, { SWIN, SWIN, "backbone.0." }, { "backbone.norm", "backbone.", "backbone.0." },
    { "model.encoder.", ".deformable_layer.self_attn_layer_norm", ".norm1" }, { "model.encoder.", ".deformable_layer.final_layer_norm", ".norm2" },
    { "model.encoder.", ".deformable_layer.fc1", ".linear1" }, { "model.encoder.", ".deformable_layer.fc2", ".linear2" }, { "model.encoder.", ".deformable_layer.", "." },
    { "model.encoder.", ".text_enhancer_layer.layer_norm_before", ".T.norm1" }, { "model.encoder.", ".text_enhancer_layer.layer_norm_after", ".T.norm2" },
    { "model.encoder.", ".text_enhancer_layer.fc1", ".T.linear1" }, { "model.encoder.", ".text_enhancer_layer.fc2", ".T.linear2" },
    { "model.encoder.", ".text_enhancer_layer.", ".T." }, { "model.encoder.", "", "" }, { "model.encoder.", "model.encoder.", "transformer.encoder." },
    { "model.decoder.layers", ".encoder_attn_text_layer_norm", ".catext_norm" }, { "model.decoder.layers", ".encoder_attn_layer_norm", ".norm1" },
    { "model.decoder.layers", ".self_attn_layer_norm", ".norm2" }, { "model.decoder.layers", ".final_layer_norm", ".norm3" },
    { "model.decoder.layers", ".encoder_attn_text.", ".ca_text." }, { "model.decoder.layers", ".encoder_attn.", ".cross_attn." }, { "model.decoder.layers", ".fc1", ".linear1" },
    { "model.decoder.layers", ".fc2", ".linear2" }, { "model.decoder.layer_norm", "layer_norm", "norm" }, { "model.decoder.", "reference_points_head", "ref_point_head" },
    { "model.decoder.", "model.decoder.", "transformer.decoder." }, { "model.encoder_output_bbox", "model.encoder_output_bbox_embed", "transformer.enc_out_bbox_embed" },
    { "model.enc_output", "model.", "transformer." }, { "model.level", "model.", "transformer." }, { "model.query", "model.query_position_embeddings", "transformer.tgt_embed" },
    { "model.text_backbone.", "model.text_backbone.", "bert." }, { "model.input_proj", "model.input_proj_vision", "input_proj" }, { "model.text_proj", "model.text_projection", "feat_map" },
};
static const rewrite mmdet[] = {
    { SWIN, "attention.self.", "attn.w_msa." }, { SWIN, "attention.output.dense", "attn.w_msa.proj" }, { SWIN, "intermediate.dense", "ffn.layers.0.0" },
    { SWIN, "output.dense", "ffn.layers.1" }, { SWIN, "embeddings.patch_embeddings.", "patch_embed." }, { SWIN, "embeddings.norm", "patch_embed.norm" },
    { SWIN, SWIN "encoder.layers.", "backbone.stages." }, { SWIN, SWIN, "backbone." },
    { "model.encoder.", ".deformable_layer.self_attn_layer_norm", ".norms.0" }, { "model.encoder.", ".deformable_layer.final_layer_norm", ".norms.1" },
    { "model.encoder.", ".deformable_layer.", "." }, { "model.encoder.", ".text_enhancer_layer.layer_norm_before", ".T.norms.0" },
    { "model.encoder.", ".text_enhancer_layer.layer_norm_after", ".T.norms.1" }, { "model.encoder.", ".text_enhancer_layer.self_attn.", ".T.self_attn.attn." },
    { "model.encoder.", ".text_enhancer_layer.", ".T." }, { "model.encoder.", ".fc1", ".ffn.layers.0.0" }, { "model.encoder.", ".fc2", ".ffn.layers.1" },
    { "model.encoder.", "model.encoder.", "encoder." },
    { "model.decoder.layers", ".encoder_attn_text_layer_norm", ".norms.1" }, { "model.decoder.layers", ".encoder_attn_layer_norm", ".norms.2" },
    { "model.decoder.layers", ".self_attn_layer_norm", ".norms.0" }, { "model.decoder.layers", ".final_layer_norm", ".norms.3" },
    { "model.decoder.layers", ".encoder_attn_text.", ".cross_attn_text.attn." }, { "model.decoder.layers", ".encoder_attn.", ".cross_attn." },
    { "model.decoder.layers", ".self_attn.", ".self_attn.attn." }, { "model.decoder.layers", ".fc1", ".ffn.layers.0.0" }, { "model.decoder.layers", ".fc2", ".ffn.layers.1" },
    { "model.decoder.layer_norm", "layer_norm", "norm" }, { "model.decoder.", "reference_points_head", "ref_point_head" }, { "model.decoder.", "model.decoder.", "decoder." },
    { "model.encoder_output_bbox", "model.encoder_output_bbox_embed.layers.", "bbox_head.reg_branches.2.H" }, { "bbox_embed.", "bbox_embed.", "bbox_head.reg_branches." },
    { "bbox_head.", ".layers.", ".H" }, { "bbox_head.", ".H1", ".2" }, { "bbox_head.", ".H0", ".0" }, { "bbox_head.", ".H2", ".4" },
    { "model.encoder_output_class", "model.encoder_output_class_embed", "bbox_head.cls_branches.2" }, { "class_embed", "class_embed", "bbox_head.cls_branches" },
    { "model.enc_output_norm", "model.enc_output_norm", "memory_trans_norm" }, { "model.enc_output", "model.enc_output", "memory_trans_fc" }, { "model.level", "model.", "" },
    { "model.query", "model.query_position_embeddings", "query_embedding" }, { "model.text_backbone.", "model.text_backbone.", "language_model.language_backbone.body.model." },
    { "model.input_proj_vision.2", "model.input_proj_vision.2", "neck.extra_convs.0" }, { "model.input_proj", "model.input_proj_vision", "neck.convs" },
    { "neck.", ".0.weight", ".conv.weight" }, { "neck.", ".0.bias", ".conv.bias" }, { "neck.", ".1.weight", ".gn.weight" }, { "neck.", ".1.bias", ".gn.bias" },
    { "model.text_proj", "model.text_projection", "text_feat_map" },
};

static void apply(char *name, const rewrite *r, int n) {
    for (int k = 0; k < n; k++) {
        char *at = strncmp(name, r[k].where, strlen(r[k].where)) || !*r[k].from ? NULL : strstr(name, r[k].from), rest[200];
        if (!at) continue;
        snprintf(rest, sizeof rest, "%s", at + strlen(r[k].from));
        sprintf(at, "%s%s", r[k].to, rest);
    }
}

/* The name in a layout. Layers of the encoder have three lists there. */
static void translate(char *name, bool mm) {
    int i;
    char *part;
    apply(name, common, VM_LEN(common));
    if (mm) apply(name, mmdet, VM_LEN(mmdet));
    else apply(name, idea, VM_LEN(idea));
    const char *root = mm ? "encoder." : "transformer.encoder.";
    if ((part = strstr(name, ".fusion_layer.")) && sscanf(name + strlen(root), "layers.%d", &i) == 1) {
        char rest[200];
        snprintf(rest, sizeof rest, "%s", part + 14), sprintf(name, "%sfusion_layers.%d.%s", root, i, rest);
    } else if ((part = strstr(name, ".T.")) && sscanf(name + strlen(root), "layers.%d", &i) == 1) {
        char rest[200];
        snprintf(rest, sizeof rest, "%s", part + 3), sprintf(name, "%stext_layers.%d.%s", root, i, rest);
    }
    if (mm && !strncmp(name, "neck.convs.1.0", 14)) EXPECT(false);
}

/* "...query.weight" -> 0 and "...key.weight", "...value.weight" -> 1, 2; the name of what holds all three. BERT keeps them apart. */
static int third_of(char *name) {
    static const char *const part[] = { "query.", "key.", "value." };
    if (strstr(name, "bert.") || strstr(name, "language_backbone")) return -1;
    for (int k = 0; k < 3; k++) {
        char *at = strstr(name, part[k]), end[16];
        if (!at || (at > name && at[-1] != '.')) continue;
        snprintf(end, sizeof end, "%s", at + strlen(part[k]));
        const bool backbone = !strncmp(name, "backbone.", 9);
        sprintf(at, "%s%s", backbone ? "qkv." : "in_proj_", end);
        return k;
    }
    return -1;
}

static void unfold(float *x, int64_t n, int64_t rows) { /* the inverse of what reading does */
    static const int place[] = { 0, 2, 1, 3 };
    const int64_t cols = n / rows, C = cols / 4;
    float *row = vm_alloc((size_t)cols * sizeof *row);
    for (int64_t i = 0; i < rows; i++) {
        memcpy(row, x + i * cols, (size_t)cols * sizeof *row);
        for (int64_t c = 0; c < cols; c++) x[i * cols + c % C * 4 + place[c / C]] = row[c];
    }
    vm_free(row);
}

static void write_as(const char *from, const char *to, const char *prefix, bool mm, vm_error *e) {
    st_file *f = NULL;
    st_writer *w = NULL;
    if (st_open(&f, from, e) || st_writer_open(&w, to, 0, e)) return;
    for (int put = 0; put < 2; put++)
        for (int64_t i = 0; i < st_len(f) && !e->status; i++) {
            const st_tensor *t = st_at(f, i), *part[3] = { t };
            char name[300], full[340];
            snprintf(name, sizeof name, "%s", t->name);
            translate(name, mm);
            const int third = third_of(name);
            if (third > 0) continue;
            int64_t shape[VM_AXES];
            for (int k = 0; k < t->nd; k++) shape[k] = t->shape[k];
            for (int k = 1; k < 3 && third == 0; k++) {
                char other[300];
                snprintf(other, sizeof other, "%s", t->name);
                char *at = strstr(other, "query."), end[200];
                snprintf(end, sizeof end, "%s", at + 6), sprintf(at, "%s%s", k == 1 ? "key." : "value.", end);
                part[k] = st_find(f, other);
            }
            if (third == 0) shape[0] *= 3;
            snprintf(full, sizeof full, "%s%s", prefix, name);
            if (!put) {
                st_writer_add(w, full, ST_F32, t->nd, shape, e);
                continue;
            }
            float *x = vm_alloc((size_t)t->len * 3 * sizeof *x);
            for (int k = 0; k < (third == 0 ? 3 : 1); k++) st_read_f32(f, part[k], 0, t->len, x + k * t->len, e);
            if (mm && strstr(name, "downsample")) unfold(x, t->len, t->nd == 2 ? t->shape[0] : 1);
            st_writer_put(w, full, x, e);
            vm_free(x);
        }
    if (!e->status) st_writer_commit(w, e);
    st_close(f);
}

static void round_trip(bool mm, const char *prefix) {
    vm_error e = { 0 };
    gdino *m = NULL, *back = NULL;
    st_file *f = NULL;
    char path[100];
    const char *found = NULL;
    gdino_config c = { 0 };
    EXPECT(!detect_world_model(dir, &e) && !gdino_fresh(&m, vm_backend_cpu(), dir, 9, &e));
    c = m->c, c.bert.heads = 1, c.scaled = mm, c.shared_boxes = c.shared_classes = false; /* 64 columns: one head, as BERT's are counted */
    gdino_free(m);
    EXPECT(!gdino_config_save(&c, dir, &e) && !gdino_fresh(&m, vm_backend_cpu(), dir, 9, &e) && m->c.scaled == mm);
    for (int64_t i = 0; i < m->w.n && !e.status; i++) weight_normal(m->w.p[i], 4, (uint64_t)i, 1, &e); /* no two numbers the same */
    snprintf(path, sizeof path, "%s/other.safetensors", dir);
    EXPECT(!gdino_save(m, dir, ST_F32, &e));
    write_as(dir, path, prefix, mm, &e);
    EXPECT(!e.status && !st_open(&f, path, &e));
    const weight_source s = weights_of_safetensors(f);
    const gdino_layout is = gdino_layout_find(&s, &found);
    EXPECT(is == (mm ? GDINO_MMDET : GDINO_IDEA));
    EXPECT_STR(found, prefix);
    EXPECT(!gdino_open_layout(&back, vm_backend_cpu(), &s, is, prefix, &e));
    if (e.status) MISMATCH("%s\n", e.msg);
    else {
        if (back->unused) MISMATCH("%s\n", back->unused);
        EXPECT(back->w.n == m->w.n && back->c.scaled == mm && !back->c.shared_boxes && back->c.queries == 16 && back->c.levels == 3 && back->c.swin.outs == 2);
        EXPECT(back->c.swin.window == 8 && back->c.swin.heads[2] == 8 && back->c.enc_heads == 4 && back->c.dec_heads == 4 && back->c.bert.vocab == m->c.bert.vocab);
        for (int64_t i = 0; i < m->w.n && back->w.n == m->w.n; i++)
            if (memcmp(m->w.p[i]->data, back->w.p[i]->data, (size_t)vm_param_count(m->w.p[i]) * sizeof(vm_real))) MISMATCH("%s differs\n", m->w.p[i]->name);
    }
    gdino_free(m), gdino_free(back), st_close(f);
}

TEST(idea_research) { round_trip(false, "model.module."); }
TEST(mmdetection) { round_trip(true, "state_dict."); }

TEST(what_is_missing_is_named) {
    vm_error e = { 0 };
    gdino *m = NULL;
    st_file *f = NULL;
    st_writer *w = NULL;
    char path[100];
    const char *prefix;
    const float x[48] = { 0 };
    snprintf(path, sizeof path, "%s/part.safetensors", dir);
    EXPECT(!st_writer_open(&w, path, 0, &e) && !st_writer_add(w, "transformer.level_embed", ST_F32, 2, (int64_t[]){ 1, 32 }, &e) &&
           !st_writer_add(w, "backbone.0.patch_embed.proj.weight", ST_F32, 4, (int64_t[]){ 1, 3, 4, 4 }, &e) && !st_writer_put(w, "transformer.level_embed", x, &e) &&
           !st_writer_put(w, "backbone.0.patch_embed.proj.weight", x, &e) && !st_writer_commit(w, &e) && !st_open(&f, path, &e));
    const weight_source s = weights_of_safetensors(f);
    EXPECT(gdino_layout_find(&s, &prefix) == GDINO_IDEA && gdino_open_layout(&m, vm_backend_cpu(), &s, GDINO_IDEA, prefix, &e) == VM_EMODEL && !m);
    EXPECT_HAS(e.msg, "no transformer.tgt_embed.weight in it");
    st_close(f);
}

int main(void) {
    snprintf(dir, sizeof dir, "build/test_gdino_layouts.%d", (int)getpid());
    RUN(idea_research);
    RUN(mmdetection);
    RUN(what_is_missing_is_named);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}
