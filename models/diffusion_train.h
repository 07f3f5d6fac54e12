/* diffusion_train.h - one training step of a pipeline's UNet: pictures with texts and masks in, updated weights out. Autoencoder and text encoders
 * stay as they are.
 *
 *   z = a sample of encode(picture), scaled;  t uniform;  x = sqrt(a_t) z + sqrt(1 - a_t) n
 *   L = mean over pictures of w_t mean (UNet([x | mask | latent of what is not masked], t, text) - target)^2
 *   target: n; sqrt(a) n - sqrt(1 - a) z; or z, by what the model predicts (Ho et al. 2020, Salimans and Ho 2022)
 *   inpainting: latents outside the mask count `outside` times as much as those inside, with the mean 1 in each picture
 *   w_t = min(SNR, gamma) / SNR, / (SNR + 1), or min(SNR, gamma) with SNR = a / (1 - a) (Hang et al. 2023); gamma 0: 1
 *
 * All draws of a picture come from one stream of random numbers, so that a step is a function of (seed, step). */
#ifndef VM_DIFFUSION_TRAIN_H
#define VM_DIFFUSION_TRAIN_H
#include "models/diffusion.h"
#include "models/lora.h"
#include "models/optimizer.h"

typedef struct {
    optimizer_config optimizer;
    bool deterministic;
    double gamma;      /* min-SNR; 0 = off */
    double outside;    /* inpainting: weight of latents outside the mask, where those inside have 1; all over their mean */
    int64_t keep;      /* encoded samples that are kept, by their keys; 0 = none */
    uint64_t seed;
    bool recompute;    /* as unet.recompute */
} diffusion_train_config;

/* A picture of width x height, RGB; text NULL: dropped, the network learns to do without; mask (an inpainting UNet's): one channel, not 0 = repaint. */
typedef struct {
    const vm_image *image, *mask;
    const char *text;
    int64_t key; /* above 0: of this picture, mask and text; what has the same key is encoded once while it is kept */
} diffusion_sample;

typedef struct {
    double loss, grad_norm; /* before the step */
    double error;           /* the same without weights w_t */
    bool skipped;           /* non-finite, or beyond the limits: no weight was changed */
} diffusion_train_step;

typedef struct diffusion_trainer diffusion_trainer;
/* d was opened with options.train. fresh: options of a fresh adapter (r 0 = all weights learn); adapter: a PEFT directory to go on from, or NULL. */
vm_status diffusion_trainer_new(diffusion_trainer **out, diffusion *d, const diffusion_train_config *c, const lora_options *fresh, const char *adapter, vm_error *e);
void diffusion_trainer_free(diffusion_trainer *t); /* not the pipeline; accepts NULL */
const lora *diffusion_trainer_adapter(const diffusion_trainer *t); /* NULL = none */
weight_set *diffusion_trainer_weights(const diffusion_trainer *t);
/* Steps whose loss or gradient norm is larger are skipped, too; INFINITY = no limit, as at first. */
void diffusion_trainer_limit(diffusion_trainer *t, double loss, double grad_norm);
vm_status diffusion_trainer_step(diffusion_trainer *t, int64_t n, const diffusion_sample *s, int64_t step, double lr, diffusion_train_step *out, vm_error *e);
/* Loss of pictures that are only looked at; step: which random numbers. */
vm_status diffusion_trainer_loss(diffusion_trainer *t, int64_t n, const diffusion_sample *s, int64_t step, double *loss, vm_error *e);
/* What steps of n pictures of H x W take, before anything of it is allocated; frozen: weights of autoencoder and text encoders, and encoding a picture. */
vm_status diffusion_trainer_memory(diffusion_trainer *t, int64_t n, int64_t H, int64_t W, optimizer_bytes *own, size_t *activations, size_t *frozen, vm_error *e);
int64_t diffusion_trainer_updates(const diffusion_trainer *t);
/* A checkpoint in an existing directory (diffusion_pytorch_model.safetensors, or the adapter, and optim.safetensors); and back, bit for bit. */
vm_status diffusion_trainer_save(const diffusion_trainer *t, const char *dir, vm_error *e);
vm_status diffusion_trainer_load(diffusion_trainer *t, const char *dir, int64_t updates, vm_error *e);
/* The UNet's weights as diffusion_pytorch_model.safetensors of an existing folder. */
vm_status diffusion_trainer_export(const diffusion_trainer *t, const char *dir, st_dtype type, vm_error *e);
#endif
