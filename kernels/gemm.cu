/* gemm.cu - dense products by the tiles of gpu_tile.cuh, and copies from one float type to another. FLOPs 2 M N K per matrix of
 * the batch; bound by tensor cores (16-bit types) or FFMA (f32) from some hundred rows on, by the bytes of B below. */
#include "kernels/gpu_tile.cuh"

template <class T, int TILE, bool STEEP_A, bool STEEP_B>
__global__ void __launch_bounds__((tile_size<T, TILE>::THREADS), (tile_size<T, TILE>::BLOCKS))
product(tile_matrix<STEEP_A> a, tile_matrix<STEEP_B> b, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    tile_block t = tile_of<T, TILE>(g);
    a.p = (const T *)a.p + t.z * a.step;
    b.p = (const T *)b.p + t.z * b.step;
    tile_product<T, TILE, STEEP_A, STEEP_B>(smem, a, b, o, tile_pixels{}, g, t);
}

template <class T, int TILE, bool STEEP_A, bool STEEP_B>
static vm_status launch(vm_graph *g, const vm_gpu_product *p, const tile_out &o) {
    using size = tile_size<T, TILE>;
    tile_grid gr;
    unsigned blocks = 0;
    vm_gpu_plan plan = p->plan;
    int64_t la = STEEP_A ? p->M : p->K, lb = STEEP_B ? p->N : p->K;
    tile_matrix<STEEP_A> a = { p->a, la, p->sa, (int)p->M, gpu_aligned(p->a, la, sizeof(T), size::E) && p->sa % size::E == 0 };
    tile_matrix<STEEP_B> b = { p->b, lb, p->sb, (int)p->N, gpu_aligned(p->b, lb, sizeof(T), size::E) && p->sb % size::E == 0 };
    if constexpr (TILE == GPU_BIG)
        if (!a.whole || !b.whole) return launch<T, GPU_SMALL, STEEP_A, STEEP_B>(g, p, o);
    plan.tile = (vm_gpu_tile)TILE;
    if (tile_grid_of(g, plan, p->type, p->batch, p->M, p->N, p->K, &gr, &blocks)) return g->err.status;
    if (GPU_LAUNCH(g, (product<T, TILE, STEEP_A, STEEP_B>), blocks, size::THREADS, size::SMEM, a, b, o, gr)) return g->err.status;
    return o.partial ? tile_sum_parts(g, o, gr) : VM_OK;
}

template <class T, int TILE> static vm_status by_layout(vm_graph *g, const vm_gpu_product *p, const tile_out &o) {
    if (p->ta && p->tb) return launch<T, GPU_SMALL, true, false>(g, p, o); /* of gradients of ta products only */
    if (p->ta) return launch<T, TILE, true, true>(g, p, o);
    return p->tb ? launch<T, TILE, false, false>(g, p, o) : launch<T, TILE, false, true>(g, p, o);
}
template <class T> static vm_status by_tile(vm_graph *g, const vm_gpu_product *p, const tile_out &o) {
    if (p->plan.tile == GPU_BIG) return by_layout<T, GPU_BIG>(g, p, o);
    if (p->plan.tile == GPU_SMALL) return by_layout<T, GPU_SMALL>(g, p, o);
    return p->tb ? launch<T, GPU_SKINNY, false, false>(g, p, o) : launch<T, GPU_SKINNY, false, true>(g, p, o);
}

extern "C" vm_status vm_gpu_product_run(vm_graph *g, const vm_gpu_product *p) {
    if (!p->batch || !p->M || !p->N) return VM_OK;
    if (vm_gpu_choice(g, p) == VM_GPU_CUBLASLT) return vm_gpu_blas_run(g, p);
    tile_out o = {};
    o.c = p->c, o.ld = p->N, o.step = p->sc, o.partial = p->plan.splits > 1 ? p->partial : NULL, o.bias = p->bias, o.alpha = p->alpha;
    o.act = p->act, o.add = p->add, o.type = p->c_type;
    o.whole = gpu_aligned(p->c, p->N, vm_type_size(p->c_type), 4) && p->sc % 4 == 0;
    if (p->type == VM_F32) return by_tile<float>(g, p, o);
    return p->type == VM_BF16 ? by_tile<bf16>(g, p, o) : by_tile<f16>(g, p, o);
}

/* --- parts of K ------------------------------------------------------------------------------------------------------------ */
/* The sums of the parts of K in their order, then the epilogue. One thread per four columns of a row. */
template <class T> __global__ void tile_add_parts(tile_out o, tile_grid g) {
    int64_t columns = (g.N + 3) / 4, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, size = (int64_t)g.batch * g.M * g.N;
    if (i >= columns * g.M * g.batch) return;
    int n = (int)(i % columns) * 4, m = (int)(i / columns % g.M), z = (int)(i / columns / g.M), left = g.N - n;
    const float *p = o.partial + ((int64_t)z * g.M + m) * g.N + n;
    vec<float, 4> sum = { { 0, 0, 0, 0 } };
    for (int s = 0; s < g.splits; s++, p += size) {
        vec<float, 4> x = { { 0, 0, 0, 0 } };
        if (g.N % 4 == 0) x = ld_vec<4>(p);
        else
            for (int e = 0; e < 4; e++) x.v[e] = e < left ? p[e] : 0.0f;
        for (int e = 0; e < 4; e++) sum.v[e] += x.v[e];
    }
    float bias[4];
    tile_bias(bias, o, z, n, left);
    tile_put<T>(o, tile_row(o, tile_pixels{}, z, m), n, left, sum, bias);
}
vm_status tile_sum_parts(vm_graph *g, const tile_out &o, const tile_grid &gr) {
    unsigned blocks = gpu_blocks((int64_t)((gr.N + 3) / 4) * gr.M * gr.batch, 256);
    if (o.type == VM_F32) return GPU_LAUNCH(g, tile_add_parts<float>, blocks, 256, 0, o, gr);
    if (o.type == VM_BF16) return GPU_LAUNCH(g, tile_add_parts<bf16>, blocks, 256, 0, o, gr);
    return GPU_LAUNCH(g, tile_add_parts<f16>, blocks, 256, 0, o, gr);
}

/* --- copies --------------------------------------------------------------------------------------------------------------- */
template <int N> __global__ void copy_as(gpu_mem from, gpu_mem to, int64_t n) {
    GPU_FOR(i, N, n) {
        float x[N];
        gpu_load_to<N>(from, i, n, x);
        gpu_store_to<N>(to, i, n, x, false);
    }
}
extern "C" vm_status vm_gpu_cast(vm_graph *g, const void *from, vm_type ft, void *to, vm_type tt, int64_t n) {
    gpu_mem x = { (void *)(uintptr_t)from, (int)ft }, y = { to, (int)tt };
    return n ? GPU_EACH(g, copy_as, gpu_wide(x, y), n, x, y, n) : VM_OK;
}
