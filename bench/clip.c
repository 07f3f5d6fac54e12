/* clip.c - CLIP ViT-B/32 with random weights: embedding of pictures and texts, a training step, building the ViT-L/14 graph.
 * One JSON line per row on stdout: process CPU seconds (least of the repeats) and wall seconds.
 *
 *   clip [--threads N] [--seconds S] [--dtype f32|bf16] [--profile] [ROW...]
 * Rows: "image b1" "image b8" "image b32" "text b1" "text b8" "text b64" "step b16" build; all by default. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "kernels/philox.h"
#include "models/embedder.h"
#include "models/clip.h"
#include "models/clip_train.h"

static double budget = 8;
static int threads = 1, n_rows;
static const char *rows[16];
static bool profile;

static bool wanted(const char *row) {
    for (int k = 0; k < n_rows; k++)
        if (!strcmp(rows[k], row)) return true;
    return n_rows == 0;
}

static double seconds(clockid_t c) {
    struct timespec t;
    clock_gettime(c, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const vm_error *e) {
    fprintf(stderr, "bench: %s\n", e->msg);
    exit(1);
}

/* Least CPU time of repeats within the budget, at least three. */
static void measure(const char *section, const char *name, vm_type t, double gflop, int64_t items, void (*work)(void *), void *ctx) {
    double best = 1e30, wall = 1e30, start = seconds(CLOCK_MONOTONIC);
    work(ctx);
    for (int r = 0; r < 3 || (r < 200 && seconds(CLOCK_MONOTONIC) - start < budget); r++) {
        double c = seconds(CLOCK_PROCESS_CPUTIME_ID), w = seconds(CLOCK_MONOTONIC);
        work(ctx);
        c = seconds(CLOCK_PROCESS_CPUTIME_ID) - c, w = seconds(CLOCK_MONOTONIC) - w;
        best = c < best ? c : best, wall = w < wall ? w : wall;
    }
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    printf("{\"program\":\"vismin\",\"section\":\"%s\",\"name\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,\"cpu_s\":%.6f,\"wall_s\":%.6f,\"per_s\":%.3f,"
           "\"gflops\":%.1f,\"peak_rss_mb\":%.0f}\n", section, name, vm_type_name(t), threads, best, wall, (double)items / wall, gflop / wall,
           (double)ru.ru_maxrss / 1024);
    fflush(stdout);
}

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

static void embed(clip_model *m, vm_type t, bool text, int64_t B, double gflop) {
    char name[32];
    snprintf(name, sizeof name, "%s b%d", text ? "text" : "image", (int)B);
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
    measure("clip", name, t, gflop * (double)B, B, run_graph, &j);
    if (profile) {
        g->profile = true;
        for (int k = 0; k < 5; k++) run_graph(&j);
        vm_profile(g, stderr, t == VM_BF16 ? 221e9 : 118e9, 27e9);
    }
    vm_graph_free(g);
    vm_free(b.pixels), vm_free(b.ids), vm_free(b.at), vm_free(b.mask);
}

static void train(clip_model *m, vm_type t) {
    vm_error e = { 0 };
    clip_batch b = random_batch(&m->c, 16);
    job j = { .b = &b };
    clip_train_config c = { .dtype = t, .adam = { 0.9f, 0.98f, 1e-6f, 0.1f }, .max_logit_scale = 4.6f };
    if (clip_trainer_new(&j.t, &m->t, &c, &e)) die(&e);
    measure("cliptrain", "step b16", t, 3 * (8.73 + 5.96) * 16, 16, run_step, &j);
    vm_graph *g = clip_trainer_graph(j.t);
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

int main(int argc, char **argv) {
    const char *only = NULL;
    for (int k = 1; k < argc; k++) {
        if (!strcmp(argv[k], "--threads") && k + 1 < argc) threads = atoi(argv[++k]);
        else if (!strcmp(argv[k], "--seconds") && k + 1 < argc) budget = atof(argv[++k]);
        else if (!strcmp(argv[k], "--dtype") && k + 1 < argc) only = argv[++k];
        else if (!strcmp(argv[k], "--profile")) profile = true;
        else if (n_rows < 16) rows[n_rows++] = argv[k];
    }
    vm_threads(threads);
    vm_error e = { 0 };
    clip_config c = vit_b32();
    clip_model *m;
    if (clip_new(&m, vm_backend_cpu(), &c, &e) || clip_init(m, 1, &e)) die(&e);
    for (int t = VM_F32; t <= (vm_cpu_has_bf16() ? VM_BF16 : VM_F32); t++) {
        static const int64_t image[] = { 1, 8, 32 }, text[] = { 1, 8, 64 };
        if (only && strcmp(only, vm_type_name((vm_type)t))) continue;
        for (int k = 0; k < 3; k++) embed(m, (vm_type)t, false, image[k], 8.73), embed(m, (vm_type)t, true, text[k], 5.96);
        if (wanted("step b16")) train(m, (vm_type)t);
    }
    clip_free(m);
    if (wanted("build")) build();
    return 0;
}
