/* diffusion_train.c - see diffusion_train.h. */
#include "models/diffusion_train.h"

#include <math.h>
#include <string.h>

#include "kernels/philox.h"
#include "kernels/plans.h"
#include "models/diffusion_parts.h"

enum { PLANS = 6 };
typedef struct { int64_t B, h, w, T, learns; } plan_key;

/* What autoencoder and text encoders make of a sample: mean and log variance of its latents, whole and without what the mask hides; context, pooled. */
typedef struct {
    int64_t key; /* 0 = empty */
    float *latents, *texts;
} kept;

struct diffusion_trainer {
    diffusion *d;
    diffusion_train_config c;
    optimizer opt;
    lora *adapter;
    sampler *levels;   /* alphas of the schedule */
    vm_plans plans;
    vm_arena arena;
    kept *kept;        /* (c.keep): a sample's place is its key modulo that */
    double most_loss, most_norm;
};

/* --- life --------------------------------------------------------------------------------------------------------------- */
static vm_status adapt(diffusion_trainer *t, const lora_options *o, const char *dir, vm_error *e) {
    unet *m = t->d->unet;
    if (!o->r && !dir) return VM_OK;
    for (int64_t i = 0; i < m->w.n; i++) m->w.p[i]->trainable = false;
    lora_options all = *o;
    all.usual = "to_q,to_k,to_v";
    return dir ? lora_open(&t->adapter, &m->w, &m->map, dir, e) : lora_new(&t->adapter, &m->w, &m->map, &all, e);
}

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);

vm_status diffusion_trainer_new(diffusion_trainer **out, diffusion *d, const diffusion_train_config *c, const lora_options *fresh, const char *adapter, vm_error *e) {
    diffusion_trainer *t = *out = vm_calloc(1, sizeof *t);
    if (!t) return vm_nomem(e, sizeof *t, "a trainer");
    weight_set *w = &d->unet->w;
    d->unet->recompute = c->recompute;
    t->d = d, t->c = *c, t->most_loss = t->most_norm = INFINITY, t->opt = (optimizer){ .w = w, .c = c->optimizer };
    t->plans = (vm_plans){ .be = d->be, .dtype = d->o.dtype, .most = PLANS, .arena = &t->arena, .build = build, .ctx = t };
    if (!(t->kept = vm_calloc((size_t)c->keep + 1, sizeof *t->kept))) vm_nomem(e, (size_t)c->keep * sizeof *t->kept, "samples");
    if (!e->status && !adapt(t, fresh, adapter, e)) sampler_new(&t->levels, &d->sampler, 1, e);
    for (int64_t i = 0; i < w->n; i++) w->p[i]->decay = w->p[i]->nd > 1;
    if (e->status) diffusion_trainer_free(t), *out = NULL;
    return e->status;
}

void diffusion_trainer_free(diffusion_trainer *t) {
    if (!t) return;
    vm_plans_free(&t->plans);
    vm_arena_free(&t->arena);
    for (int64_t k = 0; t->kept && k < t->c.keep; k++) vm_free(t->kept[k].latents), vm_free(t->kept[k].texts);
    vm_free(t->kept);
    optimizer_free(&t->opt);
    lora_free(t->adapter);
    sampler_free(t->levels);
    vm_free(t);
}

const lora *diffusion_trainer_adapter(const diffusion_trainer *t) { return t->adapter; }
weight_set *diffusion_trainer_weights(const diffusion_trainer *t) { return &t->d->unet->w; }
void diffusion_trainer_limit(diffusion_trainer *t, double loss, double grad_norm) { t->most_loss = loss, t->most_norm = grad_norm; }
int64_t diffusion_trainer_updates(const diffusion_trainer *t) { return t->opt.updates; }

/* --- plans ---------------------------------------------------------------------------------------------------------------- */
/* by: roots of the weights w_t, for every element. */
static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    const diffusion_trainer *t = ctx;
    const plan_key *k = key;
    const unet_config *c = &t->d->unet->c;
    int64_t B = k->B, ne[] = { B, k->h, k->w, c->out }, in[] = { B, k->h, k->w, c->in };
    g->training = k->learns, g->deterministic = t->c.deterministic;
    unet_input x = { .sample = vm_input(g, "sample", VM_F32, 4, in), .timestep = vm_input(g, "time", VM_F32, 1, &B),
                     .context = vm_input(g, "context", VM_F32, 3, (int64_t[]){ B, k->T, c->context }) };
    if (c->text_and_ids) {
        int64_t P = t->d->text[t->d->n_text - 1]->c.embed;
        x.text = vm_input(g, "text", VM_F32, 2, (int64_t[]){ B, P }), x.ids = vm_input(g, "ids", VM_F32, 2, (int64_t[]){ B, (c->text_and_ids - P) / c->time_ids });
    }
    vm_val y = unet_run(g, t->d->unet, &x), by = vm_input(g, "by", VM_F32, 4, ne);
    vm_scope(g, "loss");
    vm_val off = vm_binary(g, y, vm_input(g, "target", VM_F32, 4, ne), VM_SUB);
    vm_val loss = vm_mean(g, vm_unary(g, vm_binary(g, off, by, VM_MUL), VM_SQUARE, VM_F32));
    vm_output(g, "loss", loss), vm_output(g, "error", vm_mean(g, vm_unary(g, off, VM_SQUARE, VM_F32)));
    if (k->learns) vm_backward(g, 1, &loss, NULL, 0, NULL);
    return VM_OK;
}

static size_t bytes_of(const weight_set *w) {
    size_t all = 0;
    for (int64_t i = 0; i < w->n; i++) all += (size_t)vm_param_count(w->p[i]) * vm_type_size(w->p[i]->type);
    return all;
}

vm_status diffusion_trainer_memory(diffusion_trainer *t, int64_t n, int64_t H, int64_t W, optimizer_bytes *own, size_t *activations, size_t *frozen, vm_error *e) {
    const int64_t f = diffusion_multiple(t->d), h = H / f, w = W / f;
    if (H % f || W % f) return vm_fail(e, VM_EINPUT, "pictures of %lld x %lld: sides are multiples of %lld with this model", (long long)W, (long long)H, (long long)f);
    const plan_key key = { n, h, w, t->d->text[0]->c.context, true };
    vm_graph *encoder = vm_graph_new(t->d->be, t->d->o.dtype);
    *own = optimizer_memory(&t->opt), *activations = vm_plans_bytes(&t->plans, &key, sizeof key, e);
    if (!encoder) vm_nomem(e, sizeof *encoder, "a graph");
    else {
        vm_val mean, logvar;
        vae_encode(encoder, t->d->vae, vm_input(encoder, "in", VM_F32, 4, (int64_t[]){ 1, H, W, t->d->vae->c.in }), &mean, &logvar);
        vm_output(encoder, "mean", mean), vm_output(encoder, "logvar", logvar);
        *frozen = vm_plan_bytes(encoder) + bytes_of(&t->d->vae->w);
        if (!e->status && encoder->err.status) *e = encoder->err;
    }
    for (int k = 0; k < t->d->n_text; k++) *frozen += bytes_of(&t->d->text[k]->w);
    vm_graph_free(encoder);
    return e->status;
}

/* --- a batch ---------------------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t B, h, w, C, in, T, P, ids;
    float *sample, *time, *context, *text, *sizes, *target, *by; /* what the graph reads */
    float *moments, *pixels;                                     /* of one picture */
} batch;

static vm_graph *plan_for(diffusion_trainer *t, const batch *b, bool learns, vm_error *e) {
    const plan_key key = { b->B, b->h, b->w, b->T, learns };
    return vm_plans_get(&t->plans, &key, sizeof key, NULL, e);
}

static void free_batch(batch *b) {
    float *all[] = { b->sample, b->time, b->context, b->text, b->sizes, b->target, b->by, b->moments, b->pixels };
    for (int k = 0; k < VM_LEN(all); k++) vm_free(all[k]);
}

static vm_status new_batch(const diffusion_trainer *t, batch *b, int64_t n, int64_t W, int64_t H, vm_error *e) {
    const unet_config *c = &t->d->unet->c;
    int64_t f = diffusion_multiple(t->d);
    *b = (batch){ .B = n, .h = H / f, .w = W / f, .C = c->out, .in = c->in };
    if (W % f || H % f) return vm_fail(e, VM_EINPUT, "pictures of %lld x %lld: sides are multiples of %lld with this model", (long long)W, (long long)H, (long long)f);
    int64_t HW = b->h * b->w;
    const struct { float **p; int64_t n; } rooms[] = { { &b->sample, n * HW * b->in }, { &b->time, n }, { &b->target, n * HW * b->C }, { &b->by, n * HW * b->C },
                                                       { &b->moments, 4 * HW * b->C }, { &b->pixels, W * H * 3 } };
    for (int k = 0; k < VM_LEN(rooms); k++)
        if (!(*rooms[k].p = vm_alloc((size_t)rooms[k].n * sizeof(float)))) return vm_nomem(e, (size_t)rooms[k].n * sizeof(float), "a batch");
    return VM_OK;
}

/* Mean and log variance (2, HW C) of the picture's latent, without what the mask hides if there is one. */
static vm_status encode(diffusion_trainer *t, batch *b, const diffusion_sample *s, const vm_image *mask, float *out, vm_error *e) {
    diffusion_report none = { 0 };
    for (int64_t i = 0; i < (int64_t)s->image->w * s->image->h * 3; i++) b->pixels[i] = mask && mask->px[i / 3] ? 0 : (float)s->image->px[i] / 255 * 2 - 1;
    return diffusion_vae_encode(t->d, b->pixels, b->h, b->w, out, out + b->h * b->w * b->C, &none, e);
}

/* A sample of the latent, scaled. */
static void draw_latent(const diffusion_trainer *t, const batch *b, const float *from, vm_rng *r, float *out, int64_t step) {
    const vae_config *v = &t->d->vae->c;
    const float *mean = from, *logvar = from + b->h * b->w * b->C;
    for (int64_t i = 0; i < b->h * b->w * b->C; i++)
        out[i / b->C * step + i % b->C] = (float)(((double)mean[i] + exp(0.5 * (double)logvar[i]) * vm_rng_normal(r) - v->shift) * v->scale);
}

/* The latents of a sample: kept ones, or new ones that are kept when it has a key. */
static const float *latents_of(diffusion_trainer *t, batch *b, const diffusion_sample *s, vm_error *e) {
    const int64_t n = b->h * b->w * b->C, halves = b->in > b->C ? 2 : 1;
    kept *k = s->key > 0 && t->c.keep > 0 ? &t->kept[s->key % t->c.keep] : NULL;
    float *to = b->moments;
    if (k && k->key == s->key && k->latents) return k->latents;
    if (k) {
        vm_free(k->latents), vm_free(k->texts);
        *k = (kept){ .latents = vm_alloc((size_t)(2 * n * halves) * sizeof *to) };
        if (!(to = k->latents)) return vm_nomem(e, (size_t)(2 * n * halves) * sizeof *to, "latents"), NULL;
    }
    if (encode(t, b, s, NULL, to, e) || (halves > 1 && encode(t, b, s, s->mask, to + 2 * n, e))) return NULL;
    if (k) k->key = s->key;
    return to;
}

static vm_status text_room(const diffusion_trainer *t, batch *b, int64_t T, int64_t P, vm_error *e) {
    const unet_config *c = &t->d->unet->c;
    int64_t n = b->B * T * c->context;
    b->T = T, b->P = P, b->ids = P ? (c->text_and_ids - P) / c->time_ids : 0;
    b->context = vm_alloc((size_t)n * sizeof *b->context), b->text = vm_alloc((size_t)(b->B * P) * sizeof *b->text + 1);
    b->sizes = vm_alloc((size_t)(b->B * b->ids) * sizeof *b->sizes + 1);
    return b->context && b->text && b->sizes ? VM_OK : vm_nomem(e, (size_t)n * sizeof *b->context, "texts");
}

/* The text of sample k into the batch, whose room is made with the first one; by way of its memory when it has a key (latents_of was called). */
static vm_status read_text(diffusion_trainer *t, batch *b, int64_t k, const diffusion_sample *s, vm_error *e) {
    const int64_t D = t->d->unet->c.context;
    kept *own = s->key > 0 && t->c.keep > 0 ? &t->kept[s->key % t->c.keep] : NULL;
    if (!own || !own->texts) {
        diffusion_prompt p;
        const diffusion_call call = { .prompt = s->text ? s->text : "", .truncate = true, .guidance = 1 };
        if (diffusion_encode_prompt(t->d, &call, &p, e) || (!b->context && text_room(t, b, p.T, p.P, e))) return diffusion_prompt_free(&p), e->status;
        const int64_t n = p.T * D;
        if (!s->text && t->d->zero_negative) memset(p.context, 0, (size_t)n * sizeof *p.context), memset(p.pooled, 0, (size_t)p.P * sizeof *p.pooled);
        memcpy(b->context + k * n, p.context, (size_t)n * sizeof *p.context), memcpy(b->text + k * p.P, p.pooled, (size_t)p.P * sizeof *p.pooled);
        if (own && (own->texts = vm_alloc((size_t)(n + p.P + 2) * sizeof *own->texts))) {
            own->texts[0] = (float)p.T, own->texts[1] = (float)p.P;
            memcpy(own->texts + 2, p.context, (size_t)n * sizeof *p.context), memcpy(own->texts + 2 + n, p.pooled, (size_t)p.P * sizeof *p.pooled);
        }
        diffusion_prompt_free(&p);
    } else {
        const int64_t T = (int64_t)own->texts[0], P = (int64_t)own->texts[1], n = T * D;
        if (!b->context && text_room(t, b, T, P, e)) return e->status;
        memcpy(b->context + k * n, own->texts + 2, (size_t)n * sizeof *b->context), memcpy(b->text + k * P, own->texts + 2 + n, (size_t)P * sizeof *b->text);
    }
    const float f = (float)diffusion_multiple(t->d), H = (float)b->h * f, W = (float)b->w * f, sizes[] = { H, W, 0, 0, b->ids == 5 ? 6 : H, W };
    memcpy(b->sizes + k * b->ids, sizes, (size_t)b->ids * sizeof *sizes);
    return VM_OK;
}

static double weight_of(const diffusion_trainer *t, double a) {
    double snr = a / (1 - a), least = fmin(snr, t->c.gamma);
    if (!(t->c.gamma > 0)) return 1;
    return t->d->sampler.predicts == PREDICTS_NOISE ? least / snr : t->d->sampler.predicts == PREDICTS_V ? least / (snr + 1) : least;
}

static vm_status add_sample(diffusion_trainer *t, batch *b, int64_t k, const diffusion_sample *s, int64_t step, vm_error *e) {
    int64_t HW = b->h * b->w, C = b->C, in = b->in, T = t->d->sampler.T;
    vm_rng r = vm_rng_at(t->c.seed, (uint64_t)step << 16 | (uint64_t)k);
    float *x = b->sample + k * HW * in, *target = b->target + k * HW * C, *by = b->by + k * HW * C;
    int64_t time = vm_rng_below(&r, (uint32_t)T);
    double a = (double)sampler_alphas(t->levels)[time], root = sqrt(a), other = sqrt(1 - a), w = sqrt(weight_of(t, a));
    b->time[k] = (float)time;
    const float *latents = latents_of(t, b, s, e);
    if (!latents || read_text(t, b, k, s, e)) return e->status;
    draw_latent(t, b, latents, &r, x, in);
    if (in > C) draw_latent(t, b, latents + 2 * HW * C, &r, x + C + 1, in);
    const int64_t f = diffusion_multiple(t->d);
    double inside = 0, share; /* latents that are masked; the weight of all of them together */
    for (int64_t i = 0; i < HW && in > C; i++) inside += (double)(x[i * in + C] = s->mask->px[i / b->w * f * s->mask->w + i % b->w * f] ? 1 : 0);
    share = in > C ? (inside + t->c.outside * ((double)HW - inside)) / (double)HW : 1;
    for (int64_t i = 0; i < HW; i++) {
        const double mine = in > C && share > 0 ? (x[i * in + C] > 0 ? 1 : t->c.outside) / share : 1;
        for (int64_t c = 0; c < C; c++) {
            double z = (double)x[i * in + c], n = vm_rng_normal(&r);
            x[i * in + c] = (float)(root * z + other * n), by[i * C + c] = (float)(w * sqrt(mine));
            target[i * C + c] = (float)(t->d->sampler.predicts == PREDICTS_NOISE ? n : t->d->sampler.predicts == PREDICTS_V ? root * n - other * z : z);
        }
    }
    return VM_OK;
}

static vm_status run(diffusion_trainer *t, int64_t n, const diffusion_sample *s, int64_t step, bool learns, double *loss, double *error, vm_error *e) {
    batch b;
    vm_real x = 0, y = 0;
    const bool inpaints = diffusion_inpaints(t->d);
    if (new_batch(t, &b, n, s[0].image->w, s[0].image->h, e)) goto done;
    for (int64_t k = 0; k < n && !e->status; k++) {
        const vm_image *im = s[k].image, *m = s[k].mask;
        if (im->c != 3 || im->w != s[0].image->w || im->h != s[0].image->h || (inpaints && (!m || m->c != 1 || m->w != im->w || m->h != im->h)))
            vm_fail(e, VM_EINPUT, "picture %lld of a batch: all are RGB of one size, with a mask of it where the model reads masks", (long long)k);
        else add_sample(t, &b, k, &s[k], step, e);
    }
    vm_graph *g = e->status || lora_refresh(t->adapter, e) ? NULL : plan_for(t, &b, learns, e);
    if (!g) goto done;
    bool bad = vm_set(g, "sample", b.sample) || vm_set(g, "time", b.time) || vm_set(g, "context", b.context) || vm_set(g, "target", b.target) || vm_set(g, "by", b.by);
    if (!bad && b.P) bad = vm_set(g, "text", b.text) || vm_set(g, "ids", b.sizes);
    if (bad || vm_run(g) || vm_get(g, "loss", &x) || vm_get(g, "error", &y)) *e = g->err;
    *loss = (double)x, *error = (double)y;
done:
    free_batch(&b);
    return e->status;
}

/* --- steps ------------------------------------------------------------------------------------------------------------------- */
vm_status diffusion_trainer_loss(diffusion_trainer *t, int64_t n, const diffusion_sample *s, int64_t step, double *loss, vm_error *e) {
    double weighted;
    return run(t, n, s, step, false, &weighted, loss, e);
}

vm_status diffusion_trainer_step(diffusion_trainer *t, int64_t n, const diffusion_sample *s, int64_t step, double lr, diffusion_train_step *out, vm_error *e) {
    *out = (diffusion_train_step){ 0 };
    if (run(t, n, s, step, true, &out->loss, &out->error, e) || optimizer_norm(&t->opt, &out->grad_norm, e)) return e->status;
    out->skipped = !isfinite(out->loss) || !isfinite(out->grad_norm) || out->loss > t->most_loss || out->grad_norm > t->most_norm;
    if (out->skipped || optimizer_update(&t->opt, lr, out->grad_norm, e)) return e->status;
    return optimizer_average(&t->opt, e);
}

/* --- on disk ------------------------------------------------------------------------------------------------------------------- */
static const char file[] = "diffusion_pytorch_model";

vm_status diffusion_trainer_export(const diffusion_trainer *t, const char *dir, st_dtype type, vm_error *e) {
    return weights_save(&t->d->unet->map, dir, "diffusion_pytorch_model.safetensors", type, NULL, e);
}

vm_status diffusion_trainer_save(const diffusion_trainer *t, const char *dir, vm_error *e) {
    vm_status st = t->adapter ? lora_save(t->adapter, dir, NULL, e) : diffusion_trainer_export(t, dir, ST_F32, e);
    return st ? st : optimizer_save(&t->opt, dir, e);
}

vm_status diffusion_trainer_load(diffusion_trainer *t, const char *dir, int64_t updates, vm_error *e) {
    vm_status st = t->adapter ? lora_load(t->adapter, dir, e) : weights_restore(&t->d->unet->map, dir, file, e);
    return st ? st : optimizer_load(&t->opt, dir, updates, e);
}
