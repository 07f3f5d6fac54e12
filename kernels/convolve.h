/* convolve.h - two-dimensional convolutions on the CPU, for op kernels: oneDNN underneath, plain loops in the f64
 * build.
 *
 *   y[b,i,j,n]  = act(sum_{c,u,v} x[b, i sh - pt + u dh, j sw - pl + v dw, c] w[n,c,u,v] + bias[n]) [+ y]
 *   dx, dw      = the adjoints of that sum in x and in w
 *
 * x (B,H,W,C), y (B,OH,OW,N), w (N,C/groups,KH,KW) as published. oneDNN's direct kernels want weights in blocks, so
 * weights are re-laid: constant ones once (vm_convolve_pack), others into the scratch of each run, and gradients of
 * weights on their way out. */
#ifndef VM_CONVOLVE_H
#define VM_CONVOLVE_H
#include "kernels/ops.h"

typedef enum { CONVOLVE_Y, CONVOLVE_DX, CONVOLVE_DW } vm_convolve_what;

typedef struct {
    vm_convolve_what what;
    int64_t B, H, W, C, OH, OW, N;
    vm_conv k;          /* no field left at 0 for its default */
    vm_type x, w, y;    /* as stored: of x and dx, of w (dw is f32), of y and dy; products are in x's type */
    bool bias, add;     /* Y: a bias; any: onto what the result holds */
    vm_unary_kind act;  /* Y: as in vm_gemm_shape */
    bool packed;        /* Y, DX: w comes from vm_convolve_pack */
    bool deterministic; /* one image at a time on one thread: the bits of an image depend neither on the thread count
                         * nor on the rest of the batch; DW: sums over fixed groups of images, in their order */
} vm_convolve_shape;

typedef struct vm_convolve vm_convolve;
vm_convolve *vm_convolve_new(const vm_convolve_shape *s, vm_error *e);
void vm_convolve_free(vm_convolve *m);
const vm_convolve_shape *vm_convolve_of(const vm_convolve *m);
size_t vm_convolve_scratch(const vm_convolve *m); /* bytes that a run needs, aligned to 64 */
/* Writes y, x or w by `what` from the other two. */
vm_status vm_convolve_run(vm_convolve *m, void *x, void *w, const float *bias, void *y, void *scratch, vm_error *e);
/* The copy of w in the layout that m wants; see dnn_pack. */
void *vm_convolve_pack(vm_convolve *m, vm_param *p, vm_error *e);

/* Whether convolutions with w read such a copy: of a constant weight. */
static inline bool vm_convolve_packs(const vm_graph *g, vm_val w) { return g->v[w].kind == VM_PARAM && g->v[w].root == w && !g->training; }

/* Nodes of conv.c: i[] has the fields of vm_conv, then type of y and activation, and for gradients the size of x. */
enum { VM_CONV_OUT = 11, VM_CONV_ACT, VM_CONV_H, VM_CONV_W };
vm_conv vm_conv_of(const vm_node *n);

#endif
