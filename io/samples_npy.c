/* samples_npy.c - CE-CLIP's records from NumPy's arrays of dictionaries. */
#include <stdio.h>

#include "io/npy_records.h"
#include "io/samples_parts.h"

/* A text without NUL, else NULL. */
static const char *text_of(const npy_records *r, int64_t k, const char *key, size_t *n) {
    const char *text = npy_text(r, npy_get(r, k, key), n);
    return text && !memchr(text, 0, *n) ? text : NULL;
}

/* One record into the open group; what is wrong with it, or NULL. */
static const char *take(samples_builder *b, const npy_records *r, int64_t k) {
    pk_value id = npy_get(r, k, "image_id");
    int64_t valid[1 + SAMPLES_AUGMENTED] = { 1, 1, 1, 1, 1 };
    size_t n;
    const char *caption = text_of(r, k, "caption", &n), *name;
    pk_value list = npy_get(r, k, "valid_caption");
    if (!caption) return "no text is called caption";
    int64_t at = samples_text(b, caption, n), image = -1;
    if ((name = text_of(r, k, "image_path", &n))) image = samples_text(b, name, n);
    else if (id.kind == PK_INT && id.i >= 0) image = samples_image_name(b, id.i);
    else return "neither image_path nor a number called image_id";
    if (at < 0 || image < 0) return NULL;
    b->s->side[b->open.first].caption = at, b->s->side[b->open.first].name = image;
    if (list.kind != PK_UNSET && !npy_ints(r, list, 1 + SAMPLES_AUGMENTED, valid))
        return "valid_caption is no list of five integers";
    for (int j = 0; j < SAMPLES_AUGMENTED && !b->o->originals_only; j++) {
        const char *text = text_of(r, k, sample_augmented[j], &n);
        if (!text) return "one of the four changed captions is missing";
        int64_t c = samples_text(b, text, n);
        sample_side *x = c < 0 ? NULL : samples_side(b);
        if (!x) return NULL;
        x->caption = c, x->valid = valid[1 + j] && strcmp(sample_text(b->s, c), "###");
    }
    return NULL;
}

vm_status samples_read_npy(samples_builder *b, const uint8_t *data, size_t bytes, const char *path) {
    npy_records r;
    if (npy_open(&r, data, bytes, path, b->e)) return b->e->status;
    int64_t number = 0;
    for (int64_t k = npy_first(&r); k >= 0 && !b->e->status; k = npy_after(&r, k), number++) {
        char where[600];
        snprintf(where, sizeof where, "%.500s: record %lld", path, (long long)number);
        if (!samples_begin(b)) break;
        const char *wrong = take(b, &r, k);
        if (b->e->status) break;
        if (!wrong) {
            samples_keep(b, where);
            continue;
        }
        samples_drop(b);
        samples_fault(b, "%s: %s", where, wrong);
    }
    npy_close(&r);
    return b->e->status;
}
