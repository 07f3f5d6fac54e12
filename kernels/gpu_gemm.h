/* gpu_gemm.h - matrix products on a CUDA device, for the ops that are products: which tile, in how many parts the sum over K is
 * made, and room for the parts. Plain C, so that shape rules can ask; the kernels are in gemm.cu and conv.cu. */
#ifndef VM_GPU_GEMM_H
#define VM_GPU_GEMM_H
#include "kernels/graph.h"
#include "kernels/ops.h"

/* Tiles of gpu_tile.cuh: 128 x 128, 64 x 64, and 16 x 64 for products of at most 16 rows, which are bound by the bytes of B. */
typedef enum { GPU_BIG, GPU_SMALL, GPU_SKINNY, GPU_TILES } vm_gpu_tile;

typedef struct {
    vm_gpu_tile tile;
    int splits; /* parts of K, each summed by blocks of its own; the sums are added in their order by a second kernel */
} vm_gpu_plan;

/* For batch products of (M,K) by (K,N) of type t. flat: one row of A is contiguous along K (the skinny tile wants that). fixed:
 * the parts must not depend on M, so that the bits of a row do not depend on the other rows. */
vm_gpu_plan vm_gpu_product_plan(const vm_graph *g, vm_type t, int64_t batch, int64_t M, int64_t N, int64_t K, bool flat, bool fixed);
/* Rounds of BK that the tile of type t walks along K, as the kernels count them. */
int64_t vm_gpu_rounds(vm_gpu_tile tile, vm_type t, int64_t K);

/* For shape rules, on a device (nothing on the CPU): plans the product of node n and keeps the plan in n->i[15]; with several
 * parts the node gets a last output for their sums. */
void vm_gpu_planned(vm_graph *g, vm_node *n, vm_type t, int64_t batch, int64_t M, int64_t N, int64_t K, bool flat, bool fixed);
void vm_gpu_planned_sums(vm_graph *g, vm_node *n, int64_t rows, int64_t cols); /* the same of column sums: parts of the rows */
/* For launchers. */
vm_gpu_plan vm_gpu_plan_of(const vm_node *n);
float *vm_gpu_partial(const vm_graph *g, const vm_node *n); /* NULL when there is one part */

/* Tests: every later plan takes this tile (where it can) and this many parts; -1 and 0 = as planned. */
void vm_gpu_force(int tile, int splits);

/* C = act(alpha op(A) op(B) + bias) [+ C] of dense matrices in device memory. */
typedef struct {
    int64_t batch, M, N, K;
    bool ta, tb;             /* A stored (K,M); B stored (N,K) */
    int64_t sa, sb, sc;      /* elements between matrices of the batch */
    vm_type type, c_type;    /* of A and B; of C: f32 or the same */
    const void *a, *b;
    const float *bias;       /* (N) or NULL */
    void *c;
    float alpha;
    vm_unary_kind act;       /* VM_NONE to VM_TANH */
    bool add;
    vm_gpu_plan plan;
    float *partial;          /* (splits,batch,M,N) when plan.splits > 1 */
} vm_gpu_product;
vm_status vm_gpu_product_run(vm_graph *g, const vm_gpu_product *p); /* gemm.cu */
vm_status vm_gpu_cast(vm_graph *g, const void *from, vm_type ft, void *to, vm_type tt, int64_t n); /* gemm.cu */

/* --- copies of constant weights ------------------------------------------------------------------------------------------
 * A weight that does not change between runs is brought to the type and order of its kernels once. The copy belongs to the
 * parameter, is shared by all plans and made anew when the parameter's version has changed: by vm_gpu_packs_refresh, which the
 * backend calls before every run, so that nothing is allocated or re-laid inside a captured graph. */
typedef struct vm_gpu_pack {
    struct vm_gpu_pack *next;
    vm_type type;
    int64_t key[4]; /* order of the copy, meaning by `make` */
    vm_status (*make)(vm_graph *g, const vm_param *p, const struct vm_gpu_pack *k); /* launches the kernel that fills data */
    void *data;
    uint64_t version;
} vm_gpu_pack;
/* Of parameter p, with the same number of elements as p; NULL and g->err when memory is out. */
const void *vm_gpu_packed(vm_graph *g, vm_param *p, vm_gpu_pack want);
vm_status vm_gpu_packs_refresh(vm_graph *g);
void vm_gpu_packs_free(vm_param *p);
/* Whether value w is a parameter that stays as it is between the runs of g. */
static inline bool vm_gpu_packs(const vm_graph *g, vm_val w) {
    return g->v[w].kind == VM_PARAM && g->v[w].root == w && !g->training;
}

#endif
