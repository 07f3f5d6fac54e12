/* gemm.cu - c (M,N) = a (M,K) b (K,N), 64x64 per block, two stages of K filled by cp.async, products by mma. */
#include "kernels/gpu.cuh"
#include "tests/emu/bugs/bugs.h"

enum { BM = 64, BN = 64, BK = 32, LDB = BN + 8, THREADS = 128 };

template <int BUG> __global__ void gemm(const bf16 *a, const bf16 *b, float *c, int M, int N, int K) {
    const int LDA = BUG == BAD_STRIDE ? BK + 4 : BK + 8;
    GPU_SHARED_DYN(bf16, room);
    bf16 *as = room, *bs = room + 2 * BM * (BK + 8);
    int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN, tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
    float acc[8][4] = {};
    int steps = (K + BK - 1) / BK;
    for (int step = -1; step < steps; step++) {
        if (step + 1 < steps) { /* fill the next stage */
            int k0 = (step + 1) * BK, stage = (step + 1) % 2;
            for (int i = tid; i < BM * BK / 8; i += THREADS) {
                int r = i / (BK / 8), k = i % (BK / 8) * 8;
                bool in = (BUG == GEMM_ROW_GUARD ? m0 + r <= M : m0 + r < M) && k0 + k < K;
                const bf16 *p = in || BUG == NO_ZERO_FILL ? a + (int64_t)(m0 + r) * K + k0 + k : a;
                cp_async16(as + (stage * BM + r) * LDA + k, p, in || BUG == NO_ZERO_FILL ? 16 : 0);
            }
            for (int i = tid; i < BK * BN / 8; i += THREADS) {
                int k = i / (BN / 8), n = i % (BN / 8) * 8;
                bool in = k0 + k < K && n0 + n < N;
                cp_async16(bs + (stage * BK + k) * LDB + n, in ? b + (int64_t)(k0 + k) * N + n0 + n : b, in ? 16 : 0);
            }
        }
        cp_async_commit();
        if (step < 0) continue;
        if (BUG == ONE_GROUP_TOO_FEW) cp_async_wait<2>();
        else if (BUG != NO_LAST_WAIT || step + 1 < steps) cp_async_wait<1>();
        if (BUG != NO_BARRIER_AFTER_WAIT) __syncthreads();
        int stage = step % 2;
        for (int kk = 0; kk < BK; kk += 16) {
            uint32_t ra[4], rb[4];
            ldmatrix_x4(ra, as + (stage * BM + warp * 16 + lane % 16) * LDA + kk + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < 8; j += 2) {
                ldmatrix_x4_trans(rb, bs + (stage * BK + kk + lane % 16) * LDB + j * 8 + lane / 16 * 8);
                uint32_t lo[2] = { rb[0], BUG == B_FRAGMENT ? rb[2] : rb[1] }, hi[2] = { rb[2], rb[3] };
                mma_16816<bf16>(acc[j], ra, lo);
                mma_16816<bf16>(acc[j + 1], ra, hi);
            }
        }
        if (BUG != NO_BARRIER_BEFORE_REFILL) __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = m0 + warp * 16 + lane / 4 + i / 2 * 8, col = n0 + j * 8 + lane % 4 * 2 + i % 2;
            if (row < M && (BUG == NO_COLUMN_GUARD || col < N)) c[(int64_t)row * N + col] = acc[j][i];
        }
}

template <int BUG> static int run() {
    enum { M = 70, N = 72, K = 104 };
    static bf16 a[M * K], b[K * N];
    static float c[M * N];
    uint64_t s = 2;
    for (bf16 &v : a) v = from_f32<bf16>(bug_random(&s));
    for (bf16 &v : b) v = from_f32<bf16>(bug_random(&s));
    bf16 *da = (bf16 *)bug_device(sizeof a, a, sizeof a), *db = (bf16 *)bug_device(sizeof b, b, sizeof b);
    float *dc = bug_device(sizeof c, NULL, 0);
    size_t smem = 2 * (BM * (BK + 8) + BK * LDB) * sizeof(bf16) + (BUG == NO_OPT_IN ? 40000 : 0);
    if (GPU_LAUNCH(bug_graph, gemm<BUG>, dim3(2, 2), THREADS, smem, da, db, dc, M, N, K)) return 1;
    bug_fetch(c, dc, sizeof c);
    cudaFree(da), cudaFree(db), cudaFree(dc);
    int bad = 0;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double want = 0;
            for (int k = 0; k < K; k++) want += (double)to_f32(a[m * K + k]) * (double)to_f32(b[k * N + n]);
            bad |= bug_differs(c[m * N + n], want, 1e-3);
        }
    return bad;
}

int run_gemm(int k) {
    switch (k) {
    case NONE: return run<NONE>();
    case GEMM_ROW_GUARD: return run<GEMM_ROW_GUARD>();
    case ONE_GROUP_TOO_FEW: return run<ONE_GROUP_TOO_FEW>();
    case NO_BARRIER_AFTER_WAIT: return run<NO_BARRIER_AFTER_WAIT>();
    case NO_BARRIER_BEFORE_REFILL: return run<NO_BARRIER_BEFORE_REFILL>();
    case BAD_STRIDE: return run<BAD_STRIDE>();
    case B_FRAGMENT: return run<B_FRAGMENT>();
    case NO_COLUMN_GUARD: return run<NO_COLUMN_GUARD>();
    case NO_OPT_IN: return run<NO_OPT_IN>();
    case NO_ZERO_FILL: return run<NO_ZERO_FILL>();
    case NO_LAST_WAIT: return run<NO_LAST_WAIT>();
    }
    return 2;
}
