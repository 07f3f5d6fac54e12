/* clip_data.c - batches from a source: pixels, token ids, the rows that the text tower needs. */
#include "pipeline/clip_data.h"

#include <string.h>

static int64_t changes(const clip_source *s) { return VM_MAX(s->K, (int64_t)1); }

int64_t clip_share_slot(const clip_source *s, int64_t i) {
    int64_t R = clip_source_ranks(s), with = s->n_twins / changes(s), mine = with / R;
    return i < mine ? s->rank * mine + i : with + s->rank * ((s->n_orig - with) / R) + i - mine;
}

vm_status clip_source_share(clip_source *s, int rank, int ranks, vm_error *e) {
    int64_t with = s->n_twins / changes(s), rest = s->n_orig - with;
    if (with % ranks || rest % ranks)
        return vm_fail(e, VM_EUSAGE, "%lld originals with changes and %lld without cannot be divided among %d processes; choose another --batch",
                       (long long)with, (long long)rest, ranks);
    s->rank = rank, s->ranks = ranks;
    return VM_OK;
}

vm_status clip_batch_new(clip_batch *b, const clip_source *s, vm_error *e) {
    int64_t n_orig = clip_share_orig(s), n = n_orig + clip_share_twins(s), S = s->m->image_size, L = s->m->context,
            pictures = s->text_only ? n_orig : n;
    *b = (clip_batch){ .n_orig = n_orig, .n_twins = clip_share_twins(s), .K = changes(s), .text_only = s->text_only };
    b->pixels = vm_calloc((size_t)(pictures * S * S * 3), sizeof *b->pixels);
    b->ids = vm_calloc((size_t)(n * L), sizeof *b->ids);
    b->mask = vm_calloc((size_t)(n * L), sizeof *b->mask);
    b->at = vm_calloc((size_t)n, sizeof *b->at);
    if (s->fills) b->valid = vm_calloc((size_t)n, sizeof *b->valid);
    if (b->pixels && b->ids && b->mask && b->at && (b->valid || !s->fills)) return VM_OK;
    clip_batch_free(b);
    return vm_nomem(e, (size_t)(pictures * S * S * 3) * sizeof(float), "a batch");
}

void clip_batch_free(clip_batch *b) {
    vm_free(b->pixels), vm_free(b->ids), vm_free(b->mask), vm_free(b->at), vm_free(b->valid);
    *b = (clip_batch){ 0 };
}

void clip_bad_free(clip_bad_list *l) {
    for (int64_t k = 0; k < l->n; k++) vm_free(l->v[k].what);
    vm_free(l->v);
    *l = (clip_bad_list){ 0 };
}

/* Sides of slot i, and the row of side k: changes stand column by column behind the originals. */
static int64_t sides(const clip_source *s, int64_t i) { return i < clip_share_twins(s) / changes(s) ? 1 + changes(s) : 1; }
static int64_t row(const clip_source *s, int64_t i, int64_t k) {
    return k ? clip_share_orig(s) + (k - 1) * (clip_share_twins(s) / changes(s)) + i : i;
}

void clip_batch_slot(clip_slot *slot, const clip_batch *b, const clip_source *s, int64_t i) {
    int64_t px = s->m->image_size * s->m->image_size * 3;
    *slot = (clip_slot){ 0 };
    for (int64_t k = 0; k < sides(s, i); k++) {
        if (!k || !s->text_only) slot->pixels[k] = b->pixels + row(s, i, k) * px;
        slot->valid[k] = 1;
    }
}

vm_status clip_batch_finish(clip_batch *b, const clip_source *s, clip_slot *slots, vm_error *e) {
    int64_t n_orig = clip_share_orig(s), n = n_orig + clip_share_twins(s);
    const char **texts = vm_alloc((size_t)n * sizeof *texts);
    if (!texts) vm_nomem(e, (size_t)n * sizeof *texts, "captions");
    for (int64_t i = 0; texts && i < n_orig; i++)
        for (int64_t k = 0; k < sides(s, i); k++) {
            int64_t r = row(s, i, k);
            texts[r] = slots[i].text[k];
            if (k && b->valid) b->valid[r - n_orig] = slots[i].valid[k];
        }
    if (texts) towers_encode(s->m, s->t, n, n, texts, b->ids, b->at, b->mask, &b->T, e);
    vm_free(texts);
    for (int64_t i = 0; i < n_orig; i++)
        for (int k = 0; k <= CLIP_CHANGES; k++) vm_free(slots[i].text[k]), slots[i].text[k] = NULL;
    return e->status;
}

vm_status clip_batch_fill(clip_batch *b, const clip_source *s, int64_t step, clip_bad_list *bad, vm_error *e) {
    int64_t n = clip_share_orig(s);
    clip_slot *slots = vm_calloc((size_t)n, sizeof *slots);
    if (!slots) return vm_nomem(e, (size_t)n * sizeof *slots, "a batch");
    for (int64_t i = 0; i < n && !e->status; i++) {
        clip_batch_slot(&slots[i], b, s, i);
        s->fill(s, step, clip_share_slot(s, i), &slots[i], e);
        clip_bad_list *l = &slots[i].bad;
        for (int64_t k = 0; bad && k < l->n; k++) {
            if (!vm_grow(&bad->v, &bad->cap, bad->n + 1, sizeof *bad->v)) {
                vm_nomem(e, sizeof *bad->v, "the list of bad samples");
                break;
            }
            bad->v[bad->n++] = l->v[k], l->v[k].what = NULL;
        }
        clip_bad_free(l);
    }
    if (!e->status) clip_batch_finish(b, s, slots, e);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k <= CLIP_CHANGES; k++) vm_free(slots[i].text[k]);
    vm_free(slots);
    return e->status;
}
