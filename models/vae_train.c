/* vae_train.c - see vae_train.h. */
#include "models/vae_train.h"

#include <math.h>

#include "kernels/philox.h"
#include "kernels/plans.h"

enum { PLANS = 4 };
typedef struct { int64_t B, H, W, learns; } plan_key;

struct vae_trainer {
    vae *m;
    vae_train_config c;
    optimizer opt;
    vm_plans plans;
    vm_arena arena;
    double most_loss, most_norm;
};

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);

vm_status vae_trainer_new(vae_trainer **out, vae *m, const vae_train_config *c, vm_error *e) {
    vae_trainer *t = *out = vm_calloc(1, sizeof *t);
    if (!t) return vm_nomem(e, sizeof *t, "a trainer");
    m->recompute = c->recompute;
    t->m = m, t->c = *c, t->most_loss = t->most_norm = INFINITY, t->opt = (optimizer){ .w = &m->w, .c = c->optimizer };
    t->plans = (vm_plans){ .be = m->w.be, .dtype = c->dtype, .most = PLANS, .arena = &t->arena, .build = build, .ctx = t };
    for (int64_t i = 0; i < m->w.n; i++) m->w.p[i]->decay = m->w.p[i]->nd > 1;
    return VM_OK;
}

void vae_trainer_free(vae_trainer *t) {
    if (!t) return;
    vm_plans_free(&t->plans);
    vm_arena_free(&t->arena);
    optimizer_free(&t->opt);
    vm_free(t);
}

void vae_trainer_limit(vae_trainer *t, double loss, double grad_norm) { t->most_loss = loss, t->most_norm = grad_norm; }
int64_t vae_trainer_updates(const vae_trainer *t) { return t->opt.updates; }

/* --- plans -------------------------------------------------------------------------------------------------------------- */
/* mean w |z| or mean w z^2; w 0: 1. */
static vm_val size_of(vm_graph *g, const vae_trainer *t, vm_val z, vm_val w) {
    vm_val s = t->c.l1 ? vm_binary(g, vm_unary(g, z, VM_RELU, VM_F32), vm_unary(g, vm_scale(g, z, -1, 0), VM_RELU, VM_F32), VM_ADD) : vm_unary(g, z, VM_SQUARE, VM_F32);
    return vm_mean(g, w ? vm_binary(g, s, w, VM_MUL) : s);
}

/* Of the differences between neighbours along an axis of (3,B,H,W). */
static vm_val slope_of(vm_graph *g, const vae_trainer *t, vm_val d, vm_val w, int axis) {
    int64_t none[4] = { 0 }, one[4] = { 0 };
    one[axis] = 1;
    return size_of(g, t, vm_binary(g, vm_crop(g, d, one, none), vm_crop(g, d, none, one), VM_SUB), w ? vm_crop(g, w, one + 1, none) : 0);
}

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    const vae_trainer *t = ctx;
    const plan_key *k = key;
    vm_val x = vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ k->B, k->H, k->W, t->m->c.in }), mean, logvar;
    g->training = k->learns, g->deterministic = t->c.deterministic;
    vae_encode(g, t->m, x, &mean, &logvar);
    if (!mean) return g->err.status;
    vm_val y = vae_decode(g, t->m, vae_sample(g, mean, logvar, vm_input(g, "noise", VM_F32, 4, g->v[mean].ne)));
    vm_scope(g, "loss");
    /* colours first, so that what holds for all of them is a trailing part */
    vm_val off = vm_permute(g, vm_binary(g, y, x, VM_SUB), (int[]){ 3, 0, 1, 2 }), kl = vae_kl(g, mean, logvar), loss = vm_scale(g, kl, (float)t->c.kl, 0);
    vm_val w = k->learns && t->c.focus > 0 ? vm_input(g, "weight", VM_F32, 3, (int64_t[]){ k->B, k->H, k->W }) : 0;
    loss = vm_binary(g, loss, size_of(g, t, off, w), VM_ADD);
    if (t->c.chroma > 0) {
        vm_val bright = vm_sum_axis(g, off, 0, 1 / (float)t->m->c.in);
        loss = vm_binary(g, loss, vm_scale(g, size_of(g, t, vm_binary(g, off, bright, VM_SUB), w), (float)t->c.chroma, 0), VM_ADD);
    }
    if (t->c.edges > 0) loss = vm_binary(g, loss, vm_scale(g, vm_binary(g, slope_of(g, t, off, w, 2), slope_of(g, t, off, w, 3), VM_ADD), (float)t->c.edges, 0), VM_ADD);
    vm_output(g, "loss", loss), vm_output(g, "distance", size_of(g, t, off, 0)), vm_output(g, "kl", kl);
    vm_output(g, "squares", vm_mean(g, vm_unary(g, mean, VM_SQUARE, VM_F32)));
    if (k->learns) vm_backward(g, 1, &loss, NULL, 0, NULL);
    return VM_OK;
}

vm_status vae_trainer_memory(vae_trainer *t, int64_t n, int64_t H, int64_t W, optimizer_bytes *own, size_t *activations, vm_error *e) {
    const int64_t f = vae_factor(&t->m->c);
    if (H % f || W % f) return vm_fail(e, VM_EINPUT, "pictures of %lld x %lld: sides are multiples of %lld with this model", (long long)W, (long long)H, (long long)f);
    const plan_key key = { n, H, W, true };
    *own = optimizer_memory(&t->opt);
    *activations = vm_plans_bytes(&t->plans, &key, sizeof key, e);
    return e->status;
}

/* --- steps --------------------------------------------------------------------------------------------------------------- */
/* focus where the mask is white and 1 elsewhere, over their mean. */
static void weigh(float *w, const vm_image *mask, double focus) {
    const int64_t n = (int64_t)mask->w * mask->h;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += mask->px[i] ? focus : 1;
    for (int64_t i = 0; i < n; i++) w[i] = (float)((mask->px[i] ? focus : 1) * (double)n / sum);
}

typedef struct {
    const vm_image *const *im, *const *focus;
    int64_t n, step;
    bool learns;
} request;

static vm_status check(const vae_trainer *t, const request *q, vm_error *e) {
    const int W = q->im[0]->w, H = q->im[0]->h, f = (int)vae_factor(&t->m->c);
    for (int64_t k = 0; k < q->n; k++) {
        const vm_image *im = q->im[k], *m = q->focus ? q->focus[k] : NULL;
        if (im->c != 3 || im->w != W || im->h != H || W % f || H % f || (m && (m->c != 1 || m->w != W || m->h != H)))
            return vm_fail(e, VM_EINPUT, "picture %lld of a batch: all are RGB of one size, sides multiples of %d, masks of the same size", (long long)k, f);
    }
    return q->learns && (t->c.focus > 0) != (q->focus != NULL) ? vm_fail(e, VM_EINPUT, "a focus goes with masks, and masks with a focus") : VM_OK;
}

static vm_status run(vae_trainer *t, const request *q, vae_train_step *out, double *deviation, vm_error *e) {
    *out = (vae_train_step){ 0 };
    if (check(t, q, e)) return e->status;
    int64_t n = q->n, H = q->im[0]->h, W = q->im[0]->w, f = vae_factor(&t->m->c), px = H * W * 3, z = H / f * (W / f) * t->m->c.latent;
    vm_real loss = 0, distance = 0, kl = 0, squares = 0;
    float *x = vm_alloc((size_t)(n * px) * sizeof *x), *noise = vm_alloc((size_t)(n * z) * sizeof *noise), *w = vm_alloc((size_t)(n * H * W) * sizeof *w);
    const plan_key key = { n, H, W, q->learns };
    vm_graph *g = x && noise && w ? vm_plans_get(&t->plans, &key, sizeof key, NULL, e) : NULL;
    if (!x || !noise || !w) vm_nomem(e, (size_t)(n * px) * sizeof *x, "a batch");
    for (int64_t k = 0; k < n && g; k++) {
        vm_rng r = vm_rng_at(t->c.seed, (uint64_t)q->step << 16 | (uint64_t)k);
        for (int64_t i = 0; i < px; i++) x[k * px + i] = (float)q->im[k]->px[i] / 255 * 2 - 1;
        for (int64_t i = 0; i < z; i++) noise[k * z + i] = (float)vm_rng_normal(&r);
        if (q->focus) weigh(w + k * H * W, q->focus[k], t->c.focus);
    }
    if (g && (vm_set(g, "pixels", x) || vm_set(g, "noise", noise) || (q->learns && q->focus && vm_set(g, "weight", w)) || vm_run(g) || vm_get(g, "loss", &loss) ||
              vm_get(g, "distance", &distance) || vm_get(g, "kl", &kl) || vm_get(g, "squares", &squares)))
        *e = g->err;
    out->loss = (double)loss, out->distance = (double)distance, out->kl = (double)kl, *deviation = sqrt((double)squares);
    vm_free(x), vm_free(noise), vm_free(w);
    return e->status;
}

vm_status vae_trainer_look(vae_trainer *t, int64_t n, const vm_image *const *im, int64_t step, vae_train_step *out, double *deviation, vm_error *e) {
    return run(t, &(request){ im, NULL, n, step, false }, out, deviation, e);
}

vm_status vae_trainer_step(vae_trainer *t, int64_t n, const vm_image *const *im, const vm_image *const *focus, int64_t step, double lr, vae_train_step *out, vm_error *e) {
    double deviation;
    if (run(t, &(request){ im, focus, n, step, true }, out, &deviation, e) || optimizer_norm(&t->opt, &out->grad_norm, e)) return e->status;
    out->skipped = !isfinite(out->loss) || !isfinite(out->grad_norm) || out->loss > t->most_loss || out->grad_norm > t->most_norm;
    if (out->skipped || optimizer_update(&t->opt, lr, out->grad_norm, e)) return e->status;
    return optimizer_average(&t->opt, e);
}

/* --- on disk -------------------------------------------------------------------------------------------------------------- */
vm_status vae_trainer_export(const vae_trainer *t, const char *dir, st_dtype type, vm_error *e) {
    return weights_save(&t->m->map, dir, "diffusion_pytorch_model.safetensors", type, NULL, e);
}
vm_status vae_trainer_save(const vae_trainer *t, const char *dir, vm_error *e) {
    return vae_trainer_export(t, dir, ST_F32, e) ? e->status : optimizer_save(&t->opt, dir, e);
}
vm_status vae_trainer_load(vae_trainer *t, const char *dir, int64_t updates, vm_error *e) {
    return weights_restore(&t->m->map, dir, "diffusion_pytorch_model", e) ? e->status : optimizer_load(&t->opt, dir, updates, e);
}
