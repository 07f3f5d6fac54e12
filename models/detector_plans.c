/* detector_plans.c - plans of a detector (kernels/plans.h): of the picture side for a size (a sight), of the text side, and of what reads both. */
#include <string.h>

#include "models/detector_parts.h"

typedef struct { int64_t T, of; } plan_key; /* tokens; 1 + the place of the sight whose cells are read, 0 = the text side */
typedef struct { int64_t B, h, w; } sight_key;

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    const detector *d = ctx;
    const plan_key *k = key;
    const detector_sight *of = k->of ? &d->sights[k->of - 1] : NULL;
    gdino_out o;
    gdino_batch b = { .B = 1, .T = k->T, .shared = of != NULL };
    if (of) b.B = of->B, b.H = of->h, b.W = of->w, b.cells = of->cells;
    if (!of) vm_output(g, "rows", gdino_text_rows(g, d->m, &b));
    else if (!gdino_forward(g, d->m, &b, false, &o))
        vm_output(g, "logits", o.logits[d->m->c.dec_layers - 1]), vm_output(g, "boxes", o.boxes[d->m->c.dec_layers - 1]);
    return VM_OK;
}

static vm_status build_sight(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    detector *d = ctx;
    detector_sight *s = &d->sights[place];
    const sight_key *k = key;
    const size_t bytes = (size_t)(k->B * k->h * k->w * 3);
    *s = (detector_sight){ .B = k->B, .h = k->h, .w = k->w, .g = g };
    if (!(s->px = vm_alloc(bytes))) return vm_nomem(e, bytes, "pictures");
    if (!(s->cells = gdino_cells_new(d->m, s->B, s->h, s->w, e))) return e->status;
    gdino_see(g, d->m, &(gdino_batch){ .B = s->B, .H = s->h, .W = s->w, .cells = s->cells });
    return VM_OK;
}

static void forget_sight(void *ctx, int place) {
    detector *d = ctx;
    detector_sight *s = &d->sights[place];
    for (int k = 0; k < DETECTOR_PLANS; k++)
        if (d->plans.kept[k].key[1] == place + 1) /* .of */ vm_plans_forget(&d->plans, k);
    vm_param_free(s->cells);
    vm_free(s->px);
    *s = (detector_sight){ 0 };
}

void detector_plans_begin(detector *d) {
    d->plans = (vm_plans){ .be = d->be, .dtype = d->dtype, .most = DETECTOR_PLANS, .arena = &d->arena, .build = build, .ctx = d };
    d->looks = (vm_plans){ .be = d->be, .dtype = d->dtype, .most = DETECTOR_SIGHTS, .arena = &d->arena, .build = build_sight, .forget = forget_sight, .ctx = d };
}

void detector_plans_free(detector *d) {
    vm_plans_free(&d->looks), vm_plans_free(&d->plans);
    vm_arena_free(&d->arena);
}

vm_graph *detector_plan_for(detector *d, const detector_sight *of, vm_error *e) {
    const plan_key key = { d->ids.n, of ? of - d->sights + 1 : 0 };
    return vm_plans_get(&d->plans, &key, sizeof key, NULL, e);
}

detector_sight *detector_sight_for(detector *d, int64_t B, int64_t h, int64_t w, vm_error *e) {
    const sight_key key = { B, h, w };
    int place;
    return vm_plans_get(&d->looks, &key, sizeof key, &place, e) ? &d->sights[place] : NULL;
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

