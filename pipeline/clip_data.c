/* clip_data.c - batches from a source: pixels, token ids, the rows that the text tower needs. */
#include "pipeline/clip_data.h"

#include <string.h>

enum { TEXT_STEP = 8 };

vm_status clip_batch_new(clip_batch *b, const clip_source *s, vm_error *e) {
    int64_t n = s->n_orig + s->n_twins, S = s->c->image_size, L = s->c->context;
    *b = (clip_batch){ .n_orig = s->n_orig, .n_twins = s->n_twins };
    b->pixels = vm_calloc((size_t)(n * S * S * 3), sizeof *b->pixels);
    b->ids = vm_calloc((size_t)(n * L), sizeof *b->ids);
    b->mask = vm_calloc((size_t)(n * L), sizeof *b->mask);
    b->at = vm_calloc((size_t)n, sizeof *b->at);
    if (b->pixels && b->ids && b->mask && b->at) return VM_OK;
    clip_batch_free(b);
    return vm_nomem(e, (size_t)(n * S * S * 3) * sizeof(float), "a batch");
}

void clip_batch_free(clip_batch *b) {
    vm_free(b->pixels), vm_free(b->ids), vm_free(b->mask), vm_free(b->at);
    *b = (clip_batch){ 0 };
}

vm_status clip_batch_fill(clip_batch *b, clip_source *s, int64_t step, vm_error *e) {
    int64_t n = s->n_orig + s->n_twins, L = s->c->context;
    char(*texts)[512] = vm_calloc((size_t)n, sizeof *texts);
    tok_ids one = { 0 };
    if (!texts) return vm_nomem(e, (size_t)n * sizeof *texts, "captions");
    if (s->fill(s, step, b->pixels, texts, e)) goto done;
    for (int64_t k = 0; k < n * L; k++) b->ids[k] = (int32_t)VM_MAX(s->c->pad, (int64_t)0);
    for (int64_t k = 0; k < n; k++) {
        if (tok_encode(s->t, texts[k], strlen(texts[k]), 0, L, &one, e)) goto done;
        memcpy(b->ids + k * L, one.id, (size_t)one.n * sizeof *b->ids);
    }
    b->T = clip_text_rows(s->c, n, L, b->ids, NULL, b->at, b->mask);
    b->T = VM_MIN(L, (b->T + TEXT_STEP - 1) / TEXT_STEP * TEXT_STEP);
    for (int64_t k = 0; k < n; k++) {
        memmove(b->ids + k * b->T, b->ids + k * L, (size_t)b->T * sizeof *b->ids);
        memmove(b->mask + k * b->T, b->mask + k * L, (size_t)b->T * sizeof *b->mask);
    }
done:
    tok_ids_free(&one);
    vm_free(texts);
    return e->status;
}
