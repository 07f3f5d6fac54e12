/* eval_vectors.c - see eval_vectors.h. */
#include "pipeline/eval_vectors.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/hash.h"
#include "io/progress.h"
#include "io/resize.h"
#include "pipeline/eval_pairs.h"
#include "pipeline/run.h"

enum { SLICE = 32, SUM = 32 }; /* pictures decoded at a time; digits of the sum of a file */

enum { UNSEEN, WAITING, READY, BROKEN };  /* a content */
enum { UNHASHED = -1, UNREADABLE = -2 }; /* a picture, in place of the number of its content */

struct eval_vectors {
    const eval_set *set;
    const eval_model *m;
    embed_cache *cache;      /* NULL = none */
    image_options decode;
    const char *template;    /* of captions; NULL = as they are */
    int64_t dim;
    int64_t *content;        /* of each picture of the set: number in contents, UNHASHED or UNREADABLE */
    keymap contents;         /* sum of the file, and its box when it has one */
    keymap files, reasons;   /* paths */
    int64_t *sum_of;         /* of each of files: number in sums, UNREADABLE */
    keymap sums;
    uint8_t *state;          /* of each content */
    float *vector;           /* [contents][dim] */
    int64_t *why;            /* of each picture that is unreadable or broken: number in reasons, else -1 */
    bool *captioned, *cut;   /* of each caption: embedded? longer than the model takes? */
    float *caption;          /* [captions][dim] */
    int64_t cap_state, cap_vector, cap_sum;
    eval_pairs *pairs;       /* of a model that reads pairs; NULL = it has vectors, or scores of its own */
    int64_t empty_boxes;
};

vm_status eval_vectors_new(eval_vectors **out, const eval_set *set, const eval_model *m, const eval_options *o,
                           const char *template, vm_error *e) {
    eval_vectors *v = vm_calloc(1, sizeof *v);
    size_t images = (size_t)set->images.n + 1, captions = (size_t)set->captions.n + 1, bytes;
    *out = NULL;
    if (!v) return vm_nomem(e, sizeof *v, "vectors");
    v->set = set, v->m = m, v->dim = eval_model_dim(m), v->template = template, v->cache = o->cache;
    v->decode = (image_options){ .stored_orientation = !o->exif_rotate, .tolerant = o->allow_truncated,
                                 .alpha = o->alpha, .max_pixels = o->max_pixels };
    v->content = vm_alloc(images * sizeof *v->content), v->why = vm_alloc(images * sizeof *v->why);
    v->captioned = vm_calloc(captions, sizeof *v->captioned), v->cut = vm_calloc(captions, sizeof *v->cut);
    if (vm_mul_sz(captions, (size_t)v->dim * sizeof *v->caption + 1, &bytes)) v->caption = vm_alloc(bytes);
    if (!v->content || !v->why || !v->captioned || !v->cut || !v->caption) {
        vm_nomem(e, captions * (size_t)v->dim * sizeof *v->caption, "vectors");
        eval_vectors_free(v);
        return e->status;
    }
    for (size_t i = 0; i < images; i++) v->content[i] = UNHASHED, v->why[i] = -1;
    if (m && eval_model_row_floats(m) && eval_pairs_new(&v->pairs, set, m, template, e)) {
        eval_vectors_free(v);
        return e->status;
    }
    *out = v;
    return VM_OK;
}

void eval_vectors_free(eval_vectors *v) {
    if (!v) return;
    keymap_free(&v->contents), keymap_free(&v->reasons), keymap_free(&v->files), keymap_free(&v->sums);
    eval_pairs_free(v->pairs);
    vm_free(v->sum_of);
    vm_free(v->content), vm_free(v->state), vm_free(v->vector), vm_free(v->why), vm_free(v->captioned), vm_free(v->cut),
        vm_free(v->caption);
    vm_free(v);
}

static void blame(eval_vectors *v, int64_t i, const char *why) {
    if (v->why[i] < 0) v->why[i] = keymap_put_text(&v->reasons, why);
}

const char *eval_vectors_fault(const eval_vectors *v, int64_t i) {
    return v->why[i] < 0 ? NULL : keymap_at(&v->reasons, v->why[i], NULL);
}

/* The number of the sum of a file, UNREADABLE when it cannot be read (*bad says why). */
static vm_status sum_file(eval_vectors *v, const char *path, int64_t *out, vm_error *bad, vm_error *e) {
    char hex[65];
    int64_t before = v->files.n, i = keymap_put_text(&v->files, path);
    if (i < 0 || !vm_grow(&v->sum_of, &v->cap_sum, i + 1, sizeof *v->sum_of)) return vm_nomem(e, 256, "sums of pictures");
    if (i == before || v->sum_of[i] < 0) { /* a new one, or one whose error is asked for again */
        v->sum_of[i] = sha256_file(hex, path, bad) ? UNREADABLE : keymap_put(&v->sums, hex, SUM);
        if (!bad->status && v->sum_of[i] < 0) return vm_nomem(e, 256, "sums of pictures");
    }
    *out = v->sum_of[i];
    return VM_OK;
}

vm_status eval_vectors_sum(eval_vectors *v, int64_t i, const char **sum, vm_error *e) {
    if (v->content[i] == UNHASHED) {
        eval_picture p = eval_picture_at(v->set, i);
        vm_error bad = { 0 };
        int64_t before = v->contents.n, c = UNREADABLE, file = UNREADABLE;
        char key[SUM + 64];
        if (v->set->no_media) { /* its name stands for what is in it, and nobody embeds it */
            v->content[i] = keymap_put_text(&v->contents, p.path);
            if (v->content[i] < 0 || !vm_grow(&v->state, &v->cap_state, v->contents.n, sizeof *v->state))
                return vm_nomem(e, 256, "names of pictures");
            v->state[v->content[i]] = READY;
            *sum = p.path;
            return VM_OK;
        }
        if (sum_file(v, p.path, &file, &bad, e)) return e->status;
        if (file < 0) {
            blame(v, i, bad.msg);
        } else {
            int n = snprintf(key, sizeof key, "%s", keymap_at(&v->sums, file, NULL));
            if (p.boxed)
                n += snprintf(key + n, sizeof key - (size_t)n, " %d %d %d %d", p.box[0], p.box[1], p.box[2], p.box[3]);
            if ((c = keymap_put(&v->contents, key, (size_t)n)) < 0 ||
                !vm_grow(&v->state, &v->cap_state, v->contents.n, sizeof *v->state) ||
                !vm_grow(&v->vector, &v->cap_vector, v->contents.n, (size_t)v->dim * sizeof *v->vector + 1))
                return vm_nomem(e, (size_t)v->dim * sizeof *v->vector, "vectors of pictures");
        }
        if (v->contents.n > before) v->state[c] = UNSEEN;
        v->content[i] = c;
    }
    *sum = v->content[i] < 0 ? NULL : keymap_at(&v->contents, v->content[i], NULL);
    return VM_OK;
}

/* Reads a picture, and of a boxed one its part; false when nothing of the box is in it. */
static bool read_picture(const eval_vectors *v, vm_image *im, int64_t number, vm_error *e) {
    eval_picture p = eval_picture_at(v->set, number);
    bool inside = true;
    if (!image_read(im, p.path, &v->decode, e) && p.boxed) image_crop_to(im, p.box, &inside, e);
    return inside;
}

/* A vector without length has no direction: its cosines are no numbers. */
static void check_length(float *x, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += (double)x[k] * (double)x[k];
    if (!(sum > 0.25)) x[0] = NAN;
}

/* Is the file still what its sum says? Only then may the vector be kept for others. */
static bool unchanged(const eval_vectors *v, int64_t number) {
    vm_error gone = { 0 };
    char hex[65];
    return !sha256_file(hex, eval_picture_at(v->set, number).path, &gone) &&
           !memcmp(hex, keymap_at(&v->contents, v->content[number], NULL), SUM);
}

/* Decodes the pictures (numbers in the set, each of another content) and embeds those that are sound. */
static vm_status fill_pictures(eval_vectors *v, int n, const int64_t *number, vm_error *e) {
    vm_image im[SLICE] = { { 0 } };
    vm_error bad[SLICE] = { { 0 } };
    bool in_box[SLICE];
    const vm_image *sound[SLICE];
    int64_t from[SLICE], content[SLICE], m = 0;
    float *out = vm_alloc((size_t)(SLICE * v->dim) * sizeof *out + 1);
    if (!out) return vm_nomem(e, (size_t)(SLICE * v->dim) * sizeof *out, "vectors of pictures");
#pragma omp parallel for schedule(dynamic)
    for (int k = 0; k < n; k++) in_box[k] = read_picture(v, &im[k], number[k], &bad[k]);
    for (int k = 0; k < n; k++) {
        int64_t c = v->content[number[k]];
        v->state[c] = bad[k].status ? BROKEN : READY, v->empty_boxes += !in_box[k];
        if (bad[k].status == VM_EDEVICE) *e = bad[k]; /* memory, not the picture */
        if (bad[k].status) blame(v, number[k], bad[k].msg);
        else sound[m] = &im[k], from[m] = number[k], content[m++] = c;
    }
    if (!e->status && v->pairs && m) eval_pairs_put(v->pairs, m, sound, content, e);
    if (!e->status && v->dim && m && !eval_model_embed_images(v->m, m, sound, out, e))
        for (int64_t k = 0; k < m; k++) {
            int64_t c = v->content[from[k]];
            check_length(out + k * v->dim, v->dim);
            memcpy(v->vector + c * v->dim, out + k * v->dim, (size_t)v->dim * sizeof *out);
            if (v->cache && unchanged(v, from[k])) {
                embed_key key = embed_key_picture(keymap_at(&v->contents, c, NULL), &v->decode);
                embed_cache_put(v->cache, &key, out + k * v->dim);
            }
        }
    for (int k = 0; k < n; k++) image_free(&im[k]);
    vm_free(out);
    return e->status;
}

char *eval_caption_text(const char *template, const char *caption) {
    const char *at = template ? strstr(template, "{}") : NULL;
    return at ? vm_asprintf("%.*s%s%s", (int)(at - template), template, caption, at + 2) : vm_strdup(caption);
}

/* The text of a caption as the model reads it; *made is vm_free. */
static const char *caption_text(const eval_vectors *v, int64_t number, char **made, vm_error *e) {
    const char *text = keymap_at(&v->set->captions, number, NULL);
    *made = NULL;
    if (!v->template) return text;
    if (!(*made = eval_caption_text(v->template, text))) vm_nomem(e, 256, "a caption");
    return *made;
}

static vm_status fill_captions(eval_vectors *v, int n, const int64_t *number, vm_error *e) {
    char *made[SLICE] = { 0 };
    const char *text[SLICE];
    bool cut[SLICE];
    float *out = vm_alloc((size_t)(SLICE * v->dim) * sizeof *out + 1);
    if (!out) vm_nomem(e, (size_t)(SLICE * v->dim) * sizeof *out, "vectors of captions");
    for (int k = 0; k < n && !e->status; k++) text[k] = caption_text(v, number[k], &made[k], e);
    if (!e->status && n && !eval_model_embed_texts(v->m, n, text, out, cut, e))
        for (int k = 0; k < n; k++) {
            embed_key key = embed_key_text(text[k]);
            check_length(out + k * v->dim, v->dim);
            memcpy(v->caption + number[k] * v->dim, out + k * v->dim, (size_t)v->dim * sizeof *out);
            v->cut[number[k]] = cut[k];
            embed_cache_put(v->cache, &key, out + k * v->dim);
        }
    for (int k = 0; k < n; k++) vm_free(made[k]);
    vm_free(out);
    return e->status;
}

/* Takes the vector of a picture, a caption, from the cache. */
static bool picture_is_kept(eval_vectors *v, int64_t number) {
    int64_t c = v->content[number];
    if (!v->cache || !v->dim) return false;
    embed_key key = embed_key_picture(keymap_at(&v->contents, c, NULL), &v->decode);
    if (!embed_cache_get(v->cache, &key, v->vector + c * v->dim)) return false;
    v->state[c] = READY;
    return true;
}

static bool caption_is_kept(eval_vectors *v, int64_t number, vm_error *e) {
    char *made = NULL;
    const char *text = v->cache ? caption_text(v, number, &made, e) : NULL;
    bool kept = false;
    if (text) {
        embed_key key = embed_key_text(text);
        kept = embed_cache_get(v->cache, &key, v->caption + number * v->dim) &&
               !eval_model_cuts(v->m, text, &v->cut[number], e);
    }
    vm_free(made);
    return kept;
}

/* Other files with the content of a broken one. */
static void blame_again(eval_vectors *v, int64_t number) {
    int64_t c = v->content[number];
    vm_error bad = { 0 };
    vm_image im = { 0 };
    if (c < 0 || v->state[c] != BROKEN || v->why[number] >= 0) return;
    read_picture(v, &im, number, &bad);
    image_free(&im);
    blame(v, number, bad.status ? bad.msg : "the picture changed while it was read");
}

vm_status eval_vectors_need(eval_vectors *v, int64_t n_images, const int32_t *image, int64_t n_captions,
                            const int32_t *caption, vm_error *e) {
    int64_t todo[SLICE];
    int n = 0;
    for (int64_t i = 0; i < n_images && !e->status; i++) {
        const char *sum;
        int64_t number = image[i];
        if (eval_vectors_sum(v, number, &sum, e) || !sum || v->state[v->content[number]] != UNSEEN) continue;
        if (picture_is_kept(v, number)) continue;
        v->state[v->content[number]] = WAITING;
        todo[n++] = number;
        if (n == SLICE) fill_pictures(v, n, todo, e), n = 0;
    }
    if (!e->status && n) fill_pictures(v, n, todo, e);
    n = 0;
    for (int64_t i = 0; i < n_captions && v->dim && !e->status; i++) {
        int64_t number = caption[i];
        if (v->captioned[number]) continue;
        v->captioned[number] = true;
        if (caption_is_kept(v, number, e)) continue;
        todo[n++] = number;
        if (n == SLICE) fill_captions(v, n, todo, e), n = 0;
    }
    if (!e->status && n) fill_captions(v, n, todo, e);
    for (int64_t i = 0; i < n_images && !e->status; i++) blame_again(v, image[i]);
    return e->status;
}

/* Everything that the items pair a picture with, read while the picture is kept. */
static vm_status read_pairs(eval_vectors *v, int64_t n, const eval_item *const *items, vm_error *e) {
    int64_t total = 0, m = 0, picture[SLICE];
    for (int64_t i = 0; i < n; i++) total += eval_n_scores(items[i]);
    eval_pair *pairs = vm_alloc((size_t)total * sizeof *pairs + 1);
    int64_t *number = vm_alloc((size_t)total * sizeof *number + 1); /* of a picture with the content of the pair */
    if (!pairs || !number) vm_nomem(e, (size_t)total * sizeof *pairs, "a list of pairs");
    for (int64_t i = 0; i < n && !e->status; i++)
        for (int k = 0; k < eval_n_scores(items[i]) && !e->status; k++) {
            const char *sum;
            int64_t image = eval_image_number(v->set, items[i], k % items[i]->n_images);
            if (eval_vectors_sum(v, image, &sum, e) || !sum) continue;
            number[m] = image;
            pairs[m++] = (eval_pair){ v->content[image], eval_caption_number(v->set, items[i], k / items[i]->n_images), items[i]->at + k };
        }
    for (int64_t i = 0; i < m; i++) /* what is kept from earlier comes first, before it makes room */
        if (eval_pairs_keeps(v->pairs, pairs[i].content) && v->state[pairs[i].content] == READY && !e->status) {
            v->state[pairs[i].content] = WAITING;
            eval_pairs_read(v->pairs, pairs[i].content, m, pairs, e);
        }
    for (int64_t i = 0; i < m && !e->status;) {
        int filled = 0;
        for (; i < m && filled < SLICE; i++) {
            int64_t c = pairs[i].content;
            if (v->state[c] == WAITING || v->state[c] == BROKEN) continue;
            v->state[c] = WAITING, picture[filled++] = number[i];
        }
        if (filled) fill_pictures(v, filled, picture, e);
        for (int k = 0; k < filled && !e->status; k++) {
            int64_t c = v->content[picture[k]];
            if (v->state[c] == BROKEN) continue;
            eval_pairs_read(v->pairs, c, m, pairs, e);
            v->state[c] = WAITING; /* done, until the next items */
        }
    }
    for (int64_t i = 0; i < m; i++)
        if (v->state[pairs[i].content] == WAITING) v->state[pairs[i].content] = READY;
    for (int64_t i = 0; i < n && !e->status; i++)
        for (int k = 0; k < items[i]->n_images; k++) blame_again(v, eval_image_number(v->set, items[i], k));
    vm_free(pairs), vm_free(number);
    return e->status;
}

vm_status eval_vectors_fill(eval_vectors *v, int64_t n, const eval_item *const *items, vm_error *e) {
    if (v->pairs) return read_pairs(v, n, items, e);
    int64_t n_images = 0, n_captions = 0;
    for (int64_t i = 0; i < n; i++) n_images += items[i]->n_images, n_captions += items[i]->n_captions;
    int32_t *number = vm_alloc((size_t)(n_images + n_captions) * sizeof *number + 1), *image = number,
            *caption = number + n_images;
    if (!number) return vm_nomem(e, (size_t)(n_images + n_captions) * sizeof *number, "a list of items");
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < items[i]->n_images; k++) *image++ = eval_image_number(v->set, items[i], k);
        for (int k = 0; k < items[i]->n_captions; k++) *caption++ = eval_caption_number(v->set, items[i], k);
    }
    eval_vectors_need(v, n_images, number, n_captions, number + n_images, e);
    vm_free(number);
    return e->status;
}

vm_status eval_vectors_all(eval_vectors *v, const char *what, vm_error *e) {
    const int64_t images = v->set->images.n, captions = v->set->captions.n;
    progress *bar = progress_start(what, images + captions, "pictures and texts");
    int32_t number[2 * SLICE];
    int64_t at = 0;
    while (at < images + captions && !e->status && !run_stopping()) {
        int64_t first = at < images ? at : at - images, n = VM_MIN((int64_t)VM_LEN(number), (at < images ? images : captions) - first);
        for (int64_t k = 0; k < n; k++) number[k] = (int32_t)(first + k);
        if (at < images) eval_vectors_need(v, n, number, 0, NULL, e);
        else eval_vectors_need(v, 0, NULL, n, number, e);
        at += n;
        progress_add(bar, n);
    }
    progress_end(bar);
    if (!e->status && at < images + captions)
        vm_fail(e, VM_ESTOP, "stopped after %" PRId64 " of %" PRId64 " pictures and texts%s", at, images + captions,
                v->cache ? "; the same command finds them in the cache" : "; with --embed-cache nothing is computed twice");
    return e->status;
}

int64_t eval_vectors_content(const eval_vectors *v, int64_t i) { return v->content[i]; }

const float *eval_vectors_contents(const eval_vectors *v, int64_t *contents) {
    *contents = v->contents.n;
    return v->vector;
}

const float *eval_vectors_image(const eval_vectors *v, int64_t i) {
    return v->why[i] >= 0 ? NULL : v->vector + v->content[i] * v->dim;
}

const float *eval_vectors_caption(const eval_vectors *v, int64_t i) { return v->caption + i * v->dim; }

float eval_vectors_score(const eval_vectors *v, const eval_item *x, int caption, int image) {
    int k = caption * x->n_images + image;
    if (v->pairs) return eval_pairs_score(v->pairs, x->at + k);
    if (!v->dim)
        return eval_model_score(v->m, eval_split_name(v->set, x->split), x->id, k,
                                x->kind == EVAL_PAIR ? caption == image : k == x->gold);
    const float *t = eval_vectors_caption(v, eval_caption_number(v->set, x, caption)),
                *p = eval_vectors_image(v, eval_image_number(v->set, x, image));
    double sum = 0;
    for (int64_t i = 0; i < v->dim; i++) sum += (double)t[i] * (double)p[i];
    return (float)sum;
}

bool eval_vectors_truncated(const eval_vectors *v, const eval_item *x) {
    for (int k = 0; k < x->n_captions; k++) {
        int64_t number = eval_caption_number(v->set, x, k);
        if (v->pairs ? eval_pairs_cut(v->pairs, number) : v->cut[number]) return true;
    }
    return false;
}

int64_t eval_vectors_empty_boxes(const eval_vectors *v) { return v->empty_boxes; }
