/* diffusion_vae.c - the autoencoder of a pipeline, one picture at a time: whole, or in tiles where memory does not last. Neighbouring tiles share a
 * quarter of their side, over which each fades into the other; what is not finite in 16-bit products is computed again in f32. */
#include "models/diffusion_parts.h"

#include <math.h>
#include <string.h>

enum { ENCODER, DECODER, LEAST_TILE = 16 };

/* --- plans ---------------------------------------------------------------------------------------------------------- */
static void forget(diffusion_vae_plan *p) {
    vm_graph_free(p->g);
    *p = (diffusion_vae_plan){ 0 };
}

static vm_status plan(diffusion *d, int kind, int64_t h, int64_t w, vm_type type, vm_error *e) {
    diffusion_vae_plan *p = &d->plan[kind];
    if (p->g && p->h == h && p->w == w && p->type == type) return VM_OK;
    forget(p);
    vm_graph *g = diffusion_graph(d, type, e);
    if (!g) return e->status;
    int64_t f = vae_factor(&d->vae->c);
    *p = (diffusion_vae_plan){ g, h, w, type };
    if (kind == ENCODER) {
        vm_val mean, logvar;
        vae_encode(g, d->vae, vm_input(g, "in", VM_F32, 4, (int64_t[]){ 1, h * f, w * f, d->vae->c.in }), &mean, &logvar);
        vm_output(g, "mean", mean), vm_output(g, "logvar", logvar);
    } else vm_output(g, "out", vae_decode(g, d->vae, vm_input(g, "in", VM_F32, 4, (int64_t[]){ 1, h, w, d->vae->c.latent })));
    if (vm_plan(g)) {
        *e = g->err;
        forget(p);
    }
    return e->status;
}

/* One plan's run; a and b (encoder alone) are its outputs. */
static vm_status run(diffusion *d, int kind, int64_t h, int64_t w, vm_type type, const float *in, float *a, float *b, vm_error *e) {
    if (plan(d, kind, h, w, type, e)) return e->status;
    vm_graph *g = d->plan[kind].g;
    if (vm_set(g, "in", in) || vm_run(g) || vm_get(g, kind == ENCODER ? "mean" : "out", a) || (kind == ENCODER && vm_get(g, "logvar", b))) *e = g->err;
    if (e->status) forget(&d->plan[kind]);
    return e->status;
}

static bool all_finite(const float *x, int64_t n) {
    bool good = true;
    for (int64_t i = 0; i < n; i++) good &= isfinite(x[i]) != 0;
    return good;
}

/* The same, and once more in f32 where the first result is not finite. na, nb: numbers of the outputs. */
static vm_status run_finite(diffusion *d, int kind, int64_t h, int64_t w, const float *in, float *a, int64_t na, float *b, int64_t nb, diffusion_report *r, vm_error *e) {
    static const char *const what[] = { "the picture's latent", "the decoded picture" };
    if (run(d, kind, h, w, d->o.dtype, in, a, b, e) || (all_finite(a, na) && all_finite(b, nb))) return e->status;
    if (d->o.dtype != VM_F32) {
        r->redone = true;
        if (run(d, kind, h, w, VM_F32, in, a, b, e) || (all_finite(a, na) && all_finite(b, nb))) return e->status;
    }
    return vm_fail(e, VM_EMODEL, "%s is not finite, in f32 neither; the autoencoder's weights are damaged, or its input is not finite", what[kind]);
}

/* --- tiles ---------------------------------------------------------------------------------------------------------- */
/* How much row (or column) i of a tile of n counts, k of which it shares with the tile before (and after). */
static float weight(int64_t i, int64_t n, int64_t k, bool before, bool after) {
    float w = 1;
    if (before && i < k) w = ((float)i + 0.5f) / (float)k;
    if (after && n - 1 - i < k) w = fminf(w, ((float)(n - 1 - i) + 0.5f) / (float)k);
    return w;
}

typedef struct { int64_t y, x, h, w; } window;

/* The tile's window out of a map of width W, C numbers a place; or onto it, weighted: n rows and columns of a latent are n scale of the map. */
static void cut(const float *map, int64_t W, int64_t C, window t, float *out) {
    for (int64_t y = 0; y < t.h; y++) memcpy(out + y * t.w * C, map + ((t.y + y) * W + t.x) * C, (size_t)(t.w * C) * sizeof *out);
}

static void blend(float *map, float *sum, int64_t H, int64_t W, int64_t C, window t, int64_t shared, const float *in) {
    for (int64_t y = 0; y < t.h; y++) {
        float wy = weight(y, t.h, shared, t.y > 0, t.y + t.h < H);
        for (int64_t x = 0; x < t.w; x++) {
            float w = wy * weight(x, t.w, shared, t.x > 0, t.x + t.w < W);
            int64_t at = (t.y + y) * W + t.x + x;
            if (sum) sum[at] += w;
            for (int64_t c = 0; c < C; c++) map[at * C + c] += w * in[(y * t.w + x) * C + c];
        }
    }
}

static void divide(float *map, const float *sum, int64_t n, int64_t C) {
    for (int64_t i = 0; i < n * C; i++) map[i] /= sum[i / C];
}

typedef struct {
    int kind;
    int64_t h, w, in, out, up_in, up_out; /* of the latent; numbers a place; how many places of a side stand for one of the latent */
    const float *from;
    float *a, *b; /* b: encoder alone */
} job;

/* Windows of `side` latents at every three quarters of it; the last of a row lies at the end. */
static vm_status in_tiles(diffusion *d, const job *j, int64_t side, diffusion_report *r, vm_error *e) {
    int64_t shared = VM_MAX(side / 4, (int64_t)1), step = side - shared, th = VM_MIN(side, j->h), tw = VM_MIN(side, j->w), n = th * tw;
    int64_t ui = j->up_in, uo = j->up_out, places = j->h * j->w * uo * uo;
    float *in = vm_alloc((size_t)(n * ui * ui * j->in) * sizeof *in), *a = vm_alloc((size_t)(n * uo * uo * j->out) * sizeof *a), *sum = vm_calloc((size_t)places, sizeof *sum);
    float *b = j->b ? vm_alloc((size_t)(n * j->out) * sizeof *b) : NULL;
    if (!in || !a || !sum || (j->b && !b)) vm_nomem(e, (size_t)places * sizeof *sum, "tiles");
    else {
        memset(j->a, 0, (size_t)(places * j->out) * sizeof *j->a);
        if (j->b) memset(j->b, 0, (size_t)(places * j->out) * sizeof *j->b);
    }
    for (int64_t y = 0; y < j->h && !e->status; y = y + th >= j->h ? j->h : VM_MIN(y + step, j->h - th))
        for (int64_t x = 0; x < j->w && !e->status; x = x + tw >= j->w ? j->w : VM_MIN(x + step, j->w - tw)) {
            const window t = { y * uo, x * uo, th * uo, tw * uo };
            cut(j->from, j->w * ui, j->in, (window){ y * ui, x * ui, th * ui, tw * ui }, in);
            if (run_finite(d, j->kind, th, tw, in, a, n * uo * uo * j->out, b, b ? n * j->out : 0, r, e)) break;
            blend(j->a, sum, j->h * uo, j->w * uo, j->out, t, shared * uo, a);
            if (b) blend(j->b, NULL, j->h, j->w, j->out, t, shared, b);
        }
    if (!e->status) divide(j->a, sum, places, j->out);
    if (!e->status && j->b) divide(j->b, sum, places, j->out);
    if (!e->status) r->tiled = true;
    vm_free(in), vm_free(a), vm_free(b), vm_free(sum);
    return e->status;
}

/* Whole if that may be and memory lasts, else in tiles, smaller and smaller. */
static vm_status make(diffusion *d, const job *j, diffusion_report *r, vm_error *e) {
    int64_t side = d->o.tile, most = VM_MAX(j->h, j->w);
    if (!side || side >= most) {
        run_finite(d, j->kind, j->h, j->w, j->from, j->a, j->h * j->w * j->up_out * j->up_out * j->out, j->b, j->b ? j->h * j->w * j->out : 0, r, e);
        side = VM_MAX(most / 2, (int64_t)LEAST_TILE);
        if (e->status != VM_EDEVICE || most <= LEAST_TILE) return e->status;
        vm_error_clear(e);
    }
    while (in_tiles(d, j, side, r, e) == VM_EDEVICE && side > LEAST_TILE) {
        vm_error_clear(e);
        side = VM_MAX(side / 2, (int64_t)LEAST_TILE);
    }
    return e->status;
}

vm_status diffusion_vae_encode(diffusion *d, const float *pixels, int64_t h, int64_t w, float *mean, float *logvar, diffusion_report *r, vm_error *e) {
    const vae_config *c = &d->vae->c;
    return make(d, &(job){ ENCODER, h, w, c->in, c->latent, vae_factor(c), 1, pixels, mean, logvar }, r, e);
}

vm_status diffusion_vae_decode(diffusion *d, const float *latents, int64_t h, int64_t w, float *pixels, diffusion_report *r, vm_error *e) {
    const vae_config *c = &d->vae->c;
    int64_t n = h * w * c->latent;
    float *z = vm_alloc((size_t)n * sizeof *z);
    if (!z) return vm_nomem(e, (size_t)n * sizeof *z, "a latent");
    for (int64_t i = 0; i < n; i++) z[i] = (float)((double)latents[i] / c->scale + c->shift);
    make(d, &(job){ DECODER, h, w, c->latent, c->out, 1, vae_factor(c), z, pixels, NULL }, r, e);
    vm_free(z);
    return e->status;
}

/* --- previews --------------------------------------------------------------------------------------------------------- */
/* Colours that constant latents are decoded to: of zeros, and how they change with each channel. */
static vm_status find_colours(diffusion *d, vm_error *e) {
    const vae_config *c = &d->vae->c;
    enum { SIDE = 4 };
    int64_t C = c->latent, f = vae_factor(c), n = SIDE * f, middle = (n / 2 * n + n / 2) * c->out;
    float *z = vm_alloc((size_t)(SIDE * SIDE * C) * sizeof *z), *px = vm_alloc((size_t)(n * n * c->out) * sizeof *px);
    float *colour = vm_alloc((size_t)((C + 1) * c->out) * sizeof *colour);
    diffusion_report none = { 0 };
    if (!z || !px || !colour) vm_nomem(e, (size_t)(n * n) * sizeof *px, "a preview");
    for (int64_t k = C; k >= 0 && !e->status; k--) { /* the last one is all zeros */
        for (int64_t i = 0; i < SIDE * SIDE * C; i++) z[i] = i % C == k ? 1 : 0;
        if (!diffusion_vae_decode(d, z, SIDE, SIDE, px, &none, e)) memcpy(colour + (k == C ? 0 : k + 1) * c->out, px + middle, (size_t)c->out * sizeof *px);
    }
    vm_free(z), vm_free(px);
    if (e->status) vm_free(colour);
    else d->colour = colour;
    return e->status;
}

vm_status diffusion_preview(diffusion *d, const float *latents, int64_t w, int64_t h, vm_image *out, vm_error *e) {
    const int64_t C = d->vae->c.latent;
    if (!d->colour && find_colours(d, e)) return e->status;
    if (d->vae->c.out != 3) return vm_fail(e, VM_EMODEL, "previews are for autoencoders of three colours");
    if (image_new(out, (int)w, (int)h, 3, e)) return e->status;
    for (int64_t i = 0; i < w * h; i++)
        for (int k = 0; k < 3; k++) {
            float v = d->colour[k];
            for (int64_t c = 0; c < C; c++) v += latents[i * C + c] * (d->colour[(c + 1) * 3 + k] - d->colour[k]);
            out->px[i * 3 + k] = (uint8_t)nearbyintf(255 * fminf(fmaxf(v / 2 + 0.5f, 0), 1));
        }
    return VM_OK;
}
