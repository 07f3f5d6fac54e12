/* llm_batch.c - see llm_batch.h. */
#include "models/llm_batch.h"

#include <string.h>
#include <time.h>

typedef struct {
    llm_request *r; /* NULL = free */
    llm_seq seq;
    float *logits;  /* of what follows */
} slot;

typedef struct {
    llm_engine *en;
    const llm *m;
    llm_sampler *sampler;
    slot slot[LLM_SLOTS];
    int slots;
    llm_seq begin;   /* what all prompts begin with */
    float *logits;   /* (slots,V) */
    uint64_t *allowed;
    llm_counts *counts;
} batch;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Tokens that all prompts have in common; each keeps at least one of its own, whose logits are wanted. */
static int64_t common(int64_t n, const llm_request *r) {
    int64_t k = n > 1 ? r[0].n - 1 : 0;
    for (int64_t i = 1; i < n; i++) {
        k = VM_MIN(k, r[i].n - 1);
        for (int64_t t = 0; t < k; t++)
            if (r[i].ids[t] != r[0].ids[t]) k = t;
    }
    return VM_MAX(k, (int64_t)0);
}

static void leave(batch *b, slot *s, llm_finish why) {
    llm_request *r = s->r;
    r->finish = why;
    llm_seq_free(b->en, &s->seq);
    s->r = NULL;
    if (r->done) r->done(r);
}

static vm_status join(batch *b, slot *s, llm_request *r, vm_error *e) {
    int64_t have = b->begin.length;
    vm_error own = { 0 };
    double t0 = now();
    s->r = r;
    if (have && llm_seq_fork(b->en, &s->seq, &b->begin, have, e)) return s->r = NULL, e->status;
    if (llm_prefill(b->en, &s->seq, r->ids + have, r->n - have, s->logits, &own)) {
        if (own.status != VM_EINPUT) return llm_seq_free(b->en, &s->seq), s->r = NULL, *e = own, own.status;
        leave(b, s, LLM_FULL);
        return VM_OK;
    }
    b->counts->prompt += r->n - have, b->counts->shared += have, b->counts->prompt_s += now() - t0;
    return VM_OK;
}

static bool is_stop(const llm_config *c, int32_t id) {
    for (int k = 0; k < c->stops; k++)
        if (c->stop[k] == id) return true;
    return false;
}

/* The tokens that may come next; an empty mask where nothing can. NULL without a constraint and on error. */
static const uint64_t *mask(batch *b, slot *s, vm_error *e) {
    llm_request *r = s->r;
    if (!r->limit) return NULL;
    int64_t left = VM_MIN(r->most - r->n_out, llm_engine_longest(b->en) - s->seq.length + 1);
    const uint64_t *bits = constraint_mask(r->limit, left, e);
    if (!bits) return NULL;
    int64_t words = (b->m->c.vocab + 63) / 64;
    memcpy(b->allowed, bits, (size_t)words * sizeof *bits);
    for (int k = 0; k < b->m->c.stops && constraint_done(r->limit); k++) {
        int32_t id = b->m->c.stop[k];
        if (id >= 0 && id < b->m->c.vocab) b->allowed[id / 64] |= (uint64_t)1 << id % 64;
    }
    return b->allowed;
}

static bool any(const uint64_t *bits, int64_t words) {
    for (int64_t i = 0; i < words; i++)
        if (bits[i]) return true;
    return false;
}

/* Draws the next token of a slot; leaves when that ends the text. */
static vm_status draw(batch *b, slot *s, int32_t *token, vm_error *e) {
    llm_request *r = s->r;
    const uint64_t *allowed = mask(b, s, e);
    if (e->status) return e->status;
    if (allowed && !any(allowed, (b->m->c.vocab + 63) / 64)) return leave(b, s, constraint_done(r->limit) ? LLM_STOPPED : LLM_LENGTH), VM_OK;
    int32_t id = llm_sample(b->sampler, &r->how, s->logits, r->out, r->n_out, (uint64_t)r->n_out, allowed);
    if (id < 0) return vm_fail(e, VM_EMODEL, "the model gives logits that are not numbers; its weights are damaged or do not fit --dtype");
    if (is_stop(&b->m->c, id)) return leave(b, s, LLM_STOPPED), VM_OK;
    if (!vm_grow(&r->out, &r->cap, r->n_out + 1, sizeof *r->out)) return vm_nomem(e, (size_t)r->n_out * sizeof *r->out, "a text");
    r->out[r->n_out++] = *token = id;
    b->counts->made++;
    if (r->limit && constraint_accept(r->limit, id, e)) return e->status;
    if (r->token && r->token(r, id)) leave(b, s, LLM_STOPPED);
    else if (r->limit && !constraint_more(r->limit)) leave(b, s, LLM_STOPPED);
    else if (r->n_out >= r->most) leave(b, s, LLM_LENGTH);
    else if (s->seq.length >= llm_engine_longest(b->en)) leave(b, s, LLM_FULL);
    return VM_OK;
}

/* One more token for all that are there. */
static vm_status advance(batch *b, vm_error *e) {
    int32_t token[LLM_SLOTS];
    llm_seq *seq[LLM_SLOTS];
    slot *of[LLM_SLOTS];
    double t0 = now();
    int n = 0;
    for (int k = 0; k < b->slots; k++) {
        slot *s = &b->slot[k];
        if (!s->r) continue;
        if (draw(b, s, &token[n], e)) return e->status;
        if (s->r) of[n] = s, seq[n] = &s->seq, n++;
    }
    if (n && llm_decode(b->en, n, seq, token, b->logits, e)) return e->status;
    int64_t V = b->m->c.vocab;
    for (int k = 0; k < n; k++) memcpy(of[k]->logits, b->logits + k * V, (size_t)V * sizeof(float));
    b->counts->made_s += now() - t0;
    return VM_OK;
}

vm_status llm_batch(llm_engine *en, const llm *m, int64_t n, llm_request *r, int slots, bool (*stop)(void), llm_counts *counts, vm_error *e) {
    llm_counts none = { 0 };
    batch b = { .en = en, .m = m, .slots = VM_MIN(slots, (int)LLM_SLOTS), .counts = counts ? counts : &none };
    int64_t V = m->c.vocab, next = 0, shared = common(n, r), busy = 1;
    float *room = vm_alloc((size_t)(2 * b.slots * V) * sizeof *room + 1);
    b.sampler = llm_sampler_new(V);
    b.allowed = vm_alloc((size_t)(V + 64) / 8);
    if (!room || !b.sampler || !b.allowed) vm_nomem(e, (size_t)(2 * b.slots * V) * sizeof *room, "logits");
    b.logits = room;
    for (int k = 0; k < b.slots && room; k++) b.slot[k].logits = room + (b.slots + k) * V;
    double t0 = now();
    if (!e->status && shared && !llm_prefill(en, &b.begin, r[0].ids, shared, NULL, e)) b.counts->prompt += shared, b.counts->prompt_s += now() - t0;
    bool stopped = false;
    while (!e->status && busy) {
        stopped |= stop && stop();
        busy = 0;
        for (int k = 0; k < b.slots && !e->status; k++) {
            slot *s = &b.slot[k];
            while (!s->r && next < n && !stopped && !e->status) join(&b, s, &r[next++], e);
            if (s->r && stopped) leave(&b, s, LLM_INTERRUPTED);
            busy += s->r != NULL;
        }
        if (!e->status && busy) advance(&b, e);
    }
    for (; next < n; next++) r[next].finish = LLM_INTERRUPTED;
    for (int k = 0; k < b.slots; k++)
        if (b.slot[k].r) leave(&b, &b.slot[k], LLM_INTERRUPTED);
    llm_seq_free(en, &b.begin);
    llm_sampler_free(b.sampler);
    vm_free(room), vm_free(b.allowed);
    return e->status;
}
