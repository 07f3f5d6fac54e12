/* unet.h - UNet2DConditionModel of latent diffusion: Stable Diffusion 1 and 2, SDXL base, inpainting and refiner, in diffusers' folders.
 *
 *   t = MLP(sinusoid(timestep)) [+ MLP(text embedding, sinusoids of sizes)]
 *   conv_in; down: resnets and transformers at each level, every result kept; middle; up: each beside the kept one of its level; GN, silu, conv_out
 *
 * Sampling calls the network for the same text at times that are known beforehand. What depends on these alone is computed once and kept in a
 * unet_memory: keys and values of the text in every block, and what each time adds in every resnet.
 *
 * Sources: Rombach et al. 2022, Podell et al. 2023. */
#ifndef VM_UNET_H
#define VM_UNET_H
#include "models/diffuse.h"

enum { UNET_LEVELS = 8, UNET_LAYERS = 8 };
typedef struct {
    int64_t in, out, levels, layers;       /* layers: resnets of a level on the way down */
    int64_t width[UNET_LEVELS], heads[UNET_LEVELS], depth[UNET_LEVELS], up_depth[UNET_LEVELS]; /* depth: blocks of a transformer */
    bool cross[UNET_LEVELS], up_cross[UNET_LEVELS];
    int64_t context, groups;               /* columns of the text */
    int64_t time_ids, text_and_ids;        /* addition_time_embed_dim, projection_class_embeddings_input_dim; 0 = none (not SDXL) */
    float eps;
    bool linear, flip;                     /* use_linear_projection, flip_sin_to_cos */
    double freq_shift;
    int64_t sample;                        /* the side of latents it was trained on */
} unet_config;

typedef struct {
    diffuse_resnet resnet[UNET_LAYERS + 1];
    diffuse_transformer attn[UNET_LAYERS + 1]; /* block NULL: none at this level */
    int n;
    diffuse_pair resample;                 /* w NULL: none */
} unet_level;
typedef struct {
    unet_config c;
    weight_set w;
    weight_map map;
    diffuse_pair time1, time2, add1, add2, conv_in, norm_out, conv_out;
    unet_level down[UNET_LEVELS], middle, up[UNET_LEVELS]; /* middle: two resnets around one transformer */
    bool recompute;                        /* in training, keep only the inputs of resnets, blocks and single convolutions */
    st_file *file;
    char *unused;
} unet;

bool unet_is_unet(const char *dir);
vm_status unet_config_read(unet_config *c, const char *dir, vm_error *e);
vm_status unet_open(unet **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
/* Of the folder's configuration with weights of 0, which take no memory before they are written: enough for plans. */
vm_status unet_new(unet **out, vm_backend *be, const char *dir, vm_error *e);
/* The same with random weights (diffuse_random). */
vm_status unet_fresh(unet **out, vm_backend *be, const char *dir, uint64_t seed, vm_error *e);
void unet_free(unet *m); /* accepts NULL */

/* Room for B pictures of `texts` texts each (1, or 2: without and with the prompt), picture by picture, T tokens long, at up to N times. */
typedef struct {
    int64_t B, texts, T, N;
    vm_param **kv;   /* (B texts, T, C) in the type of its graphs: keys and values of each block by turns, in the order of unet_run */
    vm_param **time; /* (1, texts N, C) of each resnet; texts 1 where the time depends on no text */
    int64_t n_kv, n_time;
} unet_memory;
vm_status unet_memory_new(unet_memory **out, const unet *m, vm_type type, int64_t B, int64_t texts, int64_t T, int64_t N, vm_error *e);
void unet_memory_free(unet_memory *k); /* accepts NULL; after the graphs that read it */
/* Fills it: context (texts,T,D), times n <= N of them; for SDXL pooled (texts,P) and ids (texts,n_ids), else NULL. */
vm_status unet_remember(const unet *m, unet_memory *k, vm_backend *be, vm_type type, const float *context, const float *times, int64_t n, const float *pooled,
                        const float *ids, int64_t n_ids, vm_error *e);
int64_t unet_memory_rows(const unet *m, const unet_memory *k); /* rows of unet_input.row: B texts, or 1 for all */
void unet_memory_row(const unet *m, const unet_memory *k, int64_t call, int32_t *row); /* at time `call` of those remembered */

typedef struct {
    vm_val sample;    /* (B,H,W,in) f32 */
    vm_val timestep;  /* (B) or (1) f32: one for all */
    vm_val context;   /* (B,T,D) f32 */
    vm_val text, ids; /* SDXL: (B,P) f32, (B,n) f32; else 0 */
    const unet_memory *memory; /* instead of all these but the sample; B of it is that of the memory times its texts */
    vm_val row;       /* with a memory: (unet_memory_rows) i32 */
} unet_input;
vm_val unet_time(vm_graph *g, const unet *m, const unet_input *x); /* (B or 1, 4 c0): the embedding of time (and text), behind its silu */
vm_val unet_run(vm_graph *g, const unet *m, const unet_input *x); /* (B,H,W,out) f32; any H and W */
#endif
