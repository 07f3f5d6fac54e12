/* resnet.h - the picture tower of CLIP's ResNets (Radford et al. 2021, section 2.4): a stem of three convolutions,
 * four stages of bottlenecks that shrink by average pooling instead of strides, and attention pooling whose query is
 * the mean of all places. Names and numbers: ModifiedResNet of open_clip. */
#ifndef VM_RESNET_H
#define VM_RESNET_H
#include "models/towers.h"

enum { RESNET_STAGES = 4, RESNET_SHRINK = 32 }; /* a place of the last stage stands for 32 x 32 pixels */

typedef struct {
    int64_t width;                 /* of the stem; stage k is width 2^k inside and four times that outside */
    int64_t blocks[RESNET_STAGES]; /* bottlenecks per stage */
    int64_t heads, image_size, embed; /* heads and embed of the attention pooling */
} resnet_config;

typedef struct {
    vm_param *w;       /* kernels */
    vm_param *norm[4]; /* weight, bias, running mean and variance of the normalisation */
    vm_param *count;   /* batches that the running ones have seen */
    int K, stride;
    vm_folded folded;  /* convolution and normalisation as one, for graphs without training */
} resnet_conv;

typedef struct {
    resnet_conv conv[3], down; /* down.w NULL: the block's input is added as it is */
    int shrink;                /* 2: average pooling before the last convolution and before `down` */
} resnet_block;

typedef struct {
    resnet_config c;
    resnet_conv stem[3];
    resnet_block *block;
    int64_t n_blocks;
    vm_param *pos, *q_w, *q_b, *k_w, *k_b, *v_w, *v_b, *out_w, *out_b;
} resnet;

/* Parameters named "vision.", in the order of the network; they belong to w. */
vm_status resnet_new(resnet **out, weight_set *w, const resnet_config *c, vm_error *e);
void resnet_free(resnet *r); /* accepts NULL */
/* The initialisation of one parameter of the tower, false when p is none: a normal deviation, or a value. */
bool resnet_init(const resnet *r, const vm_param *p, double *std, double *value);
void resnet_map(const resnet *r, weight_map *map); /* "visual.conv1.weight", ... */

/* pixels (B,S,S,3) f32 -> (B,E) f32. In training the normalisations use what t->stats says, those of frozen layers
 * always their running statistics. */
vm_val resnet_features(vm_graph *g, const resnet *r, const towers *t, vm_val pixels);

#endif
