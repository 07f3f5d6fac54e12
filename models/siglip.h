/* siglip.h - SigLIP (Zhai et al. 2023): two transformers into one space, trained with a sigmoid for every pair.
 *
 * Beside CLIP: no class token and no norm before the layers; patches with a bias; pictures are pooled by a learnt probe that
 * attends to all rows; texts are not causal, are padded to the whole context with tokens that take part, and their feature is
 * the last row; no projections; logits have a bias. Reads and writes Hugging Face SiglipModel directories. */
#ifndef VM_SIGLIP_H
#define VM_SIGLIP_H
#include "models/towers.h"

typedef struct {
    int64_t width, layers, heads, mlp;
    float eps;
    vm_unary_kind act;
} siglip_tower;

typedef struct {
    siglip_tower text, vision;
    int64_t vocab, context, image_size, patch;
    int64_t pad;
} siglip_config;

typedef struct {
    towers t;              /* first: what all of its kind have */
    siglip_config c;
    weight_set w;
    vm_param *token_embed, *text_pos, *text_ln_w, *text_ln_b, *text_head_w, *text_head_b;
    vm_param *patch_w, *patch_b, *vision_pos, *post_w, *post_b, *probe;
    nn_layer *text, *vision, head;
    st_file *file;         /* mapped weights that parameters may borrow */
} siglip_model;

bool siglip_is_siglip(const char *dir);
vm_status siglip_config_read(siglip_config *c, const char *dir, vm_error *e); /* VM_EMODEL when dir is no SigLIP */
vm_status siglip_new(siglip_model **out, vm_backend *be, const siglip_config *c, vm_error *e); /* parameters without data */
/* Normal numbers of the variances that the published implementation draws; scale 10 and bias -10 as in the paper. */
vm_status siglip_init(siglip_model *m, uint64_t seed, vm_error *e);
vm_status siglip_open(siglip_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void siglip_free(siglip_model *m); /* accepts NULL */

/* The map to Hugging Face names. */
void siglip_map(const siglip_model *m, weight_map *map);
vm_status siglip_save(const siglip_model *m, const char *dir, st_dtype t, vm_error *e); /* config.json, model.safetensors */

/* pixels (B,S,S,3) f32, normalised -> (B,V) f32, not normalised. */
vm_val siglip_image_features(vm_graph *g, const siglip_model *m, vm_val pixels);
/* ids (B,T) i32, T <= context; at (B) i32 the last row; mask (B,T) i32: 1 where a token is seen, pads included -> (B,V). */
vm_val siglip_text_features(vm_graph *g, const siglip_model *m, vm_val ids, vm_val at, vm_val mask);

#endif
