/* diffusion.h - pictures from texts, pictures and masks: whole pipelines of latent diffusion, from diffusers' folders of Stable Diffusion 1 and 2,
 * SDXL and its refiner (model_index.json; whole, sharded and fp16 files).
 *
 *   context = text encoders(prompt, negative);   x = noise, or the picture's latent with noise on it
 *   at each call of the sampler:   o = n + g (p - n), [n p] = UNet([x | mask | masked latent], t, context);   x = step(x, o)
 *   picture = decode(x / scale)
 *
 * Both halves of the guidance are one batch; for g <= 1 there is only p. Keys and values of the text and what the times add are computed once
 * (unet_memory). When memory is out, fewer pictures go at a time, then the autoencoder works in tiles; what it makes that is not finite is made
 * again in f32. Nothing marks or blacks out pictures. Source of the order of things: diffusers' pipelines; where they are known to be wrong
 * `as_published` repeats it. */
#ifndef VM_DIFFUSION_H
#define VM_DIFFUSION_H
#include "io/image.h"
#include "kernels/graph.h"
#include "models/noise.h"
#include "models/sampler.h"

typedef struct diffusion diffusion;
typedef struct {
    const char *vae;    /* folder of another autoencoder; NULL = the model's */
    const char *adapter; /* a PEFT directory for the UNet; NULL = none */
    vm_type dtype;
    bool deterministic;
    int64_t tile;       /* side of the autoencoder's tiles, in latents; 0 = whole pictures while memory lasts */
    bool train;         /* the UNet's weights are written to (diffusion_train.h) */
    bool scratch;       /* and begin at random, by seed: only its configuration is read */
    uint64_t seed;
} diffusion_options;
vm_status diffusion_open(diffusion **out, vm_backend *be, const char *dir, const diffusion_options *o, vm_error *e);
void diffusion_free(diffusion *d); /* accepts NULL */
bool diffusion_is(const char *dir); /* a folder with model_index.json */

bool diffusion_inpaints(const diffusion *d);   /* its UNet reads masks (9 channels) */
bool diffusion_is_xl(const diffusion *d);
int64_t diffusion_size(const diffusion *d);    /* the side of pictures it was trained on */
int64_t diffusion_multiple(const diffusion *d); /* sides of pictures are multiples of this */
const char *diffusion_unused(const diffusion *d); /* a warning of the loader, or NULL */
sampler_config *diffusion_sampler(diffusion *d); /* the model's own; may be changed between runs */

typedef struct {
    int64_t call, calls;           /* the call that was just made, counted from 0; of how many */
    double time;
    const float *output, *latents; /* (n,h,w,C): the network's (texts of a picture: (n,texts,h,w,C)), and the samples behind the step */
    int64_t first, n, texts, h, w, C; /* pictures first.. of the call's */
} diffusion_step;

typedef struct {
    const char *prompt, *negative; /* negative NULL: none was given, which is not "" for some models */
    bool truncate;                 /* prompts end with the encoder's context; else they go on in chunks */
    bool as_published;             /* PNDM begun in the middle: the step that is made twice is the first of the whole schedule */
    const vm_image *image, *mask;  /* image NULL: from the text alone; mask NULL: the whole picture is the beginning. White = repaint */
    int64_t width, height;         /* multiples of diffusion_multiple */
    int64_t steps;
    double guidance, rescale;      /* rescale: of the guided output's deviation (Lin et al. 2024), 0 = off */
    double strength;               /* part of the steps that a picture goes through */
    int64_t n;
    noise *noise;                  /* n streams */
    const float *latents;          /* (n,h,w,C) to begin with instead of noise, or NULL */
    int64_t batch;                 /* pictures at a time at most; 0 = all */
    bool (*watch)(void *ctx, const diffusion_step *s); /* after each step; false = stop, VM_ESTOP. May be NULL */
    void *ctx;
} diffusion_call;
typedef struct {
    int64_t calls;      /* of the sampler */
    int64_t dropped;    /* tokens of the prompts that the encoders did not see */
    int64_t batch;      /* pictures at a time */
    bool tiled, redone; /* the autoencoder: in tiles; again in f32 */
} diffusion_report;
/* rgb (n,height,width,3) in [0,1]. VM_EUSAGE: sizes, steps, a mask without a picture; VM_EMODEL: not finite; VM_EDEVICE: memory. */
vm_status diffusion_run(diffusion *d, const diffusion_call *c, float *rgb, diffusion_report *r, vm_error *e);
/* Eight bits, rounded half to even. */
vm_status diffusion_image(vm_image *out, const float *rgb, int64_t width, int64_t height, vm_error *e);
/* A picture of w x h for latents (h,w,C): a linear map that is found by decoding constant latents at the first call. */
vm_status diffusion_preview(diffusion *d, const float *latents, int64_t w, int64_t h, vm_image *out, vm_error *e);
#endif
