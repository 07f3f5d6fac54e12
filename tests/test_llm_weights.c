/* test_llm_weights.c - the forms that weights of language models have in files: all of them give the model that plain tensors give. */
#include <unistd.h>

#include "tests/llm_forms.h"

#define GOLDEN "tests/golden/llm/"

/* A small Llama: every matrix has whole groups of 32 columns, blocks of 64 weights cross no row. */
static const char config[] = "{\"model_type\":\"llama\",\"vocab_size\":383,\"hidden_size\":64,\"intermediate_size\":192,\"num_hidden_layers\":2,"
                             "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"eos_token_id\":2";

static char *copy_config(const char *from, const char *name) {
    char *dir = path_join(tmp, name), *a = path_join(from, "config.json"), *b = path_join(dir, "config.json"), *text_of = NULL;
    size_t bytes;
    vm_error e = { 0 };
    if (dir_make(dir, &e) || file_read(&text_of, &bytes, a, 0, &e) || file_write(b, text_of, bytes, &e)) MISMATCH("%s\n", e.msg);
    vm_free(a), vm_free(b), vm_free(text_of);
    return dir;
}

/* All experts of a layer in one tensor, as newer programs write them. */
TEST(experts_joined) {
    float want[V], got[V];
    char *dir = copy_config(GOLDEN "mixtral", "joined");
    vm_error e = { 0 };
    llm *m = NULL;
    weight_map map = { 0 };
    logits(GOLDEN "mixtral", VM_F32, want);
    if (llm_open(&m, vm_backend_cpu(), GOLDEN "mixtral", true, &e)) MISMATCH("%s\n", e.msg);
    m->c.experts_joined = true;
    llm_map(m, &map);
    if (weights_save(&map, dir, "model.safetensors", ST_BF16, NULL, &e)) MISMATCH("%s\n", e.msg);
    logits(dir, VM_F32, got);
    EXPECT(distance(got, want) == 0);
    weight_map_free(&map);
    llm_free(m);
    vm_free(dir);
}

/* --- quantised folders ------------------------------------------------------------------------------------------------ */
TEST(converted) {
    static const struct { const char *kind; double least, most; } kinds[] = { { "int8", 1e-4, 0.005 }, { "nf4", 0.02, 0.17 }, { "int4", 0.02, 0.08 } };
    char *plain = plain_folder();
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        char *dir = convert(plain, kinds[k].kind, &e), *numbers = NULL;
        if (e.status) MISMATCH("%s\n", e.msg);
        same_as_expanded(dir, 14);
        numbers = expanded(dir);
        double off = worst_weight(plain, numbers);
        if (!(off > kinds[k].least && off < kinds[k].most)) MISMATCH("%s: weights are off by %g\n", kinds[k].kind, off);
        vm_free(dir), vm_free(numbers);
    }
    vm_error e = { 0 };
    vm_free(convert(plain, "int3", &e));
    EXPECT_HAS(e.msg, "--quantize int3: expected int4, int8 or nf4");
    vm_free(plain);
}

/* An output head of its own takes 8 bits beside layers of each kind. */
TEST(head_in_8_bits) {
    static const char *const kinds[] = { "int8", "nf4", "int4" };
    char *plain = plain_folder();
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        llm *m = NULL;
        char name[32];
        snprintf(name, sizeof name, "%s-head", kinds[k]);
        char *dir = convert_head(plain, kinds[k], false, name, &e);
        if (e.status) MISMATCH("%s\n", e.msg);
        same_as_expanded(dir, 15);
        if (llm_open(&m, vm_backend_cpu(), dir, false, &e)) MISMATCH("%s\n", e.msg);
        else EXPECT(!m->unused && m->head->quant && m->head->quant->kind == VM_INT8 && !m->embed->quant);
        llm_free(m);
        vm_free(dir);
    }
    vm_free(plain);
}

/* Gradients of an adapter on a base in 4 bits are those on its numbers; the base learns nothing. */
TEST(adapters_on_4_bits) {
    static float want[20000], got[20000];
    char *dir = path_join(tmp, "nf4");
    const int64_t n = adapter_gradients(dir, true, want, VM_LEN(want));
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(want[i]));
    EXPECT(n == adapter_gradients(dir, false, got, VM_LEN(got)) && n == 9728 && most > 1e-4f);
    for (int64_t i = 0; i < n; i++) EXPECT_NEAR((double)got[i], (double)want[i], 1e-3 * (double)most);
    vm_free(dir);
}

/* Floats under a configuration that asks for 8 or 4 bits are quantised while they are loaded. */
TEST(quantised_while_loading) { quantised_while_loaded(NULL); }

TEST(gptq_layouts) {
    char *plain = plain_folder();
    gptq_case(plain, 14, false, false, false);
    gptq_case(plain, 14, false, true, false);
    gptq_case(plain, 14, true, true, false);
    gptq_case(plain, 14, true, false, true);
    vm_free(plain);
}

TEST(configurations_that_are_not_read) {
    static const struct { const char *more, *words; } bad[] = {
        { "\"quant_method\":\"fp8\"", "\"fp8\" is not read; bitsandbytes, gptq and awq are" },
        { "\"quant_method\":\"gptq\",\"bits\":3", "3 bits are not read, 4 are" },
        { "\"quant_method\":\"awq\",\"bits\":4,\"version\":\"gemv\"", "version \"gemv\" of awq is not read" },
        { "\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"fp4\"", "\"fp4\" is not read, \"nf4\" is" },
        { "\"quant_method\":\"gptq\",\"bits\":4", "" } }; /* nothing is stored so: plain tensors */
    char *plain = plain_folder(), more[200];
    for (int k = 0; k < VM_LEN(bad); k++) {
        vm_error e = { 0 };
        llm *m = NULL;
        snprintf(more, sizeof more, ",\"quantization_config\":{%s}", bad[k].more);
        write_config(plain, more);
        vm_status st = llm_open(&m, vm_backend_cpu(), plain, false, &e);
        EXPECT(!bad[k].words[0] == !st);
        if (st) EXPECT_HAS(e.msg, bad[k].words);
        llm_free(m);
    }
    vm_free(plain);
}

int main(int argc, char **argv) {
    config_text = config;
    snprintf(tmp, sizeof tmp, "%s/llm_weights.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    make_text();
    RUN(experts_joined);
    RUN(converted);
    RUN(head_in_8_bits);
    RUN(adapters_on_4_bits);
    RUN(quantised_while_loading);
    RUN(gptq_layouts);
    RUN(configurations_that_are_not_read);
    vm_error e = { 0 };
    EXPECT(!dir_remove(tmp, &e));
    return test_end();
}
