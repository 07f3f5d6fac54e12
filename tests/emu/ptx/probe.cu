/* probe.cu - every wrapper of gpu.cuh that is inline PTX, once, in kernels whose results are right or wrong. tests/emu/ptx/bugs.sh
 * runs it with wrappers that have a bug, which compilers of the host never see. Exit status 0: all right. */
#include "kernels/gpu.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { M = 16, N = 16, K = 120, BK = 32, STAGES = 3, LD = BK + 8, LDN = N + 8 };

/* c (M,N) = a (M,K) b (K,N) by one warp: three stages of 32 columns filled by cp.async, zeros beyond K. trans: b stands as (N,K). */
template <class T> __device__ void fill(T *as, T *bs, const T *a, const T *b, int k0, bool trans) {
    int lane = threadIdx.x;
    for (int i = lane; i < M * BK / 8; i += 32) {
        int r = i / (BK / 8), k = i % (BK / 8) * 8;
        cp_async16(as + r * LD + k, k0 + k < K ? a + r * K + k0 + k : a, k0 + k < K ? 16 : 0);
        if (trans) cp_async16(bs + r * LD + k, k0 + k < K ? b + r * K + k0 + k : b, k0 + k < K ? 16 : 0);
    }
    for (int i = lane; i < BK * N / 8 && !trans; i += 32) {
        int k = i / (N / 8), n = i % (N / 8) * 8;
        cp_async16(bs + k * LDN + n, k0 + k < K ? b + (k0 + k) * N + n : b, k0 + k < K ? 16 : 0);
    }
    cp_async_commit();
}
template <class T> __global__ void product(float *c, const T *a, const T *b, int trans) {
    GPU_SHARED(T, as, [STAGES][M * LD]);
    GPU_SHARED(T, bs, [STAGES][BK * LD]);
    int lane = threadIdx.x;
    float acc[2][4] = {};
    for (int s = 0; s < STAGES - 1; s++) fill(as[s], bs[s], a, b, s * BK, trans);
    for (int k0 = 0, s = 0; k0 < K; k0 += BK, s++) {
        if (k0 + (STAGES - 1) * BK < K) fill(as[(s + STAGES - 1) % STAGES], bs[(s + STAGES - 1) % STAGES], a, b, k0 + (STAGES - 1) * BK, trans);
        else cp_async_commit();
        cp_async_wait<STAGES - 1>();
        __syncthreads();
        const T *ta = as[s % STAGES], *tb = bs[s % STAGES];
        for (int kk = 0; kk < BK; kk += 16) {
            uint32_t ra[4], rb[4];
            ldmatrix_x4(ra, ta + lane % 16 * LD + kk + lane / 16 * 8);
            if (trans) { /* rows of b are columns of the product: as they stand */
                ldmatrix_x2(rb, tb + lane % 8 * LD + kk + lane / 8 % 2 * 8);
                ldmatrix_x2(rb + 2, tb + (8 + lane % 8) * LD + kk + lane / 8 % 2 * 8);
            } else if (kk) {
                ldmatrix_x4_trans(rb, tb + (kk + lane % 16) * LDN + lane / 16 * 8);
            } else {
                ldmatrix_x2_trans(rb, tb + (kk + lane % 16) * LDN);
                ldmatrix_x2_trans(rb + 2, tb + (kk + lane % 16) * LDN + 8);
            }
            mma_16816<T>(acc[0], ra, rb);
            mma_16816<T>(acc[1], ra, rb + 2);
        }
        __syncthreads();
    }
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * N + j * 8 + lane % 4 * 2 + i % 2] = acc[j][i];
}

/* Part of 16 bytes, and the sum of squares by an exponential: what elementwise wrappers do. */
__global__ void values(float *y, const float *x, int n, const float *part) {
    GPU_SHARED(float, room, [32][4]);
    int i = threadIdx.x;
    cp_async16(room[i], part, i % 5 * 4);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    if (i >= n) return;
    y[i] = fast_exp2(x[i]);
    y[32 + i] = to_f32(from_f32<bf16>(x[i]));
    y[64 + i] = to_f32(from_f32<f16>(x[i]));
    y[96 + i] = room[i][0] + 10 * room[i][1] + 100 * room[i][2] + 1000 * room[i][3];
}

static vm_graph g;
static vm_cuda device;
static void *on_device(size_t n, const void *from) {
    void *p = NULL;
    if (cudaMalloc(&p, n)) exit(3);
    if (from) cudaMemcpyAsync(p, from, n, cudaMemcpyHostToDevice, (cudaStream_t)gpu_stream(&g));
    return p;
}
static void fetch(void *to, const void *from, size_t n) {
    cudaMemcpyAsync(to, from, n, cudaMemcpyDeviceToHost, (cudaStream_t)gpu_stream(&g));
    cudaStreamSynchronize((cudaStream_t)gpu_stream(&g));
}

template <class T> static int products(void) {
    static T a[M * K], b[K * N], bt[N * K];
    static float c[M * N];
    uint64_t s = 7;
    int bad = 0;
    for (T &v : a) s = s * 6364136223846793005u + 1442695040888963407u, v = from_f32<T>((float)(int32_t)(s >> 32) * 0x1p-31f);
    for (T &v : b) s = s * 6364136223846793005u + 1442695040888963407u, v = from_f32<T>((float)(int32_t)(s >> 32) * 0x1p-31f);
    for (int k = 0; k < K; k++)
        for (int n = 0; n < N; n++) bt[n * K + k] = b[k * N + n];
    T *da = (T *)on_device(sizeof a, a), *db = (T *)on_device(sizeof b, b), *dt = (T *)on_device(sizeof bt, bt);
    float *dc = (float *)on_device(sizeof c, NULL);
    for (int trans = 0; trans < 2; trans++) {
        if (GPU_LAUNCH(&g, product<T>, 1, 32, 0, dc, (const T *)da, (const T *)(trans ? dt : db), trans)) return 1;
        fetch(c, dc, sizeof c);
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                double want = 0;
                for (int k = 0; k < K; k++) want += (double)to_f32(a[m * K + k]) * (double)to_f32(b[k * N + n]);
                bad |= !(fabs(c[m * N + n] - want) < 1e-4);
            }
    }
    cudaFree(da), cudaFree(db), cudaFree(dt), cudaFree(dc);
    return bad;
}

static int numbers(void) {
    /* ties of bf16 and f16, the largest, the smallest, not a number */
    static const float x[] = { 0, -1, 3, 1.00390625f, 1.01171875f, 1.00048828125f, 1.00146484375f, -65519, 65520, 6e-8f, -200, NAN, INFINITY, 0.1f };
    enum { n = sizeof x / sizeof *x };
    static const float part[4] = { 1, 2, 3, 4 };
    float y[128];
    int bad = 0;
    float *dx = (float *)on_device(sizeof x, x), *dp = (float *)on_device(sizeof part, part), *dy = (float *)on_device(sizeof y, NULL);
    if (GPU_LAUNCH(&g, values, 1, 32, 0, dy, (const float *)dx, (int)n, (const float *)dp)) return 1;
    fetch(y, dy, sizeof y);
    for (int i = 0; i < n; i++) {
        float e = exp2f(x[i]), b = to_f32(from_f32<bf16>(x[i])), h = to_f32(from_f32<f16>(x[i])), p = 0;
        for (int k = 0; k < i % 5; k++) p += part[k] * (float)pow(10, k);
        bad |= !(fabsf(y[i] - e) <= 1e-6f * e || y[i] == e || (e != e && y[i] != y[i]) || (e < 1e-38f && y[i] == 0));
        bad |= !(y[32 + i] == b || (b != b && y[32 + i] != y[32 + i])) || !(y[64 + i] == h || (h != h && y[64 + i] != y[64 + i]));
        bad |= y[96 + i] != p;
    }
    cudaFree(dx), cudaFree(dp), cudaFree(dy);
    return bad;
}

int main(void) {
    cudaStream_t s;
    if (cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking)) return 3;
    device.stream = s, g.be = &device.be;
    int bad = products<bf16>() + 2 * products<f16>() + 4 * numbers();
    if (bad) fprintf(stderr, "wrong results (%d)\n", bad);
    cudaStreamDestroy(s);
    return bad != 0;
}
