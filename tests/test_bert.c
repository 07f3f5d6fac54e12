/* test_bert.c - BERT against tests/golden/bert: hidden states, pooler and sentence vectors of transformers (f32); attention masks
 * of any form; configurations that cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/bert.h"
#include "tests/golden_check.h"

#define GOLDEN "tests/golden/bert/"
static char tmp[512];

static char *in_tmp(const char *name, char path[600]) {
    snprintf(path, 600, "%s/%s", tmp, name);
    return path;
}

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    in_tmp("out.safetensors", out);
    check_goldens(GOLDEN "hf", out, &n_grads, &n_outs), check_goldens(GOLDEN "old", out, &n_grads, &n_outs);
    EXPECT(n_outs == 15 && !n_grads);
    unlink(out);
}

enum { T = 8, CUT = 3, C = 12 };
static const int32_t ids[T] = { 1, 9, 4, 22, 7, 30, 2, 15 };

/* Hidden rows of one text; mask, positions and bias may be NULL. first: bert_first, which gives the first row alone. */
static void run(const bert_model *m, int64_t n, const int32_t *text, const int32_t *mask, const int32_t *positions, const float *bias, bool first,
                float *out) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    const int64_t ne[] = { 1, n }, square[] = { 1, 1, n, n };
    bert_input x = { .ids = vm_input(g, "ids", VM_I32, 2, ne) };
    if (mask) x.key_mask = vm_input(g, "mask", VM_I32, 2, ne);
    if (positions) x.positions = vm_input(g, "positions", VM_I32, 2, ne);
    if (bias) x.bias = vm_input(g, "bias", VM_F32, 4, square);
    vm_output(g, "y", first ? bert_first(g, &m->text, &x) : bert_hidden(g, &m->text, &x));
    vm_set(g, "ids", text);
    if (mask) vm_set(g, "mask", mask);
    if (positions) vm_set(g, "positions", positions);
    if (bias) vm_set(g, "bias", bias);
    if (vm_run(g) || vm_get(g, "y", out)) MISMATCH("%s\n", g->err.msg);
    vm_graph_free(g);
}
static void same(const char *name, const float *got, const float *want, int64_t n) {
    for (int64_t i = 0; i < n; i++) near(name, i, (double)got[i], (double)want[i], 2e-6 * (1 + fabs((double)want[i])));
}

/* Two texts in one, each seeing itself alone and counting from 0 (as Grounding DINO reads phrases), are two texts. */
TEST(a_bias_separates_phrases) {
    bert_model *m = NULL;
    vm_error e = { 0 };
    float bias[T * T], both[T * C], one[CUT * C], two[(T - CUT) * C], first[C];
    int32_t positions[T];
    if (bert_open(&m, vm_backend_cpu(), GOLDEN "hf", false, &e)) MISMATCH("%s\n", e.msg);
    for (int i = 0; i < T; i++) {
        positions[i] = i < CUT ? i : i - CUT;
        for (int k = 0; k < T; k++) bias[i * T + k] = (i < CUT) == (k < CUT) ? 0 : -1e30f;
    }
    run(m, T, ids, NULL, positions, bias, false, both);
    run(m, CUT, ids, NULL, NULL, NULL, false, one), run(m, T - CUT, ids + CUT, NULL, NULL, NULL, false, two);
    run(m, T, ids, NULL, positions, bias, true, first);
    same("one", both, one, CUT * C), same("two", both + CUT * C, two, (T - CUT) * C), same("first", first, one, C);
    bert_free(m);
}

/* A mask hides tokens as if they were not there, and a bias can do what a mask does. */
TEST(a_mask_hides) {
    bert_model *m = NULL;
    vm_error e = { 0 };
    float bias[T * T], masked[T * C], biased[T * C], cut[CUT * C];
    int32_t mask[T];
    if (bert_open(&m, vm_backend_cpu(), GOLDEN "hf", false, &e)) MISMATCH("%s\n", e.msg);
    for (int i = 0; i < T; i++) mask[i] = i < CUT;
    for (int i = 0; i < T * T; i++) bias[i] = i % T < CUT ? 0 : -1e30f;
    run(m, T, ids, mask, NULL, NULL, false, masked), run(m, T, ids, NULL, NULL, bias, false, biased);
    run(m, CUT, ids, NULL, NULL, NULL, false, cut);
    same("masked", masked, cut, CUT * C), same("biased", biased, masked, T * C);
    bert_free(m);
}

/* A text encoder that is for its first row alone computes the last layer for it alone, bias and mask included. */
TEST(the_first_row_alone) {
    bert_model *m = NULL;
    weight_set w = { .be = vm_backend_cpu() };
    weight_map map = { 0 };
    vm_error e = { 0 };
    bert_model half = { .w = { 0 } };
    float bias[T * T], whole[T * C], first[C];
    int32_t mask[T];
    char *unused = NULL;
    if (bert_open(&m, vm_backend_cpu(), GOLDEN "hf", false, &e)) MISMATCH("%s\n", e.msg);
    bert_config c = m->text.c;
    c.first_only = true;
    EXPECT(!bert_text_new(&half.text, &w, &c, "text", &e));
    bert_tie(&half.text, &map, "", false);
    if (weights_load(&map, m->file, (const char *const[]){ "", NULL }, false, &unused, &e)) MISMATCH("%s\n", e.msg);
    EXPECT(!unused);
    for (int i = 0; i < T; i++) mask[i] = i != 2;
    for (int i = 0; i < T * T; i++) bias[i] = sinf((float)i);
    run(m, T, ids, mask, NULL, bias, false, whole), run(&half, T, ids, mask, NULL, bias, true, first);
    same("first", first, whole, C);
    weight_map_free(&map);
    weights_free(&w);
    bert_text_free(&half.text);
    bert_free(m);
}

TEST(what_a_graph_is_told) {
    bert_model *m = NULL;
    vm_error e = { 0 };
    if (bert_open(&m, vm_backend_cpu(), GOLDEN "old", false, &e)) MISMATCH("%s\n", e.msg);
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    bert_hidden(g, &m->text, &(bert_input){ .ids = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ 1, 15 }) });
    EXPECT(vm_plan(g));
    EXPECT_HAS(g->err.msg, "texts of 15 tokens for a model of 14 positions");
    vm_graph_free(g), g = vm_graph_new(vm_backend_cpu(), VM_F32);
    vm_val x = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ 1, 5 });
    bert_hidden(g, &m->text, &(bert_input){ .ids = x, .rows = vm_input(g, "rows", VM_F32, 3, (int64_t[]){ 1, 4, 24 }) });
    EXPECT_HAS(g->err.msg, "1 texts for the rows of 1 pictures in a model without cross-attention");
    vm_graph_free(g), g = vm_graph_new(vm_backend_cpu(), VM_F32);
    bert_pool(g, &m->text, vm_input(g, "x", VM_F32, 2, (int64_t[]){ 1, 24 }));
    EXPECT_HAS(g->err.msg, "this text encoder has no pooler");
    vm_graph_free(g);
    bert_free(m);
}

static const char *said(const char *json) {
    static vm_error e;
    char path[600];
    bert_model *m;
    vm_error_clear(&e);
    in_tmp("config.json", path);
    if (json) EXPECT(!file_write(path, json, strlen(json), &e));
    EXPECT(bert_open(&m, vm_backend_cpu(), tmp, false, &e) && !m);
    unlink(path);
    return e.msg;
}
TEST(configurations) {
    EXPECT_HAS(said(NULL), "no config.json; give the folder of a BERT model");
    EXPECT_HAS(said("{\"model_type\":\"gpt2\"}"), "found \"gpt2\", expected \"bert\"");
    EXPECT_HAS(said("{\"model_type\":\"bert\",\"is_decoder\":true}"), "a BERT that is a decoder is not supported; encoders are");
    EXPECT_HAS(said("{\"model_type\":\"bert\",\"hidden_size\":-3}"), "hidden_size");
    EXPECT_HAS(said("{\"model_type\":\"bert\",\"hidden_size\":10}"), "12 heads do not divide the width 10");
    EXPECT_HAS(said("{\"model_type\":\"bert\",\"hidden_act\":\"swiglu\"}"), "activation \"swiglu\" is not known");
    EXPECT_HAS(said("{\"model_type\":\"bert\",\"type_vocab_size\":0}"), "type_vocab_size");
    EXPECT_HAS(said("{\"model_type\":\"bert\"}"), "model.safetensors");
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/bert_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(a_bias_separates_phrases);
    RUN(a_mask_hides);
    RUN(the_first_row_alone);
    RUN(what_a_graph_is_told);
    RUN(configurations);
    rmdir(tmp);
    return test_end();
}
