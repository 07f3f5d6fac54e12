/* detect_batch.c - samples of detect_data.h: what is done to them, and batches made of them. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "kernels/philox.h"
#include "pipeline/detect_data.h"

/* --- samples -------------------------------------------------------------------------------------------------------- */
void detect_sample_free(detect_sample *s) {
    image_free(&s->rgb);
    for (int64_t k = 0; k < s->phrases; k++) vm_free(s->phrase[k]);
    vm_free(s->phrase), vm_free(s->label), vm_free(s->box);
    *s = (detect_sample){ 0 };
}

vm_status detect_sample_ask(detect_sample *s, const char *phrase, vm_error *e) {
    char **all = vm_realloc(s->phrase, (size_t)(s->phrases + 1) * sizeof *all), *text = NULL;
    if (all) s->phrase = all;
    if (!all || !(text = vm_strdup(phrase))) return vm_nomem(e, 256, "a phrase");
    for (char *p = text; *p; p++)
        if (*p == '.' || *p == '?') *p = ' '; /* they end a phrase */
    s->phrase[s->phrases++] = text;
    return VM_OK;
}

vm_status detect_sample_add(detect_sample *s, int32_t label, const float box[4], vm_error *e) {
    int32_t *labels = vm_realloc(s->label, (size_t)(s->n + 1) * sizeof *labels);
    if (labels) s->label = labels;
    float *boxes = labels ? vm_realloc(s->box, (size_t)(s->n + 1) * 4 * sizeof *boxes) : NULL;
    if (!boxes) return vm_nomem(e, (size_t)s->n * 4 * sizeof *boxes, "boxes");
    s->box = boxes, s->label[s->n] = label;
    memcpy(s->box + 4 * s->n++, box, 4 * sizeof *box);
    return VM_OK;
}

/* --- what is done to a picture -------------------------------------------------------------------------------------- */
static bool has_word(const char *text, const char *word) {
    const size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p++)
        if ((p == text || !isalpha((unsigned char)p[-1])) && !isalpha((unsigned char)p[n])) return true;
    return false;
}

static bool has_sides(const detect_sample *s) {
    for (int64_t k = 0; k < s->phrases; k++)
        if (has_word(s->phrase[k], "left") || has_word(s->phrase[k], "right")) return true;
    return false;
}

static void flip(detect_sample *s) {
    vm_image *im = &s->rgb;
    for (int y = 0; y < im->h; y++) {
        uint8_t *row = im->px + (size_t)y * (size_t)im->w * 3;
        for (int a = 0, b = im->w - 1; a < b; a++, b--)
            for (int c = 0; c < 3; c++) {
                const uint8_t x = row[3 * a + c];
                row[3 * a + c] = row[3 * b + c], row[3 * b + c] = x;
            }
    }
    for (int64_t i = 0; i < s->n; i++) {
        float *b = s->box + 4 * i, left = (float)im->w - b[2];
        b[2] = (float)im->w - b[0], b[0] = left;
    }
}

/* A part of at least 60 % of each side around the middle of a box; boxes whose middle lies outside go, the others are cut. */
static vm_status crop(detect_sample *s, vm_rng *r, vm_error *e) {
    const int w = s->rgb.w, h = s->rgb.h, cw = VM_MAX((int)((double)w * (0.6 + 0.4 * vm_rng_f64(r))), 1), ch = VM_MAX((int)((double)h * (0.6 + 0.4 * vm_rng_f64(r))), 1);
    const float *b = s->n ? s->box + 4 * vm_rng_below(r, (uint32_t)s->n) : (float[]){ 0, 0, (float)w, (float)h };
    const int mx = VM_MIN((int)((b[0] + b[2]) / 2), w - 1), my = VM_MIN((int)((b[1] + b[3]) / 2), h - 1);
    const int x_low = VM_MAX(mx - cw + 1, 0), x_high = VM_MIN(mx, w - cw), y_low = VM_MAX(my - ch + 1, 0), y_high = VM_MIN(my, h - ch);
    const int x = x_low + (int)vm_rng_below(r, (uint32_t)(x_high - x_low + 1)), y = y_low + (int)vm_rng_below(r, (uint32_t)(y_high - y_low + 1));
    int64_t kept = 0;
    vm_image part;
    if (image_new(&part, cw, ch, 3, e)) return e->status;
    for (int k = 0; k < ch; k++) memcpy(part.px + (size_t)k * (size_t)cw * 3, s->rgb.px + ((size_t)(y + k) * (size_t)w + (size_t)x) * 3, (size_t)cw * 3);
    image_free(&s->rgb);
    s->rgb = part;
    for (int64_t i = 0; i < s->n; i++) {
        const float *from = s->box + 4 * i, cx = (from[0] + from[2]) / 2 - (float)x, cy = (from[1] + from[3]) / 2 - (float)y;
        float to[4];
        if (cx < 0 || cx >= (float)cw || cy < 0 || cy >= (float)ch) continue;
        for (int k = 0; k < 4; k++) to[k] = fminf(fmaxf(from[k] - (float)(k % 2 ? y : x), 0), (float)(k % 2 ? ch : cw));
        memcpy(s->box + 4 * kept, to, sizeof to), s->label[kept++] = s->label[i];
    }
    s->n = kept;
    return VM_OK;
}

enum { STREAM_AUGMENT = 3, STREAM_SCALE = 4 };

vm_status detect_augment_sample(detect_sample *s, const detect_augment *a, uint64_t seed, uint64_t step, uint64_t slot, vm_error *e) {
    vm_rng r = vm_rng_at(seed, (step << 20 | slot) << 8 | STREAM_AUGMENT);
    const bool turn = vm_rng_f64(&r) < a->flip, cut = vm_rng_f64(&r) < a->crop;
    for (int64_t k = s->phrases; k-- > 1;) { /* another order of phrases */
        const int64_t j = vm_rng_below(&r, (uint32_t)k + 1);
        char *text = s->phrase[k];
        s->phrase[k] = s->phrase[j], s->phrase[j] = text;
        for (int64_t i = 0; i < s->n; i++) s->label[i] = s->label[i] == k ? (int32_t)j : s->label[i] == j ? (int32_t)k : s->label[i];
    }
    if (turn && !has_sides(s)) flip(s);
    return cut ? crop(s, &r, e) : VM_OK;
}

/* --- batches -------------------------------------------------------------------------------------------------------- */
/* Phrase k out, with its boxes. */
static void drop_phrase(detect_sample *s, int64_t k) {
    int64_t kept = 0;
    vm_free(s->phrase[k]);
    memmove(s->phrase + k, s->phrase + k + 1, (size_t)(--s->phrases - k) * sizeof *s->phrase);
    for (int64_t i = 0; i < s->n; i++) {
        if (s->label[i] == k) continue;
        memmove(s->box + 4 * kept, s->box + 4 * i, 4 * sizeof *s->box);
        s->label[kept++] = s->label[i] - (s->label[i] > k);
    }
    s->n = kept;
}

static int64_t least_needed(const detect_sample *s) { /* the last absent phrase, else the last */
    for (int64_t k = s->phrases; k-- > 0;) {
        bool present = false;
        for (int64_t i = 0; i < s->n; i++) present |= s->label[i] == k;
        if (!present) return k;
    }
    return s->phrases - 1;
}

/* The tokens of "a cat. a dog.", at most text_len. */
static vm_status encode(detect_sample *s, tok *t, int64_t text_len, tok_ids *ids, vm_error *e) {
    for (;;) {
        char *text = vm_strdup("");
        for (int64_t k = 0; k < s->phrases && text; k++) {
            char *more = vm_asprintf("%s%s%s.", text, k ? " " : "", s->phrase[k]);
            vm_free(text);
            text = more;
        }
        for (char *p = text; p && *p; p++) *p = (char)tolower((unsigned char)*p);
        if (!text) return vm_nomem(e, 1024, "a text");
        const vm_status st = tok_encode(t, text, strlen(text), 0, 0, ids, e);
        vm_free(text);
        if (st || ids->n <= text_len) break;
        if (s->phrases == 1) return vm_fail(e, VM_EINPUT, "\"%.80s\" is longer than the model reads", s->phrase[0]);
        drop_phrase(s, least_needed(s));
    }
    int32_t *label = vm_alloc((size_t)ids->n * sizeof *label + 1);
    if (!label) return vm_nomem(e, (size_t)ids->n * sizeof *label, "a text");
    const int64_t phrases = e->status ? 0 : gdino_labels(ids->id, ids->n, label);
    vm_free(label);
    if (!e->status && phrases != s->phrases)
        vm_fail(e, VM_EINPUT, "%lld phrases from \"%.80s\" on are %lld to the tokenizer", (long long)s->phrases, s->phrase[0], (long long)phrases);
    return e->status;
}

static vm_status set_target(gdino_target *t, const detect_sample *s, vm_error *e) {
    int32_t *label = vm_alloc((size_t)s->n * sizeof *label + 1);
    float *box = vm_alloc((size_t)s->n * 4 * sizeof *box + 1), w = (float)s->rgb.w, h = (float)s->rgb.h;
    *t = (gdino_target){ s->n, label, box };
    if (!label || !box) return vm_nomem(e, (size_t)s->n * 4 * sizeof *box, "boxes");
    for (int64_t i = 0; i < s->n; i++) {
        const float *b = s->box + 4 * i;
        label[i] = s->label[i];
        box[4 * i] = (b[0] + b[2]) / 2 / w, box[4 * i + 1] = (b[1] + b[3]) / 2 / h, box[4 * i + 2] = (b[2] - b[0]) / w, box[4 * i + 3] = (b[3] - b[1]) / h;
    }
    return VM_OK;
}

enum { TOKENS = 8 }; /* texts are filled up to a multiple, so that fewer plans are made */

/* Fitted pictures and texts side by side, filled up to the largest. */
static vm_status assemble(detect_batch *out, const vm_image *fitted, const tok_ids *ids, const vm_preprocess *pp, int64_t text_len, vm_error *e) {
    gdino_batch *b = &out->b;
    bool same = true;
    for (int64_t k = 0; k < b->B; k++) {
        b->H = VM_MAX(b->H, fitted[k].h), b->W = VM_MAX(b->W, fitted[k].w), b->T = VM_MAX(b->T, ids[k].n);
        same &= fitted[k].h == fitted[0].h && fitted[k].w == fitted[0].w;
    }
    b->T = VM_MIN((b->T + TOKENS - 1) / TOKENS * TOKENS, text_len);
    const int64_t HW = b->H * b->W;
    float *pixels = vm_calloc((size_t)(b->B * HW * 3) + 1, sizeof *pixels);
    int32_t *real = same ? NULL : vm_calloc((size_t)(b->B * HW) + 1, sizeof *real), *text = vm_calloc((size_t)(2 * b->B * b->T) + 1, sizeof *text);
    b->pixels = pixels, b->real = real, b->ids = text;
    if (!pixels || (!same && !real) || !text) return vm_nomem(e, (size_t)(b->B * HW * 3) * sizeof *pixels, "a batch");
    int32_t *mask = text + b->B * b->T;
    b->mask = mask;
    for (int64_t k = 0; k < b->B; k++) {
        preprocess_hwc(pixels + k * HW * 3, b->W * 3, pp, &fitted[k]);
        for (int64_t y = 0; y < fitted[k].h && real; y++)
            for (int64_t x = 0; x < fitted[k].w; x++) real[k * HW + y * b->W + x] = 1;
        memcpy(text + k * b->T, ids[k].id, (size_t)ids[k].n * sizeof *text);
        for (int64_t i = 0; i < ids[k].n; i++) mask[k * b->T + i] = 1;
    }
    return VM_OK;
}

vm_status detect_batch_make(detect_batch *out, const detect_source *s, const detect_augment *a, const vm_preprocess *pp, tok *t, int64_t text_len,
                            int64_t step, vm_error *e) {
    const int64_t B = s->batch;
    vm_preprocess fit = *pp;
    vm_rng r = vm_rng_at(s->seed, (uint64_t)step << 8 | STREAM_SCALE);
    vm_image *fitted = vm_calloc((size_t)B, sizeof *fitted);
    tok_ids *ids = vm_calloc((size_t)B, sizeof *ids);
    *out = (detect_batch){ .b.B = B, .target = vm_calloc((size_t)B, sizeof *out->target), .sample = vm_calloc((size_t)B, sizeof *out->sample) };
    if (a->n_scales) fit.shortest = a->scales[vm_rng_below(&r, (uint32_t)a->n_scales)];
    if (!fitted || !ids || !out->target || !out->sample) vm_nomem(e, (size_t)B * sizeof *fitted, "a batch");
    for (int64_t k = 0; k < B && !e->status; k++) {
        detect_sample x = { 0 };
        if (!s->sample(s, step, k, &x, &out->bad, e) && !detect_augment_sample(&x, a, s->seed, (uint64_t)step, (uint64_t)k, e) &&
            !encode(&x, t, text_len, &ids[k], e) && !preprocess_fit_image(&fitted[k], &fit, &x.rgb, e))
            set_target(&out->target[k], &x, e);
        out->sample[k] = x.id;
        detect_sample_free(&x);
    }
    if (!e->status) assemble(out, fitted, ids, &fit, text_len, e);
    for (int64_t k = 0; k < B && fitted; k++) image_free(&fitted[k]);
    for (int64_t k = 0; k < B && ids; k++) tok_ids_free(&ids[k]);
    vm_free(fitted), vm_free(ids);
    return e->status;
}

void detect_batch_free(detect_batch *b) {
    for (int64_t k = 0; k < b->b.B && b->target; k++) vm_free((void *)(uintptr_t)b->target[k].label), vm_free((void *)(uintptr_t)b->target[k].box);
    vm_free((void *)(uintptr_t)b->b.pixels), vm_free((void *)(uintptr_t)b->b.real), vm_free((void *)(uintptr_t)b->b.ids);
    vm_free(b->target), vm_free(b->sample);
    clip_bad_free(&b->bad);
    *b = (detect_batch){ 0 };
}
