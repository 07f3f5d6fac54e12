/* softmax.cu - softmax and cross-entropy of rows on the GPU (formulas: softmax.c).
 *
 * Rows of up to 1024 entries have a warp each, longer ones a block. Maximum and sum come from one pass: a thread
 * keeps the sum relative to the largest it has seen, and the threads' sums are brought to the common maximum at the
 * end. Bound by memory: softmax reads x twice (the second time mostly from cache), cross-entropy once. */
#include "kernels/gpu_elem.cuh"

enum { ROW_WARP = 1024, IGNORED = -100, WARPS = GPU_THREADS / 32 };

/* The row of this thread, and which of how many threads of the row it is. */
typedef struct {
    int64_t row;
    int me, of;
} place;
__device__ __forceinline__ place place_of(int64_t V) {
    place p = { (int64_t)blockIdx.x, (int)threadIdx.x, (int)blockDim.x };
    if (V <= ROW_WARP) p.row = p.row * WARPS + threadIdx.x / 32, p.me = threadIdx.x % 32, p.of = 32;
    return p;
}
static unsigned row_blocks(int64_t R, int64_t V) { return gpu_blocks(R, V <= ROW_WARP ? WARPS : 1); }
__device__ __forceinline__ float row_sum(place p, float x, float *room) {
    return p.of == 32 ? warp_sum(x) : block_sum(x, room);
}
__device__ __forceinline__ float row_max(place p, float x, float *room) {
    return p.of == 32 ? warp_max(x) : block_max(x, room);
}

/* Maximum of the row, 0 for one of -inf only (then e^(x-m) is 0 everywhere, not NaN), and the sum of e^(x-m). */
template <int N>
__device__ __forceinline__ void max_sum(place p, gpu_mem x, int64_t V, float *room, float *max, float *sum) {
    float m = -INFINITY, s = 0;
    for (int64_t j = (int64_t)p.me * N; j < V; j += (int64_t)p.of * N) {
        float v[N], new_m = m;
        gpu_load<N>(x, p.row * V + j, v);
#pragma unroll
        for (int k = 0; k < N; k++) new_m = fmaxf(new_m, v[k]);
        float base = new_m == -INFINITY ? 0.0f : new_m;
        s *= expf(m - base);
#pragma unroll
        for (int k = 0; k < N; k++) s += expf(v[k] - base);
        m = new_m;
    }
    *max = row_max(p, m, room);
    if (*max == -INFINITY) *max = 0.0f;
    *sum = row_sum(p, s * expf((m == -INFINITY ? 0.0f : m) - *max), room);
}

template <int N> __global__ void softmax_kernel(gpu_mem y, gpu_mem x, int64_t R, int64_t V) {
    GPU_SHARED(float, room, [33]);
    place p = place_of(V);
    float m, s;
    if (p.row >= R) return; /* whole warps of rows without barriers */
    max_sum<N>(p, x, V, room, &m, &s);
    float k = s == 0 ? 0.0f : 1.0f / s; /* NaN stays */
    for (int64_t j = (int64_t)p.me * N; j < V; j += (int64_t)p.of * N) {
        float v[N];
        gpu_load<N>(x, p.row * V + j, v);
#pragma unroll
        for (int c = 0; c < N; c++) v[c] = expf(v[c] - m) * k;
        gpu_store<N>(y, p.row * V + j, v, false);
    }
}

template <int N>
__global__ void softmax_back_kernel(gpu_mem dx, gpu_mem dy, gpu_mem y, int64_t R, int64_t V, bool add) {
    GPU_SHARED(float, room, [33]);
    place p = place_of(V);
    if (p.row >= R) return;
    float dot = 0, d[N], v[N];
    for (int64_t j = (int64_t)p.me * N; j < V; j += (int64_t)p.of * N) {
        gpu_load<N>(dy, p.row * V + j, d), gpu_load<N>(y, p.row * V + j, v);
#pragma unroll
        for (int c = 0; c < N; c++) dot = fmaf(d[c], v[c], dot);
    }
    dot = row_sum(p, dot, room);
    for (int64_t j = (int64_t)p.me * N; j < V; j += (int64_t)p.of * N) {
        gpu_load<N>(dy, p.row * V + j, d), gpu_load<N>(y, p.row * V + j, v);
#pragma unroll
        for (int c = 0; c < N; c++) v[c] *= d[c] - dot;
        gpu_store<N>(dx, p.row * V + j, v, add);
    }
}

/* --- cross-entropy ------------------------------------------------------------------------------------------------ */
static __device__ __forceinline__ bool kept_row(int target, int64_t V) { return target >= 0 && target < V; }

/* max, log_sum of the kept rows */
template <int N> __global__ void entropy_rows(float *max, float *log_sum, gpu_mem x, const int32_t *target, int64_t R,
                                              int64_t V, vm_gpu_block *fault, int node) {
    GPU_SHARED(float, room, [33]);
    place p = place_of(V);
    if (p.row >= R) return;
    int t = target[p.row];
    if (!kept_row(t, V)) { /* all threads of the row */
        if (t != IGNORED && p.me == 0) gpu_fault(fault, node, t);
        return;
    }
    float m, s;
    max_sum<N>(p, x, V, room, &m, &s);
    if (p.me == 0) max[p.row] = m, log_sum[p.row] = logf(s);
}

/* One block: the mean over kept rows and their number, summed in double in an order that depends on R alone. */
__global__ void entropy_mean(float *loss, float *kept, const float *max, const float *log_sum, gpu_mem x,
                             const int32_t *target, int64_t R, int64_t V) {
    GPU_SHARED(double, sum, [GPU_THREADS]);
    GPU_SHARED(double, count, [GPU_THREADS]);
    double s = 0, n = 0;
    for (int64_t i = threadIdx.x; i < R; i += GPU_THREADS) {
        if (!kept_row(target[i], V)) continue;
        s += (double)(max[i] - gpu_get(x, i * V + target[i])) + (double)log_sum[i];
        n += 1;
    }
    sum[threadIdx.x] = s, count[threadIdx.x] = n;
    for (int half = GPU_THREADS / 2; half; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            sum[threadIdx.x] += sum[threadIdx.x + half], count[threadIdx.x] += count[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *loss = (float)(count[0] > 0 ? sum[0] / count[0] : 0), *kept = (float)count[0];
}

template <int N> __global__ void entropy_back(gpu_mem dx, const float *dloss, gpu_mem x, const int32_t *target,
                                              const float *max, const float *log_sum, const float *kept, int64_t V,
                                              int64_t pieces, bool add) {
    int64_t i = blockIdx.x / pieces, j0 = blockIdx.x % pieces * (8 * GPU_THREADS), end = j0 + 8 * GPU_THREADS;
    int t = target[i];
    bool there = kept_row(t, V);
    if (!there && add) return;
    float k = there ? *dloss / *kept : 0.0f, m = there ? max[i] : 0.0f, l = there ? log_sum[i] : 0.0f;
    for (int64_t j = j0 + (int64_t)threadIdx.x * N; j < (end < V ? end : V); j += (int64_t)GPU_THREADS * N) {
        float v[N];
        if (there) gpu_load<N>(x, i * V + j, v);
#pragma unroll
        for (int c = 0; c < N; c++) v[c] = there ? k * expf(v[c] - m - l) - (j + c == t ? k : 0.0f) : 0.0f;
        gpu_store<N>(dx, i * V + j, v, add);
    }
}

/* --- launchers ---------------------------------------------------------------------------------------------------- */
extern "C" vm_status softmax_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), V = vm_cols(g, n->in[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (R * V == 0) return VM_OK;
    return V % 8 == 0 && gpu_wide(x, y)
               ? GPU_LAUNCH(g, softmax_kernel<8>, row_blocks(R, V), GPU_THREADS, 0, y, x, R, V)
               : GPU_LAUNCH(g, softmax_kernel<1>, row_blocks(R, V), GPU_THREADS, 0, y, x, R, V);
}

extern "C" vm_status softmax_back_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), V = vm_cols(g, n->in[1]);
    gpu_mem dy = gpu_in(g, n, 0), y = gpu_in(g, n, 1), dx = gpu_out(g, n, 0);
    bool add = vm_adds(g, n, 0);
    if (R * V == 0) return VM_OK;
    return V % 8 == 0 && gpu_wide3(dx, dy, y)
               ? GPU_LAUNCH(g, softmax_back_kernel<8>, row_blocks(R, V), GPU_THREADS, 0, dx, dy, y, R, V, add)
               : GPU_LAUNCH(g, softmax_back_kernel<1>, row_blocks(R, V), GPU_THREADS, 0, dx, dy, y, R, V, add);
}

extern "C" vm_status cross_entropy_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), V = vm_cols(g, n->in[0]);
    gpu_mem x = gpu_in(g, n, 0);
    const int32_t *target = (const int32_t *)vm_in(g, n, 1);
    float *loss = (float *)vm_o(g, n, 0), *max = (float *)vm_o(g, n, 1), *kept = (float *)vm_o(g, n, 2);
    vm_gpu_block *fault = gpu_of(g)->block;
    int node = gpu_node(g, n);
    vm_status s = VM_OK;
    if (R && V % 8 == 0 && gpu_on16(x.p))
        s = GPU_LAUNCH(g, entropy_rows<8>, row_blocks(R, V), GPU_THREADS, 0, max, max + R, x, target, R, V, fault,
                       node);
    else if (R)
        s = GPU_LAUNCH(g, entropy_rows<1>, row_blocks(R, V), GPU_THREADS, 0, max, max + R, x, target, R, V, fault,
                       node);
    return s ? s : GPU_LAUNCH(g, entropy_mean, 1, GPU_THREADS, 0, loss, kept, max, max + R, x, target, R, V);
}

extern "C" vm_status cross_entropy_back_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), V = vm_cols(g, n->in[1]), pieces = (V + 8 * GPU_THREADS - 1) / (8 * GPU_THREADS);
    gpu_mem x = gpu_in(g, n, 1), dx = gpu_out(g, n, 0);
    const float *dloss = (const float *)vm_in(g, n, 0), *max = (const float *)vm_in(g, n, 3),
                *kept = (const float *)vm_in(g, n, 4);
    const int32_t *target = (const int32_t *)vm_in(g, n, 2);
    bool add = vm_adds(g, n, 0);
    if (R * V == 0) return VM_OK;
    return V % 8 == 0 && gpu_wide(x, dx) ? GPU_LAUNCH(g, entropy_back<8>, (unsigned)(R * pieces), GPU_THREADS, 0, dx,
                                                      dloss, x, target, max, max + R, kept, V, pieces, add)
                                         : GPU_LAUNCH(g, entropy_back<1>, (unsigned)(R * pieces), GPU_THREADS, 0, dx,
                                                      dloss, x, target, max, max + R, kept, V, pieces, add);
}
