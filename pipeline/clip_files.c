/* clip_files.c - batches from training files: which sample stands where (clip_data.h), and its picture as numbers.
 * Every choice is a function of the seed and of what it is for: no state, no shuffled array. */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "io/resize.h"
#include "kernels/philox.h"
#include "pipeline/clip_data.h"

enum { STREAM_ORDER = 1, STREAM_CHANGE = 2, STREAM_CROP = 3, STREAM_LIMIT = 4, STREAM_SOLE = 5, STREAM_ARCHIVES = 6 };

typedef struct {
    clip_source s;
    samples *d;
    clip_files_options o;
    int64_t *sample; /* grouped: groups in use; else rows: sides one after the other */
    int64_t n;
    int64_t *from; /* grouped, in archives: where the groups of each begin in sample; one more: n */
    char **place;  /* copies of o.places' strings */
} files;

static void release(clip_source *x) {
    files *f = (files *)x;
    samples_free(f->d);
    for (int k = 0; f->place && k < f->o.places.n_map + f->o.places.n_roots; k++) vm_free(f->place[k]);
    vm_free(f->sample), vm_free(f->from), vm_free(f->place);
    vm_free(f);
}

static vm_status copy_places(files *f, vm_error *e) {
    media_places *p = &f->o.places;
    if (!(f->place = vm_calloc((size_t)(p->n_map + p->n_roots) + 1, sizeof *f->place)))
        return vm_nomem(e, 256, "the folders");
    for (int k = 0; k < p->n_map + p->n_roots; k++)
        if (!(f->place[k] = vm_strdup(k < p->n_map ? p->map[k] : p->roots[k - p->n_map])))
            return vm_nomem(e, 256, "a folder");
    p->map = (const char *const *)f->place, p->roots = (const char *const *)f->place + p->n_map;
    return VM_OK;
}

/* --- order -------------------------------------------------------------------------------------------------------- */
/* What stands at a place of an epoch. */
static int64_t sample_at(const files *f, int64_t epoch, int64_t place) {
    uint64_t stream = (uint64_t)epoch << 8;
    if (f->o.pairing == CLIP_ADJACENT) return f->sample[place];
    if (!f->from) return f->sample[vm_shuffled(f->o.seed, stream | STREAM_ORDER, (uint64_t)place, (uint64_t)f->n)];
    int64_t n = f->d->n_archives, k = 0, at = 0;
    for (int64_t j = 0; j < n; j++) { /* archives in their order, until the one that holds the place */
        k = (int64_t)vm_shuffled(f->o.seed, stream | STREAM_ARCHIVES, (uint64_t)j, (uint64_t)n);
        int64_t len = f->from[k + 1] - f->from[k];
        if (place < at + len) break;
        at += len;
    }
    uint64_t key = f->o.seed ^ (uint64_t)(k + 1) << 32;
    return f->sample[f->from[k] + (int64_t)vm_shuffled(key, stream | STREAM_ORDER, (uint64_t)(place - at),
                                                       (uint64_t)(f->from[k + 1] - f->from[k]))];
}

/* The j-th of n changes that a group shows in an epoch: all different while there are any left. */
static int64_t change_at(const files *f, int64_t group, int64_t epoch, int64_t j, int64_t n) {
    uint32_t x[4];
    if (f->s.text_only) return j; /* CE-CLIP's stand in columns of their kind */
    vm_philox(f->o.seed, f->o.sole ? STREAM_SOLE : (uint64_t)epoch << 8 | STREAM_CHANGE, (uint64_t)group, x);
    return (int64_t)vm_shuffled((uint64_t)x[0] << 32 | x[1], 0, (uint64_t)(j % n), (uint64_t)n);
}

/* --- pictures ----------------------------------------------------------------------------------------------------- */
char *clip_files_find(const media_places *p, const char *name, vm_error *e) {
    vm_error missing = { 0 };
    char *path = media_find(p, NULL, name, &missing);
    if (!path && name[0] == '/' && file_bytes(name) >= 0 && !(path = vm_strdup(name))) vm_nomem(e, strlen(name), name);
    if (!path && e && !e->status) *e = missing;
    return path;
}

vm_status clip_files_read(vm_image *out, const samples *s, const sample_side *x, const media_places *p, bool tolerant,
                          vm_error *e) {
    const image_options how = { .tolerant = tolerant };
    const char *name = sample_text(s, x->name);
    if (x->archive >= 0) {
        uint8_t *bytes;
        char *shown;
        if (sample_read(s, x, &bytes, e)) return e->status;
        if (!(shown = vm_asprintf("%s: %s", s->archive[x->archive], name))) vm_nomem(e, 256, name);
        else image_decode(out, bytes, (size_t)x->bytes, shown, &how, e);
        vm_free(bytes), vm_free(shown);
        return e->status;
    }
    char *path = clip_files_find(p, name, e);
    if (path) image_read(out, path, &how, e);
    vm_free(path);
    return e->status;
}

/* open_clip's RandomResizedCrop: area U(0.9,1) of the picture, ratio exp(U(ln 3/4, ln 4/3)); ten tries, then the
 * middle. */
static void random_window(vm_rng *r, int W, int H, int win[4]) {
    for (int k = 0; k < 10; k++) {
        double area = (double)W * H * (0.9 + 0.1 * vm_rng_f64(r));
        double ratio = exp(log(0.75) + (log(4.0 / 3) - log(0.75)) * vm_rng_f64(r));
        int w = (int)lrint(sqrt(area * ratio)), h = (int)lrint(sqrt(area / ratio));
        if (w < 1 || h < 1 || w > W || h > H) continue;
        win[0] = (int)vm_rng_below(r, (uint32_t)(W - w + 1)), win[1] = (int)vm_rng_below(r, (uint32_t)(H - h + 1));
        win[2] = w, win[3] = h;
        return;
    }
    double in = (double)W / H;
    win[2] = in > 4.0 / 3 ? (int)lrint(H * 4.0 / 3) : W, win[3] = in < 0.75 ? (int)lrint(W / 0.75) : H;
    win[0] = (W - win[2]) / 2, win[1] = (H - win[3]) / 2;
}

/* A picture as (S,S,3), with the random crop of a number, or whole (crop < 0). */
static vm_status load(const files *f, const sample_side *side, int64_t crop, float *pixels, vm_error *e) {
    const clip_source *s = &f->s;
    vm_image im = { 0 }, cut = { 0 }, fit = { 0 };
    int S = (int)s->m->image_size, win[4];
    if (clip_files_read(&im, f->d, side, &f->o.places, f->o.tolerant, e)) return e->status;
    if (crop >= 0) {
        vm_rng r = vm_rng_at(f->o.seed ^ STREAM_CROP, (uint64_t)crop);
        random_window(&r, im.w, im.h, win);
        if (!image_crop(&cut, &im, win[0], win[1], win[2], win[3], NULL, e))
            image_resize(&fit, &cut, S, S, RESIZE_BICUBIC, e);
    } else {
        preprocess_fit_image(&fit, s->pp, &im, e);
    }
    if (!e->status) preprocess_hwc(pixels, 0, s->pp, &fit);
    image_free(&im), image_free(&cut), image_free(&fit);
    return e->status;
}

/* --- slots -------------------------------------------------------------------------------------------------------- */
static vm_status take(const files *f, const sample_side *x, int64_t crop, clip_slot *out, int64_t k, vm_error *e) {
    vm_free(out->text[k]);
    if (!(out->text[k] = vm_strdup(sample_text(f->d, x->caption)))) return vm_nomem(e, 256, "a caption");
    if (!x->valid) out->valid[k] = 0;
    return out->pixels[k] ? load(f, x, f->o.augment ? crop : -1, out->pixels[k], e) : VM_OK;
}

/* The sample into the slot; VM_EINPUT when one of its pictures cannot be used. crop: of the first side. */
static vm_status show(const files *f, int64_t sample, int64_t epoch, int64_t crop, clip_slot *out, vm_error *e) {
    if (f->o.pairing != CLIP_GROUPED) return take(f, &f->d->side[sample], crop, out, 0, e);
    const sample_group *g = &f->d->group[sample];
    const sample_side *x = f->d->side + g->first;
    if (take(f, x, crop, out, 0, e)) return e->status;
    for (int64_t j = 0, n = g->n - 1; j < f->s.K && f->s.n_twins; j++) {
        out->valid[1 + j] = j < n;
        if (take(f, x + 1 + change_at(f, sample, epoch, j, n), crop + 1 + j, out, 1 + j, e)) return e->status;
    }
    return VM_OK;
}

static vm_status pass_over(const files *f, int64_t sample, int64_t step, clip_slot *out, const vm_error *why,
                           vm_error *e) {
    clip_bad_list *l = &out->bad;
    char *what = vm_strdup(why->msg);
    if (!what || !vm_grow(&l->v, &l->cap, l->n + 1, sizeof *l->v)) {
        vm_free(what);
        return vm_nomem(e, sizeof *l->v, "the list of bad samples");
    }
    l->v[l->n++] = (clip_bad){ sample, step, what };
    return VM_OK;
}

static vm_status fill(const clip_source *s, int64_t step, int64_t slot, clip_slot *out, vm_error *e) {
    const files *f = (const files *)s;
    int64_t per_epoch = clip_source_epoch(s), epoch = step / per_epoch, place = step % per_epoch * s->n_orig + slot;
    int64_t crop = (step * s->n_orig + slot) * (1 + s->K);
    for (int64_t tries = 0;; tries++) {
        int64_t sample = sample_at(f, epoch, (place + tries * s->n_orig) % f->n);
        vm_error why = { 0 };
        out->sample = sample;
        if (!show(f, sample, epoch, crop, out, &why)) return VM_OK;
        if (why.status != VM_EINPUT) return *e = why, e->status;
        if (pass_over(f, sample, step, out, &why, e)) return e->status;
        if (tries + 1 >= f->o.most_in_row)
            return vm_fail(e, VM_EINPUT, "step %lld: %lld unreadable samples one after the other; the last: %s",
                           (long long)step, (long long)tries + 1, why.msg);
    }
}

static const char *name_of(const clip_source *s, int64_t sample) {
    const files *f = (const files *)s;
    const sample_side *x = &f->d->side[f->o.pairing == CLIP_GROUPED ? f->d->group[sample].first : sample];
    return sample_text(f->d, x->name);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
/* Marks the groups that take part: those of the limit. */
static uint8_t *chosen(const files *f, vm_error *e) {
    int64_t n = f->d->n, limit = f->o.limit ? VM_MIN(f->o.limit, n) : n;
    uint8_t *in = vm_calloc((size_t)n + 1, 1);
    if (!in) vm_nomem(e, (size_t)n, "the samples");
    for (int64_t i = 0; in && i < limit; i++)
        in[limit < n ? (int64_t)vm_shuffled(f->o.seed, STREAM_LIMIT, (uint64_t)i, (uint64_t)n) : i] = 1;
    return in;
}

static vm_status list_groups(files *f, const uint8_t *in, vm_error *e) {
    const samples *d = f->d;
    f->sample = vm_alloc(((size_t)d->n + 1) * sizeof *f->sample);
    if (d->n_archives) f->from = vm_calloc((size_t)d->n_archives + 1, sizeof *f->from);
    if (!f->sample || (d->n_archives && !f->from)) return vm_nomem(e, (size_t)d->n * sizeof *f->sample, "the samples");
    for (int64_t g = 0, k = 0; g < d->n; g++) {
        for (; d->n_archives && k < d->n_archives && g == d->archive_from[k]; k++) f->from[k] = f->n;
        if (in[g] && (f->o.originals_only || d->group[g].n > 1)) f->sample[f->n++] = g;
    }
    for (int64_t k = 0; k <= d->n_archives && f->from; k++)
        if (k == d->n_archives || d->archive_from[k] >= d->n) f->from[k] = f->n;
    return VM_OK;
}

/* Originals in an order of the seed, each followed by its changes (by one of them). */
static vm_status list_rows(files *f, const uint8_t *in, vm_error *e) {
    const samples *d = f->d;
    if (!(f->sample = vm_alloc(((size_t)d->n_sides + 1) * sizeof *f->sample)))
        return vm_nomem(e, (size_t)d->n_sides * 8, "the samples");
    for (int64_t i = 0; i < d->n; i++) {
        int64_t at = (int64_t)vm_shuffled(f->o.seed, STREAM_ORDER, (uint64_t)i, (uint64_t)d->n);
        const sample_group *g = &d->group[at];
        if (!in[at]) continue;
        f->sample[f->n++] = g->first;
        for (int64_t j = 0, n = g->n - 1; j < (f->o.sole ? VM_MIN(n, 1) : n) && !f->o.originals_only; j++)
            f->sample[f->n++] = g->first + 1 + (f->o.sole ? change_at(f, at, 0, 0, n) : j);
    }
    return VM_OK;
}

static vm_status arrange(files *f, int64_t rows, vm_error *e) {
    bool grouped = f->o.pairing == CLIP_GROUPED, changes = false;
    for (int64_t g = 0; g < f->d->n && !changes; g++) changes = f->d->group[g].n > 1;
    if (!changes) f->o.originals_only = true; /* pictures with captions, and nothing more */
    if (f->d->captions_only && !grouped)
        return vm_fail(e, VM_EUSAGE,
                       "--pairing: changes without pictures are no rows of their own; only grouped is possible");
    uint8_t *in = chosen(f, e);
    if (in && (grouped ? list_groups(f, in, e) : list_rows(f, in, e))) {}
    vm_free(in);
    if (e->status) return e->status;
    clip_source *s = &f->s;
    s->text_only = f->d->captions_only && !f->o.originals_only;
    int64_t most = s->text_only ? SAMPLES_AUGMENTED : CLIP_CHANGES;
    s->K = !grouped || f->o.originals_only ? 0 : f->o.K ? f->o.K : s->text_only ? SAMPLES_AUGMENTED : 1;
    if (s->K > most)
        return vm_fail(e, VM_EUSAGE, "--edits %lld: at most %lld of an original stand in a batch", (long long)s->K,
                       (long long)most);
    s->n_orig = s->text_only ? rows : rows / (1 + s->K), s->n_twins = s->n_orig * s->K, s->n_groups = f->n;
    s->fills = s->K > 1 || s->text_only;
    if (!f->n)
        return vm_fail(e, VM_EINPUT, "no sample with a usable change in the data; --no-edits trains on the originals");
    if (s->n_orig < 1 || f->n < s->n_orig)
        return vm_fail(e, VM_EINPUT, "%lld samples do not fill a batch of %lld %s; use %s --batch", (long long)f->n,
                       (long long)s->n_orig, grouped ? "originals" : "rows", s->n_orig < 1 ? "a larger" : "a smaller");
    return VM_OK;
}

vm_status clip_source_files(clip_source **out, samples *d, const clip_files_options *o, int64_t rows, vm_error *e) {
    files *f = vm_calloc(1, sizeof *f);
    *out = NULL;
    if (!f) {
        samples_free(d);
        return vm_nomem(e, sizeof *f, "the data");
    }
    f->d = d, f->o = *o, f->s.fill = fill, f->s.free = release, f->s.name = name_of;
    samples_digest(d, f->s.digest);
    if (!f->o.most_in_row) f->o.most_in_row = 100;
    if (!media_check(&o->places, e) && !copy_places(f, e) && !arrange(f, rows, e)) return *out = &f->s, VM_OK;
    release(&f->s);
    return e->status;
}
