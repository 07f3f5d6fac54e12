/* linear_q.cu - products with a quantised weight: few rows, and blocks of odd sizes, by linear_q_rows.cu, others by tiles whose right operand
 * comes from codes (gpu_quant_tile.cuh). y = x W^T reads it flat (along K), dx = dy W steep (rows of W are the sum's index). */
#include "kernels/gpu_quant_tile.cuh"

template <class T, int TILE, bool STEEP>
__global__ void __launch_bounds__((tile_size<T, TILE>::THREADS), (tile_size<T, TILE>::BLOCKS))
lq_tile_kernel(tile_matrix<false> a, tile_codes<STEEP> b, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    GPU_SHARED(float, table, [16]);
    gpu_table_fill(table);
    __syncthreads();
    b.w.table = table;
    tile_product<T, TILE, false, STEEP>(smem, a, b, o, tile_pixels{}, g, tile_of<T, TILE>(g));
}

/* C (M,N) = A (M,K) times the weight: its rows are N (flat) or K (steep). */
template <class T, int TILE, bool STEEP> static vm_status launch(vm_graph *g, vm_node *n, int64_t M, int64_t N, int64_t K, vm_gpu_plan plan) {
    using size = tile_size<T, TILE>;
    const void *x = vm_in(g, n, LQ_X);
    tile_grid gr;
    unsigned blocks = 0;
    tile_matrix<false> a = { x, K, 0, (int)M, gpu_aligned(x, K, sizeof(T), size::E) };
    tile_codes<STEEP> b = { gpu_codes_of(g, n), (int)N };
    tile_out o = {};
    if constexpr (TILE == GPU_BIG)
        if (!a.whole) return launch<T, GPU_SMALL, STEEP>(g, n, M, N, K, plan);
    o.c = vm_o(g, n, 0), o.ld = N, o.partial = vm_gpu_partial(g, n), o.bias = STEEP ? NULL : (const float *)vm_in(g, n, LQ_BIAS), o.alpha = 1;
    o.add = vm_adds(g, n, 0), o.type = (int)g->v[n->out[0]].type, o.whole = gpu_aligned(o.c, N, o.type == VM_F32 ? 4 : 2, 4);
    plan.tile = (vm_gpu_tile)TILE;
    if (TILE == GPU_BIG && GPU_SMEM(g, (lq_tile_kernel<T, TILE, STEEP>), size::SMEM)) return g->err.status; /* with the table beyond 48 KiB */
    if (tile_grid_of(g, plan, g->v[n->in[LQ_X]].type, 1, M, N, K, &gr, &blocks)) return g->err.status;
    if (GPU_LAUNCH(g, (lq_tile_kernel<T, TILE, STEEP>), blocks, size::THREADS, size::SMEM, a, b, o, gr)) return g->err.status;
    return o.partial ? tile_sum_parts(g, o, gr) : VM_OK;
}

template <bool STEEP> static vm_status product(vm_graph *g, vm_node *n, int64_t M, int64_t N, int64_t K) {
    vm_gpu_plan plan = vm_gpu_plan_of(n);
    switch (g->v[n->in[LQ_X]].type) {
    case VM_F32: return launch<float, GPU_SMALL, STEEP>(g, n, M, N, K, plan);
    case VM_BF16: return plan.tile == GPU_BIG ? launch<bf16, GPU_BIG, STEEP>(g, n, M, N, K, plan) : launch<bf16, GPU_SMALL, STEEP>(g, n, M, N, K, plan);
    default: return plan.tile == GPU_BIG ? launch<f16, GPU_BIG, STEEP>(g, n, M, N, K, plan) : launch<f16, GPU_SMALL, STEEP>(g, n, M, N, K, plan);
    }
}

extern "C" vm_status linear_q_cuda(vm_graph *g, vm_node *n) {
    int64_t M = vm_rows(g, n->in[LQ_X]), N = n->i[LQ_N];
    if (!M || !N) return VM_OK;
    if ((M <= LQ_ROWS && !g->deterministic) || !gpu_codes_whole(gpu_codes_of(g, n))) return gpu_lq_rows(g, n);
    return product<false>(g, n, M, N, n->i[LQ_K]);
}
extern "C" vm_status linear_q_dx_cuda(vm_graph *g, vm_node *n) {
    int64_t M = vm_rows(g, n->in[LQ_X]), K = n->i[LQ_K];
    if (!M || !K) return VM_OK;
    return gpu_codes_whole(gpu_codes_of(g, n)) ? product<true>(g, n, M, K, n->i[LQ_N]) : gpu_lq_dx_any(g, n);
}
