/* reduce.cu - see reduce.c. A block sums a chunk of the rows (chunks.h), a second launch the chunks.
 *
 * Wide rows: 32 threads side by side own columns, 8 lines of them take turns at the rows. Narrow rows: as many whole
 * rows as fit lie across the block, so that reads are coalesced. Rows of one number, not too many: a warp per sum. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_sum.cuh"

enum { NARROW = 32, LINES = 8, FOR_A_WARP = 2048 };

template <int N> __global__ void sum_wide(gpu_sums s, gpu_div by_blocks, gpu_div by_chunks) {
    GPU_SHARED(float, part, [LINES][32 * N]);
    int64_t block, chunk, o = gpu_divide(gpu_divide(blockIdx.x, by_blocks, &block), by_chunks, &chunk);
    int64_t i = (block * 32 + threadIdx.x) * N, end = gpu_chunk_begin(s.A, s.chunks, chunk + 1);
    float sum[N], x[N];
#pragma unroll
    for (int k = 0; k < N; k++) sum[k] = 0.0f;
    if (i < s.I)
#pragma unroll 4
        for (int64_t a = gpu_chunk_begin(s.A, s.chunks, chunk) + threadIdx.y; a < end; a += LINES) {
            gpu_load<N>(s.x, (o * s.A + a) * s.row + i, x);
#pragma unroll
            for (int k = 0; k < N; k++) sum[k] += x[k];
        }
#pragma unroll
    for (int k = 0; k < N; k++) part[threadIdx.y][k * 32 + threadIdx.x] = sum[k];
    __syncthreads();
    if (threadIdx.y != 0 || i >= s.I) return;
    for (int line = 1; line < LINES; line++)
#pragma unroll
        for (int k = 0; k < N; k++) sum[k] += part[line][k * 32 + threadIdx.x];
#pragma unroll
    for (int k = 0; k < N; k++) sum[k] *= s.scale;
    gpu_store<N>(s.y, (o * s.chunks + chunk) * s.I + i, sum, s.add);
}

__global__ void sum_narrow(gpu_sums s, gpu_div by_chunks) {
    GPU_SHARED(float, part, [GPU_THREADS]);
    int t = (int)threadIdx.x, I = (int)s.I, lanes = GPU_THREADS / I, lane = t / I;
    int64_t chunk, o = gpu_divide(blockIdx.x, by_chunks, &chunk), end = gpu_chunk_begin(s.A, s.chunks, chunk + 1);
    float sum = 0.0f;
    if (lane < lanes)
#pragma unroll 4
        for (int64_t a = gpu_chunk_begin(s.A, s.chunks, chunk) + lane; a < end; a += lanes)
            sum += gpu_get(s.x, (o * s.A + a) * s.row + t - lane * I);
    part[t] = sum;
    for (int half = GPU_THREADS / 2; half; half /= 2) { /* lanes need not be a power of two */
        __syncthreads();
        if (lane < half && lane + half < lanes) part[t] += part[t + half * I];
    }
    if (t >= I) return;
    int64_t to = (o * s.chunks + chunk) * I + t;
    gpu_put(s.y, to, part[t] * s.scale + (s.add ? gpu_get(s.y, to) : 0.0f));
}

__global__ void sum_warp(gpu_sums s) {
    int64_t o = (int64_t)blockIdx.x * LINES + threadIdx.y;
    float sum = 0.0f;
    if (o >= s.O) return; /* the whole warp */
#pragma unroll 4
    for (int64_t a = threadIdx.x; a < s.A; a += 32) sum += gpu_get(s.x, (o * s.A + a) * s.row);
    sum = warp_sum(sum) * s.scale;
    if (threadIdx.x == 0) gpu_put(s.y, o, sum + (s.add ? gpu_get(s.y, o) : 0.0f));
}

extern "C" vm_status gpu_sum_rows(vm_graph *g, gpu_sums s) {
    int64_t sums = s.O * s.chunks;
    if (sums * s.I == 0) return VM_OK;
    if (s.I == 1 && s.chunks == 1 && s.A <= FOR_A_WARP)
        return GPU_LAUNCH(g, sum_warp, gpu_blocks(s.O, LINES), dim3(32, LINES), 0, s);
    if (s.I < NARROW) return GPU_LAUNCH(g, sum_narrow, (unsigned)sums, GPU_THREADS, 0, s, gpu_div_by(s.chunks));
    bool wide = s.I % 4 == 0 && s.row % 4 == 0 && gpu_wide(s.x, s.y);
    int64_t blocks = gpu_blocks(s.I, wide ? 128 : 32);
    gpu_div by_blocks = gpu_div_by(blocks), by_chunks = gpu_div_by(s.chunks);
    return wide ? GPU_LAUNCH(g, (sum_wide<4>), (unsigned)(sums * blocks), dim3(32, LINES), 0, s, by_blocks, by_chunks)
                : GPU_LAUNCH(g, (sum_wide<1>), (unsigned)(sums * blocks), dim3(32, LINES), 0, s, by_blocks, by_chunks);
}

extern "C" vm_status sum_cuda(vm_graph *g, vm_node *n) {
    int64_t O = n->i[0], A = n->i[1], I = n->i[2], chunks = g->v[n->out[1]].ne[1];
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0), part = gpu_out(g, n, 1);
    bool add = vm_adds(g, n, 0);
    float scale = (float)n->f[0];
    if (chunks < 2) {
        gpu_sums s = { x, y, O, A, I, 1, I, scale, add };
        return gpu_sum_rows(g, s);
    }
    gpu_sums first = { x, part, O, A, I, chunks, I, 1.0f, false }, then = { part, y, O, chunks, I, 1, I, scale, add };
    return gpu_sum_rows(g, first) ? g->err.status : gpu_sum_rows(g, then);
}

/* --- broadcast ---------------------------------------------------------------------------------------------------- */
template <int N>
__global__ void broadcast_kernel(gpu_mem x, gpu_mem y, gpu_div A, gpu_div I, int64_t n, float scale, bool add) {
    GPU_FOR(e, N, n) {
        int64_t i, a, o = gpu_divide(gpu_divide(e, I, &i), A, &a);
        float v[N];
        if (I.d % N == 0) gpu_load<N>(x, o * I.d + i, v);
        else
#pragma unroll
            for (int k = 0; k < N; k++) {
                v[k] = e + k < n ? gpu_get(x, o * I.d + i) : 0.0f;
                if (++i == I.d) i = 0, a++;
                if (a == A.d) a = 0, o++;
            }
#pragma unroll
        for (int k = 0; k < N; k++) v[k] *= scale;
        gpu_store_to<N>(y, e, n, v, add);
    }
}
extern "C" vm_status broadcast_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, broadcast_kernel, gpu_wide(x, y), N, x, y, gpu_div_by(n->i[1]), gpu_div_by(n->i[2]), N,
                    (float)n->f[0], vm_adds(g, n, 0));
}
