/* gradcheck.h - gradients against central differences, for programs of the f64 build (MODE=f64).
 *
 *   static int build(vm_graph *g, const vm_val *in, vm_val *out) { out[0] = vm_scale(g, in[0], 2, 1); return 1; }
 *   gradcheck(build, 1, (gc_in[]){{ "x", .nd = 2, .ne = { 3, 5 } }});
 *
 * The outputs y are projected on random r: f = sum <r, y>. For every input that is not `fixed` the gradient of f must
 * agree with (f(x+h) - f(x-h)) / 2h, h = 1e-5 max(1,|x|), within 1e-6 of the gradient's scale. Then the same gradients
 * must come out when each input has a second use (kernels that add onto a gradient), when parameter gradients
 * accumulate over two runs, and, bit for bit, when the graph is recomputed in the backward pass. */
#ifndef VM_GRADCHECK_H
#define VM_GRADCHECK_H
#include "kernels/ops.h"
#include "tests/test.h"

#ifndef VM_F64_BUILD
#error "gradient checks need MODE=f64"
#endif

enum { GC_MAX = 8, GC_PROBES = 60 };

typedef struct {
    const char *name;
    int nd;
    int64_t ne[VM_AXES];
    bool param, fixed;  /* a weight; no gradient wanted */
    double lo, hi;      /* range of the values; both 0 = [-1,1) */
    double away;        /* values keep this distance from 0 (kinks) */
    const int32_t *ids; /* i32 input with these entries */
} gc_in;

typedef int (*gc_build)(vm_graph *g, const vm_val *in, vm_val *out); /* number of outputs, at most GC_MAX */

typedef struct {
    gc_build build;
    int n_in, n_out;
    const gc_in *in;
    vm_param *param[GC_MAX];
    double *x[GC_MAX], *grad[GC_MAX], *seed[2 * GC_MAX];
    int64_t n_seed[2 * GC_MAX];
    bool twice, recompute; /* also every wanted input is an output; the graph is a checkpoint segment */
} gc;

static int64_t gc_count(const gc_in *in) {
    int64_t n = 1;
    for (int k = 0; k < in->nd; k++) n *= in->ne[k];
    return n;
}

/* The graph of the function; outs gets its outputs, ins its inputs. */
static vm_graph *gc_graph(gc *c, vm_val *ins, vm_val *outs) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    g->training = true, g->seed = 11, g->step = 3;
    for (int k = 0; k < c->n_in; k++)
        ins[k] = c->param[k] ? vm_weight(g, c->param[k])
                             : vm_input(g, c->in[k].name, c->in[k].ids ? VM_I32 : VM_F32, c->in[k].nd, c->in[k].ne);
    if (c->recompute) vm_checkpoint_begin(g);
    c->n_out = c->build(g, ins, outs);
    if (c->recompute) vm_checkpoint_end(g);
    for (int k = 0; c->twice && k < c->n_in; k++)
        if (!c->in[k].fixed && !c->in[k].ids) outs[c->n_out++] = ins[k];
    for (int k = 0; k < c->n_out; k++) {
        char name[16];
        snprintf(name, sizeof name, "out %d", k);
        vm_output(g, name, outs[k]);
    }
    return g;
}

static bool gc_run(gc *c, vm_graph *g) {
    if (vm_plan(g)) {
        MISMATCH("%s\n", g->err.msg);
        return false;
    }
    for (int k = 0; k < c->n_in; k++) {
        if (c->param[k]) memcpy(c->param[k]->data, c->x[k], (size_t)gc_count(&c->in[k]) * sizeof(double));
        else vm_set(g, c->in[k].name, c->in[k].ids ? (const void *)c->in[k].ids : c->x[k]);
    }
    for (int k = 0; k < 2 * GC_MAX; k++) {
        char name[16];
        snprintf(name, sizeof name, "seed %d", k);
        if (vm_find(g, name)) vm_set(g, name, c->seed[k]);
    }
    if (vm_run(g)) MISMATCH("%s\n", g->err.msg);
    return !g->err.status;
}

/* f at the present inputs, through a graph without backward pass */
static double gc_value(gc *c, vm_graph *g, const vm_val *outs) {
    double f = 0;
    if (!gc_run(c, g)) return NAN;
    for (int k = 0; k < c->n_out; k++) {
        const double *y = vm_data(g, outs[k]);
        for (int64_t i = 0; i < c->n_seed[k]; i++) f += y[i] * c->seed[k][i];
    }
    return f;
}

/* Runs forward and backward; grad[k] gets the gradient of input k. */
static void gc_gradients(gc *c, double **grad) {
    vm_val ins[GC_MAX], outs[2 * GC_MAX], seeds[2 * GC_MAX], wrt[GC_MAX];
    int n_wrt = 0;
    vm_graph *g = gc_graph(c, ins, outs);
    for (int k = 0; k < c->n_out && !g->err.status; k++) {
        char name[16];
        snprintf(name, sizeof name, "seed %d", k);
        vm_value v = g->v[outs[k]];
        seeds[k] = vm_input(g, name, VM_F32, v.nd, v.ne);
        if (c->seed[k]) continue;
        uint64_t s = 77 + (uint64_t)k;
        c->n_seed[k] = vm_count(g, outs[k]);
        c->seed[k] = vm_alloc((size_t)c->n_seed[k] * sizeof(double) + 1);
        for (int64_t i = 0; i < c->n_seed[k]; i++) c->seed[k][i] = test_uniform(&s);
    }
    for (int k = 0; k < c->n_in; k++)
        if (!c->in[k].fixed && !c->in[k].ids) wrt[n_wrt++] = ins[k];
    vm_backward(g, c->n_out, outs, seeds, n_wrt, wrt);
    for (int k = 0; k < c->n_in; k++)
        if (!c->param[k] && vm_grad(g, ins[k])) {
            char name[16];
            snprintf(name, sizeof name, "grad %d", k);
            vm_output(g, name, vm_grad(g, ins[k]));
        }
    bool ok = gc_run(c, g);
    if (ok && !c->twice && !c->recompute) ok = gc_run(c, g); /* a second run must not add to the first */
    for (int k = 0; k < c->n_in && ok; k++) {
        if (c->in[k].fixed || c->in[k].ids) continue;
        size_t n = (size_t)gc_count(&c->in[k]);
        const double *d = c->param[k] ? c->param[k]->grad : vm_data(g, vm_grad(g, ins[k]));
        grad[k] = vm_alloc(n * sizeof(double) + 1);
        if (d) memcpy(grad[k], d, n * sizeof(double));
        else MISMATCH("%s got no gradient\n", c->in[k].name);
    }
    if (ok && !c->twice && !c->recompute) { /* accumulation over two runs doubles the gradients of weights */
        g->accumulate = true;
        gc_run(c, g);
        for (int k = 0; k < c->n_in; k++)
            for (int64_t i = 0; c->param[k] && !c->in[k].fixed && i < gc_count(&c->in[k]); i++)
                EXPECT_NEAR(c->param[k]->grad[i], 2 * grad[k][i], 1e-12 * (1 + fabs(grad[k][i])));
    }
    vm_graph_free(g);
}

static void gc_compare_differences(gc *c) {
    vm_val ins[GC_MAX], outs[2 * GC_MAX];
    vm_graph *g = gc_graph(c, ins, outs);
    uint64_t s = 5;
    for (int k = 0; k < c->n_in; k++) {
        int64_t n = gc_count(&c->in[k]);
        if (c->in[k].fixed || c->in[k].ids || !c->grad[k]) continue;
        double scale = 1e-3; /* below it the differences are noise */
        for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(c->grad[k][i]));
        for (int64_t p = 0; p < VM_MIN(n, (int64_t)GC_PROBES); p++) {
            int64_t i = n <= GC_PROBES ? p : (int64_t)(test_rand(&s) % (uint64_t)n);
            double x = c->x[k][i], h = 1e-5 * fmax(1, fabs(x)), up = x + h, down = x - h;
            c->x[k][i] = up;
            double fu = gc_value(c, g, outs);
            c->x[k][i] = down;
            double fd = gc_value(c, g, outs), want = (fu - fd) / (up - down);
            c->x[k][i] = x;
            test_checks++;
            if (!(fabs(c->grad[k][i] - want) <= 1e-6 * scale))
                MISMATCH("%s[%lld]: gradient %.10g, difference %.10g (scale %.3g)\n", c->in[k].name, (long long)i,
                         c->grad[k][i], want, scale);
        }
    }
    vm_graph_free(g);
}

static void gradcheck(gc_build build, int n_in, const gc_in *in) {
    gc c = { .build = build, .n_in = n_in, .in = in };
    uint64_t s = 1;
    for (int k = 0; k < n_in; k++) {
        int64_t n = gc_count(&in[k]);
        double lo = in[k].lo, hi = in[k].lo == in[k].hi ? lo = -1, 1 : in[k].hi;
        c.x[k] = vm_alloc((size_t)n * sizeof(double) + 1);
        for (int64_t i = 0; i < n; i++)
            do c.x[k][i] = lo + (hi - lo) * (0.5 + 0.5 * test_uniform(&s));
            while (fabs(c.x[k][i]) < in[k].away);
        if (in[k].param) c.param[k] = vm_param_new(vm_backend_cpu(), in[k].name, VM_F32, in[k].nd, in[k].ne, NULL);
    }
    gc_gradients(&c, c.grad);
    gc_compare_differences(&c);
    for (int mode = 0; mode < 2; mode++) {
        double *again[GC_MAX] = { 0 };
        int n_out = c.n_out;
        c.twice = mode == 0, c.recompute = mode == 1;
        gc_gradients(&c, again);
        int extra = n_out;
        for (int k = 0; k < n_in; k++) {
            if (in[k].fixed || in[k].ids || !again[k] || !c.grad[k]) continue;
            for (int64_t i = 0; i < gc_count(&in[k]); i++) {
                double want = c.grad[k][i] + (mode == 0 ? c.seed[extra][i] : 0);
                if (mode == 0) EXPECT_NEAR(again[k][i], want, 1e-12 * (1 + fabs(want)));
                else EXPECT(again[k][i] == want);
            }
            extra++;
        }
        for (int k = 0; k < n_in; k++) vm_free(again[k]);
        c.twice = c.recompute = false;
    }
    for (int k = 0; k < n_in; k++) {
        vm_param_free(c.param[k]);
        vm_free(c.x[k]);
        vm_free(c.grad[k]);
    }
    for (int k = 0; k < 2 * GC_MAX; k++) vm_free(c.seed[k]);
}

#endif
