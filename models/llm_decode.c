/* llm_decode.c - see llm_decode.h. */
#include "models/llm_decode.h"

#include <inttypes.h>
#include <string.h>

enum { PAGE = LLM_PAGE, PLANS = 16 };

/* A planned graph for S sequences of t tokens. */
typedef struct {
    vm_graph *g;
    int64_t S, t;
} plan;

struct llm_engine {
    const llm *m;
    vm_type dtype;
    bool deterministic, rounded;
    int64_t longest, pages, table; /* table: pages of the longest sequence, and of a chunk behind it */
    vm_param **cache;              /* keys and values of each layer (pages,PAGE,NKV*HS) */
    int32_t *uses, *free;          /* sequences that have a page; a stack of pages that nobody has */
    int64_t n_free;
    plan plan[PLANS];
    int plans;
    vm_arena arena;
    int32_t *ids, *positions, *at, *written, *seen, *of; /* inputs of a step; of: (S,table) */
    float *logits;
};

/* --- life --------------------------------------------------------------------------------------------------------------- */
static vm_status make_cache(llm_engine *en, vm_type type, vm_error *e) {
    const llm_config *c = &en->m->c;
    int64_t ne[] = { en->pages, PAGE, c->NKV * c->HS };
    if (!(en->cache = vm_calloc((size_t)(2 * c->layers) + 1, sizeof *en->cache))) return vm_nomem(e, 64, "the cache");
    for (int64_t i = 0; i < 2 * c->layers && !e->status; i++) {
        char name[64];
        snprintf(name, sizeof name, "layers.%d.%s", (int)(i / 2), i % 2 ? "values" : "keys");
        vm_param *p = en->cache[i] = vm_param_new(en->m->w.be, name, type, 3, ne, e);
        if (p) p->state = true, p->trainable = false;
    }
    return e->status;
}

vm_status llm_engine_new(llm_engine **out, const llm *m, vm_type dtype, const llm_engine_options *o, vm_error *e) {
    llm_engine *en = *out = vm_calloc(1, sizeof *en);
    if (!en) return vm_nomem(e, sizeof *en, "text generation");
    en->m = m, en->dtype = dtype, en->deterministic = o->deterministic, en->rounded = o->rounded;
    en->longest = o->longest ? VM_MIN(o->longest, m->c.context) : m->c.context;
    en->table = (en->longest + LLM_CHUNK) / PAGE + 1; /* a chunk is filled up to a power of 2 */
    en->pages = (o->tokens + PAGE - 1) / PAGE + 1; /* page 0 stands for places that nothing is kept of */
    en->uses = vm_calloc((size_t)en->pages, sizeof *en->uses), en->free = vm_calloc((size_t)en->pages, sizeof *en->free);
    en->ids = vm_calloc(LLM_CHUNK + LLM_SLOTS, sizeof *en->ids), en->positions = vm_calloc(LLM_CHUNK + LLM_SLOTS, sizeof *en->positions);
    en->at = vm_calloc(3 * LLM_SLOTS, sizeof *en->at), en->of = vm_calloc((size_t)(LLM_SLOTS * en->table), sizeof *en->of);
    en->logits = vm_calloc((size_t)(LLM_SLOTS * m->c.vocab), sizeof *en->logits);
    if (!en->uses || !en->free || !en->ids || !en->positions || !en->at || !en->of || !en->logits) vm_nomem(e, (size_t)en->pages * 8, "text generation");
    else en->written = en->at + LLM_SLOTS, en->seen = en->written + LLM_SLOTS;
    for (int64_t k = en->pages - 1; k > 0 && !e->status; k--) en->free[en->n_free++] = (int32_t)k;
    if (!e->status) make_cache(en, o->cache, e);
    if (e->status) llm_engine_free(en), *out = NULL;
    return e->status;
}

void llm_engine_free(llm_engine *en) {
    if (!en) return;
    for (int k = 0; k < en->plans; k++) vm_graph_free(en->plan[k].g);
    vm_arena_free(&en->arena);
    for (int64_t i = 0; en->cache && i < 2 * en->m->c.layers; i++) vm_param_free(en->cache[i]);
    vm_free(en->cache), vm_free(en->uses), vm_free(en->free), vm_free(en->ids), vm_free(en->positions), vm_free(en->at), vm_free(en->of);
    vm_free(en->logits);
    vm_free(en);
}

int64_t llm_engine_room(const llm_engine *en) { return en->n_free * PAGE; }
int64_t llm_engine_longest(const llm_engine *en) { return en->longest; }

/* --- pages -------------------------------------------------------------------------------------------------------------- */
static void give_back(llm_engine *en, int32_t page) {
    if (--en->uses[page] == 0) en->free[en->n_free++] = page;
}

/* Drops pages behind those that `length` tokens need. */
static void shrink(llm_engine *en, llm_seq *s, int64_t length) {
    int64_t keep = (length + PAGE - 1) / PAGE;
    while (s->n > keep) give_back(en, s->page[--s->n]);
}

/* Pages for `length` tokens. */
static vm_status reserve(llm_engine *en, llm_seq *s, int64_t length, vm_error *e) {
    int64_t want = (length + PAGE - 1) / PAGE;
    if (length > en->longest)
        return vm_fail(e, VM_EINPUT, "a text of %" PRId64 " tokens, at most %" PRId64 " are possible; shorten it or ask for a longer one", length, en->longest);
    if (want - s->n > en->n_free)
        return vm_fail(e, VM_EDEVICE, "the cache for keys and values is full: %" PRId64 " more tokens are needed; work on fewer texts at a time", length - s->length);
    if (!vm_grow(&s->page, &s->cap, want, sizeof *s->page)) return vm_nomem(e, (size_t)want * sizeof *s->page, "a text");
    while (s->n < want) {
        int32_t p = en->free[--en->n_free];
        en->uses[p] = 1, s->page[s->n++] = p;
    }
    return VM_OK;
}

void llm_seq_free(llm_engine *en, llm_seq *s) {
    shrink(en, s, 0);
    vm_free(s->page);
    *s = (llm_seq){ 0 };
}

static vm_status copy_page(llm_engine *en, int32_t to, int32_t from, vm_error *e) {
    vm_backend *be = en->m->w.be;
    for (int64_t i = 0; i < 2 * en->m->c.layers && !e->status; i++) {
        vm_param *p = en->cache[i];
        size_t bytes = (size_t)(PAGE * p->ne[2]) * vm_type_size(p->type);
        be->copy(be, (char *)p->data + (size_t)to * bytes, (char *)p->data + (size_t)from * bytes, bytes, e);
    }
    return e->status;
}

vm_status llm_seq_fork(llm_engine *en, llm_seq *to, const llm_seq *from, int64_t length, vm_error *e) {
    int64_t whole = length / PAGE;
    if (length > from->length || to->n) return vm_fail(e, VM_EINPUT, "a text of %" PRId64 " tokens has no first %" PRId64, from->length, length);
    if (!vm_grow(&to->page, &to->cap, whole + 1, sizeof *to->page)) return vm_nomem(e, (size_t)whole * sizeof *to->page, "a text");
    for (; to->n < whole; to->n++) to->page[to->n] = from->page[to->n], en->uses[from->page[to->n]]++;
    if (!reserve(en, to, length, e) && length % PAGE) copy_page(en, to->page[whole], from->page[whole], e);
    if (e->status) llm_seq_free(en, to);
    else to->length = length;
    return e->status;
}

/* --- steps -------------------------------------------------------------------------------------------------------------- */
static vm_status build(llm_engine *en, plan *p, vm_error *e) {
    int64_t st[] = { p->S, p->t }, table[] = { p->S, en->table };
    vm_graph *g = p->g = vm_graph_new(en->m->w.be, en->dtype);
    if (!g) return vm_nomem(e, sizeof *g, "a graph");
    g->deterministic = en->deterministic, g->rounded = en->rounded, g->shared = &en->arena;
    en->arena.be = en->m->w.be;
    llm_step x = { .ids = vm_input(g, "ids", VM_I32, 2, st), .positions = vm_input(g, "positions", VM_I32, 2, st), .at = vm_input(g, "at", VM_I32, 1, st),
                   .written = vm_input(g, "written", VM_I32, 1, st), .seen = vm_input(g, "seen", VM_I32, 1, st),
                   .pages = vm_input(g, "pages", VM_I32, 2, table), .cache = en->cache, .length = en->longest };
    vm_val last = vm_pick(g, llm_cached(g, en->m, &x), vm_input(g, "last", VM_I32, 1, st));
    vm_output(g, "logits", llm_logits(g, en->m, last));
    if (vm_plan(g)) *e = g->err;
    return e->status;
}

/* The plan for S sequences of t tokens, both as they are kept: powers of 2. The oldest one goes when there are too many. */
static vm_status find_plan(llm_engine *en, int64_t S, int64_t t, vm_graph **g, vm_error *e) {
    for (int k = 0; k < en->plans; k++)
        if (en->plan[k].S == S && en->plan[k].t == t) {
            *g = en->plan[k].g;
            return VM_OK;
        }
    if (en->plans == PLANS) {
        vm_graph_free(en->plan[0].g);
        memmove(en->plan, en->plan + 1, (size_t)(--en->plans) * sizeof *en->plan);
    }
    plan p = { .S = S, .t = t };
    if (build(en, &p, e)) return vm_graph_free(p.g), e->status;
    en->plan[en->plans++] = p;
    *g = p.g;
    return VM_OK;
}

static int64_t power_of_2(int64_t n) {
    int64_t p = 1;
    while (p < n) p *= 2;
    return p;
}

/* Sequence k of a step gets its next n tokens. */
static vm_status put(llm_engine *en, int64_t k, int64_t t, const llm_seq *s, const int32_t *ids, int64_t n, vm_error *e) {
    for (int64_t i = 0; i < t; i++) {
        int32_t id = i < n ? ids[i] : 0;
        if (id < 0 || id >= en->m->c.vocab) return vm_fail(e, VM_EINPUT, "token %d, the model has 0 to %" PRId64, id, en->m->c.vocab - 1);
        en->ids[k * t + i] = id, en->positions[k * t + i] = (int32_t)(s->length + i);
    }
    en->at[k] = (int32_t)s->length, en->written[k] = (int32_t)(s->length + n), en->seen[k] = (int32_t)(s->length + t);
    for (int64_t i = 0; i < en->table; i++) en->of[k * en->table + i] = i < s->n ? s->page[i] : 0;
    return VM_OK;
}

/* Runs a step of n sequences in a plan for S; logits (n,V). last: the row of each sequence whose logits are wanted. */
static vm_status step(llm_engine *en, int64_t S, int64_t t, int64_t n, int32_t last, float *logits, vm_error *e) {
    vm_graph *g = NULL;
    int32_t row[LLM_SLOTS];
    if (find_plan(en, S, t, &g, e)) return e->status;
    for (int64_t k = 0; k < S; k++) row[k] = last;
    for (int64_t k = n; k < S; k++) { /* empty places */
        memset(en->ids + k * t, 0, (size_t)t * sizeof *en->ids), memset(en->positions + k * t, 0, (size_t)t * sizeof *en->positions);
        memset(en->of + k * en->table, 0, (size_t)en->table * sizeof *en->of);
        en->at[k] = en->written[k] = en->seen[k] = 0;
    }
    if (vm_set(g, "ids", en->ids) || vm_set(g, "positions", en->positions) || vm_set(g, "at", en->at) || vm_set(g, "written", en->written) ||
        vm_set(g, "seen", en->seen) || vm_set(g, "pages", en->of) || vm_set(g, "last", row) || vm_run(g) || (logits && vm_get(g, "logits", en->logits)))
        return *e = g->err, e->status;
    if (logits) memcpy(logits, en->logits, (size_t)(n * en->m->c.vocab) * sizeof *logits);
    return VM_OK;
}

vm_status llm_prefill(llm_engine *en, llm_seq *s, const int32_t *ids, int64_t n, float *logits, vm_error *e) {
    int64_t before = s->length;
    if (n < 1) return vm_fail(e, VM_EINPUT, "an empty text has no next token; begin it with the start token");
    if (reserve(en, s, before + n, e)) return e->status;
    for (int64_t from = 0, k; from < n && !e->status; from += k) {
        k = VM_MIN(n - from, (int64_t)LLM_CHUNK);
        int64_t t = VM_MIN(power_of_2(k), (int64_t)LLM_CHUNK);
        if (!put(en, 0, t, s, ids + from, k, e) && !step(en, 1, t, 1, (int32_t)(k - 1), from + k == n ? logits : NULL, e)) s->length += k;
    }
    if (e->status) s->length = before, shrink(en, s, before);
    return e->status;
}

vm_status llm_decode(llm_engine *en, int n, llm_seq *const *s, const int32_t *ids, float *logits, vm_error *e) {
    int k = 0;
    while (k < n && !reserve(en, s[k], s[k]->length + 1, e) && !put(en, k, 1, s[k], &ids[k], 1, e)) k++;
    if (!e->status) step(en, power_of_2(n), 1, n, 0, logits, e);
    for (int i = 0; i < VM_MIN(k + 1, n); i++) {
        if (!e->status) s[i]->length++;
        else shrink(en, s[i], s[i]->length);
    }
    return e->status;
}
