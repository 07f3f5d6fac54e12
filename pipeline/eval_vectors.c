/* eval_vectors.c - see eval_vectors.h. */
#include "pipeline/eval_vectors.h"

#include <string.h>

#include "io/hash.h"

enum { SLICE = 32, SUM = 32 }; /* pictures decoded at a time; digits of a content's name */

enum { UNSEEN, WAITING, READY, BROKEN };  /* a content */
enum { UNHASHED = -1, UNREADABLE = -2 }; /* a picture, in place of the number of its content */

struct eval_vectors {
    const eval_set *set;
    const eval_model *m;
    image_options decode;
    int64_t dim;
    int64_t *content;        /* of each picture of the set: number in contents, UNHASHED or UNREADABLE */
    keymap contents, reasons;
    uint8_t *state;          /* of each content */
    float *vector;           /* [contents][dim] */
    int64_t *why;            /* of each picture that is unreadable or broken: number in reasons, else -1 */
    bool *captioned;         /* of each caption: embedded? */
    float *caption;          /* [captions][dim] */
    int64_t cap_state, cap_vector;
};

vm_status eval_vectors_new(eval_vectors **out, const eval_set *set, const eval_model *m, const eval_options *o,
                           vm_error *e) {
    eval_vectors *v = vm_calloc(1, sizeof *v);
    size_t images = (size_t)set->images.n + 1, captions = (size_t)set->captions.n + 1, bytes;
    *out = NULL;
    if (!v) return vm_nomem(e, sizeof *v, "vectors");
    v->set = set, v->m = m, v->dim = m->x ? embedder_dim(m->x) : 0;
    v->decode = (image_options){ .stored_orientation = !o->exif_rotate, .tolerant = o->allow_truncated };
    v->content = vm_alloc(images * sizeof *v->content), v->why = vm_alloc(images * sizeof *v->why);
    v->captioned = vm_calloc(captions, sizeof *v->captioned);
    if (vm_mul_sz(captions, (size_t)v->dim * sizeof *v->caption + 1, &bytes)) v->caption = vm_alloc(bytes);
    if (!v->content || !v->why || !v->captioned || !v->caption) {
        eval_vectors_free(v);
        return vm_nomem(e, captions * (size_t)v->dim * sizeof *v->caption, "vectors");
    }
    for (size_t i = 0; i < images; i++) v->content[i] = UNHASHED, v->why[i] = -1;
    *out = v;
    return VM_OK;
}

void eval_vectors_free(eval_vectors *v) {
    if (!v) return;
    keymap_free(&v->contents), keymap_free(&v->reasons);
    vm_free(v->content), vm_free(v->state), vm_free(v->vector), vm_free(v->why), vm_free(v->captioned),
        vm_free(v->caption);
    vm_free(v);
}

static void blame(eval_vectors *v, int64_t i, const char *why) {
    if (v->why[i] < 0) v->why[i] = keymap_put_text(&v->reasons, why);
}

const char *eval_vectors_fault(const eval_vectors *v, int64_t i) {
    return v->why[i] < 0 ? NULL : keymap_at(&v->reasons, v->why[i], NULL);
}

vm_status eval_vectors_sum(eval_vectors *v, int64_t i, const char **sum, vm_error *e) {
    if (v->content[i] == UNHASHED) {
        char hex[65];
        vm_error bad = { 0 };
        int64_t before = v->contents.n, c = UNREADABLE;
        if (sha256_file(hex, keymap_at(&v->set->images, i, NULL), &bad)) {
            blame(v, i, bad.msg);
        } else if ((c = keymap_put(&v->contents, hex, SUM)) < 0 ||
                   !vm_grow(&v->state, &v->cap_state, v->contents.n, sizeof *v->state) ||
                   !vm_grow(&v->vector, &v->cap_vector, v->contents.n, (size_t)v->dim * sizeof *v->vector + 1)) {
            return vm_nomem(e, (size_t)v->dim * sizeof *v->vector, "vectors of pictures");
        }
        if (v->contents.n > before) v->state[c] = UNSEEN;
        v->content[i] = c;
    }
    *sum = v->content[i] < 0 ? NULL : keymap_at(&v->contents, v->content[i], NULL);
    return VM_OK;
}

/* Decodes the pictures (numbers in the set, each of another content) and embeds those that are sound. */
static vm_status fill_pictures(eval_vectors *v, int n, const int64_t *number, vm_error *e) {
    vm_image im[SLICE] = { { 0 } };
    vm_error bad[SLICE] = { { 0 } };
    const vm_image *sound[SLICE];
    int64_t content[SLICE], m = 0;
    float *out = vm_alloc((size_t)(SLICE * v->dim) * sizeof *out + 1);
    if (!out) return vm_nomem(e, (size_t)(SLICE * v->dim) * sizeof *out, "vectors of pictures");
#pragma omp parallel for schedule(dynamic)
    for (int k = 0; k < n; k++) image_read(&im[k], keymap_at(&v->set->images, number[k], NULL), &v->decode, &bad[k]);
    for (int k = 0; k < n; k++) {
        int64_t c = v->content[number[k]];
        v->state[c] = bad[k].status ? BROKEN : READY;
        if (bad[k].status == VM_EDEVICE) *e = bad[k]; /* memory, not the picture */
        if (bad[k].status) blame(v, number[k], bad[k].msg);
        else sound[m] = &im[k], content[m++] = c;
    }
    if (!e->status && v->dim && m && !embedder_images(v->m->x, m, sound, out, e))
        for (int64_t k = 0; k < m; k++)
            memcpy(v->vector + content[k] * v->dim, out + k * v->dim, (size_t)v->dim * sizeof *out);
    for (int k = 0; k < n; k++) image_free(&im[k]);
    vm_free(out);
    return e->status;
}

static vm_status fill_captions(eval_vectors *v, int n, const int64_t *number, vm_error *e) {
    const char *text[SLICE];
    float *out = vm_alloc((size_t)(SLICE * v->dim) * sizeof *out + 1);
    if (!out) return vm_nomem(e, (size_t)(SLICE * v->dim) * sizeof *out, "vectors of captions");
    for (int k = 0; k < n; k++) text[k] = keymap_at(&v->set->captions, number[k], NULL);
    if (n && !embedder_texts(v->m->x, n, text, out, e))
        for (int k = 0; k < n; k++)
            memcpy(v->caption + number[k] * v->dim, out + k * v->dim, (size_t)v->dim * sizeof *out);
    vm_free(out);
    return e->status;
}

vm_status eval_vectors_fill(eval_vectors *v, int64_t n, const eval_item *const *items, vm_error *e) {
    int64_t picture[SLICE], caption[SLICE];
    int n_pictures = 0, n_captions = 0;
    for (int64_t i = 0; i < n && !e->status; i++) {
        for (int k = 0; k < items[i]->n_images && !e->status; k++) {
            const char *sum;
            int64_t number = items[i]->image[k];
            if (eval_vectors_sum(v, number, &sum, e) || !sum || v->state[v->content[number]] != UNSEEN) continue;
            v->state[v->content[number]] = WAITING;
            picture[n_pictures++] = number;
            if (n_pictures == SLICE) fill_pictures(v, n_pictures, picture, e), n_pictures = 0;
        }
        for (int k = 0; k < items[i]->n_captions && v->dim && !e->status; k++) {
            int64_t number = items[i]->caption[k];
            if (v->captioned[number]) continue;
            v->captioned[number] = true;
            caption[n_captions++] = number;
            if (n_captions == SLICE) fill_captions(v, n_captions, caption, e), n_captions = 0;
        }
    }
    if (!e->status && n_pictures) fill_pictures(v, n_pictures, picture, e);
    if (!e->status && n_captions) fill_captions(v, n_captions, caption, e);
    /* other files with the content of a broken one */
    for (int64_t i = 0; i < n && !e->status; i++)
        for (int k = 0; k < items[i]->n_images; k++) {
            int64_t number = items[i]->image[k], c = v->content[number];
            if (c < 0 || v->state[c] != BROKEN || v->why[number] >= 0) continue;
            vm_error bad = { 0 };
            vm_image im = { 0 };
            image_read(&im, keymap_at(&v->set->images, number, NULL), &v->decode, &bad);
            image_free(&im);
            blame(v, number, bad.status ? bad.msg : "the picture changed while it was read");
        }
    return e->status;
}

float eval_vectors_score(const eval_vectors *v, const eval_item *x, int caption, int image) {
    if (!v->dim) return eval_model_score(v->m, eval_split_name(v->set, x->split), x->id, caption, image);
    const float *t = v->caption + x->caption[caption] * v->dim, *p = v->vector + v->content[x->image[image]] * v->dim;
    double sum = 0;
    for (int64_t k = 0; k < v->dim; k++) sum += (double)t[k] * (double)p[k];
    return (float)sum;
}
