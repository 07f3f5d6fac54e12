/* clip.c - CLIP ViT-B/32 and RN50 with random weights: embedding of pictures and texts, a training step, building the ViT-L/14
 * graph. One JSON line per row on stdout (measure.h): process CPU seconds (least of the repeats) and wall seconds.
 *
 * Rows: "image b1" "image b8" "image b32" "text b1" "text b8" "text b64" "step b16" "rn50 image b1" "rn50 image b8" "rn50 step b8"
 * build. */
#include "bench/measure.h"
#include "kernels/philox.h"
#include "models/embedder.h"
#include "models/clip.h"
#include "models/clip_train.h"

static clip_config vit_b32(void) {
    return (clip_config){ .text = { 512, 12, 8, 2048 }, .vision = { 768, 12, 12, 3072 }, .vocab = 49408, .context = 77, .image_size = 224, .patch = 32,
                          .embed = 512, .bos = 49406, .eos = 49407, .pad = 1, .text_act = VM_QUICK_GELU, .vision_act = VM_QUICK_GELU,
                          .text_eps = 1e-5f, .vision_eps = 1e-5f };
}
static clip_config vit_l14(void) {
    clip_config c = vit_b32();
    c.text = (clip_tower){ 768, 12, 12, 3072 }, c.vision = (clip_tower){ 1024, 24, 16, 4096 }, c.patch = 14, c.embed = 768;
    return c;
}

static clip_batch random_batch(const clip_config *c, int64_t n) {
    int64_t S = c->image_size, T = c->context;
    clip_batch b = { .n_orig = n, .T = T };
    vm_rng r = vm_rng_at(1, 2);
    b.pixels = vm_alloc((size_t)(n * S * S * 3) * 4);
    b.ids = vm_calloc((size_t)(n * T), 4), b.at = vm_calloc((size_t)n, 4), b.mask = vm_calloc((size_t)(n * T), 4);
    for (int64_t i = 0; i < n * S * S * 3; i++) b.pixels[i] = 2 * vm_rng_f32(&r) - 1;
    for (int64_t i = 0; i < n * T; i++) b.ids[i] = i % T == T - 1 ? 49407 : (int32_t)vm_rng_below(&r, 49406);
    clip_text_rows(c, n, T, b.ids, NULL, b.at, b.mask); /* full length: the end token is the last */
    return b;
}

typedef struct {
    vm_graph *g;
    clip_trainer *t;
    const clip_batch *b;
} job;

static void run_graph(void *ctx) {
    job *j = ctx;
    if (vm_run(j->g)) die(&j->g->err);
}
static void run_step(void *ctx) {
    job *j = ctx;
    clip_step s;
    vm_error e = { 0 };
    if (clip_trainer_step(j->t, j->b, 1e-5, &s, &e)) die(&e);
}

static void embed(clip_model *m, vm_type t, bool text, int64_t B) {
    char name[32];
    snprintf(name, sizeof name, "%s%s b%d", m->resnet ? "rn50 " : "", text ? "text" : "image", (int)B);
    if (!wanted(name)) return;
    clip_batch b = random_batch(&m->c, B);
    vm_graph *g = vm_graph_new(vm_backend_cpu(), t);
    int64_t S = m->c.image_size, T = m->c.context;
    if (text) {
        vm_val ids = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ B, T }), at = vm_input(g, "at", VM_I32, 1, &B);
        vm_output(g, "y", towers_normalise(g, &m->t, clip_text_features(g, m, ids, at, vm_input(g, "mask", VM_I32, 2, (int64_t[]){ B, T }))));
        vm_set(g, "ids", b.ids), vm_set(g, "at", b.at), vm_set(g, "mask", b.mask);
    } else {
        vm_output(g, "y", towers_normalise(g, &m->t, clip_image_features(g, m, vm_input(g, "x", VM_F32, 4, (int64_t[]){ B, S, S, 3 }))));
        vm_set(g, "x", b.pixels);
    }
    job j = { .g = g };
    measure("clip", name, t, graph_gflop(g, NULL), B, run_graph, &j);
    if (profile) {
        g->profile = true;
        for (int k = 0; k < 5; k++) run_graph(&j);
        vm_profile(g, stderr, t == VM_BF16 ? 221e9 : 118e9, 27e9);
    }
    vm_graph_free(g);
    vm_free(b.pixels), vm_free(b.ids), vm_free(b.at), vm_free(b.mask);
}

static void train(clip_model *m, vm_type t, int64_t B) {
    char name[32];
    snprintf(name, sizeof name, "%sstep b%d", m->resnet ? "rn50 " : "", (int)B);
    if (!wanted(name)) return;
    vm_error e = { 0 };
    clip_batch b = random_batch(&m->c, B);
    job j = { .b = &b };
    clip_train_config c = { .dtype = t, .adam = { 0.9f, 0.98f, 1e-6f, 0.1f }, .max_logit_scale = 4.6f };
    if (clip_trainer_new(&j.t, &m->t, &c, &e)) die(&e);
    run_step(&j);
    vm_graph *g = clip_trainer_graph(j.t);
    measure("cliptrain", name, t, graph_gflop(g, NULL), B, run_step, &j);
    fprintf(stderr, "%s training plan: arena %.0f MB of %.0f MB of activations\n", vm_type_name(t), (double)g->arena_bytes * 1e-6, (double)g->sum_bytes * 1e-6);
    if (profile) {
        g->profile = true;
        for (int k = 0; k < 3; k++) run_step(&j);
        vm_profile(g, stderr, t == VM_BF16 ? 221e9 : 118e9, 27e9);
    }
    clip_trainer_free(j.t);
    vm_free(b.pixels), vm_free(b.ids), vm_free(b.at), vm_free(b.mask);
}

static void build(void) {
    clip_config c = vit_l14();
    clip_model *m;
    vm_error e = { 0 };
    if (clip_new(&m, vm_backend_cpu(), &c, &e) || clip_init(m, 1, &e)) die(&e);
    double t0 = seconds(CLOCK_MONOTONIC);
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    vm_output(g, "y", towers_normalise(g, &m->t, clip_image_features(g, m, vm_input(g, "x", VM_F32, 4, (int64_t[]){ 1, 224, 224, 3 }))));
    if (vm_plan(g)) die(&g->err);
    double t1 = seconds(CLOCK_MONOTONIC);
    if (vm_run(g)) die(&g->err);
    double t2 = seconds(CLOCK_MONOTONIC);
    if (vm_run(g)) die(&g->err);
    double t3 = seconds(CLOCK_MONOTONIC);
    printf("{\"program\":\"vismin\",\"section\":\"build\",\"name\":\"ViT-L/14 image graph\",\"threads\":%d,\"build_plan_ms\":%.2f,\"first_run_ms\":%.1f,"
           "\"second_run_ms\":%.1f}\n", threads, (t1 - t0) * 1e3, (t2 - t1) * 1e3, (t3 - t2) * 1e3);
    vm_graph_free(g);
    clip_free(m);
}

static clip_model *fresh(const clip_config *c) {
    clip_model *m;
    vm_error e = { 0 };
    if (clip_new(&m, vm_backend_cpu(), c, &e) || clip_init(m, 1, &e)) die(&e);
    m->t.stats = TOWERS_TRACKED;
    return m;
}

int main(int argc, char **argv) {
    vm_error e = { 0 };
    bench_begin(argc, argv);
    clip_config b32 = vit_b32(), rn50;
    if (clip_config_named(&rn50, "RN50-quickgelu", &e)) die(&e);
    for (int t = VM_F32; t <= VM_BF16; t++) {
        static const int64_t image[] = { 1, 8, 32 }, text[] = { 1, 8, 64 };
        if (!wanted_dtype((vm_type)t)) continue;
        clip_model *m = fresh(&b32);
        for (int k = 0; k < 3; k++) embed(m, (vm_type)t, false, image[k]), embed(m, (vm_type)t, true, text[k]);
        train(m, (vm_type)t, 16);
        clip_free(m);
        m = fresh(&rn50);
        for (int k = 0; k < 2; k++) embed(m, (vm_type)t, false, image[k]);
        train(m, (vm_type)t, 8);
        clip_free(m);
    }
    if (wanted("build")) build();
    return 0;
}
