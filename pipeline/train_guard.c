/* train_guard.c - see train_guard.h. */
#include "pipeline/train_guard.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "io/log.h"

train_guard train_guard_new(double skip_z) { return (train_guard){ .skip_z = skip_z, .lr_factor = 1 }; }

bool train_guard_passes(const train_guard *g, int64_t step) {
    for (int64_t k = 0; k < g->n_passed; k++)
        if ((int64_t)g->passed[k] == step) return true;
    return false;
}

static double limit(const double *x, double z) {
    double mean = 0, square = 0;
    for (int k = 0; k < GUARD_WINDOW; k++) mean += x[k] / GUARD_WINDOW;
    for (int k = 0; k < GUARD_WINDOW; k++) square += (x[k] - mean) * (x[k] - mean) / GUARD_WINDOW;
    return mean + z * sqrt(square);
}

void train_guard_limits(const train_guard *g, double *loss, double *norm) {
    *loss = *norm = INFINITY;
    if (g->skip_z > 0 && g->n_window == GUARD_WINDOW)
        *loss = limit(g->loss, g->skip_z), *norm = limit(g->norm, g->skip_z);
}

/* Skipped spikes count too: a level that stays is no spike for long. */
static void remember(train_guard *g, double loss, double norm) {
    if (g->n_window == GUARD_WINDOW) {
        memmove(g->loss, g->loss + 1, (GUARD_WINDOW - 1) * sizeof *g->loss);
        memmove(g->norm, g->norm + 1, (GUARD_WINDOW - 1) * sizeof *g->norm);
        g->n_window--;
    }
    g->loss[g->n_window] = loss, g->norm[g->n_window++] = norm;
}

static guard_verdict go_back(train_guard *g, int64_t from, int64_t to, const char *out, vm_error *e) {
    if (g->rewinds == GUARD_REWINDS) {
        vm_fail(
            e, VM_EMODEL,
            "%s: no finite numbers up to step %lld, after going back %d times with half the learning rate; lower --lr",
            out, (long long)to, GUARD_REWINDS);
        return GUARD_REWIND;
    }
    g->rewinds++, g->lr_factor /= 2, g->in_row = 0;
    for (int64_t step = from; step <= to && g->n_passed < GUARD_PASSED; step++) g->passed[g->n_passed++] = (double)step;
    return GUARD_REWIND;
}

guard_verdict train_guard_see(train_guard *g, int64_t step, const train_step *s, const char *out, vm_error *e) {
    bool finite = isfinite(s->loss) && isfinite(s->grad_norm);
    if (finite) {
        remember(g, s->loss, s->grad_norm);
        g->in_row = 0;
        return s->skipped ? GUARD_SKIPPED : GUARD_GOOD;
    }
    if (++g->in_row <= GUARD_ROW) return GUARD_SKIPPED;
    return go_back(g, step - GUARD_ROW, step, out, e);
}

vm_status train_guard_spoilt(train_guard *g, int64_t step, const char *out, vm_error *e) {
    go_back(g, step, step, out, e);
    return e->status;
}

/* --- evidence ----------------------------------------------------------------------------------------------------- */
typedef struct {
    double most;
    int64_t bad;
} extent;

/* A device that does not give its numbers has none that are finite. */
static extent measure(const vm_param *p, const vm_real *x) {
    extent r = { 0 };
    vm_mirror at;
    int64_t n = vm_param_count(p);
    if (!x || p->type != VM_F32) return r; /* of a base that does not learn: in the bits of its file */
    if (vm_mirror_open(&at, p->be, x, (size_t)n * sizeof *x, true, NULL)) return (extent){ NAN, n };
    x = at.host;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite((double)x[i])) r.bad++;
        else r.most = fmax(r.most, fabs((double)x[i]));
    }
    vm_mirror_close(&at, false, NULL);
    return r;
}

static void put_extent(json_writer *w, const char *name, const vm_param *p, const vm_real *x) {
    extent r = measure(p, x);
    if (!x) return;
    json_begin_object(w, name);
    json_put_num(w, "max_abs", r.most), json_put_int(w, "nonfinite", r.bad);
    json_close_object(w);
}

void train_guard_dump(const char *dir, int rank, int64_t step, const train_step *s, const train_task *t) {
    char name[64];
    const weight_set *w = t->w;
    vm_error e = { 0 };
    json_writer j = json_to_memory(JSON_PRETTY);
    json_begin_object(&j, NULL);
    json_put_int(&j, "step", step);
    json_put_num(&j, "loss", s->loss), json_put_num(&j, "grad_norm", s->grad_norm);
    t->evidence(t, &j);
    json_begin_object(&j, "parameters");
    for (int64_t i = 0; i < w->n; i++) {
        const vm_param *p = w->p[i];
        json_begin_object(&j, p->name);
        put_extent(&j, "data", p, p->data), put_extent(&j, "grad", p, p->grad);
        json_close_object(&j);
    }
    json_close_object(&j);
    json_close_object(&j);
    snprintf(name, sizeof name, rank ? "nonfinite-%08lld.rank%d.json" : "nonfinite-%08lld.json", (long long)step, rank);
    if (json_save(&j, dir, name, &e)) vm_warn("%s", e.msg);
}

static bool finite_all(const vm_param *p, const float *x) {
    bool good = true;
    vm_mirror at;
    int64_t n = vm_param_count(p);
    if (!x) return true;
    if (vm_mirror_open(&at, p->be, x, (size_t)n * sizeof *x, true, NULL)) return false;
    for (int64_t i = 0; i < n; i++) good &= isfinite(((const float *)at.host)[i]) != 0;
    vm_mirror_close(&at, false, NULL);
    return good;
}

const char *train_guard_check(const weight_set *w) {
    for (int64_t i = 0; i < w->n; i++) {
        const vm_param *p = w->p[i];
        if (measure(p, p->data).bad || !finite_all(p, p->m) || !finite_all(p, p->v)) return p->name;
    }
    return NULL;
}
