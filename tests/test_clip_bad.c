/* test_clip_bad.c - what is said of model directories that are no CLIP, or a broken one; and the rows of texts. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip.h"
#include "tests/test.h"

static char dir[512];

static void put(const char *name, const char *text) {
    char path[600];
    vm_error e = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!text) unlink(path);
    else if (file_write(path, text, strlen(text), &e)) MISMATCH("%s\n", e.msg);
}
/* The sentence about a config.json (or open_clip_config.json) with this content, behind the directory. */
static const char *said(const char *name, const char *text) {
    static vm_error e;
    clip_config c;
    vm_error_clear(&e);
    put("config.json", NULL), put("open_clip_config.json", NULL);
    if (text) put(name, text);
    clip_config_read(&c, dir, &e);
    EXPECT(!e.status == clip_is_clip(dir));
    const char *at = strstr(e.msg, dir);
    return at ? at + strlen(dir) : e.msg;
}
#define HF                                                                                                             \
    "{\"model_type\":\"clip\",\"projection_dim\":8,\"text_config\":{\"hidden_size\":8,\"num_attention_heads\":2,"      \
    "\"intermediate_size\":16,\"num_hidden_layers\":1,\"vocab_size\":20,\"max_position_embeddings\":7%s},\"vision_"    \
    "config\":{\"hidden_size\":12,\"num_attention_heads\":3,\"intermediate_size\":16,\"num_hidden_layers\":2,\"image_" \
    "size\":8,\"patch_size\":4%s}}"
#define OC                                                                                                             \
    "{\"model_cfg\":{\"embed_dim\":8,\"vision_cfg\":{\"image_size\":8,\"layers\":1,\"width\":12,\"head_width\":4,"     \
    "\"patch_size\":4%s},\"text_cfg\":{\"context_length\":7,\"vocab_size\":20,\"width\":8,\"heads\":2,\"layers\":1%s}" \
    "%s}}"
static const char *hf(const char *text, const char *vision) {
    char json[1200];
    snprintf(json, sizeof json, HF, text, vision);
    return said("config.json", json);
}
static const char *oc(const char *vision, const char *text, const char *model) {
    char json[1200];
    snprintf(json, sizeof json, OC, vision, text, model);
    return said("open_clip_config.json", json);
}

TEST(configurations) {
    EXPECT_STR(hf("", ""), "");
    EXPECT_STR(oc("", "", ""), "");
    EXPECT_HAS(said("config.json", NULL),
               "no config.json and no open_clip_config.json; give the folder of a CLIP model");
    EXPECT_HAS(said("config.json", "{"), "config.json");
    EXPECT_HAS(said("config.json", "[]"), "config.json");
    EXPECT_HAS(said("config.json", "{\"model_type\":\"bert\"}"), "found \"bert\", expected \"clip\"");
    EXPECT_HAS(said("config.json", "{}"), "found \"\", expected \"clip\"");
    EXPECT_HAS(hf(",\"hidden_act\":\"mish\"", ""), "activation \"mish\" is not known; known are quick_gelu, gelu");
    EXPECT_HAS(hf(",\"num_attention_heads\":3", ""),
               "twice"); /* a name twice is refused, so the defaults cannot hide it */
    EXPECT_HAS(hf("", ",\"num_channels\":4"), "only 3 channels are supported");
    EXPECT_HAS(
        said("config.json", "{\"model_type\":\"clip\",\"text_config\":{\"hidden_size\":10,\"num_attention_heads\":3}}"),
        "3 heads do not divide the width 10");
    EXPECT_HAS(said("config.json", "{\"model_type\":\"clip\",\"vision_config\":{\"hidden_size\":\"x\"}}"),
               "hidden_size");
    EXPECT_HAS(said("config.json", "{\"model_type\":\"clip\",\"vision_config\":{\"hidden_size\":0}}"), "hidden_size");
    EXPECT_HAS(said("config.json", "{\"model_type\":\"clip\",\"vision_config\":{\"patch_size\":300}}"),
               "patches of 300 in images of 224");
    EXPECT_HAS(said("config.json", "{\"model_type\":\"clip\",\"vision_config\":{\"num_hidden_layers\":1e9}}"),
               "num_hidden_layers");
}
TEST(open_clip_configurations) {
    EXPECT_HAS(said("open_clip_config.json", "{\"model_cfg\":{\"vision_cfg\":{}}}"),
               "text_cfg and vision_cfg are needed");
    EXPECT_HAS(
        said("open_clip_config.json", "{\"model_cfg\":{\"vision_cfg\":{\"timm_model_name\":\"x\"},\"text_cfg\":{}}}"),
        "this variant of CLIP is not supported yet");
    EXPECT_HAS(oc("", ",\"hf_model_name\":\"roberta-base\"", ""), "this variant of CLIP is not supported yet");
    EXPECT_HAS(oc(",\"attentional_pool\":true", "", ""), "this variant of CLIP is not supported yet");
    EXPECT_STR(oc(",\"attentional_pool\":false", "", ""), "");
    EXPECT_HAS(oc(",\"pool_type\":\"avg\"", "", ""), "pooling \"avg\" is not supported");
    EXPECT_HAS(oc("", "", ",\"init_logit_bias\":-10"), "this variant of CLIP is not supported yet");
    EXPECT_HAS(said("open_clip_config.json",
                    "{\"model_cfg\":{\"vision_cfg\":{\"width\":10,\"head_width\":4},\"text_cfg\":{}}}"),
               "4 does not divide the width 10");
    EXPECT_HAS(
        said("open_clip_config.json", "{\"model_cfg\":{\"vision_cfg\":{},\"text_cfg\":{\"width\":10,\"heads\":4}}}"),
        "4 heads do not divide the width 10");
}

/* --- weights ----------------------------------------------------------------------------------------------------- */
/* A small model in dir, without the tensors that `skip` names, `odd` transposed into another shape, `more` added. */
static vm_status open_with(const char *skip, const char *odd, const char *more, vm_error *e, char **unused) {
    clip_model *m = NULL;
    clip_config c = { .text = { 8, 1, 2, 16 },
                      .vision = { 12, 2, 3, 16 },
                      .vocab = 20,
                      .context = 7,
                      .image_size = 8,
                      .patch = 4,
                      .embed = 8,
                      .eos = 19,
                      .text_act = VM_GELU,
                      .vision_act = VM_GELU,
                      .text_eps = 1e-5f,
                      .vision_eps = 1e-5f };
    put("open_clip_config.json", NULL);
    EXPECT(!clip_new(&m, vm_backend_cpu(), &c, e) && !clip_init(m, 1, e) && !clip_save(m, dir, ST_F32, false, e));
    clip_free(m);
    st_file *f = NULL;
    st_writer *w = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/new.safetensors", dir);
    EXPECT(!st_open_base(&f, dir, "model", e) && !st_writer_open(&w, path, 0, e));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < st_len(f); i++) {
            const st_tensor *t = st_at(f, i);
            if (skip && strstr(t->name, skip)) continue;
            int64_t flat[] = { t->len };
            bool other = odd && strstr(t->name, odd);
            EXPECT(!(pass ? st_writer_put(w, t->name, t->data, e)
                          : st_writer_add(w, t->name, t->dtype, other ? 1 : t->nd, other ? flat : t->shape, e)));
        }
        if (more)
            EXPECT(!(pass ? st_writer_put(w, more, &(float){ 1 }, e)
                          : st_writer_add(w, more, ST_F32, 1, (int64_t[]){ 1 }, e)));
    }
    EXPECT(!st_writer_commit(w, e));
    st_close(f);
    char to[600];
    snprintf(to, sizeof to, "%s/model.safetensors", dir);
    EXPECT(!rename(path, to));
    m = NULL;
    vm_status st = clip_open(&m, vm_backend_cpu(), dir, false, e);
    if (unused) *unused = m && m->t.unused ? vm_strdup(m->t.unused) : NULL;
    EXPECT(!m == (st != VM_OK));
    clip_free(m);
    return st;
}
TEST(weights) {
    vm_error e = { 0 };
    char *unused = NULL;
    EXPECT(!open_with(NULL, NULL, NULL, &e, &unused) && !unused);
    EXPECT(!open_with(NULL, NULL, "text_model.embeddings.position_ids", &e, &unused) &&
           !unused); /* a buffer of old files */
    EXPECT(!open_with(NULL, NULL, "extra.weight", &e, &unused));
    EXPECT_HAS(unused, "model.safetensors: 1 tensors not used: extra.weight");
    vm_free(unused);
    EXPECT(open_with("post_layernorm", NULL, "post_ln.weight", &e, NULL) == VM_EMODEL);
    EXPECT_HAS(e.msg, "2 tensors missing: vision_model.post_layernorm.weight, vision_model.post_layernorm.bias; 0 of "
                      "another shape; 1 unexpected: post_ln.weight");
    vm_error_clear(&e);
    EXPECT(open_with(NULL, "visual_projection", NULL, &e, NULL) == VM_EMODEL);
    EXPECT_HAS(e.msg, "0 tensors missing; 1 of another shape: visual_projection.weight (file 96, config 8 12)");
    vm_error_clear(&e);
    EXPECT(open_with("self_attn", NULL, NULL, &e, NULL) == VM_EMODEL);
    EXPECT_HAS(e.msg, "24 tensors missing: text_model.encoder.layers.0.self_attn.q_proj.weight, ");
    vm_error_clear(&e);
    put("model.safetensors", NULL);
    clip_model *m = NULL;
    EXPECT(clip_open(&m, vm_backend_cpu(), dir, false, &e) != VM_OK && !m);
    EXPECT_HAS(e.msg, dir);
    vm_error_clear(&e);
    put("model.safetensors", "not weights at all, but long enough to look at");
    EXPECT(clip_open(&m, vm_backend_cpu(), dir, false, &e) != VM_OK && !m);
    EXPECT_HAS(e.msg, "model.safetensors");
}

/* --- rows of texts ----------------------------------------------------------------------------------------------- */
TEST(text_rows) {
    clip_config c = { .eos = 9, .pool_argmax = false };
    const int32_t ids[] = { 7, 1, 9, 9, 9,   7, 1, 2, 3, 4,   9, 8, 9, 1, 1,   7, 1, 2, 3, 9 };
    int32_t at[4], mask[20];
    EXPECT(clip_text_rows(&c, 4, 5, ids, NULL, at, mask) == 5);
    EXPECT(at[0] == 2 && at[1] == 0 && at[2] == 0 &&
           at[3] == 4); /* the first end token; without one row 0, as the reference has it */
    const int32_t want[] = { 1, 1, 1, 0, 0,   1, 0, 0, 0, 0,   1, 0, 0, 0, 0,   1, 1, 1, 1, 1 };
    EXPECT(!memcmp(mask, want, sizeof want));
    EXPECT(clip_text_rows(&c, 3, 5, ids, NULL, at, mask) == 3); /* columns that matter */
    const int32_t given[] = { 0, 1, 1, 1, 0 };
    EXPECT(clip_text_rows(&c, 1, 5, ids, given, at, mask) == 3 && at[0] == 2);
    EXPECT(mask[0] == 0 && mask[1] == 1 && mask[2] == 1 && mask[3] == 0);
    c.pool_argmax = true; /* the largest id, the first of them */
    EXPECT(clip_text_rows(&c, 4, 5, ids, NULL, at, mask) == 5);
    EXPECT(at[0] == 2 && at[1] == 0 && at[2] == 0 && at[3] == 4);
    const int32_t later[] = { 1, 2, 3, 8, 0 };
    EXPECT(clip_text_rows(&c, 1, 5, later, NULL, at, mask) == 4 && at[0] == 3);
    EXPECT(clip_text_rows(&c, 0, 5, ids, NULL, at, mask) == 1);
    EXPECT(clip_text_rows(&c, 2, 1, ids, NULL, at, mask) == 1 && at[0] == 0 && at[1] == 0);
}
TEST(graphs) { /* pictures and texts that do not fit a model */
    vm_error e = { 0 };
    clip_model *m = NULL;
    clip_config c = { .text = { 8, 1, 2, 16 },
                      .vision = { 12, 2, 3, 16 },
                      .vocab = 20,
                      .context = 7,
                      .image_size = 8,
                      .patch = 4,
                      .embed = 8,
                      .text_act = VM_GELU,
                      .vision_act = VM_GELU };
    EXPECT(!clip_new(&m, vm_backend_cpu(), &c, &e));
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    EXPECT(!clip_image_features(g, m, vm_input(g, "px", VM_F32, 4, (int64_t[]){ 1, 8, 9, 3 })));
    EXPECT_STR(g->err.msg, "images of 8 x 9 for a model of 8 x 8; preprocess them first");
    vm_graph_free(g);
    g = vm_graph_new(vm_backend_cpu(), VM_F32);
    EXPECT(!clip_text_features(g, m, vm_input(g, "ids", VM_I32, 2, (int64_t[]){ 1, 8 }),
                               vm_input(g, "at", VM_I32, 1, (int64_t[]){ 1 }),
                               vm_input(g, "mask", VM_I32, 2, (int64_t[]){ 1, 8 })));
    EXPECT_STR(g->err.msg, "texts of 8 tokens for a context of 7");
    vm_graph_free(g);
    clip_free(m);
}

int main(int argc, char **argv) {
    snprintf(dir, sizeof dir, "%s/clip-bad.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(dir)) return 1;
    RUN(configurations);
    RUN(open_clip_configurations);
    RUN(weights);
    RUN(text_rows);
    RUN(graphs);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}
