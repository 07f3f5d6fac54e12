/* batchnorm.cu - see batchnorm.c. Sums over rows: 32 threads side by side own columns, 8 lines of them take turns at
 * the rows of a chunk (chunks.h), and the chunks are joined by a second launch. Statistics by Welford's update, joined
 * as in Chan, Golub & LeVeque 1979, so that memory is read once and nothing cancels. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_sum.cuh"
extern "C" {
#include "kernels/ops.h"
}

enum { LINES = 8 };

/* --- statistics --------------------------------------------------------------------------------------------------- */
/* Joins mean m and sum of squared deviations s of n values with those of more. */
static __device__ __forceinline__ void join(float *m, float *s, float *n, float bm, float bs, float bn) {
    if (bn == 0.0f) return;
    float part = bn / (*n + bn), d = bm - *m;
    *m += d * part, *s += bs + d * d * part * *n, *n += bn;
}
/* Joins the lines of a block into line 0; room for LINES * 32 each. */
static __device__ __forceinline__ void join_lines(float *m, float *s, float *n, float (*room)[3][32]) {
    float *mine = &room[threadIdx.y][0][threadIdx.x];
    mine[0] = *m, mine[32] = *s, mine[64] = *n;
    __syncthreads();
    for (int line = 1; threadIdx.y == 0 && line < LINES; line++) {
        const float *other = &room[line][0][threadIdx.x];
        join(m, s, n, other[0], other[32], other[64]);
    }
    __syncthreads();
}

/* part (chunks,2,C) = mean and sum of squared deviations per chunk; block (columns, chunk) */
template <int N> __global__ void batchnorm_moments(gpu_mem x, int64_t R, int64_t C, float *part) {
    GPU_SHARED(float, room, [LINES][3][32]);
    int64_t c = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N, end = gpu_chunk_begin(R, gridDim.y, blockIdx.y + 1);
    float m[N], s[N], v[N], n = 0.0f;
#pragma unroll
    for (int k = 0; k < N; k++) m[k] = s[k] = 0.0f;
    if (c < C)
        for (int64_t row = gpu_chunk_begin(R, gridDim.y, blockIdx.y) + threadIdx.y; row < end; row += LINES) {
            gpu_load<N>(x, row * C + c, v);
            n += 1.0f;
            float over = 1.0f / n;
#pragma unroll
            for (int k = 0; k < N; k++) {
                float d = v[k] - m[k];
                m[k] = fmaf(d, over, m[k]), s[k] = fmaf(d, v[k] - m[k], s[k]);
            }
        }
    float *to = part + (int64_t)blockIdx.y * 2 * C;
#pragma unroll
    for (int k = 0; k < N; k++) {
        float count = n;
        join_lines(&m[k], &s[k], &count, room);
        if (threadIdx.y == 0 && c < C) to[c + k] = m[k], to[C + c + k] = s[k];
    }
}
/* Joins the chunks. */
__global__ void batchnorm_moments_end(const float *part, int64_t R, int64_t C, int64_t chunks, float eps, float *mean,
                                      float *r, float *var) {
    GPU_SHARED(float, room, [LINES][3][32]);
    int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x;
    float m = 0.0f, s = 0.0f, n = 0.0f;
    for (int64_t k = threadIdx.y; k < chunks && c < C; k += LINES)
        join(&m, &s, &n, part[k * 2 * C + c], part[k * 2 * C + C + c],
             (float)(gpu_chunk_begin(R, chunks, k + 1) - gpu_chunk_begin(R, chunks, k)));
    join_lines(&m, &s, &n, room);
    if (threadIdx.y != 0 || c >= C) return;
    mean[c] = m, var[c] = s / (float)R, r[c] = 1.0f / sqrtf(s / (float)R + eps);
}
/* Given statistics */
__global__ void batchnorm_constants(const float *from_mean, const float *from_var, int64_t C, float eps, float *mean,
                                    float *r, float *var) {
    GPU_FOR(c, 1, C) mean[c] = from_mean[c], var[c] = from_var[c], r[c] = 1.0f / sqrtf(from_var[c] + eps);
}

/* --- y = act((x - mean) r w + b [+ residual]) --------------------------------------------------------------------- */
typedef struct {
    gpu_mem mean, r, w, b; /* f32, by column */
} columns;

template <int N>
__global__ void batchnorm_apply(gpu_mem x, gpu_mem residual, gpu_mem y, columns s, gpu_div C, int64_t n, bool relu) {
    GPU_FOR(i, N, n) {
        int64_t c;
        float v[N], t[N], u[N];
        gpu_divide(i, C, &c);
        gpu_load<N>(x, i, v);
        gpu_load<N>(s.mean, c, t);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] -= t[k];
        gpu_load<N>(s.r, c, t);
        gpu_load<N>(s.w, c, u);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] *= t[k] * u[k];
        gpu_load<N>(s.b, c, t);
        if (residual.p) gpu_load<N>(residual, i, u);
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] += t[k] + (residual.p ? u[k] : 0.0f);
            v[k] = relu && v[k] < 0.0f ? 0.0f : v[k]; /* keeps NaN */
        }
        gpu_store<N>(y, i, v, false);
    }
}

static gpu_mem f32_at(void *p) {
    gpu_mem m = { p, VM_F32 };
    return m;
}
static bool columns_wide(columns s, int64_t C) { return C % 8 == 0 && gpu_wide(s.mean, s.r) && gpu_wide(s.w, s.b); }

extern "C" vm_status batchnorm_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]);
    gpu_mem x = gpu_in(g, n, 0), residual = gpu_in(g, n, 5), y = gpu_out(g, n, 0);
    float *mean = (float *)vm_o(g, n, 1), *r = (float *)vm_o(g, n, 2), *var = (float *)vm_o(g, n, 3),
          eps = (float)n->f[0];
    columns s = { f32_at(mean), f32_at(r), gpu_in(g, n, 1), gpu_in(g, n, 2) };
    vm_status st;
    if (C == 0) return VM_OK;
    if (n->i[2]) {
        int64_t chunks = g->v[n->out[4]].ne[0];
        float *part = (float *)vm_o(g, n, 4);
        bool wide = C % 4 == 0 && gpu_on16(x.p);
        dim3 block(32, LINES), grid(gpu_blocks(C, wide ? 128 : 32), (unsigned)chunks);
        st = wide ? GPU_LAUNCH(g, batchnorm_moments<4>, grid, block, 0, x, R, C, part)
                  : GPU_LAUNCH(g, batchnorm_moments<1>, grid, block, 0, x, R, C, part);
        if (!st)
            st = GPU_LAUNCH(g, batchnorm_moments_end, gpu_blocks(C, 32), block, 0, (const float *)part, R, C, chunks,
                            eps, mean, r, var);
    } else {
        st = GPU_LAUNCH(g, batchnorm_constants, gpu_grid(g, C, GPU_THREADS), GPU_THREADS, 0,
                        (const float *)vm_in(g, n, 3), (const float *)vm_in(g, n, 4), C, eps, mean, r, var);
    }
    if (st || R == 0) return st;
    return GPU_EACH(g, batchnorm_apply, columns_wide(s, C) && gpu_wide3(x, residual, y), R * C, x, residual, y, s,
                    gpu_div_by(C), R * C, n->i[1] == VM_RELU);
}

/* --- backward ----------------------------------------------------------------------------------------------------- */
typedef struct {
    gpu_mem dy, x, y; /* y NULL without ReLU */
} sources;

/* gr = the part of dy that passes the ReLU, h = (x - mean) r */
template <int N> static __device__ __forceinline__ void load(const sources &s, const columns &cols, int64_t at,
                                                             int64_t c, float *gr, float *h) {
    float t[N];
    gpu_load<N>(s.dy, at, gr);
    if (s.y.p) {
        gpu_load<N>(s.y, at, t);
#pragma unroll
        for (int k = 0; k < N; k++) gr[k] = t[k] > 0.0f ? gr[k] : 0.0f;
    }
    gpu_load<N>(s.x, at, h);
    gpu_load<N>(cols.mean, c, t);
#pragma unroll
    for (int k = 0; k < N; k++) h[k] -= t[k];
    gpu_load<N>(cols.r, c, t);
#pragma unroll
    for (int k = 0; k < N; k++) h[k] *= t[k];
}

/* part (chunks,2,C) = sums of g h and of g per chunk; block (columns, chunk) */
template <int N> __global__ void batchnorm_back_sums(sources s, columns cols, int64_t R, int64_t C, float *part) {
    GPU_SHARED(float, room, [LINES][2 * N][32]);
    int64_t c = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N, end = gpu_chunk_begin(R, gridDim.y, blockIdx.y + 1);
    float pw[N], pb[N], gr[N], h[N];
#pragma unroll
    for (int k = 0; k < N; k++) pw[k] = pb[k] = 0.0f;
    if (c < C)
        for (int64_t row = gpu_chunk_begin(R, gridDim.y, blockIdx.y) + threadIdx.y; row < end; row += LINES) {
            load<N>(s, cols, row * C + c, c, gr, h);
#pragma unroll
            for (int k = 0; k < N; k++) pw[k] = fmaf(gr[k], h[k], pw[k]), pb[k] += gr[k];
        }
#pragma unroll
    for (int k = 0; k < N; k++)
        room[threadIdx.y][k][threadIdx.x] = pw[k], room[threadIdx.y][N + k][threadIdx.x] = pb[k];
    __syncthreads();
    if (threadIdx.y != 0 || c >= C) return;
    for (int line = 1; line < LINES; line++)
#pragma unroll
        for (int k = 0; k < N; k++) pw[k] += room[line][k][threadIdx.x], pb[k] += room[line][N + k][threadIdx.x];
    gpu_mem to = { part + (int64_t)blockIdx.y * 2 * C, VM_F32 };
    gpu_store<N>(to, c, pw, false);
    gpu_store<N>(to, C + c, pb, false);
}
/* dw, db = [themselves +] the sums over chunks, which replace those of the first: dx needs them without what they add
 * to. */
__global__ void batchnorm_back_sums_end(float *part, int64_t C, int64_t chunks, float *dw, float *db, bool add_w,
                                        bool add_b) {
    GPU_SHARED(float, room, [LINES][2][32]);
    int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x;
    float pw = 0.0f, pb = 0.0f;
    for (int64_t k = threadIdx.y; k < chunks && c < C; k += LINES)
        pw += part[k * 2 * C + c], pb += part[k * 2 * C + C + c];
    room[threadIdx.y][0][threadIdx.x] = pw, room[threadIdx.y][1][threadIdx.x] = pb;
    __syncthreads();
    if (threadIdx.y != 0 || c >= C) return;
    for (int line = 1; line < LINES; line++) pw += room[line][0][threadIdx.x], pb += room[line][1][threadIdx.x];
    if (chunks) part[c] = pw, part[C + c] = pb;
    dw[c] = pw + (add_w ? dw[c] : 0.0f), db[c] = pb + (add_b ? db[c] : 0.0f);
}
/* dx = w r (g - over (sum g + h sum g h)), and g itself for the residual */
template <int N> __global__ void batchnorm_back_dx(sources s, columns cols, gpu_mem sums, gpu_mem dx, gpu_mem dres,
                                                   gpu_div C, int64_t n, float over, bool add, bool add_res) {
    GPU_FOR(i, N, n) {
        int64_t c;
        float gr[N], h[N], t[N], u[N];
        gpu_divide(i, C, &c);
        load<N>(s, cols, i, c, gr, h);
        if (over != 0.0f) {
            gpu_load<N>(sums, c, t);
            gpu_load<N>(sums, C.d + c, u);
        }
#pragma unroll
        for (int k = 0; k < N; k++) h[k] = over != 0.0f ? gr[k] - over * (u[k] + h[k] * t[k]) : gr[k];
        gpu_load<N>(cols.w, c, t);
        gpu_load<N>(cols.r, c, u);
#pragma unroll
        for (int k = 0; k < N; k++) h[k] *= t[k] * u[k];
        gpu_store<N>(dx, i, h, add);
        if (dres.p) gpu_store<N>(dres, i, gr, add_res);
    }
}

extern "C" vm_status batchnorm_back_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), C = vm_cols(g, n->in[1]), chunks = g->v[n->out[3]].ne[0];
    sources s = { gpu_in(g, n, 0), gpu_in(g, n, 1), gpu_in(g, n, 5) };
    gpu_mem dx = gpu_out(g, n, 0), part = gpu_out(g, n, 3), dres = { NULL, VM_F32 };
    columns cols = { gpu_in(g, n, 3), gpu_in(g, n, 4), gpu_in(g, n, 2), gpu_in(g, n, 2) };
    if (n->i[2]) dres = gpu_out(g, n, 4);
    bool wide = columns_wide(cols, C) && gpu_wide3(s.dy, s.x, s.y) && gpu_wide3(dx, dres, part);
    dim3 block(32, LINES), grid(gpu_blocks(C, wide ? 128 : 32), (unsigned)chunks);
    vm_status st = VM_OK;
    if (C == 0) return VM_OK;
    if (chunks)
        st = wide ? GPU_LAUNCH(g, batchnorm_back_sums<4>, grid, block, 0, s, cols, R, C, (float *)part.p)
                  : GPU_LAUNCH(g, batchnorm_back_sums<1>, grid, block, 0, s, cols, R, C, (float *)part.p);
    if (!st)
        st = GPU_LAUNCH(g, batchnorm_back_sums_end, gpu_blocks(C, 32), block, 0, (float *)part.p, C, chunks,
                        (float *)vm_o(g, n, 1), (float *)vm_o(g, n, 2), vm_adds(g, n, 1), vm_adds(g, n, 2));
    if (st || R == 0) return st;
    return GPU_EACH(g, batchnorm_back_dx, wide, R * C, s, cols, part, dx, dres, gpu_div_by(C), R * C,
                    n->i[1] ? 1.0f / (float)R : 0.0f, vm_adds(g, n, 0), n->i[2] && vm_adds(g, n, 4));
}

/* --- running statistics, folding ---------------------------------------------------------------------------------- */
/* One block: whether all numbers are finite decides about all. */
__global__ void batchnorm_running(const float *mean, const float *var, float *to_mean, float *to_var, float *count,
                                  int64_t C, float m, float unbiased) {
    bool bad = false;
    for (int64_t c = threadIdx.x; c < C; c += GPU_THREADS)
        bad |= !(fabsf(mean[c]) < INFINITY) || !(fabsf(var[c]) < INFINITY);
    if (__syncthreads_or(bad)) return;
    for (int64_t c = threadIdx.x; c < C; c += GPU_THREADS) {
        to_mean[c] += m * (mean[c] - to_mean[c]);
        to_var[c] += m * (var[c] * unbiased - to_var[c]);
    }
    if (threadIdx.x == 0) count[0] += 1.0f;
}
extern "C" vm_status running_stats_cuda(vm_graph *g, vm_node *n) {
    return GPU_LAUNCH(g, batchnorm_running, 1, GPU_THREADS, 0, (const float *)vm_in(g, n, 0),
                      (const float *)vm_in(g, n, 1), (float *)vm_in(g, n, 2), (float *)vm_in(g, n, 3),
                      (float *)vm_in(g, n, 4), vm_count(g, n->in[0]), (float)n->f[0],
                      (float)n->i[0] / (float)(n->i[0] - 1));
}

typedef struct {
    const float *w, *scale, *b, *mean, *var;
    float *to_w, *to_b;
} folding;
__global__ void batchnorm_fold_kernel(folding f, gpu_div K, int64_t n, float eps) {
    GPU_FOR(i, 1, n) {
        int64_t k, row = gpu_divide(i, K, &k);
        float s = f.scale[row] / sqrtf(f.var[row] + eps);
        f.to_w[i] = s * f.w[i];
        if (k == 0) f.to_b[row] = f.b[row] - f.mean[row] * s;
    }
}
extern "C" vm_status batchnorm_fold_cuda(vm_graph *g, vm_node *n) {
    const vm_folded *to = (const vm_folded *)n->ptr;
    int64_t N = vm_count(g, n->in[0]);
    folding f = { (const float *)vm_in(g, n, 0), (const float *)vm_in(g, n, 1), (const float *)vm_in(g, n, 2),
                  (const float *)vm_in(g, n, 3), (const float *)vm_in(g, n, 4), (float *)to->w->data,
                  (float *)to->b->data };
    if (!N) return VM_OK;
    return GPU_LAUNCH(g, batchnorm_fold_kernel, gpu_grid(g, N, GPU_THREADS), GPU_THREADS, 0, f,
                      gpu_div_by(vm_cols(g, n->in[0])), N, (float)n->f[0]);
}
