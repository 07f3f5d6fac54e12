/* test_lora.c - adapters: a fresh one changes nothing; training moves it alone; merged weights compute what weights with an
 * adapter do; PEFT directories are read and written, and refused by message; moving averages; averages of models. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip.h"
#include "models/clip_train.h"
#include "models/lora.h"
#include "models/towers.h"
#include "models/tower_groups.h"
#include "tests/test.h"

static char tmp[512];
enum { N = 6, SIDE = 8, T = 8, WIDTH = 16, EMBED = 8 };

typedef struct {
    clip_model *m;
    float pixels[N * SIDE * SIDE * 3];
    int32_t ids[N * T], at[N], mask[N * T];
    clip_batch b;
} small;

static const tower_groups all_learn = { .unlock_vision = -1, .unlock_text = -1, .lr_vision = 1, .lr_text = 1, .layer_decay = 1 };

static small *make(uint64_t seed) {
    const clip_config c = { .text = { WIDTH, 3, 2, 32 }, .vision = { WIDTH, 2, 2, 32 }, .vocab = 20, .context = T, .image_size = SIDE, .patch = 4,
                            .embed = EMBED, .bos = 18, .eos = 19, .text_act = VM_QUICK_GELU, .vision_act = VM_QUICK_GELU, .text_eps = 1e-5f, .vision_eps = 1e-5f };
    small *x = vm_calloc(1, sizeof *x);
    vm_error e = { 0 };
    uint64_t s = 5;
    if (clip_new(&x->m, vm_backend_cpu(), &c, &e) || clip_init(x->m, seed, &e)) MISMATCH("%s\n", e.msg);
    for (int i = 0; i < VM_LEN(x->pixels); i++) x->pixels[i] = (float)test_uniform(&s);
    for (int i = 0; i < N * T; i++) x->ids[i] = i % T == T - 1 ? 19 : (int32_t)(test_rand(&s) % 18);
    clip_text_rows(&x->m->c, N, T, x->ids, NULL, x->at, x->mask);
    x->b = (clip_batch){ .n_orig = N, .T = T, .pixels = x->pixels, .ids = x->ids, .at = x->at, .mask = x->mask };
    return x;
}
static void end(small *x) {
    towers_free(&x->m->t);
    vm_free(x);
}

/* Features of both towers, (2N,E). */
static void features(const small *x, vm_type dtype, float out[2 * N * EMBED]) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), dtype);
    g->training = true;
    vm_output(g, "img", towers_images(g, &x->m->t, N)), vm_output(g, "txt", towers_texts(g, &x->m->t, N, T));
    if (vm_plan(g) || vm_set(g, "pixels", x->pixels) || vm_set(g, "ids", x->ids) || vm_set(g, "at", x->at) || vm_set(g, "mask", x->mask) || vm_run(g) ||
        vm_get(g, "img", out) || vm_get(g, "txt", out + N * EMBED))
        MISMATCH("%s\n", g->err.msg);
    vm_graph_free(g);
}
static double distance(const float *a, const float *b) {
    double most = 0;
    for (int i = 0; i < 2 * N * EMBED; i++) most = fmax(most, fabs((double)(a[i] - b[i])));
    return most;
}

static void train(small *x, int steps, float ema, int64_t chunk) {
    const clip_train_config c = { .loss.kind = CLIP_ITC, .adam = { 0.9f, 0.98f, 1e-6f, 0 }, .max_logit_scale = 4.6f, .ema = ema, .chunk = chunk };
    clip_trainer *t = NULL;
    clip_step s;
    vm_error e = { 0 };
    if (clip_trainer_new(&t, &x->m->t, &c, &e)) MISMATCH("%s\n", e.msg);
    for (int k = 0; k < steps && !e.status; k++)
        if (clip_trainer_step(t, &x->b, 2e-2, &s, &e) || s.skipped) MISMATCH("%s\n", e.msg);
    clip_trainer_free(t);
}

static bool dora; /* with magnitudes */
static void put_adapter(small *x, const char *targets) {
    vm_error e = { 0 };
    if (towers_adapt(&x->m->t, &(lora_options){ .r = 3, .alpha = 6, .targets = targets, .seed = 2, .dora = dora }, NULL, &e) || tower_groups_apply(&x->m->t, &all_learn, &e))
        MISMATCH("%s\n", e.msg);
}

/* --- adapters --------------------------------------------------------------------------------------------------------- */
static const char *const targets[] = { NULL, "q_proj,v_proj", "k_proj", "out_proj,fc2", "fc1" };

static void train_and_merge_all(void) {
    for (int k = 0; k < VM_LEN(targets); k++) {
        small *x = make(1);
        float before[2 * N * EMBED], fresh[2 * N * EMBED], after[2 * N * EMBED], merged[2 * N * EMBED];
        int64_t n_base = x->m->w.n;
        features(x, VM_F32, before);
        put_adapter(x, targets[k]);
        features(x, VM_F32, fresh);
        EXPECT(distance(before, fresh) <= (dora ? 1e-6 : 0)); /* B is zero, magnitudes are norms */
        float *base = vm_alloc((size_t)vm_param_count(x->m->text[0].fc1_w) * 4);
        memcpy(base, x->m->text[0].fc1_w->data, (size_t)vm_param_count(x->m->text[0].fc1_w) * 4);
        train(x, 5, 0, k == 1 ? 4 : 0);
        EXPECT(!lora_refresh(x->m->t.lora, &(vm_error){ 0 })); /* the norms behind the last update */
        features(x, VM_F32, after);
        EXPECT(distance(before, after) > 1e-2);
        EXPECT(!memcmp(base, x->m->text[0].fc1_w->data, (size_t)vm_param_count(x->m->text[0].fc1_w) * 4));
        for (int64_t i = 0; i < x->m->w.n; i++) {
            const vm_param *p = x->m->w.p[i];
            bool learns = i >= n_base && !p->state;
            EXPECT((p->grad != NULL) == learns && (p->m != NULL) == learns);
        }
        EXPECT(!lora_merge(&x->m->t.lora, &(vm_error){ 0 }));
        EXPECT(!x->m->t.lora && !x->m->text[0].fc1_w->lora);
        features(x, VM_F32, merged);
        EXPECT(distance(after, merged) < 1e-5);
        vm_free(base);
        end(x);
    }
}
TEST(train_and_merge) { train_and_merge_all(); }
TEST(train_and_merge_magnitudes) {
    dora = true;
    train_and_merge_all();
    dora = false;
}
TEST(in_bf16) { /* roundings of 2^-9 at each of some ten places: 2e-2 of unit vectors */
    if (!vm_cpu_has_bf16()) return;
    small *x = make(1);
    float f32[2 * N * EMBED], bf16[2 * N * EMBED];
    put_adapter(x, NULL);
    train(x, 3, 0, 0);
    features(x, VM_F32, f32), features(x, VM_BF16, bf16);
    EXPECT(distance(f32, bf16) < 2e-2 && distance(f32, bf16) > 0);
    end(x);
}
TEST(saved_and_opened) {
    for (int k = 0; k < 3; k++) {
        dora = k == 2;
        small *x = make(1), *y = make(1);
        float a[2 * N * EMBED], b[2 * N * EMBED];
        char dir[600];
        vm_error e = { 0 };
        snprintf(dir, sizeof dir, "%s/adapter-%d", tmp, k);
        put_adapter(x, targets[VM_MIN(k, 1)]);
        train(x, 3, 0, 0);
        EXPECT(!lora_refresh(x->m->t.lora, &e));
        features(x, VM_F32, a);
        if (dir_make(dir, &e) || lora_save(x->m->t.lora, dir, "base", &e) || towers_adapt(&y->m->t, NULL, dir, &e)) MISMATCH("%s\n", e.msg);
        features(y, VM_F32, b);
        EXPECT(!memcmp(a, b, sizeof a) && lora_count(x->m->t.lora) == lora_count(y->m->t.lora));
        EXPECT_STR(lora_text(y->m->t.lora), k == 2 ? "rank 3, alpha 6, 10 modules, magnitudes" : k ? "rank 3, alpha 6, 10 modules" : "rank 3, alpha 6, 30 modules");
        train(x, 1, 0, 0);
        EXPECT(!lora_load(x->m->t.lora, dir, &e)); /* back to what was saved */
        features(x, VM_F32, b);
        EXPECT(!memcmp(a, b, sizeof a));
        end(x), end(y);
    }
    dora = false;
}
TEST(frozen_towers) {
    small *x = make(1);
    vm_error e = { 0 };
    tower_groups c = all_learn;
    c.vision = true;
    put_adapter(x, NULL);
    EXPECT(!tower_groups_apply(&x->m->t, &c, &e));
    train(x, 1, 0, 0);
    for (int64_t i = 0; i < x->m->w.n; i++) {
        const vm_param *p = x->m->w.p[i];
        EXPECT((p->grad != NULL) == (!strncmp(p->name, "text.", 5) && strstr(p->name, ".lora_")));
    }
    end(x);
}

static void refused(const char *dir, const char *text) {
    small *x = make(1);
    vm_error e = { 0 };
    EXPECT(towers_adapt(&x->m->t, NULL, dir, &e) != VM_OK && !x->m->t.lora && !x->m->text[0].fc1_w->lora);
    EXPECT_HAS(e.msg, text);
    end(x);
}
static void config(const char *dir, const char *more) {
    char path[700], text[400];
    vm_error e = { 0 };
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    int n = snprintf(text, sizeof text, "{ \"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6%s }", more);
    EXPECT(!file_write(path, text, (size_t)n, &e));
}
TEST(bad_directories) { /* the adapter of saved_and_opened with other configurations */
    static const struct { const char *more, *text; } cases[] = {
        { ", \"use_dora\": true", "no lora_magnitude_vector of text_model.encoder.layers.0." }, { ", \"bias\": \"all\"", "adapters with biases are not read" },
        { ", \"modules_to_save\": [\"text_projection\"]", "modules_to_save" }, { ", \"rank_pattern\": {\"q_proj\": 4}", "rank_pattern" },
        { ", \"init_lora_weights\": \"pissa\"", "\"pissa\" belongs to changed base weights" },
    };
    char dir[600], path[700];
    vm_error e = { 0 };
    snprintf(dir, sizeof dir, "%s/adapter-0", tmp);
    for (int k = 0; k < VM_LEN(cases); k++) config(dir, cases[k].more), refused(dir, cases[k].text);
    config(dir, ", \"modules_to_save\": null, \"rank_pattern\": {}, \"use_rslora\": true");
    small *x = make(1), *other = make(1);
    EXPECT(!towers_adapt(&x->m->t, NULL, dir, &e)); /* what is empty asks nothing */
    end(x);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    const char four[] = "{ \"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6 }", ia3[] = "{ \"peft_type\": \"IA3\" }";
    EXPECT(!file_write(path, four, sizeof four - 1, &e));
    refused(dir, "lora_A.weight is not (4,16), as rank and model want it");
    EXPECT(!file_write(path, ia3, sizeof ia3 - 1, &e));
    refused(dir, "only LORA adapters are read");
    refused(tmp, "adapter_config.json");
    EXPECT(towers_adapt(&other->m->t, &(lora_options){ .r = 2, .targets = "gate_proj" }, NULL, &e) == VM_EUSAGE);
    EXPECT_HAS(e.msg, "no layer has a module named gate_proj; known are q_proj,k_proj");
    end(other);
}
TEST(adapter_of_another_model) {
    small *x = make(1);
    char dir[600], path[700];
    vm_error e = { 0 };
    st_writer *w = NULL;
    float v[3 * WIDTH] = { 0 };
    snprintf(dir, sizeof dir, "%s/deeper", tmp);
    EXPECT(!dir_make(dir, &e));
    config(dir, "");
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    static const char *const names[] = { "base_model.model.text_model.encoder.layers.1.mlp.fc1.lora_A.weight",
                                         "base_model.model.text_model.encoder.layers.9.mlp.fc1.lora_A.weight" };
    EXPECT(!st_writer_open(&w, path, 0, &e) && !st_writer_add(w, names[1], ST_F32, 2, (int64_t[]){ 3, WIDTH }, &e) && !st_writer_put_f32(w, names[1], v, &e) &&
           !st_writer_commit(w, &e));
    refused(dir, "layers.9.mlp.fc1.lora_A.weight fits no layer of this model");
    EXPECT(!st_writer_open(&w, path, 0, &e) && !st_writer_add(w, names[0], ST_F32, 2, (int64_t[]){ 3, WIDTH }, &e) && !st_writer_put_f32(w, names[0], v, &e) &&
           !st_writer_commit(w, &e));
    refused(dir, "no lora_B of text_model.encoder.layers.1.mlp.fc1");
    end(x);
}

/* --- averages -------------------------------------------------------------------------------------------------------- */
TEST(moving_average) { /* the formula, step by step, on one weight */
    small *x = make(1), *y = make(1);
    float *w = x->m->text_proj->data;
    double want = (double)w[3];
    const clip_train_config c = { .loss.kind = CLIP_ITC, .adam = { 0.9f, 0.98f, 1e-6f, 0 }, .max_logit_scale = 4.6f, .ema = 0.3 };
    clip_trainer *t = NULL;
    clip_step s;
    vm_error e = { 0 };
    EXPECT(!clip_trainer_new(&t, &x->m->t, &c, &e));
    for (int k = 1; k <= 5; k++) {
        EXPECT(!clip_trainer_step(t, &x->b, 1e-2, &s, &e));
        double d = fmin(0.3, k / (9.0 + k)); /* (1+n)/(10+n), n from 0 */
        want = d * want + (1 - d) * (double)w[3];
        EXPECT_NEAR(x->m->text_proj->average[3], want, 1e-6);
    }
    char dir[600];
    snprintf(dir, sizeof dir, "%s/ema", tmp);
    EXPECT(!dir_make(dir, &e) && !clip_trainer_save(t, dir, &e));
    clip_trainer_free(t);
    float learnt = w[3];
    weights_swap_average(&x->m->w);
    EXPECT_NEAR(((float *)x->m->text_proj->data)[3], want, 1e-6);
    weights_swap_average(&x->m->w);
    EXPECT(((float *)x->m->text_proj->data)[3] == learnt);
    EXPECT(!clip_trainer_new(&t, &y->m->t, &c, &e) && !clip_trainer_load(t, dir, 5, &e)); /* it is part of the state */
    EXPECT(y->m->text_proj->average && !memcmp(y->m->text_proj->average, x->m->text_proj->average, sizeof(float) * EMBED * WIDTH));
    clip_trainer_free(t);
    end(x), end(y);
}
TEST(between_models) {
    small *a = make(1), *b = make(2), *c = make(1);
    vm_error e = { 0 };
    float *p = a->m->text_proj->data, *q = b->m->text_proj->data, *r = c->m->text_proj->data;
    EXPECT(!towers_blend(&a->m->t, &b->m->t, 0.25, &e));
    for (int i = 0; i < EMBED * WIDTH; i++) EXPECT_NEAR(p[i], 0.75 * (double)r[i] + 0.25 * (double)q[i], 1e-7);
    b->m->t.text_act = VM_GELU;
    EXPECT(towers_blend(&a->m->t, &b->m->t, 0.25, &e) == VM_EMODEL);
    EXPECT_STR(e.msg, "the two models are not of one family, size and activation; their weights cannot be averaged");
    end(a), end(b), end(c);
}

static vm_status whole_life(vm_error *e) {
    char dir[600];
    snprintf(dir, sizeof dir, "%s/life", tmp);
    const clip_config c = { .text = { 8, 2, 2, 8 }, .vision = { 8, 1, 2, 8 }, .vocab = 12, .context = 4, .image_size = 4, .patch = 2, .embed = 4,
                            .text_act = VM_GELU, .vision_act = VM_GELU };
    clip_model *m = NULL;
    if (!clip_new(&m, vm_backend_cpu(), &c, e) && !clip_init(m, 1, e) && !towers_adapt(&m->t, &(lora_options){ .r = 2 }, NULL, e) && !dir_make(dir, e) &&
        !lora_save(m->t.lora, dir, NULL, e)) {
        lora_merge(&m->t.lora, e);
        if (!e->status) towers_adapt(&m->t, NULL, dir, e);
    }
    if (m) towers_free(&m->t);
    return e->status;
}
TEST(any_allocation_may_fail) {
    vm_error e = { 0 };
    if (whole_life(&e)) MISMATCH("%s\n", e.msg);
    size_t used = vm_mem_used();
    int64_t n = 0;
    for (; n < 5000; n++) {
        vm_error_clear(&e);
        vm_mem_fail_after(n);
        vm_status st = whole_life(&e);
        vm_mem_fail_after(-1);
        EXPECT(vm_mem_used() == used);
        if (!st) break;
    }
    EXPECT(n > 100 && n < 5000);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/lora.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(train_and_merge);
    RUN(train_and_merge_magnitudes);
    RUN(in_bf16);
    RUN(saved_and_opened);
    RUN(frozen_towers);
    RUN(bad_directories);
    RUN(adapter_of_another_model);
    RUN(moving_average);
    RUN(between_models);
    RUN(any_allocation_may_fail);
    vm_error e = { 0 };
    dir_remove(tmp, &e);
    return test_end();
}
