/* plans.c - see plans.h. */
#include "kernels/plans.h"

#include <string.h>

void vm_plans_forget(vm_plans *p, int place) {
    if (!p->kept[place].g) return;
    vm_graph_free(p->kept[place].g);
    p->kept[place].g = NULL;
    if (p->forget) p->forget(p->ctx, place);
}

void vm_plans_free(vm_plans *p) {
    for (int k = 0; k < p->most; k++) vm_plans_forget(p, k);
}

static bool is(const struct vm_plans_kept *x, const int64_t key[VM_PLANS_KEY]) { return x->g && !memcmp(x->key, key, sizeof x->key); }

/* The place of a key, or the one for a new plan: a free one, else that of the plan which was not used for longest. */
static int find(const vm_plans *p, const int64_t key[VM_PLANS_KEY]) {
    int oldest = 0;
    for (int k = 0; k < p->most; k++) {
        const struct vm_plans_kept *x = &p->kept[k], *o = &p->kept[oldest];
        if (is(x, key)) return k;
        if (!x->g ? o->g != NULL : o->g && x->used < o->used) oldest = k;
    }
    return oldest;
}

/* The nodes of a key's plan at place k, in place of what stood there. NULL: *e says why, and the place is free. */
static vm_graph *nodes_at(vm_plans *p, int k, const int64_t key[VM_PLANS_KEY], vm_error *e) {
    struct vm_plans_kept *x = &p->kept[k];
    vm_plans_forget(p, k);
    memcpy(x->key, key, sizeof x->key);
    if (!(x->g = vm_graph_new(p->be, p->dtype))) return vm_nomem(e, sizeof *x->g, "a graph"), NULL;
    x->g->shared = p->arena;
    if (!p->build(p->ctx, x->g, k, x->key, e)) return x->g;
    if (!e->status) *e = x->g->err;
    vm_plans_forget(p, k);
    return NULL;
}

vm_graph *vm_plans_get(vm_plans *p, const void *key, size_t key_bytes, int *place, vm_error *e) {
    int64_t whole[VM_PLANS_KEY] = { 0 };
    memcpy(whole, key, key_bytes);
    const int k = find(p, whole);
    struct vm_plans_kept *x = &p->kept[k];
    if (place) *place = k;
    x->used = ++p->clock;
    if (is(x, whole)) return x->g;
    if (!nodes_at(p, k, whole, e)) return NULL;
    if (!vm_plan(x->g)) return x->g;
    *e = x->g->err;
    vm_plans_forget(p, k);
    return NULL;
}

size_t vm_plans_bytes(vm_plans *p, const void *key, size_t key_bytes, vm_error *e) {
    int64_t whole[VM_PLANS_KEY] = { 0 };
    memcpy(whole, key, key_bytes);
    const int k = find(p, whole);
    vm_graph *g = nodes_at(p, k, whole, e);
    const size_t bytes = g ? vm_plan_bytes(g) : 0;
    if (g && g->err.status) *e = g->err;
    vm_plans_forget(p, k);
    return bytes;
}

vm_graph *vm_plans_last(const vm_plans *p) {
    const struct vm_plans_kept *last = NULL;
    for (int k = 0; k < p->most; k++)
        if (p->kept[k].g && (!last || p->kept[k].used > last->used)) last = &p->kept[k];
    return last ? last->g : NULL;
}
