/* forward_pipeline.c - cases of `vismin forward` for whole pipelines of latent diffusion: the arguments of the reference's call and the numbers that
 * it drew (or the seed that it drew them from) are given, the picture and every step are asked for. */
#include <string.h>

#include "models/diffusion.h"
#include "pipeline/forward.h"

/* What the steps leave, and where the next drawn numbers stand. */
typedef struct {
    forward_case *c;
    int draws;
    float *times, *output, *latents; /* (calls), (calls, texts, C, h, w), (calls, 1, C, h, w) */
    int64_t calls, texts, C, h, w;
    vm_error *e;
} record;

static vm_status next_draw(void *ctx, int64_t n, float *out, vm_error *e) {
    record *r = ctx;
    char *key = vm_asprintf("%s/noise.%d", r->c->name, r->draws++);
    const st_tensor *t = key ? st_find(r->c->in, key) : NULL;
    if (!t || t->len != n) vm_fail(e, VM_EINPUT, "%s: no tensor %s/noise.%d of %lld numbers", st_path(r->c->in, NULL), r->c->name, r->draws - 1, (long long)n);
    else st_read_f32(r->c->in, t, 0, n, out, e);
    vm_free(key);
    return e->status;
}

static void to_chw(const float *x, float *y, int64_t HW, int64_t C) {
    for (int64_t i = 0; i < HW; i++)
        for (int64_t c = 0; c < C; c++) y[c * HW + i] = x[i * C + c];
}

static bool keep_step(void *ctx, const diffusion_step *s) {
    record *r = ctx;
    int64_t HW = s->h * s->w, len = HW * s->C;
    if (!r->times) {
        r->calls = s->calls, r->texts = s->texts, r->C = s->C, r->h = s->h, r->w = s->w;
        r->times = vm_calloc((size_t)s->calls, sizeof *r->times);
        r->output = vm_calloc((size_t)(s->calls * s->texts * len), sizeof *r->output), r->latents = vm_calloc((size_t)(s->calls * len), sizeof *r->latents);
        if (!r->times || !r->output || !r->latents) return vm_nomem(r->e, (size_t)(s->calls * len) * sizeof(float), "steps"), false;
    }
    r->times[s->call] = (float)s->time;
    for (int64_t x = 0; x < s->texts; x++) to_chw(s->output + x * len, r->output + (s->call * s->texts + x) * len, HW, s->C);
    to_chw(s->latents, r->latents + s->call * len, HW, s->C);
    return true;
}

/* in.NAME (H,W,3) or (H,W) of bytes as a picture; none: all zero. */
static vm_status picture(const forward_case *c, const char *name, vm_image *im, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    *im = (vm_image){ 0 };
    if (!t) return VM_OK;
    if (t->dtype != ST_U8 || t->nd < 2 || t->nd > 3 || (t->nd == 3 && t->shape[2] != 3)) return vm_fail(e, VM_EINPUT, "%s: %s/in.%s: expected a picture (H,W,3) or (H,W) of bytes", st_path(c->in, NULL), c->name, name);
    if (!image_new(im, (int)t->shape[1], (int)t->shape[0], t->nd == 3 ? 3 : 1, e)) memcpy(im->px, t->data, t->bytes);
    return e->status;
}

static double number(const forward_case *c, const char *name, double dflt, vm_error *e) {
    if (!forward_tensor(c, name)) return dflt;
    float *x = forward_f32(c, name, e);
    double v = x ? (double)x[0] : dflt;
    vm_free(x);
    return v;
}

static vm_status put(forward_case *c, const record *r, const float *rgb, int64_t W, int64_t H, vm_error *e) {
    const int64_t picture_ne[] = { 1, H, W, 3 };
    float *u8 = vm_alloc((size_t)(W * H * 3) * sizeof *u8);
    vm_image im = { 0 };
    if (!u8) return vm_nomem(e, (size_t)(W * H * 3) * sizeof *u8, "a picture");
    if (!diffusion_image(&im, rgb, W, H, e)) {
        for (int64_t i = 0; i < W * H * 3; i++) u8[i] = (float)im.px[i];
        forward_put(c, "out.image", 4, picture_ne, rgb, e), forward_put(c, "out.image_u8", 4, picture_ne, u8, e);
        forward_put(c, "mid.unet_timesteps", 1, &r->calls, r->times, e);
        forward_put(c, "mid.unet_output", 5, (int64_t[]){ r->calls, r->texts, r->C, r->h, r->w }, r->output, e);
        forward_put(c, "mid.latents", 5, (int64_t[]){ r->calls, 1, r->C, r->h, r->w }, r->latents, e);
    }
    image_free(&im);
    vm_free(u8);
    return e->status;
}

static vm_status run(forward_case *c, vm_error *e) {
    vm_image image, mask;
    float *latents = NULL, *rgb = NULL;
    diffusion *d = NULL;
    record r = { .c = c, .e = e };
    if (picture(c, "image", &image, e) || picture(c, "mask_image", &mask, e) || diffusion_open(&d, c->be, c->dir, &(diffusion_options){ .dtype = c->dtype }, e)) goto done;
    if (forward_tensor(c, "latents")) latents = forward_map(c, "latents", e);
    noise stream = noise_begin(forward_tensor(c, "seed") ? NOISE_CPU : NOISE_GIVEN, (uint64_t)number(c, "seed", 0, e));
    stream.given = next_draw, stream.ctx = &r;
    diffusion_call call = { .prompt = forward_string(c, "prompt"), .negative = forward_string(c, "negative_prompt"), .truncate = true, .as_published = true,
        .image = image.px ? &image : NULL, .mask = mask.px ? &mask : NULL, .width = (int64_t)number(c, "width", (double)diffusion_size(d), e),
        .height = (int64_t)number(c, "height", (double)diffusion_size(d), e), .steps = (int64_t)number(c, "num_inference_steps", 50, e),
        .guidance = number(c, "guidance_scale", 7.5, e), .strength = number(c, "strength", 1, e), .n = 1, .noise = &stream, .latents = latents, .watch = keep_step, .ctx = &r };
    diffusion_report report;
    if (!call.prompt) vm_fail(e, VM_EINPUT, "%s: case %s: no string in.prompt", st_path(c->in, NULL), c->name);
    if (e->status) goto done;
    if (!(rgb = vm_alloc((size_t)(call.width * call.height * 3) * sizeof *rgb))) vm_nomem(e, (size_t)(call.width * call.height * 3) * sizeof *rgb, "a picture");
    else if (!diffusion_run(d, &call, rgb, &report, e)) put(c, &r, rgb, call.width, call.height, e);
done:
    image_free(&image), image_free(&mask);
    vm_free(latents), vm_free(rgb), vm_free(r.times), vm_free(r.output), vm_free(r.latents);
    diffusion_free(d);
    return e->status;
}

const forward_family forward_pipeline = { .name = "pipeline", .is = diffusion_is, .run = run, .kinds = "pipeline" };
