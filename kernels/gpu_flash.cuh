/* gpu_flash.cuh - what the attention kernels share: the call as kernels see it, tiles of rows in shared memory,
 * products of one warp, scores.
 *
 * A block has up to four warps; each owns 16 rows (queries, or keys where dK and dV are made), whose results stay in
 * its registers, and walks with the others over tiles of columns in shared memory, two of them in flight (cp.async).
 * All results of products lie as mma leaves them: lane L has rows g = L/4 and g + 8, columns t = 2 (L mod 4) and t +
 * 1 of every 8. bf16 and f16 multiply on tensor cores, f32 by fmaf with the same ownership, so that one kernel
 * serves all three. A row of a tile is padded by 16 bytes: its length is an odd number of 16 bytes, so 8 rows meet 8
 * different groups of banks. */
#ifndef VM_GPU_FLASH_CUH
#define VM_GPU_FLASH_CUH
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/attention.h"
}

#define FLASH_LOG2E 1.44269504088896340736f
#define FLASH_LN2 0.69314718055994530942f
/* Warps of a block; widest tiles of columns, forward and backward. */
enum { FLASH_WARPS = 4, FLASH_THREADS = 32 * FLASH_WARPS, FLASH_COLS = 64, FLASH_BACK_COLS = 32 };

/* Element c of token t of head h of sequence b is p[h*HS + (b*T + t)*row + c]; tokens beyond T are those of the next
 * heads. */
typedef struct {
    gpu_mem m;
    int64_t row;
    int T;
    bool fast;  /* of the kernel's own type, in whole pieces of 16 bytes */
    bool paged; /* token t stands in the pages of the call */
} flash_rows;

typedef struct {
    flash_rows q, k, v, y, dy, dq, dk, dv; /* dq, dk, dv: m.p is NULL where not wanted */
    float *lse, *delta;                    /* (B,NH,Tq) */
    float *part;                           /* results of splits, ATTN_SPLIT_KEYS in attention.h */
    float *dbias;
    const int32_t *mask, *lengths, *pages, *first; /* or NULL */
    const float *bias;                     /* or NULL */
    int64_t bias_b, bias_h;
    int B, Tq, Tk, NH, NKV, group, HS, HSp; /* HSp: HS rounded up to 16 */
    int window, n_pages, block, P;
    bool causal;
    float scale, cap;
    int heads;          /* query heads whose rows make one matrix: 1, or group where queries are few */
    int rows, tiles;    /* rows of that matrix, their tiles */
    int splits;         /* parts of the keys */
    int chunks, cols;   /* parts of the columns of results, their width */
    int bn, stages;     /* columns of a tile, tiles in flight */
    int maps_b, maps_h; /* dbias: sequences and heads that one entry was broadcast over */
    vm_gpu_block *fault;
    int node;
} flash;

/* --- which keys a query sees -------------------------------------------------------------------------------------- */
__device__ __forceinline__ int flash_clamp(int x, int lo, int hi) { return x < lo ? lo : x > hi ? hi : x; }
__device__ __forceinline__ int flash_len(const flash &a, int b) {
    int len = a.lengths ? a.lengths[b] : a.Tk;
    if (len < 0 || len > a.Tk) {
        gpu_fault(a.fault, a.node, len);
        len = flash_clamp(len, 0, a.Tk);
    }
    return len;
}
__device__ __forceinline__ int flash_lo(const flash &a, int len, int b, int i) {
    int lo = a.window ? i + len - a.Tq - a.window + 1 : 0;
    if (a.first) {
        const int32_t *first = a.first + (int64_t)b * a.Tq + i;
        if (i && first[0] < first[-1]) gpu_fault(a.fault, a.node, first[0]);
        lo = first[0] > lo ? first[0] : lo;
    }
    return flash_clamp(lo, 0, len);
}
__device__ __forceinline__ int flash_hi(const flash &a, int len, int i) {
    return a.causal ? flash_clamp(i + len - a.Tq + 1, 0, len) : len;
}
/* Queries that see key j. */
__device__ __forceinline__ int flash_from(const flash &a, int len, int j) {
    return a.causal ? flash_clamp(j - (len - a.Tq), 0, a.Tq) : 0;
}
__device__ __forceinline__ int flash_to(const flash &a, int len, int b, int j) {
    int to = a.window ? flash_clamp(j - (len - a.Tq) + a.window, 0, a.Tq) : a.Tq, lo = 0;
    if (!a.first) return to;
    while (lo < to) { /* queries below lo begin at j or before, those from `to` on see nothing of it */
        int mid = (lo + to) / 2;
        if (a.first[(int64_t)b * a.Tq + mid] <= j) lo = mid + 1;
        else to = mid;
    }
    return lo;
}

/* --- tiles -------------------------------------------------------------------------------------------------------- */
template <class T> __device__ __forceinline__ int flash_ld(int cols) { return cols + 16 / (int)sizeof(T); }

/* Where token t stands, or -1 for a page that does not exist. */
__device__ __forceinline__ int64_t flash_at(const flash &a, const flash_rows &x, int b, int h, int t) {
    int64_t token = (int64_t)b * x.T + t;
    if (x.paged) {
        int page = a.pages[(int64_t)b * a.n_pages + t / a.block];
        if (page < 0 || page >= a.P) {
            gpu_fault(a.fault, a.node, page);
            return -1;
        }
        token = (int64_t)page * a.block + t % a.block;
    } else if (t >= x.T) {
        h += t / x.T;
        token = (int64_t)b * x.T + t % x.T;
    }
    return token * x.row + (int64_t)h * a.HS;
}

/* to [n][ld] = columns c0 .. c0 + cols of tokens t0 .. t0 + n; zeros for tokens outside [lo,hi) and columns beyond
 * HS. All threads of the block take part; visible after cp_async_wait and a barrier. */
template <class T> __device__ __forceinline__ void flash_load(const flash &a, T *to, int ld, const flash_rows &x, int b,
                                                              int h, int t0, int n, int lo, int hi, int c0, int cols) {
    const int E = 16 / (int)sizeof(T);
    int per = cols / E, r = (int)threadIdx.x / per, c = (int)threadIdx.x % per;
    int dr = (int)blockDim.x / per, dc = (int)blockDim.x % per;
    while (r < n) {
        int t = t0 + r, col = c0 + c * E;
        int64_t at = t >= lo && t < hi && col < a.HS ? flash_at(a, x, b, h, t) : -1;
        T *dst = to + r * ld + c * E;
        if (x.fast) {
            cp_async16(dst, (const T *)x.m.p + (at < 0 ? 0 : at + col), at < 0 ? 0 : 16);
        } else {
#pragma unroll
            for (int e = 0; e < E; e++)
                dst[e] = from_f32<T>(at >= 0 && col + e < a.HS ? gpu_get(x.m, at + col + e) : 0.0f);
        }
        r += dr, c += dc;
        if (c >= per) c -= per, r++;
    }
}

/* Two neighbouring columns of a result, from column c on; what lies beyond HS is dropped. */
__device__ __forceinline__ void flash_put2(const flash_rows &x, int64_t at, int c, int HS, float a, float b) {
    if (c < HS) gpu_put(x.m, at + c, a);
    if (c + 1 < HS) gpu_put(x.m, at + c + 1, b);
}
template <class T> __device__ __forceinline__ void flash_pair(void *p, int64_t at, float a, float b) {
    vec<T, 2> v;
    v.v[0] = from_f32<T>(a), v.v[1] = from_f32<T>(b);
    st_vec<2>((T *)p + at, v);
}
/* The warp's 16 rows of results, f0 and f1 times: row `at0` for g, `at1` for g + 8, -1 = not there. */
template <int CT> __device__ __forceinline__ void flash_store(const flash &a, const flash_rows &x, const float (*o)[4],
                                                              int64_t at0, int64_t at1, float f0, float f1, int c0) {
    int t = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int ct = 0; ct < CT; ct++) {
        int c = c0 + ct * 8 + t;
        if (ct * 8 >= a.cols) continue;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int64_t at = e ? at1 : at0;
            float f = e ? f1 : f0, v0 = o[ct][2 * e] * f, v1 = o[ct][2 * e + 1] * f;
            if (at < 0) continue;
            if (!x.fast) flash_put2(x, at, c, a.HS, v0, v1);
            else if (c >= a.HS) continue;
            else if (x.m.t == VM_F32) flash_pair<float>(x.m.p, at + c, v0, v1);
            else if (x.m.t == VM_BF16) flash_pair<bf16>(x.m.p, at + c, v0, v1);
            else flash_pair<f16>(x.m.p, at + c, v0, v1);
        }
    }
}

/* --- products of one warp ----------------------------------------------------------------------------------------- */
/* s [16][NT*8] += A [16][K] B^T, B [n][K]; n a multiple of 16. FULL: n = NT*8. */
template <bool FULL, int NT, class T>
__device__ __forceinline__ void flash_nt_(float (*s)[4], const T *A, int lda, const T *B, int ldb, int K, int n) {
    int lane = threadIdx.x % 32;
    A += lane % 16 * lda + lane / 16 * 8;
    B += (lane / 16 * 8 + lane % 8) * ldb + lane / 8 % 2 * 8;
#pragma unroll 2
    for (int k = 0; k < K; k += 16) {
        uint32_t fa[4], fb[4];
        ldmatrix_x4(fa, A + k);
#pragma unroll
        for (int p = 0; p < NT / 2; p++) {
            if (!FULL && p * 16 >= n) continue;
            ldmatrix_x4(fb, B + p * 16 * ldb + k);
            mma_16816<T>(s[2 * p], fa, fb);
            mma_16816<T>(s[2 * p + 1], fa, fb + 2);
        }
    }
}
template <int NT> __device__ __forceinline__ void flash_nt(float (*s)[4], const float *A, int lda, const float *B,
                                                           int ldb, int K, int n) {
    int lane = threadIdx.x % 32;
    A += lane / 4 * lda;
    B += 2 * (lane % 4) * ldb;
#pragma unroll 1
    for (int k = 0; k < K; k += 4) {
        vec<float, 4> a0 = ld_vec<4>(A + k), a1 = ld_vec<4>(A + 8 * lda + k);
#pragma unroll
        for (int p = 0; p < NT; p++) {
            if (p * 8 >= n) continue;
            vec<float, 4> b0 = ld_vec<4>(B + p * 8 * ldb + k), b1 = ld_vec<4>(B + (p * 8 + 1) * ldb + k);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                s[p][0] = fmaf(a0.v[c], b0.v[c], s[p][0]);
                s[p][1] = fmaf(a0.v[c], b1.v[c], s[p][1]);
                s[p][2] = fmaf(a1.v[c], b0.v[c], s[p][2]);
                s[p][3] = fmaf(a1.v[c], b1.v[c], s[p][3]);
            }
        }
    }
}
template <int NT, class T>
__device__ __forceinline__ void flash_nt(float (*s)[4], const T *A, int lda, const T *B, int ldb, int K, int n) {
    if (n == NT * 8) flash_nt_<true, NT>(s, A, lda, B, ldb, K, n);
    else flash_nt_<false, NT>(s, A, lda, B, ldb, K, n);
}

/* o [16][NT*8] += p [16][KT*8] B, p in registers, B [k][n]; k and n multiples of 16. FULL: k = KT*8, n = NT*8. */
template <bool FULL, int KT, int NT, class T>
__device__ __forceinline__ void flash_nn_(float (*o)[4], const float (*p)[4], const T *B, int ldb, int k, int n) {
    int lane = threadIdx.x % 32;
    B += lane % 16 * ldb + lane / 16 * 8;
#pragma unroll
    for (int kk = 0; kk < KT / 2; kk++) {
        if (!FULL && kk * 16 >= k) continue;
        const float *p0 = p[2 * kk], *p1 = p[2 * kk + 1];
        uint32_t fb[4],
            fa[4] = { pack2<T>(p0[0], p0[1]), pack2<T>(p0[2], p0[3]), pack2<T>(p1[0], p1[1]), pack2<T>(p1[2], p1[3]) };
#pragma unroll
        for (int c = 0; c < NT / 2; c++) {
            if (!FULL && c * 16 >= n) continue;
            ldmatrix_x4_trans(fb, B + kk * 16 * ldb + c * 16);
            mma_16816<T>(o[2 * c], fa, fb);
            mma_16816<T>(o[2 * c + 1], fa, fb + 2);
        }
    }
}
template <int KT, int NT>
__device__ __forceinline__ void flash_nn(float (*o)[4], const float (*p)[4], const float *B, int ldb, int k, int n) {
    int lane = threadIdx.x % 32;
    B += 2 * (lane % 4);
#pragma unroll
    for (int kt = 0; kt < KT; kt++) {
        if (kt * 8 >= k) continue;
#pragma unroll 1
        for (int q = 0; q < 4; q++) { /* columns 2q, 2q + 1 of p are with lane q of the four of a row */
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float p0 = __shfl_sync(GPU_ALL, p[kt][e], lane / 4 * 4 + q),
                      p1 = __shfl_sync(GPU_ALL, p[kt][2 + e], lane / 4 * 4 + q);
                const float *row = B + (kt * 8 + 2 * q + e) * ldb;
#pragma unroll
                for (int c = 0; c < NT; c++) {
                    if (c * 8 >= n) continue;
                    vec<float, 2> b = ld_vec<2>(row + c * 8);
                    o[c][0] = fmaf(p0, b.v[0], o[c][0]), o[c][1] = fmaf(p0, b.v[1], o[c][1]);
                    o[c][2] = fmaf(p1, b.v[0], o[c][2]), o[c][3] = fmaf(p1, b.v[1], o[c][3]);
                }
            }
        }
    }
}
template <int KT, int NT, class T>
__device__ __forceinline__ void flash_nn(float (*o)[4], const float (*p)[4], const T *B, int ldb, int k, int n) {
    if (k == KT * 8 && n == NT * 8) flash_nn_<true, KT, NT>(o, p, B, ldb, k, n);
    else flash_nn_<false, KT, NT>(o, p, B, ldb, k, n);
}
template <int NT> __device__ __forceinline__ void flash_zero(float (*s)[4]) {
#pragma unroll
    for (int p = 0; p < NT; p++) s[p][0] = s[p][1] = s[p][2] = s[p][3] = 0.0f;
}

/* --- scores ------------------------------------------------------------------------------------------------------- */
/* What a thread knows of its two rows, and the warp of its sixteen: columns they see, their bias. */
typedef struct {
    int lo[2], hi[2];
    int any_lo, any_hi, all_lo, all_hi; /* seen by some row, by every one */
    const float *bias[2];               /* of column 0 */
    int64_t step;                       /* from one column's bias to the next's */
} flash_sees;

/* Rows are queries, from row r0 of the matrix of `heads` heads on. */
__device__ __forceinline__ flash_sees flash_sees_keys(const flash &a, int len, int b, int h, int r0) {
    flash_sees w;
    int first = a.heads > 1 ? 0 : flash_clamp(r0, 0, a.Tq - 1), last = a.heads > 1 ? a.Tq - 1 : flash_clamp(r0 + 15, 0, a.Tq - 1);
    w.any_lo = flash_lo(a, len, b, first), w.any_hi = flash_hi(a, len, last);
    w.all_lo = flash_lo(a, len, b, last), w.all_hi = a.mask ? -1 : flash_hi(a, len, first);
    w.step = 1;
#pragma unroll
    for (int e = 0; e < 2; e++) {
        int r = r0 + (int)threadIdx.x % 32 / 4 + 8 * e;
        bool there = r < a.rows;
        int i = there ? r % a.Tq : 0, hh = there ? h + r / a.Tq : h;
        w.lo[e] = flash_lo(a, len, b, i), w.hi[e] = there ? flash_hi(a, len, i) : 0;
        w.bias[e] = a.bias ? a.bias + b * a.bias_b + hh * a.bias_h + (int64_t)i * a.Tk : NULL;
    }
    if (r0 >= a.rows) w.any_hi = -1;
    return w;
}
/* Rows are keys, from key j0 on; columns are queries. */
__device__ __forceinline__ flash_sees flash_sees_queries(const flash &a, int len, int b, int h, int j0) {
    flash_sees w;
    int last = j0 + 15 < len ? j0 + 15 : len - 1;
    w.any_lo = flash_from(a, len, j0), w.any_hi = j0 < len ? flash_to(a, len, b, last) : -1;
    w.all_lo = flash_from(a, len, last), w.all_hi = a.mask || j0 + 15 >= len ? -1 : flash_to(a, len, b, j0);
    w.step = a.Tk;
#pragma unroll
    for (int e = 0; e < 2; e++) {
        int j = j0 + (int)threadIdx.x % 32 / 4 + 8 * e;
        bool there = j < len && (!a.mask || a.mask[(int64_t)b * a.Tk + j]);
        w.lo[e] = flash_from(a, len, j), w.hi[e] = there ? flash_to(a, len, b, j) : 0;
        w.bias[e] = a.bias ? a.bias + b * a.bias_b + h * a.bias_h + (there ? j : 0) : NULL;
    }
    return w;
}

/* Whether row e / 2 of the thread sees column col, which is the p-th of 8 of a tile of n. */
__device__ __forceinline__ bool flash_seen(const flash_sees &w, int e, int col, const int32_t *mask) {
    return col >= w.lo[e / 2] && col < w.hi[e / 2] && (!mask || mask[col]);
}
/* The bias of row e / 2 of the thread at column col; NULL = none. */
__device__ __forceinline__ const float *flash_bias(const flash_sees &w, int e, int col) {
    return w.bias[e / 2] ? w.bias[e / 2] + col * w.step : NULL;
}
/* A raw product -> score times log2(e), -inf where hidden; slope: of the cap. */
__device__ __forceinline__ float flash_score(const flash &a, float s, bool seen, const float *bias, float *slope) {
    float x = s * (a.scale * FLASH_LOG2E);
    *slope = 1.0f;
    if (a.cap > 0) {
        float th = tanhf(s * (a.scale / a.cap));
        x = a.cap * FLASH_LOG2E * th, *slope = 1.0f - th * th;
    }
    if (bias && seen) x = fmaf(*bias, FLASH_LOG2E, x);
    return seen ? x : -INFINITY;
}

/* s = raw products of n columns from c0 on -> scores; mask: of the columns, or NULL */
template <int NT> __device__ __forceinline__ void flash_scores(const flash &a, float (*s)[4], const flash_sees &w,
                                                               int c0, int n, const int32_t *mask) {
    int t = c0 + 2 * (threadIdx.x % 4);
    bool plain = c0 >= w.all_lo && c0 + n <= w.all_hi && n == NT * 8;
#pragma unroll
    for (int p = 0; p < NT; p++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int col = t + p * 8 + e % 2;
            bool seen = plain || (p * 8 < n && flash_seen(w, e, col, mask));
            float slope;
            s[p][e] = flash_score(a, s[p][e], seen, flash_bias(w, e, col), &slope);
        }
}

/* The same for the backward pass: s becomes P, dp = dY V^T becomes dS, with or without the slope of the cap. lse
 * (times log2(e), +inf for rows without keys: P = 0) and D are those of the thread's rows, or of columns. */
template <int NT> __device__ __forceinline__ void flash_ds(const flash &a, float (*s)[4], float (*dp)[4],
                                                           const flash_sees &w, int c0, int n, const int32_t *mask,
                                                           const float *lse, const float *d, bool by_column,
                                                           bool sloped) {
    int t = 2 * (threadIdx.x % 4);
    bool plain = c0 >= w.all_lo && c0 + n <= w.all_hi && n == NT * 8;
#pragma unroll
    for (int p = 0; p < NT; p++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int in = t + p * 8 + e % 2, at = by_column ? in : e / 2;
            bool seen = plain || (p * 8 < n && flash_seen(w, e, c0 + in, mask));
            float slope, x = flash_score(a, s[p][e], seen, flash_bias(w, e, c0 + in), &slope);
            s[p][e] = fast_exp2(x - lse[at]);
            dp[p][e] = s[p][e] * (dp[p][e] - d[at]) * (sloped ? slope : 1.0f);
        }
}
__device__ __forceinline__ float flash_lse2(float lse) { return lse == -INFINITY ? INFINITY : lse * FLASH_LOG2E; }

/* --- launchers ---------------------------------------------------------------------------------------------------- */
/* The call of a node. T: the type in which the kernels multiply. */
flash flash_of(vm_graph *g, vm_node *n, const attn_call *c, vm_type T);
flash_rows flash_rows_of(const attn_call *c, const attn_rows *x, vm_type T);
/* bf16 or f16 where q, k and v are, else f32. */
vm_type flash_type(const attn_call *c);
/* Results in parts of at most so many columns. */
void flash_chunk(flash *a, int most);
/* How many warps, tiles in flight and columns of a tile fit: rows and columns of a tile take so many bytes each.
 * Sets stages and bn; the number of warps, 0 and g->err where nothing fits. */
int flash_fit(vm_graph *g, flash *a, int64_t rows, size_t row_bytes, size_t col_bytes, int most_stages, int most_cols);

#endif
