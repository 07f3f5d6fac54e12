/* embedder.c - see embedder.h. */
#include "models/embedder.h"

#include <inttypes.h>
#include <string.h>

#include "kernels/plans.h"

enum { MAX_BATCH = 32, PLANS = 12 };

typedef enum { IMAGES, TEXTS, ROWS, MATCH } kind;

/* One plan: images of a batch size, or texts of a batch size and length. */
typedef struct { int64_t what, B, T; } plan_key;

struct embedder {
    towers *m;
    tok *t;
    const vm_preprocess *pp;
    vm_preprocess own_pp;
    bool owns;
    vm_type dtype;
    bool deterministic;
    vm_plans plans;
};

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);

vm_status embedder_wrap(embedder **out, towers *m, tok *t, const vm_preprocess *p, vm_type dtype, vm_error *e) {
    embedder *x = vm_calloc(1, sizeof *x);
    *out = x;
    if (!x) return vm_nomem(e, sizeof *x, "an embedder");
    x->m = m, x->t = t, x->pp = p, x->dtype = dtype;
    x->plans = (vm_plans){ .dtype = dtype, .most = PLANS, .build = build, .ctx = x };
    return VM_OK;
}

vm_status embedder_open(embedder **out, vm_backend *be, const char *dir, const towers_options *o, vm_type dtype, bool deterministic, vm_error *e) {
    embedder *x;
    *out = NULL;
    if (embedder_wrap(&x, NULL, NULL, NULL, dtype, e)) return e->status;
    x->owns = true, x->pp = &x->own_pp, x->deterministic = deterministic;
    if (towers_open(&x->m, be, dir, o ? o : &(towers_options){ .how = TOWERS_READ }, e) || tok_open(&x->t, dir, e) || preprocess_load(&x->own_pp, dir, e)) {
        embedder_free(x);
        return e->status;
    }
    int h, w, S = (int)x->m->image_size;
    if (!preprocess_fixed_size(x->pp, &h, &w) || h != S || w != S) {
        embedder_free(x);
        return vm_fail(e, VM_EMODEL, "%s: the image processor does not make %d x %d pictures, which the model needs", dir, S, S);
    }
    if (tok_get_info(x->t)->vocab_len > x->m->vocab) {
        vm_fail(e, VM_EMODEL, "%s: the tokenizer has %" PRId64 " entries, the model %" PRId64, dir, tok_get_info(x->t)->vocab_len, x->m->vocab);
        embedder_free(x);
        return e->status;
    }
    *out = x;
    return VM_OK;
}

void embedder_free(embedder *x) {
    if (!x) return;
    vm_plans_free(&x->plans);
    if (x->owns) towers_free(x->m), tok_free(x->t);
    vm_free(x);
}

int64_t embedder_dim(const embedder *x) { return x->m->embed; }
const towers *embedder_towers(const embedder *x) { return x->m; }
int64_t embedder_batch(const embedder *x) { return MAX_BATCH; }

static vm_val pixels_of(vm_graph *g, const towers *m, int64_t B) {
    return vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ B, m->image_size, m->image_size, 3 });
}

static vm_val match_of(vm_graph *g, const towers *m, int64_t B, int64_t T) {
    vm_val rows = vm_input(g, "rows", VM_F32, 3, (int64_t[]){ 1, m->rows, m->row_width });
    vm_val ids = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ B, T });
    return m->family->match(g, m, rows, ids, vm_input(g, "mask", VM_I32, 2, (int64_t[]){ B, T }));
}

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    const embedder *x = ctx;
    const plan_key *k = key;
    g->deterministic = x->deterministic;
    vm_output(g, "out", k->what == TEXTS    ? towers_texts(g, x->m, k->B, k->T)
                        : k->what == ROWS  ? x->m->family->rows(g, x->m, pixels_of(g, x->m, k->B))
                        : k->what == MATCH ? match_of(g, x->m, k->B, k->T)
                                           : towers_images(g, x->m, k->B));
    return VM_OK;
}

static vm_graph *plan_for(embedder *x, kind what, int64_t B, int64_t T, vm_error *e) {
    const plan_key key = { what, B, T };
    x->plans.be = x->m->w->be;
    return vm_plans_get(&x->plans, &key, sizeof key, NULL, e);
}

/* 1, 2, 4, ... MAX_BATCH: the last batch of a list is filled up, so that few plans serve all sizes. */
static int64_t bucket(int64_t n) {
    int64_t b = 1;
    while (b < n && b < MAX_BATCH) b *= 2;
    return b;
}

static vm_status run_pixels(embedder *x, kind what, int64_t n, const float *pixels, float *out, vm_error *e) {
    vm_graph *g = plan_for(x, what, n, 0, e);
    if (!g) return e->status;
    if (vm_set(g, "pixels", pixels) || vm_run(g) || vm_get(g, "out", out)) return *e = g->err, e->status;
    return VM_OK;
}

/* Runs batches of at most MAX_BATCH through a padded copy where needed. fill puts picture i at its place. */
static vm_status each_batch(embedder *x, kind what, int64_t n, vm_status (*fill)(const embedder *, const void *, int64_t, float *, vm_error *),
                            const void *from, float *out, vm_error *e) {
    int64_t S = x->m->image_size, px = S * S * 3, E = what == ROWS ? embedder_row_floats(x) : x->m->embed, most = bucket(VM_MIN(n, (int64_t)MAX_BATCH));
    float *pixels = vm_calloc((size_t)(most * px) + 1, sizeof *pixels), *features = vm_alloc((size_t)(most * E) * sizeof *features + 1);
    if (!pixels || !features) vm_nomem(e, (size_t)(most * px) * sizeof *pixels, "a batch of pictures");
    for (int64_t i = 0; i < n && !e->status; i += MAX_BATCH) {
        int64_t m = VM_MIN((int64_t)MAX_BATCH, n - i), B = bucket(m);
        vm_error first = { 0 };
#pragma omp parallel for schedule(dynamic)
        for (int64_t k = 0; k < m; k++) {
            vm_error mine = { 0 };
            if (fill(x, from, i + k, pixels + k * px, &mine))
#pragma omp critical(embedder_error)
                if (!first.status) first = mine;
        }
        if (first.status) *e = first;
        memset(pixels + m * px, 0, (size_t)((B - m) * px) * sizeof *pixels);
        if (!e->status && !run_pixels(x, what, B, pixels, features, e)) memcpy(out + i * E, features, (size_t)(m * E) * sizeof *out);
    }
    vm_free(pixels);
    vm_free(features);
    return e->status;
}

static vm_status fill_image(const embedder *x, const void *from, int64_t i, float *pixels, vm_error *e) {
    vm_image fit = { 0 };
    vm_status st = preprocess_fit_image(&fit, x->pp, ((const vm_image *const *)from)[i], e);
    if (!st) preprocess_hwc(pixels, 0, x->pp, &fit);
    image_free(&fit);
    return st;
}

static vm_status fill_pixels(const embedder *x, const void *from, int64_t i, float *pixels, vm_error *e) {
    int64_t px = x->m->image_size * x->m->image_size * 3;
    memcpy(pixels, (const float *)from + i * px, (size_t)px * sizeof *pixels);
    return VM_OK;
}

vm_status embedder_images(embedder *x, int64_t n, const vm_image *const *images, float *out, vm_error *e) {
    return each_batch(x, IMAGES, n, fill_image, images, out, e);
}

vm_status embedder_pixels(embedder *x, int64_t n, const float *pixels, float *out, vm_error *e) {
    return each_batch(x, IMAGES, n, fill_pixels, pixels, out, e);
}

/* Texts alone (rows NULL: E = embed), or with a picture (E = 1). */
static vm_status each_text(embedder *x, const float *rows, int64_t n, const char *const *texts, float *out, vm_error *e) {
    const int64_t L = x->m->context, E = rows ? 1 : x->m->embed;
    int32_t *ids = vm_alloc((size_t)(MAX_BATCH * L * 2) * sizeof *ids), *mask = ids + MAX_BATCH * L, at[MAX_BATCH];
    float *features = vm_alloc((size_t)(MAX_BATCH * E) * sizeof *features);
    if (!ids || !features) vm_nomem(e, (size_t)(MAX_BATCH * L * 2) * sizeof *ids, "a batch of texts");
    for (int64_t i = 0; i < n && !e->status; i += MAX_BATCH) {
        int64_t m = VM_MIN((int64_t)MAX_BATCH, n - i), B = bucket(m), T;
        if (towers_encode(x->m, x->t, m, B, texts + i, ids, at, mask, &T, e)) break;
        vm_graph *g = plan_for(x, rows ? MATCH : TEXTS, B, T, e);
        if (!g) break;
        if (rows ? vm_set(g, "rows", rows) : vm_set(g, "at", at)) *e = g->err;
        else if (vm_set(g, "ids", ids) || vm_set(g, "mask", mask) || vm_run(g) || vm_get(g, "out", features)) *e = g->err;
        else memcpy(out + i * E, features, (size_t)(m * E) * sizeof *out);
    }
    vm_free(ids);
    vm_free(features);
    return e->status;
}

vm_status embedder_texts(embedder *x, int64_t n, const char *const *texts, float *out, vm_error *e) {
    return each_text(x, NULL, n, texts, out, e);
}

int64_t embedder_row_floats(const embedder *x) { return x->m->family->match ? x->m->rows * x->m->row_width : 0; }

vm_status embedder_rows(embedder *x, int64_t n, const vm_image *const *images, float *out, vm_error *e) {
    return each_batch(x, ROWS, n, fill_image, images, out, e);
}

vm_status embedder_match(embedder *x, const float *rows, int64_t n, const char *const *texts, float *out, vm_error *e) {
    return each_text(x, rows, n, texts, out, e);
}

vm_status embedder_cuts(embedder *x, const char *text, bool *cut, vm_error *e) {
    tok_ids all = { 0 };
    int64_t L = x->m->context;
    /* one more than fits: what a file states as its own truncation does not count */
    if (!tok_encode(x->t, text, strlen(text), 0, L + 1, &all, e)) *cut = all.n > L;
    tok_ids_free(&all);
    return e->status;
}
