/* gemm.h - matrix products on the CPU, for op kernels: oneDNN underneath, plain loops in the f64 build.
 *
 * C[M,N] = act(alpha * op(A)[M,K] op(B)[K,N] + bias[N]) [+ C], for `batch` independent matrices. oneDNN's blocked
 * kernels run at 90-98 % of this class of processor's peak for every combination of layouts, so nothing is re-laid
 * except constant weights in inference (vm_gemm_pack). */
#ifndef VM_GEMM_H
#define VM_GEMM_H
#include "kernels/graph.h"
#include "kernels/ops.h"

typedef struct {
    int64_t batch, M, N, K;
    bool ta, tb;            /* A stored [K,M]; B stored [N,K] */
    int64_t lda, ldb, ldc;  /* elements between stored rows; 0 = dense */
    int64_t sa, sb, sc;     /* elements between matrices of the batch; sb 0 = one B for all */
    vm_type a, b, c;        /* VM_F32 or VM_BF16; a and b equal, c f32 when they are (oneDNN's f32 to bf16 is wrong); bias is f32 */
    bool bias, add;         /* add: onto what C holds */
    float alpha;            /* 1 when there is a bias */
    vm_unary_kind act;      /* VM_NONE, VM_RELU, VM_QUICK_GELU, VM_GELU, VM_GELU_TANH, VM_SILU, VM_SIGMOID, VM_TANH */
    bool packed;            /* B comes from vm_gemm_pack */
    bool deterministic;     /* fixed chunks of M and N, each one single-threaded product: bits of a row do not depend on
                             * the thread count nor on the other rows */
} vm_gemm_shape;

typedef struct vm_gemm vm_gemm;
vm_gemm *vm_gemm_new(const vm_gemm_shape *s, vm_error *e);
void vm_gemm_free(vm_gemm *m);
const vm_gemm_shape *vm_gemm_of(const vm_gemm *m);
vm_status vm_gemm_run(vm_gemm *m, const void *a, const void *b, const float *bias, void *c, vm_error *e);

/* Product number k (0 or 1: of tiles of a weight the whole ones, and the last) of node n, made at its first run, sizes being fixed, and
 * again when it now adds or no longer does (which changes rarely); deterministic as the graph is. */
vm_gemm *vm_gemm_node(vm_graph *g, vm_node *n, int k, vm_gemm_shape s);
void vm_gemm_node_free(vm_node *n); /* vm_op.free_node of such ops */

/* The copy of parameter p (B of m, f32 or bf16 on the parameter) in the layout m wants; kept with p until its version
 * changes, shared by all plans that want the same. */
const void *vm_gemm_pack(vm_gemm *m, vm_param *p, vm_error *e);

/* The activations that a product or a convolution can end in, for plain loops and for sums over nothing. */
vm_real vm_activation(double x, vm_unary_kind k);

#endif
