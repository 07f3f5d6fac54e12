/* groupnorm.cu - see groupnorm.c. A block has a chunk of pixels of one picture; a thread keeps its N channels and
 * walks down the pixels, so that what a channel is multiplied with stays in registers and rows are read in one
 * piece. Moments: every thread takes the mean of its own values and then their squares about it (the second reading
 * comes from the first cache), a warp per group joins them, a warp per picture and group joins the chunks. Bound by
 * memory. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
#include "kernels/gpu_sum.cuh"
#include "kernels/gpu_unary.cuh"
extern "C" {
#include "kernels/groupnorm.h"
}

/* Threads of a block over `vectors` columns of N channels: `width` side by side, each row of pixels for one slot of
 * them. */
typedef struct {
    int width, slots, slot, col;
} spot;
__device__ __forceinline__ spot spot_of(int64_t vectors, int most) {
    spot s;
    s.width = vectors < most ? (int)vectors : most, s.slots = GPU_THREADS / s.width;
    s.slot = (int)threadIdx.x / s.width, s.col = (int)threadIdx.x % s.width;
    return s;
}

/* Joins (m,q) of n values with (m2,q2) of n2 more. */
__device__ __forceinline__ void join(float *m, float *q, float n, float m2, float q2, float n2) {
    float d = m2 - *m, part = n2 / (n + n2);
    *m = fmaf(d, part, *m), *q += q2 + d * d * part * n;
}

template <int N> __global__ void moments_kernel(gpu_mem x, vm_groupnorm_shape s, float *part) {
    GPU_SHARED(float, mean, [GPU_THREADS * N]);
    GPU_SHARED(float, sq, [GPU_THREADS * N]);
    int64_t b = blockIdx.x / s.K, k = blockIdx.x % s.K, r0 = gpu_chunk_begin(s.P, s.K, k);
    int rows = (int)(gpu_chunk_begin(s.P, s.K, k + 1) - r0), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    spot me = spot_of(s.C / N, GPU_THREADS);
    part += (b * s.K + k) * 2 * s.G;
    for (int64_t c0 = 0; c0 < s.C; c0 += (int64_t)me.width * N) {
        int64_t c = c0 + (int64_t)me.col * N, c1 = c0 + (int64_t)me.width * N;
        if (c1 > s.C) c1 = s.C;
        if (me.slot < me.slots && me.slot < rows && c < s.C) {
            int64_t at = (b * s.P + r0) * s.C + c;
            float first[N], m[N], q[N], v[N];
            int n = (rows - me.slot + me.slots - 1) / me.slots;
            gpu_load<N>(x, at + me.slot * s.C, first);
#pragma unroll
            for (int j = 0; j < N; j++) m[j] = q[j] = 0.0f;
            for (int r = me.slot + me.slots; r < rows; r += me.slots) {
                gpu_load<N>(x, at + r * s.C, v);
#pragma unroll
                for (int j = 0; j < N; j++) m[j] += v[j] - first[j];
            }
#pragma unroll
            for (int j = 0; j < N; j++) m[j] = first[j] + m[j] / (float)n;
            for (int r = me.slot; r < rows; r += me.slots) {
                gpu_load<N>(x, at + r * s.C, v);
#pragma unroll
                for (int j = 0; j < N; j++) q[j] = fmaf(v[j] - m[j], v[j] - m[j], q[j]);
            }
#pragma unroll
            for (int j = 0; j < N; j++) {
                mean[(me.slot * me.width + me.col) * N + j] = m[j];
                sq[(me.slot * me.width + me.col) * N + j] = q[j];
            }
        }
        __syncthreads();
        int used = me.slots < rows ? me.slots : rows;
        /* a group beyond the width comes in parts */
        for (int64_t g = c0 / s.D + warp; g * s.D < c1; g += GPU_THREADS / 32) {
            int64_t from = g * s.D > c0 ? g * s.D : c0, to = (g + 1) * s.D < c1 ? (g + 1) * s.D : c1;
            int w = (int)(to - from), base = (int)(from - c0);
            float n = (float)rows * (float)w, first = mean[base], m = 0.0f, q = 0.0f;
            for (int e = lane; e < used * w; e += 32) {
                int slot = e / w, rows_of = (rows - slot + me.slots - 1) / me.slots;
                m += (float)rows_of * (mean[slot * me.width * N + base + e % w] - first);
            }
            m = first + warp_sum(m) / n;
            for (int e = lane; e < used * w; e += 32) {
                int slot = e / w, rows_of = (rows - slot + me.slots - 1) / me.slots,
                    i = slot * me.width * N + base + e % w;
                q += sq[i] + (float)rows_of * (mean[i] - m) * (mean[i] - m);
            }
            q = warp_sum(q);
            if (lane != 0) continue;
            if (from > g * s.D) {
                float m0 = part[g], q0 = part[s.G + g];
                join(&m0, &q0, (float)rows * (float)(from - g * s.D), m, q, n);
                m = m0, q = q0;
            }
            part[g] = m, part[s.G + g] = q;
        }
        __syncthreads();
    }
}
/* A warp per picture and group: chunks into mean and r */
__global__ void statistics_kernel(const float *part, vm_groupnorm_shape s, float eps, float *mean, float *r) {
    int64_t i = (int64_t)blockIdx.x * (GPU_THREADS / 32) + threadIdx.x / 32, b = i / s.G, g = i % s.G;
    int lane = threadIdx.x % 32;
    if (i >= s.B * s.G) return;
    part += b * s.K * 2 * s.G;
    float first = s.K ? part[g] : 0.0f, m = 0.0f, q = 0.0f, over = s.P ? 1.0f / ((float)s.P * (float)s.D) : 0.0f;
    for (int64_t k = lane; k < s.K; k += 32) {
        float n = (float)(gpu_chunk_begin(s.P, s.K, k + 1) - gpu_chunk_begin(s.P, s.K, k)) * (float)s.D;
        m += n * (part[k * 2 * s.G + g] - first);
    }
    m = first + warp_sum(m) * over;
    for (int64_t k = lane; k < s.K; k += 32) {
        float n = (float)(gpu_chunk_begin(s.P, s.K, k + 1) - gpu_chunk_begin(s.P, s.K, k)) * (float)s.D;
        float d = part[k * 2 * s.G + g] - m;
        q += part[k * 2 * s.G + s.G + g] + n * d * d;
    }
    q = warp_sum(q);
    if (lane == 0) mean[i] = m, r[i] = 1.0f / sqrtf(q * over + eps);
}

template <int N> __global__ void apply_kernel(gpu_mem x, gpu_mem w, gpu_mem b, const float *mean, const float *r,
                                              gpu_mem y, vm_groupnorm_shape s, bool silu) {
    int64_t picture = blockIdx.x / s.K, k = blockIdx.x % s.K, r0 = gpu_chunk_begin(s.P, s.K, k);
    int rows = (int)(gpu_chunk_begin(s.P, s.K, k + 1) - r0);
    spot me = spot_of(s.C / N, GPU_THREADS);
    if (me.slot >= me.slots) return;
    for (int64_t c = (int64_t)me.col * N; c < s.C; c += (int64_t)me.width * N) {
        float m[N], a[N], shift[N], v[N];
        gpu_load<N>(w, c, a);
        gpu_load<N>(b, c, shift);
#pragma unroll
        for (int j = 0; j < N; j++) {
            int64_t g = picture * s.G + (c + j) / s.D;
            m[j] = mean[g], a[j] *= r[g];
        }
        for (int i = me.slot; i < rows; i += me.slots) {
            int64_t at = (picture * s.P + r0 + i) * s.C + c;
            gpu_load<N>(x, at, v);
#pragma unroll
            for (int j = 0; j < N; j++) {
                v[j] = fmaf(v[j] - m[j], a[j], shift[j]);
                if (silu) v[j] *= gpu_sigmoid(v[j]);
            }
            gpu_store<N>(y, at, v, false);
        }
    }
}

extern "C" vm_status groupnorm_cuda(vm_graph *g, vm_node *n) {
    vm_groupnorm_shape s = vm_groupnorm_of(&g->v[n->in[0]], n->i[1]);
    gpu_mem x = gpu_in(g, n, 0), w = gpu_in(g, n, 1), b = gpu_in(g, n, 2), y = gpu_out(g, n, 0);
    float *mean = (float *)vm_o(g, n, 1), *r = (float *)vm_o(g, n, 2), *part = (float *)vm_o(g, n, 3);
    float eps = (float)n->f[0];
    bool wide = s.C % 8 == 0 && gpu_wide3(x, w, b) && gpu_on16(y.p), silu = n->i[2] == VM_SILU;
    unsigned chunks = (unsigned)(s.B * s.K);
    if (!s.B || !s.C) return VM_OK;
    vm_status st = VM_OK;
    if (chunks)
        st = wide ? GPU_LAUNCH(g, (moments_kernel<8>), chunks, GPU_THREADS, 0, x, s, part)
                  : GPU_LAUNCH(g, (moments_kernel<1>), chunks, GPU_THREADS, 0, x, s, part);
    if (!st)
        st = GPU_LAUNCH(g, statistics_kernel, gpu_blocks(s.B * s.G, GPU_THREADS / 32), GPU_THREADS, 0,
                        (const float *)part, s, eps, mean, r);
    if (st || !chunks) return st;
    const float *m = mean, *q = r;
    return wide ? GPU_LAUNCH(g, (apply_kernel<8>), chunks, GPU_THREADS, 0, x, w, b, m, q, y, s, silu)
                : GPU_LAUNCH(g, (apply_kernel<1>), chunks, GPU_THREADS, 0, x, w, b, m, q, y, s, silu);
}

/* --- backward ----------------------------------------------------------------------------------------------------- */
enum { SLICE = 32 }; /* vectors of channels of a block that sums: a warp reads them side by side */

/* Per chunk of pixels and channel: sum of dy h, then sum of dy. */
template <int N> __global__ void sums_kernel(gpu_mem dy, gpu_mem x, const float *mean, const float *r,
                                             vm_groupnorm_shape s, float *part) {
    GPU_SHARED(float, dw, [GPU_THREADS * N]);
    GPU_SHARED(float, db, [GPU_THREADS * N]);
    int64_t b = blockIdx.x / s.KB, k = blockIdx.x % s.KB, r0 = gpu_chunk_begin(s.P, s.KB, k);
    int rows = (int)(gpu_chunk_begin(s.P, s.KB, k + 1) - r0);
    spot me = spot_of(s.C / N, SLICE);
    int64_t c0 = (int64_t)blockIdx.y * me.width * N, c = c0 + (int64_t)me.col * N;
    if (me.slot < me.slots && c < s.C) {
        float m[N], q[N], a[N], e[N], v[N], d[N];
#pragma unroll
        for (int j = 0; j < N; j++) {
            int64_t g = b * s.G + (c + j) / s.D;
            m[j] = mean[g], q[j] = r[g], a[j] = e[j] = 0.0f;
        }
        for (int i = me.slot; i < rows; i += me.slots) {
            int64_t at = (b * s.P + r0 + i) * s.C + c;
            gpu_load<N>(x, at, v);
            gpu_load<N>(dy, at, d);
#pragma unroll
            for (int j = 0; j < N; j++) a[j] = fmaf(d[j], (v[j] - m[j]) * q[j], a[j]), e[j] += d[j];
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            dw[(me.slot * me.width + me.col) * N + j] = a[j];
            db[(me.slot * me.width + me.col) * N + j] = e[j];
        }
    }
    __syncthreads();
    part += (b * s.KB + k) * 2 * s.C;
    for (int i = threadIdx.x; i < me.width * N && c0 + i < s.C; i += GPU_THREADS) {
        float a = 0.0f, e = 0.0f;
        for (int slot = 0; slot < me.slots; slot++) a += dw[slot * me.width * N + i], e += db[slot * me.width * N + i];
        part[c0 + i] = a, part[s.C + c0 + i] = e;
    }
}
/* A block per picture and group: mean(g), mean(g h) */
__global__ void means_kernel(const float *part, gpu_mem w, vm_groupnorm_shape s, float *means) {
    GPU_SHARED(float, room, [33]);
    int64_t b = blockIdx.x / s.G, g = blockIdx.x % s.G;
    float mg = 0.0f, mgh = 0.0f, over = 1.0f / ((float)s.P * (float)s.D);
    for (int64_t i = threadIdx.x; i < s.KB * s.D; i += GPU_THREADS) {
        int64_t c = g * s.D + i % s.D, at = (b * s.KB + i / s.D) * 2 * s.C + c;
        float v = gpu_get(w, c);
        mgh = fmaf(v, part[at], mgh), mg = fmaf(v, part[at + s.C], mg);
    }
    mg = block_sum(mg, room), mgh = block_sum(mgh, room);
    if (threadIdx.x == 0) means[b * 2 * s.G + g] = mg * over, means[b * 2 * s.G + s.G + g] = mgh * over;
}
template <int N> __global__ void dx_kernel(gpu_mem dy, gpu_mem x, gpu_mem w, const float *mean, const float *r,
                                           const float *means, gpu_mem dx, vm_groupnorm_shape s, bool add) {
    int64_t picture = blockIdx.x / s.K, k = blockIdx.x % s.K, r0 = gpu_chunk_begin(s.P, s.K, k);
    int rows = (int)(gpu_chunk_begin(s.P, s.K, k + 1) - r0);
    spot me = spot_of(s.C / N, GPU_THREADS);
    if (me.slot >= me.slots) return;
    for (int64_t c = (int64_t)me.col * N; c < s.C; c += (int64_t)me.width * N) {
        float m[N], wr[N], a[N], h[N], v[N], d[N]; /* dx = dy wr - a - (x - m) h */
        gpu_load<N>(w, c, wr);
#pragma unroll
        for (int j = 0; j < N; j++) {
            int64_t g = (c + j) / s.D;
            float q = r[picture * s.G + g];
            m[j] = mean[picture * s.G + g], wr[j] *= q;
            a[j] = q * means[picture * 2 * s.G + g], h[j] = q * q * means[picture * 2 * s.G + s.G + g];
        }
        for (int i = me.slot; i < rows; i += me.slots) {
            int64_t at = (picture * s.P + r0 + i) * s.C + c;
            gpu_load<N>(x, at, v);
            gpu_load<N>(dy, at, d);
#pragma unroll
            for (int j = 0; j < N; j++) d[j] = fmaf(d[j], wr[j], -a[j]) - (v[j] - m[j]) * h[j];
            gpu_store<N>(dx, at, d, add);
        }
    }
}

extern "C" vm_status groupnorm_back_cuda(vm_graph *g, vm_node *n) {
    vm_groupnorm_shape s = vm_groupnorm_of(&g->v[n->in[1]], n->i[1]);
    gpu_mem dy = gpu_in(g, n, 0), x = gpu_in(g, n, 1), w = gpu_in(g, n, 2), dx = gpu_out(g, n, 0);
    const float *mean = (const float *)vm_in(g, n, 3), *r = (const float *)vm_in(g, n, 4);
    float *part = (float *)vm_o(g, n, 3), *means = (float *)vm_o(g, n, 4);
    bool wide = s.C % 8 == 0 && gpu_wide3(dy, x, w) && gpu_on16(dx.p), add = vm_adds(g, n, 0);
    int64_t vectors = wide ? s.C / 8 : s.C, chunks = s.B * s.KB;
    vm_status st = VM_OK;
    if (!s.C) return VM_OK;
    dim3 grid((unsigned)chunks, gpu_blocks(vectors, SLICE));
    if (chunks)
        st = wide ? GPU_LAUNCH(g, (sums_kernel<8>), grid, GPU_THREADS, 0, dy, x, mean, r, s, part)
                  : GPU_LAUNCH(g, (sums_kernel<1>), grid, GPU_THREADS, 0, dy, x, mean, r, s, part);
    if (!st && n->i[2]) st = gpu_sum_chunks(g, part, chunks, 2 * s.C, s.C, vm_o(g, n, 1), vm_adds(g, n, 1));
    if (!st && n->i[2]) st = gpu_sum_chunks(g, part + s.C, chunks, 2 * s.C, s.C, vm_o(g, n, 2), vm_adds(g, n, 2));
    if (st || !chunks) return st;
    st = GPU_LAUNCH(g, means_kernel, (unsigned)(s.B * s.G), GPU_THREADS, 0, (const float *)part, w, s, means);
    if (st) return st;
    unsigned blocks = (unsigned)(s.B * s.K);
    const float *sums = means;
    return wide ? GPU_LAUNCH(g, (dx_kernel<8>), blocks, GPU_THREADS, 0, dy, x, w, mean, r, sums, dx, s, add)
                : GPU_LAUNCH(g, (dx_kernel<1>), blocks, GPU_THREADS, 0, dy, x, w, mean, r, sums, dx, s, add);
}
