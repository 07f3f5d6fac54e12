/* diffusion_parts.h - what the files of diffusion.h share. Not for callers. */
#ifndef VM_DIFFUSION_PARTS_H
#define VM_DIFFUSION_PARTS_H
#include "io/tokenizer.h"
#include "models/clip_text.h"
#include "models/diffusion.h"
#include "models/lora.h"
#include "models/unet.h"
#include "models/vae.h"

enum { DIFFUSION_TEXTS = 2 };
/* A plan of the autoencoder, for one picture. */
typedef struct {
    vm_graph *g;
    int64_t h, w; /* of the latent */
    vm_type type;
} diffusion_vae_plan;

struct diffusion {
    vm_backend *be;
    diffusion_options o;
    clip_text *text[DIFFUSION_TEXTS];
    tok *tok[DIFFUSION_TEXTS];
    int n_text;
    unet *unet;
    lora *adapter;       /* NULL = none */
    vae *vae;
    sampler_config sampler;
    bool xl;             /* contexts of the last layer but one, and a pooled text */
    bool zero_negative;  /* no negative prompt is zeros, not the encoding of "" */
    vm_arena arena;      /* all plans take turns */
    diffusion_vae_plan plan[2]; /* encoder, decoder */
    struct {             /* the plan of a step */
        vm_graph *g;
        unet_memory *k;
        int64_t h, w;
    } step;
    float *colour;       /* (C+1,3): of a preview */
};

/* What the UNet reads of the prompts. */
typedef struct {
    int64_t texts, T, P;    /* 2: negative and prompt, or 1: prompt; tokens; columns of the pooled text, 0 = none */
    float *context, *pooled; /* (texts,T,D), (texts,P) */
    int64_t dropped;
} diffusion_prompt;
vm_status diffusion_encode_prompt(diffusion *d, const diffusion_call *c, diffusion_prompt *p, vm_error *e);
void diffusion_prompt_free(diffusion_prompt *p);

/* pixels (8h,8w,3) in [-1,1] -> mean and log variance (h,w,C). */
vm_status diffusion_vae_encode(diffusion *d, const float *pixels, int64_t h, int64_t w, float *mean, float *logvar, diffusion_report *r, vm_error *e);
/* latents (h,w,C) as the UNet has them -> pixels (8h,8w,3), not clamped. */
vm_status diffusion_vae_decode(diffusion *d, const float *latents, int64_t h, int64_t w, float *pixels, diffusion_report *r, vm_error *e);

vm_graph *diffusion_graph(diffusion *d, vm_type type, vm_error *e); /* an empty one, in the shared arena */
#endif
