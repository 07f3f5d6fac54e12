/* diffusion_prompt.c - prompts to what the UNet reads. A prompt longer than the encoder's context goes on in chunks, each with a start and an end
 * token of its own, and the UNet reads them one behind the other; the pooled text is that of the first. The shorter of two prompts gets empty
 * chunks. */
#include "models/diffusion_parts.h"

#include <string.h>

/* One encoder's tokens of both texts. */
typedef struct {
    tok_ids ids[2];
    int64_t chunks;
} tokens;

static int64_t context_of(const diffusion *d, int k) {
    int64_t stated = tok_get_info(d->tok[k])->context, most = d->text[k]->c.context;
    return stated > 2 && stated < most ? stated : most;
}

static vm_status tokenize(diffusion *d, int k, const char *const *text, int64_t texts, tokens *t, vm_error *e) {
    int64_t room = context_of(d, k) - 2; /* beside start and end */
    t->chunks = 1;
    for (int64_t x = 0; x < texts && !e->status; x++) {
        if (tok_encode(d->tok[k], text[x], strlen(text[x]), TOK_NO_SPECIAL, 0, &t->ids[x], e)) break;
        t->chunks = VM_MAX(t->chunks, (t->ids[x].n + room - 1) / room);
    }
    return e->status;
}

/* Chunk c of a text, T tokens. */
static void chunk(const diffusion *d, int k, const tok_ids *ids, int64_t c, int64_t T, int32_t *out) {
    const tok_info *i = tok_get_info(d->tok[k]);
    int64_t from = c * (T - 2), n = VM_MAX(VM_MIN(ids->n - from, T - 2), (int64_t)0);
    out[0] = i->bos;
    for (int64_t t = 0; t < n; t++) out[1 + t] = ids->id[from + t];
    out[1 + n] = i->eos;
    for (int64_t t = n + 2; t < T; t++) out[t] = VM_MAX(i->pad, 0);
}

/* The states of encoder k go into columns `at`.. of the context. */
static vm_status encode(diffusion *d, int k, const tokens *t, int64_t chunks, int64_t at, diffusion_prompt *p, vm_error *e) {
    const clip_text *m = d->text[k];
    int64_t T = context_of(d, k), B = p->texts * chunks, C = m->c.width, D = d->unet->c.context, ne[] = { B, T };
    int32_t *ids = vm_alloc((size_t)(B * (T + 1)) * sizeof *ids), *end = ids + B * T;
    float *states = vm_alloc((size_t)(B * T * C) * sizeof *states), *pooled = p->P ? vm_alloc((size_t)(B * p->P) * sizeof *pooled) : NULL;
    vm_graph *g = diffusion_graph(d, d->o.dtype, e);
    const bool pool = d->xl && k + 1 == d->n_text;
    if (!ids || !states || (p->P && !pooled)) vm_nomem(e, (size_t)(B * T * C) * sizeof *states, "text states");
    if (e->status) goto done;
    for (int64_t b = 0; b < B; b++) chunk(d, k, &t->ids[b / chunks], b % chunks, T, ids + b * T);
    clip_text_end(&m->c, B, T, ids, end);
    clip_text_states s = clip_text_run(g, m, vm_input(g, "ids", VM_I32, 2, ne), pool ? vm_input(g, "end", VM_I32, 1, &B) : 0);
    vm_output(g, "states", d->xl ? s.penultimate : s.last);
    if (pool) vm_output(g, "pooled", s.pooled);
    if (vm_plan(g) || vm_set(g, "ids", ids) || (pool && vm_set(g, "end", end)) || vm_run(g) || vm_get(g, "states", states) || (pool && vm_get(g, "pooled", pooled))) *e = g->err;
    for (int64_t i = 0; i < B * T && !e->status; i++) memcpy(p->context + i * D + at, states + i * C, (size_t)C * sizeof *states);
    for (int64_t x = 0; x < p->texts && pool && !e->status; x++) memcpy(p->pooled + x * p->P, pooled + x * chunks * p->P, (size_t)p->P * sizeof *pooled);
done:
    vm_graph_free(g);
    vm_free(ids), vm_free(states), vm_free(pooled);
    return e->status;
}

vm_status diffusion_encode_prompt(diffusion *d, const diffusion_call *c, diffusion_prompt *p, vm_error *e) {
    const bool guided = c->guidance > 1;
    const char *const text[2] = { guided ? c->negative ? c->negative : "" : c->prompt, c->prompt };
    tokens t[DIFFUSION_TEXTS] = { 0 };
    int64_t chunks = 1, D = d->unet->c.context, at = 0;
    *p = (diffusion_prompt){ .texts = guided ? 2 : 1, .P = d->xl ? d->text[d->n_text - 1]->c.embed : 0 };
    for (int k = 0; k < d->n_text && !e->status; k++)
        if (!tokenize(d, k, text, p->texts, &t[k], e)) chunks = VM_MAX(chunks, t[k].chunks);
    if (c->truncate) chunks = 1;
    p->T = chunks * context_of(d, 0);
    for (int k = 0; k < d->n_text && !e->status; k++) {
        if (context_of(d, k) != context_of(d, 0)) vm_fail(e, VM_EMODEL, "text encoders of %lld and %lld tokens cannot be joined", (long long)context_of(d, 0), (long long)context_of(d, k));
        for (int64_t x = 0; x < p->texts; x++) p->dropped = VM_MAX(p->dropped, t[k].ids[x].n - chunks * (context_of(d, k) - 2));
    }
    if (!e->status) {
        p->context = vm_calloc((size_t)(p->texts * p->T * D), sizeof *p->context), p->pooled = vm_calloc((size_t)(p->texts * p->P) + 1, sizeof *p->pooled);
        if (!p->context || !p->pooled) vm_nomem(e, (size_t)(p->texts * p->T * D) * sizeof *p->context, "text states");
    }
    for (int k = 0; k < d->n_text && !e->status; k++) {
        encode(d, k, &t[k], chunks, at, p, e);
        at += d->text[k]->c.width;
    }
    if (!e->status && guided && !c->negative && d->zero_negative) {
        memset(p->context, 0, (size_t)(p->T * D) * sizeof *p->context);
        memset(p->pooled, 0, (size_t)p->P * sizeof *p->pooled);
    }
    for (int k = 0; k < d->n_text; k++) tok_ids_free(&t[k].ids[0]), tok_ids_free(&t[k].ids[1]);
    if (e->status) diffusion_prompt_free(p);
    return e->status;
}

void diffusion_prompt_free(diffusion_prompt *p) {
    vm_free(p->context), vm_free(p->pooled);
    p->context = p->pooled = NULL;
}
