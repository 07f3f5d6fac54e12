/* clip_data.c - batches from a source: pixels, token ids, the rows that the text tower needs. */
#include "pipeline/clip_data.h"

vm_status clip_batch_new(clip_batch *b, const clip_source *s, vm_error *e) {
    int64_t n = s->n_orig + s->n_twins, S = s->m->image_size, L = s->m->context;
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
    int64_t n = s->n_orig + s->n_twins;
    char(*texts)[512] = vm_calloc((size_t)n, sizeof *texts);
    const char **each = vm_alloc((size_t)n * sizeof *each);
    if (!texts || !each) vm_nomem(e, (size_t)n * sizeof *texts, "captions");
    for (int64_t k = 0; k < n && !e->status; k++) each[k] = texts[k];
    if (!e->status && !s->fill(s, step, b->pixels, texts, e)) towers_encode(s->m, s->t, n, n, each, b->ids, b->at, b->mask, &b->T, e);
    vm_free(each);
    vm_free(texts);
    return e->status;
}
