/* test_blip.c - BLIP against tests/golden/blip: small random models with the outputs, losses and gradients of transformers (f32);
 * texts of one picture together or alone; configurations and inputs that cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/blip.h"
#include "tests/golden_check.h"

#define GOLDEN "tests/golden/blip/"
static char tmp[512];

static char *in_tmp(const char *name, char path[600]) {
    snprintf(path, 600, "%s/%s", tmp, name);
    return path;
}

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    in_tmp("out.safetensors", out);
    check_goldens(GOLDEN "hf", out, &n_grads, &n_outs), check_goldens(GOLDEN "hf_variant", out, &n_grads, &n_outs);
    EXPECT(n_grads > 200 && n_outs == 15);
    unlink(out);
}

/* Scores of n texts of the golden with pictures 0 (each its own copy, or one for all). */
static void match(const blip_model *m, const float *pixels, const int32_t *ids, const int32_t *mask, int64_t n, bool shared, vm_type dtype, float out[8]) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), dtype);
    int64_t S = m->c.image_size, I = shared ? 1 : n, px = S * S * 3;
    float *copies = vm_alloc((size_t)(I * px) * sizeof *copies);
    for (int64_t i = 0; i < I; i++) memcpy(copies + i * px, pixels, (size_t)px * sizeof *copies);
    vm_val rows = blip_image_rows(g, m, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ I, S, S, 3 }));
    vm_val i = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ n, 9 }), k = vm_input(g, "mask", VM_I32, 2, (int64_t[]){ n, 9 });
    vm_output(g, "y", blip_match(g, m, rows, i, k));
    vm_set(g, "pixels", copies), vm_set(g, "ids", ids), vm_set(g, "mask", mask);
    if (vm_run(g) || vm_get(g, "y", out)) MISMATCH("%s\n", g->err.msg);
    vm_graph_free(g);
    vm_free(copies);
}

TEST(texts_of_a_picture_do_not_know_of_each_other) {
    blip_model *m = NULL;
    vm_error e = { 0 };
    float pixels[24 * 24 * 3], alone[8], together[8], half[8];
    int32_t ids[36], mask[36];
    if (blip_open(&m, vm_backend_cpu(), GOLDEN "hf", false, &e)) MISMATCH("%s\n", e.msg);
    for (int i = 0; i < VM_LEN(pixels); i++) pixels[i] = sinf((float)i);
    for (int i = 0; i < 36; i++) ids[i] = 5 + i * 7 % 50, mask[i] = i % 9 < 9 - i / 9 * 2;
    match(m, pixels, ids, mask, 4, false, VM_F32, alone), match(m, pixels, ids, mask, 4, true, VM_F32, together);
    match(m, pixels, ids, mask, 4, true, VM_BF16, half);
    for (int k = 0; k < 8; k++) {
        near("together", k, (double)together[k], (double)alone[k], 2e-6 * (1 + fabs((double)alone[k])));
        near("bf16", k, (double)half[k], (double)alone[k], 0.1); /* 8 bits through 4 layers of numbers around 1 */
    }
    EXPECT(fabsf(alone[0] - alone[2]) > 1e-3f);
    blip_free(m);
}

/* --- what cannot be ------------------------------------------------------------------------------------------------ */
static const char *said(const char *json) {
    static vm_error e;
    char path[600];
    blip_config c;
    vm_error_clear(&e);
    if (json) EXPECT(!file_write(in_tmp("config.json", path), json, strlen(json), &e));
    blip_config_read(&c, tmp, &e);
    unlink(in_tmp("config.json", path));
    return e.msg;
}
#define BLIP(x) "{\"model_type\":\"blip\"," x "}"
TEST(configurations) {
    EXPECT_STR(said("{\"model_type\":\"blip\"}"), "");
    EXPECT_HAS(said(NULL), "no config.json; give the folder of a BLIP model");
    EXPECT_HAS(said("{\"model_type\":\"clip\"}"), "found \"clip\", expected \"blip\"");
    EXPECT_HAS(said(BLIP("\"architectures\":[\"BlipForQuestionAnswering\"]")), "a BlipForQuestionAnswering is not supported; BlipForImageTextRetrieval is");
    EXPECT_HAS(said(BLIP("\"architectures\":[3]")), "architectures");
    EXPECT_HAS(said(BLIP("\"image_text_hidden_size\":0")), "image_text_hidden_size");
    EXPECT_HAS(said(BLIP("\"text_config\":{\"hidden_size\":30,\"num_attention_heads\":4}")), "4 heads do not divide the width 30");
    EXPECT_HAS(said(BLIP("\"text_config\":{\"hidden_act\":\"mish\"}")), "activation \"mish\" is not known");
    EXPECT_HAS(said(BLIP("\"text_config\":{\"position_embedding_type\":\"relative_key\"}")), "positions \"relative_key\" are not supported");
    EXPECT_HAS(said(BLIP("\"text_config\":{\"is_decoder\":false}")), "no image-text matching head");
    EXPECT_HAS(said(BLIP("\"vision_config\":{\"hidden_size\":30,\"num_attention_heads\":4}")), "4 heads do not divide the width 30");
    EXPECT_HAS(said(BLIP("\"vision_config\":{\"image_size\":[24,32]}")), "found 24 x 32, expected a square");
    EXPECT_HAS(said(BLIP("\"vision_config\":{\"image_size\":[24]}")), "image_size");
    EXPECT_HAS(said(BLIP("\"vision_config\":{\"patch_size\":500}")), "patches of 500 in images of 384");
}

/* The golden file with one string or tensor left out or put in the place of another. */
TEST(cases_that_do_not_fit) {
    char in[600], out[600];
    vm_error e = { 0 };
    st_writer *w = NULL;
    const int64_t ids[] = { 2, 3 }, one[] = { 1 }, px[] = { 1, 3, 24, 24 }, odd[] = { 1, 3, 16, 16 };
    static const float zeros[3 * 24 * 24];
    static const struct { const char *kind, *loss; int pixels; const char *words; } bad[] = {
        { "loss", "clip", 24, "loss \"clip\" is not supported for a BLIP; weighted_mean is" },
        { "loss", "weighted_mean", 24, "2 texts and 1 pictures" },
        { "forward", NULL, 0, "in.input_ids (texts, tokens) and in.pixel_values are needed" },
        { "forward", NULL, 16, "images of 16 x 16 for a model of 24 x 24" },
        { "loss", "weighted_mean", -24, "in.weight.itm_score of the shape of itm_score is needed" },
    };
    in_tmp("in.safetensors", in), in_tmp("out.safetensors", out);
    for (int k = 0; k < VM_LEN(bad); k++) {
        vm_error_clear(&e);
        EXPECT(!st_writer_open(&w, in, 0, &e) && !st_writer_meta(w, "c/kind", bad[k].kind, &e));
        if (bad[k].loss) st_writer_meta(w, "c/in.loss", bad[k].loss, &e);
        st_writer_add(w, "c/in.input_ids", ST_I32, 2, ids, &e);
        if (bad[k].pixels) st_writer_add(w, "c/in.pixel_values", ST_F32, 4, bad[k].pixels == 16 ? odd : px, &e);
        bool itc = bad[k].pixels == 16 || bad[k].pixels < 0;
        if (itc) st_writer_add(w, "c/in.use_itm_head", ST_I32, 1, one, &e);
        st_writer_put(w, "c/in.input_ids", zeros, &e);
        if (bad[k].pixels) st_writer_put_f32(w, "c/in.pixel_values", zeros, &e);
        if (itc) st_writer_put(w, "c/in.use_itm_head", zeros, &e);
        if (st_writer_commit(w, &e)) MISMATCH("%s\n", e.msg);
        forward(GOLDEN "hf", in, out, &e);
        EXPECT_HAS(e.msg, bad[k].words);
    }
    unlink(in), unlink(out);
}

TEST(missing_tensors_are_named) {
    char path[600], *json = NULL;
    size_t bytes;
    vm_error e = { 0 };
    blip_model *m;
    st_writer *w = NULL;
    const int64_t two = 2;
    EXPECT(!file_read(&json, &bytes, GOLDEN "hf/config.json", 0, &e) && !file_write(in_tmp("config.json", path), json, bytes, &e));
    EXPECT(!st_writer_open(&w, in_tmp("model.safetensors", path), 0, &e) && !st_writer_add(w, "itm_head.bias", ST_F32, 1, &two, &e) &&
           !st_writer_put_f32(w, "itm_head.bias", (const float[]){ 0, 0 }, &e) && !st_writer_commit(w, &e));
    EXPECT(blip_open(&m, vm_backend_cpu(), tmp, false, &e) == VM_EMODEL && !m);
    EXPECT_HAS(e.msg, "91 tensors missing: vision_model.embeddings.class_embedding");
    vm_error_clear(&e);
    towers *t;
    EXPECT(towers_open(&t, vm_backend_cpu(), tmp, &(towers_options){ .how = TOWERS_TRAIN }, &e) == VM_EUSAGE && !t);
    EXPECT_HAS(e.msg, "a BLIP model has no temperature to train");
    unlink(path), unlink(in_tmp("config.json", path));
    vm_free(json);
}

TEST(memory_runs_out_politely) {
    size_t before = vm_mem_used();
    int failed = 0;
    for (int k = 0; k < 400; k += 1 + k / 8) {
        vm_error e = { 0 };
        blip_model *m = NULL;
        vm_mem_fail_after(k);
        vm_status s = blip_open(&m, vm_backend_cpu(), GOLDEN "hf_variant", true, &e);
        vm_mem_fail_after(-1);
        EXPECT(s == VM_OK || (s == VM_EDEVICE && e.msg[0] && !m));
        failed += s != VM_OK;
        blip_free(m);
    }
    EXPECT(failed > 10);
    EXPECT(vm_mem_used() == before);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/blip_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(texts_of_a_picture_do_not_know_of_each_other);
    RUN(configurations);
    RUN(cases_that_do_not_fit);
    RUN(missing_tensors_are_named);
    RUN(memory_runs_out_politely);
    rmdir(tmp);
    return test_end();
}
