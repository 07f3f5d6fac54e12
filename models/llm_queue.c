/* llm_queue.c - see llm_queue.h.
 *
 * A request joins when the pages that it can need at most are there beside those that the others can still need, so
 * that no text runs out of cache on its way. Texts that have ended stay in the cache while there is room (least
 * recently used go first): a prompt that begins like one of them, or like one that is being worked on, forks it.
 * Prompts are read one after the other, so that the next one finds what the one before has read; while others wait for
 * their next token at most a chunk of them a step. */
#include "models/llm_queue.h"

#include <string.h>
#include <time.h>

enum { KEPT = 16, LEAST_SHARED = 8 }; /* ended texts; tokens that make a fork worth it */

typedef struct {
    llm_request *r; /* NULL = free */
    llm_seq seq;
    float *logits;  /* of what follows, once the prompt is read */
    int64_t pages;  /* that it can have at most */
} slot;

/* A text that has ended. */
typedef struct {
    int32_t *ids;
    llm_seq seq;
    uint64_t used;
} ended;

struct llm_queue {
    llm_engine *en;
    const llm *m;
    llm_sampler *sampler;
    slot slot[LLM_SLOTS];
    int slots;
    slot *reading;             /* whose prompt is not read to its end; NULL = nobody */
    llm_request *first, *last; /* those that wait */
    int64_t waiting, running;
    ended kept[KEPT];
    int n_kept;
    uint64_t clock;
    float *logits;     /* (slots,V) */
    float *scores;     /* (V) */
    uint64_t *allowed;
    llm_counts counts;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- texts that have ended ---------------------------------------------------------------------------------------- */
static void drop_kept(llm_queue *q, int k) {
    llm_seq_free(q->en, &q->kept[k].seq);
    vm_free(q->kept[k].ids);
    q->kept[k] = q->kept[--q->n_kept];
}

static int oldest(const llm_queue *q) {
    int best = 0;
    for (int k = 1; k < q->n_kept; k++)
        if (q->kept[k].used < q->kept[best].used) best = k;
    return best;
}

/* Token i of a request's text. */
static int32_t token_at(const llm_request *r, int64_t i) { return i < r->n ? r->ids[i] : r->out[i - r->n]; }

/* Takes over the sequence of a request that leaves. */
static void keep(llm_queue *q, slot *s) {
    int64_t n = s->seq.length;
    int32_t *ids = n >= LEAST_SHARED ? vm_alloc((size_t)n * sizeof *ids) : NULL;
    if (!ids) {
        llm_seq_free(q->en, &s->seq);
        return;
    }
    for (int64_t i = 0; i < n; i++) ids[i] = token_at(s->r, i);
    if (q->n_kept == KEPT) drop_kept(q, oldest(q));
    q->kept[q->n_kept++] = (ended){ ids, s->seq, ++q->clock };
    s->seq = (llm_seq){ 0 };
}

/* --- joining ------------------------------------------------------------------------------------------------------ */
static void leave(llm_queue *q, slot *s, llm_finish why) {
    llm_request *r = s->r;
    r->finish = why;
    keep(q, s);
    s->r = NULL;
    if (q->reading == s) q->reading = NULL;
    q->running--;
    if (r->done) r->done(r);
}

static void fail(llm_queue *q, slot *s, const vm_error *e) {
    s->r->error = *e;
    q->counts.failed++;
    leave(q, s, LLM_FAILED);
}

static int64_t pages_of(int64_t tokens) { return (tokens + LLM_PAGE - 1) / LLM_PAGE; }

/* Pages that a request can need at most: it may be ended by the context. A fork copies a page that it shares in
 * part. */
static int64_t most_pages(const llm_queue *q, const llm_request *r) {
    int64_t longest = llm_engine_longest(q->en);
    return pages_of(r->most < longest - r->n ? r->n + r->most : longest);
}

/* The sequence that has the most of the prompt's beginning; the prompt keeps a token of its own, whose logits are
 * wanted. */
static const llm_seq *find_shared(llm_queue *q, const llm_request *r, int64_t *length) {
    const llm_seq *best = NULL;
    ended *from = NULL;
    *length = LEAST_SHARED - 1;
    for (int k = 0; k < q->slots + q->n_kept; k++) {
        slot *s = k < q->slots ? &q->slot[k] : NULL;
        ended *old = s ? NULL : &q->kept[k - q->slots];
        if (s && !s->r) continue;
        const llm_seq *seq = s ? &s->seq : &old->seq;
        int64_t n = 0, most = VM_MIN(r->n - 1, seq->length);
        while (n < most && r->ids[n] == (s ? token_at(s->r, n) : old->ids[n])) n++;
        if (n > *length) *length = n, best = seq, from = old;
    }
    if (from) from->used = ++q->clock;
    if (!best) *length = 0;
    return best;
}

/* Whether the engine has the pages for it beside those that the others can still need. */
static bool has_room(const llm_queue *q, const llm_request *r, int64_t shared) {
    int64_t want = most_pages(q, r) - shared / LLM_PAGE;
    for (int k = 0; k < q->slots; k++)
        if (q->slot[k].r) want += q->slot[k].pages - q->slot[k].seq.n;
    return llm_engine_room(q->en) / LLM_PAGE >= want;
}

/* The first of those that wait gets a place and is the one that is read; false when it has to wait on. */
static bool join(llm_queue *q, slot *s) {
    llm_request *r = q->first;
    int64_t have;
    vm_error e = { 0 };
    const llm_seq *from = find_shared(q, r, &have);
    bool fits = r->n <= llm_engine_longest(q->en);
    while (fits && !has_room(q, r, have)) {
        if (!q->n_kept && q->running) return false;
        if (!q->n_kept) fits = false;
        else drop_kept(q, oldest(q)), from = find_shared(q, r, &have); /* it may be that one */
    }
    if (!(q->first = r->next)) q->last = NULL;
    q->waiting--, q->running++;
    s->r = r, r->next = NULL, s->pages = most_pages(q, r), r->shared = have;
    q->reading = s;
    if (!fits) leave(q, s, LLM_FULL);
    else if ((r->start && r->start(r, &e)) || (from && llm_seq_fork(q->en, &s->seq, from, have, &e))) fail(q, s, &e);
    else q->counts.shared += have;
    return true;
}

/* The next chunk of the prompt that is read; its tokens. */
static int64_t read_chunk(llm_queue *q) {
    slot *s = q->reading;
    const llm_request *r = s->r;
    int64_t at = s->seq.length, n = VM_MIN(r->n - at, (int64_t)LLM_CHUNK);
    vm_error e = { 0 };
    double t0 = now();
    if (llm_prefill(q->en, &s->seq, r->ids + at, n, at + n == r->n ? s->logits : NULL, &e)) return fail(q, s, &e), 0;
    q->counts.prompt += n, q->counts.prompt_s += now() - t0;
    if (at + n == r->n) q->reading = NULL;
    return n;
}

static slot *free_slot(llm_queue *q) {
    for (int k = 0; k < q->slots; k++)
        if (!q->slot[k].r) return &q->slot[k];
    return NULL;
}

/* Lets in those that wait, and reads prompts: all that there is place for, or a chunk while others wait for their next
 * token. */
static void let_in(llm_queue *q) {
    for (int64_t n = 0, ready = q->running - (q->reading != NULL); n < LLM_CHUNK || !ready;) {
        slot *s = q->reading || !q->first ? NULL : free_slot(q);
        if (q->reading) n += read_chunk(q);
        else if (!s || !join(q, s)) break;
    }
}

/* --- steps -------------------------------------------------------------------------------------------------------- */
static bool is_stop(const llm_config *c, int32_t id) {
    for (int k = 0; k < c->stops; k++)
        if (c->stop[k] == id) return true;
    return false;
}

/* The tokens that may come next; NULL without a form and on error. */
static const uint64_t *mask(llm_queue *q, slot *s, vm_error *e) {
    const llm_config *c = &q->m->c;
    llm_request *r = s->r;
    if (!r->limit) return NULL;
    const uint64_t *bits =
        constraint_mask(r->limit, VM_MIN(r->most - r->n_out, llm_engine_longest(q->en) - s->seq.length + 1), e);
    if (!bits) return NULL;
    memcpy(q->allowed, bits, (size_t)((c->vocab + 63) / 64) * sizeof *bits);
    for (int k = 0; k < c->stops && constraint_done(r->limit); k++)
        if (c->stop[k] >= 0 && c->stop[k] < c->vocab) q->allowed[c->stop[k] / 64] |= (uint64_t)1 << c->stop[k] % 64;
    return q->allowed;
}

static bool any(const uint64_t *bits, int64_t V) {
    for (int64_t i = 0; i < (V + 63) / 64; i++)
        if (bits[i]) return true;
    return false;
}

/* Draws the next token of a text, which leaves when that ends it. */
static void draw(llm_queue *q, slot *s, int32_t *token) {
    llm_request *r = s->r;
    vm_error e = { 0 };
    const int64_t V = q->m->c.vocab;
    const uint64_t *allowed = mask(q, s, &e);
    if (e.status) {
        fail(q, s, &e);
        return;
    }
    if (allowed && !any(allowed, V)) {
        leave(q, s, constraint_done(r->limit) ? LLM_STOPPED : LLM_LENGTH);
        return;
    }
    if (r->scored) memcpy(q->scores, s->logits, (size_t)V * sizeof *q->scores), r->scores = q->scores;
    int32_t id = llm_sample(q->sampler, &r->how, s->logits, r->out, r->n_out, (uint64_t)r->n_out, allowed);
    if (id < 0)
        vm_fail(&e, VM_EMODEL,
                "the model gives logits that are not numbers; its weights are damaged or do not fit --dtype");
    else if (is_stop(&q->m->c, id)) {
        leave(q, s, LLM_STOPPED);
        return;
    } else if (!vm_grow(&r->out, &r->cap, r->n_out + 1, sizeof *r->out))
        vm_nomem(&e, (size_t)r->n_out * sizeof *r->out, "a text");
    else if (r->limit) constraint_accept(r->limit, id, &e);
    if (e.status) {
        fail(q, s, &e);
        return;
    }
    r->out[r->n_out++] = *token = id;
    q->counts.made++;
    if ((r->token && r->token(r, id)) || (r->limit && !constraint_more(r->limit))) leave(q, s, LLM_STOPPED);
    else if (r->n_out >= r->most) leave(q, s, LLM_LENGTH);
    else if (s->seq.length >= llm_engine_longest(q->en)) leave(q, s, LLM_FULL);
}

void llm_queue_step(llm_queue *q) {
    int32_t token[LLM_SLOTS];
    llm_seq *seq[LLM_SLOTS];
    slot *of[LLM_SLOTS];
    int n = 0;
    vm_error e = { 0 };
    const int64_t V = q->m->c.vocab;
    let_in(q);
    double t0 = now();
    for (int k = 0; k < q->slots; k++) {
        slot *s = &q->slot[k];
        if (!s->r || s == q->reading) continue;
        draw(q, s, &token[n]);
        if (s->r) of[n] = s, seq[n] = &s->seq, n++;
    }
    if (n) llm_decode(q->en, n, seq, token, q->logits, &e);
    for (int k = 0; k < n; k++) {
        if (e.status) fail(q, of[k], &e);
        else memcpy(of[k]->logits, q->logits + k * V, (size_t)V * sizeof(float));
    }
    q->counts.made_s += now() - t0;
}

/* --- life --------------------------------------------------------------------------------------------------------- */
vm_status llm_queue_new(llm_queue **out, llm_engine *en, const llm *m, int slots, vm_error *e) {
    llm_queue *q = *out = vm_calloc(1, sizeof *q);
    const int64_t V = m->c.vocab;
    if (!q) return vm_nomem(e, sizeof *q, "a queue");
    q->en = en, q->m = m, q->slots = VM_MIN(slots, (int)LLM_SLOTS);
    q->logits = vm_alloc((size_t)((2 * q->slots + 1) * V) * sizeof *q->logits);
    q->allowed = vm_alloc((size_t)((V + 63) / 64) * sizeof *q->allowed);
    q->sampler = llm_sampler_new(V);
    if (!q->logits || !q->allowed || !q->sampler) {
        llm_queue_free(q);
        *out = NULL;
        return vm_nomem(e, (size_t)(2 * slots * V) * sizeof *q->logits, "logits");
    }
    for (int k = 0; k < q->slots; k++) q->slot[k].logits = q->logits + (q->slots + k) * V;
    q->scores = q->logits + 2 * q->slots * V;
    return VM_OK;
}

void llm_queue_free(llm_queue *q) {
    if (!q) return;
    while (q->first) llm_queue_drop(q, q->first);
    for (int k = 0; k < q->slots; k++)
        if (q->slot[k].r) leave(q, &q->slot[k], LLM_INTERRUPTED);
    while (q->n_kept) drop_kept(q, 0);
    llm_sampler_free(q->sampler);
    vm_free(q->logits), vm_free(q->allowed);
    vm_free(q);
}

void llm_queue_add(llm_queue *q, llm_request *r) {
    r->next = NULL;
    if (q->last) q->last->next = r;
    else q->first = r;
    q->last = r;
    q->waiting++;
}

void llm_queue_drop(llm_queue *q, llm_request *r) {
    for (int k = 0; k < q->slots; k++)
        if (q->slot[k].r == r) {
            leave(q, &q->slot[k], LLM_INTERRUPTED);
            return;
        }
    llm_request *before = NULL, *x = q->first;
    while (x && x != r) before = x, x = x->next;
    if (!x) return;
    if (before) before->next = r->next;
    else q->first = r->next;
    if (q->last == r) q->last = before;
    q->waiting--;
    r->finish = LLM_INTERRUPTED;
    if (r->done) r->done(r);
}

int64_t llm_queue_waiting(const llm_queue *q) { return q->waiting; }
int64_t llm_queue_busy(const llm_queue *q) { return q->waiting + q->running; }
const llm_counts *llm_queue_counts(const llm_queue *q) { return &q->counts; }
