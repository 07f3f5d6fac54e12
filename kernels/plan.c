/* plan.c - from nodes to memory: which nodes are needed, which results may stand in place, where each buffer lies.
 *
 * Liveness works on buffers: views and in-place sums join the buffer of their source. A buffer lives from the node that
 * writes it to its last reader (for ever when it is an output); buffers are placed largest first at the lowest offset
 * free over their whole life. */
#include <stdlib.h>
#include <string.h>

#include "kernels/graph.h"

enum { FOREVER = 1 << 30, ALIGN = 64 };

static vm_val root_of(vm_graph *g, vm_val v) {
    while (g->v[v].root != v) v = g->v[v].root;
    return v;
}

/* A node is needed when it writes state or parameter gradients, or a needed node or the caller reads a result. */
static vm_status drop_dead(vm_graph *g) {
    bool *needed = vm_calloc((size_t)g->n_v, sizeof *needed);
    if (!needed) return vm_nomem(&g->err, (size_t)g->n_v, "the plan");
    for (int64_t v = 1; v < g->n_v; v++) needed[v] = g->v[v].is_output;
    for (int64_t i = g->n_n - 1; i >= 0; i--) {
        vm_node *n = &g->n[i];
        bool live = n->op->stateful;
        for (int k = 0; k < n->n_out; k++)
            live |= needed[n->out[k]] || (n->acc[k] && g->v[n->acc[k]].kind == VM_GRAD);
        n->dead = !live;
        for (int k = 0; live && k < n->n_in; k++) needed[n->in[k]] = true;
        for (int k = 0; live && k < n->n_out; k++) needed[n->acc[k]] = true;
    }
    vm_free(needed);
    return VM_OK;
}

static int last_read(vm_graph *g, vm_val v) { return g->v[root_of(g, v)].last; }

/* Whether node i may write its first result where its first input stands: nothing else reads that, and nothing later. */
static bool goes_over(vm_graph *g, int64_t i) {
    const vm_node *n = &g->n[i];
    const vm_val out = n->out[0], in = n->in[0];
    if (n->dead || !n->op->over || n->acc[0] || g->separate || g->be->device != VM_CPU_DEV) return false;
    const vm_value *root = &g->v[root_of(g, in)];
    bool can = root->kind == VM_TEMP && root->last == (int)i && g->v[out].root == out && g->v[in].type == g->v[out].type && vm_count(g, in) == vm_count(g, out);
    for (int j = 1; j < n->n_in; j++) can &= !n->in[j] || root_of(g, n->in[j]) != root_of(g, in);
    return can;
}

/* First write and last read of each buffer; then in-place sums join where nothing reads the old sum later, and results that may stand where
 * their input stood. */
static void find_lives(vm_graph *g) {
    for (int64_t v = 1; v < g->n_v; v++) {
        vm_value *x = &g->v[v];
        if (x->kind == VM_TEMP && !x->is_view) x->root = (vm_val)v, x->view_at = 0; /* a plan may be made again */
        x->first = x->kind == VM_TEMP ? x->node : -1;
        x->last = x->kind == VM_INPUT ? FOREVER : x->first;
    }
    for (int64_t v = 1; v < g->n_v; v++)
        if (g->v[v].is_output) g->v[root_of(g, (vm_val)v)].last = FOREVER;
    for (int64_t i = 0; i < g->n_n; i++) {
        const vm_node *n = &g->n[i];
        for (int k = 0; k < n->n_in + n->n_out && !n->dead; k++) {
            vm_val v = k < n->n_in ? n->in[k] : n->acc[k - n->n_in];
            if (!v) continue;
            vm_value *r = &g->v[root_of(g, v)];
            r->last = VM_MAX(r->last, (int)i);
        }
    }
    for (int64_t i = 0; i < g->n_n; i++) {
        const vm_node *n = &g->n[i];
        for (int k = 0; k < n->n_out && !n->dead; k++) {
            if (!n->acc[k]) continue;
            vm_val old = root_of(g, n->acc[k]), out = n->out[k];
            vm_value *o = &g->v[old];
            bool in_place = o->kind == VM_GRAD ||
                            (o->kind == VM_TEMP && o->last == (int)i && o->type == g->v[out].type && !g->separate);
            for (int j = 0; j < n->n_in && o->kind == VM_TEMP; j++) {
                if (k == 0 && j && j == n->op->acc_in && n->in[j] == n->acc[0]) continue; /* read as the sum only */
                in_place &= !n->in[j] || root_of(g, n->in[j]) != old; /* the kernel may read that input after writing */
            }
            if (!in_place) continue;
            o->last = VM_MAX(o->last, last_read(g, out));
            g->v[out].root = n->acc[k];
        }
        if (!goes_over(g, i)) continue;
        vm_value *o = &g->v[root_of(g, n->in[0])];
        o->last = VM_MAX(o->last, last_read(g, n->out[0]));
        g->v[n->out[0]].root = n->in[0];
    }
}

typedef struct {
    vm_val v;
    size_t bytes;
} item;

static int larger_first(const void *a, const void *b) {
    const item *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : x->v - y->v;
}

static vm_status place(vm_graph *g) {
    item *items = vm_calloc((size_t)g->n_v, sizeof *items);
    vm_val *near = vm_calloc((size_t)g->n_v, sizeof *near);
    vm_status st = VM_OK;
    int n = 0;
    if (!items || !near) {
        st = vm_nomem(&g->err, (size_t)g->n_v * sizeof *items, "the plan");
        goto done;
    }
    g->sum_bytes = g->arena_bytes = 0;
    for (int64_t v = 1; v < g->n_v; v++) {
        vm_value *x = &g->v[v];
        if ((x->kind != VM_TEMP && x->kind != VM_INPUT) || x->root != v) continue;
        if (x->kind == VM_TEMP && g->n[x->node].dead) continue;
        size_t bytes = VM_MAX(((size_t)vm_count(g, (vm_val)v) * vm_type_size(x->type) + ALIGN - 1) / ALIGN, (size_t)1) * ALIGN; /* halves fill a whole */
        items[n++] = (item){ (vm_val)v, bytes };
        g->sum_bytes += bytes;
    }
    qsort(items, (size_t)n, sizeof *items, larger_first);
    for (int i = 0; i < n; i++) {
        vm_value *x = &g->v[items[i].v];
        int m = 0; /* placed buffers alive at the same time, by offset */
        for (int j = 0; j < i; j++) {
            const vm_value *y = &g->v[items[j].v];
            if (!g->separate && (y->first > x->last || y->last < x->first)) continue;
            int at = m++;
            while (at > 0 && g->v[items[near[at - 1]].v].offset > y->offset) near[at] = near[at - 1], at--;
            near[at] = j;
        }
        size_t at = 0;
        for (int j = 0; j < m; j++) {
            const vm_value *y = &g->v[items[near[j]].v];
            if (y->offset >= at + items[i].bytes) break;
            at = VM_MAX(at, y->offset + items[near[j]].bytes);
        }
        x->offset = at;
        g->arena_bytes = VM_MAX(g->arena_bytes, at + items[i].bytes);
    }
done:
    vm_free(items);
    vm_free(near);
    return st;
}

static void set_addresses(vm_graph *g) {
    if (g->be->forget) g->be->forget(g->be, g);
    for (int64_t v = 1; v < g->n_v; v++) {
        vm_value *x = &g->v[v], *o = x;
        int64_t at = 0; /* in elements; views and in-place sums have their source's type */
        for (; o->root != (vm_val)(o - g->v); o = &g->v[o->root]) at += o->view_at;
        char *base = o->kind == VM_PARAM  ? o->param->data
                     : o->kind == VM_GRAD ? (char *)o->param->grad
                     : g->piece           ? g->piece[o - g->v]
                                          : g->arena + o->offset;
        x->data = base + (size_t)at * vm_type_size(x->type);
    }
}

static vm_status lay_out(vm_graph *g) {
    if (drop_dead(g)) return g->err.status;
    find_lives(g);
    return place(g);
}

/* For graph.c too. */
void vm_pieces_free(vm_graph *g) {
    for (int64_t v = 0; v < g->n_piece; v++) g->be->free(g->be, g->piece[v]);
    vm_free(g->piece);
    g->piece = NULL, g->n_piece = 0;
}

static vm_status take_pieces(vm_graph *g) {
    vm_pieces_free(g);
    if (!(g->piece = vm_calloc((size_t)g->n_v, sizeof *g->piece))) return vm_nomem(&g->err, (size_t)g->n_v * sizeof *g->piece, "the plan");
    g->n_piece = g->n_v;
    for (int64_t v = 1; v < g->n_v; v++) {
        const vm_value *x = &g->v[v];
        if ((x->kind != VM_TEMP && x->kind != VM_INPUT) || x->root != v) continue;
        size_t bytes = (size_t)vm_count(g, (vm_val)v) * vm_type_size(x->type);
        if (!(g->piece[v] = g->be->room(g->be, bytes))) return vm_nomem_on(g->be, &g->err, bytes, "an activation");
    }
    return VM_OK;
}

static vm_status take_own(vm_graph *g) {
    if (g->apart) return take_pieces(g);
    if (g->arena) g->be->free(g->be, g->arena);
    g->arena = g->be->room(g->be, g->arena_bytes + ALIGN);
    return g->arena ? VM_OK : vm_nomem_on(g->be, &g->err, g->arena_bytes, "the activations");
}

static vm_status take_shared(vm_graph *g) {
    vm_arena *a = g->shared;
    if (!a->p || a->bytes < g->arena_bytes + ALIGN) {
        vm_arena_free(a);
        *a = (vm_arena){ g->be, g->be->room(g->be, g->arena_bytes + ALIGN), g->arena_bytes + ALIGN };
        if (!a->p) a->bytes = 0;
    }
    g->arena = a->p;
    return a->p ? VM_OK : vm_nomem_on(g->be, &g->err, g->arena_bytes, "the activations");
}

void vm_arena_free(vm_arena *a) {
    if (a->p) a->be->free(a->be, a->p);
    *a = (vm_arena){ 0 };
}

size_t vm_plan_bytes(vm_graph *g) {
    if (g->planned) return g->arena_bytes;
    return g->err.status || lay_out(g) ? 0 : g->arena_bytes;
}

/* Another graph may have made the shared arena anew. */
static vm_status stay(vm_graph *g) {
    if (!g->shared || g->arena == g->shared->p) return VM_OK;
    if (g->shared->bytes < g->arena_bytes + ALIGN && take_shared(g)) return g->err.status; /* after a failure: it is empty */
    g->arena = g->shared->p;
    set_addresses(g);
    return VM_OK;
}

/* Parameters whose numbers lie in files: what reads them as they stand needs them in memory. */
static vm_status fetch(vm_graph *g, vm_val v) {
    const vm_value *x = &g->v[root_of(g, v)];
    return x->kind == VM_PARAM ? vm_param_fetch(x->param, &g->err) : VM_OK;
}
static vm_status fetch_parameters(vm_graph *g) {
    for (int64_t i = 0; i < g->n_n; i++) {
        const vm_node *n = &g->n[i];
        for (int k = 0; k < n->n_in && !n->dead; k++)
            if (n->in[k] && !(n->op->packs && n->op->packs(g, n, k)) && fetch(g, n->in[k])) return g->err.status;
    }
    for (vm_val v = 1; v < g->n_v; v++)
        if (g->v[v].is_output && fetch(g, v)) return g->err.status;
    return VM_OK;
}

/* No op runs elsewhere than where the graph is. */
static vm_status has_kernels(vm_graph *g) {
    for (int64_t i = 0; i < g->n_n && g->be->device == VM_CUDA_DEV; i++) {
        const vm_node *n = &g->n[i];
        if (n->dead || n->op->view || n->op->host || n->op->cuda) continue;
        return vm_fail(&g->err, VM_EDEVICE, "%s%sop %s has no CUDA kernel; run this model with --device cpu", n->label ? n->label : "",
                       n->label ? ": " : "", n->op->name);
    }
    return VM_OK;
}

vm_status vm_plan(vm_graph *g) {
    if (g->err.status) return g->err.status;
    if (g->planned) return VM_OK;
    if (lay_out(g) || has_kernels(g) || fetch_parameters(g)) return g->err.status;
    if (g->shared ? take_shared(g) : take_own(g)) return g->err.status;
    set_addresses(g);
    g->planned = true;
    return VM_OK;
}

vm_status vm_run(vm_graph *g) {
    if (!g->planned && vm_plan(g)) return g->err.status;
    vm_error_clear(&g->err);
    if (stay(g)) return g->err.status;
    bool moved = false; /* a parameter may have been loaded anew */
    for (int64_t v = 1; v < g->n_v; v++) moved |= g->v[v].kind == VM_PARAM && g->v[v].data != g->v[v].param->data;
    if (moved) set_addresses(g);
    return g->be->run(g->be, g);
}

vm_status vm_wait(vm_graph *g) { return g->be->wait(g->be, &g->err); }

vm_status vm_set(vm_graph *g, const char *name, const void *data) {
    vm_val v = vm_find(g, name);
    if (!v || g->v[v].kind != VM_INPUT) return vm_fail(&g->err, VM_EMODEL, "the graph has no input %s", name);
    if ((!g->planned && vm_plan(g)) || stay(g)) return g->err.status; /* a failed run is no reason not to start another */
    return g->be->upload(g->be, g->v[v].data, data, (size_t)vm_count(g, v) * vm_type_size(g->v[v].type), &g->err);
}

vm_status vm_get(vm_graph *g, const char *name, void *data) {
    vm_val v = vm_find(g, name);
    if (!v) return vm_fail(&g->err, VM_EMODEL, "the graph has no output %s", name);
    if (!g->planned) return vm_fail(&g->err, VM_EMODEL, "output %s is asked for before a run", name);
    size_t n = (size_t)vm_count(g, v);
    vm_status st = g->be->download(g->be, data, g->v[v].data, n * vm_type_size(g->v[v].type), &g->err);
    if (!st && g->v[v].type == VM_BF16) { /* widen in place, from the end */
        const uint16_t *h = data;
        uint32_t *f = data;
        for (size_t i = n; i-- > 0;) f[i] = (uint32_t)h[i] << 16;
    }
    return st;
}
