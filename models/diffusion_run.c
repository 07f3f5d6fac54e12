/* diffusion_run.c - see diffusion.h: from prompts, pictures and noise through the steps of a sampler to pictures. Samples are (n,h,w,C), f32, on the
 * host; rows of the UNet go picture by picture, of a guided one first the row without the prompt. */
#include <math.h>
#include <string.h>

#include "io/resize.h"
#include "models/diffusion_parts.h"

/* What stays the same for all pictures of a call. */
typedef struct {
    diffusion *d;
    const diffusion_call *c;
    diffusion_report *r;
    diffusion_prompt text;
    int64_t h, w, C, len;        /* of a latent; len = h w C */
    int64_t first;               /* calls that are left out */
    float *mean, *logvar;        /* of the picture, where it is needed; else NULL */
    float *masked_mean, *masked_logvar; /* of the picture without what the mask hides */
    float *mask;                 /* (h,w): 1 = repaint */
} job;

/* Of the pictures that go together: first.., n. */
typedef struct {
    const job *j;
    sampler *s;
    int64_t first, n;
    float *x, *noise, *clean, *masked, *in, *guided, *out, *draw; /* samples; their noise; latents of the picture; UNet rows in and out */
    int32_t *row;
} group;

/* --- pictures --------------------------------------------------------------------------------------------------------- */
/* (H,W,3) in [-1,1]. */
static float *pixels_of(const vm_image *im, int64_t W, int64_t H, vm_error *e) {
    vm_image fit = { 0 };
    float *px = vm_alloc((size_t)(W * H * 3) * sizeof *px);
    if (!px) vm_nomem(e, (size_t)(W * H * 3) * sizeof *px, "a picture");
    else if (im->c != 3) vm_fail(e, VM_EINPUT, "a picture of %d channels, RGB is needed", im->c);
    else if (!image_resize(&fit, im, (int)W, (int)H, RESIZE_LANCZOS, e))
        for (int64_t i = 0; i < W * H * 3; i++) px[i] = (float)fit.px[i] / 255 * 2 - 1;
    image_free(&fit);
    if (e->status) vm_free(px), px = NULL;
    return px;
}

/* Pixels of the mask that are repainted, (H,W). */
static uint8_t *mask_of(const vm_image *im, int64_t W, int64_t H, vm_error *e) {
    vm_image fit = { 0 }, gray = { 0 };
    uint8_t *on = vm_alloc((size_t)(W * H));
    if (!on) vm_nomem(e, (size_t)(W * H), "a mask");
    else if (!image_resize(&fit, im, (int)W, (int)H, RESIZE_LANCZOS, e) && (fit.c == 1 || !image_to_gray(&gray, &fit, e)))
        for (int64_t i = 0; i < W * H; i++) on[i] = (fit.c == 1 ? fit.px : gray.px)[i] >= 128;
    image_free(&fit), image_free(&gray);
    if (e->status) vm_free(on), on = NULL;
    return on;
}

static vm_status encode(job *j, const float *pixels, float **mean, float **logvar, vm_error *e) {
    *mean = vm_alloc((size_t)j->len * sizeof **mean), *logvar = vm_alloc((size_t)j->len * sizeof **logvar);
    if (!*mean || !*logvar) return vm_nomem(e, (size_t)j->len * sizeof **mean, "a latent");
    return diffusion_vae_encode(j->d, pixels, j->h, j->w, *mean, *logvar, j->r, e);
}

static bool begins_with_picture(const job *j) {
    const diffusion_call *c = j->c;
    return c->image && (!c->mask || !diffusion_inpaints(j->d) || (c->strength < 1 && !c->latents));
}

static vm_status prepare_pictures(job *j, vm_error *e) {
    const diffusion_call *c = j->c;
    int64_t W = c->width, H = c->height, f = diffusion_multiple(j->d);
    float *px = c->image ? pixels_of(c->image, W, H, e) : NULL;
    uint8_t *on = c->mask && !e->status ? mask_of(c->mask, W, H, e) : NULL;
    if (!e->status && begins_with_picture(j)) encode(j, px, &j->mean, &j->logvar, e);
    if (on && !e->status) {
        if (!(j->mask = vm_alloc((size_t)(j->h * j->w) * sizeof *j->mask))) vm_nomem(e, (size_t)(j->h * j->w) * sizeof *j->mask, "a mask");
        for (int64_t i = 0; i < j->h * j->w && j->mask; i++) j->mask[i] = on[i / j->w * f * W + i % j->w * f];
        for (int64_t i = 0; i < W * H * 3; i++)
            if (on[i / 3]) px[i] = 0;
        if (!e->status && diffusion_inpaints(j->d)) encode(j, px, &j->masked_mean, &j->masked_logvar, e);
    }
    vm_free(px), vm_free(on);
    return e->status;
}

/* --- the UNet's plan ---------------------------------------------------------------------------------------------------- */
static void forget_step(diffusion *d) {
    vm_graph_free(d->step.g);
    unet_memory_free(d->step.k);
    d->step.g = NULL, d->step.k = NULL;
}

static vm_status plan_step(diffusion *d, int64_t n, const diffusion_prompt *t, int64_t calls, int64_t h, int64_t w, vm_error *e) {
    const unet_memory *k = d->step.k;
    if (d->step.g && k->B == n && k->texts == t->texts && k->T == t->T && k->N >= calls && d->step.h == h && d->step.w == w) return VM_OK;
    forget_step(d);
    d->step.h = h, d->step.w = w;
    if (unet_memory_new(&d->step.k, d->unet, d->o.dtype, n, t->texts, t->T, (calls + 63) / 64 * 64, e)) return e->status;
    if (!(d->step.g = diffusion_graph(d, d->o.dtype, e))) return e->status;
    vm_graph *g = d->step.g;
    int64_t rows = unet_memory_rows(d->unet, d->step.k);
    unet_input in = { .sample = vm_input(g, "sample", VM_F32, 4, (int64_t[]){ n * t->texts, h, w, d->unet->c.in }), .memory = d->step.k, .row = vm_input(g, "row", VM_I32, 1, &rows) };
    vm_output(g, "out", unet_run(g, d->unet, &in));
    if (vm_plan(g)) *e = g->err;
    return e->status;
}

/* Height, width, and where the crop begins; then the size again, or for a refiner how beautiful the picture should be. */
static int64_t sizes_of(const job *j, float ids[12]) {
    const unet_config *u = &j->d->unet->c;
    int64_t n = u->text_and_ids - j->text.P == 5 * u->time_ids ? 5 : 6;
    float H = (float)j->c->height, W = (float)j->c->width;
    for (int64_t x = 0; x < j->text.texts; x++) {
        bool negative = j->text.texts == 2 && x == 0;
        memcpy(ids + x * n, (float[]){ H, W, 0, 0, n == 5 ? negative ? 2.5f : 6.0f : H, W }, (size_t)n * sizeof *ids);
    }
    return n;
}

static vm_status remember(const job *j, const sampler *s, vm_error *e) {
    int64_t n = sampler_calls(s) - j->first;
    float ids[12], *times = vm_alloc((size_t)n * sizeof *times);
    if (!times) return vm_nomem(e, (size_t)n * sizeof *times, "times");
    for (int64_t i = 0; i < n; i++) times[i] = (float)sampler_time(s, j->first + i);
    int64_t n_ids = j->d->xl ? sizes_of(j, ids) : 0;
    unet_remember(j->d->unet, j->d->step.k, j->d->be, j->d->o.dtype, j->text.context, times, n, j->d->xl ? j->text.pooled : NULL, ids, n_ids, e);
    vm_free(times);
    return e->status;
}

/* --- sampling ------------------------------------------------------------------------------------------------------------ */
static vm_status open_group(group *q, const job *j, int64_t first, int64_t n, vm_error *e) {
    const diffusion *d = j->d;
    size_t samples = (size_t)(n * j->len) * sizeof(float), rows = (size_t)(n * j->text.texts * j->h * j->w * d->unet->c.in) * sizeof(float);
    *q = (group){ .j = j, .first = first, .n = n };
    float **all[] = { &q->x, &q->noise, &q->clean, &q->masked, &q->guided, &q->draw };
    for (int k = 0; k < VM_LEN(all); k++)
        if (!(*all[k] = vm_alloc(samples))) return vm_nomem(e, samples, "samples");
    if (!(q->in = vm_alloc(rows)) || !(q->out = vm_alloc(rows)) || !(q->row = vm_alloc((size_t)(n * j->text.texts) * sizeof *q->row))) return vm_nomem(e, rows, "samples");
    sampler_config sc = d->sampler;
    sc.whole_first = j->c->as_published;
    if (!sampler_new(&q->s, &sc, n * j->len, e)) sampler_steps(q->s, j->c->steps, j->first, e);
    return e->status;
}

static void close_group(group *q) {
    vm_free(q->x), vm_free(q->noise), vm_free(q->clean), vm_free(q->masked), vm_free(q->in), vm_free(q->guided), vm_free(q->out), vm_free(q->draw), vm_free(q->row);
    sampler_free(q->s);
}

/* A sample of the encoder's distribution, scaled; without one only the numbers are drawn. */
static vm_status draw_latent(const job *j, noise *s, const float *mean, const float *logvar, float *out, vm_error *e) {
    const vae_config *c = &j->d->vae->c;
    if (noise_map(s, j->C, j->h * j->w, out, e) || !mean) return e->status;
    for (int64_t i = 0; i < j->len; i++) out[i] = (float)((double)(mean[i] + expf(0.5f * logvar[i]) * out[i] - (float)c->shift) * c->scale);
    return VM_OK;
}

/* Latents and noise that picture k of the group begins with, in the order in which the reference draws. */
static vm_status begin(group *q, int64_t k, vm_error *e) {
    const job *j = q->j;
    const diffusion_call *c = j->c;
    noise *s = &c->noise[q->first + k];
    float *x = q->noise + k * j->len, *clean = q->clean + k * j->len;
    if (j->mean && draw_latent(j, s, j->mean, j->logvar, clean, e)) return e->status;
    if (c->latents) memcpy(x, c->latents + (q->first + k) * j->len, (size_t)j->len * sizeof *x);
    else if (noise_map(s, j->C, j->h * j->w, x, e)) return e->status;
    return c->mask ? draw_latent(j, s, j->masked_mean, j->masked_logvar, q->masked + k * j->len, e) : VM_OK;
}

static vm_status begin_all(group *q, vm_error *e) {
    const job *j = q->j;
    const diffusion_call *c = j->c;
    for (int64_t k = 0; k < q->n && !e->status; k++) begin(q, k, e);
    if (e->status) return e->status;
    if (c->image && !c->latents && (!c->mask || c->strength < 1)) sampler_add_noise_next(q->s, q->clean, q->noise, q->x, q->n * j->len);
    else for (int64_t i = 0; i < q->n * j->len; i++) q->x[i] = (float)((double)q->noise[i] * sampler_noise_scale(q->s));
    return VM_OK;
}

/* Rows of the UNet: the scaled sample, and of an inpainting one the mask and the masked picture's latent. */
static void fill_rows(const group *q) {
    const job *j = q->j;
    int64_t HW = j->h * j->w, C = j->C, in = j->d->unet->c.in, texts = j->text.texts;
    sampler_input(q->s, q->x, q->draw);
    for (int64_t r = 0; r < q->n * texts; r++)
        for (int64_t i = 0; i < HW; i++) {
            float *to = q->in + (r * HW + i) * in;
            int64_t from = (r / texts * HW + i) * C;
            memcpy(to, q->draw + from, (size_t)C * sizeof *to);
            if (in == C) continue;
            to[C] = j->mask[i];
            memcpy(to + C + 1, q->masked + from, (size_t)C * sizeof *to);
        }
}

static double deviation(const float *x, int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - sum / (double)n) * ((double)x[i] - sum / (double)n);
    return sqrt(squares / (double)n);
}

static void guide(const group *q) {
    const job *j = q->j;
    for (int64_t k = 0; k < q->n; k++) {
        const float *negative = q->out + k * j->text.texts * j->len, *positive = negative + (j->text.texts - 1) * j->len;
        float *to = q->guided + k * j->len;
        for (int64_t i = 0; i < j->len; i++) to[i] = j->text.texts == 2 ? negative[i] + (float)j->c->guidance * (positive[i] - negative[i]) : positive[i];
        if (j->text.texts < 2 || !(j->c->rescale > 0)) continue;
        double by = j->c->rescale * deviation(positive, j->len) / deviation(to, j->len) + 1 - j->c->rescale;
        for (int64_t i = 0; i < j->len; i++) to[i] = (float)(by * (double)to[i]);
    }
}

/* Where the UNet knows no masks: outside, the picture itself as it stands at the next call. */
static void keep_outside(const group *q) {
    const job *j = q->j;
    sampler_add_noise_next(q->s, q->clean, q->noise, q->draw, q->n * j->len);
    for (int64_t i = 0; i < q->n * j->len; i++) {
        float m = j->mask[i / j->C % (j->h * j->w)];
        q->x[i] = (1 - m) * q->draw[i] + m * q->x[i];
    }
}

static vm_status step(group *q, int64_t call, vm_error *e) {
    const job *j = q->j;
    vm_graph *g = j->d->step.g;
    fill_rows(q);
    unet_memory_row(j->d->unet, j->d->step.k, call - j->first, q->row);
    if (vm_set(g, "sample", q->in) || vm_set(g, "row", q->row) || vm_run(g) || vm_get(g, "out", q->out)) return *e = g->err, e->status;
    guide(q);
    bool draws = sampler_draws(q->s);
    for (int64_t k = 0; k < q->n && draws && !e->status; k++) noise_map(&j->c->noise[q->first + k], j->C, j->h * j->w, q->draw + k * j->len, e);
    if (e->status) return e->status;
    sampler_step(q->s, q->guided, q->x, draws ? q->draw : NULL);
    if (j->mask && !diffusion_inpaints(j->d)) keep_outside(q);
    const diffusion_step done = { call - j->first, sampler_calls(q->s) - j->first, sampler_time(q->s, call), q->out, q->x, q->first, q->n, j->text.texts, j->h, j->w, j->C };
    if (j->c->watch && !j->c->watch(j->c->ctx, &done)) return vm_fail(e, VM_ESTOP, "stopped at step %lld of %lld", (long long)done.call + 1, (long long)done.calls);
    return VM_OK;
}

static vm_status run_group(const job *j, int64_t first, int64_t n, float *rgb, vm_error *e) {
    group q;
    int64_t places = j->c->width * j->c->height * 3;
    /* the plan first: whether memory lasts must show before any noise is drawn */
    if (open_group(&q, j, first, n, e) || plan_step(j->d, n, &j->text, sampler_calls(q.s), j->h, j->w, e) || remember(j, q.s, e) || begin_all(&q, e)) goto done;
    for (int64_t call = j->first; call < sampler_calls(q.s) && !e->status; call++) step(&q, call, e);
    j->r->calls = sampler_calls(q.s) - j->first;
    for (int64_t i = 0; i < n * j->len && !e->status; i++)
        if (!isfinite(q.x[i])) vm_fail(e, VM_EMODEL, "the UNet's results are not finite; try --dtype f32, and check its weights");
    for (int64_t k = 0; k < n && !e->status; k++) diffusion_vae_decode(j->d, q.x + k * j->len, j->h, j->w, rgb + k * places, j->r, e);
    for (int64_t i = 0; i < n * places && !e->status; i++) rgb[i] = fminf(fmaxf(rgb[i] / 2 + 0.5f, 0), 1);
done:
    close_group(&q);
    if (e->status) forget_step(j->d);
    return e->status;
}

/* --- for callers ----------------------------------------------------------------------------------------------------------- */
static vm_status check(const diffusion *d, const diffusion_call *c, vm_error *e) {
    int64_t f = diffusion_multiple(d);
    if (c->width < f || c->height < f || c->width % f || c->height % f || c->width > 1 << 14 || c->height > 1 << 14)
        return vm_fail(e, VM_EUSAGE, "pictures of %lld x %lld: sides are multiples of %lld with this model", (long long)c->width, (long long)c->height, (long long)f);
    if (c->mask && !c->image) return vm_fail(e, VM_EUSAGE, "a mask needs a picture");
    if (diffusion_inpaints(d) && !c->mask)
        return vm_fail(e, VM_EUSAGE, "this model repaints what a mask marks (its UNet has %lld channels) and cannot draw without one; take a model of %lld channels",
                       (long long)d->unet->c.in, (long long)d->vae->c.latent);
    if (c->image && !(c->strength > 0 && c->strength <= 1)) return vm_fail(e, VM_EUSAGE, "strength %g is not above 0 and at most 1", c->strength);
    if (c->steps < 1) return vm_fail(e, VM_EUSAGE, "%lld steps", (long long)c->steps);
    return VM_OK;
}

static int64_t left_out(const diffusion_call *c) {
    return c->image ? VM_MAX(c->steps - VM_MIN((int64_t)((double)c->steps * c->strength), c->steps), (int64_t)0) : 0;
}

/* Fewer pictures at a time while memory is out. */
static vm_status run_groups(job *j, float *rgb, vm_error *e) {
    enum { MOST = 64 };
    int64_t n = j->c->n, batch = VM_MIN(j->c->batch ? VM_MIN(j->c->batch, n) : n, (int64_t)MOST), at = 0;
    while (at < n && !e->status) {
        int64_t many = VM_MIN(batch, n - at);
        noise before[MOST];
        for (int64_t k = 0; k < many; k++) before[k] = j->c->noise[at + k];
        if (run_group(j, at, many, rgb + at * j->c->width * j->c->height * 3, e) == VM_EDEVICE && many > 1) {
            for (int64_t k = 0; k < many; k++) j->c->noise[at + k] = before[k];
            vm_error_clear(e);
            vm_arena_free(&j->d->arena);
            batch = (many + 1) / 2;
            continue;
        }
        at += many;
    }
    j->r->batch = batch;
    return e->status;
}

vm_status diffusion_run(diffusion *d, const diffusion_call *c, float *rgb, diffusion_report *r, vm_error *e) {
    int64_t f = diffusion_multiple(d), C = d->vae->c.latent;
    job j = { .d = d, .c = c, .r = r, .h = c->height / f, .w = c->width / f, .C = C, .first = left_out(c) };
    *r = (diffusion_report){ 0 };
    j.len = j.h * j.w * C;
    if (check(d, c, e)) return e->status;
    if (j.first >= c->steps) return vm_fail(e, VM_EUSAGE, "strength %g leaves none of %lld steps; give more steps", c->strength, (long long)c->steps);
    if (!diffusion_encode_prompt(d, c, &j.text, e)) {
        r->dropped = j.text.dropped;
        if (!prepare_pictures(&j, e)) run_groups(&j, rgb, e);
    }
    diffusion_prompt_free(&j.text);
    vm_free(j.mean), vm_free(j.logvar), vm_free(j.masked_mean), vm_free(j.masked_logvar), vm_free(j.mask);
    return e->status;
}

vm_status diffusion_image(vm_image *out, const float *rgb, int64_t width, int64_t height, vm_error *e) {
    if (image_new(out, (int)width, (int)height, 3, e)) return e->status;
    for (int64_t i = 0; i < width * height * 3; i++) out->px[i] = (uint8_t)nearbyintf(rgb[i] * 255);
    return VM_OK;
}
