/* norm.cu - see norm.c. A warp has a row of up to 1024 columns, a block of 8 warps one of up to 8192: each thread
 * holds 32 values of it in registers between the passes, so that memory is read once ("held"). Longer rows, and rows
 * that do not lie in vectors, are read again in each pass ("read again"), mostly from a cache.
 *
 * Backward, a block has a chunk of the rows (chunks.h); its dw and db stay in registers until the last row. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_sum.cuh"

enum { N = 8, HELD = 4, WARP_MAX = 32 * N * HELD, BLOCK_WARPS = 8, BLOCK_MAX = BLOCK_WARPS * WARP_MAX, LINES = 8 };

/* Sum over the threads that share a row. */
template <int WARPS> static __device__ __forceinline__ float row_sum(float x, float *room) {
    return WARPS == 1 ? warp_sum(x) : block_sum(x, room);
}

/* --- layernorm, rmsnorm ------------------------------------------------------------------------------------------- */
typedef struct {
    gpu_mem x, w, b, y;
    float *mean, *r;
    int64_t R, C;
    float eps;
    bool centre;
} rows;

/* y = (x - mean) r w + b of M columns from c on; w and b may be missing */
template <int M>
static __device__ __forceinline__ void affine(const rows &s, int64_t at, int64_t c, float mean, float r, float *x) {
    float w[M], b[M];
    if (s.w.p) gpu_load<M>(s.w, c, w);
    if (s.b.p) gpu_load<M>(s.b, c, b);
#pragma unroll
    for (int k = 0; k < M; k++) x[k] = (x[k] - mean) * r * (s.w.p ? w[k] : 1.0f) + (s.b.p ? b[k] : 0.0f);
    gpu_store<M>(s.y, at + c, x, false);
}

/* blocks of (32, rows) or (32 WARPS, 1) */
template <int WARPS> __global__ void norm_held(rows s) {
    GPU_SHARED(float, room, [33]);
    for (int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; row < s.R;
         row += (int64_t)gridDim.x * blockDim.y) {
        float x[HELD][N], mean = 0.0f, sq = 0.0f;
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
#pragma unroll
            for (int k = 0; k < N; k++) x[j][k] = 0.0f;
            if (c < s.C) gpu_load<N>(s.x, row * s.C + c, x[j]);
#pragma unroll
            for (int k = 0; k < N; k++) mean += x[j][k];
        }
        mean = s.centre ? row_sum<WARPS>(mean, room) / (float)s.C : 0.0f;
#pragma unroll
        for (int j = 0; j < HELD; j++)
            if ((j * WARPS * 32 + threadIdx.x) * N < s.C)
#pragma unroll
                for (int k = 0; k < N; k++) sq += (x[j][k] - mean) * (x[j][k] - mean);
        float r = 1.0f / sqrtf(row_sum<WARPS>(sq, room) / (float)s.C + s.eps);
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
            if (c < s.C) affine<N>(s, row * s.C, c, mean, r, x[j]);
        }
        if (threadIdx.x == 0) s.mean[row] = mean, s.r[row] = r;
    }
}
template <int WARPS, int M> __global__ void norm_read_again(rows s) {
    GPU_SHARED(float, room, [33]);
    for (int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; row < s.R;
         row += (int64_t)gridDim.x * blockDim.y) {
        int64_t at = row * s.C, first = threadIdx.x * M, step = WARPS * 32 * M;
        float x[M], mean = 0.0f, sq = 0.0f;
        for (int64_t c = first; s.centre && c < s.C; c += step) {
            gpu_load<M>(s.x, at + c, x);
#pragma unroll
            for (int k = 0; k < M; k++) mean += x[k];
        }
        mean = s.centre ? row_sum<WARPS>(mean, room) / (float)s.C : 0.0f;
        for (int64_t c = first; c < s.C; c += step) {
            gpu_load<M>(s.x, at + c, x);
#pragma unroll
            for (int k = 0; k < M; k++) sq += (x[k] - mean) * (x[k] - mean);
        }
        float r = 1.0f / sqrtf(row_sum<WARPS>(sq, room) / (float)s.C + s.eps);
        for (int64_t c = first; c < s.C; c += step) {
            gpu_load<M>(s.x, at + c, x);
            affine<M>(s, at, c, mean, r, x);
        }
        if (threadIdx.x == 0) s.mean[row] = mean, s.r[row] = r;
    }
}

extern "C" vm_status norm_cuda(vm_graph *g, vm_node *n) {
    rows s = { gpu_in(g, n, 0),      gpu_in(g, n, 1),        gpu_in(g, n, 2),
               gpu_out(g, n, 0),     (float *)vm_o(g, n, 1), (float *)vm_o(g, n, 2),
               vm_rows(g, n->in[0]), vm_cols(g, n->in[0]),   (float)n->f[0],
               n->i[1] != 0 };
    dim3 warp(32, 4), block(32 * BLOCK_WARPS);
    bool wide = s.C % N == 0 && gpu_wide3(s.x, s.w, s.b) && gpu_on16(s.y.p);
    if (s.R * s.C == 0) return VM_OK;
    if (wide && s.C <= WARP_MAX) return GPU_LAUNCH(g, norm_held<1>, gpu_grid(g, s.R, 4), warp, 0, s);
    if (wide && s.C <= BLOCK_MAX) return GPU_LAUNCH(g, norm_held<BLOCK_WARPS>, gpu_grid(g, s.R, 1), block, 0, s);
    if (s.C <= WARP_MAX) return GPU_LAUNCH(g, (norm_read_again<1, 1>), gpu_grid(g, s.R, 4), warp, 0, s);
    if (wide) return GPU_LAUNCH(g, (norm_read_again<BLOCK_WARPS, N>), gpu_grid(g, s.R, 1), block, 0, s);
    return GPU_LAUNCH(g, (norm_read_again<BLOCK_WARPS, 1>), gpu_grid(g, s.R, 1), block, 0, s);
}

/* --- their gradients ---------------------------------------------------------------------------------------------- */
typedef struct {
    gpu_mem dy, x, w, dx;
    const float *mean, *r;
    float *part; /* dw, db per chunk; NULL = not asked for */
    int64_t R, C, chunks;
    bool centre, add;
} back_rows;

/* One block per chunk, of (32, LINES) or (32 WARPS, 1). h = (x - mean) r, d = dy. A loop for each tensor: the compiler makes
 * a copy of a loop for every type that is read in it. */
template <int WARPS> __global__ void __launch_bounds__(GPU_THREADS) norm_back_held(back_rows s) {
    GPU_SHARED(float, room, [33]);
    GPU_SHARED(float, sums, [WARPS == 1 ? 2 * WARP_MAX : 1]);
    float dw[HELD][N], db[HELD][N];
    int64_t end = gpu_chunk_begin(s.R, s.chunks, blockIdx.x + 1);
#pragma unroll
    for (int j = 0; j < HELD; j++)
#pragma unroll
        for (int k = 0; k < N; k++) dw[j][k] = db[j][k] = 0.0f;
    for (int64_t row = gpu_chunk_begin(s.R, s.chunks, blockIdx.x) + threadIdx.y; row < end; row += blockDim.y) {
        float h[HELD][N], d[HELD][N], w[N], mean = s.mean[row], r = s.r[row], mg = 0.0f, mgh = 0.0f;
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
            if (c < s.C) gpu_load<N>(s.x, row * s.C + c, h[j]);
        }
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
            if (c < s.C) gpu_load<N>(s.dy, row * s.C + c, d[j]);
        }
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
            if (c >= s.C) continue;
            if (s.w.p) gpu_load<N>(s.w, c, w);
#pragma unroll
            for (int k = 0; k < N; k++) {
                float g = s.w.p ? d[j][k] * w[k] : d[j][k];
                h[j][k] = (h[j][k] - mean) * r;
                mg += g, mgh = fmaf(g, h[j][k], mgh);
                dw[j][k] = fmaf(d[j][k], h[j][k], dw[j][k]), db[j][k] += d[j][k];
            }
        }
        mg = s.centre ? row_sum<WARPS>(mg, room) / (float)s.C : 0.0f;
        mgh = row_sum<WARPS>(mgh, room) / (float)s.C;
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
            if (c >= s.C) continue;
            if (s.w.p) gpu_load<N>(s.w, c, w);
#pragma unroll
            for (int k = 0; k < N; k++) d[j][k] = r * ((s.w.p ? d[j][k] * w[k] : d[j][k]) - mg - h[j][k] * mgh);
        }
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
            if (c < s.C) gpu_store<N>(s.dx, row * s.C + c, d[j], s.add);
        }
    }
    if (!s.part) return;
    float *part = s.part + (int64_t)blockIdx.x * 2 * s.C;
#pragma unroll 1
    for (int line = 0; WARPS == 1 && line < LINES; line++) { /* the warps add theirs in turn */
        if ((int)threadIdx.y == line)
#pragma unroll
            for (int j = 0; j < HELD; j++)
#pragma unroll
                for (int k = 0; k < N; k++) {
                    int at = (j * N + k) * 32 + threadIdx.x; /* beyond C: zeros */
                    sums[at] = dw[j][k] + (line ? sums[at] : 0.0f);
                    sums[WARP_MAX + at] = db[j][k] + (line ? sums[WARP_MAX + at] : 0.0f);
                    if (line == LINES - 1) dw[j][k] = sums[at], db[j][k] = sums[WARP_MAX + at];
                }
        __syncthreads();
    }
    if (WARPS == 1 && threadIdx.y != LINES - 1) return;
#pragma unroll
    for (int j = 0; j < HELD; j++) {
        gpu_mem to = { part, VM_F32 };
        int64_t c = (j * WARPS * 32 + threadIdx.x) * N;
        if (c >= s.C) continue;
        gpu_store<N>(to, c, dw[j], false);
        gpu_store<N>(to, s.C + c, db[j], false);
    }
}
/* A block of BLOCK_WARPS per chunk; each thread adds to its columns of the partial sums. */
__global__ void norm_back_read_again(back_rows s) {
    GPU_SHARED(float, room, [33]);
    float *pw = s.part ? s.part + (int64_t)blockIdx.x * 2 * s.C : NULL, *pb = pw ? pw + s.C : NULL;
    int64_t begin = gpu_chunk_begin(s.R, s.chunks, blockIdx.x), end = gpu_chunk_begin(s.R, s.chunks, blockIdx.x + 1);
    for (int64_t row = begin; row < end; row++) {
        float mean = s.mean[row], r = s.r[row], mg = 0.0f, mgh = 0.0f;
        for (int64_t c = threadIdx.x; c < s.C; c += 32 * BLOCK_WARPS) {
            float d = gpu_get(s.dy, row * s.C + c), h = (gpu_get(s.x, row * s.C + c) - mean) * r,
                  g = s.w.p ? d * gpu_get(s.w, c) : d;
            mg += g, mgh = fmaf(g, h, mgh);
            if (pw) pw[c] = (row > begin ? pw[c] : 0.0f) + d * h, pb[c] = (row > begin ? pb[c] : 0.0f) + d;
        }
        mg = s.centre ? block_sum(mg, room) / (float)s.C : 0.0f;
        mgh = block_sum(mgh, room) / (float)s.C;
        for (int64_t c = threadIdx.x; c < s.C; c += 32 * BLOCK_WARPS) {
            float d = gpu_get(s.dy, row * s.C + c), h = (gpu_get(s.x, row * s.C + c) - mean) * r,
                  g = s.w.p ? d * gpu_get(s.w, c) : d;
            float v = r * (g - mg - h * mgh);
            gpu_store<1>(s.dx, row * s.C + c, &v, s.add);
        }
    }
}

extern "C" vm_status norm_back_cuda(vm_graph *g, vm_node *n) {
    float *part = (float *)vm_o(g, n, 3);
    back_rows s = { gpu_in(g, n, 0),
                    gpu_in(g, n, 1),
                    gpu_in(g, n, 2),
                    gpu_out(g, n, 0),
                    (const float *)vm_in(g, n, 3),
                    (const float *)vm_in(g, n, 4),
                    n->i[2] ? part : NULL,
                    vm_rows(g, n->in[1]),
                    vm_cols(g, n->in[1]),
                    g->v[n->out[3]].ne[0],
                    n->i[1] != 0,
                    vm_adds(g, n, 0) };
    bool wide = s.C % N == 0 && gpu_wide3(s.dy, s.x, s.w) && gpu_on16(s.dx.p) && gpu_on16(part);
    vm_status st = VM_OK;
    if (s.C == 0) return VM_OK;
    if (s.R == 0) st = VM_OK;
    else if (wide && s.C <= WARP_MAX) st = GPU_LAUNCH(g, norm_back_held<1>, (unsigned)s.chunks, dim3(32, LINES), 0, s);
    else if (wide && s.C <= BLOCK_MAX)
        st = GPU_LAUNCH(g, norm_back_held<BLOCK_WARPS>, (unsigned)s.chunks, 32 * BLOCK_WARPS, 0, s);
    else st = GPU_LAUNCH(g, norm_back_read_again, (unsigned)s.chunks, 32 * BLOCK_WARPS, 0, s);
    if (st || !n->i[2]) return st;
    st = gpu_sum_chunks(g, part, s.chunks, 2 * s.C, s.C, vm_o(g, n, 1), vm_adds(g, n, 1));
    return st ? st : gpu_sum_chunks(g, part + s.C, s.chunks, 2 * s.C, s.C, vm_o(g, n, 2), vm_adds(g, n, 2));
}

/* --- l2norm: a warp per row --------------------------------------------------------------------------------------- */
template <int M> __global__ void l2norm_kernel(gpu_mem x, gpu_mem y, float *norms, int64_t R, int64_t C, float eps) {
    for (int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; row < R;
         row += (int64_t)gridDim.x * blockDim.y) {
        float v[M], sq = 0.0f;
        for (int64_t c = threadIdx.x * M; c < C; c += 32 * M) {
            gpu_load<M>(x, row * C + c, v);
#pragma unroll
            for (int k = 0; k < M; k++) sq = fmaf(v[k], v[k], sq);
        }
        float norm = sqrtf(warp_sum(sq)), scale = 1.0f / (norm > eps ? norm : eps);
        if (threadIdx.x == 0) norms[row] = norm;
        for (int64_t c = threadIdx.x * M; c < C; c += 32 * M) {
            gpu_load<M>(x, row * C + c, v);
#pragma unroll
            for (int k = 0; k < M; k++) v[k] *= scale;
            gpu_store<M>(y, row * C + c, v, false);
        }
    }
}
template <int M> __global__ void l2norm_back_kernel(gpu_mem dy, gpu_mem y, const float *norms, gpu_mem dx, int64_t R,
                                                    int64_t C, float eps, bool add) {
    for (int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; row < R;
         row += (int64_t)gridDim.x * blockDim.y) {
        float d[M], v[M], dot = 0.0f, norm = norms[row];
        for (int64_t c = threadIdx.x * M; c < C; c += 32 * M) {
            gpu_load<M>(dy, row * C + c, d);
            gpu_load<M>(y, row * C + c, v);
#pragma unroll
            for (int k = 0; k < M; k++) dot = fmaf(d[k], v[k], dot);
        }
        dot = warp_sum(dot);
        if (norm <= eps && eps > 0.0f) dot = 0.0f, norm = eps;
        float scale = 1.0f / norm;
        for (int64_t c = threadIdx.x * M; c < C; c += 32 * M) {
            gpu_load<M>(dy, row * C + c, d);
            gpu_load<M>(y, row * C + c, v);
#pragma unroll
            for (int k = 0; k < M; k++) d[k] = (d[k] - v[k] * dot) * scale;
            gpu_store<M>(dx, row * C + c, d, add);
        }
    }
}
extern "C" vm_status l2norm_cuda(vm_graph *g, vm_node *n) {
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]);
    float *norms = (float *)vm_o(g, n, 1), eps = (float)n->f[0];
    if (R == 0) return VM_OK;
    return C % N == 0 && gpu_wide(x, y)
               ? GPU_LAUNCH(g, l2norm_kernel<N>, gpu_grid(g, R, 4), dim3(32, 4), 0, x, y, norms, R, C, eps)
               : GPU_LAUNCH(g, l2norm_kernel<1>, gpu_grid(g, R, 4), dim3(32, 4), 0, x, y, norms, R, C, eps);
}
extern "C" vm_status l2norm_back_cuda(vm_graph *g, vm_node *n) {
    gpu_mem dy = gpu_in(g, n, 0), y = gpu_in(g, n, 1), dx = gpu_out(g, n, 0);
    int64_t R = vm_rows(g, n->in[1]), C = vm_cols(g, n->in[1]);
    const float *norms = (const float *)vm_in(g, n, 2);
    float eps = (float)n->f[0];
    bool add = vm_adds(g, n, 0);
    if (R * C == 0) return VM_OK;
    return C % N == 0 && gpu_wide3(dy, y, dx) ? GPU_LAUNCH(g, l2norm_back_kernel<N>, gpu_grid(g, R, 4), dim3(32, 4), 0,
                                                           dy, y, norms, dx, R, C, eps, add)
                                              : GPU_LAUNCH(g, l2norm_back_kernel<1>, gpu_grid(g, R, 4), dim3(32, 4), 0,
                                                           dy, y, norms, dx, R, C, eps, add);
}
