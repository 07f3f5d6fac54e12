/* blip.h - BLIP (Li et al. 2022) for retrieval: a vision transformer, and a BERT that reads texts alone or, by
 * cross-attention in every layer, with a picture.
 *
 * Two heads. ITC: the cosine of linear maps of the two first rows. ITM: two numbers from the first row of a text read with a
 * picture; softmax makes them the probability that the text fits. As in transformers' BlipForImageTextRetrieval, whose
 * directories are read: texts begin with [CLS] for both heads, and there is no temperature. */
#ifndef VM_BLIP_H
#define VM_BLIP_H
#include "models/bert.h"
#include "models/towers.h"

enum { BLIP_CONTEXT = 35 }; /* tokens of a text in the published evaluations, [CLS] and [SEP] among them */

typedef struct {
    bert_config text;
    int64_t width, layers, heads, mlp, image_size, patch; /* of the vision transformer */
    float eps;
    vm_unary_kind act;
    int64_t embed;         /* columns of the space of ITC */
    int64_t pad;
} blip_config;

typedef struct {
    towers t;              /* first: what all of its kind have */
    blip_config c;
    weight_set w;
    vm_param *class_embed, *patch_w, *patch_b, *vision_pos, *post_w, *post_b;
    nn_layer *vision;
    bert_text text;
    vm_param *vision_proj_w, *vision_proj_b, *text_proj_w, *text_proj_b, *itm_w, *itm_b;
    st_file *file;         /* mapped weights that parameters may borrow */
} blip_model;

bool blip_is_blip(const char *dir);
vm_status blip_config_read(blip_config *c, const char *dir, vm_error *e); /* VM_EMODEL when dir is no BLIP for retrieval */
vm_status blip_new(blip_model **out, vm_backend *be, const blip_config *c, vm_error *e); /* parameters without data */
vm_status blip_open(blip_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void blip_free(blip_model *m); /* accepts NULL */
void blip_map(const blip_model *m, weight_map *map); /* to Hugging Face names */

/* pixels (B,S,S,3) f32, normalised -> (B,1+n*n,V) f32, after the last norm. */
vm_val blip_image_rows(vm_graph *g, const blip_model *m, vm_val pixels);
/* ITC: rows as above, or ids and mask (B,T) i32 -> (B,E) f32, not normalised. */
vm_val blip_image_features(vm_graph *g, const blip_model *m, vm_val rows);
vm_val blip_text_features(vm_graph *g, const blip_model *m, vm_val ids, vm_val mask);
/* ITM: rows (I,S,V) of I pictures; ids and mask (B,T), texts k B/I .. are read with picture k -> (B,2) f32: numbers for no and yes. */
vm_val blip_match(vm_graph *g, const blip_model *m, vm_val rows, vm_val ids, vm_val mask);

#endif
