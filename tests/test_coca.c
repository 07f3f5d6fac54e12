/* test_coca.c - CoCa against tests/golden/coca: small random models with the features, loss and gradients of open_clip (f32); texts
 * cut behind their padding; configurations and losses that are not built. */
#include <unistd.h>

#include "io/file.h"
#include "models/coca.h"
#include "tests/golden_check.h"

#define GOLDEN "tests/golden/coca/"
static char tmp[512];
static char *in_tmp(const char *name, char path[600]) {
    snprintf(path, 600, "%s/%s", tmp, name);
    return path;
}

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    in_tmp("out.safetensors", out);
    check_goldens(GOLDEN "open_clip", out, &n_grads, &n_outs), check_goldens(GOLDEN "open_clip_variant", out, &n_grads, &n_outs);
    EXPECT(n_grads > 80 && n_outs == 16);
    unlink(out);
}

/* --- texts cut behind their padding ---------------------------------------------------------------------------------- */
enum { B = 4, L = 9, C = 16 };
static void features(towers *t, int64_t T, const int32_t *ids, const int32_t *at, const int32_t *mask, float *out) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    vm_output(g, "y", towers_texts(g, t, B, T));
    int32_t cut[B * L], seen[B * L];
    for (int b = 0; b < B; b++)
        for (int i = 0; i < T; i++) cut[b * T + i] = ids[b * L + i], seen[b * T + i] = mask[b * L + i];
    vm_set(g, "ids", cut), vm_set(g, "at", at), vm_set(g, "mask", seen);
    if (vm_run(g) || vm_get(g, "y", out)) MISMATCH("%s\n", g->err.msg);
    vm_graph_free(g);
}

TEST(texts_are_cut_behind_their_padding) {
    /* id 0 is padding and a token: inside a text, at its start, nowhere but at the end */
    const int32_t ids[B * L] = { 38, 3, 0, 5, 39, 0, 0, 0, 0,  0, 7, 9, 39, 0, 0, 0, 0, 0,  38, 39, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0, 0 };
    int32_t at[B], mask[B * L];
    float whole[B * C], cut[B * C], less[B * C];
    vm_error e = { 0 };
    towers *t = NULL;
    if (towers_open(&t, vm_backend_cpu(), GOLDEN "open_clip", &(towers_options){ .how = TOWERS_READ }, &e)) MISMATCH("%s\n", e.msg);
    EXPECT(t->unused == NULL); /* the decoder is left alone without a word */
    int64_t used = t->family->text_rows(t, B, L, ids, NULL, at, mask);
    EXPECT(used == 6 && at[0] == L);
    features(t, L, ids, at, mask, whole), features(t, used, ids, at, mask, cut), features(t, used - 1, ids, at, mask, less);
    double worst = 0;
    for (int i = 0; i < B * C; i++) {
        near("cut", i, (double)cut[i], (double)whole[i], 1e-6);
        worst = fmax(worst, fabs((double)(less[i] - whole[i])));
    }
    EXPECT(worst > 1e-3); /* one column less is one too few */
    towers_free(t);
}

/* --- what cannot be ------------------------------------------------------------------------------------------------ */
static const char *said(const char *json) {
    static vm_error e;
    char path[600];
    coca_config c;
    vm_error_clear(&e);
    in_tmp("open_clip_config.json", path);
    if (json) EXPECT(!file_write(path, json, strlen(json), &e));
    coca_config_read(&c, tmp, &e);
    unlink(path);
    return e.msg;
}
#define COCA(model, vision, text)                                                                                             \
    "{\"model_cfg\":{\"embed_dim\":512,\"multimodal_cfg\":{\"width\":512}," model "\"vision_cfg\":{" vision "\"layers\":2}," \
    "\"text_cfg\":{" text "\"layers\":2}}}"
#define POOL "\"attentional_pool\":true,"
#define CLASS "\"embed_cls\":true,"
TEST(configurations) {
    EXPECT_STR(said(COCA("", POOL, CLASS)), "");
    EXPECT_STR(said(COCA("\"init_logit_bias\":null,", POOL "\"pos_embed_type\":null,", CLASS "\"qk_norm\":false,\"norm_kwargs\":{},")), "");
    EXPECT_HAS(said(NULL), "no open_clip_config.json; give the folder of a CoCa model");
    EXPECT_HAS(said("{\"model_cfg\":{\"vision_cfg\":{},\"text_cfg\":{}}}"), "there is no multimodal_cfg");
    EXPECT_HAS(said("{\"model_cfg\":{\"multimodal_cfg\":{\"x\":1}}}"), "text_cfg and vision_cfg are needed");
    EXPECT_HAS(said(COCA("", POOL, "")), "a CoCa without embed_cls is not supported");
    EXPECT_HAS(said(COCA("", "", CLASS)), "attentional_pool: only true is supported");
    EXPECT_HAS(said(COCA("", "\"attentional_pool\":\"cascade\",", CLASS)), "attentional_pool: only true is supported");
    EXPECT_HAS(said(COCA("", POOL, CLASS "\"hf_model_name\":\"roberta-base\",")), "text_cfg.hf_model_name: this option of open_clip is not supported in a CoCa");
    EXPECT_HAS(said(COCA("", POOL "\"pool_type\":\"avg\",", CLASS)), "vision_cfg.pool_type: this option");
    EXPECT_HAS(said(COCA("\"init_logit_bias\":-10,", POOL, CLASS)), "init_logit_bias: this option");
    EXPECT_HAS(said(COCA("", POOL "\"head_width\":100,", CLASS)), "100 does not divide the width 768");
    EXPECT_HAS(said(COCA("", POOL "\"attn_pooler_heads\":7,", CLASS)), "7 heads do not divide the width 512");
    EXPECT_HAS(said(COCA("", POOL, CLASS "\"heads\":7,")), "7 heads do not divide the width 512");
    EXPECT_HAS(said(COCA("", POOL "\"patch_size\":300,", CLASS)), "patches of 300 in images of 224");
    EXPECT_HAS(said(COCA("", POOL "\"attn_pooler_queries\":0,", CLASS)), "attn_pooler_queries");
    EXPECT_HAS(said(COCA("", POOL, CLASS "\"context_length\":\"x\",")), "context_length");
}

TEST(what_is_not_built_is_said) {
    char in[600], out[600];
    vm_error e = { 0 };
    st_writer *w = NULL;
    towers *t;
    const int64_t ids[] = { 1, 4 };
    static const int32_t zeros[4];
    in_tmp("in.safetensors", in), in_tmp("out.safetensors", out);
    EXPECT(!st_writer_open(&w, in, 0, &e) && !st_writer_meta(w, "c/kind", "loss", &e) && !st_writer_meta(w, "c/in.loss", "coca", &e) &&
           !st_writer_add(w, "c/in.text", ST_I32, 2, ids, &e) && !st_writer_put(w, "c/in.text", zeros, &e) && !st_writer_commit(w, &e));
    forward(GOLDEN "open_clip", in, out, &e);
    EXPECT_HAS(e.msg, "loss \"coca\" is not supported for two towers; clip and siglip are (the captioning decoder of a CoCa is not built)");
    vm_error_clear(&e);
    EXPECT(towers_open(&t, vm_backend_cpu(), GOLDEN "open_clip", &(towers_options){ .how = TOWERS_TRAIN }, &e) == VM_EUSAGE && !t);
    EXPECT_HAS(e.msg, "CoCa learns from captions too, whose decoder is not built");
    unlink(in), unlink(out);
}

TEST(memory_runs_out_politely) {
    size_t before = vm_mem_used();
    int failed = 0;
    for (int k = 0; k < 300; k += 1 + k / 8) {
        vm_error e = { 0 };
        coca_model *m = NULL;
        vm_mem_fail_after(k);
        vm_status s = coca_open(&m, vm_backend_cpu(), GOLDEN "open_clip_variant", true, &e);
        vm_mem_fail_after(-1);
        EXPECT(s == VM_OK || (s == VM_EDEVICE && e.msg[0] && !m));
        failed += s != VM_OK;
        coca_free(m);
    }
    EXPECT(failed > 10);
    EXPECT(vm_mem_used() == before);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/coca_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(texts_are_cut_behind_their_padding);
    RUN(configurations);
    RUN(what_is_not_built_is_said);
    RUN(memory_runs_out_politely);
    rmdir(tmp);
    return test_end();
}
