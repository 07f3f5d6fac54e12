/* swin.h - Swin transformers (Liu et al. 2021) as backbones: feature maps of several stages of a picture.
 *
 *   x = LN(patches 4 x 4);  each block: x += out(window attention(LN x));  x += fc2(gelu(fc1(LN x)))
 *   attention within windows of w x w tokens, every second block rolled by w/2, with a learnt bias for each relative position;
 *   between stages: four neighbours beside each other, LN, a linear layer to twice the width
 *
 * Maps are padded with zeros to whole windows behind the norm, and windows never shrink. Folders of Hugging Face's SwinBackbone, and a part
 * of detectors, which give the prefix of the names. */
#ifndef VM_SWIN_H
#define VM_SWIN_H
#include "io/json.h"
#include "models/nn.h"

enum { SWIN_STAGES = 8 };
typedef struct {
    int64_t patch, width, window, stages; /* width: of the first stage, doubled by each further one */
    int64_t depth[SWIN_STAGES], heads[SWIN_STAGES];
    double mlp_ratio;
    bool qkv_bias;
    vm_unary_kind act;
    float eps;
    double drop_path;      /* what the file says of training */
    int outs, out[SWIN_STAGES]; /* stages whose maps are wanted, from 0, ascending */
} swin_config;

typedef struct {
    vm_param *ln1_w, *ln1_b, *qkv_w, *qkv_b, *bias, *out_w, *out_b, *ln2_w, *ln2_b, *fc1_w, *fc1_b, *fc2_w, *fc2_b;
} swin_block; /* bias ((2w-1)^2, NH) */
typedef struct {
    swin_block *block;
    vm_param *merge_ln_w, *merge_ln_b, *merge_w;  /* NULL in the last stage */
    vm_param *norm_w, *norm_b;                    /* of its feature map, or NULL */
} swin_stage;
typedef struct {
    swin_config c;
    float drop_path;                              /* in training: probability that the last block adds nothing; less before it. 0 elsewhere */
    vm_param *patch_w, *patch_b, *ln_w, *ln_b;
    swin_stage stage[SWIN_STAGES];
} swin;

vm_status swin_config_parse(swin_config *c, json_value v, vm_error *e);
/* Makes the parameters in w; swin_free releases what is not in w. */
vm_status swin_new(swin *m, weight_set *w, const swin_config *c, vm_error *e);
void swin_free(swin *m);
void swin_tie(const swin *m, weight_map *map, const char *prefix);

/* Maps (B,H_k,W_k,C_k) f32 of pixels (B,H,W,3), one for each of c.out; any H, W. Then swin_constants once after the plan: masks of rolled
 * windows and relative positions are inputs of the graph. */
void swin_features(vm_graph *g, const swin *m, vm_val pixels, vm_val *maps);
vm_status swin_constants(vm_graph *g, const swin *m, vm_error *e);

/* --- a backbone by itself --- */
typedef struct {
    swin net;
    weight_set w;
    st_file *file;
    char *unused;
} swin_model;
bool swin_is_swin(const char *dir);
vm_status swin_open(swin_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void swin_close(swin_model *m); /* accepts NULL */
#endif
