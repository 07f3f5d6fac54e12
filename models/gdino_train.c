/* gdino_train.c - see gdino_train.h. Plans are kept for sizes of batches that come again; gradients and moments belong to the
 * parameters, so all plans share them. */
#include "models/gdino_train.h"

#include <math.h>

#include "kernels/plans.h"

enum { PLANS = 8, TARGETS_STEP = 4 }; /* room for targets grows in steps, so that fewer plans are made */

typedef struct {
    int64_t B, H, W, T, targets;
    int64_t real;              /* with a mask of pixels */
} plan_key;

struct gdino_trainer {
    gdino *m;
    gdino_train_config c;
    optimizer o;
    vm_plans plans;
    gdino_loss loss[PLANS];    /* of each */
    const gdino_batch *batch;  /* of the step at hand */
    vm_arena arena;
};

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);

vm_status gdino_trainer_new(gdino_trainer **out, gdino *m, const gdino_train_config *c, vm_error *e) {
    gdino_trainer *t = vm_calloc(1, sizeof *t);
    if (!(*out = t)) return vm_nomem(e, sizeof *t, "a trainer");
    t->m = m, t->c = *c, t->o.w = &m->w, t->o.c = c->optimizer;
    t->plans = (vm_plans){ .be = m->w.be, .dtype = c->dtype, .most = PLANS, .arena = &t->arena, .build = build, .ctx = t };
    return VM_OK;
}

void gdino_trainer_free(gdino_trainer *t) {
    if (!t) return;
    vm_plans_free(&t->plans);
    vm_arena_free(&t->arena);
    optimizer_free(&t->o);
    vm_free(t);
}

int64_t gdino_trainer_updates(const gdino_trainer *t) { return t->o.updates; }

/* --- plans ---------------------------------------------------------------------------------------------------------- */
static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    gdino_trainer *t = ctx;
    const plan_key *k = key;
    const gdino_batch *b = t->batch; /* it has what the key says */
    gdino_out o;
    g->training = true, g->deterministic = t->c.deterministic, g->seed = t->c.seed;
    gdino_forward(g, t->m, b, true, &o);
    o.first_logits = o.pick_logits, o.first_boxes = o.pick_boxes;
    vm_scope(g, "loss");
    vm_val loss = gdino_loss_of(g, t->m, b, &o, k->targets, &t->loss[place]);
    if (b->noised) {
        vm_val noised = gdino_denoise_loss(g, t->m, b, &o, k->targets);
        vm_output(g, "loss.noised", noised);
        loss = vm_binary(g, loss, noised, VM_ADD);
    }
    vm_output(g, "loss", loss);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    return VM_OK;
}

/* Room for targets of a picture. */
static int64_t room_for(const gdino_batch *b, const gdino_target *targets) {
    int64_t most = 1;
    for (int64_t k = 0; k < b->B; k++) most = VM_MAX(most, targets[k].n);
    return (most + TARGETS_STEP - 1) / TARGETS_STEP * TARGETS_STEP;
}

vm_status gdino_trainer_memory(gdino_trainer *t, const gdino_batch *batch, const gdino_target *targets, optimizer_bytes *own, size_t *activations, vm_error *e) {
    gdino_batch b = *batch;
    const plan_key key = { b.B, b.H, b.W, b.T, room_for(batch, targets), b.real != NULL };
    b.noised = gdino_denoise_count(&t->c.denoise, key.targets), t->batch = &b;
    *own = optimizer_memory(&t->o);
    *activations = vm_plans_bytes(&t->plans, &key, sizeof key, e);
    return e->status;
}

/* --- steps ---------------------------------------------------------------------------------------------------------- */
static double output(vm_graph *g, const char *name) {
    vm_real x = 0;
    return vm_find(g, name) && !vm_get(g, name, &x) ? (double)x : 0;
}

vm_status gdino_trainer_step(gdino_trainer *t, const gdino_batch *batch, const gdino_target *targets, uint64_t step, double lr, double most_loss,
                             double most_norm, gdino_step *out, vm_error *e) {
    gdino_batch b = *batch;
    const int64_t most = room_for(batch, targets);
    int place;
    *out = (gdino_step){ 0 };
    b.noised = gdino_denoise_count(&t->c.denoise, most);
    const plan_key key = { b.B, b.H, b.W, b.T, most, b.real != NULL };
    t->batch = &b;
    vm_graph *g = vm_plans_get(&t->plans, &key, sizeof key, &place, e);
    if (!g) return e->status;
    g->step = step;
    if (gdino_fill(g, t->m, &b, e) || gdino_loss_fill(g, &b, targets, &t->loss[place], e)) return e->status;
    if (b.noised && gdino_denoise_fill(g, t->m, &b, targets, most, &t->c.denoise, t->c.seed, step, e)) return e->status;
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
