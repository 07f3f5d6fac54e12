/* diffusion_feed.c - see diffusion_feed.h. */
#include "pipeline/diffusion_feed.h"

#include <math.h>
#include <string.h>

#include "io/log.h"
#include "io/resize.h"
#include "kernels/philox.h"
#include "models/edit_mask.h"
#include "models/scene.h"

enum { TRIES = 100, WARNED = 20 };

vm_status diffusion_feed_new(diffusion_feed *f, vm_error *e) {
    const size_t n = (size_t)f->batch, sides = f->s ? (size_t)f->s->n_sides : 0;
    f->side = vm_alloc(sides * sizeof *f->side + 1), f->sample = vm_calloc(n, sizeof *f->sample), f->text = vm_calloc(n, sizeof *f->text);
    f->image = vm_calloc(n, sizeof *f->image), f->mask = vm_calloc(n, sizeof *f->mask), f->focus = vm_calloc(n, sizeof *f->focus), f->chosen = vm_calloc(n, sizeof *f->chosen);
    if (!f->side || !f->sample || !f->text || !f->image || !f->mask || !f->focus || !f->chosen) return vm_nomem(e, n * sizeof *f->sample, "a batch");
    if (!f->s) return f->n = f->held_out ? DIFFUSION_LOOK : INT64_C(1) << 40, VM_OK;
    for (int64_t i = 0; i < f->s->n_sides; i++)
        if (f->s->side[i].name >= 0 && f->s->side[i].valid) f->side[f->n++] = i;
    return f->n ? VM_OK : vm_fail(e, VM_EINPUT, "no picture with a text in the data");
}

vm_status diffusion_feed_open(diffusion_feed *f, samples **s, const vm_args *a, const char *option, vm_error *e) {
    const char *const *paths;
    const int n = arg_list(a, option, &paths);
    const samples_options o = { .image_key = arg_str(a, "image-key"), .caption_key = arg_str(a, "caption-key") };
    f->held_out = strcmp(option, "data") != 0;
    for (int k = 0; k < n && n > 1; k++)
        if (!strcmp(paths[k], "world")) return vm_fail(e, VM_EUSAGE, "--%s world stands alone", option);
    if (n == 1 && !strcmp(paths[0], "world")) {
        if (f->size != SCENE_SIDE) return vm_fail(e, VM_EUSAGE, "--size %d: scenes of the world are %d x %d", f->size, SCENE_SIDE, SCENE_SIDE);
        if (f->flip > 0) return vm_fail(e, VM_EUSAGE, "--flip: captions of the world speak of left and right");
        return diffusion_feed_new(f, e);
    }
    if (samples_open(s, n, paths, &o, e)) return e->status;
    if ((*s)->n_faults) vm_warn("%lld records are left out; the first: %s", (long long)(*s)->n_faults, (*s)->fault[0]);
    f->s = *s;
    return diffusion_feed_new(f, e);
}

void diffusion_feed_digest(const diffusion_feed *f, char digest[65]) {
    *digest = 0;
    if (f->s) samples_digest(f->s, digest);
}

vm_status diffusion_feed_steps(const diffusion_feed *f, const vm_args *a, const char *command, int64_t *steps, vm_error *e) {
    if (!f->s && arg_given(a, "epochs")) return vm_fail(e, VM_EUSAGE, "%s: the world has no end: give --steps N", command);
    if (arg_given(a, "epochs")) *steps = (int64_t)(arg_float(a, "epochs") * (double)f->n / (double)f->batch);
    return *steps < 1 ? vm_fail(e, VM_EUSAGE, "%s: no steps: give --steps N, or --epochs X", command) : VM_OK;
}

void diffusion_feed_free(diffusion_feed *f) {
    for (int64_t k = 0; k < f->batch; k++) {
        if (f->image) image_free(&f->image[k]);
        if (f->mask) image_free(&f->mask[k]);
        if (f->focus) image_free(&f->focus[k]);
    }
    vm_free(f->side), vm_free(f->sample), vm_free(f->text), vm_free(f->image), vm_free(f->mask), vm_free(f->focus), vm_free(f->chosen);
}

/* --- pictures ------------------------------------------------------------------------------------------------------------ */
static vm_status read_picture(const diffusion_feed *f, const sample_side *s, vm_image *out, vm_error *e) {
    const image_options o = { .alpha = ALPHA_WHITE };
    const char *name = sample_text(f->s, s->name);
    uint8_t *data = NULL;
    char *path = NULL;
    if (s->archive >= 0) {
        if (!sample_read(f->s, s, &data, e)) image_decode(out, data, (size_t)s->bytes, name, &o, e);
    } else if ((path = media_find(f->places, NULL, name, e))) image_read(out, path, &o, e);
    vm_free(data), vm_free(path);
    return e->status;
}

static void mirror(vm_image *im) {
    for (int y = 0; y < im->h; y++)
        for (int x = 0; x < im->w / 2; x++) {
            uint8_t *a = im->px + ((size_t)y * (size_t)im->w + (size_t)x) * 3, *b = im->px + ((size_t)y * (size_t)im->w + (size_t)(im->w - 1 - x)) * 3, t[3];
            memcpy(t, a, 3), memcpy(a, b, 3), memcpy(b, t, 3);
        }
}

static vm_status square(const diffusion_feed *f, const vm_image *im, vm_image *out, vm_error *e) {
    vm_image big = { 0 };
    double by = (double)f->size / VM_MIN(im->w, im->h);
    int w = VM_MAX((int)lround(im->w * by), f->size), h = VM_MAX((int)lround(im->h * by), f->size);
    if (!image_resize(&big, im, w, h, RESIZE_BICUBIC, e)) image_crop(out, &big, (w - f->size) / 2, (h - f->size) / 2, f->size, f->size, NULL, e);
    image_free(&big);
    return e->status;
}

/* One to three boxes of a tenth to six tenths of the side, or the whole picture. */
static vm_status draw_mask(const diffusion_feed *f, vm_rng *r, vm_image *out, vm_error *e) {
    float b[12];
    const float side = (float)f->size;
    int n = 1 + (int)vm_rng_below(r, 3);
    for (int k = 0; k < n; k++) {
        float w = side * (0.1f + 0.5f * vm_rng_f32(r)), h = side * (0.1f + 0.5f * vm_rng_f32(r)), x = (side - w) * vm_rng_f32(r), y = (side - h) * vm_rng_f32(r);
        b[4 * k] = x, b[4 * k + 1] = y, b[4 * k + 2] = x + w, b[4 * k + 3] = y + h;
    }
    if (vm_rng_f64(r) < f->whole_mask) n = 1, b[0] = b[1] = 0, b[2] = b[3] = side;
    return edit_mask_boxes(out, f->size, f->size, b, n, 1, 0, e);
}

/* --- batches --------------------------------------------------------------------------------------------------------------- */
static vm_status dig_holes(const diffusion_feed *f, vm_rng *r, vm_image *im, vm_error *e) {
    vm_image hole = { 0 };
    if (draw_mask(f, r, &hole, e)) return e->status;
    for (int64_t i = 0; i < (int64_t)im->w * im->h * 3; i++)
        if (hole.px[i / 3]) im->px[i] = 128;
    image_free(&hole);
    return VM_OK;
}

/* Picture i of the files. *good false: it cannot be read. */
static vm_status fill_read(diffusion_feed *f, int64_t k, int64_t i, vm_rng *r, bool *good, vm_error *e) {
    const sample_side *s = &f->s->side[f->side[i]];
    vm_image whole = { 0 };
    vm_error why = { 0 };
    *good = !read_picture(f, s, &whole, &why) && !square(f, &whole, &f->image[k], &why);
    image_free(&whole);
    if (!*good) {
        if (why.status != VM_EINPUT) return *e = why, e->status;
        if (f->bad++ < WARNED) vm_warn("%s; the next picture takes its place", why.msg);
        return VM_OK;
    }
    return f->masks ? draw_mask(f, r, &f->mask[k], e) : VM_OK;
}

/* Sample k: picture i of the list, drawn on with r. *good false: it cannot be read. */
static vm_status fill(diffusion_feed *f, int64_t k, int64_t i, vm_rng *r, bool learns, bool *good, vm_error *e) {
    image_free(&f->image[k]), image_free(&f->mask[k]), image_free(&f->focus[k]);
    *good = true;
    if (f->s ? fill_read(f, k, i, r, good, e) : diffusion_world_fill(f, k, i, r, f->text[k], e)) return e->status;
    if (!*good) return VM_OK;
    bool dropped = vm_rng_f64(r) < f->drop_text, mirrored = vm_rng_f64(r) < f->flip;
    if (learns && mirrored) mirror(&f->image[k]);
    if (f->holes > 0 && vm_rng_f64(r) < f->holes && dig_holes(f, r, &f->image[k], e)) return e->status;
    const char *text = f->s ? sample_text(f->s, f->s->side[f->side[i]].caption) : f->text[k];
    f->sample[k] = (diffusion_sample){ .image = &f->image[k], .mask = f->masks ? &f->mask[k] : NULL, .text = learns && dropped ? NULL : text };
    f->chosen[k] = i;
    return VM_OK;
}

/* Number `at` of the order in which samples come up `reuse` times each, mixed within a pool. */
static uint64_t reused(const diffusion_feed *f, uint64_t at) {
    const uint64_t pool = DIFFUSION_POOL, span = pool * (uint64_t)f->reuse;
    return at / span * pool + vm_shuffled(f->seed ^ UINT64_C(0x9e3779b97f4a7c15), at / span, at % span, span) % pool;
}

vm_status diffusion_feed_batch(diffusion_feed *f, int64_t step, vm_error *e) {
    for (int64_t k = 0; k < f->batch && !e->status; k++) {
        uint64_t at = (uint64_t)(step * f->batch + k);
        if (f->reuse > 1) at = reused(f, at);
        uint64_t epoch = at / (uint64_t)f->n;
        vm_rng r = vm_rng_at(f->seed, UINT64_C(1) << 62 | at);
        bool good = false;
        for (int64_t i = 0; i < TRIES && !good && !e->status; i++)
            fill(f, k, (int64_t)vm_shuffled(f->seed, epoch, (at + (uint64_t)i) % (uint64_t)f->n, (uint64_t)f->n), &r, true, &good, e);
        if (f->reuse > 1) f->sample[k].key = (int64_t)at + 1;
        if (!good && !e->status) vm_fail(e, VM_EINPUT, "%d pictures one after the other cannot be read", TRIES);
    }
    return e->status;
}

int64_t diffusion_feed_rows(diffusion_feed *f, int64_t first, vm_error *e) {
    int64_t n = 0;
    for (int64_t i = first; i < f->n && i < first + f->batch && !e->status; i++) {
        vm_rng r = vm_rng_at(f->seed, UINT64_C(1) << 63 | (uint64_t)i);
        bool good;
        if (!fill(f, n, i, &r, false, &good, e) && good) n++;
    }
    return n;
}
