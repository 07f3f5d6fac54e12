/* judge_clip.c - a contrastive model as a judge (judge.h). */
#include <math.h>
#include <string.h>

#include "io/resize.h"
#include "models/embedder.h"
#include "pipeline/judge.h"

typedef struct {
    embedder *x;
    const char *dir;
} clip_judge;

static void close_clip(judge *j) {
    clip_judge *c = j->own;
    if (c) embedder_free(c->x);
    vm_free(c);
}

static vm_status open_clip(judge *j, const vm_args *a, vm_error *e) {
    clip_judge *c = j->own = vm_calloc(1, sizeof *c);
    vm_type dtype;
    if (!c) return vm_nomem(e, sizeof *c, "a judge");
    if (!arg_str(a, "judge-model")) return vm_fail(e, VM_EUSAGE, "--judge clip needs --judge-model DIR, a contrastive model; --judge none ranks nothing");
    vm_backend *be = run_backend(a, e);
    if (!be || run_dtype(a, true, &dtype, e) || !(c->dir = arg_model(a, arg_str(a, "judge-model"), e))) return e->status;
    return embedder_open(&c->x, be, c->dir, NULL, dtype, arg_flag(a, "deterministic"), e);
}

static const char *model(const judge *j) { return ((const clip_judge *)j->own)->dir; }

/* cos(picture, after) - cos(picture, before); all vectors are unit. */
static double margin(const float *picture, const float *texts, int64_t E) {
    double s = 0;
    for (int64_t i = 0; i < E; i++) s += (double)picture[i] * ((double)texts[E + i] - (double)texts[i]);
    return s;
}

static vm_status score(judge *j, const judge_task *t, int64_t n, const vm_image *candidates, judge_score *out, vm_error *e) {
    clip_judge *c = j->own;
    int64_t E = embedder_dim(c->x);
    const vm_image **look = vm_calloc((size_t)n * 2, sizeof *look);
    vm_image *crops = vm_calloc((size_t)n, sizeof *crops);
    float *texts = vm_alloc((size_t)((2 + 2 * n) * E) * sizeof *texts), *pictures = texts + 2 * E;
    if (!look || !crops || !texts) vm_nomem(e, (size_t)(n * E) * sizeof *texts, "vectors of candidates");
    for (int64_t k = 0; k < n && !e->status; k++) {
        int box[4];
        judge_crop(t->box, candidates[k].w, candidates[k].h, box);
        look[k] = &candidates[k], look[n + k] = &crops[k];
        image_crop(&crops[k], &candidates[k], box[0], box[1], box[2] - box[0], box[3] - box[1], NULL, e);
    }
    if (!e->status && !embedder_texts(c->x, 2, (const char *[]){ t->before, t->after }, texts, e) && !embedder_images(c->x, 2 * n, look, pictures, e))
        for (int64_t k = 0; k < n; k++) {
            judge_score *s = &out[k];
            *s = (judge_score){ .full = t->where & JUDGE_FULL ? margin(pictures + k * E, texts, E) : (double)NAN,
                                .crop = t->where & JUDGE_CROP ? margin(pictures + (n + k) * E, texts, E) : (double)NAN };
            s->questions = t->where == JUDGE_BOTH ? 2 : 1;
            s->score = t->where == JUDGE_BOTH ? (s->full + s->crop) / 2 : t->where == JUDGE_FULL ? s->full : s->crop;
        }
    for (int64_t k = 0; crops && k < n; k++) image_free(&crops[k]);
    vm_free(look), vm_free(crops), vm_free(texts);
    return e->status;
}

const judge_kind judge_clip = { .name = "clip", .accept = 0.05, .open = open_clip, .score = score, .close = close_clip, .model = model };
