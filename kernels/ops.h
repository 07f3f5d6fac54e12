/* ops.h - the vocabulary of models: one constructor per op. All return 0 and set the graph's sticky error when the
 * inputs do not fit. Float outputs are f32 unless said otherwise; "act" marks outputs in the graph's dtype (g->dtype),
 * which is what matmul-like ops read. Statistics, sums and softmax are f32 always. Sources: specs of the original
 * papers as named; backward rules stand in each op's file. */
#ifndef VM_OPS_H
#define VM_OPS_H
#include "kernels/graph.h"

typedef enum { VM_NONE, VM_RELU, VM_QUICK_GELU, VM_GELU, VM_GELU_TANH, VM_SILU, VM_SIGMOID, VM_TANH, VM_EXP, VM_LOG,
               VM_SQUARE, VM_SQRT, VM_SOFTPLUS, VM_NEG } vm_unary_kind;

/* --- linear.c, matmul.c -------------------------------------------------------------------------------------------- */
/* y (...,N) = act(x (...,K) w (N,K)^T + b (N)) [+ residual (...,N)]; b, residual may be 0. x f32 or act; w a weight or any
 * value. out: VM_F32, or VM_BF16 of bf16 products; with a residual the residual's type. With g->training an activation becomes a node of its own,
 * so that its input is kept. */
vm_val vm_linear(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_unary_kind act, vm_val residual, vm_type out);
/* c (...,M,N) = scale * op(a) op(b); a (...,M,K) or (...,K,M) if ta; b (...,K,N) or (...,N,K) if tb; equal leading axes,
 * or b 2-d (not with ta). a and b f32 or bf16, alike; out VM_F32, or VM_BF16 of bf16 products. */
vm_val vm_matmul(vm_graph *g, vm_val a, vm_val b, bool ta, bool tb, float scale, vm_type out);

/* --- conv.c ----------------------------------------------------------------------------------------------------------- */
typedef struct {
    int KH, KW;
    int stride[2], dilation[2]; /* rows, columns; 0 = 1 */
    int pad[4];                 /* top, left, bottom, right: zeros around x */
    int groups;                 /* 0 = 1; C = depthwise */
} vm_conv;
/* y (B,OH,OW,N) = act(x (B,H,W,C) * w (N, C/groups*KH*KW) + b (N)) [+ residual (B,OH,OW,N)], OH = (H + pads - (KH-1) dilation - 1)
 * / stride + 1 rounded down: correlation, as published networks mean it. The columns of w stand in channel, row, column order, as
 * the published (N,C/groups,KH,KW). Types, act and residual as in vm_linear, which a kernel of 1 x 1 on every pixel is. */
vm_val vm_conv2d(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_conv k, vm_unary_kind act, vm_val residual, vm_type out);

/* --- attention.c --------------------------------------------------------------------------------------------------- */
typedef struct {
    int NH, NKV;        /* query heads, key/value heads (NH % NKV == 0) */
    float scale;        /* 0 = HS^-0.5 */
    bool causal;        /* key j visible to query i iff j <= i + (Tk - Tq) */
    int window;         /* 0 = off; else also j > i + (Tk - Tq) - window */
    vm_val key_mask;    /* 0, or (B,Tk) i32: 0 = key hidden */
    vm_val bias;        /* 0, or (NH|1, Tq, Tk) or (B, NH|1, Tq, Tk) f32 added to the scores */
} vm_attn;
/* y (B,Tq,NH*HS) act. Scores are never stored; a row with every key hidden gives 0 and gradient 0. Keeps lse (B,NH,Tq). */
vm_val vm_attention(vm_graph *g, vm_val q, vm_val k, vm_val v, vm_attn a); /* q (B,Tq,NH*HS), k and v (B,Tk,NKV*HS) */
/* qkv (B,T,(NH+2*NKV)*HS): columns q, k, v. One packed gradient. */
vm_val vm_attention_packed(vm_graph *g, vm_val qkv, vm_attn a);

/* --- norm.c -------------------------------------------------------------------------------------------------------- */
/* Rows of x (...,C): (x-mean)/sqrt(var+eps)*w+b, biased variance. out: type of y. */
vm_val vm_layernorm(vm_graph *g, vm_val x, vm_val w, vm_val b, float eps, vm_type out);
vm_val vm_rmsnorm(vm_graph *g, vm_val x, vm_val w, float eps, vm_type out); /* x/sqrt(mean(x^2)+eps)*w */
vm_val vm_l2norm(vm_graph *g, vm_val x, float eps); /* rows x/max(||x||,eps); eps 0 = plain division */

/* --- batchnorm.c ------------------------------------------------------------------------------------------------- */
/* y (...,C) = act((x - mean) / sqrt(var + eps) * w + b [+ residual]) per channel; w, b, mean, var (C) f32; residual as
 * x, may be 0; act VM_NONE or VM_RELU. mean and var are constants: as in inference, and in training with frozen
 * statistics. */
vm_val vm_batchnorm(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_val mean, vm_val var, vm_val residual, float eps,
                    vm_unary_kind act, vm_type out);
/* The same with mean and biased variance of x over all its rows (at least 2), which gradients flow through. stats
 * receives both. */
vm_val vm_batchnorm_batch(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_val residual, float eps, vm_unary_kind act,
                          vm_type out, vm_val stats[2]);
/* State: at each run mean += momentum (stats[0] - mean), var += momentum (stats[1] rows/(rows-1) - var) and
 * count (1) += 1; nothing changes when a number of stats is not finite. Stands outside checkpoint
 * segments, unlike the normalisation itself. */
void vm_running_stats(vm_graph *g, const vm_val stats[2], int64_t rows, vm_param *mean, vm_param *var, vm_param *count,
                      float momentum);
/* A product (w (N,K), no bias) and the normalisation of its result with constant statistics as one weight and bias,
 * made at the runs where a source has changed; for graphs that need no gradient of w. norm: weight, bias, mean, var.
 * Then vm_weight(to->w) and vm_weight(to->b) are what the product reads. */
typedef struct {
    vm_param *w, *b; /* (N,K), (N) of the caller */
    uint64_t of[5];  /* versions of the sources; 0 at first */
} vm_folded;
void vm_batchnorm_fold(vm_graph *g, vm_param *w, vm_param *const norm[4], float eps, vm_folded *to);

/* --- pool.c ------------------------------------------------------------------------------------------------------ */
typedef struct {
    int KH, KW;
    int stride[2]; /* 0: the window's size */
    int pad[4];    /* top, left, bottom, right; below the window's size */
} vm_pool;
/* x (B,H,W,C) -> (B,OH,OW,C), OH = (H + pads - KH) / stride + 1 rounded down. */
vm_val vm_avgpool2d(vm_graph *g, vm_val x, vm_pool k, vm_type out); /* padding counts as zeros */
vm_val vm_maxpool2d(vm_graph *g, vm_val x, vm_pool k, vm_type out); /* KH*KW <= 256; padding never wins */

/* --- unary.c, binary.c, reduce.c ----------------------------------------------------------------------------------- */
vm_val vm_unary(vm_graph *g, vm_val x, vm_unary_kind k, vm_type out);
vm_val vm_scale(vm_graph *g, vm_val x, float scale, float shift);        /* scale*x + shift */
typedef enum { VM_ADD, VM_SUB, VM_MUL, VM_DIV, VM_MAXIMUM } vm_binary_kind;
/* a op b; b has a's shape, or a trailing part of it (row vector, position table), or one element. Gradients of b are summed. */
vm_val vm_binary(vm_graph *g, vm_val a, vm_val b, vm_binary_kind k);
vm_val vm_sum(vm_graph *g, vm_val x);                                     /* [1] */
vm_val vm_mean(vm_graph *g, vm_val x);                                    /* [1] */
vm_val vm_sum_axis(vm_graph *g, vm_val x, int axis, float scale);         /* axis removed; scale 1/n gives the mean */
vm_val vm_broadcast(vm_graph *g, vm_val x, int64_t n);                    /* (...) -> (n,...), gradient summed */

/* --- shape.c ------------------------------------------------------------------------------------------------------- */
vm_val vm_reshape(vm_graph *g, vm_val x, int nd, const int64_t *ne);      /* view */
vm_val vm_slice(vm_graph *g, vm_val x, int axis, int64_t at, int64_t n);  /* view on axis 0 (or all-1 axes before), copy elsewhere */
vm_val vm_concat(vm_graph *g, int n, const vm_val *x, int axis);
vm_val vm_permute(vm_graph *g, vm_val x, const int *axes);                /* y axis k = x axis axes[k] */
vm_val vm_cast(vm_graph *g, vm_val x, vm_type t);                         /* f32, bf16, f16 between each other */

/* --- rows.c: gather and embedding ---------------------------------------------------------------------------------- */
/* y (...,C) = table (V,C)[ids (...)]; ids i32, out of range is an error of the run that names the id. The gradient adds rows in order of
 * position (deterministic). */
vm_val vm_embedding(vm_graph *g, vm_val table, vm_val ids);
/* y (B,C) = x (B,T,C)[b, idx[b]]; idx i32 (B). */
vm_val vm_pick(vm_graph *g, vm_val x, vm_val idx);

/* --- patch.c ------------------------------------------------------------------------------------------------------- */
/* pixels (B,H,W,C) -> (B, H/P * W/P, C*P*P) with columns in channel, row, column order (that of convolution weights
 * (N,C,P,P)); remainder rows and columns are dropped. out f32 or act. */
vm_val vm_patchify(vm_graph *g, vm_val pixels, int P, vm_type out);

/* --- softmax.c, cross_entropy.c ------------------------------------------------------------------------------------ */
vm_val vm_softmax(vm_graph *g, vm_val x);                                 /* over the last axis */
/* logits (...,V), target (...) i32, -100 = ignored -> [1]: mean over kept rows of -log softmax[target] (0 when none is kept). */
vm_val vm_cross_entropy(vm_graph *g, vm_val logits, vm_val target);

/* --- contrastive.c ------------------------------------------------------------------------------------------------- */
typedef enum { VM_TARGET_SELF, VM_TARGET_POSITIVE, VM_TARGET_FIRST } vm_target;
/* q (M,E), k (N,E), scale s [1], all f32 -> [1]: mean over rows i of -log of the softmax of s q k^T at its target: column i
 * (SELF), a column of its own with logit s pos_i (POSITIVE), column 0 (FIRST). pos (M) or 0; given, it is in every sum.
 * hide (N) i32 or 0: columns with hide < 0 are left out; with SELF so are rows with hide < 0, and columns whose hide equals
 * the row's. Logits are made in tiles and never stored. */
vm_val vm_contrastive(vm_graph *g, vm_val q, vm_val k, vm_val scale, vm_val hide, vm_val pos, vm_target target);
/* The same operands, M <= N, bias [1] -> [1]: sum of log(1 + e^(-y x)), x = scale q k^T + bias, y = 1 for i = j and -1
 * elsewhere; over the number of kept rows, or of kept cells. */
vm_val vm_pair_sigmoid(vm_graph *g, vm_val q, vm_val k, vm_val scale, vm_val bias, vm_val hide, bool per_cell);

/* --- host.c -------------------------------------------------------------------------------------------------------- */
/* Runs fn on the host between nodes: in[] and out[] are host addresses. No gradient. */
typedef vm_status (*vm_host_fn)(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e);
typedef struct { vm_type type; int nd; int64_t ne[VM_AXES]; } vm_shape;
bool vm_host(vm_graph *g, const char *name, vm_host_fn fn, void *ctx, int n_in, const vm_val *in, int n_out,
             const vm_shape *shapes, vm_val *out);

/* --- random.c ------------------------------------------------------------------------------------------------------ */
/* x with elements zeroed with probability p, the rest times 1/(1-p); mask from Philox (g->seed, g->step, node key, element). */
vm_val vm_dropout(vm_graph *g, vm_val x, float p);
vm_val vm_randn(vm_graph *g, vm_type t, int nd, const int64_t *ne);       /* standard normal */

/* --- optim.c: the optimizer step is a graph too -------------------------------------------------------------------- */
/* Sum of squares of all gradients -> [1], fixed reduction order. */
vm_val vm_grad_sqnorm(vm_graph *g, int n, vm_param *const *p);
typedef struct { float beta1, beta2, eps, weight_decay; } vm_adam;
/* AdamW (decoupled decay, Loshchilov & Hutter): hyper f32 [4] = {lr, 1-beta1^t, 1-beta2^t, gradient scale}; lr times p->lr_scale;
 * decay only where p->decay. Writes p->data, p->m, p->v (f32) and bumps p->version at each run. */
void vm_adamw(vm_graph *g, vm_param *p, vm_val hyper, vm_adam a);
/* p->average = d p->average + (1 - d) p, decay d f32 [1]; made as a copy of p when there is none. */
void vm_average(vm_graph *g, vm_param *p, vm_val decay);

#endif
