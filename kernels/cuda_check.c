/* cuda_check.c - runs under --check: after each op of the device the same op runs on the processor, from the inputs that the
 * device had, and what others read of its results is compared. The first that differs ends the run by name.
 *
 * The second computation is a graph of that one node on the CPU backend, so that shape rules which look at the device give what
 * its kernels want. Ops that change parameters and ops of the host are not compared. */
#include "kernels/backend_cuda.h"

#ifdef VM_HAVE_CUDA
#include <math.h>
#include <string.h>

#include "kernels/cuda_parts.h"

static size_t value_bytes(const vm_graph *g, vm_val v) { return (size_t)vm_count(g, v) * vm_type_size(g->v[v].type); }

/* --- comparing --------------------------------------------------------------------------------------------------------- */
static double number(const void *p, vm_type t, int64_t i) {
    union { uint32_t u; float f; } x;
    uint32_t h;
    switch (t) {
    case VM_F32: return (double)((const float *)p)[i];
    case VM_I32: return ((const int32_t *)p)[i];
    case VM_U8: return ((const uint8_t *)p)[i];
    case VM_BF16: x.u = (uint32_t)((const uint16_t *)p)[i] << 16; return (double)x.f;
    default:
        h = ((const uint16_t *)p)[i];
        if ((h & 0x7c00u) == 0x7c00u) return h & 0x3ffu ? (double)NAN : h >> 15 ? -(double)INFINITY : (double)INFINITY;
        return ldexp((h & 0x7c00u ? 1024.0 : 0.0) + (h & 0x3ffu), (int)VM_MAX(h >> 10 & 31u, 1u) - 25) * (h >> 15 ? -1 : 1);
    }
}

/* What sums in another order and approximate functions may differ by, of the largest value of the row; with types of 16 bits
 * also a few roundings of results and of what lies between (probabilities). A wrong index or a missing term is far above. */
static double tolerance(vm_type t) { return t == VM_F32 ? 1e-4 : t == VM_BF16 ? 0x1p-5 : t == VM_F16 ? 0x1p-8 : 0; }

static double largest(const void *x, vm_type t, int64_t at, int64_t n) {
    double most = 0;
    for (int64_t i = at; i < at + n; i++)
        if (isfinite(number(x, t, i))) most = fmax(most, fabs(number(x, t, i)));
    return most;
}

/* All bits set: the pattern of twin_run, a NaN that no kernel makes. */
static bool unwritten(const void *p, vm_type t, int64_t i) {
    return t == VM_F32 ? ((const uint32_t *)p)[i] == 0xffffffffu : ((const uint16_t *)p)[i] == 0xffffu;
}

/* The largest difference over what is allowed there, and its place. rest: what may be left of sums whose terms cancel. */
static double compare(const void *got, const void *want, vm_type t, int64_t n, int64_t C, double rest, int64_t *place) {
    const double floor_of = 0.01 * largest(want, t, 0, n), tol = tolerance(t);
    double worst = 0;
    for (int64_t r = 0; r < n; r += C) {
        const double limit = tol * fmax(largest(want, t, r, C), floor_of) + 1e-30;
        for (int64_t i = r; i < r + C; i++) {
            const double a = number(got, t, i), b = number(want, t, i);
            if (a == b || (isnan(a) && isnan(b)) || (isnan(b) && unwritten(want, t, i))) continue;
            const double d = isfinite(a) && isfinite(b) ? fabs(a - b) / (tol > 0 ? limit + rest : limit) : (double)INFINITY;
            if (d > worst) worst = d, *place = i;
        }
    }
    return worst;
}

/* --- the node on the processor -------------------------------------------------------------------------------------------- */
typedef struct {
    vm_graph *g; /* of one node, on the CPU */
    void *data[VM_MAX_IN + VM_MAX_OUT]; /* of inputs and of sums that results are added onto, as they were before the node ran */
    vm_param *param[VM_MAX_IN];
    const vm_node *n;
} twin;

static vm_status fetch(const vm_graph *g, vm_val v, void **to, vm_error *e) {
    if (!(*to = vm_alloc(value_bytes(g, v) + 1))) return vm_nomem(e, value_bytes(g, v), "a check");
    return g->be->download(g->be, *to, g->v[v].data, value_bytes(g, v), e);
}

static vm_val twin_input(twin *t, const vm_graph *g, int k, vm_val v) {
    char name[16];
    const vm_value *x = &g->v[v];
    snprintf(name, sizeof name, "%d", k);
    if (x->kind != VM_PARAM || k >= VM_MAX_IN) return vm_input(t->g, name, x->type, x->nd, x->ne);
    vm_param *p = t->param[k] = vm_param_shell(vm_backend_cpu(), x->param->name, x->type, x->nd, x->ne, &t->g->err);
    if (!p) return 0;
    p->data = t->data[k], p->borrowed = true, p->trainable = x->param->trainable;
    return vm_weight(t->g, p);
}

static void twin_free(twin *t) {
    vm_graph_free(t->g);
    for (int k = 0; k < VM_MAX_IN; k++) vm_param_free(t->param[k]);
    for (int k = 0; k < VM_MAX_IN + VM_MAX_OUT; k++) vm_free(t->data[k]);
}

/* Before the node runs: its inputs, and its twin. */
static vm_status twin_make(twin *t, vm_graph *g, const vm_node *n) {
    vm_val in[VM_MAX_IN] = { 0 };
    *t = (twin){ .g = vm_graph_new(vm_backend_cpu(), g->dtype) };
    if (!t->g) return vm_nomem(&g->err, sizeof *t->g, "a check");
    t->g->training = g->training, t->g->deterministic = g->deterministic, t->g->accumulate = g->accumulate;
    t->g->seed = g->seed, t->g->step = g->step;
    for (int k = 0; k < n->n_in; k++) {
        if (!n->in[k]) continue;
        for (int j = 0; j < k && !in[k]; j++)
            if (n->in[j] == n->in[k]) in[k] = in[j];
        if (!in[k] && (fetch(g, n->in[k], &t->data[k], &g->err) || !(in[k] = twin_input(t, g, k, n->in[k])))) return VM_EDEVICE;
    }
    vm_node like = *n;
    memset(like.acc, 0, sizeof like.acc);
    vm_node *c = vm_append(t->g, n->op, n->n_in, in, &like);
    if (!c) return VM_EDEVICE;
    c->key = n->key;
    const bool own = c->acc[0] != 0; /* a residual: among the inputs */
    for (int k = own ? 1 : 0; k < n->n_out; k++) {
        if (!n->acc[k]) continue;
        if (fetch(g, n->acc[k], &t->data[VM_MAX_IN + k], &g->err)) return g->err.status;
        vm_val old = twin_input(t, g, VM_MAX_IN + k, n->acc[k]);
        c = &t->g->n[0];
        c->acc[k] = old, c->acc_first[k] = n->acc_first[k];
    }
    for (int k = 0; k < c->n_out; k++) {
        char name[16];
        snprintf(name, sizeof name, "out %d", k);
        vm_output(t->g, name, t->g->n[0].out[k]);
    }
    t->n = n;
    return t->g->err.status;
}

static vm_status twin_run(twin *t) {
    if (vm_plan(t->g)) return t->g->err.status;
    for (int k = 0; k < t->g->n[0].n_out; k++) { /* what the processor leaves unwritten shows, and is not compared */
        vm_val v = t->g->n[0].out[k];
        if (!t->g->v[v].is_view) memset(vm_data(t->g, v), 0xff, value_bytes(t->g, v));
    }
    for (int k = 0; k < VM_MAX_IN + VM_MAX_OUT; k++) {
        char name[16];
        snprintf(name, sizeof name, "%d", k);
        if (t->data[k] && vm_find(t->g, name) && vm_set(t->g, name, t->data[k])) return t->g->err.status;
    }
    return vm_run(t->g);
}

/* --- the check ---------------------------------------------------------------------------------------------------------- */
/* Others than this node read it, or the caller does: no scratch. */
static bool is_result(const vm_graph *g, const vm_node *n, vm_val v) {
    bool read = g->v[v].is_output;
    for (int k = 0; k < n->n_out; k++) read |= n->out[k] == v && n->acc[k];
    for (int64_t i = 0; i < g->n_n && !read; i++)
        for (int k = 0; k < g->n[i].n_in && !read; k++) read = !g->n[i].dead && &g->n[i] != n && g->n[i].in[k] == v;
    return read;
}

static vm_status differs(vm_graph *g, const vm_node *n, int k, int64_t place, const void *got, const void *want, double over) {
    const vm_type t = g->v[n->out[k]].type;
    char shape[64];
    return vm_fail(&g->err, VM_EDEVICE,
                   "%s: %s%sop %s (node %d) differs from the processor in output %d %s %s: element %lld is %.9g and should be %.9g, %.3g times "
                   "what is allowed (%.2g of the row's largest value); this is a bug of the kernel, please report it and use --device cpu",
                   g->be->name, n->label ? n->label : "", n->label ? ": " : "", n->op->name, gpu_node(g, n), k, vm_type_name(t),
                   vm_shape_text(g, n->out[k], shape), (long long)place, number(got, t, place), number(want, t, place), over, tolerance(t));
}

/* Rounding of the large inputs, of the one whose numbers are the smallest (a gradient usually): 2^-16 of its largest. */
static double cancelled(const vm_graph *g, const vm_node *n, const twin *t) {
    int64_t longest = 2;
    double least = (double)INFINITY;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k]) longest = VM_MAX(longest, vm_count(g, n->in[k]));
    for (int k = 0; k < n->n_in; k++) {
        const vm_value *x = &g->v[n->in[k]];
        if (!n->in[k] || !t->data[k] || x->type == VM_I32 || x->type == VM_U8 || vm_count(g, n->in[k]) < longest / 4) continue;
        double most = largest(t->data[k], x->type, 0, vm_count(g, n->in[k]));
        if (most > 0) least = fmin(least, most);
    }
    return isfinite(least) ? 0x1p-16 * least : 0;
}

static vm_status compare_outputs(vm_graph *g, const vm_node *n, const twin *t, vm_check *c) {
    for (int k = 0; k < VM_MIN(n->n_out, t->g->n[0].n_out); k++) {
        const vm_val v = n->out[k], w = t->g->n[0].out[k];
        const int64_t count = vm_count(g, v);
        int64_t place = 0;
        void *got = NULL;
        if (!v || !count || !is_result(g, n, v) || count != vm_count(t->g, w) || g->v[v].type != t->g->v[w].type) continue;
        if (fetch(g, v, &got, &g->err)) return vm_free(got), g->err.status;
        double over = compare(got, vm_data(t->g, w), g->v[v].type, count, VM_MAX(vm_cols(g, v), (int64_t)1), cancelled(g, n, t), &place);
        c->values += count;
        if (over > c->worst) {
            c->worst = over;
            snprintf(c->worst_op, sizeof c->worst_op, "%s%sop %s", n->label ? n->label : "", n->label ? ": " : "", n->op->name);
        }
        if (over > 1) differs(g, n, k, place, got, vm_data(t->g, w), over);
        vm_free(got);
        if (g->err.status) return g->err.status;
    }
    c->ops++;
    return VM_OK;
}

vm_status cuda_checked(vm_graph *g, vm_node *n, vm_status (*run)(cuda_device *, vm_graph *, vm_node *)) {
    vm_check *c = g->be->check;
    twin t = { 0 };
    if (n->op->stateful) {
        c->skipped++;
        return run(cuda_of(g->be), g, n);
    }
    twin_make(&t, g, n);
    if (!g->err.status && t.g && t.g->err.status) g->err = t.g->err;
    if (!g->err.status && !run(cuda_of(g->be), g, n) && !g->be->wait(g->be, &g->err)) {
        if (twin_run(&t)) g->err = t.g->err;
        else compare_outputs(g, n, &t, c);
    }
    twin_free(&t);
    return g->err.status;
}
#endif
