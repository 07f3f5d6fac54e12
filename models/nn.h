/* nn.h - layers that several networks share. */
#ifndef VM_NN_H
#define VM_NN_H
#include "kernels/ops.h"
#include "models/weights.h"

/* A pre-norm transformer layer (CLIP, SigLIP, ViT): x += out(attention(LN1 x)); x += fc2(act(fc1(LN2 x))).
 * Query, key and value are one fused weight, except where only some rows go on (split). A pooling head has no LN1. */
typedef struct {
    vm_param *ln1_w, *ln1_b, *qkv_w, *qkv_b; /* (3C,C), (3C); NULL when split */
    vm_param *q_w, *q_b, *k_w, *k_b, *v_w, *v_b;
    vm_param *out_w, *out_b, *ln2_w, *ln2_b, *fc1_w, *fc1_b, *fc2_w, *fc2_b;
} nn_layer;

typedef struct {
    int NH;
    float eps;
    vm_unary_kind act;
    bool causal, recompute; /* recompute: keep only the layer's input for the backward pass */
    vm_val key_mask;        /* 0, or (B,T) i32 */
    int64_t row;            /* of nn_layer_one without idx */
} nn_attn;

typedef enum { NN_FUSED, NN_SPLIT, NN_POOL } nn_kind;
void nn_layer_new(weight_set *w, nn_layer *l, int64_t C, int64_t mlp, nn_kind kind, const char *name);

/* x (B,T,C) f32 -> (B,T,C). */
vm_val nn_layer_all(vm_graph *g, vm_val x, const nn_layer *l, nn_attn a);
/* The last layer when only row idx[b] of each sequence is used: keys and values of all rows, everything else for one.
 * idx (B) i32, 0 = row a.row; key_mask says what that row sees (causality is its business). x (B,T,C) -> (B,C). */
vm_val nn_layer_one(vm_graph *g, vm_val x, vm_val idx, const nn_layer *l, nn_attn a);

/* Attention pooling (the MAP head of SigLIP): a learnt probe (1,C) looks at all rows of x (B,T,C) act, which is normalised already.
 * r = out(attention(probe; x)); r + fc2(act(fc1(LN2 r))) -> (B,C). */
vm_val nn_pool(vm_graph *g, vm_val x, vm_param *probe, const nn_layer *l, nn_attn a);

/* What a published layout calls the parts of a layer, behind "PREFIX.N.". Joined: query, key and value are thirds of one tensor
 * (in_proj + "weight"); else three, of which in_proj is a format of the letter. */
typedef struct {
    const char *in_proj, *out, *ln1, *ln2, *fc1, *fc2;
    bool joined;
} nn_names;
extern const nn_names nn_names_hf, nn_names_open_clip, nn_names_timm;
void nn_tie_layers(weight_map *m, const nn_layer *layers, int64_t n, int64_t C, int64_t mlp, const nn_names *names, const char *prefix);
/* One layer, whose names begin with pre ("head."); a pooling head has no LN1. */
void nn_tie_layer(weight_map *m, const nn_layer *l, int64_t C, int64_t mlp, const nn_names *names, const char *pre);

/* A low-rank addition to a weight: rows at.. of y get s B (A x) more; with a magnitude they are then, before the bias, times m / n. (models/lora.h) */
enum { NN_LORA_PARTS = 3 };
typedef struct {
    vm_param *a, *b;    /* (r,in), (rows,r) */
    int64_t at, rows;
    vm_param *m, *n;    /* (rows) each, or NULL: magnitude, and norms of the rows of W + s B A, a constant to gradients */
} nn_lora_part;
typedef struct nn_lora {
    float scale;
    int n;
    nn_lora_part part[NN_LORA_PARTS]; /* in the order of their rows */
} nn_lora;

/* y = x W^T + b with parameters, and what w->lora adds; b may be NULL. */
vm_val nn_linear(vm_graph *g, vm_val x, vm_param *w, vm_param *b, vm_unary_kind act, vm_val residual, vm_type out);
/* y (M,N) = the rows of x (M,K) times the weight of their expert, w (E,N,K) in numbers or in codes; offsets as vm_experts has them. */
vm_val nn_experts(vm_graph *g, vm_val x, vm_param *w, vm_val offsets, vm_type out);
/* x (B,...) with everything of a sample zeroed with a probability, the rest times 1/(1 - p) (Huang et al. 2016). */
vm_val nn_drop_path(vm_graph *g, vm_val x, float p);
vm_val nn_norm(vm_graph *g, vm_val x, vm_param *w, vm_param *b, float eps, vm_type out);

/* "quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new", "silu", "swish", "relu"; VM_NONE when unknown. */
vm_unary_kind nn_activation(const char *name);
const char *nn_activation_name(vm_unary_kind k);

#endif
