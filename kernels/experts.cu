/* experts.cu - see experts.c: the tiles of gpu_tile.cuh, where each block looks up whose rows it has. A row of tiles never spans two
 * experts, so there are at most M/64 + E + 1 of them, the last ones for rows of nobody (a product over K = 0). The gradient of the weights
 * is a product per expert whose K, the number of its rows, is known on the device only. */
#include "kernels/gpu_tile.cuh"

enum { EXPERTS_Y, EXPERTS_DX, EXPERTS_DW };

typedef struct {
    const int32_t *offsets;
    int E, M, N, K; /* of the op; a block's product is (rows,N,K), (rows,K,N) or (N,K,rows) */
    const void *a, *b;
    bool whole_a, whole_b;
    vm_gpu_block *block;
    int node;
} experts_call;

/* Whether the offsets are what they should be; the same for all threads of all blocks. */
__device__ __forceinline__ bool experts_fit(const experts_call &c) {
    int before = 0, first = c.offsets[0];
    bool ok = first == 0;
    int32_t wrong = first;
    for (int e = 1; e <= c.E && ok; e++) {
        int o = c.offsets[e];
        ok = o >= before && o <= c.M;
        wrong = before = o;
    }
    if (!ok && blockIdx.x == 0 && threadIdx.x == 0) gpu_fault(c.block, c.node, wrong);
    return ok;
}

template <class T, int OP>
__global__ void __launch_bounds__((tile_size<T, GPU_SMALL>::THREADS), (tile_size<T, GPU_SMALL>::BLOCKS))
experts_kernel(experts_call c, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    constexpr int BM = tile_size<T, GPU_SMALL>::BM, BN = tile_size<T, GPU_SMALL>::BN;
    if (!experts_fit(c)) return;
    int t = blockIdx.x / g.tiles_n, e = 0, first, rows, size = o.type == VM_F32 ? 4 : 2;
    tile_block at = { 0, (int)(blockIdx.x % g.tiles_n) * BN, 0, 0 };
    if constexpr (OP == EXPERTS_DW) {
        e = t / g.tiles_m, at.m0 = t % g.tiles_m * BM, first = c.offsets[e], rows = c.offsets[e + 1] - first;
        tile_matrix<true> a = { (const T *)c.a + (int64_t)first * c.N, c.N, 0, c.N, c.whole_a };
        tile_matrix<true> b = { (const T *)c.b + (int64_t)first * c.K, c.K, 0, c.K, c.whole_b };
        o.c = (unsigned char *)o.c + (int64_t)e * c.N * c.K * size;
        g.K = rows, g.rounds = (rows + tile_size<T, GPU_SMALL>::BK - 1) / tile_size<T, GPU_SMALL>::BK;
        tile_product<T, GPU_SMALL, true, true>(smem, a, b, o, tile_pixels{}, g, at);
    } else {
        for (;; e++) { /* whose tile is number t? E: nobody's rows */
            first = c.offsets[e], rows = (e < c.E ? c.offsets[e + 1] : c.M) - first;
            int tiles = (rows + BM - 1) / BM;
            if (t < tiles) break;
            if (e == c.E) return;
            t -= tiles;
        }
        at.m0 = t * BM, g.M = rows;
        if (e == c.E) g.K = 0;
        o.c = (unsigned char *)o.c + (int64_t)first * o.ld * size;
        int64_t ld = OP == EXPERTS_Y ? c.K : c.N;
        tile_matrix<false> a = { (const T *)c.a + first * ld, ld, 0, rows, c.whole_a };
        tile_matrix<OP == EXPERTS_DX> b = { (const T *)c.b + (e < c.E ? (int64_t)e * c.N * c.K : 0), c.K, 0, OP == EXPERTS_Y ? c.N : c.K, c.whole_b };
        tile_product<T, GPU_SMALL, false, OP == EXPERTS_DX>(smem, a, b, o, tile_pixels{}, g, at);
    }
}

template <class T, int OP> static vm_status launch(vm_graph *g, vm_node *n, int64_t E, int64_t M, int64_t N, int64_t K, bool add) {
    using size = tile_size<T, GPU_SMALL>;
    int64_t cols = OP == EXPERTS_Y ? N : K, height = OP == EXPERTS_DW ? N : M, sum = OP == EXPERTS_Y ? K : OP == EXPERTS_DX ? N : M;
    tile_out o = {};
    tile_grid gr;
    unsigned blocks = 0;
    vm_gpu_plan plan = { GPU_SMALL, 1 };
    o.c = vm_o(g, n, 0), o.ld = cols, o.alpha = 1, o.add = add, o.type = (int)g->v[n->out[0]].type;
    o.whole = gpu_aligned(o.c, cols, o.type == VM_F32 ? 4 : 2, 4);
    const void *a = vm_in(g, n, 0), *b = vm_in(g, n, 1);
    experts_call c = { (const int32_t *)vm_in(g, n, 2), (int)E, (int)M, (int)N, (int)K, a, b,
                       gpu_aligned(a, vm_cols(g, n->in[0]), sizeof(T), size::E), gpu_aligned(b, vm_cols(g, n->in[1]), sizeof(T), size::E),
                       gpu_of(g)->block, gpu_node(g, n) };
    int64_t batch = OP == EXPERTS_DW ? E : 1, rows = OP == EXPERTS_DW ? height : height + (E + 1) * size::BM; /* a tile more for every expert */
    if (tile_grid_of(g, plan, g->v[n->in[0]].type, batch, rows, cols, sum, &gr, &blocks)) return g->err.status;
    gr.M = (int)height;
    return GPU_LAUNCH(g, (experts_kernel<T, OP>), blocks, size::THREADS, size::SMEM, c, o, gr);
}
template <int OP> static vm_status by_type(vm_graph *g, vm_node *n, int64_t E, int64_t M, int64_t N, int64_t K) {
    bool add = vm_adds(g, n, 0);
    if (!vm_count(g, n->out[0])) return VM_OK;
    switch (g->v[n->in[0]].type) {
    case VM_F32: return launch<float, OP>(g, n, E, M, N, K, add);
    case VM_BF16: return launch<bf16, OP>(g, n, E, M, N, K, add);
    default: return launch<f16, OP>(g, n, E, M, N, K, add);
    }
}

extern "C" vm_status experts_cuda(vm_graph *g, vm_node *n) {
    return by_type<EXPERTS_Y>(g, n, vm_dim(g, n->in[1], 0), vm_dim(g, n->in[0], 0), n->i[1], vm_cols(g, n->in[0]));
}
extern "C" vm_status experts_dx_cuda(vm_graph *g, vm_node *n) {
    return by_type<EXPERTS_DX>(g, n, vm_dim(g, n->in[1], 0), vm_dim(g, n->in[0], 0), vm_cols(g, n->in[0]), n->i[1]);
}
extern "C" vm_status experts_dw_cuda(vm_graph *g, vm_node *n) {
    return by_type<EXPERTS_DW>(g, n, n->i[0], vm_dim(g, n->in[0], 0), vm_cols(g, n->in[0]), n->i[1]);
}
