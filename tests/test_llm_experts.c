/* test_llm_experts.c - mixtures of experts in 8 and 4 bits: every layout of files against the numbers that it stands for, run in f32; the
 * golden Mixtral in each kind; one token after another, several texts at once and x rounded to 8 bits; gradients; what is refused. */
#include <unistd.h>

#include "kernels/graph.h"
#include "models/optimizer.h"
#include "tests/llm_forms.h"

#define MIXTRAL "tests/golden/llm/mixtral"
enum { MATRICES = 14 }; /* of two layers: four of attention, three stacks of experts */

/* Columns of 64 and 96: groups of 32 in all, blocks of 64 cross rows in one of the three matrices of an expert. */
static const char config[] = "{\"model_type\":\"mixtral\",\"vocab_size\":383,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
                             "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"eos_token_id\":2,"
                             "\"num_local_experts\":4,\"num_experts_per_tok\":2";
static const char *const kinds[] = { "int8", "nf4", "int4" };

static llm *open_model(const char *dir) {
    vm_error e = { 0 };
    llm *m = NULL;
    if (llm_open(&m, vm_backend_cpu(), dir, false, &e)) MISMATCH("%s: %s\n", dir, e.msg);
    return m;
}

TEST(converted) {
    static const struct { double least, most; } off_by[] = { { 1e-4, 0.005 }, { 0.02, 0.17 }, { 0.02, 0.08 } };
    char *plain = plain_folder();
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        char *dir = convert(plain, kinds[k], &e), *numbers = NULL;
        if (e.status) MISMATCH("%s\n", e.msg);
        same_as_expanded(dir, MATRICES);
        numbers = expanded(dir);
        double off = worst_weight(plain, numbers);
        if (!(off > off_by[k].least && off < off_by[k].most)) MISMATCH("%s: weights are off by %g\n", kinds[k], off);
        llm *m = open_model(dir);
        if (m) EXPECT(m->layer[1].gate_w->quant && !m->layer[1].router->quant);
        if (m) EXPECT(optimizer_memory(&(optimizer){ .w = &m->w }).weights < (size_t)weight_count(&m->w) * (k == 0 ? 3 : 2)); /* tables in f32, the rest in codes */
        llm_free(m);
        vm_free(dir), vm_free(numbers);
    }
    vm_free(plain);
}

/* All experts of a layer in one tensor become the same folder. */
TEST(converted_from_joined_tensors) {
    vm_error e = { 0 };
    llm *m = NULL;
    weight_map map = { 0 };
    char *plain = plain_folder(), *dir = path_join(tmp, "joined");
    float want[V], got[V];
    write_config(dir, "");
    if (llm_open(&m, vm_backend_cpu(), plain, true, &e)) MISMATCH("%s\n", e.msg);
    m->c.experts_joined = true;
    llm_map(m, &map);
    if (weights_save(&map, dir, "model.safetensors", ST_F32, NULL, &e)) MISMATCH("%s\n", e.msg);
    weight_map_free(&map);
    llm_free(m);
    for (int k = 0; k < VM_LEN(kinds); k++) {
        char *a = convert(plain, kinds[k], &e), *b = convert_head(dir, kinds[k], true, "joined-out", &e);
        if (e.status) MISMATCH("%s\n", e.msg);
        logits(a, VM_F32, want), logits(b, VM_F32, got);
        EXPECT(distance(got, want) == 0);
        vm_free(a), vm_free(b);
    }
    vm_free(plain), vm_free(dir);
}

/* The golden model (24 and 40 columns: blocks that cross rows, groups of 8) in each kind: as its numbers in f32. */
TEST(golden_model) {
    float own[V], want[V], got[V];
    logits(MIXTRAL, VM_F32, own);
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        char *to = path_join(tmp, "golden"), *argv[] = { MIXTRAL, to, "--quantize", (char *)(uintptr_t)kinds[k], "--quiet", "--group", "8" };
        vm_args *a = NULL;
        bool done;
        if (dir_remove(to, &e) || args_parse(&a, &cmd_convert, k == 2 ? 7 : 5, argv, &done, &e) || cmd_convert.run(a, &e)) MISMATCH("%s\n", e.msg);
        args_free(a);
        logits(to, VM_F32, got);
        EXPECT(distance(got, own) > 0.01); /* other weights, and for some tokens other experts */
        llm *m = NULL;
        llm_engine *en = NULL;
        llm_seq s = { 0 };
        if (llm_open(&m, vm_backend_cpu(), to, true, &e) || llm_engine_new(&en, m, VM_F32, &(llm_engine_options){ .tokens = 64, .longest = 64 }, &e) ||
            llm_prefill(en, &s, text, LENGTH, want, &e))
            MISMATCH("%s\n", e.msg);
        EXPECT_NEAR(distance(got, want), 0, 2e-4);
        llm_seq_free(en, &s);
        llm_engine_free(en);
        llm_free(m);
        vm_free(to);
    }
}

TEST(gptq_layouts) {
    char *plain = plain_folder();
    gptq_case(plain, MATRICES, false, false, false);
    gptq_case(plain, MATRICES, false, true, false);
    gptq_case(plain, MATRICES, true, true, true);
    vm_free(plain);
}

static void look_at_experts(const char *dir, bool nested) {
    llm *m = open_model(dir);
    if (m) EXPECT(m->layer[0].down_w->quant && !m->layer[0].down_w->quant->nested == !nested && !m->layer[0].router->quant);
    llm_free(m);
}
TEST(quantised_while_loading) { quantised_while_loaded(look_at_experts); }

/* --- ways of computing -------------------------------------------------------------------------------------------------- */
static llm_engine *engine(const llm *m, bool rounded, bool deterministic) {
    vm_error e = { 0 };
    llm_engine *en = NULL;
    if (llm_engine_new(&en, m, VM_F32, &(llm_engine_options){ .tokens = 4000, .longest = 64, .rounded = rounded, .deterministic = deterministic }, &e))
        MISMATCH("%s\n", e.msg);
    return en;
}
/* Logits behind the text, token by token, beside `others` texts that are not the same. */
static void token_by_token(llm_engine *en, int others, float out[V]) {
    static float all[LLM_SLOTS * V];
    vm_error e = { 0 };
    llm_seq s[LLM_SLOTS] = { { 0 } }, *at[LLM_SLOTS];
    int32_t next[LLM_SLOTS];
    for (int i = 0; i < LENGTH; i++) {
        for (int k = 0; k <= others; k++) at[k] = &s[k], next[k] = k ? text[(i * 3 + k) % LENGTH] : text[i];
        if (llm_decode(en, others + 1, at, next, all, &e)) MISMATCH("%s\n", e.msg);
    }
    memcpy(out, all, V * sizeof *out);
    for (int k = 0; k <= others; k++) llm_seq_free(en, &s[k]);
}
TEST(token_by_token_and_beside_others) {
    char *plain = plain_folder();
    float whole[V], got[V], rounded[V], beside[V];
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        char *dir = convert(plain, kinds[k], &e);
        llm *m = open_model(dir);
        llm_engine *en = engine(m, false, false), *eight = engine(m, true, false), *exact = engine(m, true, true);
        llm_seq s = { 0 };
        if (llm_prefill(en, &s, text, LENGTH, whole, &e)) MISMATCH("%s\n", e.msg);
        llm_seq_free(en, &s);
        token_by_token(en, 0, got);
        EXPECT_NEAR(distance(got, whole), 0, 2e-4);
        token_by_token(en, 20, beside);
        EXPECT_NEAR(distance(beside, whole), 0, 2e-4);
        token_by_token(eight, 0, rounded);
        EXPECT(distance(rounded, whole) > 1e-5 && distance(rounded, whole) < 0.2);
        token_by_token(exact, 0, got), token_by_token(exact, 20, beside);
        EXPECT(distance(got, beside) == 0); /* deterministic: the same bits beside any others */
        if (llm_prefill(exact, &s, text, LENGTH, beside, &e)) MISMATCH("%s\n", e.msg);
        EXPECT(distance(got, beside) < 0.2);
        llm_seq_free(exact, &s);
        llm_engine_free(en), llm_engine_free(eight), llm_engine_free(exact);
        llm_free(m);
        vm_free(dir);
    }
    vm_free(plain);
}

TEST(adapters_on_codes) {
    static float want[20000], got[20000];
    char *plain = plain_folder();
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        char *dir = convert(plain, kinds[k], &e);
        int64_t n = adapter_gradients(dir, true, want, VM_LEN(want));
        float most = 0;
        EXPECT(n == adapter_gradients(dir, false, got, VM_LEN(got)) && n > 1000);
        for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(want[i]));
        EXPECT(most > 1e-4f);
        for (int64_t i = 0; i < n; i++) EXPECT_NEAR((double)got[i], (double)want[i], 1e-3 * (double)most);
        vm_free(dir);
    }
    vm_free(plain);
}

/* --- what does not fit together ------------------------------------------------------------------------------------------- */
/* Experts with zeros or an order of columns beside some without get what their absence means; other kinds are refused. */
TEST(experts_that_differ) {
    enum { E = 3, N = 8, K = 32 };
    vm_error e = { 0 };
    weight_set set = { .be = vm_backend_cpu() };
    vm_param *p = weight_new(&set, 3, (int64_t[]){ E, N, K }, "w");
    uint64_t state = 5;
    float w[N * K], want[E * N * K], got[E * N * K];
    for (int x = 0; x < E; x++) {
        quant_form q;
        for (int i = 0; i < N * K; i++) w[i] = (float)test_uniform(&state);
        if (quant_form_make(&q, VM_INT4, N, K, 16, x == 1, &e)) MISMATCH("%s\n", e.msg);
        vm_quantize_int4(w, N, K, 16, q.own, q.scales, q.zeros);
        if (x == 2) q.order = vm_alloc(K * sizeof *q.order);
        for (int c = 0; c < K && x == 2; c++) q.order[c] = (c * 5 + 1) % K;
        quant_form_numbers(&q, 0, N * K, want + x * N * K);
        if (quant_form_keep_expert(&q, &set, p, x, &e)) MISMATCH("%s\n", e.msg);
        EXPECT(!q.own && !q.scales && !q.zeros && !q.order);
    }
    EXPECT(p->quant->zeros && p->quant->order && !weight_read(p, 0, E * N * K, got, &e) && !memcmp(got, want, sizeof got));
    EXPECT(!weight_read(p, N * K - 5, 11, got, &e) && !memcmp(got, want + N * K - 5, 11 * sizeof *got));
    quant_form q;
    EXPECT(!quant_form_make(&q, VM_INT8, N, K, 16, false, &e) && quant_form_keep_expert(&q, &set, p, 2, &e) == VM_EMODEL);
    EXPECT_HAS(e.msg, "expert 2 of w is quantised in another way than those before it");
    weights_free(&set);
}

int main(int argc, char **argv) {
    config_text = config;
    snprintf(tmp, sizeof tmp, "%s/llm_experts.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    make_text();
    RUN(converted);
    RUN(converted_from_joined_tensors);
    RUN(golden_model);
    RUN(gptq_layouts);
    RUN(quantised_while_loading);
    RUN(token_by_token_and_beside_others);
    RUN(adapters_on_codes);
    RUN(experts_that_differ);
    vm_error e = { 0 };
    EXPECT(!dir_remove(tmp, &e));
    return test_end();
}
