/* llm_train.c - see llm_train.h. Plans are kept per size of a piece and share one arena. */
#include "models/llm_train.h"

#include <math.h>

#include "kernels/plans.h"

enum { PLANS = 24 };
typedef struct {
    int64_t B, T, length; /* length: of the longest text, where the rotary embedding depends on it, else 0 */
    int64_t learns, packed;
} plan_key;

struct llm_trainer {
    llm *m;
    llm_train_config c;
    optimizer opt;
    vm_plans plans;
    vm_arena arena;
    double most_loss, most_norm;
};

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);

vm_status llm_trainer_new(llm_trainer **out, llm *m, const llm_train_config *c, vm_error *e) {
    llm_trainer *t = *out = vm_calloc(1, sizeof *t);
    if (!t) return vm_nomem(e, sizeof *t, "a trainer");
    m->recompute = c->recompute;
    t->m = m, t->c = *c, t->most_loss = t->most_norm = INFINITY;
    t->opt = (optimizer){ .w = &m->w, .c = c->optimizer };
    t->plans = (vm_plans){ .be = m->w.be, .dtype = c->dtype, .most = PLANS, .arena = &t->arena, .build = build, .ctx = t };
    for (int64_t i = 0; i < m->w.n; i++)
        m->w.p[i]->decay = m->w.p[i]->nd > 1 || lora_has(m->w.p[i]); /* magnitudes too, as transformers does */
    return VM_OK;
}

void llm_trainer_free(llm_trainer *t) {
    if (!t) return;
    vm_plans_free(&t->plans);
    vm_arena_free(&t->arena);
    optimizer_free(&t->opt);
    vm_free(t);
}

void llm_trainer_limit(llm_trainer *t, double loss, double grad_norm) { t->most_loss = loss, t->most_norm = grad_norm; }
int64_t llm_trainer_updates(const llm_trainer *t) { return t->opt.updates; }

/* --- plans ------------------------------------------------------------------------------------------------------- */
static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    const llm_trainer *t = ctx;
    const plan_key *p = key;
    const int64_t ne[] = { p->B, p->T };
    vm_val ids = vm_input(g, "ids", VM_I32, 2, ne), positions = vm_input(g, "positions", VM_I32, 2, ne),
           targets = vm_input(g, "targets", VM_I32, 2, ne),
           first = p->packed ? vm_input(g, "first", VM_I32, 2, ne) : 0, share = vm_input(g, "share", VM_F32, 1, (int64_t[]){ 1 });
    g->training = p->learns, g->deterministic = t->c.deterministic;
    vm_val x = llm_hidden(g, t->m, ids, positions, 0, first, p->length);
    vm_scope(g, "loss");
    vm_val loss = llm_loss(g, t->m, x, targets);
    vm_output(g, "loss", loss);
    if (p->learns) vm_backward(g, 1, &loss, &share, 0, NULL);
    return VM_OK;
}

/* Positions count from where the text begins. */
static vm_status set_positions(vm_graph *g, const llm_piece *p, vm_error *e) {
    int64_t n = p->B * p->T;
    int32_t *at = vm_alloc((size_t)n * sizeof *at);
    if (!at) return vm_nomem(e, (size_t)n * sizeof *at, "positions");
    for (int64_t i = 0; i < n; i++) at[i] = (int32_t)(i % p->T) - (p->first ? p->first[i] : 0);
    if (vm_set(g, "positions", at)) *e = g->err;
    vm_free(at);
    return e->status;
}

/* Some rotary embeddings stretch with the longest text, which in packed rows is no longer the row. */
static int64_t length_of(const llm_trainer *t, const llm_piece *p) {
    const vm_rope_scaling s = t->m->c.rope.scaling;
    int64_t longest = 1;
    if (s != VM_ROPE_DYNAMIC && s != VM_ROPE_LONG) return 0;
    if (!p->first) return p->T;
    for (int64_t i = 0; i < p->B * p->T; i++) longest = VM_MAX(longest, i % p->T - p->first[i] + 1);
    return VM_MAX(longest, t->m->c.rope.original);
}

static vm_graph *plan_for(llm_trainer *t, const llm_piece *x, bool learns, vm_error *e) {
    const plan_key key = { x->B, x->T, length_of(t, x), learns, x->first != NULL };
    return vm_plans_get(&t->plans, &key, sizeof key, NULL, e);
}

static int64_t count(const llm_piece *p) {
    int64_t n = 0;
    for (int64_t i = 0; i < p->B * p->T; i++) n += p->targets[i] >= 0;
    return n;
}

/* The arena is shared: what stands in it is set anew for every run. */
static vm_status run(llm_trainer *t, vm_graph *g, const llm_piece *p, float share, bool adds, double *loss,
                     vm_error *e) {
    vm_real x = 0, part = share;
    g->accumulate = adds;
    if (set_positions(g, p, e)) return e->status;
    if ((p->first && vm_set(g, "first", p->first)) || vm_set(g, "ids", p->ids) || vm_set(g, "targets", p->targets) || vm_set(g, "share", &part) || vm_run(g) ||
        vm_get(g, "loss", &x))
        *e = g->err;
    *loss = (double)x;
    return e->status;
}

vm_status llm_trainer_loss(llm_trainer *t, const llm_piece *p, double *loss, int64_t *counted, vm_error *e) {
    vm_graph *g = lora_refresh(t->m->adapter, e) ? NULL : plan_for(t, p, false, e);
    *counted = count(p);
    return g ? run(t, g, p, 1, false, loss, e) : e->status;
}

/* --- a step ------------------------------------------------------------------------------------------------------ */
vm_status llm_trainer_gradients(llm_trainer *t, int n, const llm_piece *pieces, llm_train_step *out, vm_error *e) {
    *out = (llm_train_step){ 0 };
    if (lora_refresh(t->m->adapter, e)) return e->status;
    for (int k = 0; k < n; k++) out->counted += count(&pieces[k]);
    for (int k = 0; k < n && !e->status; k++) {
        const llm_piece *p = &pieces[k];
        double share = (double)count(p) / (double)VM_MAX(out->counted, (int64_t)1), loss;
        vm_graph *g = plan_for(t, p, true, e);
        if (g && !run(t, g, p, (float)share, k > 0, &loss, e)) out->loss += share * loss;
    }
    return e->status;
}

vm_status llm_trainer_step(llm_trainer *t, int n, const llm_piece *pieces, double lr, llm_train_step *out,
                           vm_error *e) {
    if (llm_trainer_gradients(t, n, pieces, out, e) || optimizer_norm(&t->opt, &out->grad_norm, e)) return e->status;
    out->skipped = !out->counted || !isfinite(out->loss) || !isfinite(out->grad_norm) || out->loss > t->most_loss ||
                   out->grad_norm > t->most_norm;
    if (out->skipped || optimizer_update(&t->opt, lr, out->grad_norm, e)) return e->status;
    return optimizer_average(&t->opt, e);
}

vm_status llm_trainer_memory(llm_trainer *t, int64_t B, int64_t T, optimizer_bytes *own, size_t *activations,
                             vm_error *e) {
    const plan_key key = { .B = B, .T = T, .length = T, .learns = true };
    *own = optimizer_memory(&t->opt);
    *activations = vm_plans_bytes(&t->plans, &key, sizeof key, e);
    return e->status;
}

/* --- on disk ----------------------------------------------------------------------------------------------------- */
vm_status llm_trainer_save(const llm_trainer *t, const char *dir, vm_error *e) {
    vm_status st = t->m->adapter ? lora_save(t->m->adapter, dir, NULL, e) : llm_save_weights(t->m, dir, ST_F32, e);
    return st ? st : optimizer_save(&t->opt, dir, e);
}

vm_status llm_trainer_load(llm_trainer *t, const char *dir, int64_t updates, vm_error *e) {
    weight_map map = { 0 };
    if (t->m->adapter) lora_load(t->m->adapter, dir, e);
    else {
        llm_map(t->m, &map);
        if (map.err.status) *e = map.err;
        else weights_restore(&map, dir, "model", e);
        weight_map_free(&map);
    }
    return e->status ? e->status : optimizer_load(&t->opt, dir, updates, e);
}
