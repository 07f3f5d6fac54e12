/* gpu_tile.cuh - the tile of a product, shared by gemm.cu and conv.cu: C (M,N) += A (M,K) B (K,N), one tile of C per block.
 *
 * Operands differ only in how the address of a chunk, 16 bytes of one row, is made. An operand is flat where chunks run along K
 * (A stored (M,K), B stored (N,K)) and steep where they run along M or N (A stored (K,M), B stored (K,N)); it is a struct with
 *     tile_aim<T>(source, lines, o0)                   what the thread keeps of the rows o0... of its tile
 *     tile_fetch<T, TILE, BM or BN>(source, lines, to, o0, k0, k1)   one stage to shared memory; K ends at k1
 * Rows, columns and K beyond the end are zeros in shared memory, so no mask is needed in the sum; the epilogue is guarded.
 *
 * A stage holds BK columns of K of both operands, 64 bytes (skinny tile: 128) per flat row. STAGES - 1 stages are under way by
 * cp.async while one is multiplied; one barrier per stage. Chunks are placed at (chunk ^ row / rows per 128 bytes), so that eight
 * lanes reading eight rows (ldmatrix, flat) or eight chunks of a row (steep) touch all 32 banks once, and writes likewise.
 *
 *   tile     C          threads  warp     stage    stages  shared  sums/thread  blocks on a multiprocessor
 *   big      128 x 128  128      64 x 64  16 KiB   3       48 KiB  128          2 (A100, H100: by registers; sm_86, 89: by shared memory)
 *   small    64 x 64    128      32 x 32   8 KiB   4       32 KiB   32          3 to 5
 *   skinny   16 x 64    128      16 x 16  10 KiB   4       40 KiB    8          2 to 5: 60 to 150 KiB of B under way, twice what
 *                                                                               bandwidth times latency asks for (about 20 KiB)
 *   f32 big  128 x 128  256      8 x 8 per thread, the rest alike
 *
 * A stage of the big tile is 64 mma per warp in 168 instructions (sm_80; as many as 8 chunks and 16 ldmatrix leave): 512 clocks of
 * the tensor cores of an A100, 256 of an H100. The places of chunks are known before the sum, a fetch adds K to them.
 *
 * Tensor cores: a warp of the big tile makes 2 * 64 * 64 * 16 FLOPs from 4 KiB of shared memory: 32 FLOP/B, while an A100 does
 * 2048 FLOP per clock and 128 bytes: 16 FLOP/B. So shared memory is half idle, and the tensor cores are what bounds. A tile reads
 * 128 + 128 rows for 128 x 128 results: 64 FLOP per byte of L2 in 16-bit types, where an A100 has 312 TFLOP/s over about
 * 5 TB/s = 62; blocks walk C in groups of 8 rows of tiles, so that a wave of 216 blocks reads a patch of about 8 x 27 tiles,
 * 35 rows of tiles for 216, and most of it comes from L2. f32 stays f32 (FFMA): 8 x 8 results from 16 loads are 4 FFMA per
 * word, what an SM with 128 lanes and 32 banks needs. Two blocks on a multiprocessor overlap one's start and epilogue with the
 * other's sum, so a persistent loop over tiles would win nothing.
 *
 * Sums of a result run over K in order, in steps of 16 (tensor cores) or 1 (FFMA), whatever the tile: the bits of a row depend
 * neither on M nor on the tile, only on the parts of K. */
#ifndef VM_GPU_TILE_CUH
#define VM_GPU_TILE_CUH
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
#include "kernels/gpu_unary.cuh"
extern "C" {
#include "kernels/gpu_choice.h"
}

template <class T, int TILE> struct tile_size {
    static constexpr int E = 16 / (int)sizeof(T); /* elements of a chunk */
    static constexpr int BM = TILE == GPU_BIG ? 128 : TILE == GPU_SMALL ? 64 : 16, BN = TILE == GPU_BIG ? 128 : 64;
    static constexpr int BK = (TILE == GPU_SKINNY ? 128 : 64) / (int)sizeof(T), STAGES = TILE == GPU_BIG ? 3 : 4;
    static constexpr int THREADS = TILE == GPU_BIG && sizeof(T) == 4 ? 256 : 128;
    static constexpr int BLOCKS = TILE == GPU_BIG ? 2 : 3; /* on a multiprocessor: bounds the registers */
    static constexpr int BYTES_A = BM * BK * (int)sizeof(T), BYTES_B = BN * BK * (int)sizeof(T);
    static constexpr int SMEM = STAGES * (BYTES_A + BYTES_B);
    static constexpr int SUMS = BM * BN / THREADS;
    /* tensor cores: warps in M, the tile of a warp in M and N */
    static constexpr int WARPS_M = TILE == GPU_SKINNY ? 1 : 2, WM = BM / WARPS_M, WN = BN / (THREADS / 32 / WARPS_M);
    /* f32: results of a thread in M and N */
    static constexpr int TM = TILE == GPU_SKINNY ? 2 : 8, TN = TILE == GPU_BIG ? 8 : 4;
    static constexpr int ROWS = BM < 64 ? BM : 64; /* of C in shared memory at once, in the epilogue */
};
enum { TILE_LINES = 4 }; /* chunks per thread, stage and operand, at most */

/* Byte offset of chunk c of row r in a tile of CPR chunks per row. */
template <int CPR> __device__ __forceinline__ int tile_at(int r, int c) {
    constexpr int PER_LINE = CPR >= 8 ? 1 : 8 / CPR, MASK = (CPR >= 8 ? 8 : CPR) - 1;
    return (r * CPR + (c ^ (r / PER_LINE & MASK))) * 16;
}

/* n / d for n below 2^31: one high product. */
struct fast_div { uint32_t d, m, s; };
__host__ __device__ static inline fast_div fast_div_by(uint32_t d) {
    fast_div f = { d, 0, 0 };
    while ((1ull << f.s) < d) f.s++;
    f.m = (uint32_t)((((1ull << f.s) - d) << 32) / d + 1);
    return f;
}
__device__ __forceinline__ int div_by(int n, fast_div f) { return (int)((umulhi32((uint32_t)n, f.m) + (uint32_t)n) >> f.s); }

/* --- operands --------------------------------------------------------------------------------------------------------- */
/* What a thread keeps of its chunks: matrices a place and which rows exist, gathered operands the places of rows in a picture. */
struct tile_lines {
    const void *from;
    unsigned exist; /* bit i: line i */
    int at[TILE_LINES], y[TILE_LINES], x[TILE_LINES];
};

/* A dense matrix, `outer` rows (flat) or columns (steep) of it in the direction of M or N. */
template <bool STEEP> struct tile_matrix {
    const void *p;
    int64_t ld, step; /* elements between stored rows, between matrices of the batch */
    int outer;
    bool whole; /* all chunks lie at multiples of 16 bytes; the big tile takes no others */
};
template <class T, int TILE, int SIDE, bool STEEP>
__device__ __forceinline__ void tile_aim(const tile_matrix<STEEP> &s, tile_lines &l, int o0) {
    using size = tile_size<T, TILE>;
    constexpr int CPR = (STEEP ? SIDE : size::BK) / size::E, LINES = STEEP ? size::BK : SIDE, STRIDE = size::THREADS / CPR;
    int line = threadIdx.x / CPR, c = threadIdx.x % CPR * size::E;
    l.from = (const T *)s.p + (STEEP ? line * s.ld + o0 + c : (o0 + line) * s.ld + c);
    l.exist = STEEP && o0 + c < s.outer ? ~0u : 0;
#pragma unroll
    for (int i = 0; i < LINES / STRIDE; i++) l.exist |= !STEEP && o0 + line + i * STRIDE < s.outer ? 1u << i : 0;
}
template <class T, int TILE, int SIDE, bool STEEP>
__device__ __forceinline__ void tile_fetch(const tile_matrix<STEEP> &s, const tile_lines &l, unsigned char *to, int o0, int k0, int k1) {
    using size = tile_size<T, TILE>;
    constexpr int E = size::E, CPR = (STEEP ? SIDE : size::BK) / E, LINES = STEEP ? size::BK : SIDE, STRIDE = size::THREADS / CPR;
    int line = threadIdx.x / CPR, c = threadIdx.x % CPR, k = k0 + (STEEP ? line : c * E);
    const T *from = (const T *)l.from + (STEEP ? k0 * s.ld : k0);
    if constexpr (TILE != GPU_BIG)
        if (!s.whole) {
#pragma unroll
            for (int i = 0; i < LINES / STRIDE; i++) { /* the first n elements count */
                int n = !(l.exist >> i & 1) ? 0 : !STEEP ? k1 - k : k + i * STRIDE < k1 ? s.outer - o0 - c * E : 0;
                vec<T, E> x;
#pragma unroll
                for (int e = 0; e < E; e++) x.v[e] = e < n ? from[i * STRIDE * s.ld + e] : from_f32<T>(0);
                st_vec<E>((T *)(to + tile_at<CPR>(line + i * STRIDE, c)), x);
            }
            return;
        }
#pragma unroll
    for (int i = 0; i < LINES / STRIDE; i++)
        cp_async16(to + tile_at<CPR>(line + i * STRIDE, c), from + i * STRIDE * s.ld,
                   (l.exist >> i & 1) && (STEEP ? k + i * STRIDE : k) < k1 ? 16 : 0);
}

/* --- sums ------------------------------------------------------------------------------------------------------------- */
/* One stage onto the sums, tensor cores. sum[(mi * NI + ni) * 4 + r]: register r of the 16 x 8 result (mi,ni) of the warp. */
template <class T, int TILE, bool STEEP_A, bool STEEP_B>
__device__ __forceinline__ void tile_mma(float *sum, const unsigned char *a, const unsigned char *b) {
    using size = tile_size<T, TILE>;
    constexpr int MI = size::WM / 16, NI = size::WN / 8, FLAT = size::BK / size::E;
    constexpr int STEEP_M = size::BM / size::E, STEEP_N = size::BN / size::E;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, r = lane % 8, lo = lane / 8 % 2, hi = lane / 16;
    int m0 = warp % size::WARPS_M * size::WM, n0 = warp / size::WARPS_M * size::WN;
#pragma unroll
    for (int k = 0; k < size::BK; k += 16) {
        uint32_t fa[MI][4], fb[NI / 2][4];
#pragma unroll
        for (int i = 0; i < MI; i++) { /* registers: rows 0 and 8, then columns 8 */
            int m = m0 + i * 16;
            if constexpr (STEEP_A) ldmatrix_x4_trans(fa[i], a + tile_at<STEEP_M>(k + hi * 8 + r, m / 8 + lo));
            else ldmatrix_x4(fa[i], a + tile_at<FLAT>(m + lo * 8 + r, k / 8 + hi));
        }
#pragma unroll
        for (int j = 0; j < NI / 2; j++) { /* two blocks of eight columns: k 0 and 8 of the first, then of the second */
            int n = n0 + j * 16;
            if constexpr (STEEP_B) ldmatrix_x4_trans(fb[j], b + tile_at<STEEP_N>(k + lo * 8 + r, n / 8 + hi));
            else ldmatrix_x4(fb[j], b + tile_at<FLAT>(n + hi * 8 + r, k / 8 + lo));
        }
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int j = 0; j < NI; j++) mma_16816<T>(sum + (i * NI + j) * 4, fa[i], fb[j / 2] + j % 2 * 2);
    }
}

/* The results of a thread, f32: row i, column j of TM x TN, in steps over the tile (flat) or by fours (steep). */
template <int SIDE, int EACH, bool STEEP> __device__ __forceinline__ int tile_place(int t, int i) {
    return STEEP ? 4 * t + i % 4 + i / 4 * 4 * (SIDE / EACH) : t + i * (SIDE / EACH);
}
/* x[kk][i]: rows of the thread for the four k of chunk k4. */
template <class size, int SIDE, int EACH, bool STEEP>
__device__ __forceinline__ void tile_four(float x[4][EACH], const unsigned char *s, int t, int k4) {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (STEEP && i % 4) continue;
        int row = tile_place<SIDE, EACH, STEEP>(t, i);
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
            if (!STEEP && kk) continue;
            const float *from = (const float *)(s + (STEEP ? tile_at<SIDE / 4>(k4 * 4 + kk, row / 4) : tile_at<size::BK / 4>(row, k4)));
            vec<float, 4> v = ld_vec<4>(from);
#pragma unroll
            for (int e = 0; e < 4; e++) x[STEEP ? kk : e][STEEP ? (i + e) % EACH : i] = v.v[e];
        }
    }
}
/* One stage onto the sums, f32. sum[i * TN + j] */
template <int TILE, bool STEEP_A, bool STEEP_B>
__device__ __forceinline__ void tile_ffma(float *sum, const unsigned char *a, const unsigned char *b) {
    using size = tile_size<float, TILE>;
    constexpr int WIDE = size::BM / size::TM / 8; /* warps in M */
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tm = lane % 8 + warp % WIDE * 8, tn = lane / 8 + warp / WIDE * 4;
#pragma unroll 1
    for (int k4 = 0; k4 < size::BK / 4; k4++) {
        float fa[4][size::TM], fb[4][size::TN];
        tile_four<size, size::BN, size::TN, STEEP_B>(fb, b, tn, k4);
        tile_four<size, size::BM, size::TM, STEEP_A>(fa, a, tm, k4);
#pragma unroll
        for (int i = 0; i < size::TM; i++)
#pragma unroll
            for (int kk = 0; kk < 4; kk++)
#pragma unroll
                for (int j = 0; j < size::TN; j++)
                    sum[i * size::TN + j] = fmaf(fa[kk][i], fb[kk][j], sum[i * size::TN + j]);
    }
}

/* --- results ------------------------------------------------------------------------------------------------------------ */
enum { OUT_MATRIX, OUT_PIXELS, OUT_TAPS };
struct tile_out {
    void *c;
    int64_t ld, step;   /* elements between rows, between results of the batch */
    float *partial;     /* (splits,batch,M,N): sums of a part of K go there, nothing else happens to them; else NULL */
    const float *bias;  /* bias_step entries on per result of the batch; or NULL */
    int64_t bias_step;
    float alpha;
    int act;
    int type;           /* of C: VM_F32 or that of the operands */
    bool add;
    bool whole;         /* four columns are in bounds and aligned, or all four are out */
    int map;            /* OUT_TAPS: column tap * channels + c stands at c * taps + tap */
    int taps;
    fast_div channels;
};
/* Where the rows of OUT_PIXELS stand: row (b, i, j) at pixel (b, first + i stride, first + j stride) of pictures H x W. */
struct tile_pixels {
    fast_div picture, row;
    int H, W, first[2], stride[2];
};
__device__ __forceinline__ int64_t tile_row(const tile_out &o, const tile_pixels &px, int z, int m) {
    if (o.map != OUT_PIXELS) return z * o.step + m * o.ld;
    int b = div_by(m, px.picture), q = m - b * (int)px.picture.d, i = div_by(q, px.row), j = q - i * (int)px.row.d;
    return z * o.step + (((int64_t)b * px.H + px.first[0] + i * px.stride[0]) * px.W + px.first[1] + j * px.stride[1]) * o.ld;
}
/* Four columns from n on of the row that begins at `row`; `left` of them exist. */
template <class T> __device__ __forceinline__ void tile_put(const tile_out &o, int64_t row, int n, int left, vec<float, 4> x, const float bias[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) x.v[i] = fmaf(o.alpha, x.v[i], bias[i]);
    if (o.act != VM_NONE)
        for (int i = 0; i < 4; i++) x.v[i] = gpu_unary(o.act, x.v[i]);
    if (o.whole) {
        if (o.type == VM_F32) {
            float *c = (float *)o.c + row + n;
            vec<float, 4> old = { { 0, 0, 0, 0 } };
            if (o.add) old = ld_vec<4>(c);
#pragma unroll
            for (int i = 0; i < 4; i++) x.v[i] += old.v[i];
            st_vec<4>(c, x);
        } else {
            T *c = (T *)o.c + row + n;
            vec<T, 4> y;
            if (o.add) y = ld_vec<4>(c);
#pragma unroll
            for (int i = 0; i < 4; i++) y.v[i] = from_f32<T>(x.v[i] + (o.add ? to_f32(y.v[i]) : 0.0f));
            st_vec<4>(c, y);
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (i >= left) continue;
        int tap = o.map == OUT_TAPS ? div_by(n + i, o.channels) : 0;
        int64_t at = row + (o.map == OUT_TAPS ? (int64_t)(n + i - tap * (int)o.channels.d) * o.taps + tap : n + i);
        if (o.type == VM_F32) ((float *)o.c)[at] = x.v[i] + (o.add ? ((float *)o.c)[at] : 0.0f);
        else ((T *)o.c)[at] = from_f32<T>(x.v[i] + (o.add ? to_f32(((T *)o.c)[at]) : 0.0f));
    }
}
__device__ __forceinline__ void tile_bias(float to[4], const tile_out &o, int z, int n, int left) {
#pragma unroll
    for (int i = 0; i < 4; i++) to[i] = o.bias && i < left ? o.bias[z * o.bias_step + n + i] : 0.0f;
}

/* --- the block ---------------------------------------------------------------------------------------------------------- */
struct tile_grid {
    int M, N, K, batch, splits;
    int tiles_m, tiles_n; /* of the largest result of the batch */
    int rounds;           /* of BK, per part of K */
};
struct tile_block { int m0, n0, z, split; };
/* Blocks walk the tiles of C in groups of 8 rows, down each column of a group. */
template <class T, int TILE> __device__ __forceinline__ tile_block tile_of(const tile_grid &g) {
    int x = blockIdx.x, tiles = g.tiles_m * g.tiles_n, t = x % tiles, in_group = 8 * g.tiles_n;
    int first = t / in_group * 8, high = g.tiles_m - first < 8 ? g.tiles_m - first : 8;
    tile_block b;
    x /= tiles;
    b.m0 = (first + t % in_group % high) * tile_size<T, TILE>::BM, b.n0 = t % in_group / high * tile_size<T, TILE>::BN;
    b.split = x % g.splits, b.z = x / g.splits;
    return b;
}

/* Sums to shared memory, 64 rows at a time, then out along the rows: 16 bytes (8 of a 16-bit type) per lane. */
template <class T, int TILE, bool STEEP_A, bool STEEP_B>
__device__ __forceinline__ void tile_finish(const float *sum, float *smem, const tile_out &o, const tile_pixels &px, const tile_grid &g, tile_block t) {
    using size = tile_size<T, TILE>;
    constexpr int CPR = size::BN / 4, STRIDE = size::THREADS / CPR;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = threadIdx.x % CPR, n = t.n0 + c * 4, left = g.N - n;
    float bias[4];
    tile_bias(bias, o, t.z, n, left);
#pragma unroll
    for (int half = 0; half < size::BM / size::ROWS; half++) {
        __syncthreads(); /* the last stage has been multiplied, the last rows are out */
        if constexpr (sizeof(T) == 2) {
            constexpr int NI = size::WN / 8;
            int m0 = warp % size::WARPS_M * size::WM - half * size::ROWS, n0 = warp / size::WARPS_M * size::WN;
            if (m0 >= 0 && m0 < size::ROWS) {
#pragma unroll
                for (int i = 0; i < size::SUMS / 2; i++) { /* pairs: rows g and g + 8 */
                    int row = m0 + i / 2 / NI * 16 + lane / 4 + i % 2 * 8, col = n0 + i / 2 % NI * 8 + lane % 4 * 2;
                    vec<float, 2> v = { { sum[i * 2], sum[i * 2 + 1] } };
                    st_vec<2>(smem + row * size::BN + (col / 4 ^ (row % 4 * 2 + row / 4 % 2)) * 4 + col % 4, v);
                }
            }
        } else {
            constexpr int WIDE = size::BM / size::TM / 8, PART = size::TM / (size::BM / size::ROWS);
            int tm = lane % 8 + warp % WIDE * 8, tn = lane / 8 + warp / WIDE * 4;
#pragma unroll
            for (int i = half * PART; i < half * PART + PART; i++)
#pragma unroll
                for (int j = 0; j < size::TN; j++) {
                    int row = tile_place<size::BM, size::TM, STEEP_A>(tm, i) - half * size::ROWS, col = tile_place<size::BN, size::TN, STEEP_B>(tn, j);
                    smem[row * size::BN + (col / 4 ^ (row % 4 * 2 + row / 4 % 2)) * 4 + col % 4] = sum[i * size::TN + j];
                }
        }
        __syncthreads();
        if (left <= 0) continue;
#pragma unroll 1
        for (int r = threadIdx.x / CPR; r < size::ROWS; r += STRIDE) {
            int m = t.m0 + half * size::ROWS + r;
            if (m >= g.M) break;
            vec<float, 4> x = ld_vec<4>(smem + r * size::BN + (c ^ (r % 4 * 2 + r / 4 % 2)) * 4);
            if (!o.partial) {
                tile_put<T>(o, tile_row(o, px, t.z, m), n, left, x, bias);
                continue;
            }
            float *to = o.partial + (((int64_t)t.split * g.batch + t.z) * g.M + m) * g.N + n;
            if (g.N % 4 == 0) st_vec<4>(to, x);
            else
                for (int i = 0; i < 4 && i < left; i++) to[i] = x.v[i];
        }
    }
}

/* The whole life of a block. smem: tile_size::SMEM bytes. A flat or steep as STEEP_A says, B likewise. */
template <class T, int TILE, bool STEEP_A, bool STEEP_B, class A, class B>
__device__ __forceinline__ void tile_product(unsigned char *smem, const A &a, const B &b, const tile_out &o, const tile_pixels &px, const tile_grid &g,
                                             tile_block t) {
    using size = tile_size<T, TILE>;
    constexpr int STAGE = size::BYTES_A + size::BYTES_B, AHEAD = size::STAGES - 1;
    float sum[size::SUMS];
#pragma unroll
    for (int i = 0; i < size::SUMS; i++) sum[i] = 0;
    tile_lines la = {}, lb = {}; /* of some operands nothing is kept */
    tile_aim<T, TILE, size::BM>(a, la, t.m0);
    tile_aim<T, TILE, size::BN>(b, lb, t.n0);
    int64_t from = (int64_t)t.split * g.rounds * size::BK, to = from + (int64_t)g.rounds * size::BK;
    int k0 = (int)from, k1 = to < g.K ? (int)to : g.K, rounds = from < g.K ? (k1 - k0 + size::BK - 1) / size::BK : 0;
#pragma unroll
    for (int s = 0; s < AHEAD; s++) {
        if (s < rounds) {
            tile_fetch<T, TILE, size::BM>(a, la, smem + s * STAGE, t.m0, k0 + s * size::BK, k1);
            tile_fetch<T, TILE, size::BN>(b, lb, smem + s * STAGE + size::BYTES_A, t.n0, k0 + s * size::BK, k1);
        }
        cp_async_commit();
    }
    int now = 0, next = AHEAD; /* stages */
#pragma unroll 1
    for (int i = 0; i < rounds; i++) {
        cp_async_wait<AHEAD - 1>();
        __syncthreads(); /* stage `now` is there for all, stage `next` was multiplied by all */
        if (i + AHEAD < rounds) {
            tile_fetch<T, TILE, size::BM>(a, la, smem + next * STAGE, t.m0, k0 + (i + AHEAD) * size::BK, k1);
            tile_fetch<T, TILE, size::BN>(b, lb, smem + next * STAGE + size::BYTES_A, t.n0, k0 + (i + AHEAD) * size::BK, k1);
        }
        cp_async_commit();
        if constexpr (sizeof(T) == 2) tile_mma<T, TILE, STEEP_A, STEEP_B>(sum, smem + now * STAGE, smem + now * STAGE + size::BYTES_A);
        else tile_ffma<TILE, STEEP_A, STEEP_B>(sum, smem + now * STAGE, smem + now * STAGE + size::BYTES_A);
        now = now + 1 < size::STAGES ? now + 1 : 0, next = next + 1 < size::STAGES ? next + 1 : 0;
    }
    cp_async_wait<0>();
    tile_finish<T, TILE, STEEP_A, STEEP_B>(sum, (float *)smem, o, px, g, t);
}

/* --- launchers ------------------------------------------------------------------------------------------------------------ */
/* The grid of a plan for results of at most M x N; blocks in *blocks. */
static inline vm_status tile_grid_of(vm_graph *g, vm_gpu_plan plan, vm_type t, int64_t batch, int64_t M, int64_t N, int64_t K, tile_grid *to, unsigned *blocks) {
    const int64_t most = 0x7fffffff, bm = plan.tile == GPU_BIG ? 128 : plan.tile == GPU_SMALL ? 64 : 16, bn = plan.tile == GPU_BIG ? 128 : 64;
    int64_t tm = (M + bm - 1) / bm, tn = (N + bn - 1) / bn, rounds = vm_gpu_rounds(plan.tile, t, K);
    if (M > most - bm || N > most - bn || K > most - 4096 || batch > most || (double)tm * (double)tn * (double)batch * plan.splits > (double)most)
        return vm_fail(&g->err, VM_EDEVICE, "a product of %lld matrices [%lld,%lld,%lld] is too large for the device; take a smaller batch",
                       (long long)batch, (long long)M, (long long)N, (long long)K);
    *to = tile_grid{ (int)M, (int)N, (int)K, (int)batch, plan.splits, (int)tm, (int)tn, (int)((rounds + plan.splits - 1) / plan.splits) };
    *blocks = (unsigned)(tm * tn * batch * plan.splits);
    return VM_OK;
}
/* C = the sums of o.partial in their order, and the epilogue (gemm.cu). */
vm_status tile_sum_parts(vm_graph *g, const tile_out &o, const tile_grid &gr);

#endif
