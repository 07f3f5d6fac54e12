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
 * value. out: VM_F32, or the type of 16-bit products (f16 on CUDA only); with a residual the residual's type. With g->training an activation becomes a node of its own,
 * so that its input is kept. */
vm_val vm_linear(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_unary_kind act, vm_val residual, vm_type out);
/* c (...,M,N) = scale * op(a) op(b); a (...,M,K) or (...,K,M) if ta; b (...,K,N) or (...,N,K) if tb; equal leading axes,
 * or b 2-d (not with ta). a and b float, alike; out VM_F32, or the type of 16-bit products (f16 on CUDA only). */
vm_val vm_matmul(vm_graph *g, vm_val a, vm_val b, bool ta, bool tb, float scale, vm_type out);

/* --- linear_q.c, quant.h ------------------------------------------------------------------------------------------- */
typedef enum { VM_INT8, VM_INT4, VM_NF4 } vm_quant_kind;
typedef struct {
    vm_quant_kind kind;
    int block;     /* weights that share a scale; INT8: 0 = a whole row */
    vm_val zeros;  /* INT4: 0, or f32 as scales: the code of a weight of 0 (else 8) */
    vm_val nested; /* 0, or f32: scales are u8 codes of these (double quantisation) */
} vm_quant;
/* y (...,N) = x (...,K) w^T + b (N) [+ residual], w (N,K) given by codes u8, (N,K) or (N,K/2), and scales, as quant.h has them;
 * these are constants. Types, b and residual as in vm_linear; x may be f16. Sums are f32.
 *
 * vm_graph.rounded: on the processor up to VM_ROUNDED_ROWS rows of x (with vm_graph.deterministic any) are rounded to 8 bits first, each 32
 * columns by their largest magnitude / 127, and the numbers of NF4 to 8 bits as well: sums are of whole numbers then, which
 * processors have faster instructions for. There is no gradient. A weight whose blocks are no eights of columns (fours in INT8), or cross
 * rows, is multiplied unrounded. */
enum { VM_ROUNDED_ROWS = 32 };
vm_val vm_linear_q(vm_graph *g, vm_val x, vm_val codes, vm_val scales, vm_val b, vm_quant q, vm_val residual, vm_type out);

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
    bool causal;        /* key j visible to query i iff j <= i + (L - Tq), L the number of keys: Tk or lengths[b] */
    int window;         /* 0 = off; else also j > i + (L - Tq) - window */
    vm_val key_mask;    /* 0, or (B,Tk) i32: 0 = key hidden */
    vm_val bias;        /* 0, or (NH|1, Tq, Tk) or (B, NH|1, Tq, Tk) f32 added to the scores */
    vm_val lengths;     /* 0, or (B) i32: only the first lengths[b] keys exist; what lies beyond is not read */
    vm_val pages;       /* 0, or (B,n) i32: k and v are then (P,block,NKV*HS), caches in pages of `block` tokens, and token t of
                           sequence b is row t % block of page pages[b][t / block]; Tk = n*block. No gradient of k and v */
    vm_val first;       /* 0, or (B,Tq) i32: query i does not see the keys before first[b][i], which may not fall along the row:
                           where the text of query i begins when several stand in one row, with causal each by itself */
    float softcap;      /* 0, or scores become softcap tanh(score / softcap) before bias and masks */
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

/* --- groupnorm.c -------------------------------------------------------------------------------------------------- */
/* x (B,...,C): the channels of each picture in `groups` equal runs, act((x-mean)/sqrt(var+eps)*w+b) with mean and
 * biased variance of a run over all pixels; w, b (C). act VM_NONE or VM_SILU; with g->training it becomes a node of
 * its own. */
vm_val vm_groupnorm(vm_graph *g, vm_val x, vm_val w, vm_val b, int groups, float eps, vm_unary_kind act, vm_type out);

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

/* --- interpolate.c, window.c, pad.c: pictures (B,H,W,C) ----------------------------------------------------------- */
/* (B,H,W,C) -> (B,OH,OW,C), as torch's interpolate without antialiasing. Nearest reads pixel floor(i H / OH), which
 * for OH = 2H is the upsampling of diffusion networks; VM_BILINEAR has half-pixel centres, VM_BILINEAR_CORNERS is
 * align_corners. */
typedef enum { VM_NEAREST, VM_BILINEAR, VM_BILINEAR_CORNERS } vm_resize_kind;
vm_val vm_resize(vm_graph *g, vm_val x, int64_t OH, int64_t OW, vm_resize_kind kind, vm_type out);
/* x (B,H,W,C) -> (B nh nw, size size, C): zeros below and on the right to whole windows, rolled by -shift on both
 * axes, cut into windows, all row-major. vm_unwindow undoes it and drops the padding. */
vm_val vm_window(vm_graph *g, vm_val x, int size, int shift);
vm_val vm_unwindow(vm_graph *g, vm_val y, int64_t B, int64_t H, int64_t W, int size, int shift);
/* Swin's patch merging before its norm: (B,H,W,C) -> (B,(H+1)/2,(W+1)/2,4C), columns pixel (0,0), (1,0), (0,1),
 * (1,1) of each square; zeros beyond an odd edge. */
vm_val vm_patch_merge(vm_graph *g, vm_val x);
/* Host constants for windowed attention, T = size*size. mask (windows of a picture, T, T): 0, or -100 between tokens
 * that are neighbours by the shift alone. ids (T,T): rows of the table ((2 size-1)^2, NH) of relative positions. */
int64_t vm_window_count(int64_t H, int64_t W, int size);
void vm_window_mask(float *mask, int64_t H, int64_t W, int size, int shift);
void vm_window_relative(int32_t *ids, int size);
/* before[k] zeros in front of axis k of x and after[k] behind it; vm_crop takes as many entries away. */
vm_val vm_pad(vm_graph *g, vm_val x, const int64_t *before, const int64_t *after);
vm_val vm_crop(vm_graph *g, vm_val x, const int64_t *before, const int64_t *after);

/* --- glu.c -------------------------------------------------------------------------------------------------------- */
/* y = value act(gate); act VM_SILU (SwiGLU), VM_GELU or VM_GELU_TANH (GEGLU), VM_SIGMOID (GLU), VM_RELU,
 * VM_QUICK_GELU. */
vm_val vm_glu(vm_graph *g, vm_val value, vm_val gate, vm_unary_kind act, vm_type out);
/* x (...,2C) -> (...,C): columns gate, value (Phi-3's gate_up_proj) if gate_first, else value, gate (diffusers'
 * GEGLU, torch's glu). */
vm_val vm_glu_packed(vm_graph *g, vm_val x, bool gate_first, vm_unary_kind act, vm_type out);

/* --- rope.c, sinusoid.c ------------------------------------------------------------------------------------------- */
typedef enum {
    VM_ROPE_PLAIN, VM_ROPE_LINEAR, VM_ROPE_DYNAMIC, VM_ROPE_LLAMA3, VM_ROPE_YARN, VM_ROPE_LONG
} vm_rope_scaling;
typedef struct {
    int columns;             /* rotated columns of a head, even */
    double base;             /* rope_theta */
    vm_rope_scaling scaling; /* formulas in rope.c */
    double factor;           /* long: max_position_embeddings / original */
    double low, high;        /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast (0 = 1, 32) */
    int64_t original;        /* original_max_position_embeddings */
    int64_t length;          /* dynamic: tokens of the sequences that the plan is for */
    double attention;        /* yarn, long: attention_factor; 0 = by formula */
    bool exact;              /* yarn: bounds are not rounded (truncate false) */
    const float *divisors;   /* long: long_factor or short_factor, columns/2 */
} vm_rope_kind;
void vm_rope_frequencies(const vm_rope_kind *k, float *f, double *amplitude); /* columns/2 */
/* pos (...) i32 -> (...,columns): cosines, then sines. Once per run; positions are an input, so that one plan serves
 * every offset. */
vm_val vm_rope_table(vm_graph *g, vm_val pos, const vm_rope_kind *k);
/* x (...,NH*HS) with rows as the table has, or several times as many: the first `columns` of the first `turned`
 * heads are rotated, the rest passes (of packed q, k, v: all but v). Pairs of columns: (2i, 2i+1) if interleaved,
 * else (i, i + columns/2). */
vm_val vm_rope(vm_graph *g, vm_val x, vm_val table, int NH, int turned, bool interleaved, vm_type out);

typedef enum { VM_SIN_COS, VM_COS_SIN, VM_SIN_COS_PAIRS } vm_sinusoid_layout; /* halves, swapped halves, by turns */
typedef struct {
    int C;                     /* columns; the last of an odd number is 0 */
    double period;             /* max_period, temperature: f_i = period^(-i / (C/2 - shift)); 0 = 10000 */
    double shift;              /* freq_shift, downscale_freq_shift */
    double scale;              /* of the angle; 0 = 1 */
    vm_sinusoid_layout layout; /* flip_sin_to_cos: VM_COS_SIN; coordinates of DETR: VM_SIN_COS_PAIRS */
} vm_sinusoid_kind;
/* t (...) f32 or i32 -> (...,C): sin and cos of scale t f_i. */
vm_val vm_sinusoid(vm_graph *g, vm_val t, vm_sinusoid_kind k, vm_type out);

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
vm_val vm_detach(vm_graph *g, vm_val x);                                  /* view through which no gradient goes */
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

/* --- topk.c ------------------------------------------------------------------------------------------------------------ */
/* The k largest of each row of x (...,N), in descending order -> (...,k), and where they stood, *indices (...,k) i32. NaN is the
 * largest value, of equal ones the lower index comes first. k = 1: argmax. */
vm_val vm_topk(vm_graph *g, vm_val x, int64_t k, vm_val *indices);
/* y (B,Q,C) = x (B,N,C)[b, idx[b,q]], idx (B,Q) i32; or y (...,C) = x (N,C)[idx], idx (...). y has x's type. An index out of range is
 * an error of the run. The gradient adds rows in order of position (deterministic). */
vm_val vm_gather_rows(vm_graph *g, vm_val x, vm_val idx);

/* --- deform.c ---------------------------------------------------------------------------------------------------------- */
/* y (B,Q,NH*HS): sum over L maps and P points of weight * map sampled bilinearly at loc, zeros outside (Zhu et al. 2020). value
 * (B,S,NH*HS): the maps of levels[l] = { H, W } one behind the other; loc (B,Q,NH,L,P,2) f32: x, y in parts of the map, cell i
 * covers i/W to (i+1)/W; weight (B,Q,NH,L*P) f32, after its softmax. At most 5 maps. */
vm_val vm_deform_attention(vm_graph *g, vm_val value, vm_val loc, vm_val weight, int L, const int64_t levels[][2], vm_type out);

/* --- kv.c -------------------------------------------------------------------------------------------------------------- */
/* State: k (B,t,C) is written into a cache (a parameter, of any float type) as positions at[b] .. of sequence b; at, lengths (B) i32:
 * only positions below lengths[b], so that an empty place of the batch (0) writes nothing. The cache is (B,T,C), or with pages (B,n)
 * i32 a heap of pages (P,T,C): position p of sequence b is row p mod T of page pages[b, p/T]. Returns the cache, a view: what reads it
 * from there comes after the write. Stands outside checkpoint segments. */
vm_val vm_kv_append(vm_graph *g, vm_val cache, vm_val k, vm_val at, vm_val lengths, vm_val pages);

/* --- experts.c, experts_q.c, route.c ----------------------------------------------------------------------------------- */
/* y (M,N) = x (M,K) w_e^T, w (E,N,K), e the expert of the row: offsets[e] <= i < offsets[e+1], offsets (E+1) i32 ascending from 0. Rows
 * from offsets[E] on give zeros. Types as in vm_linear. */
vm_val vm_experts(vm_graph *g, vm_val x, vm_val w, vm_val offsets, vm_type out);
/* The same of weights in 8 or 4 bits, which are constants, as vm_linear_q has them: codes (E,N,K) or (E,N,K/2); scales, zeros and nested
 * scales of the experts one behind the other, each expert's as those of a weight of its own. order: 0, or (E,K) i32: which column of x stands
 * at each place of an expert's codes. x is rounded to 8 bits where vm_linear_q rounds as many rows. On the processor only. */
vm_val vm_experts_q(vm_graph *g, vm_val x, vm_val codes, vm_val scales, vm_val offsets, vm_val order, vm_quant q, vm_type out);
/* Rows sorted for vm_experts: experts (M,k) i32, the experts below E that each token is sent to. rows (M*k): the token of each sorted
 * row, for vm_gather_rows of x; offsets (E+1); place (M,k): where each token's rows went, for vm_gather_rows of the results. */
typedef struct { vm_val rows, offsets, place; } vm_routing;
vm_routing vm_route(vm_graph *g, vm_val experts, int64_t E);

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

/* --- focal.c, box.c: losses of detection --------------------------------------------------------------------------------- */
/* [1]: sum of w alpha_t (1 - p_t)^gamma ce over logits x and targets y in [0,1] (Lin et al. 2017), over norm [1]; alpha < 0: none.
 * y, w f32 as x; w may be 0 (no weights); a weight of 0 hides its logit, whatever it is. */
vm_val vm_focal(vm_graph *g, vm_val x, vm_val y, vm_val w, vm_val norm, float alpha, float gamma);
typedef enum { VM_BOX_L1, VM_BOX_GIOU } vm_box_kind;
/* [1]: sum over targets (B,T,4) with match (B,T) i32 >= 0 of |box - target|_1, or of 1 - GIoU, over norm [1]; box = boxes (B,Q,4)
 * [b, match], all f32 (cx,cy,w,h). match is what a matcher found (models/matcher.h); -1 = no target here. */
vm_val vm_box_loss(vm_graph *g, vm_val boxes, vm_val target, vm_val match, vm_val norm, vm_box_kind kind);
/* y (B,N,M) = generalised IoU of all pairs of a (B,N,4) and b (B,M,4), f32 (cx,cy,w,h) if centre, else (x0,y0,x1,y1). */
vm_val vm_giou(vm_graph *g, vm_val a, vm_val b, bool centre);

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
