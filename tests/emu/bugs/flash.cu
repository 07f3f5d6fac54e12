/* flash.cu - softmax(q k^T) v for one head of 32 columns: a block of 2 warps has 32 queries, keys come 32 at a time,
 * and the sums so far are rescaled when a larger score is met (Dao et al. 2022). */
#include "kernels/gpu.cuh"
#include "tests/emu/bugs/bugs.h"

enum { D = 32, KEYS = 32, LD = D + 8 };

/* 16 rows of D columns from row r0 of x on, zeros beyond S, into shared memory */
__device__ static void fill(bf16 *to, const bf16 *x, int r0, int rows, int S) {
    for (int i = threadIdx.x; i < rows * D / 8; i += 64) {
        int r = i / (D / 8), c = i % (D / 8) * 8;
        vec<bf16, 8> v = {};
        if (r0 + r < S) v = ld_vec<8>(x + (int64_t)(r0 + r) * D + c);
        st_vec<8>(to + r * LD + c, v);
    }
}

template <int BUG> __global__ void flash(const bf16 *q, const bf16 *k, const bf16 *v, float *o, int S) {
    GPU_SHARED(bf16, qs, [32 * LD]);
    GPU_SHARED(bf16, ks, [KEYS * LD]);
    GPU_SHARED(bf16, vs, [KEYS * LD]);
    int q0 = blockIdx.x * 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float out[4][4] = {}, most[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 };
    fill(qs, q, q0, 32, S);
    for (int k0 = 0; k0 < S; k0 += KEYS) {
        if (BUG != FLASH_NO_BARRIER) __syncthreads();
        fill(ks, k, k0, KEYS, S);
        fill(vs, v, k0, KEYS, S);
        __syncthreads();
        float s[4][4] = {};
        for (int d = 0; d < D; d += 16) {
            uint32_t a[4], b[4];
            ldmatrix_x4(a, qs + (warp * 16 + lane % 16) * LD + d + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < 4; j += 2) { /* rows of k are columns of k^T */
                ldmatrix_x4(b, ks + (j * 8 + lane % 8 + lane / 16 * 8) * LD + d + lane / 8 % 2 * 8);
                uint32_t lo[2] = { b[0], b[1] }, hi[2] = { b[2], b[3] };
                mma_16816<bf16>(s[j], a, lo);
                mma_16816<bf16>(s[j + 1], a, hi);
            }
        }
        float top[2] = { most[0], most[1] };
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int key = k0 + j * 8 + lane % 4 * 2 + i % 2;
                if (BUG == KEY_MASK ? key > S : key >= S) s[j][i] = -INFINITY;
                top[i / 2] = fmaxf(top[i / 2], s[j][i]);
            }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            top[h] = fmaxf(top[h], __shfl_xor_sync(GPU_ALL, top[h], 1));
            top[h] = fmaxf(top[h], __shfl_xor_sync(GPU_ALL, top[h], 2));
            float scale = BUG == NO_RESCALE ? 1 : fast_exp(most[h] - top[h]);
            most[h] = top[h], sum[h] *= scale;
            for (int j = 0; j < 4; j++) out[j][2 * h] *= scale, out[j][2 * h + 1] *= scale;
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[j][i] = fast_exp(s[j][i] - most[i / 2]), sum[i / 2] += s[j][i];
#pragma unroll
        for (int kk = 0; kk < KEYS / 16; kk++) {
            uint32_t a[4], b[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = pack2<bf16>(s[2 * kk + i / 2][i % 2 * 2], s[2 * kk + i / 2][i % 2 * 2 + 1]);
            if (BUG == A_SWAPPED) { uint32_t t = a[1]; a[1] = a[2], a[2] = t; }
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                const bf16 *p = vs + (kk * 16 + lane % 16) * LD + j * 8 + lane / 16 * 8;
                if (BUG == NO_TRANS) ldmatrix_x4(b, p);
                else ldmatrix_x4_trans(b, p);
                uint32_t lo[2] = { b[0], b[1] }, hi[2] = { b[2], b[3] };
                mma_16816<bf16>(out[j], a, lo);
                mma_16816<bf16>(out[j + 1], a, hi);
            }
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(GPU_ALL, sum[h], 1);
        sum[h] += __shfl_xor_sync(GPU_ALL, sum[h], 2);
        int row = q0 + warp * 16 + lane / 4 + 8 * h;
        for (int j = 0; j < 4 && row < S; j++)
            for (int i = 0; i < 2; i++) o[(int64_t)row * D + j * 8 + lane % 4 * 2 + i] = out[j][2 * h + i] / sum[h];
    }
}

/* Scores of 2 - 8 or so; with `probe` all far below zero, so that a key that is not there would outweigh them. */
template <int BUG> static int one(bool probe) {
    enum { S = 77 };
    static bf16 q[S * D], k[S * D], v[S * D];
    static float o[S * D];
    uint64_t s = 3;
    for (int i = 0; i < S * D; i++) {
        q[i] = from_f32<bf16>(probe ? 1 + 0.2f * bug_random(&s) : bug_random(&s));
        k[i] = from_f32<bf16>(probe ? -1 + 0.2f * bug_random(&s) : 2 * bug_random(&s));
        v[i] = from_f32<bf16>(bug_random(&s) + 1);
    }
    bf16 *dq = (bf16 *)bug_device(sizeof q, q, sizeof q), *dk = (bf16 *)bug_device(sizeof k, k, sizeof k);
    bf16 *dv = (bf16 *)bug_device(sizeof v, v, sizeof v);
    float *d_o = bug_device(sizeof o, NULL, 0);
    if (GPU_LAUNCH(bug_graph, flash<BUG>, gpu_blocks(S, 32), 64, 0, dq, dk, dv, d_o, S)) return 1;
    bug_fetch(o, d_o, sizeof o);
    cudaFree(dq), cudaFree(dk), cudaFree(dv), cudaFree(d_o);
    int bad = 0;
    for (int i = 0; i < S; i++) {
        double w[S], most = -1e30, sum = 0;
        for (int j = 0; j < S; j++) {
            w[j] = 0;
            for (int d = 0; d < D; d++) w[j] += (double)to_f32(q[i * D + d]) * (double)to_f32(k[j * D + d]);
            most = fmax(most, w[j]);
        }
        for (int j = 0; j < S; j++) sum += w[j] = exp(w[j] - most);
        for (int d = 0; d < D; d++) {
            double want = 0;
            for (int j = 0; j < S; j++) want += w[j] / sum * (double)to_f32(v[j * D + d]);
            bad |= bug_differs(o[i * D + d], want, 2e-2);
        }
    }
    return bad;
}
template <int BUG> static int run() { return one<BUG>(false) | one<BUG>(true); }

int run_flash(int k) {
    switch (k) {
    case NONE: return run<NONE>();
    case FLASH_NO_BARRIER: return run<FLASH_NO_BARRIER>();
    case KEY_MASK: return run<KEY_MASK>();
    case A_SWAPPED: return run<A_SWAPPED>();
    case NO_TRANS: return run<NO_TRANS>();
    case NO_RESCALE: return run<NO_RESCALE>();
    }
    return 2;
}
