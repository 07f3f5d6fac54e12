/* llm_forms.h - for tests of the forms that weights of language models have in files: small models with random weights in plain tensors, the
 * same converted or written in quantised layouts, and their logits and numbers compared. */
#ifndef VM_TESTS_LLM_FORMS_H
#define VM_TESTS_LLM_FORMS_H
#include <stdlib.h>

#include "io/file.h"
#include "models/llm_decode.h"
#include "models/quantised.h"
#include "pipeline/command.h"
#include "tests/test.h"

extern const vm_command cmd_convert;

static char tmp[512];           /* the folder of this run */
static const char *config_text; /* config.json of the models, without its last bracket */

enum { V = 383, LENGTH = 20 }; /* V: of all models, which is that of the golden mixtral */
static int32_t text[LENGTH];

/* Logits behind the text, computed in dtype. */
static void logits(const char *dir, vm_type dtype, float out[V]) {
    vm_error e = { 0 };
    llm *m = NULL;
    llm_engine *en = NULL;
    llm_seq s = { 0 };
    if (llm_open(&m, vm_backend_cpu(), dir, false, &e) || (m->c.vocab != V && vm_fail(&e, VM_EINPUT, "%s: %d tokens", dir, (int)m->c.vocab)) ||
        llm_engine_new(&en, m, dtype, &(llm_engine_options){ .tokens = 64, .longest = 64 }, &e) || llm_prefill(en, &s, text, LENGTH, out, &e))
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
static void make_text(void) {
    for (int i = 0; i < LENGTH; i++) text[i] = 3 + (i * 37 + i * i) % (V - 3);
}

static void write_config(const char *dir, const char *more) {
    char text_of[900], *path = path_join(dir, "config.json");
    vm_error e = { 0 };
    int n = snprintf(text_of, sizeof text_of, "%s%s}", config_text, more);
    if (dir_make(dir, &e) || file_write(path, text_of, (size_t)n, &e)) MISMATCH("%s\n", e.msg);
    vm_free(path);
}

/* Random weights as plain tensors. */
static char *plain_folder(void) {
    char *dir = path_join(tmp, "plain");
    llm_config c;
    llm *m = NULL;
    weight_map map = { 0 };
    vm_error e = { 0 };
    write_config(dir, "");
    if (llm_config_read(&c, dir, &e) || llm_new(&m, vm_backend_cpu(), &c, 7, &e)) MISMATCH("%s\n", e.msg);
    snprintf(m->prefix, sizeof m->prefix, "model.");
    llm_map(m, &map);
    for (int64_t i = 0; i < m->w.n; i++) /* of a size that shows in logits */
        for (int64_t k = 0; m->w.p[i]->nd > 1 && k < vm_param_count(m->w.p[i]); k++) ((float *)m->w.p[i]->data)[k] *= 5;
    if (weights_save(&map, dir, "model.safetensors", ST_F32, NULL, &e)) MISMATCH("%s\n", e.msg);
    weight_map_free(&map);
    llm_free(m);
    return dir;
}

/* A folder of quantised weights against one of the numbers that they stand for: what writable loading makes of them. */
static char *expanded(const char *dir) {
    char *to = path_join(tmp, "expanded");
    llm *m = NULL;
    weight_map map = { 0 };
    vm_error e = { 0 };
    write_config(to, "");
    if (llm_open(&m, vm_backend_cpu(), dir, true, &e)) MISMATCH("%s\n", e.msg);
    for (int64_t i = 0; i < m->w.n; i++) EXPECT(!m->w.p[i]->quant);
    llm_map(m, &map);
    if (weights_save(&map, to, "model.safetensors", ST_F32, NULL, &e)) MISMATCH("%s\n", e.msg);
    weight_map_free(&map);
    llm_free(m);
    return to;
}
static void same_as_expanded(const char *dir, int quantised_matrices) {
    float want[V], got[V];
    vm_error e = { 0 };
    llm *m = NULL;
    int64_t n = 0, len, numbers = 0;
    char *to = expanded(dir);
    logits(to, VM_F32, want), logits(dir, VM_F32, got);
    EXPECT_NEAR(distance(got, want), 0, 2e-4);
    if (llm_open(&m, vm_backend_cpu(), dir, false, &e)) MISMATCH("%s\n", e.msg);
    for (int64_t i = 0; i < m->w.n; i++) n += m->w.p[i]->quant != NULL;
    weight_map map = { 0 };
    st_file *f = NULL;
    llm_map(m, &map);
    if (st_open(&f, to, &e)) MISMATCH("%s\n", e.msg);
    for (int64_t i = 0; f && i < st_len(f); i++) numbers += st_at(f, i)->len;
    EXPECT(n == quantised_matrices && weight_count(&m->w) == numbers);
    for (int64_t i = 0; i < map.n; i++) { /* numbers of a quantised parameter are those of the expanded one */
        float *x = weights_gather(&map, i, 0, &len, &e), *y = vm_alloc((size_t)len * sizeof *y);
        EXPECT(x && !st_read_f32(f, st_find(f, map.t[i].name), 0, len, y, &e) && !memcmp(x, y, (size_t)len * sizeof *y));
        vm_free(x), vm_free(y);
    }
    st_close(f);
    weight_map_free(&map);
    llm_free(m);
    vm_free(to);
}

/* The largest difference of a weight, as a part of the largest weight of its tensor. */
static double worst_weight(const char *a, const char *b) {
    st_file *f = NULL, *g = NULL;
    vm_error e = { 0 };
    double worst = 0;
    if (st_open(&f, a, &e) || st_open(&g, b, &e)) MISMATCH("%s\n", e.msg);
    for (int64_t i = 0; f && g && i < st_len(f); i++) {
        const st_tensor *t = st_at(f, i);
        float *x = vm_alloc((size_t)t->len * 8), *y = x + t->len, most = 0, off = 0;
        if (st_read_f32(f, t, 0, t->len, x, &e) || st_read_f32(g, st_find(g, t->name), 0, t->len, y, &e)) MISMATCH("%s\n", e.msg);
        for (int64_t k = 0; k < t->len; k++) most = fmaxf(most, fabsf(x[k])), off = fmaxf(off, fabsf(x[k] - y[k]));
        worst = fmax(worst, (double)(off / most));
        vm_free(x);
    }
    st_close(f), st_close(g);
    return worst;
}

static inline char *convert_head(const char *from, const char *kind, bool keep_head, const char *name, vm_error *e) {
    char *to = path_join(tmp, name);
    char *argv[] = { (char *)(uintptr_t)from, to, "--quantize", (char *)(uintptr_t)kind, "--quiet", "--keep-head" };
    vm_args *a = NULL;
    bool done;
    dir_remove(to, e); /* of an earlier test */
    if (!args_parse(&a, &cmd_convert, VM_LEN(argv) - !keep_head, argv, &done, e)) cmd_convert.run(a, e);
    args_free(a);
    return to;
}
static inline char *convert(const char *from, const char *kind, vm_error *e) { return convert_head(from, kind, true, kind, e); }

/* Gradients of an adapter on the model, at most so many; where it is not writable, its base stays in codes. Returns how many. */
static int64_t adapter_gradients(const char *dir, bool writable, float *out, int64_t most) {
    vm_error e = { 0 };
    llm *m = NULL;
    int64_t n = 0;
    if (llm_open(&m, vm_backend_cpu(), dir, writable, &e) || llm_adapt(m, &(lora_options){ .r = 4, .seed = 3 }, NULL, &e)) MISMATCH("%s\n", e.msg);
    for (int64_t i = 0; i < m->w.n; i++) /* B is 0 at first, and A's gradient then */
        for (int64_t k = 0; strstr(m->w.p[i]->name, ".lora_b") && k < vm_param_count(m->w.p[i]); k++) ((float *)m->w.p[i]->data)[k] = 0.01f * (float)(k % 7 - 3);
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    int32_t positions[LENGTH];
    const int64_t shape[] = { 1, LENGTH };
    for (int i = 0; i < LENGTH; i++) positions[i] = i;
    g->training = true;
    vm_val ids = vm_input(g, "ids", VM_I32, 2, shape), at = vm_input(g, "at", VM_I32, 2, shape);
    vm_val loss = llm_loss(g, m, llm_hidden(g, m, ids, at, 0, 0, LENGTH), vm_input(g, "targets", VM_I32, 2, shape));
    vm_output(g, "loss", loss);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    if (vm_set(g, "ids", text) || vm_set(g, "at", positions) || vm_set(g, "targets", text) || vm_run(g)) MISMATCH("%s\n", g->err.msg);
    for (int64_t i = 0; i < m->w.n; i++) {
        EXPECT(lora_has(m->w.p[i]) == (m->w.p[i]->grad != NULL));
        for (int64_t k = 0; m->w.p[i]->grad && k < vm_param_count(m->w.p[i]) && n < most; k++) out[n++] = m->w.p[i]->grad[k];
    }
    vm_graph_free(g);
    llm_free(m);
    return n;
}

/* --- gptq, by its formulas --------------------------------------------------------------------------------------------- */
enum { GROUP = 32 };
typedef struct {
    bool v2, shuffled, symmetric;
    st_writer *w;
    uint64_t state;
} gptq;

/* A matrix of random codes; returns the numbers that these stand for. */
static void gptq_matrix(gptq *g, const st_tensor *t, float *numbers) {
    int64_t N = t->shape[0], K = t->shape[1], G = K / GROUP;
    int32_t *q = vm_calloc((size_t)(K / 8 * N), 4), *z = vm_calloc((size_t)(G * N / 8), 4), *of = vm_alloc((size_t)K * 4);
    uint16_t *s = vm_alloc((size_t)(G * N) * 2);
    float *scale = vm_alloc((size_t)(G * N) * 4);
    uint8_t *zero = vm_alloc((size_t)(G * N));
    vm_error e = { 0 };
    for (int64_t k = 0; k < K; k++) of[k] = (int32_t)(g->shuffled ? k * 5 % K / GROUP : k / GROUP);
    for (int64_t i = 0; i < G * N; i++) {
        scale[i] = (float)(1 + test_rand(&g->state) % 64) * 0x1p-11f;
        st_from_f32(&s[i], ST_F16, &scale[i], 1);
        zero[i] = (uint8_t)(g->symmetric ? 8 : g->v2 ? test_rand(&g->state) % 16 : 1 + test_rand(&g->state) % 16);
        z[i / 8] |= (int32_t)((uint32_t)(zero[i] - !g->v2) << 4 * (i % 8));
    }
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) {
            uint32_t c = (uint32_t)(test_rand(&g->state) % 16);
            q[k / 8 * N + n] |= (int32_t)(c << 4 * (k % 8));
            numbers[n * K + k] = scale[of[k] * N + n] * (float)((int)c - zero[of[k] * N + n]);
        }
    char name[200];
    const struct { const char *end; const void *data; } put[] = { { "qweight", q }, { "qzeros", z }, { "scales", s }, { "g_idx", of } };
    for (int k = 0; k < 4; k++) {
        snprintf(name, sizeof name, "%.*s%s", (int)strlen(t->name) - 6, t->name, put[k].end);
        if (st_writer_put(g->w, name, put[k].data, &e)) MISMATCH("%s\n", e.msg);
    }
    vm_free(q), vm_free(z), vm_free(of), vm_free(s), vm_free(scale), vm_free(zero);
}
/* A folder of random codes in place of the matrices of `plain`, against the numbers that they stand for. */
static void gptq_case(const char *plain, int matrices, bool v2, bool shuffled, bool symmetric) {
    gptq g = { v2, shuffled, symmetric, NULL, 5 };
    st_file *f = NULL;
    st_writer *numbers = NULL;
    vm_error e = { 0 };
    char *dir = path_join(tmp, "gptq"), *want = path_join(tmp, "want"), more[200];
    char *path = path_join(dir, "model.safetensors"), *path2 = path_join(want, "model.safetensors");
    snprintf(more, sizeof more, ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"checkpoint_format\":\"%s\"}",
             v2 ? "gptq_v2" : "gptq");
    write_config(dir, more), write_config(want, "");
    if (st_open(&f, plain, &e) || st_writer_open(&g.w, path, 0, &e) || st_writer_open(&numbers, path2, 0, &e)) MISMATCH("%s\n", e.msg);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < st_len(f); i++) {
            const st_tensor *t = st_at(f, i);
            bool matrix = quantised_can_be(t);
            int64_t N = t->shape[0], K = t->shape[1], G = K / GROUP;
            char name[4][200];
            const char *const end[] = { "qweight", "qzeros", "scales", "g_idx" };
            for (int k = 0; k < 4; k++) snprintf(name[k], sizeof name[k], "%.*s%s", (int)strlen(t->name) - 6, t->name, end[k]);
            if (pass == 0) st_writer_add(numbers, t->name, ST_F32, t->nd, t->shape, &e);
            if (pass == 0 && !matrix) st_writer_add(g.w, t->name, ST_F32, t->nd, t->shape, &e);
            else if (pass == 0) {
                st_writer_add(g.w, name[0], ST_I32, 2, (int64_t[]){ K / 8, N }, &e), st_writer_add(g.w, name[1], ST_I32, 2, (int64_t[]){ G, N / 8 }, &e);
                st_writer_add(g.w, name[2], ST_F16, 2, (int64_t[]){ G, N }, &e), st_writer_add(g.w, name[3], ST_I32, 1, &K, &e);
            } else {
                float *x = vm_alloc(t->bytes);
                memcpy(x, t->data, t->bytes);
                if (matrix) gptq_matrix(&g, t, x);
                else st_writer_put(g.w, t->name, x, &e);
                st_writer_put(numbers, t->name, x, &e);
                vm_free(x);
            }
        }
    if (e.status || st_writer_commit(g.w, &e) || st_writer_commit(numbers, &e)) MISMATCH("%s\n", e.msg);
    same_as_expanded(dir, matrices);
    char *to = expanded(dir);
    EXPECT(worst_weight(want, to) < 1e-6);
    st_close(f);
    vm_free(to), vm_free(dir), vm_free(want), vm_free(path), vm_free(path2);
}

/* Floats under a configuration that asks for NF4 with and without nested scales, and for int8; look (may be NULL) sees each folder. */
static inline void quantised_while_loaded(void (*look)(const char *dir, bool nested)) {
    static const char *const how[] = { "\"load_in_4bit\":true,\"bnb_4bit_use_double_quant\":true", "\"load_in_4bit\":true", "\"load_in_8bit\":true" };
    char *plain = plain_folder(), more[200];
    float want[V], got[V];
    logits(plain, VM_F32, want);
    for (int k = 0; k < VM_LEN(how); k++) {
        snprintf(more, sizeof more, ",\"quantization_config\":{\"quant_method\":\"bitsandbytes\",%s}", how[k]);
        write_config(plain, more);
        logits(plain, VM_F32, got);
        EXPECT(distance(got, want) > 1e-4 && distance(got, want) < 1.5);
        if (look) look(plain, k == 0);
    }
    vm_free(plain);
}

#endif
