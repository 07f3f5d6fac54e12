/* graph.c - building: values, nodes, parameters, names, small questions about shapes. */
#include "kernels/graph.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

size_t vm_type_size(vm_type t) {
    static const size_t size[VM_NTYPES] = { sizeof(vm_real), 2, 2, 4, 1 };
    return size[t];
}

const char *vm_type_name(vm_type t) {
    static const char *const name[VM_NTYPES] = { "f32", "bf16", "f16", "i32", "u8" };
    return (unsigned)t < VM_NTYPES ? name[t] : "?";
}

/* --- parameters -------------------------------------------------------------------------------------------------- */
static int64_t count(int nd, const int64_t *ne) {
    int64_t c = 1;
    for (int k = 0; k < nd; k++) c *= ne[k];
    return c;
}

vm_param *vm_param_shell(vm_backend *be, const char *name, vm_type t, int nd, const int64_t *ne, vm_error *e) {
    static atomic_uint next_id = 1;
    vm_param *p = vm_calloc(1, sizeof *p);
    if (!p || !(p->name = vm_strdup(name))) return vm_free(p), vm_nomem(e, sizeof *p, name), NULL;
    p->be = be, p->type = t, p->nd = nd, p->trainable = p->decay = true, p->lr_scale = 1;
    p->id = atomic_fetch_add(&next_id, 1), p->version = 1;
    memcpy(p->ne, ne, (size_t)nd * sizeof *ne);
    return p;
}

vm_status vm_param_alloc(vm_param *p, vm_error *e) {
    size_t bytes = (size_t)vm_param_count(p) * vm_type_size(p->type);
    if (p->data && !p->borrowed) return VM_OK;
    p->borrowed = p->mapped = false;
    return (p->data = p->be->alloc(p->be, bytes)) ? VM_OK : vm_nomem_on(p->be, e, bytes, p->name);
}

vm_status vm_param_fetch(vm_param *p, vm_error *e) {
    if (p->data || !p->origin || vm_param_alloc(p, e)) return e->status;
    if (p->origin->read(p->origin, 0, vm_param_count(p), p->data, e)) p->be->free(p->be, p->data), p->data = NULL;
    return e->status;
}

vm_param *vm_param_new(vm_backend *be, const char *name, vm_type t, int nd, const int64_t *ne, vm_error *e) {
    vm_param *p = vm_param_shell(be, name, t, nd, ne, e);
    if (p && vm_param_alloc(p, e)) vm_param_free(p), p = NULL;
    return p;
}

void vm_packs_free(vm_param *p);     /* onednn.c */
void vm_gpu_packs_free(vm_param *p); /* gpu_gemm.c */
void vm_pieces_free(vm_graph *g);    /* plan.c */

void vm_param_free(vm_param *p) {
    if (!p) return;
    vm_packs_free(p);
    vm_gpu_packs_free(p);
    if (!p->borrowed) p->be->free(p->be, p->data);
    p->be->free(p->be, p->grad);
    p->be->free(p->be, p->m);
    p->be->free(p->be, p->v);
    p->be->free(p->be, p->average);
    vm_free(p->origin);
    vm_free(p->name);
    vm_free(p);
}

int64_t vm_param_count(const vm_param *p) { return count(p->nd, p->ne); }
void vm_param_touch(vm_param *p) { p->version++; }

static size_t bytes_of(const vm_param *p) { return (size_t)vm_param_count(p) * vm_type_size(p->type); }
vm_status vm_param_read(const vm_param *p, void *to, vm_error *e) {
    return p->be->download(p->be, to, p->data, bytes_of(p), e);
}
vm_status vm_param_write(vm_param *p, const void *from, vm_error *e) {
    vm_param_touch(p);
    return p->be->upload(p->be, p->data, from, bytes_of(p), e);
}

/* --- graph ------------------------------------------------------------------------------------------------------- */
vm_graph *vm_graph_new(vm_backend *be, vm_type dtype) {
    vm_graph *g = vm_calloc(1, sizeof *g);
    if (!g) return NULL;
    g->be = be, g->dtype = dtype, g->n_v = 1;
    if (!vm_grow(&g->v, &g->cap_v, 64, sizeof *g->v) || !vm_grow(&g->n, &g->cap_n, 64, sizeof *g->n)) {
        vm_graph_free(g);
        return NULL;
    }
    memset(g->v, 0, sizeof *g->v);
    return g;
}

void vm_graph_free(vm_graph *g) {
    if (!g) return;
    for (int64_t i = 0; i < g->n_n; i++)
        if (g->n[i].cache && g->n[i].op->free_node) g->n[i].op->free_node(&g->n[i]);
    for (int64_t i = 0; i < g->n_named; i++) vm_free(g->named[i].name);
    if (g->be->forget) g->be->forget(g->be, g);
    if (g->arena && !g->shared) g->be->free(g->be, g->arena);
    vm_pieces_free(g);
    if (g->scratch) g->be->free(g->be, g->scratch);
    vm_free(g->trace);
    vm_free(g->named);
    vm_free(g->v);
    vm_free(g->n);
    vm_free(g);
}

vm_status vm_bad(vm_graph *g, const char *fmt, ...) {
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g->planned = false; /* an earlier plan does not hide the error */
    return vm_fail(&g->err, VM_EMODEL, "%s%s%s", g->scope ? g->scope : "", g->scope ? ": " : "", text);
}

/* Bytes of one tensor: far above any machine, and sums of many stay far below overflow. */
static const size_t LARGEST = (size_t)1 << 48;

static vm_val new_value(vm_graph *g, vm_kind kind, vm_type t, int nd, const int64_t *ne) {
    if (nd < 0 || nd > VM_AXES) return vm_bad(g, "a tensor of %d axes, at most %d", nd, VM_AXES), 0;
    if (!vm_grow(&g->v, &g->cap_v, g->n_v + 1, sizeof *g->v))
        return vm_nomem(&g->err, sizeof *g->v, "the graph"), 0;
    size_t total = vm_type_size(t);
    for (int k = 0; k < nd; k++)
        if (ne[k] < 0 || !vm_mul_sz(total, (size_t)ne[k], &total) || total > LARGEST)
            return vm_bad(g, "a tensor is too large, or less than empty: axis %d has %" PRId64 " entries", k, ne[k]), 0;
    vm_val v = (vm_val)g->n_v++;
    g->v[v] = (vm_value){ .kind = kind, .type = t, .nd = nd, .node = -1, .root = v, .orig = v };
    memcpy(g->v[v].ne, ne, (size_t)nd * sizeof *ne);
    g->planned = false;
    return v;
}

static const char *add_name(vm_graph *g, const char *name, vm_val v) {
    if (!v) return NULL;
    if (!vm_grow(&g->named, &g->cap_named, g->n_named + 1, sizeof *g->named)) return NULL;
    char *copy = vm_strdup(name);
    if (!copy) return NULL;
    g->named[g->n_named++] = (struct vm_named){ copy, v };
    return copy;
}

vm_val vm_find(const vm_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_named; i++)
        if (!strcmp(g->named[i].name, name)) return g->named[i].v;
    return 0;
}

vm_val vm_input(vm_graph *g, const char *name, vm_type t, int nd, const int64_t *ne) {
    if (vm_find(g, name)) return vm_bad(g, "two inputs named %s", name), 0;
    vm_val v = new_value(g, VM_INPUT, t, nd, ne);
    if (v && !(g->v[v].name = add_name(g, name, v))) return vm_nomem(&g->err, 64, "the graph"), 0;
    return v;
}

vm_val vm_weight(vm_graph *g, vm_param *p) {
    if (!p) return 0;
    for (int64_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == VM_PARAM && g->v[i].param == p) return (vm_val)i;
    vm_val v = new_value(g, VM_PARAM, p->type, p->nd, p->ne);
    if (v) g->v[v].param = p, g->v[v].name = p->name;
    return v;
}

void vm_output(vm_graph *g, const char *name, vm_val v) {
    if (!v) {
        if (!g->err.status) vm_bad(g, "output %s has no value", name);
        return;
    }
    if (vm_find(g, name)) {
        vm_bad(g, "two values named %s", name);
        return;
    }
    if (!add_name(g, name, v)) {
        vm_nomem(&g->err, 64, "the graph");
        return;
    }
    g->v[v].is_output = true;
    if (!g->v[v].name) g->v[v].name = g->named[g->n_named - 1].name;
    g->planned = false;
}

void *vm_scratch(vm_graph *g, size_t bytes) {
    if (g->scratch && bytes <= g->scratch_bytes) return g->scratch;
    if (g->scratch) g->be->free(g->be, g->scratch);
    g->scratch = g->be->room(g->be, bytes), g->scratch_bytes = bytes;
    if (!g->scratch) vm_nomem_on(g->be, &g->err, bytes, "a kernel's workspace");
    return g->scratch;
}

void *vm_data(const vm_graph *g, vm_val v) { return v ? g->v[v].data : NULL; }
void vm_scope(vm_graph *g, const char *label) { g->scope = label; }

/* --- nodes ------------------------------------------------------------------------------------------------------- */
vm_node *vm_append(vm_graph *g, const vm_op *op, int n_in, const vm_val *in, const vm_node *init) {
    if (g->err.status) return NULL;
    if (n_in > VM_MAX_IN) return vm_bad(g, "%s: %d inputs, at most %d", op->name, n_in, VM_MAX_IN), NULL;
    if (!vm_grow(&g->n, &g->cap_n, g->n_n + 1, sizeof *g->n))
        return vm_nomem(&g->err, sizeof *g->n, "the graph"), NULL;
    vm_node *n = &g->n[g->n_n];
    if (init) *n = *init;
    else memset(n, 0, sizeof *n);
    n->op = op, n->n_in = n_in, n->n_out = 0, n->cache = NULL;
    n->key = (uint64_t)g->n_n, n->segment = g->segment, n->label = g->scope;
    for (int k = 0; k < n_in; k++) n->in[k] = in[k];
    g->n_n++;
    if (op->infer(g, n) || g->err.status) {
        g->n_n--;
        if (!g->err.status) vm_bad(g, "%s: its inputs do not fit", op->name);
        return NULL;
    }
    g->planned = false;
    return n;
}

vm_val vm_append1(vm_graph *g, const vm_op *op, int n_in, const vm_val *in, const vm_node *init) {
    for (int k = 0; k < n_in && k < 1; k++)
        if (!in[k]) {
            if (!g->err.status) vm_bad(g, "%s: no input value", op->name);
            return 0;
        }
    vm_node *n = vm_append(g, op, n_in, in, init);
    return n ? n->out[0] : 0;
}

static vm_val new_output(vm_graph *g, vm_node *n, vm_type t, int nd, const int64_t *ne) {
    if (n->n_out == VM_MAX_OUT) return vm_bad(g, "%s: more than %d outputs", n->op->name, VM_MAX_OUT), 0;
    vm_val v = new_value(g, VM_TEMP, t, nd, ne);
    if (v) g->v[v].node = (int)(n - g->n), n->out[n->n_out++] = v;
    return v;
}

void vm_node_out(vm_graph *g, vm_node *n, vm_type t, int nd, const int64_t *ne) { new_output(g, n, t, nd, ne); }

void vm_node_view(vm_graph *g, vm_node *n, vm_val of, int64_t at, int nd, const int64_t *ne) {
    vm_val v = new_output(g, n, g->v[of].type, nd, ne);
    if (v) g->v[v].root = of, g->v[v].view_at = at, g->v[v].is_view = true;
}

/* --- shapes ------------------------------------------------------------------------------------------------------ */
int64_t vm_count(const vm_graph *g, vm_val v) { return count(g->v[v].nd, g->v[v].ne); }
int64_t vm_rows(const vm_graph *g, vm_val v) { return g->v[v].nd ? count(g->v[v].nd - 1, g->v[v].ne) : 1; }
int64_t vm_cols(const vm_graph *g, vm_val v) { return g->v[v].nd ? g->v[v].ne[g->v[v].nd - 1] : 1; }
int64_t vm_dim(const vm_graph *g, vm_val v, int axis) { return g->v[v].ne[axis < 0 ? axis + g->v[v].nd : axis]; }

bool vm_same_shape(const vm_graph *g, vm_val a, vm_val b) {
    const vm_value *x = &g->v[a], *y = &g->v[b];
    if (x->nd != y->nd) return false;
    for (int k = 0; k < x->nd; k++)
        if (x->ne[k] != y->ne[k]) return false;
    return true;
}

char *vm_shape_text(const vm_graph *g, vm_val v, char buf[64]) {
    size_t at = 1;
    buf[0] = '[';
    for (int k = 0; k < g->v[v].nd && at < 60; k++) {
        int n = snprintf(buf + at, 62 - at, "%s%" PRId64, k ? "," : "", g->v[v].ne[k]);
        if (n < 0) break;
        at += (size_t)n;
    }
    at = VM_MIN(at, (size_t)61);
    buf[at] = ']', buf[at + 1] = 0;
    return buf;
}

void vm_node_cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    *flops = *bytes = 0;
    if (n->op->cost) {
        n->op->cost(g, n, flops, bytes);
        return;
    }
    if (n->op->view) return;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k]) *bytes += (double)vm_count(g, n->in[k]) * (double)vm_type_size(g->v[n->in[k]].type);
    for (int k = 0; k < n->n_out; k++)
        *bytes += (double)vm_count(g, n->out[k]) * (double)vm_type_size(g->v[n->out[k]].type);
}
