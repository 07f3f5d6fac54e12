/* clip_train.c - see clip_train.h. Plans are kept per batch shape; gradients and moments belong to the parameters, so all
 * plans share them. */
#include "models/clip_train.h"

#include <math.h>
#include <string.h>

#include "io/file.h"

enum { MAX_PLANS = 8 };

typedef struct {
    int64_t n_orig, n_twins, T;
    uint64_t used;
    vm_graph *g;
} plan;

struct clip_trainer {
    towers *m;
    clip_train_config c;
    plan plans[MAX_PLANS];
    vm_graph *norm, *update, *last;
    uint64_t clock;
    int64_t steps;
    int32_t *target;
    int64_t n_target;
};

double clip_lr(double lr, int64_t step, int64_t warm, int64_t total) {
    if (step < warm) return lr * (double)(step + 1) / (double)warm;
    return 0.5 * lr * (1 + cos(M_PI * (double)(step - warm) / (double)VM_MAX(total - warm, (int64_t)1)));
}

vm_status clip_trainer_new(clip_trainer **out, towers *m, const clip_train_config *c, vm_error *e) {
    clip_trainer *t = vm_calloc(1, sizeof *t);
    *out = t;
    if (!t) return vm_nomem(e, sizeof *t, "a trainer");
    t->m = m, t->c = *c;
    return VM_OK;
}

void clip_trainer_free(clip_trainer *t) {
    if (!t) return;
    for (int k = 0; k < MAX_PLANS; k++) vm_graph_free(t->plans[k].g);
    vm_graph_free(t->norm);
    vm_graph_free(t->update);
    vm_free(t->target);
    vm_free(t);
}

int64_t clip_trainer_steps(const clip_trainer *t) { return t->steps; }
vm_graph *clip_trainer_graph(const clip_trainer *t) { return t->last; }

size_t clip_trainer_bytes(const clip_trainer *t) {
    size_t n = 0;
    for (int k = 0; k < MAX_PLANS; k++) n += t->plans[k].g ? t->plans[k].g->arena_bytes : 0;
    return n;
}

static void build(clip_trainer *t, vm_graph *g, const clip_batch *b) {
    int64_t n = b->n_orig + b->n_twins, pairs = t->c.loss == CLIP_ITC_HN ? b->n_orig : n;
    g->training = true, g->deterministic = t->c.deterministic;
    vm_val target = vm_input(g, "target", VM_I32, 1, &pairs);
    vm_val img = towers_images(g, t->m, n), txt = towers_texts(g, t->m, n, b->T);
    vm_val scale = vm_unary(g, vm_weight(g, t->m->logit_scale), VM_EXP, VM_F32);
    vm_scope(g, "loss");
    vm_val loss = loss_info_nce(g, img, txt, scale, pairs, target).loss;
    vm_output(g, "itc", loss);
    if (b->n_twins && t->c.twin_weight > 0) {
        vm_val twin = loss_twins(g, img, txt, scale, b->n_twins, b->n_orig);
        vm_output(g, "twin", twin);
        loss = vm_binary(g, loss, vm_scale(g, twin, t->c.twin_weight, 0), VM_ADD);
    }
    vm_output(g, "loss", loss);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
}

static vm_graph *plan_for(clip_trainer *t, const clip_batch *b, vm_error *e) {
    plan *p = &t->plans[0];
    for (int k = 0; k < MAX_PLANS; k++) {
        plan *q = &t->plans[k];
        if (q->g && q->n_orig == b->n_orig && q->n_twins == b->n_twins && q->T == b->T) return q->used = ++t->clock, q->g;
        if (!q->g ? p->g != NULL : p->g && q->used < p->used) p = q;
    }
    vm_graph_free(p->g);
    *p = (plan){ b->n_orig, b->n_twins, b->T, ++t->clock, vm_graph_new(t->m->w->be, t->c.dtype) };
    if (!p->g) return vm_nomem(e, sizeof *p->g, "a graph"), NULL;
    build(t, p->g, b);
    if (!vm_plan(p->g)) return p->g;
    *e = p->g->err;
    vm_graph_free(p->g);
    p->g = NULL;
    return NULL;
}

/* The optimizer's two graphs: parameters with gradients are known after the first backward plan. */
static vm_status build_update(clip_trainer *t, vm_error *e) {
    weight_set *w = t->m->w;
    t->norm = vm_graph_new(w->be, VM_F32), t->update = vm_graph_new(w->be, VM_F32);
    if (!t->norm || !t->update) return vm_nomem(e, sizeof *t->norm, "a graph");
    vm_output(t->norm, "sqnorm", vm_grad_sqnorm(t->norm, (int)w->n, w->p));
    vm_val hyper = vm_input(t->update, "hyper", VM_F32, 1, (int64_t[]){ 4 });
    for (int64_t i = 0; i < w->n; i++)
        if (w->p[i]->trainable && w->p[i]->grad) vm_adamw(t->update, w->p[i], hyper, t->c.adam);
    if (vm_plan(t->norm)) *e = t->norm->err;
    else if (vm_plan(t->update)) *e = t->update->err;
    return e->status;
}

static vm_status targets(clip_trainer *t, int64_t n, vm_error *e) {
    if (n <= t->n_target) return VM_OK;
    vm_free(t->target);
    t->target = vm_alloc((size_t)n * sizeof *t->target);
    t->n_target = t->target ? n : 0;
    for (int64_t i = 0; i < t->n_target; i++) t->target[i] = (int32_t)i;
    return t->target ? VM_OK : vm_nomem(e, (size_t)n * 4, "the targets");
}

static double output(vm_graph *g, const char *name) {
    vm_real x = 0;
    return vm_find(g, name) && !vm_get(g, name, &x) ? (double)x : 0;
}

vm_status clip_trainer_step(clip_trainer *t, const clip_batch *b, double lr, clip_step *out, vm_error *e) {
    *out = (clip_step){ 0 };
    vm_graph *g = plan_for(t, b, e);
    if (!g || targets(t, 2 * b->n_orig, e) || (!t->update && build_update(t, e))) return e->status;
    t->last = g;
    if (vm_set(g, "pixels", b->pixels) || vm_set(g, "ids", b->ids) || vm_set(g, "at", b->at) || vm_set(g, "mask", b->mask) ||
        vm_set(g, "target", t->target) || vm_run(g))
        return *e = g->err, e->status;
    if (vm_run(t->norm)) return *e = t->norm->err, e->status;
    out->loss = output(g, "loss"), out->itc = output(g, "itc"), out->twin = output(g, "twin");
    out->grad_norm = sqrt(output(t->norm, "sqnorm"));
    vm_real *log_scale = t->m->logit_scale->data;
    out->scale = exp((double)log_scale[0]);
    out->skipped = !isfinite(out->loss) || !isfinite(out->grad_norm);
    if (out->skipped) return VM_OK;
    double k = (double)++t->steps;
    double clip = t->c.clip_norm > 0 && out->grad_norm > t->c.clip_norm ? t->c.clip_norm / out->grad_norm : 1;
    vm_real hyper[4] = { (vm_real)lr, (vm_real)(1 - pow(t->c.adam.beta1, k)), (vm_real)(1 - pow(t->c.adam.beta2, k)), (vm_real)clip };
    if (vm_set(t->update, "hyper", hyper) || vm_run(t->update)) return *e = t->update->err, e->status;
    log_scale[0] = VM_MIN(VM_MAX(log_scale[0], 0), (vm_real)t->c.max_logit_scale);
    vm_param_touch(t->m->logit_scale);
    return VM_OK;
}

/* --- state on disk -------------------------------------------------------------------------------------------------- */
static vm_status save_moments(const clip_trainer *t, const char *dir, vm_error *e) {
    const weight_set *w = t->m->w;
    char *path = path_join(dir, "optim.safetensors"), name[300];
    st_writer *s = NULL;
    if (!path) return vm_nomem(e, 256, "a path");
    st_writer_open(&s, path, 0, e);
    vm_free(path);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < w->n && !e->status; i++)
            for (int k = 0; k < 2 && !e->status; k++) {
                const vm_param *p = w->p[i];
                const float *x = k ? p->v : p->m;
                if (!x) continue;
                snprintf(name, sizeof name, "%s.%s", k ? "v" : "m", p->name);
                if (pass) st_writer_put(s, name, x, e);
                else st_writer_add(s, name, ST_F32, p->nd, p->ne, e);
            }
    if (!e->status) return st_writer_commit(s, e);
    st_writer_abort(s);
    return e->status;
}

vm_status clip_trainer_save(const clip_trainer *t, const char *dir, vm_error *e) {
    return t->m->family->save(t->m, dir, ST_F32, false, e) || save_moments(t, dir, e) ? e->status : VM_OK;
}

vm_status clip_trainer_load(clip_trainer *t, const char *dir, int64_t steps, vm_error *e) {
    weight_set *w = t->m->w;
    st_file *f = NULL;
    char name[300];
    if (!t->m->family->load(t->m, dir, e)) st_open_base(&f, dir, "optim", e);
    for (int64_t i = 0; i < w->n && !e->status; i++)
        for (int k = 0; k < 2 && !e->status; k++) {
            vm_param *p = w->p[i];
            float **x = k ? &p->v : &p->m;
            snprintf(name, sizeof name, "%s.%s", k ? "v" : "m", p->name);
            const st_tensor *s = st_find(f, name);
            if (!s) continue; /* frozen, or before the first step */
            if (s->len != vm_param_count(p)) vm_fail(e, VM_EMODEL, "%s: %s has %lld elements, the model %lld", st_path(f, s), name, (long long)s->len, (long long)vm_param_count(p));
            else if (!*x && !(*x = p->be->alloc(p->be, (size_t)s->len * sizeof **x))) vm_nomem(e, (size_t)s->len * sizeof **x, name);
            else st_read_f32(f, s, 0, s->len, *x, e);
        }
    st_close(f);
    t->steps = steps;
    return e->status;
}
