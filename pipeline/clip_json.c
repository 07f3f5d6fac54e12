/* clip_json.c - batches of VisMin's training JSON: an array of {image_path, caption, negatives: [{edited_image_path,
 * edited_caption, category, ...}]}. A group is an original with its edits; a batch holds whole groups: each original and
 * one of its edits, drawn anew in every epoch. The order of groups is a permutation keyed by (seed, epoch). */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/resize.h"
#include "kernels/philox.h"
#include "pipeline/clip_data.h"

typedef struct {
    const char *image, *caption; /* in the document */
} side;
typedef struct {
    side original;
    int64_t first, n; /* edits */
} group;

typedef struct {
    clip_source s;
    clip_json_options o;
    json_doc *doc;
    group *groups;
    side *edits;
    int64_t n, n_edits, cap, cap_edits, epoch;
    uint32_t *order; /* of the epoch at hand */
} source;

static void release(clip_source *x) {
    source *s = (source *)x;
    json_free(s->doc);
    vm_free(s->groups), vm_free(s->edits), vm_free(s->order);
    vm_free(s);
}

static bool wanted(const source *s, const char *category) {
    for (int k = 0; k < s->o.n_categories; k++)
        if (!strcmp(category, s->o.categories[k])) return true;
    return s->o.n_categories == 0;
}

static vm_status read_edits(source *s, json_value negatives, group *g, vm_error *e) {
    g->first = s->n_edits;
    for (json_iter it = json_each(negatives); json_next(&it) && !e->status;) {
        if (!wanted(s, json_str(it.value, "category", "", e))) continue;
        if (!vm_grow(&s->edits, &s->cap_edits, s->n_edits + 1, sizeof *s->edits)) return vm_nomem(e, sizeof *s->edits, "the edits");
        s->edits[s->n_edits++] = (side){ json_as_str(json_need(it.value, "edited_image_path", JSON_STRING, e), e),
                                         json_as_str(json_need(it.value, "edited_caption", JSON_STRING, e), e) };
    }
    g->n = s->n_edits - g->first;
    return e->status;
}

static vm_status read_groups(source *s, vm_error *e) {
    json_value root = json_root(s->doc);
    int64_t without = 0;
    if (root.kind != JSON_ARRAY) return json_fail(root, e, "expected an array of samples");
    for (json_iter it = json_each(root); json_next(&it) && !e->status;) {
        group g = { .n = 0 };
        g.original = (side){ json_as_str(json_need(it.value, "image_path", JSON_STRING, e), e), json_as_str(json_need(it.value, "caption", JSON_STRING, e), e) };
        if (e->status || (s->o.edits && read_edits(s, json_get(it.value, "negatives"), &g, e))) break;
        if (s->o.edits && !g.n && ++without) continue; /* nothing minimal to learn from */
        if (!vm_grow(&s->groups, &s->cap, s->n + 1, sizeof *s->groups)) return vm_nomem(e, sizeof *s->groups, "the samples");
        s->groups[s->n++] = g;
    }
    if (e->status) return e->status;
    vm_info("%s: %lld originals, %lld edits%s", s->o.path, (long long)s->n, (long long)s->n_edits, without ? "; originals without an edit are left out" : "");
    return s->n ? VM_OK : vm_fail(e, VM_EINPUT, "%s: no sample with a usable edit", s->o.path);
}

/* --- order ----------------------------------------------------------------------------------------------------------- */
enum { STREAM_ORDER = 1, STREAM_EDIT = 2, STREAM_CROP = 3 };

static void shuffle(source *s, int64_t epoch) {
    if (s->epoch == epoch) return;
    vm_rng r = vm_rng_at(s->s.seed, (uint64_t)epoch << 8 | STREAM_ORDER);
    for (int64_t i = 0; i < s->n; i++) s->order[i] = (uint32_t)i;
    for (int64_t i = s->n - 1; i > 0; i--) {
        uint32_t j = vm_rng_below(&r, (uint32_t)(i + 1)), t = s->order[i];
        s->order[i] = s->order[j], s->order[j] = t;
    }
    s->epoch = epoch;
}

/* --- pictures -------------------------------------------------------------------------------------------------------- */
static vm_status find_image(const source *s, const char *path, vm_image *out, vm_error *e) {
    while (*path == '/' && s->o.n_images) path++; /* published paths look absolute and are not */
    for (int k = 0; k < s->o.n_images; k++) {
        char *full = path_join(s->o.images[k], path);
        bool there = full && file_exists(full);
        vm_status st = there ? image_read(out, full, NULL, e) : VM_OK;
        vm_free(full);
        if (there) return st;
    }
    if (!s->o.n_images) {
        char *dir = path_dir(s->o.path), *full = dir ? path_join(dir, path) : NULL;
        vm_status st = full ? image_read(out, full, NULL, e) : vm_nomem(e, 256, path);
        vm_free(full), vm_free(dir);
        return st;
    }
    return vm_fail(e, VM_EINPUT, "%s: picture %s is in none of the %d --images folders", s->o.path, path, s->o.n_images);
}

/* open_clip's RandomResizedCrop: area U(0.9,1) of the picture, ratio exp(U(ln 3/4, ln 4/3)); ten tries, then the middle. */
static void random_window(vm_rng *r, int W, int H, int win[4]) {
    for (int k = 0; k < 10; k++) {
        double area = (double)W * H * (0.9 + 0.1 * vm_rng_f64(r)), ratio = exp(log(0.75) + (log(4.0 / 3) - log(0.75)) * vm_rng_f64(r));
        int w = (int)lrint(sqrt(area * ratio)), h = (int)lrint(sqrt(area / ratio));
        if (w < 1 || h < 1 || w > W || h > H) continue;
        win[0] = (int)vm_rng_below(r, (uint32_t)(W - w + 1)), win[1] = (int)vm_rng_below(r, (uint32_t)(H - h + 1)), win[2] = w, win[3] = h;
        return;
    }
    double in = (double)W / H;
    win[2] = in > 4.0 / 3 ? (int)lrint(H * 4.0 / 3) : W, win[3] = in < 0.75 ? (int)lrint(W / 0.75) : H;
    win[0] = (W - win[2]) / 2, win[1] = (H - win[3]) / 2;
}

static vm_status load(const source *s, const char *path, int64_t step, int64_t row, float *pixels, vm_error *e) {
    vm_image im = { 0 }, cut = { 0 }, fit = { 0 };
    int S = (int)s->s.m->image_size, win[4];
    if (find_image(s, path, &im, e)) return e->status;
    if (s->o.augment) {
        vm_rng r = vm_rng_at(s->s.seed ^ (uint64_t)row << 32, (uint64_t)step << 8 | STREAM_CROP);
        random_window(&r, im.w, im.h, win);
        if (!image_crop(&cut, &im, win[0], win[1], win[2], win[3], NULL, e)) image_resize(&fit, &cut, S, S, RESIZE_BICUBIC, e);
    } else {
        preprocess_fit_image(&fit, s->s.pp, &im, e);
    }
    if (!e->status) preprocess_hwc(pixels, 0, s->s.pp, &fit);
    image_free(&im), image_free(&cut), image_free(&fit);
    return e->status;
}

static vm_status fill(clip_source *x, int64_t step, float *pixels, char (*texts)[512], vm_error *e) {
    source *s = (source *)x;
    int64_t G = x->n_orig, per_epoch = s->n / G, epoch = step / per_epoch, px = x->m->image_size * x->m->image_size * 3;
    vm_error first = { 0 };
    shuffle(s, epoch);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < G; i++) {
        const group *g = &s->groups[s->order[step % per_epoch * G + i]];
        uint32_t r[4];
        vm_philox(x->seed, (uint64_t)epoch << 8 | STREAM_EDIT, (uint64_t)(g - s->groups), r);
        for (int k = 0; k < (i < x->n_twins ? 2 : 1); k++) {
            const side *p = k ? &s->edits[g->first + (int64_t)(r[0] % (uint32_t)g->n)] : &g->original;
            int64_t row = k ? G + i : i;
            vm_error mine = { 0 };
            snprintf(texts[row], sizeof texts[row], "%s", p->caption);
            if (load(s, p->image, step, row, pixels + row * px, &mine))
#pragma omp critical(clip_json_error)
                if (!first.status) first = mine;
        }
    }
    if (first.status) *e = first;
    return e->status;
}

vm_status clip_source_json(clip_source **out, const clip_json_options *o, int64_t rows, vm_error *e) {
    source *s = vm_calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return vm_nomem(e, sizeof *s, "the data");
    s->o = *o, s->epoch = -1, s->s.fill = fill, s->s.free = release;
    s->s.n_orig = o->edits ? rows / 2 : rows, s->s.n_twins = o->edits ? rows / 2 : 0;
    if (!(s->doc = json_open(o->path, e)) || read_groups(s, e)) goto fail;
    if (s->n < s->s.n_orig) {
        vm_fail(e, VM_EINPUT, "%s: %lld samples do not fill a batch of %lld originals; use a smaller --batch", o->path, (long long)s->n, (long long)s->s.n_orig);
        goto fail;
    }
    s->s.n_groups = s->n;
    if (!(s->order = vm_alloc((size_t)s->n * sizeof *s->order))) {
        vm_nomem(e, (size_t)s->n * sizeof *s->order, "the order of samples");
        goto fail;
    }
    *out = &s->s;
    return VM_OK;
fail:
    release(&s->s);
    return e->status;
}
