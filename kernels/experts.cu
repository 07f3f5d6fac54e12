/* experts.cu - see experts.c: the tiles of gpu_tile.cuh, where each block looks up whose rows it has. A row of tiles never spans two
 * experts (gpu_experts.cuh), the last ones are for rows of nobody (a product over K = 0). The gradient of the weights
 * is a product per expert whose K, the number of its rows, is known on the device only. */
#include "kernels/gpu_experts.cuh"
#include "kernels/gpu_tile.cuh"

enum { EXPERTS_Y, EXPERTS_DX, EXPERTS_DW };

typedef struct {
    gpu_experts x;
    int N, K; /* of the op; a block's product is (rows,N,K), (rows,K,N) or (N,K,rows) */
    const void *a, *b;
    bool whole_a, whole_b;
} experts_call;

template <class T, int OP>
__global__ void __launch_bounds__((tile_size<T, GPU_SMALL>::THREADS), (tile_size<T, GPU_SMALL>::BLOCKS))
experts_kernel(experts_call c, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    constexpr int BM = tile_size<T, GPU_SMALL>::BM, BN = tile_size<T, GPU_SMALL>::BN;
    if (!gpu_experts_fit(c.x)) return;
    int t = blockIdx.x / g.tiles_n, size = o.type == VM_F32 ? 4 : 2;
    tile_block at = { 0, (int)(blockIdx.x % g.tiles_n) * BN, 0, 0 };
    if constexpr (OP == EXPERTS_DW) {
        int e = t / g.tiles_m, first = c.x.offsets[e], rows = c.x.offsets[e + 1] - first;
        at.m0 = t % g.tiles_m * BM;
        tile_matrix<true> a = { (const T *)c.a + (int64_t)first * c.N, c.N, 0, c.N, c.whole_a };
        tile_matrix<true> b = { (const T *)c.b + (int64_t)first * c.K, c.K, 0, c.K, c.whole_b };
        o.c = (unsigned char *)o.c + (int64_t)e * c.N * c.K * size;
        g.K = rows, g.rounds = (rows + tile_size<T, GPU_SMALL>::BK - 1) / tile_size<T, GPU_SMALL>::BK;
        tile_product<T, GPU_SMALL, true, true>(smem, a, b, o, tile_pixels{}, g, at);
    } else {
        gpu_expert_tile my = gpu_expert_of(c.x, t, BM);
        const bool nobody = my.e == c.x.E;
        if (!my.rows) return;
        at.m0 = my.at, g.M = my.rows;
        if (nobody) g.K = 0;
        o.c = (unsigned char *)o.c + (int64_t)my.first * o.ld * size;
        int64_t ld = OP == EXPERTS_Y ? c.K : c.N;
        tile_matrix<false> a = { (const T *)c.a + my.first * ld, ld, 0, my.rows, c.whole_a };
        tile_matrix<OP == EXPERTS_DX> b = { (const T *)c.b + (nobody ? 0 : (int64_t)my.e * c.N * c.K), c.K, 0, OP == EXPERTS_Y ? c.N : c.K, c.whole_b };
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
    experts_call c = { gpu_experts_of(g, n, 2, E, M), (int)N, (int)K, a, b,
                       gpu_aligned(a, vm_cols(g, n->in[0]), sizeof(T), size::E), gpu_aligned(b, vm_cols(g, n->in[1]), sizeof(T), size::E) };
    int64_t batch = OP == EXPERTS_DW ? E : 1, rows = OP == EXPERTS_DW ? height : gpu_experts_tiles(c.x, size::BM) * size::BM;
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
