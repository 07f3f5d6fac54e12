/* vae_train.h - one training step of the autoencoder of latent diffusion: pictures in, updated weights out.
 *
 *   L = D(d) + chroma D(d - mean of d's three colours) + edges (D(d(x+1) - d(x)) + D(d(y+1) - d(y))) + kl KL
 *   d = y - x,  y = decode(mean + exp(logvar/2) n),  D(z) = mean w |z| or mean w z^2,  KL as vae_kl
 *
 * w is 1, or `focus` times as much where a mask says so, with the mean 1 in each picture. Source: Kingma and Welling 2014; without the adversarial
 * and perceptual terms that the published models had beside it. */
#ifndef VM_VAE_TRAIN_H
#define VM_VAE_TRAIN_H
#include "io/image.h"
#include "models/optimizer.h"
#include "models/vae.h"

typedef struct {
    optimizer_config optimizer;
    vm_type dtype;
    bool deterministic, l1;
    double kl, chroma, edges;
    double focus; /* weight of what the masks are white in; with masks alone */
    uint64_t seed; /* of the noise: a function of seed, step and place in the batch */
    bool recompute; /* as vae.recompute */
} vae_train_config;
typedef struct {
    double loss, grad_norm; /* before the step */
    double distance, kl;    /* mean |d| or d^2, and KL */
    bool skipped;           /* non-finite, or beyond the limits: no weight was changed */
} vae_train_step;

typedef struct vae_trainer vae_trainer;
vm_status vae_trainer_new(vae_trainer **out, vae *m, const vae_train_config *c, vm_error *e);
void vae_trainer_free(vae_trainer *t); /* not the model; accepts NULL */
void vae_trainer_limit(vae_trainer *t, double loss, double grad_norm); /* as diffusion_trainer_limit */
/* n RGB pictures of one size, sides multiples of vae_factor; focus: a mask for each, or NULL. */
vm_status vae_trainer_step(vae_trainer *t, int64_t n, const vm_image *const *im, const vm_image *const *focus, int64_t step, double lr, vae_train_step *out, vm_error *e);
/* Of pictures that are only looked at; deviation: of the latents' means about 0, whose inverse is the scale that diffusion wants. */
vm_status vae_trainer_look(vae_trainer *t, int64_t n, const vm_image *const *im, int64_t step, vae_train_step *out, double *deviation, vm_error *e);
/* What steps of n pictures of H x W take, before anything of it is allocated. */
vm_status vae_trainer_memory(vae_trainer *t, int64_t n, int64_t H, int64_t W, optimizer_bytes *own, size_t *activations, vm_error *e);
int64_t vae_trainer_updates(const vae_trainer *t);
vm_status vae_trainer_export(const vae_trainer *t, const char *dir, st_dtype type, vm_error *e); /* diffusion_pytorch_model.safetensors */
vm_status vae_trainer_save(const vae_trainer *t, const char *dir, vm_error *e); /* a checkpoint in an existing directory; and back, bit for bit */
vm_status vae_trainer_load(vae_trainer *t, const char *dir, int64_t updates, vm_error *e);
#endif
