/* vae.h - AutoencoderKL of latent diffusion (Rombach et al. 2022): pictures to latents of an eighth of the side, and back; diffusers' folders.
 *
 *   encode  conv_in; levels of resnets, each halved by a convolution; resnet, attention, resnet; GN, silu, conv_out; mean and log variance
 *   decode  conv_in; resnet, attention, resnet; levels of resnets, each doubled; GN, silu, conv_out */
#ifndef VM_VAE_H
#define VM_VAE_H
#include "models/diffuse.h"

enum { VAE_LEVELS = 8, VAE_LAYERS = 8 };
typedef struct {
    int64_t in, out, latent, levels, layers, width[VAE_LEVELS], groups;
    bool attention, quant, post_quant;
    double scale, shift; /* latents of diffusion = (z - shift) scale */
    int64_t sample;      /* the side of pictures it was trained on */
} vae_config;

typedef struct {
    diffuse_resnet resnet[VAE_LAYERS + 1];
    int n;
    diffuse_pair resample; /* w NULL: none */
} vae_level;
typedef struct {
    diffuse_resnet first, second;
    diffuse_pair norm;
    diffuse_attn attn;     /* q NULL: none */
} vae_middle;
typedef struct {
    diffuse_pair conv_in, norm_out, conv_out;
    vae_level level[VAE_LEVELS];
    vae_middle middle;
} vae_half;
typedef struct {
    vae_config c;
    weight_set w;
    weight_map map;
    vae_half encoder, decoder;
    diffuse_pair quant, post_quant;
    bool recompute;        /* in training, keep only the inputs of resnets, attentions and single convolutions */
    st_file *file;
    char *unused;
} vae;

bool vae_is_vae(const char *dir);
vm_status vae_config_read(vae_config *c, const char *dir, vm_error *e);
vm_status vae_open(vae **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
/* Random weights (diffuse_random) for the folder's configuration. */
vm_status vae_fresh(vae **out, vm_backend *be, const char *dir, uint64_t seed, vm_error *e);
void vae_free(vae *m); /* accepts NULL */

/* pixels (B,H,W,3) in [-1,1] -> mean and log variance (B,h,w,latent), the latter within [-30,20]. */
void vae_encode(vm_graph *g, const vae *m, vm_val pixels, vm_val *mean, vm_val *logvar);
vm_val vae_sample(vm_graph *g, vm_val mean, vm_val logvar, vm_val noise); /* mean + exp(logvar/2) noise */
vm_val vae_decode(vm_graph *g, const vae *m, vm_val latent);              /* -> (B,8h,8w,3) */
/* Pixels that a latent stands for, on each side: 8 where there are four levels. */
static inline int64_t vae_factor(const vae_config *c) { return (int64_t)1 << (c->levels - 1); }
vm_val vae_kl(vm_graph *g, vm_val mean, vm_val logvar);                   /* mean of (mean^2 + var - 1 - logvar)/2 */
#endif
