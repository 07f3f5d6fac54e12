/* experts_q.cu - see experts_q.c: blocks look up whose rows they have (gpu_experts.cuh) and do with the codes of that expert what linear_q.cu
 * does. Up to LQ_ROWS rows of an expert share a pass over its codes, the way being that of as many rows as there are (one, up to 4, up to 8);
 * more are tiles. How many an expert has is known on the device only, so there is a launch for either, and each leaves the other's experts out:
 * up to LQ_ROWS rows in all need the first alone; deterministic graphs (one way for any number of rows) the second. An order of columns is
 * applied to x before, and to dx behind the product. */
#include "kernels/gpu_experts.cuh"
#include "kernels/gpu_quant_rows.cuh"
#include "kernels/gpu_quant_tile.cuh"
extern "C" {
#include "kernels/experts_q.h"
}

enum { EQ_THREADS = LQ_WARPS * 32 };

/* The codes of all experts, those of the first in w; scales and numbers of nested of each. */
typedef struct {
    gpu_experts x;
    gpu_codes w;
    int64_t scales, nested;
} eq_weights;

/* The codes of expert e; none of nobody's: their products have no columns. */
__device__ __forceinline__ gpu_codes eq_codes(const eq_weights &all, int e) {
    gpu_codes w = all.w;
    if (e == all.x.E) return w;
    w.codes += e * w.N * w.K / (w.kind == VM_INT8 ? 1 : 2);
    w.scales = (const char *)w.scales + e * all.scales * (w.nested ? 1 : 4);
    if (w.zeros) w.zeros += e * all.scales;
    if (w.nested) w.nested += e * all.nested;
    return w;
}
__device__ __forceinline__ gpu_mem eq_at(gpu_mem m, int64_t i) {
    m.p = (char *)m.p + i * (m.t == VM_F32 ? 4 : 2);
    return m;
}

/* --- few rows, and codes in odd blocks -------------------------------------------------------------------------------------- */
/* c: of tile number t of `each` rows, c.x and c.y of all rows, cols_x and cols_y wide; false: there is no such tile. Nobody's have *nobody. */
__device__ __forceinline__ bool eq_take(const eq_weights &all, lq_call *c, int t, int each, int64_t cols_x, int64_t cols_y, bool *nobody) {
    gpu_expert_tile my = gpu_expert_of(all.x, t, each);
    int64_t row = my.first + my.at;
    if (!my.rows) return false;
    c->M = my.rows - my.at < each ? my.rows - my.at : each;
    c->x = eq_at(c->x, row * cols_x), c->y = eq_at(c->y, row * cols_y), c->w = eq_codes(all, my.e);
    *nobody = my.e == all.x.E;
    return true;
}

/* across: blocks side by side over the rows of the weight. */
template <int BITS, int R> __global__ void eq_rows_kernel(eq_weights all, lq_call c, unsigned across) {
    GPU_SHARED(float, xs, [LQ_SHARED]);
    GPU_SHARED(float, table, [16]);
    bool nobody;
    if (!gpu_experts_fit(all.x) || !eq_take(all, &c, blockIdx.x / across, LQ_ROWS, all.w.K, all.w.N, &nobody)) return;
    if (nobody) c.w.K = 0;
    if (c.M == 1) lq_rows<BITS, 1, R>(c, blockIdx.x % across, xs, table);
    else if (c.M <= 4) lq_rows<BITS, 4, R>(c, blockIdx.x % across, xs, table);
    else lq_rows<BITS, 8, R>(c, blockIdx.x % across, xs, table);
}
__global__ void eq_any_kernel(eq_weights all, lq_call c, unsigned across) {
    GPU_SHARED(float, table, [16]);
    bool nobody;
    if (!gpu_experts_fit(all.x) || !eq_take(all, &c, blockIdx.x / across, LQ_ROWS, all.w.K, all.w.N, &nobody)) return;
    gpu_table_fill(table);
    c.w.table = table;
    __syncthreads();
    if (nobody) c.w.K = 0;
    lq_any(c, (int64_t)(blockIdx.x % across) * LQ_WARPS + threadIdx.x / 32, 0);
}
/* A block per row of dx; c.x is dy, c.y dx. */
__global__ void eq_dx_any_kernel(eq_weights all, lq_call c) {
    GPU_SHARED(float, table, [16]);
    bool nobody;
    if (!gpu_experts_fit(all.x) || !eq_take(all, &c, blockIdx.x, 1, all.w.N, all.w.K, &nobody)) return;
    gpu_table_fill(table);
    c.w.table = table;
    __syncthreads();
    if (nobody) c.w.N = 0;
    for (int64_t k = threadIdx.x; k < c.w.K; k += EQ_THREADS) lq_dx_any(c, 0, k);
}

/* --- tiles ------------------------------------------------------------------------------------------------------------------ */
template <class T, bool STEEP>
__global__ void __launch_bounds__((tile_size<T, GPU_SMALL>::THREADS), (tile_size<T, GPU_SMALL>::BLOCKS))
eq_tile_kernel(eq_weights all, tile_matrix<false> a, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    GPU_SHARED(float, table, [16]);
    if (!gpu_experts_fit(all.x)) return;
    gpu_expert_tile my = gpu_expert_of(all.x, blockIdx.x / g.tiles_n, tile_size<T, GPU_SMALL>::BM);
    if (!my.rows) return;
    gpu_table_fill(table);
    __syncthreads();
    tile_codes<STEEP> b = { eq_codes(all, my.e), g.N };
    b.w.table = table;
    a.p = (const T *)a.p + my.first * a.ld, a.outer = my.rows;
    o.c = (unsigned char *)o.c + my.first * o.ld * (o.type == VM_F32 ? 4 : 2);
    g.M = my.rows;
    if (my.e == all.x.E) g.K = 0;
    tile_block at = { my.at, (int)(blockIdx.x % g.tiles_n) * tile_size<T, GPU_SMALL>::BN, 0, 0 };
    tile_product<T, GPU_SMALL, false, STEEP>(smem, a, b, o, tile_pixels{}, g, at);
}

/* --- columns in another order: a block per row ------------------------------------------------------------------------------- */
/* BACK: to[order[c]] = [itself +] from[c], zeros of nobody's; else to[c] = from[order[c]]. order (E,K) names every column once. */
template <bool BACK> __global__ void eq_move_kernel(gpu_experts x, gpu_mem from, gpu_mem to, const int32_t *order, int K, bool add) {
    if (!gpu_experts_fit(x)) return;
    int row = blockIdx.x, e = gpu_expert_of(x, row, 1).e;
    const bool nobody = e == x.E;
    if (nobody && (!BACK || add)) return;
    from = eq_at(from, (int64_t)row * K), to = eq_at(to, (int64_t)row * K);
    for (int c = threadIdx.x; c < K; c += EQ_THREADS) {
        int at = nobody ? c : order[(int64_t)e * K + c];
        if (at < 0 || at >= K) {
            gpu_fault(x.block, x.node, at);
            at = c;
        }
        if (!BACK) gpu_put(to, c, gpu_get(from, at));
        else gpu_put(to, at, (nobody ? 0.0f : gpu_get(from, c)) + (add ? gpu_get(to, at) : 0.0f));
    }
}

/* --- launchers ---------------------------------------------------------------------------------------------------------------- */
static eq_weights weights_of(const vm_graph *g, const vm_node *n) {
    const int64_t E = vm_dim(g, n->in[LQ_CODES], 0), scales = vm_quant_scales((vm_quant_kind)n->i[LQ_KIND], n->i[LQ_N], n->i[LQ_K], n->i[LQ_BLOCK]);
    eq_weights w = { gpu_experts_of(g, n, EQ_OFFSETS, E, vm_rows(g, n->in[LQ_X])), gpu_codes_of(g, n), scales, vm_nested_len(scales) };
    return w;
}
template <bool BACK> static vm_status move(vm_graph *g, const vm_node *n, const eq_weights &w, gpu_mem from, gpu_mem to, bool add) {
    const int32_t *order = (const int32_t *)vm_in(g, n, EQ_ORDER);
    return GPU_LAUNCH(g, (eq_move_kernel<BACK>), (unsigned)w.x.M, EQ_THREADS, 0, w.x, from, to, order, (int)w.w.K, add);
}

/* c.y (M,N), or STEEP: (M,K), of c.x. */
template <class T, bool STEEP> static vm_status by_tiles(vm_graph *g, const eq_weights &w, const lq_call &c) {
    using size = tile_size<T, GPU_SMALL>;
    const int64_t cols = STEEP ? w.w.K : w.w.N, sum = STEEP ? w.w.N : w.w.K, tiles = gpu_experts_tiles(w.x, size::BM);
    tile_matrix<false> a = { c.x.p, sum, 0, 0, gpu_aligned(c.x.p, sum, sizeof(T), size::E) };
    tile_out o = {};
    tile_grid gr;
    unsigned blocks = 0;
    vm_gpu_plan plan = { GPU_SMALL, 1 };
    o.c = c.y.p, o.ld = cols, o.alpha = 1, o.add = c.add, o.type = c.y.t, o.whole = gpu_aligned(o.c, cols, o.type == VM_F32 ? 4 : 2, 4);
    if (tile_grid_of(g, plan, (vm_type)c.x.t, 1, tiles * size::BM, cols, sum, &gr, &blocks)) return g->err.status;
    return GPU_LAUNCH(g, (eq_tile_kernel<T, STEEP>), blocks, size::THREADS, size::SMEM, w, a, o, gr);
}
template <bool STEEP> static vm_status product(vm_graph *g, const eq_weights &w, const lq_call &c) {
    switch (c.x.t) {
    case VM_F32: return by_tiles<float, STEEP>(g, w, c);
    case VM_BF16: return by_tiles<bf16, STEEP>(g, w, c);
    default: return by_tiles<f16, STEEP>(g, w, c);
    }
}

template <int BITS, int R> static vm_status by_rows(vm_graph *g, const eq_weights &w, const lq_call &c, int64_t tiles) {
    unsigned across = gpu_blocks(w.w.N, LQ_WARPS * R);
    return GPU_LAUNCH(g, (eq_rows_kernel<BITS, R>), (unsigned)(tiles * across), EQ_THREADS, 0, w, c, across);
}
/* By passes over whole lines of codes where there are some, else weight by weight. */
static vm_status passes(vm_graph *g, const eq_weights &w, const lq_call &c) {
    const int64_t tiles = gpu_experts_tiles(w.x, LQ_ROWS);
    const bool many = lq_rows_many(g, w.w.N * VM_MIN(w.x.M, w.x.E));
    const unsigned across = gpu_blocks(w.w.N, LQ_WARPS);
    if (!lq_rows_take(w.w)) return GPU_LAUNCH(g, eq_any_kernel, (unsigned)(tiles * across), EQ_THREADS, 0, w, c, across);
    if (w.w.kind == VM_INT8) return many ? by_rows<8, 4>(g, w, c, tiles) : by_rows<8, 1>(g, w, c, tiles);
    return many ? by_rows<4, 4>(g, w, c, tiles) : by_rows<4, 1>(g, w, c, tiles);
}

extern "C" vm_status experts_q_cuda(vm_graph *g, vm_node *n) {
    eq_weights w = weights_of(g, n);
    lq_call c = lq_call_of(g, n, NULL);
    const int M = w.x.M;
    if (!M || !w.w.N) return VM_OK;
    if (n->in[EQ_ORDER]) {
        gpu_mem moved = gpu_out(g, n, EQ_MOVED);
        if (move<false>(g, n, w, c.x, moved, false)) return g->err.status;
        c.x = moved, c.wide = gpu_on16(moved.p) && w.w.K % 8 == 0;
    }
    if (!gpu_codes_whole(w.w)) return passes(g, w, c);
    if (g->deterministic) return product<false>(g, w, c);
    w.x.most = VM_MIN(M, (int)LQ_ROWS);
    if (passes(g, w, c) || M <= LQ_ROWS) return g->err.status;
    w.x.least = LQ_ROWS + 1, w.x.most = M;
    return product<false>(g, w, c);
}

extern "C" vm_status experts_q_dx_cuda(vm_graph *g, vm_node *n) {
    const eq_weights w = weights_of(g, n);
    lq_call c = lq_call_of(g, n, NULL);
    const gpu_mem dx = c.y;
    const bool add = c.add, moves = n->in[EQ_ORDER] != 0;
    if (!w.x.M || !w.w.K) return VM_OK;
    if (moves) c.y = gpu_out(g, n, EQ_MOVED), c.add = false;
    if (gpu_codes_whole(w.w) ? product<true>(g, w, c) : GPU_LAUNCH(g, eq_dx_any_kernel, (unsigned)w.x.M, EQ_THREADS, 0, w, c)) return g->err.status;
    return moves ? move<true>(g, n, w, c.y, dx, add) : VM_OK;
}
