/* test_llm_weights.c - the forms that weights of language models have in files: all of them give the model that plain tensors give. */
#include <stdlib.h>
#include <unistd.h>

#include "io/file.h"
#include "models/llm_decode.h"
#include "tests/test.h"

#define GOLDEN "tests/golden/llm/"
static char tmp[512];

enum { V = 300, N = 20 };
static int32_t text[N];

/* Logits behind the text, computed in dtype. */
static void logits(const char *dir, vm_type dtype, float out[V]) {
    vm_error e = { 0 };
    llm *m = NULL;
    llm_engine *en = NULL;
    llm_seq s = { 0 };
    if (llm_open(&m, vm_backend_cpu(), dir, false, &e) ||
        llm_engine_new(&en, m, dtype, &(llm_engine_options){ .tokens = 64, .longest = 64 }, &e) || llm_prefill(en, &s, text, N, out, &e))
        MISMATCH("%s\n", e.msg);
    if (m) EXPECT(!m->unused);
    if (en) llm_seq_free(en, &s);
    llm_engine_free(en);
    llm_free(m);
}
static double distance(const float *a, const float *b) {
    double most = 0;
    for (int i = 0; i < V; i++) most = fmax(most, fabs((double)(a[i] - b[i])));
    return most;
}

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

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/llm_weights.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    for (int i = 0; i < N; i++) text[i] = 3 + (i * 37 + i * i) % (V - 3);
    RUN(experts_joined);
    vm_error e = { 0 };
    EXPECT(!dir_remove(tmp, &e));
    return test_end();
}
