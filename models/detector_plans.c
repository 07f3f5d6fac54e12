/* detector_plans.c - plans of a detector: of the text side, of the picture side for a size (a sight), and of what reads both. One that is kept, or a new
 * one in place of that which was not used for longest. */
#include <string.h>

#include "models/detector_parts.h"

static void forget_plan(detector_plan *p) {
    vm_graph_free(p->g);
    *p = (detector_plan){ 0 };
}
static void forget_sight(detector *d, detector_sight *s) {
    for (int k = 0; k < DETECTOR_PLANS; k++)
        if (d->plans[k].of == s) forget_plan(&d->plans[k]);
    vm_graph_free(s->g);
    vm_param_free(s->cells);
    vm_free(s->px);
    *s = (detector_sight){ 0 };
}

void detector_plans_free(detector *d) {
    for (int k = 0; k < DETECTOR_SIGHTS; k++) forget_sight(d, &d->sights[k]);
    for (int k = 0; k < DETECTOR_PLANS; k++) forget_plan(&d->plans[k]);
    vm_arena_free(&d->arena);
}

static vm_status build(detector *d, detector_plan *p, vm_error *e) {
    gdino_out o;
    gdino_batch b = { .B = 1, .T = p->T, .shared = p->of != NULL };
    if (!(p->g = vm_graph_new(d->be, d->dtype))) return vm_nomem(e, sizeof *p->g, "a graph");
    p->g->shared = &d->arena;
    if (p->of) b.B = p->of->B, b.H = p->of->h, b.W = p->of->w, b.cells = p->of->cells;
    if (!p->of) vm_output(p->g, "rows", gdino_text_rows(p->g, d->m, &b));
    else if (!gdino_forward(p->g, d->m, &b, false, &o))
        vm_output(p->g, "logits", o.logits[d->m->c.dec_layers - 1]), vm_output(p->g, "boxes", o.boxes[d->m->c.dec_layers - 1]);
    if (!vm_plan(p->g)) return VM_OK;
    *e = p->g->err;
    forget_plan(p);
    return e->status;
}

vm_graph *detector_plan_for(detector *d, const detector_sight *of, vm_error *e) {
    detector_plan *p = &d->plans[0];
    for (int k = 0; k < DETECTOR_PLANS; k++) {
        detector_plan *q = &d->plans[k];
        if (q->g && q->of == of && q->T == d->ids.n) return q->used = ++d->clock, q->g;
        if (!q->g ? p->g != NULL : p->g && q->used < p->used) p = q;
    }
    forget_plan(p);
    *p = (detector_plan){ .T = d->ids.n, .of = of, .used = ++d->clock };
    build(d, p, e);
    return p->g;
}

static vm_status build_sight(detector *d, detector_sight *s, vm_error *e) {
    const size_t bytes = (size_t)(s->B * s->h * s->w * 3);
    if (!(s->px = vm_alloc(bytes))) return vm_nomem(e, bytes, "pictures");
    if (!(s->cells = gdino_cells_new(d->m, s->B, s->h, s->w, e))) return e->status;
    if (!(s->g = vm_graph_new(d->be, d->dtype))) return vm_nomem(e, sizeof *s->g, "a graph");
    s->g->shared = &d->arena;
    gdino_see(s->g, d->m, &(gdino_batch){ .B = s->B, .H = s->h, .W = s->w, .cells = s->cells });
    if (vm_plan(s->g)) *e = s->g->err;
    return e->status;
}

detector_sight *detector_sight_for(detector *d, int64_t B, int64_t h, int64_t w, vm_error *e) {
    detector_sight *s = &d->sights[0];
    for (int k = 0; k < DETECTOR_SIGHTS; k++) {
        detector_sight *q = &d->sights[k];
        if (q->g && q->B == B && q->h == h && q->w == w) return q->used = ++d->clock, q;
        if (!q->g ? s->g != NULL : s->g && q->used < s->used) s = q;
    }
    forget_sight(d, s);
    *s = (detector_sight){ .B = B, .h = h, .w = w, .used = ++d->clock };
    if (!build_sight(d, s, e)) return s;
    forget_sight(d, s);
    return NULL;
}

/* Grows whenever a weight changes. */
static uint64_t version_of(const gdino *m) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < m->w.n; i++) sum += m->w.p[i]->version;
    return sum;
}

vm_status detector_see(detector *d, detector_sight *s, const int64_t *which, const vm_image *fitted, vm_error *e) {
    const int64_t n = s->h * s->w * 3;
    const uint64_t version = version_of(d->m);
    bool same = s->version == version;
    for (int64_t k = 0; k < s->B && same; k++) same = !memcmp(s->px + k * n, fitted[which[k]].px, (size_t)n);
    if (same) return VM_OK;
    float *pixels = vm_alloc((size_t)(s->B * n) * sizeof *pixels);
    if (!pixels) return vm_nomem(e, (size_t)(s->B * n) * sizeof *pixels, "pictures");
    s->version = 0;
    for (int64_t k = 0; k < s->B; k++) {
        preprocess_hwc(pixels + k * n, 0, &d->pre, &fitted[which[k]]);
        memcpy(s->px + k * n, fitted[which[k]].px, (size_t)n);
    }
    const gdino_batch b = { .B = s->B, .H = s->h, .W = s->w, .pixels = pixels, .cells = s->cells };
    if (!gdino_fill_seen(s->g, d->m, &b, e) && (vm_run(s->g) || vm_wait(s->g))) *e = s->g->err;
    s->version = e->status ? 0 : version;
    vm_free(pixels);
    return e->status;
}

