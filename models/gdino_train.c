/* gdino_train.c - see gdino_train.h. Plans are kept for sizes of batches that come again; gradients and moments belong to the
 * parameters, so all plans share them. */
#include "models/gdino_train.h"

#include <math.h>

enum { PLANS = 8, TARGETS_STEP = 4 }; /* room for targets grows in steps, so that fewer plans are made */

typedef struct {
    int64_t B, H, W, T, targets, noised;
    bool real;                 /* with a mask of pixels */
    uint64_t used;
    vm_graph *g;
    gdino_loss loss;
} plan;

struct gdino_trainer {
    gdino *m;
    gdino_train_config c;
    optimizer o;
    plan plans[PLANS];
    vm_arena arena;
    uint64_t clock;
};

vm_status gdino_trainer_new(gdino_trainer **out, gdino *m, const gdino_train_config *c, vm_error *e) {
    gdino_trainer *t = vm_calloc(1, sizeof *t);
    if (!(*out = t)) return vm_nomem(e, sizeof *t, "a trainer");
    t->m = m, t->c = *c, t->o.w = &m->w, t->o.c = c->optimizer;
    return VM_OK;
}

void gdino_trainer_free(gdino_trainer *t) {
    if (!t) return;
    for (int k = 0; k < PLANS; k++) vm_graph_free(t->plans[k].g);
    vm_arena_free(&t->arena);
    optimizer_free(&t->o);
    vm_free(t);
}

int64_t gdino_trainer_updates(const gdino_trainer *t) { return t->o.updates; }

/* --- plans ---------------------------------------------------------------------------------------------------------- */
static vm_status build(gdino_trainer *t, plan *p, const gdino_batch *b, vm_error *e) {
    gdino_out o;
    if (!(p->g = vm_graph_new(t->m->w.be, t->c.dtype))) return vm_nomem(e, sizeof *p->g, "a graph");
    vm_graph *g = p->g;
    g->shared = &t->arena, g->training = true, g->deterministic = t->c.deterministic, g->seed = t->c.seed;
    gdino_forward(g, t->m, b, true, &o);
    o.first_logits = o.pick_logits, o.first_boxes = o.pick_boxes;
    vm_scope(g, "loss");
    vm_val loss = gdino_loss_of(g, t->m, b, &o, p->targets, &p->loss);
    if (b->noised) {
        vm_val noised = gdino_denoise_loss(g, t->m, b, &o, p->targets);
        vm_output(g, "loss.noised", noised);
        loss = vm_binary(g, loss, noised, VM_ADD);
    }
    vm_output(g, "loss", loss);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    if (!vm_plan(g)) return VM_OK;
    *e = g->err;
    vm_graph_free(g);
    p->g = NULL;
    return e->status;
}

/* The plan for such a batch, one that is kept or a new one; b->noised is set. */
static plan *plan_for(gdino_trainer *t, gdino_batch *b, const gdino_target *targets, vm_error *e) {
    plan *p = &t->plans[0];
    int64_t most = 1;
    for (int64_t k = 0; k < b->B; k++) most = VM_MAX(most, targets[k].n);
    most = (most + TARGETS_STEP - 1) / TARGETS_STEP * TARGETS_STEP, b->noised = gdino_denoise_count(&t->c.denoise, most);
    for (int k = 0; k < PLANS; k++) {
        plan *q = &t->plans[k];
        if (q->g && q->B == b->B && q->H == b->H && q->W == b->W && q->T == b->T && q->targets == most && q->real == (b->real != NULL))
            return q->used = ++t->clock, q;
        if (!q->g ? p->g != NULL : p->g && q->used < p->used) p = q;
    }
    vm_graph_free(p->g);
    *p = (plan){ .B = b->B, .H = b->H, .W = b->W, .T = b->T, .targets = most, .real = b->real != NULL, .used = ++t->clock };
    return build(t, p, b, e) ? NULL : p;
}

/* --- steps ---------------------------------------------------------------------------------------------------------- */
static double output(vm_graph *g, const char *name) {
    vm_real x = 0;
    return vm_find(g, name) && !vm_get(g, name, &x) ? (double)x : 0;
}

vm_status gdino_trainer_step(gdino_trainer *t, const gdino_batch *batch, const gdino_target *targets, uint64_t step, double lr, double most_loss,
                             double most_norm, gdino_step *out, vm_error *e) {
    gdino_batch b = *batch;
    plan *p = plan_for(t, &b, targets, e);
    *out = (gdino_step){ 0 };
    if (!p) return e->status;
    vm_graph *g = p->g;
    g->step = step;
    if (gdino_fill(g, t->m, &b, e) || gdino_loss_fill(g, &b, targets, &p->loss, e)) return e->status;
    if (b.noised && gdino_denoise_fill(g, t->m, &b, targets, p->targets, &t->c.denoise, t->c.seed, step, e)) return e->status;
    if (vm_run(g)) return *e = g->err, e->status;
    *out = (gdino_step){ .loss = output(g, "loss"), .ce = output(g, "loss.ce"), .bbox = output(g, "loss.bbox"), .giou = output(g, "loss.giou"),
                         .pick_ce = output(g, "loss.ce_enc"), .pick_bbox = output(g, "loss.bbox_enc"), .pick_giou = output(g, "loss.giou_enc"),
                         .noised = output(g, "loss.noised") };
    if (optimizer_norm(&t->o, &out->grad_norm, e)) return e->status;
    out->skipped = !isfinite(out->loss) || !isfinite(out->grad_norm) || out->loss > most_loss || out->grad_norm > most_norm;
    if (out->skipped || optimizer_update(&t->o, lr, out->grad_norm, e)) return e->status;
    return optimizer_average(&t->o, e);
}

vm_status gdino_trainer_save(const gdino_trainer *t, const char *dir, vm_error *e) {
    return gdino_save(t->m, dir, ST_F32, e) ? e->status : optimizer_save(&t->o, dir, e);
}

vm_status gdino_trainer_load(gdino_trainer *t, const char *dir, int64_t updates, vm_error *e) {
    return gdino_restore(t->m, dir, e) ? e->status : optimizer_load(&t->o, dir, updates, e);
}
