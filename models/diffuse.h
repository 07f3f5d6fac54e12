/* diffuse.h - layers that the networks of latent diffusion share: residual blocks of convolutions, transformer blocks on feature maps.
 *
 *   resnet       h = conv1(silu(GN x));  h += time(silu t);  h = conv2(silu(GN h));  shortcut(x) + h
 *   transformer  x + proj_out(blocks(proj_in(GN x))), a map's pixels are its tokens;
 *                block: x += attn1(LN x);  x += attn2(LN x, context);  x += ff(LN x), ff = W2 (h gelu(g)), [h g] = W1 y
 *
 * Maps are (B,H,W,C), f32 or in the graph's type; what is added to a map has its type. Parameters are made and tied to their published names at once. */
#ifndef VM_DIFFUSE_H
#define VM_DIFFUSE_H
#include "io/json.h"
#include "models/nn.h"

/* Where parameters go, and their names in the files. */
typedef struct {
    weight_set *w;
    weight_map *map;
} diffuse_maker;

/* Random weights: matrices normal of a variance of 1/(3 columns), vectors 0, norms 1. */
vm_status diffuse_random(weight_set *w, uint64_t seed, vm_error *e);

typedef struct { vm_param *w, *b; } diffuse_pair; /* a linear layer, a convolution or a norm; b may be NULL */
diffuse_pair diffuse_linear(diffuse_maker *m, int64_t out, int64_t in, bool bias, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
diffuse_pair diffuse_conv(diffuse_maker *m, int64_t out, int64_t in, int k, const char *fmt, ...) __attribute__((format(printf, 5, 6))); /* k x k */
diffuse_pair diffuse_norm(diffuse_maker *m, int64_t C, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef struct {
    diffuse_pair norm1, conv1, time, norm2, conv2, shortcut; /* time.w, shortcut.w NULL: none */
} diffuse_resnet;
/* T: columns of the time embedding; 0 = none. */
void diffuse_resnet_new(diffuse_maker *m, diffuse_resnet *r, int64_t in, int64_t out, int64_t T, const char *name);
/* What the time adds to the pixels: (B,out) or (1,out) from temb (B,T) or (1,T), which is behind its silu. */
vm_val diffuse_resnet_time(vm_graph *g, const diffuse_resnet *r, vm_val temb);
vm_val diffuse_resnet_run(vm_graph *g, const diffuse_resnet *r, vm_val x, vm_val time, int groups, float eps); /* time 0: none */

typedef struct {
    vm_param *q, *k, *v;   /* (C,C), (C,D), (C,D) */
    vm_param *q_b, *k_b, *v_b; /* NULL in a UNet */
    diffuse_pair out;
} diffuse_attn;
typedef struct {
    diffuse_pair norm1, norm2, norm3, ff1, ff2;
    diffuse_attn attn1, attn2;
} diffuse_block;
typedef struct {
    diffuse_pair norm, in, out;
    diffuse_block *block;
    int64_t n, C, NH;
} diffuse_transformer;
/* D: columns of the context; conv: proj_in and proj_out are stored as 1 x 1 convolutions. */
void diffuse_transformer_new(diffuse_maker *m, diffuse_transformer *t, int64_t C, int64_t NH, int64_t n, int64_t D, bool conv, const char *name);
void diffuse_transformer_free(diffuse_transformer *t);
typedef struct { vm_val k, v; } diffuse_kv; /* (B,T,C), in the graph's type */
enum { DIFFUSE_BLOCKS = 64 };               /* blocks of a transformer at most */
/* What every block of t attends to of a context (B,T,D): kv[t->n]. It does not depend on x: a text's is the same at all steps. */
void diffuse_transformer_kv(vm_graph *g, const diffuse_transformer *t, vm_val context, diffuse_kv *kv);
/* again: of every block keep only its input and compute the rest again in the backward pass. */
vm_val diffuse_transformer_run(vm_graph *g, const diffuse_transformer *t, vm_val x, const diffuse_kv *kv, int groups, bool again);

diffuse_kv diffuse_keys(vm_graph *g, const diffuse_attn *a, vm_val from); /* from (B,T,D) in the graph's type */
/* x (B,T,C) + out(attention(q h, k, v)), h in the graph's type. */
vm_val diffuse_attend(vm_graph *g, const diffuse_attn *a, vm_val x, vm_val h, diffuse_kv to, int NH);

/* k x k with padding that keeps the size at stride 1, to a map of type out, or that of the residual. */
vm_val diffuse_conv_run(vm_graph *g, vm_val x, const diffuse_pair *c, int k, int stride, vm_val residual, vm_type out);
vm_val diffuse_groupnorm(vm_graph *g, vm_val x, const diffuse_pair *n, int groups, float eps, vm_unary_kind act, vm_type out);
/* Nearest, to H x W, then a convolution. */
vm_val diffuse_up(vm_graph *g, vm_val x, const diffuse_pair *c, int64_t H, int64_t W, vm_type out);
vm_val diffuse_act(vm_graph *g, vm_val x); /* in the graph's type, as products read it */

/* A number, or one for each of n blocks. */
void diffuse_ints(json_value v, const char *key, int64_t dflt, int n, int64_t *out, vm_error *e);
#endif
