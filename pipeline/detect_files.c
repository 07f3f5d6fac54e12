/* detect_files.c - training pictures of annotation files (boxes.h). An epoch is a permutation of all pictures; one that cannot be read gives its
 * place to the picture that stands there in the next batch of that epoch. */
#include <string.h>

#include "io/hash.h"
#include "kernels/philox.h"
#include "pipeline/detect_data.h"

typedef struct {
    detect_source s;
    boxes_set *set;            /* n_sets */
    media_places *places;
    int n_sets;
    int64_t negatives;
} files;

enum { STREAM_ORDER = 1, STREAM_PHRASES = 2, TRIES = 8 };

static void note(clip_bad_list *bad, int64_t id, int64_t step, const char *what) {
    char *text = vm_strdup(what);
    if (text && vm_grow(&bad->v, &bad->cap, bad->n + 1, sizeof *bad->v)) bad->v[bad->n++] = (clip_bad){ id, step, text };
    else vm_free(text);
}

static vm_status ask(detect_sample *out, const boxes_set *set, int64_t category, int32_t *label, vm_error *e) {
    *label = (int32_t)out->phrases;
    return detect_sample_ask(out, set->category[category].name, e);
}

/* Further phrases that the picture does not have. */
static vm_status ask_absent(const files *f, const boxes_set *set, const boxes_image *im, detect_sample *out, const int32_t *label_of, vm_rng *r, vm_error *e) {
    int32_t ignored;
    for (int64_t k = 0; k < im->n_asked && im->asked && !e->status; k++)
        if (label_of[im->asked[k]] < 0) ask(out, set, im->asked[k], &ignored, e);
    const int64_t free = set->n_categories - out->phrases;
    const int64_t wanted = im->asked ? 0 : VM_MIN(f->negatives, free);
    for (int64_t k = 0, i = 0; k < wanted && i < set->n_categories && !e->status; i++) {
        const int64_t c = (int64_t)vm_shuffled(f->s.seed, (uint64_t)vm_rng_u32(r) << 8 | STREAM_PHRASES, (uint64_t)i, (uint64_t)set->n_categories);
        bool taken = label_of[c] >= 0;
        for (int64_t j = 0; j < out->phrases && !taken; j++) taken = !strcmp(out->phrase[j], set->category[c].name);
        if (!taken && !ask(out, set, c, &ignored, e)) k++;
    }
    return e->status;
}

static vm_status fill(const files *f, int k, int64_t image, uint64_t stream, detect_sample *out, vm_error *e) {
    const boxes_set *set = &f->set[k];
    const boxes_image *im = &set->image[image];
    vm_rng r = vm_rng_at(f->s.seed, stream << 8 | STREAM_PHRASES);
    char *path = media_find(&f->places[k], NULL, im->file, e);
    int32_t *label_of = vm_alloc((size_t)set->n_categories * sizeof *label_of + 1);
    if (path) image_read(&out->rgb, path, NULL, e);
    if (!label_of) vm_nomem(e, (size_t)set->n_categories * sizeof *label_of, "phrases");
    for (int64_t c = 0; c < set->n_categories && label_of; c++) label_of[c] = -1;
    for (int64_t i = im->first; i < im->end && !e->status; i++) {
        const boxes_item *b = &set->truth[i];
        if (b->crowd || b->box[2] <= 0 || b->box[3] <= 0 || (label_of[b->category] < 0 && ask(out, set, b->category, &label_of[b->category], e))) continue;
        const float box[] = { (float)b->box[0], (float)b->box[1], (float)(b->box[0] + b->box[2]), (float)(b->box[1] + b->box[3]) };
        detect_sample_add(out, label_of[b->category], box, e);
    }
    if (!e->status) ask_absent(f, set, im, out, label_of, &r, e);
    if (!e->status && !out->phrases) vm_fail(e, VM_EINPUT, "%s: no phrases to look for", im->file);
    vm_free(path), vm_free(label_of);
    return e->status;
}

static vm_status sample(const detect_source *source, int64_t step, int64_t slot, detect_sample *out, clip_bad_list *bad, vm_error *e) {
    const files *f = (const files *)source;
    const int64_t batches = VM_MAX(source->n / source->batch, (int64_t)1), epoch = step / batches;
    for (int64_t i = 0; i < TRIES; i++) {
        const int64_t place = ((step % batches + i) % batches * source->batch + slot) % source->n;
        int64_t at = (int64_t)vm_shuffled(source->seed, (uint64_t)epoch << 8 | STREAM_ORDER, (uint64_t)place, (uint64_t)source->n), id = at;
        int k = 0;
        while (at >= f->set[k].n_images) at -= f->set[k++].n_images;
        vm_error_clear(e);
        out->id = id;
        if (!fill(f, k, at, (uint64_t)step * (uint64_t)source->batch + (uint64_t)slot, out, e) || e->status != VM_EINPUT) return e->status;
        note(bad, id, step, e->msg);
        detect_sample_free(out);
    }
    return e->status;
}

static void release(detect_source *s) {
    files *f = (files *)s;
    for (int k = 0; k < f->n_sets; k++) boxes_close(&f->set[k]), media_close(&f->places[k]);
    vm_free(f->set), vm_free(f->places), vm_free(f);
}

vm_status detect_source_files(detect_source **out, const char *const *paths, int n, const media_places *places, int64_t negatives, vm_error *e) {
    files *f = vm_calloc(1, sizeof *f);
    char sums[65];
    sha256 all;
    uint8_t digest[32];
    *out = NULL;
    if (!f) return vm_nomem(e, sizeof *f, "training files");
    f->set = vm_calloc((size_t)n, sizeof *f->set), f->places = vm_calloc((size_t)n, sizeof *f->places), f->negatives = negatives;
    if (!f->set || !f->places) vm_nomem(e, (size_t)n * sizeof *f->set, "training files");
    sha256_start(&all);
    for (int k = 0; k < n && !e->status; k++) {
        if (boxes_open(&f->set[k], paths[k], e)) break;
        f->n_sets++, f->s.n += f->set[k].n_images;
        if (!media_open(&f->places[k], places, paths[k], e) && !sha256_file(sums, paths[k], e)) sha256_add(&all, sums, 64);
    }
    sha256_end(&all, digest);
    hex_text(f->s.digest, digest, sizeof digest);
    f->s.sample = sample, f->s.free = release;
    if (!e->status && !f->s.n) vm_fail(e, VM_EINPUT, "%s: no pictures in it", paths[0]);
    if (e->status) release(&f->s);
    else *out = &f->s;
    return e->status;
}
