/* topk.cu - see topk.c. A block per row finds the k-th largest entry by digits of 8 bits from the top (radix select): keys of 64 bits, the
 * value in the order of unsigned numbers and behind it the index counted down, are all different, so exactly k lie at or above the last
 * prefix. Most rows need 2 to 4 passes over x, which lies in L2; ties go on into the digits of the index. The k found are then ranked by
 * comparing all pairs: their place in the result depends on nothing else.
 *
 * The gradient of rows by index is a sum in the order of the indices: a warp per row of x looks through all of them. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

enum { TOPK_THREADS = 512, ROW_WARPS = 8 };

/* Larger comes first: NaN above all, -0 as 0. */
__device__ __forceinline__ uint64_t topk_key(gpu_mem x, int64_t row, int i) {
    float v = gpu_get(x, row + i);
    uint32_t u = f32_bits(v == 0.0f ? 0.0f : v);
    u = v != v ? 0xffffffffu : u >> 31 ? ~u : u | 0x80000000u;
    return (uint64_t)u << 32 | (0xffffffffu - (uint32_t)i);
}

/* The digit in which the need-th largest of the counted keys lies; to[]: the digit, how many are needed of its keys, how many it has.
 * First warp only: lane l sums the 8 digits from 255 - 8l down. */
__device__ __forceinline__ void topk_digit(const int *count, int need, int *to) {
    int lane = threadIdx.x, sum = 0, before;
    for (int d = 0; d < 8; d++) sum += count[255 - 8 * lane - d];
    before = sum;
    for (int o = 1; o < 32; o *= 2) {
        int y = __shfl_up_sync(GPU_ALL, before, o);
        if (lane >= o) before += y;
    }
    before -= sum;
    if (before >= need || before + sum < need) return;
    int digit = 255 - 8 * lane;
    while (before + count[digit] < need) before += count[digit--];
    to[0] = digit, to[1] = need - before, to[2] = count[digit];
}

__global__ void topk_kernel(gpu_mem x, float *values, int32_t *indices, int32_t *found, int N, int k) {
    GPU_SHARED(int, count, [256]);
    GPU_SHARED(int, digit, [3]);
    GPU_SHARED(int, many, [1]);
    GPU_SHARED(uint64_t, tile, [TOPK_THREADS]);
    int64_t row = (int64_t)blockIdx.x * N, to = (int64_t)blockIdx.x * k;
    uint64_t least = 0; /* keys at or above it are the k largest, once `all` */
    int need = k, t = threadIdx.x;
    bool all = false;
    for (int shift = 56; !all; shift -= 8) {
        if (t < 256) count[t] = 0;
        __syncthreads();
        for (int i = t; i < N; i += TOPK_THREADS) {
            uint64_t key = topk_key(x, row, i);
            if (shift == 56 || (key ^ least) >> (shift + 8) == 0) atomicAdd(&count[key >> shift & 255], 1);
        }
        __syncthreads();
        if (t < 32) topk_digit(count, need, digit);
        __syncthreads();
        least |= (uint64_t)digit[0] << shift, need = digit[1];
        all = need == digit[2];
        if (t == 0) *many = 0;
        __syncthreads();
    }
    for (int i = t; i < N; i += TOPK_THREADS)
        if (topk_key(x, row, i) >= least) found[to + atomicAdd(many, 1)] = i;
    __syncthreads();
    for (int e0 = 0; e0 < k; e0 += TOPK_THREADS) {
        int e = e0 + t, id = e < k ? found[to + e] : 0, place = 0;
        uint64_t key = topk_key(x, row, id);
        for (int j0 = 0; j0 < k; j0 += TOPK_THREADS) {
            __syncthreads();
            if (j0 + t < k) tile[t] = topk_key(x, row, found[to + j0 + t]);
            __syncthreads();
            for (int j = 0; j < TOPK_THREADS && j0 + j < k; j++) place += tile[j] > key;
        }
        if (e < k) values[to + place] = gpu_get(x, row + id), indices[to + place] = id;
    }
}

extern "C" vm_status topk_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), N = vm_cols(g, n->in[0]);
    if (!R || !n->i[0]) return VM_OK;
    return GPU_LAUNCH(g, topk_kernel, (unsigned)R, TOPK_THREADS, 0, gpu_in(g, n, 0), (float *)vm_o(g, n, 0), (int32_t *)vm_o(g, n, 1),
                      (int32_t *)vm_o(g, n, 2), (int)N, (int)n->i[0]);
}

__global__ void topk_back_kernel(gpu_mem d, const int32_t *indices, gpu_mem dx, int64_t N, int64_t k, bool add) {
    int64_t row = blockIdx.x * N, from = blockIdx.x * k;
    for (int64_t i = threadIdx.x; i < N && !add; i += GPU_THREADS) gpu_put(dx, row + i, 0.0f);
    __syncthreads();
    for (int64_t j = threadIdx.x; j < k; j += GPU_THREADS) {
        float v = gpu_get(d, from + j);
        gpu_store<1>(dx, row + indices[from + j], &v, add);
    }
}
extern "C" vm_status topk_back_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), k = vm_cols(g, n->in[0]);
    if (!R || !n->i[0]) return VM_OK;
    return GPU_LAUNCH(g, topk_back_kernel, (unsigned)R, GPU_THREADS, 0, gpu_in(g, n, 0), (const int32_t *)vm_in(g, n, 1), gpu_out(g, n, 0),
                      n->i[0], k, vm_adds(g, n, 0));
}

/* --- rows by index ---------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t B, N, Q; /* x as (B,N,C), indices as (B,Q) */
    gpu_div C, q;
} gather_sizes;
static gather_sizes gather_of(const vm_graph *g, const vm_node *n, const vm_value *x) {
    bool batched = x->nd == 3;
    gather_sizes s;
    s.B = batched ? x->ne[0] : 1, s.N = x->ne[x->nd - 2], s.Q = batched ? vm_dim(g, n->in[1], 1) : vm_count(g, n->in[1]);
    s.C = gpu_div_by(x->ne[x->nd - 1]), s.q = gpu_div_by(s.Q);
    return s;
}

template <int V> __global__ void gather_kernel(gpu_mem x, const int32_t *idx, gpu_mem y, gather_sizes s, int64_t n, vm_gpu_block *block, int node) {
    GPU_FOR(e, V, n) {
        int64_t c, q, i = gpu_divide(e, s.C, &c), b = gpu_divide(i, s.q, &q), id = idx[i];
        float v[V];
#pragma unroll
        for (int k = 0; k < V; k++) v[k] = 0.0f;
        if (id >= 0 && id < s.N) gpu_load<V>(x, (b * s.N + id) * s.C.d + c, v);
        else if (c == 0) gpu_fault(block, node, id);
        gpu_store<V>(y, e, v, false);
    }
}
extern "C" vm_status gather_rows_cuda(vm_graph *g, vm_node *n) {
    gather_sizes s = gather_of(g, n, &g->v[n->in[0]]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    int64_t N = vm_count(g, n->out[0]);
    if (!N) return VM_OK;
    return GPU_EACH(g, gather_kernel, s.C.d % 8 == 0 && gpu_wide(x, y), N, x, (const int32_t *)vm_in(g, n, 1), y, s, N, gpu_of(g)->block,
                    gpu_node(g, n));
}

/* A warp per row of dx and 32 V of its columns (blockIdx.y). */
template <int V> __global__ void gather_back_kernel(gpu_mem dy, const int32_t *idx, gpu_mem dx, gather_sizes s, bool add, vm_gpu_block *block, int node) {
    int64_t row = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32, b = row / s.N, n = row % s.N, C = s.C.d;
    int64_t lane = threadIdx.x % 32, c = ((int64_t)blockIdx.y * 32 + lane) * V;
    float sum[V], v[V];
    if (row >= s.B * s.N) return;
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] = 0.0f;
    for (int64_t q0 = 0; q0 < s.Q; q0 += 32) {
        int32_t id = q0 + lane < s.Q ? idx[b * s.Q + q0 + lane] : 0;
        if (n == 0 && blockIdx.y == 0 && (id < 0 || id >= s.N)) gpu_fault(block, node, id);
        unsigned here = __ballot_sync(GPU_ALL, q0 + lane < s.Q && id == n);
        for (; here; here &= here - 1) {
            if (c >= C) continue;
            gpu_load<V>(dy, (b * s.Q + q0 + __ffs((int)here) - 1) * C + c, v);
#pragma unroll
            for (int k = 0; k < V; k++) sum[k] += v[k];
        }
    }
    if (c < C) gpu_store<V>(dx, row * C + c, sum, add);
}
extern "C" vm_status gather_rows_back_cuda(vm_graph *g, vm_node *n) {
    gather_sizes s = gather_of(g, n, &g->v[n->out[0]]);
    gpu_mem dy = gpu_in(g, n, 0), dx = gpu_out(g, n, 0);
    if (!vm_count(g, n->out[0])) return VM_OK;
    bool wide = s.C.d % 8 == 0 && gpu_wide(dy, dx);
    dim3 grid(gpu_blocks(s.B * s.N, ROW_WARPS), gpu_blocks(s.C.d, wide ? 256 : 32));
    const int32_t *idx = (const int32_t *)vm_in(g, n, 1);
    return wide ? GPU_LAUNCH(g, gather_back_kernel<8>, grid, 32 * ROW_WARPS, 0, dy, idx, dx, s, vm_adds(g, n, 0), gpu_of(g)->block, gpu_node(g, n))
                : GPU_LAUNCH(g, gather_back_kernel<1>, grid, 32 * ROW_WARPS, 0, dy, idx, dx, s, vm_adds(g, n, 0), gpu_of(g)->block, gpu_node(g, n));
}
