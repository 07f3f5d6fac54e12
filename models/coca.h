/* coca.h - CoCa (Yu et al. 2022) as open_clip has it: its two towers, for contrastive features.
 *
 * Beside open_clip's CLIP: pictures are pooled by learnt queries that attend to all rows (of which the feature is the first);
 * texts get a class token of their own behind the last token, whose row is the feature, and padding is hidden. open_clip
 * places that mask one token late: a token is hidden when the one before it is padding (id 0, the token "!" included), and
 * the class token when the last is. Weights were trained so, so it stays. The captioning decoder is not read. */
#ifndef VM_COCA_H
#define VM_COCA_H
#include "models/towers.h"

typedef struct {
    int64_t width, layers, heads, mlp;
} coca_tower;

typedef struct {
    coca_tower text, vision;
    int64_t vocab, context, image_size, patch, embed;
    int64_t queries, pool_heads; /* of the attention pooling */
    int32_t pad;
    vm_unary_kind act;
} coca_config;

typedef struct {
    towers t;              /* first: what all of its kind have */
    coca_config c;
    weight_set w;
    vm_param *token_embed, *text_class, *text_pos, *text_ln_w, *text_ln_b, *text_proj;
    vm_param *class_embed, *patch_w, *vision_pos, *pre_w, *pre_b;
    vm_param *query, *ln_q_w, *ln_q_b, *ln_k_w, *ln_k_b, *q_w, *q_b, *k_w, *k_b, *v_w, *v_b, *out_w, *out_b; /* the pooling */
    vm_param *post_w, *post_b, *vision_proj;
    nn_layer *text, *vision;
    st_file *file;         /* mapped weights that parameters may borrow */
} coca_model;

bool coca_is_coca(json_value open_clip_config);
vm_status coca_config_read(coca_config *c, const char *dir, vm_error *e); /* VM_EMODEL when dir is no CoCa */
vm_status coca_new(coca_model **out, vm_backend *be, const coca_config *c, vm_error *e); /* parameters without data */
vm_status coca_open(coca_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void coca_free(coca_model *m); /* accepts NULL */
void coca_map(const coca_model *m, weight_map *map); /* to open_clip's names */

/* pixels (B,S,S,3) f32, normalised -> (B,E) f32, not normalised. */
vm_val coca_image_features(vm_graph *g, const coca_model *m, vm_val pixels);
/* ids (B,T) i32, T <= context; at (B) i32: length of the whole texts, where the class token stands, at least 1; mask (B,T) i32: 1 where
 * a token is no padding. Columns of padding may be cut off but for the first of them -> (B,E). */
vm_val coca_text_features(vm_graph *g, const coca_model *m, vm_val ids, vm_val at, vm_val mask);

#endif
