/* rows.cu - see rows.c. Gathers move a row per group of threads. The gradient of a table is summed without atomics:
 * the place of every position in the order (id, position) is counted by comparing all pairs, N^2 cheap comparisons,
 * then a block per run of equal ids sums its rows, 8 lines of threads side by side, added in a fixed order. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

/* --- gathers ------------------------------------------------------------------------------------------------------ */
/* y[i] = x[i * T + id[i]], id below V; rows of C; T = 0: one table for all */
template <int N> __global__ void rows_gather_kernel(gpu_mem x, const int32_t *ids, gpu_mem y, int64_t T, int64_t V,
                                                    gpu_div C, int64_t n, vm_gpu_block *block, int node) {
    GPU_FOR(e, N, n) {
        int64_t c, i = gpu_divide(e, C, &c), id = ids[i];
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = 0.0f;
        if (id >= 0 && id < V) gpu_load<N>(x, (i * T + id) * C.d + c, v);
        else if (c == 0) gpu_fault(block, node, id);
        gpu_store<N>(y, e, v, false);
    }
}
static vm_status gather(vm_graph *g, vm_node *n, int64_t T, int64_t V) {
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    int64_t N = vm_count(g, n->out[0]), C = vm_cols(g, n->out[0]);
    if (!N) return VM_OK;
    return GPU_EACH(g, rows_gather_kernel, C % 8 == 0 && gpu_wide(x, y), N, x, (const int32_t *)vm_in(g, n, 1), y, T, V,
                    gpu_div_by(C), N, gpu_of(g)->block, gpu_node(g, n));
}
extern "C" vm_status embedding_cuda(vm_graph *g, vm_node *n) { return gather(g, n, 0, vm_dim(g, n->in[0], 0)); }
extern "C" vm_status pick_cuda(vm_graph *g, vm_node *n) {
    int64_t T = vm_dim(g, n->in[0], 1);
    return gather(g, n, T, T);
}

/* dx[b,t] = dy[b] at t = idx[b], else 0; adding, only that row is walked: `walked` is 1 instead of T then */
template <int N> __global__ void pick_back_kernel(gpu_mem dy, const int32_t *idx, gpu_mem dx, gpu_div C, gpu_div walked,
                                                  int64_t T, int64_t n, bool add, vm_gpu_block *block, int node) {
    GPU_FOR(e, N, n) {
        int64_t c, t, b = gpu_divide(gpu_divide(e, C, &c), walked, &t), id = idx[b];
        bool fits = id >= 0 && id < T;
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = 0.0f;
        if (!fits && t == 0 && c == 0) gpu_fault(block, node, id);
        if (add && !fits) continue;
        if (add) t = id;
        if (t == id) gpu_load<N>(dy, b * C.d + c, v);
        gpu_store<N>(dx, (b * T + t) * C.d + c, v, add);
    }
}
extern "C" vm_status pick_back_cuda(vm_graph *g, vm_node *n) {
    const int64_t *ne = g->v[n->out[0]].ne;
    gpu_mem dy = gpu_in(g, n, 0), dx = gpu_out(g, n, 0);
    bool add = vm_adds(g, n, 0);
    int64_t walked = add ? 1 : ne[1], N = ne[0] * walked * ne[2];
    if (!N) return VM_OK;
    return GPU_EACH(g, pick_back_kernel, ne[2] % 8 == 0 && gpu_wide(dy, dx), N, dy, (const int32_t *)vm_in(g, n, 1), dx,
                    gpu_div_by(ne[2]), gpu_div_by(walked), ne[1], N, add, gpu_of(g)->block, gpu_node(g, n));
}

/* --- gradient of a table ------------------------------------------------------------------------------------------ */
/* order[place of i] = i, by id and then by position */
__global__ void embedding_order_kernel(const int32_t *ids, int32_t *order, int64_t n, int64_t V, vm_gpu_block *block,
                                       int node) {
    GPU_SHARED(int32_t, tile, [GPU_THREADS]);
    int64_t i = (int64_t)blockIdx.x * GPU_THREADS + threadIdx.x;
    int32_t id = i < n ? ids[i] : 0;
    int64_t place = 0;
    if (i < n && (id < 0 || id >= V)) gpu_fault(block, node, id);
    for (int64_t j0 = 0; j0 < n; j0 += GPU_THREADS) {
        int m = n - j0 < GPU_THREADS ? (int)(n - j0) : (int)GPU_THREADS, before = 0;
        __syncthreads();
        if ((int)threadIdx.x < m) tile[threadIdx.x] = ids[j0 + threadIdx.x];
        __syncthreads();
        for (int j = 0; j < m; j++) before += tile[j] < id || (tile[j] == id && j0 + j < i);
        place += before;
    }
    if (i < n) order[place] = (int32_t)i;
}

enum { LINES = 8 };
/* Block (x,y): the run of equal ids that begins at place x, columns 32 N y.. */
template <int N> __global__ void embedding_sum_kernel(gpu_mem dy, const int32_t *ids, const int32_t *order, gpu_mem d,
                                                      int64_t n, int64_t V, int64_t C) {
    GPU_SHARED(float, part, [LINES][32 * N]);
    int64_t first = blockIdx.x, c = ((int64_t)blockIdx.y * 32 + threadIdx.x) * N;
    int32_t id = ids[order[first]];
    if ((first > 0 && ids[order[first - 1]] == id) || id < 0 || id >= V) return; /* the whole block */
    float sum[N], v[N];
#pragma unroll
    for (int k = 0; k < N; k++) sum[k] = 0.0f;
    for (int64_t s = first + threadIdx.y; s < n && ids[order[s]] == id && c < C; s += LINES) {
        gpu_load<N>(dy, order[s] * C + c, v);
#pragma unroll
        for (int k = 0; k < N; k++) sum[k] += v[k];
    }
#pragma unroll
    for (int k = 0; k < N; k++) part[threadIdx.y][k * 32 + threadIdx.x] = sum[k];
    __syncthreads();
    if (threadIdx.y != 0 || c >= C) return;
    for (int line = 1; line < LINES; line++)
#pragma unroll
        for (int k = 0; k < N; k++) sum[k] += part[line][k * 32 + threadIdx.x];
    gpu_store<N>(d, id * C + c, sum, true);
}

extern "C" vm_status embedding_back_cuda(vm_graph *g, vm_node *n) {
    gpu_mem dy = gpu_in(g, n, 0), d = gpu_out(g, n, 0);
    const int32_t *ids = (const int32_t *)vm_in(g, n, 1);
    int32_t *order = (int32_t *)vm_o(g, n, 1);
    int64_t N = vm_count(g, n->in[1]), V = n->i[0], C = vm_cols(g, n->in[0]);
    vm_status st = vm_adds(g, n, 0) ? VM_OK : gpu_fill(g, d, V * C, 0.0f);
    if (N * C == 0 || st) return st;
    st = GPU_LAUNCH(g, embedding_order_kernel, gpu_blocks(N, GPU_THREADS), GPU_THREADS, 0, ids, order, N, V,
                    gpu_of(g)->block, gpu_node(g, n));
    if (st) return st;
    bool wide = C % 4 == 0 && gpu_wide(dy, d);
    dim3 grid((unsigned)N, gpu_blocks(C, wide ? 128 : 32)), block(32, LINES);
    return wide ? GPU_LAUNCH(g, embedding_sum_kernel<4>, grid, block, 0, dy, ids, order, d, N, V, C)
                : GPU_LAUNCH(g, embedding_sum_kernel<1>, grid, block, 0, dy, ids, order, d, N, V, C);
}
