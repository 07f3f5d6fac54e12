/* train_val.c - see train_val.h. */
#include "pipeline/train_val.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "models/embedder.h"
#include "pipeline/clip_data.h"
#include "pipeline/eval_run.h"
#include "pipeline/run.h"

enum { SLICE = 64, TILE = 256 };
static const int recall_at[VAL_RECALLS] = { 1, 5, 10 };

struct train_val {
    train_val_options o;
    towers *m;
    tok *t;
    const vm_preprocess *pp;
    samples *s;
    char **own;    /* folders of the files */
    int64_t *side; /* the pairs */
    int64_t n;
    bool told; /* unreadable pictures were warned of */
};

void train_val_free(train_val *v) {
    if (!v) return;
    samples_free(v->s);
    for (int k = 0; v->own && k < v->o.n_data; k++) vm_free(v->own[k]);
    vm_free(v->own), vm_free(v->side), vm_free(v);
}

static vm_status read_data(train_val *v, vm_error *e) {
    samples_options so = { .image_key = v->o.image_key,
                           .caption_key = v->o.caption_key,
                           .image_name = v->o.image_name };
    if (samples_open(&v->s, v->o.n_data, v->o.data, &so, e)) return e->status;
    const samples *s = v->s;
    if (s->n_faults) vm_warn("--val: %lld records are left out; the first: %s", (long long)s->n_faults, s->fault[0]);
    if (!(v->side = vm_alloc(((size_t)s->n_sides + 1) * sizeof *v->side)) ||
        !(v->own = vm_calloc((size_t)v->o.n_data + 1, sizeof *v->own)))
        return vm_nomem(e, (size_t)s->n_sides * sizeof *v->side, "the validation");
    for (int64_t g = 0; g < s->n; g++)
        for (int64_t k = s->group[g].first; k < s->group[g].first + s->group[g].n; k++)
            if (s->side[k].name >= 0 && (!v->o.limit || v->n < v->o.limit)) v->side[v->n++] = k;
    if (v->n < 2)
        return vm_fail(e, VM_EINPUT, "%s: %lld pairs to validate on, at least 2 are needed", v->o.data[0],
                       (long long)v->n);
    for (int k = 0; k < v->o.n_data && !v->o.places.n_roots; k++)
        if (!(v->own[k] = file_is_dir(v->o.data[k]) ? vm_strdup(v->o.data[k]) : path_dir(v->o.data[k])))
            return vm_nomem(e, 256, "a path");
    if (!v->o.places.n_roots) v->o.places.roots = (const char *const *)v->own, v->o.places.n_roots = v->o.n_data;
    return VM_OK;
}

vm_status train_val_open(train_val **out, const train_val_options *o, towers *m, tok *t, const vm_preprocess *pp,
                         vm_error *e) {
    train_val *v = vm_calloc(1, sizeof *v);
    *out = v;
    if (!v) return vm_nomem(e, sizeof *v, "the validation");
    v->o = *o, v->m = m, v->t = t, v->pp = pp;
    if (o->bench && !file_is_dir(o->bench)) vm_fail(e, VM_EINPUT, "--val-bench %s: no such folder", o->bench);
    if (!e->status && o->n_data) read_data(v, e);
    if (!e->status) return VM_OK;
    train_val_free(v);
    *out = NULL;
    return e->status;
}

/* --- features ----------------------------------------------------------------------------------------------------- */
typedef struct {
    float *img, *txt; /* (n,E) */
    int64_t n, bad;
} features;

/* A slice of pairs: those with a picture go behind the features that are there. */
static vm_status add_slice(train_val *v, embedder *x, features *f, int64_t at, int64_t n, vm_error *e) {
    vm_image im[SLICE] = { 0 };
    vm_error bad[SLICE] = { 0 };
    const vm_image *sound[SLICE];
    const char *text[SLICE];
    int64_t m = 0, E = v->m->embed;
#pragma omp parallel for schedule(dynamic)
    for (int64_t k = 0; k < n; k++)
        clip_files_read(&im[k], v->s, &v->s->side[v->side[at + k]], &v->o.places, false, &bad[k]);
    for (int64_t k = 0; k < n; k++) {
        if (!bad[k].status) sound[m] = &im[k], text[m++] = sample_text(v->s, v->s->side[v->side[at + k]].caption);
        else if (bad[k].status != VM_EINPUT) vm_fail(e, bad[k].status, "%s", bad[k].msg);
        else if (!f->bad++ && !v->told)
            v->told = true,
            vm_warn("validation: pairs without a readable picture are left out; the first: %s", bad[k].msg);
    }
    if (m && !e->status && !embedder_images(x, m, sound, f->img + f->n * E, e) &&
        !embedder_texts(x, m, text, f->txt + f->n * E, e))
        f->n += m;
    for (int64_t k = 0; k < n; k++) image_free(&im[k]);
    return e->status;
}

static vm_status embed_all(train_val *v, features *f, vm_error *e) {
    embedder *x = NULL;
    size_t bytes = (size_t)(v->n * v->m->embed) * sizeof(float);
    *f = (features){ .img = vm_alloc(bytes), .txt = vm_alloc(bytes) };
    if (!f->img || !f->txt) return vm_nomem(e, 2 * bytes, "the vectors of the validation");
    embedder_wrap(&x, v->m, v->t, v->pp, v->o.dtype, e);
    for (int64_t at = 0; at < v->n && !e->status; at += SLICE) {
        if (run_stopping()) vm_fail(e, VM_ESTOP, "stopped");
        else add_slice(v, x, f, at, VM_MIN((int64_t)SLICE, v->n - at), e);
    }
    embedder_free(x);
    return e->status;
}

/* --- scores ------------------------------------------------------------------------------------------------------- */
vm_status train_val_ranks(vm_backend *be, const float *a, const float *b, int64_t n, int64_t E, int32_t *rank,
                          vm_error *e) {
    vm_graph *g = vm_graph_new(be, VM_F32);
    float *dots = vm_alloc((size_t)(TILE * n) * sizeof *dots), *tile = vm_calloc((size_t)(TILE * E), sizeof *tile);
    if (!g || !dots || !tile) {
        vm_nomem(e, (size_t)(TILE * n) * sizeof *dots, "the ranks");
        goto done;
    }
    vm_val in = vm_input(g, "a", VM_F32, 2, (int64_t[]){ TILE, E }),
           all = vm_input(g, "b", VM_F32, 2, (int64_t[]){ n, E });
    vm_output(g, "dots", vm_matmul(g, in, all, false, true, 1, VM_F32));
    if (vm_plan(g)) goto failed;
    for (int64_t at = 0; at < n; at += TILE) {
        int64_t rows = VM_MIN((int64_t)TILE, n - at);
        memcpy(tile, a + at * E, (size_t)(rows * E) * sizeof *tile);
        if (vm_set(g, "a", tile) || vm_set(g, "b", b) || vm_run(g) || vm_get(g, "dots", dots)) goto failed;
#pragma omp parallel for
        for (int64_t i = 0; i < rows; i++) {
            const float *x = dots + i * n, own = x[at + i];
            int32_t r = 0; /* the pair itself counts once; a NaN is never ahead, and never finds its own */
            for (int64_t j = 0; j < n; j++) r += x[j] >= own;
            rank[at + i] = r ? r : (int32_t)n;
        }
    }
    goto done;
failed:
    *e = g->err;
done:
    vm_graph_free(g);
    vm_free(dots), vm_free(tile);
    return e->status;
}

static int by_value(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static vm_status recall(const train_val *v, const features *f, bool from_text, val_scores *s, vm_error *e) {
    int32_t *rank = vm_alloc((size_t)f->n * sizeof *rank);
    const float *a = from_text ? f->txt : f->img, *b = from_text ? f->img : f->txt;
    if (!rank) return vm_nomem(e, (size_t)f->n * sizeof *rank, "the ranks");
    if (!train_val_ranks(v->m->w->be, a, b, f->n, v->m->embed, rank, e)) {
        double sum = 0;
        int64_t found[VAL_RECALLS] = { 0 };
        for (int64_t i = 0; i < f->n; i++) {
            sum += rank[i];
            for (int k = 0; k < VAL_RECALLS; k++) found[k] += rank[i] <= recall_at[k];
        }
        for (int k = 0; k < VAL_RECALLS; k++) s->recall[from_text][k] = (double)found[k] / (double)f->n;
        qsort(rank, (size_t)f->n, sizeof *rank, by_value);
        s->mean_rank[from_text] = sum / (double)f->n;
        s->median_rank[from_text] = floor((double)(rank[(f->n - 1) / 2] + rank[f->n / 2]) / 2);
    }
    vm_free(rank);
    return e->status;
}

/* The loss of training, without its further terms, of batches of pairs one after the other; each counts by its rows. */
static vm_status mean_loss(const train_val *v, const features *f, val_scores *s, vm_error *e) {
    clip_loss_config c = { .kind = v->o.loss.kind == CLIP_ITC_HN ? CLIP_ITC : v->o.loss.kind,
                           .sigmoid_mean = v->o.loss.sigmoid_mean };
    int64_t B = VM_MIN(v->o.batch, f->n), E = v->m->embed;
    vm_real *d = vm_alloc((size_t)(2 * B * E) * sizeof *d);
    clip_head *h = NULL;
    double sum = 0;
    if (!d) vm_nomem(e, (size_t)(2 * B * E) * sizeof *d, "the validation loss");
    else clip_head_new(&h, v->m, &c, false, e);
    for (int64_t at = 0; at < f->n && !e->status; at += B) {
        clip_rows r = { .n_orig = VM_MIN(B, f->n - at), .K = 1 };
        clip_terms t;
        if (!clip_head_run(h, &r, (const vm_real *)f->img + at * E, (const vm_real *)f->txt + at * E, d, d + B * E, &t,
                           e))
            sum += t.loss * (double)r.n_orig;
    }
    s->loss = sum / (double)f->n;
    clip_head_free(h);
    vm_free(d);
    return e->status;
}

static vm_status measure_bench(train_val *v, val_scores *s, vm_error *e) {
    embedder *x = NULL;
    eval_model *m = NULL;
    eval_result *r = NULL;
    if (!embedder_wrap(&x, v->m, v->t, v->pp, v->o.dtype, e) &&
        !eval_model_wrap(&m, x, "in training", vm_type_name(v->o.dtype), e) &&
        !eval_data(&r, m, "vismin", v->o.bench, 0, &(eval_options){ .exif_rotate = true }, e))
        for (int k = 0; k < PAIR_METRICS; k++) {
            s->bench[k] = 0;
            for (int c = 0; c < r->n_splits; c++) s->bench[k] += eval_share(r, &r->tally[c], k).value / r->n_splits;
        }
    s->has_bench = r != NULL;
    eval_result_free(r);
    eval_model_free(m);
    embedder_free(x);
    return e->status;
}

vm_status train_val_run(train_val *v, val_scores *out, vm_error *e) {
    features f = { 0 };
    double t0 = run_seconds();
    *out = (val_scores){ .loss = NAN };
    if (v->n && !embed_all(v, &f, e)) {
        out->n = f.n, out->bad = f.bad;
        if (f.n < 2)
            vm_fail(e, VM_EINPUT, "--val: %lld of %lld pairs have a readable picture", (long long)f.n, (long long)v->n);
        else if (!recall(v, &f, false, out, e) && !recall(v, &f, true, out, e)) mean_loss(v, &f, out, e);
    }
    vm_free(f.img), vm_free(f.txt);
    if (!e->status && v->o.bench) measure_bench(v, out, e);
    if (e->status) return e->status;
    if (v->n)
        vm_info("validation of %lld pairs in %.1f s: loss %.4f, R@1 %.1f %% of captions and %.1f %% of pictures",
                (long long)out->n, run_seconds() - t0, out->loss, 100 * out->recall[0][0], 100 * out->recall[1][0]);
    if (out->has_bench)
        vm_info("benchmark: text %.1f, image %.1f, group %.1f", 100 * out->bench[0], 100 * out->bench[1],
                100 * out->bench[2]);
    return VM_OK;
}

void train_val_log(const val_scores *s, train_log *l) {
    static const char *const ways[] = { "i2t", "t2i" };
    char name[32];
    if (s->n) train_log_num(l, "val_loss", s->loss);
    for (int w = 0; w < 2 && s->n; w++) {
        snprintf(name, sizeof name, "val_%s_mean_rank", ways[w]), train_log_num(l, name, s->mean_rank[w]);
        snprintf(name, sizeof name, "val_%s_median_rank", ways[w]), train_log_num(l, name, s->median_rank[w]);
        for (int k = 0; k < VAL_RECALLS; k++)
            snprintf(name, sizeof name, "val_%s_r%d", ways[w], recall_at[k]), train_log_num(l, name, s->recall[w][k]);
    }
    for (int k = 0; k < PAIR_METRICS && s->has_bench; k++)
        snprintf(name, sizeof name, "bench_%s", pair_metric_name[k]), train_log_num(l, name, s->bench[k]);
}

double train_val_rank(const val_scores *s, val_best by) {
    if (by == VAL_BEST_GROUP) return s->has_bench ? -s->bench[PAIR_GROUP] : NAN;
    if (!s->n) return NAN;
    return by == VAL_BEST_LOSS ? s->loss : -(s->recall[0][0] + s->recall[1][0]) / 2;
}
