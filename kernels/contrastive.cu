/* contrastive.cu - losses of all queries against all keys on the GPU (formulas and rules: contrastive.c).
 *
 * A block of 256 threads makes tiles of 64 x 64 logits, 4 x 4 a thread, which never leave the chip. Forward: 64
 * queries a block, over a part of the keys; a thread keeps maximum and sum of its own columns, threads and parts are
 * combined in their order. Backward: one kernel owns 64 queries and walks over the keys for dq, one owns 64 keys and
 * walks over the queries for dk; a tile is turned into G in shared memory and multiplied with 64 columns of the
 * other side at a time, onto the block's own rows in memory: no atomics. Bound by f32 arithmetic (8 M N E backward,
 * as logits are made twice). */
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/contrastive.h"
#include "kernels/ops.h"
}

enum { TILE = 64, STEP = 16, LDT = TILE + 4 };

typedef struct {
    const float *q, *k, *s, *pos; /* pos: (M), or the bias of the sigmoid loss */
    const int32_t *hide;
    int64_t M, N, E;
    int target;
    bool sigmoid, per_cell;
    int splits;
    float *room;                  /* forward: parts [splits][M][2], then the targets' logits [M] */
    float *loss, *max, *log_sum, *kept;
    const float *dloss;
    float *dq, *dk, *ds,
        *dpos; /* backward; room: dots of the targets [M], then <G,x> and sum of G of every row [M][2] */
    bool add[4];
} job;

__device__ __forceinline__ bool self(const job &j) { return j.sigmoid || j.target == VM_TARGET_SELF; }
static __device__ __forceinline__ bool kept_row(const job &j, int64_t i) {
    return !self(j) || !j.hide || j.hide[i] >= 0;
}
/* Whether column c of a kept row i is in its sum. */
__device__ __forceinline__ bool seen(const job &j, int64_t i, int64_t c) {
    if (!j.hide || (self(j) && c == i)) return true;
    return j.hide[c] >= 0 && (!self(j) || j.hide[c] != j.hide[i]);
}

/* to [STEP][LDT] = columns e0 .. e0 + STEP of 64 rows of x, transposed; zeros outside. */
__device__ __forceinline__ void load_turned(float *to, const float *x, int64_t r0, int64_t R, int64_t e0, int64_t E) {
    int r = threadIdx.x / 4, e = threadIdx.x % 4 * 4;
#pragma unroll
    for (int c = 0; c < 4; c++)
        to[(e + c) * LDT + r] = r0 + r < R && e0 + e + c < E ? x[(r0 + r) * E + e0 + e + c] : 0.0f;
}
/* acc [a][b] += sum over n steps of A[k][4 ty + a] B[k][4 tx + b] */
__device__ __forceinline__ void multiply(float (*acc)[4], const float *A, const float *B, int n) {
    const float *a = A + threadIdx.x / 16 * 4, *b = B + threadIdx.x % 16 * 4;
#pragma unroll 4
    for (int k = 0; k < n; k++) {
        vec<float, 4> u = ld_vec<4>(a + k * LDT), v = ld_vec<4>(b + k * LDT);
#pragma unroll
        for (int x = 0; x < 4; x++)
#pragma unroll
            for (int y = 0; y < 4; y++) acc[x][y] = fmaf(u.v[x], v.v[y], acc[x][y]);
    }
}
/* dot [a][b] = <row r0 + 4 ty + a of x, row c0 + 4 tx + b of y> */
__device__ __forceinline__ void dots(float (*dot)[4], const float *x, int64_t r0, int64_t R, const float *y, int64_t c0,
                                     int64_t C, int64_t E, float *A, float *B) {
#pragma unroll
    for (int a = 0; a < 4; a++) dot[a][0] = dot[a][1] = dot[a][2] = dot[a][3] = 0.0f;
    for (int64_t e = 0; e < E; e += STEP) {
        load_turned(A, x, r0, R, e, E);
        load_turned(B, y, c0, C, e, E);
        __syncthreads();
        multiply(dot, A, B, STEP);
        __syncthreads();
    }
}
/* Sum over the 16 threads of a row of the tile; the same in each. */
__device__ __forceinline__ float row_total(float x) {
#pragma unroll
    for (int o = 8; o; o >>= 1) x += __shfl_xor_sync(GPU_ALL, x, o);
    return x;
}
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

/* --- forward ------------------------------------------------------------------------------------------------------ */
__global__ void __launch_bounds__(GPU_THREADS) rows_kernel(job j) {
    GPU_SHARED(float, A, [STEP * LDT]);
    GPU_SHARED(float, B, [STEP * LDT]);
    int64_t r0 = (int64_t)(blockIdx.x / (unsigned)j.splits) * TILE, tiles = (j.N + TILE - 1) / TILE;
    int64_t split = blockIdx.x % (unsigned)j.splits, share = (tiles + j.splits - 1) / j.splits;
    int64_t begin = split * share, end = begin + share < tiles ? begin + share : tiles;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    float s = *j.s, bias = j.sigmoid ? *j.pos : 0.0f;
    float m[4] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY },
          l[4] = { 0, 0, 0, 0 }; /* sigmoid: number and sum of cells */
    if (j.sigmoid) m[0] = m[1] = m[2] = m[3] = 0.0f;
    for (int64_t it = begin; it < end; it++) {
        float dot[4][4];
        dots(dot, j.q, r0, j.M, j.k, it * TILE, j.N, j.E, A, B);
#pragma unroll
        for (int a = 0; a < 4; a++) {
            int64_t i = r0 + ty * 4 + a, c0 = it * TILE + tx * 4;
            float x[4], largest = m[a];
            if (i >= j.M || !kept_row(j, i)) continue;
#pragma unroll
            for (int b = 0; b < 4; b++) {
                x[b] = c0 + b < j.N && seen(j, i, c0 + b) ? s * dot[a][b] : -INFINITY;
                largest = fmaxf(largest, x[b]);
                if (!j.sigmoid && j.target != VM_TARGET_POSITIVE && c0 + b == (self(j) ? i : 0))
                    j.room[(int64_t)j.splits * j.M * 2 + i] = x[b];
            }
            if (j.sigmoid) {
#pragma unroll
                for (int b = 0; b < 4; b++)
                    if (x[b] != -INFINITY) m[a] += 1.0f, l[a] += softplus(c0 + b == i ? -(x[b] + bias) : x[b] + bias);
                continue;
            }
            float base = largest == -INFINITY ? 0.0f : largest;
            l[a] *= expf(m[a] - base);
#pragma unroll
            for (int b = 0; b < 4; b++) l[a] += expf(x[b] - base);
            m[a] = largest;
        }
    }
#pragma unroll
    for (int a = 0; a < 4; a++) {
        int64_t i = r0 + ty * 4 + a;
        float largest = m[a];
        if (j.sigmoid) {
            largest = row_total(m[a]), l[a] = row_total(l[a]);
        } else {
#pragma unroll
            for (int o = 8; o; o >>= 1) largest = fmaxf(largest, __shfl_xor_sync(GPU_ALL, largest, o));
            l[a] = row_total(l[a] * expf((m[a] == -INFINITY ? 0.0f : m[a]) - (largest == -INFINITY ? 0.0f : largest)));
        }
        if (i < j.M && tx == 0) j.room[(split * j.M + i) * 2] = largest, j.room[(split * j.M + i) * 2 + 1] = l[a];
    }
}

/* One block: parts of rows to rows, rows to the loss, summed in double in an order that depends on M alone. */
__global__ void loss_kernel(job j) {
    GPU_SHARED(double, sum, [GPU_THREADS]);
    GPU_SHARED(double, count, [GPU_THREADS]);
    double total = 0, n = 0;
    float s = *j.s;
    for (int64_t i = threadIdx.x; i < j.M; i += GPU_THREADS) {
        bool there = kept_row(j, i);
        if (!j.sigmoid) j.max[i] = j.log_sum[i] = 0.0f;
        if (!there) continue;
        float m = -INFINITY, l = 0, cells = 0, own = j.pos && !j.sigmoid ? s * j.pos[i] : -INFINITY;
        if (j.sigmoid) {
            for (int p = 0; p < j.splits; p++) cells += j.room[(p * j.M + i) * 2], l += j.room[(p * j.M + i) * 2 + 1];
            total += (double)l, n += j.per_cell ? (double)cells : cells > 0;
            continue;
        }
        for (int p = 0; p < j.splits; p++) m = fmaxf(m, j.room[(p * j.M + i) * 2]);
        m = fmaxf(m, own);
        if (m == -INFINITY) m = 0.0f;
        for (int p = 0; p < j.splits; p++) {
            float mp = j.room[(p * j.M + i) * 2];
            l += j.room[(p * j.M + i) * 2 + 1] * expf(mp - m);
        }
        if (j.pos) l += expf(own - m);
        j.max[i] = m, j.log_sum[i] = logf(l);
        float target = j.target == VM_TARGET_POSITIVE ? own : j.room[(int64_t)j.splits * j.M * 2 + i];
        total += (double)(m - target) + (double)logf(l); /* in this order: a small loss keeps its digits */
        n += 1;
    }
    sum[threadIdx.x] = total, count[threadIdx.x] = n;
    for (int half = GPU_THREADS / 2; half; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            sum[threadIdx.x] += sum[threadIdx.x + half], count[threadIdx.x] += count[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *j.loss = (float)(count[0] > 0 ? sum[0] / count[0] : 0), *j.kept = (float)count[0];
}

/* --- backward ----------------------------------------------------------------------------------------------------- */
__device__ __forceinline__ float per_row(const job &j) { return *j.kept > 0 ? *j.dloss / *j.kept : 0.0f; }

/* The target's dot product of every row, one warp each: what <G,x> is taken relative to. */
__global__ void targets_kernel(job j) {
    int64_t i = (int64_t)blockIdx.x * (GPU_THREADS / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (i >= j.M) return;
    const float *q = j.q + i * j.E, *k = j.k + (self(j) ? i : 0) * j.E;
    float sum = 0;
    if (j.target == VM_TARGET_POSITIVE) sum = lane == 0 ? j.pos[i] : 0.0f;
    else
        for (int64_t e = lane; e < j.E; e += 32) sum = fmaf(q[e], k[e], sum);
    sum = warp_sum(sum);
    if (lane == 0) j.room[i] = sum;
}

/* G of one cell of a kept row, and what it adds to <G,x>. */
__device__ __forceinline__ float cell(const job &j, int64_t i, int64_t c, float dot, float s, float k, float *gx) {
    bool target = self(j) ? c == i : j.target == VM_TARGET_FIRST && c == 0;
    float G = 0;
    if (j.sigmoid) {
        float x = s * dot + *j.pos;
        if (seen(j, i, c)) G = c == i ? -k / (1.0f + expf(x)) : k / (1.0f + expf(-x));
        *gx = G * dot;
        return G;
    }
    if (seen(j, i, c)) G = k * expf(s * dot - j.max[i] - j.log_sum[i]);
    /* G sums to 0, so <G,x> = <G, x - x_t>, where the large products that cancel are gone */
    *gx = target ? 0.0f : G * (dot - j.room[i]);
    return target ? G - k : G;
}

/* KEYS: the block owns 64 keys and makes dk, walking over the queries; else queries, dq and the rows' sums, over the
 * keys. Three blocks of a multiprocessor have room for what they share; the assembler of sm_100 went for four of them and spilled. */
template <bool KEYS> __global__ void __launch_bounds__(GPU_THREADS, 3) spread_kernel(job j) {
    GPU_SHARED(float, A, [STEP * LDT]);
    GPU_SHARED(float, B, [STEP * LDT]);
    GPU_SHARED(float, G, [TILE * LDT]); /* [other row][own row] */
    GPU_SHARED(float, X, [TILE * LDT]); /* 64 columns of the other rows */
    const float *own = KEYS ? j.k : j.q, *other = KEYS ? j.q : j.k;
    int64_t R = KEYS ? j.N : j.M, C = KEYS ? j.M : j.N, r0 = (int64_t)blockIdx.x * TILE, tiles = (C + TILE - 1) / TILE;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    float *out = KEYS ? j.dk : j.dq, s = *j.s, k = per_row(j), gx[4] = { 0, 0, 0, 0 }, gb[4] = { 0, 0, 0, 0 };
    for (int64_t it = 0; it < (tiles ? tiles : 1); it++) { /* without others the gradient is 0 */
        float dot[4][4];
        dots(dot, own, r0, R, other, it * TILE, C, j.E, A, B);
#pragma unroll
        for (int a = 0; a < 4; a++)
#pragma unroll
            for (int b = 0; b < 4; b++) {
                int64_t r = r0 + ty * 4 + a, c = it * TILE + tx * 4 + b, query = KEYS ? c : r, key = KEYS ? r : c;
                float x = 0,
                      value = r < R && c < C && kept_row(j, query) ? cell(j, query, key, dot[a][b], s, k, &x) : 0.0f;
                gx[a] += x, gb[a] += value;
                G[(tx * 4 + b) * LDT + ty * 4 + a] = value * s;
            }
        for (int64_t e = 0; e < j.E; e += TILE) {
            float acc[4][4] = {};
            for (int x = threadIdx.x; x < TILE * TILE; x += GPU_THREADS) {
                int64_t c = it * TILE + x / TILE, col = e + x % TILE;
                X[x / TILE * LDT + x % TILE] = c < C && col < j.E ? other[c * j.E + col] : 0.0f;
            }
            __syncthreads();
            multiply(acc, G, X, TILE);
            bool add = it || j.add[KEYS];
#pragma unroll
            for (int a = 0; a < 4; a++)
#pragma unroll
                for (int b = 0; b < 4; b++) {
                    int64_t r = r0 + ty * 4 + a, col = e + tx * 4 + b;
                    if (r < R && col < j.E) out[r * j.E + col] = acc[a][b] + (add ? out[r * j.E + col] : 0.0f);
                }
            __syncthreads();
        }
    }
#pragma unroll
    for (int a = 0; a < 4 && !KEYS; a++) {
        int64_t r = r0 + ty * 4 + a;
        float x = row_total(gx[a]), b = row_total(gb[a]);
        if (r < R && tx == 0) j.room[j.M + r * 2] = x, j.room[j.M + r * 2 + 1] = b;
    }
}

/* One block: ds; dpos of every row, or the gradient of the bias. */
__global__ void contrastive_scale_kernel(job j) {
    GPU_SHARED(double, sum, [GPU_THREADS]);
    GPU_SHARED(double, shift, [GPU_THREADS]);
    double total = 0, all = 0;
    float s = *j.s, k = per_row(j);
    for (int64_t i = threadIdx.x; i < j.M; i += GPU_THREADS) {
        bool there = kept_row(j, i);
        float G = 0;
        if (there) total += (double)j.room[j.M + i * 2], all += (double)j.room[j.M + i * 2 + 1];
        if (there && !j.sigmoid && j.pos) {
            G = k * (expf(s * j.pos[i] - j.max[i] - j.log_sum[i]) - (j.target == VM_TARGET_POSITIVE ? 1.0f : 0.0f));
            total += (double)(G * (j.pos[i] - j.room[i]));
        }
        if (!j.sigmoid) j.dpos[i] = G * s + (j.add[3] ? j.dpos[i] : 0.0f);
    }
    sum[threadIdx.x] = total, shift[threadIdx.x] = all;
    for (int half = GPU_THREADS / 2; half; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            sum[threadIdx.x] += sum[threadIdx.x + half], shift[threadIdx.x] += shift[threadIdx.x + half];
    }
    if (threadIdx.x) return;
    *j.ds = (float)sum[0] + (j.add[2] ? *j.ds : 0.0f);
    if (j.sigmoid) *j.dpos = (float)shift[0] + (j.add[3] ? *j.dpos : 0.0f);
}

/* --- launchers ---------------------------------------------------------------------------------------------------- */
static job job_of(const vm_graph *g, const vm_node *n, bool sigmoid, int room) {
    job j = {};
    j.q = (const float *)vm_in(g, n, 0), j.k = (const float *)vm_in(g, n, 1), j.s = (const float *)vm_in(g, n, 2);
    j.hide = (const int32_t *)vm_in(g, n, 3), j.pos = (const float *)vm_in(g, n, 4);
    j.M = vm_dim(g, n->in[0], 0), j.N = vm_dim(g, n->in[1], 0), j.E = vm_dim(g, n->in[0], 1);
    j.sigmoid = sigmoid, j.target = (int)n->i[0], j.per_cell = n->i[1] != 0;
    j.splits = (int)vm_contrastive_splits(j.M, j.N), j.room = (float *)vm_o(g, n, room);
    return j;
}

static vm_status forward(vm_graph *g, const job *j) {
    unsigned blocks = gpu_blocks(j->M, TILE) * (unsigned)j->splits;
    vm_status s = blocks ? GPU_LAUNCH(g, rows_kernel, blocks, GPU_THREADS, 0, *j) : VM_OK;
    return s ? s : GPU_LAUNCH(g, loss_kernel, 1, GPU_THREADS, 0, *j);
}

static vm_status backward(vm_graph *g, vm_node *n, job *j) {
    vm_status s = VM_OK;
    j->dq = (float *)vm_o(g, n, 0), j->dk = (float *)vm_o(g, n, 1), j->ds = (float *)vm_o(g, n, 2),
    j->dpos = (float *)vm_o(g, n, 3);
    for (int k = 0; k < 4; k++) j->add[k] = vm_adds(g, n, k);
    if (j->M && !j->sigmoid) s = GPU_LAUNCH(g, targets_kernel, gpu_blocks(j->M, GPU_THREADS / 32), GPU_THREADS, 0, *j);
    if (!s && j->M) s = GPU_LAUNCH(g, spread_kernel<false>, gpu_blocks(j->M, TILE), GPU_THREADS, 0, *j);
    if (!s && j->N) s = GPU_LAUNCH(g, spread_kernel<true>, gpu_blocks(j->N, TILE), GPU_THREADS, 0, *j);
    return s ? s : GPU_LAUNCH(g, contrastive_scale_kernel, 1, GPU_THREADS, 0, *j);
}

extern "C" vm_status contrastive_cuda(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, false, 3);
    j.loss = (float *)vm_o(g, n, 0), j.max = (float *)vm_o(g, n, 1), j.log_sum = j.max + j.M,
    j.kept = (float *)vm_o(g, n, 2);
    return forward(g, &j);
}
extern "C" vm_status pair_sigmoid_cuda(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, true, 2);
    j.loss = (float *)vm_o(g, n, 0), j.kept = (float *)vm_o(g, n, 1);
    return forward(g, &j);
}
extern "C" vm_status contrastive_back_cuda(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, false, 4);
    j.dloss = (const float *)vm_in(g, n, 5), j.max = (float *)vm_in(g, n, 6), j.log_sum = j.max + j.M,
    j.kept = (float *)vm_in(g, n, 7);
    return backward(g, n, &j);
}
extern "C" vm_status pair_sigmoid_back_cuda(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, true, 4);
    j.dloss = (const float *)vm_in(g, n, 5), j.kept = (float *)vm_in(g, n, 6);
    return backward(g, n, &j);
}
