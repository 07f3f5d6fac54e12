/* gpu_experts.cuh - rows sorted by expert (experts.c) as kernels find them. Offsets stand on the device, so a block looks up whose rows it has:
 * rows are cut into tiles of `each` rows that never span two experts, the last ones hold the rows of nobody. Where few rows of an expert and many
 * go different ways, each launch has the tiles of its own experts. */
#ifndef VM_GPU_EXPERTS_CUH
#define VM_GPU_EXPERTS_CUH
#include "kernels/gpu.cuh"

typedef struct {
    const int32_t *offsets; /* (E+1) */
    int E, M;
    int least, most; /* experts (and nobody) with fewer or more rows have no tiles */
    vm_gpu_block *block;
    int node;
} gpu_experts;
/* offsets: their place among the inputs of n */
static inline gpu_experts gpu_experts_of(const vm_graph *g, const vm_node *n, int offsets, int64_t E, int64_t M) {
    gpu_experts x = { (const int32_t *)vm_in(g, n, offsets), (int)E, (int)M, 1, (int)M, gpu_of(g)->block, gpu_node(g, n) };
    return x;
}
/* Tiles of `each` rows, at most: each has one row or more, and there is one that is not full for every expert and for nobody. */
static inline int64_t gpu_experts_tiles(const gpu_experts &x, int each) { return VM_MIN(x.M, (x.most > each ? x.M / each : 0) + x.E + 1); }

/* Whether the offsets are what they should be; the same for all threads of all blocks. Before anything else looks at them. */
__device__ __forceinline__ bool gpu_experts_fit(const gpu_experts &x) {
    int before = 0, first = x.offsets[0];
    bool ok = first == 0;
    int32_t wrong = first;
    for (int e = 1; e <= x.E && ok; e++) {
        int o = x.offsets[e];
        ok = o >= before && o <= x.M;
        wrong = before = o;
    }
    if (!ok && blockIdx.x == 0 && threadIdx.x == 0) gpu_fault(x.block, x.node, wrong);
    return ok;
}

typedef struct {
    int e;           /* the expert; E = nobody */
    int first, rows; /* all of its rows; 0 = there is no such tile */
    int at;          /* first row of the tile among these */
} gpu_expert_tile;
/* Tile number t of those of `each` rows. */
__device__ __forceinline__ gpu_expert_tile gpu_expert_of(const gpu_experts &x, int t, int each) {
    gpu_expert_tile to = { 0, 0, 0, 0 };
    for (;; to.e++) {
        to.first = x.offsets[to.e], to.rows = (to.e < x.E ? x.offsets[to.e + 1] : x.M) - to.first;
        int tiles = to.rows < x.least || to.rows > x.most ? 0 : (to.rows + each - 1) / each;
        if (t < tiles) break;
        t -= tiles;
        if (to.e < x.E) continue;
        to.rows = 0;
        return to;
    }
    to.at = t * each;
    return to;
}

#endif
