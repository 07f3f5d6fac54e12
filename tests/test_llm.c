/* test_llm.c - language models against tests/golden/llm: logits, loss and gradients, greedy texts through the paged cache, of
 * transformers (f32); sequences that join, leave and share pages; configurations that cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/llm_decode.h"
#include "tests/golden_check.h"

#define GOLDEN "tests/golden/llm/"
static char tmp[512];

TEST(goldens) {
    static const char *const names[] = { "llama", "mistral", "mixtral", "qwen2", "phi3", "lora" };
    char out[600], in[100];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    for (int k = 0; k < VM_LEN(names); k++) {
        snprintf(in, sizeof in, GOLDEN "%s", names[k]);
        check_goldens(in, out, &n_grads, &n_outs);
    }
    if (n_outs != 28 || n_grads != 124) MISMATCH("%d outputs, %d gradients\n", n_outs, n_grads);
    unlink(out);
}

enum { V = 400, N = 90 };
static int32_t text[N];
static llm *model;
static llm_engine *engine(int64_t tokens) {
    vm_error e = { 0 };
    llm_engine *en = NULL;
    if (!model && llm_open(&model, vm_backend_cpu(), GOLDEN "mistral", false, &e)) MISMATCH("%s\n", e.msg);
    if (llm_engine_new(&en, model, VM_F32, &(llm_engine_options){ .tokens = tokens, .longest = 128 }, &e)) MISMATCH("%s\n", e.msg);
    return en;
}
static void same(const char *what, const float *a, const float *b) {
    for (int i = 0; i < V; i++) near(what, i, (double)a[i], (double)b[i], 1e-4 * (1 + fabs((double)b[i])));
}

/* The logits behind a text do not depend on how it came: at once, in pieces, or token by token beside others. */
TEST(any_way_to_the_same_logits) {
    vm_error e = { 0 };
    llm_engine *en = engine(4000);
    static float whole[V], got[3 * V];
    llm_seq a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    int64_t room = llm_engine_room(en);
    EXPECT(!llm_prefill(en, &a, text, N, whole, &e) && a.length == N);
    EXPECT(!llm_prefill(en, &b, text, 33, NULL, &e) && !llm_prefill(en, &b, text + 33, 1, NULL, &e) && !llm_prefill(en, &b, text + 34, N - 34, got, &e));
    same("pieces", got, whole);
    EXPECT(!llm_prefill(en, &c, text, 50, NULL, &e) && !llm_prefill(en, &d, text + 7, 3, NULL, &e));
    for (int i = 50; i < N; i++) { /* a third sequence leaves on the way */
        llm_seq *const both[] = { &d, &c, &a }, *const one[] = { &c };
        const int32_t next[] = { text[i], text[i], text[5] };
        if (i < 60) EXPECT(!llm_decode(en, 3, both, next, got, &e));
        else EXPECT(!llm_decode(en, 1, one, &next[1], got + V, &e));
    }
    same("token by token", got + V, whole);
    llm_seq_free(en, &a), llm_seq_free(en, &b), llm_seq_free(en, &c), llm_seq_free(en, &d);
    EXPECT(llm_engine_room(en) == room);
    llm_engine_free(en);
}

/* Forks share what is whole and never write into it. */
TEST(shared_beginnings) {
    vm_error e = { 0 };
    llm_engine *en = engine(4000);
    static float want[V], got[V];
    llm_seq start = { 0 }, plain = { 0 }, fork[2] = { { 0 }, { 0 } };
    EXPECT(!llm_prefill(en, &start, text, 70, NULL, &e));
    int64_t room = llm_engine_room(en);
    EXPECT(!llm_seq_fork(en, &fork[0], &start, 70, &e) && !llm_seq_fork(en, &fork[1], &start, 64, &e));
    EXPECT(room - llm_engine_room(en) == 32); /* one half-filled page is copied, whole ones are not */
    EXPECT(!llm_prefill(en, &fork[0], text, 20, NULL, &e) && !llm_prefill(en, &fork[1], text + 64, N - 64, got, &e));
    EXPECT(!llm_prefill(en, &plain, text, N, want, &e));
    same("fork", got, want);
    EXPECT(!llm_prefill(en, &start, text + 70, N - 70, got, &e)); /* as if there had been no forks */
    same("source", got, want);
    llm_seq_free(en, &start);
    EXPECT(!llm_prefill(en, &fork[1], text, 1, got, &e)); /* its pages outlive the source */
    llm_seq_free(en, &plain), llm_seq_free(en, &fork[0]), llm_seq_free(en, &fork[1]);
    EXPECT(llm_seq_fork(en, &fork[0], &start, 1, &e) == VM_EINPUT);
    llm_engine_free(en);
}

TEST(full_caches_and_long_texts) {
    vm_error e = { 0 };
    llm_engine *en = engine(64);
    static float a[V], b[V];
    llm_seq s = { 0 }, t = { 0 };
    EXPECT(!llm_prefill(en, &s, text, 40, a, &e));
    EXPECT(llm_prefill(en, &t, text, 40, NULL, &e) == VM_EDEVICE && t.length == 0 && t.n == 0);
    EXPECT_HAS(e.msg, "the cache for keys and values is full: 40 more tokens are needed");
    vm_error_clear(&e);
    EXPECT(llm_prefill(en, &s, text, 100, NULL, &e) == VM_EINPUT && s.length == 40);
    EXPECT_HAS(e.msg, "a text of 140 tokens, at most 128 are possible");
    vm_error_clear(&e);
    EXPECT(llm_decode(en, 1, (llm_seq *[]){ &s }, (int32_t[]){ V }, a, &e) == VM_EINPUT && s.length == 40);
    EXPECT_HAS(e.msg, "token 400, the model has 0 to 399");
    vm_error_clear(&e);
    EXPECT(llm_prefill(en, &s, text, 0, NULL, &e) == VM_EINPUT);
    vm_error_clear(&e);
    EXPECT(!llm_decode(en, 1, (llm_seq *[]){ &s }, &text[40], a, &e)); /* nothing was lost */
    llm_seq_free(en, &s);
    EXPECT(!llm_prefill(en, &t, text, 41, b, &e));
    same("after errors", a, b);
    llm_seq_free(en, &t);
    llm_engine_free(en);
}

static const char *refused(const char *config) {
    static char out[1100];
    char path[600];
    vm_error e = { 0 };
    llm_config c;
    snprintf(path, sizeof path, "%s/config.json", tmp);
    EXPECT(!file_write(path, config, strlen(config), &e));
    if (!llm_config_read(&c, tmp, &e)) llm_config_free(&c);
    snprintf(out, sizeof out, "%s", e.msg);
    unlink(path);
    return out;
}
TEST(configurations) {
    EXPECT_HAS(refused("{\"model_type\":\"gpt2\"}"), "\"gpt2\" is no language model that is read: llama, mistral");
    EXPECT_HAS(refused("{\"model_type\":\"llama\",\"num_attention_heads\":6,\"num_key_value_heads\":4}"), "4 heads for keys do not divide 6 heads");
    EXPECT_HAS(refused("{\"model_type\":\"mixtral\",\"num_local_experts\":2,\"num_experts_per_tok\":3}"), "num_experts_per_tok: found 3, expected an integer from 1 to 2");
    EXPECT_HAS(refused("{\"model_type\":\"llama\",\"hidden_act\":\"mish\"}"), "activation \"mish\" is not known");
    EXPECT_HAS(refused("{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"ntk\"}}"), "rope_type \"ntk\" is none of default, linear");
    EXPECT_HAS(refused("{\"model_type\":\"phi3\",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2]}}"), "found 2 numbers, expected 48");
    EXPECT_STR(refused("{\"model_type\":\"gemma\"}"), "");
    EXPECT_STR(refused("{\"model_type\":\"llama\",\"eos_token_id\":[1,2,3],\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}"), "");
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/llm.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    for (int i = 0; i < N; i++) text[i] = 3 + (i * 37 + i * i) % (V - 3);
    RUN(goldens);
    RUN(any_way_to_the_same_logits);
    RUN(shared_beginnings);
    RUN(full_caches_and_long_texts);
    RUN(configurations);
    llm_free(model);
    rmdir(tmp);
    return test_end();
}
