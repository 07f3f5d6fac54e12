/* linear.cu - see linear.c and matmul.c: the products through gemm.cu, and the column sums of the bias gradient (bound by the
 * bytes of dy). */
#include "kernels/gpu_tile.cuh"

static vm_status make_cast(vm_graph *g, const vm_param *p, const vm_gpu_pack *k) {
    return vm_gpu_cast(g, p->data, p->type, k->data, k->type, vm_param_count(p));
}

/* w in type t: itself, a copy that is kept (inference), or rounded into the node's workspace out[1]. */
static const void *weight(vm_graph *g, vm_node *n, vm_val w, vm_type t) {
    const vm_value *x = &g->v[w];
    if (x->type == t) return x->data;
    if (t != VM_F32 && n->n_out > 1 && g->v[n->out[1]].type == t)
        return vm_gpu_cast(g, x->data, x->type, vm_o(g, n, 1), t, vm_count(g, w)) ? NULL : vm_o(g, n, 1);
    vm_gpu_pack want = {};
    want.type = t, want.make = make_cast;
    return vm_gpu_packed(g, x->param, want);
}

static vm_status run(vm_graph *g, vm_node *n, vm_gpu_product p) {
    p.c = vm_o(g, n, 0), p.c_type = g->v[n->out[0]].type, p.add = vm_adds(g, n, 0);
    p.plan = vm_gpu_plan_of(n), p.partial = vm_gpu_partial(g, n);
    return p.b || !p.K || !p.N ? vm_gpu_product_run(g, &p) : g->err.status;
}

extern "C" vm_status linear_cuda(vm_graph *g, vm_node *n) {
    vm_val x = n->in[0], w = n->in[1];
    vm_gpu_product p = {};
    p.batch = 1, p.M = vm_rows(g, x), p.N = vm_dim(g, w, 0), p.K = vm_cols(g, x), p.tb = true, p.type = g->v[x].type;
    p.a = vm_in(g, n, 0), p.b = weight(g, n, w, p.type), p.bias = (const float *)vm_in(g, n, 2), p.alpha = 1;
    p.act = (vm_unary_kind)n->i[1];
    return run(g, n, p);
}

extern "C" vm_status linear_dx_cuda(vm_graph *g, vm_node *n) {
    vm_val dy = n->in[0], w = n->in[1];
    vm_gpu_product p = {};
    p.batch = 1, p.M = vm_rows(g, dy), p.N = vm_dim(g, w, 1), p.K = vm_cols(g, dy), p.type = g->v[dy].type;
    p.a = vm_in(g, n, 0), p.b = weight(g, n, w, p.type), p.alpha = 1;
    return run(g, n, p);
}

extern "C" vm_status linear_dw_cuda(vm_graph *g, vm_node *n) {
    vm_val dy = n->in[0], x = n->in[1];
    vm_gpu_product p = {};
    p.batch = 1, p.M = vm_cols(g, dy), p.N = vm_cols(g, x), p.K = vm_rows(g, dy), p.ta = true, p.type = g->v[x].type;
    p.a = vm_in(g, n, 0), p.b = vm_in(g, n, 1), p.alpha = 1;
    return run(g, n, p);
}

extern "C" vm_status matmul_cuda(vm_graph *g, vm_node *n) {
    vm_val a = n->in[0], c = n->out[0];
    vm_gpu_product p = {};
    p.ta = n->i[0], p.tb = n->i[1], p.type = g->v[a].type;
    p.M = vm_dim(g, c, -2), p.N = vm_dim(g, c, -1), p.K = vm_dim(g, a, p.ta ? -2 : -1);
    p.batch = p.M && p.N ? vm_count(g, c) / (p.M * p.N) : 0;
    p.sa = p.M * p.K, p.sb = p.K * p.N, p.sc = p.M * p.N;
    p.a = vm_in(g, n, 0), p.b = vm_in(g, n, 1), p.alpha = (float)n->f[0];
    return run(g, n, p);
}

/* --- column sums ---------------------------------------------------------------------------------------------------------- */
/* 128 columns per block, four per lane; warp w walks rows w, w + 8, ... of the part; the eight sums are added in their order. */
enum { SUM_WARPS = 8, SUM_COLS = 128 };
template <class T> __global__ void column_sums(const T *dy, int64_t M, int64_t N, int64_t rows, float *to, bool add, bool whole) {
    GPU_SHARED(float, part, [SUM_WARPS][SUM_COLS]);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t n = (int64_t)blockIdx.x * SUM_COLS + lane * 4, m0 = blockIdx.y * rows, m1 = m0 + rows < M ? m0 + rows : M;
    int left = n + 4 <= N ? 4 : n < N ? (int)(N - n) : 0;
    float sum[4] = { 0, 0, 0, 0 };
    if (left && whole) {
#pragma unroll 4
        for (int64_t m = m0 + warp; m < m1; m += SUM_WARPS) {
            vec<T, 4> x = ld_vec<4>(dy + m * N + n);
#pragma unroll
            for (int e = 0; e < 4; e++) sum[e] += to_f32(x.v[e]);
        }
    } else {
        for (int64_t m = m0 + warp; m < m1; m += SUM_WARPS)
#pragma unroll
            for (int e = 0; e < 4; e++) sum[e] += e < left ? to_f32(dy[m * N + n + e]) : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < 4; e++) part[warp][lane * 4 + e] = sum[e];
    __syncthreads();
    int64_t col = (int64_t)blockIdx.x * SUM_COLS + threadIdx.x;
    if (threadIdx.x >= SUM_COLS || col >= N) return;
    float s = 0;
#pragma unroll
    for (int w = 0; w < SUM_WARPS; w++) s += part[w][threadIdx.x];
    to[blockIdx.y * N + col] = s + (add ? to[blockIdx.y * N + col] : 0.0f);
}

template <class T> static vm_status sums(vm_graph *g, vm_node *n) {
    int64_t M = vm_rows(g, n->in[0]), N = vm_cols(g, n->in[0]);
    int splits = vm_gpu_plan_of(n).splits;
    float *db = (float *)vm_o(g, n, 0), *partial = vm_gpu_partial(g, n);
    const T *dy = (const T *)vm_in(g, n, 0);
    bool add = vm_adds(g, n, 0);
    if (!N) return VM_OK;
    if (GPU_LAUNCH(g, column_sums<T>, dim3(gpu_blocks(N, SUM_COLS), (unsigned)splits), 32 * SUM_WARPS, 0, dy, M, N, (M + splits - 1) / splits,
                   partial ? partial : db, add && !partial, gpu_aligned(dy, N, sizeof(T), 4)))
        return g->err.status;
    if (!partial) return VM_OK;
    tile_out o = {};
    o.c = db, o.ld = N, o.partial = partial, o.alpha = 1, o.add = add, o.type = VM_F32, o.whole = gpu_aligned(db, N, 4, 4);
    return tile_sum_parts(g, o, tile_grid{ 1, (int)N, 0, 1, splits, 0, 0, 0 });
}
extern "C" vm_status linear_db_cuda(vm_graph *g, vm_node *n) {
    vm_type t = g->v[n->in[0]].type;
    return t == VM_F32 ? sums<float>(g, n) : t == VM_BF16 ? sums<bf16>(g, n) : sums<f16>(g, n);
}
