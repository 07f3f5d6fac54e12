/* clip.h - CLIP (Radford et al. 2021): a vision transformer or a ResNet and a causal text transformer into one space.
 *
 * Reads Hugging Face CLIPModel directories and open_clip directories (open_clip_config.json), every ViT size and every ResNet;
 * writes one folder that both libraries load, or open_clip alone where Hugging Face has no such model (ResNets). Texts end in
 * an end token; the text feature is the row of that token. */
#ifndef VM_CLIP_H
#define VM_CLIP_H
#include "models/resnet.h"

typedef enum { CLIP_HF, CLIP_OPEN } clip_layout;

typedef struct {
    int64_t width, layers, heads, mlp;
} clip_tower;

typedef struct {
    clip_layout layout;    /* of the directory it was read from */
    clip_tower text, vision; /* a ResNet's: width of the stem, all blocks, heads of its pooling, no mlp */
    int64_t blocks[RESNET_STAGES]; /* per stage of a ResNet; 0 = a ViT */
    int64_t vocab, context, image_size, patch, embed;
    int64_t bos, eos, pad; /* HF token ids; open_clip: vocab-2, vocab-1, 0 */
    bool pool_argmax;      /* text feature at the largest id (open_clip, and HF configs with eos_token_id 2) */
    vm_unary_kind text_act, vision_act; /* VM_RELU in ResNets */
    bool act_assumed;      /* an open_clip_config.json without quick_gelu, which open_clip takes for GELU */
    float text_eps, vision_eps;
    float norm_eps;        /* of the final normalisation: 0 (HF) or 1e-12 (open_clip) */
    double mean[3], std[3];/* of the pixels, written with the model */
} clip_config;

typedef struct {
    towers t;              /* first: what all of its kind have */
    clip_config c;
    weight_set w;
    vm_param *token_embed, *text_pos, *text_ln_w, *text_ln_b, *text_proj;
    vm_param *class_embed, *patch_embed, *vision_pos, *pre_w, *pre_b, *post_w, *post_b, *vision_proj;
    nn_layer *text, *vision;
    resnet *resnet;        /* instead of class_embed ... vision_proj and vision; NULL in ViTs */
    char source_sha256[65];/* written with the weights: of the file they were converted from; "" = none */
    st_file *file;         /* mapped weights that parameters may borrow */
} clip_model;

static inline bool clip_is_resnet(const clip_config *c) { return c->blocks[0] > 0; }
resnet_config clip_resnet_config(const clip_config *c);
/* "224 px in patches of 32: 12 layers of 768, 12 heads", "224 px: ResNet of 3+4+6+3 blocks, width 64, 32 heads" */
char *clip_vision_text(const clip_config *c, char buf[160]);
vm_status clip_config_read(clip_config *c, const char *dir, vm_error *e); /* VM_EMODEL when dir is no CLIP */
bool clip_is_clip(const char *dir);
/* A config.json, an open_clip_config.json, or one of open_clip's model_configs. An activation that the file does not state
 * is VM_NONE here: those files are also used with weights of the other one. */
vm_status clip_config_file(clip_config *c, const char *path, vm_error *e);
void clip_set_activation(clip_config *c, vm_unary_kind k); /* of all transformers: a ResNet's ReLU stays */
clip_config clip_config_blank(void); /* all zero but for OpenAI's mean and deviation of pixels */

/* --- weights without a configuration (clip_arch.c) --- */
/* Which names, and what stands before them in this file, such as "state_dict.module."; of several copies in a training
 * checkpoint that below "state_dict.". VM_EMODEL when there is no CLIP, or several. */
vm_status clip_find(clip_layout *layout, char prefix[256], const weight_source *s, vm_error *e);
/* From the names and shapes of the tensors: everything but the activations, which cannot be seen in weights and are VM_NONE.
 * Heads are width / 64; 16 in vision towers of width 1280, 1408, 1664 and 1792, as in every published one. */
vm_status clip_config_infer(clip_config *c, clip_layout layout, const char *prefix, const weight_source *s, vm_error *e);
/* A size by the name that open_clip gives it: "ViT-L-14", "RN50x4"; the ending "-quickgelu" states the activation, else VM_NONE. */
vm_status clip_config_named(clip_config *c, const char *name, vm_error *e);
/* Fills a model made with clip_new. Parameters may borrow the source's memory unless writable. */
vm_status clip_load(clip_model *m, const weight_source *s, const char *prefix, bool writable, vm_error *e);

/* writable: weights in memory of their own, for training. */
vm_status clip_open(clip_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
vm_status clip_new(clip_model **out, vm_backend *be, const clip_config *c, vm_error *e); /* parameters without data */
vm_status clip_init(clip_model *m, uint64_t seed, vm_error *e);                          /* open_clip's initialisation */
void clip_free(clip_model *m);

/* The map to a layout's names. */
void clip_map(const clip_model *m, clip_layout layout, weight_map *map);
/* config.json + model.safetensors, and with both open_clip_config.json + open_clip_model.safetensors, into an existing directory;
 * of a ResNet the latter two only. */
vm_status clip_save(const clip_model *m, const char *dir, st_dtype t, bool both, vm_error *e);

vm_status clip_save_layout(const clip_model *m, const char *dir, clip_layout layout, st_dtype t, vm_error *e); /* one of the two */
vm_status clip_save_processor(const clip_config *c, const char *dir, vm_error *e); /* preprocessor_config.json */
vm_status clip_save_config(const clip_config *c, const char *dir, vm_error *e); /* config.json alone */

/* --- graphs -------------------------------------------------------------------------------------------------------- */
/* pixels (B,S,S,3) f32, normalised -> (B,E) f32, not normalised. */
vm_val clip_image_features(vm_graph *g, const clip_model *m, vm_val pixels);
/* ids (B,T) i32, T <= context; at (B) i32: row of the end token; mask (B,T) i32: 1 where that row looks (clip_text_rows) -> (B,E). */
vm_val clip_text_features(vm_graph *g, const clip_model *m, vm_val ids, vm_val at, vm_val mask);

/* Row of the end token of one text: the largest id's, or the first that is eos; 0 when there is none. */
int64_t clip_end_row(const int32_t *ids, int64_t T, int64_t eos, bool argmax);
/* Host side of the text tower: at[b] and mask[b][t] from ids (B,T); attention_mask (B,T) or NULL. Returns the number of columns
 * that matter: 1 + the largest at[b] (later tokens cannot be seen). */
int64_t clip_text_rows(const clip_config *c, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask);

#endif
