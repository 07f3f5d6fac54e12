/* optimizer.c - see optimizer.h. */
#include "models/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"

double lr_at(const lr_schedule *s, int64_t step) {
    const int64_t fall = s->total - s->cooldown, rest = VM_MAX(s->total - s->warm, (int64_t)1);
    if (step < s->warm) return s->lr * (double)(step + 1) / (double)s->warm;
    switch (s->kind) {
    case LR_CONST: return s->lr;
    case LR_CONST_COOLDOWN:
        if (step < fall) return s->lr;
        return pow(1 - (double)(step - fall) / (double)s->cooldown, s->power) * (s->lr - s->end) + s->end;
    case LR_LINEAR: return s->lr * (double)(s->total - step) / (double)rest;
    default: return 0.5 * s->lr * (1 + cos(M_PI * (double)(step - s->warm) / (double)rest));
    }
}

void optimizer_free(optimizer *o) {
    vm_graph_free(o->norm);
    vm_graph_free(o->update);
    vm_graph_free(o->average);
    o->norm = o->update = o->average = NULL;
}

static vm_status failed(const vm_graph *g, vm_error *e) { return *e = g->err, e->status; }

static bool learns(const vm_param *p) { return p->trainable && p->grad; }

/* Parameters with gradients are known after the first backward plan. */
static vm_status build(optimizer *o, vm_error *e) {
    weight_set *w = o->w;
    o->norm = vm_graph_new(w->be, VM_F32), o->update = vm_graph_new(w->be, VM_F32);
    if (!o->norm || !o->update) return vm_nomem(e, sizeof *o->norm, "a graph");
    vm_output(o->norm, "sqnorm", vm_grad_sqnorm(o->norm, (int)w->n, w->p));
    vm_val hyper = vm_input(o->update, "hyper", VM_F32, 1, (int64_t[]){ 4 });
    for (int64_t i = 0; i < w->n; i++)
        if (learns(w->p[i])) vm_adamw(o->update, w->p[i], hyper, o->c.adam);
    if (vm_plan(o->norm) || vm_plan(o->update)) return failed(o->norm->err.status ? o->norm : o->update, e);
    if (o->c.ema <= 0) return VM_OK;
    if (!(o->average = vm_graph_new(w->be, VM_F32))) return vm_nomem(e, sizeof *o->average, "a graph");
    vm_val decay = vm_input(o->average, "decay", VM_F32, 1, (int64_t[]){ 1 });
    for (int64_t i = 0; i < w->n; i++)
        if (learns(w->p[i])) vm_average(o->average, w->p[i], decay);
    return vm_plan(o->average) ? failed(o->average, e) : VM_OK;
}

vm_status optimizer_norm(optimizer *o, double *norm, vm_error *e) {
    vm_real square = 0;
    if (!o->update && build(o, e)) return e->status;
    if (vm_run(o->norm) || vm_get(o->norm, "sqnorm", &square)) return failed(o->norm, e);
    *norm = sqrt((double)square);
    return VM_OK;
}

vm_status optimizer_update(optimizer *o, double lr, double norm, vm_error *e) {
    double k = (double)++o->updates, clip = o->c.clip_norm > 0 && norm > o->c.clip_norm ? o->c.clip_norm / norm : 1;
    vm_real hyper[4] = { (vm_real)lr, (vm_real)(1 - pow(o->c.adam.beta1, k)), (vm_real)(1 - pow(o->c.adam.beta2, k)),
                         (vm_real)clip };
    return vm_set(o->update, "hyper", hyper) || vm_run(o->update) ? failed(o->update, e) : VM_OK;
}

vm_status optimizer_average(optimizer *o, vm_error *e) {
    double k = (double)o->updates;
    vm_real decay = (vm_real)VM_MIN(o->c.ema, k / (9 + k));
    return o->average && (vm_set(o->average, "decay", &decay) || vm_run(o->average)) ? failed(o->average, e) : VM_OK;
}

optimizer_bytes optimizer_memory(const optimizer *o) {
    size_t learn = 0, weights = 0;
    for (int64_t i = 0; i < o->w->n; i++) {
        const vm_param *p = o->w->p[i];
        if (p->trainable) learn += (size_t)vm_param_count(p);
        if (!p->quant) weights += (size_t)vm_param_count(p) * vm_type_size(p->type); /* else its codes and scales, which are parameters, too */
    }
    return (optimizer_bytes){ .weights = weights,
                              .gradients = learn * sizeof(vm_real),
                              .moments = 2 * learn * sizeof(float),
                              .average = o->c.ema > 0 ? learn * sizeof(vm_real) : 0 };
}

/* --- on disk ----------------------------------------------------------------------------------------------------- */
static const char *const kept[] = { "m", "v", "average" };

vm_status optimizer_save(const optimizer *o, const char *dir, vm_error *e) {
    const weight_set *w = o->w;
    char *path = path_join(dir, "optim.safetensors"), name[300];
    st_writer *s = NULL;
    if (!path) return vm_nomem(e, 256, "a path");
    st_writer_open(&s, path, 0, e);
    vm_free(path);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < w->n && !e->status; i++)
            for (int k = 0; k < 3 && !e->status; k++) {
                const vm_param *p = w->p[i];
                const float *const x = ((const float *const[]){ p->m, p->v, (const float *)p->average })[k];
                if (!x) continue;
                snprintf(name, sizeof name, "%s.%s", kept[k], p->name);
                vm_mirror at;
                if (pass && !vm_mirror_open(&at, p->be, x, (size_t)vm_param_count(p) * sizeof *x, true, e)) {
                    st_writer_put(s, name, at.host, e);
                    vm_mirror_close(&at, false, NULL);
                }
                if (!pass) st_writer_add(s, name, ST_F32, p->nd, p->ne, e);
            }
    if (!e->status) return st_writer_commit(s, e);
    st_writer_abort(s);
    return e->status;
}

vm_status optimizer_load(optimizer *o, const char *dir, int64_t updates, vm_error *e) {
    weight_set *w = o->w;
    st_file *f = NULL;
    char name[300];
    st_open_base(&f, dir, "optim", e);
    for (int64_t i = 0; i < w->n && !e->status; i++)
        for (int k = 0; k < 3 && !e->status; k++) {
            vm_param *p = w->p[i];
            float **x = ((float **[]){ &p->m, &p->v, (float **)&p->average })[k];
            snprintf(name, sizeof name, "%s.%s", kept[k], p->name);
            const st_tensor *s = st_find(f, name);
            const size_t bytes = (size_t)vm_param_count(p) * sizeof **x;
            vm_mirror at;
            if (!s) { /* frozen, or before the first step */
                if (!*x || vm_mirror_open(&at, p->be, *x, bytes, false, e)) continue;
                memset(at.host, 0, bytes);
                vm_mirror_close(&at, true, e);
                continue;
            }
            if (s->len != vm_param_count(p))
                vm_fail(e, VM_EMODEL, "%s: %s has %lld elements, the model %lld", st_path(f, s), name,
                        (long long)s->len, (long long)vm_param_count(p));
            else if (!*x && !(*x = p->be->alloc(p->be, bytes))) vm_nomem(e, bytes, name);
            else if (!vm_mirror_open(&at, p->be, *x, bytes, false, e)) {
                st_read_f32(f, s, 0, s->len, at.host, e);
                vm_mirror_close(&at, !e->status, e);
            }
        }
    st_close(f);
    for (int64_t i = 0; i < w->n; i++) vm_param_touch(w->p[i]); /* packed copies of what was there before are stale */
    o->updates = updates;
    return e->status;
}
