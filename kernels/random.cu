/* random.cu - see random.c: the same words of Philox at the same elements as on the CPU. A thread makes the blocks i..
 * of a piece, N of them, for the elements i, 256 + i, 512 + i, 768 + i and the N - 1 behind each. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

enum { PIECE = 1024, BLOCKS = PIECE / 4 };

/* Philox 4x32-10 (philox.h): one block */
static __device__ __forceinline__ void philox(uint64_t key, uint64_t stream, uint64_t index, uint32_t w[4]) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
    }
    w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
}

/* b counts blocks of four elements; the loop is over groups of N of them */
template <int N> __global__ void dropout_kernel(gpu_mem x, gpu_mem y, int64_t n, uint64_t node_key,
                                                const vm_gpu_block *run, float keep, uint32_t dropped_below, bool add) {
    uint64_t key = run->seed, stream = run->step << 32 ^ node_key;
    GPU_FOR(b, N, (n + PIECE - 1) / PIECE * BLOCKS) {
        uint32_t w[N][4];
        int64_t at = b / BLOCKS * PIECE + b % BLOCKS;
        if (at >= n) continue;
#pragma unroll
        for (int k = 0; k < N; k++) philox(key, stream, (uint64_t)(b + k), w[k]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float v[N];
            int64_t i = at + j * BLOCKS;
            if (i >= n) break;
            gpu_load_to<N>(x, i, n, v);
#pragma unroll
            for (int k = 0; k < N; k++) v[k] *= w[k][j] >= dropped_below ? keep : 0.0f;
            gpu_store_to<N>(y, i, n, v, add);
        }
    }
}

extern "C" vm_status dropout_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]), blocks = (N + PIECE - 1) / PIECE * BLOCKS;
    uint64_t key = n->i[1] ? (uint64_t)n->i[2] : n->key;
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    float keep = (float)(1 / (1 - n->f[0]));
    uint32_t below = (uint32_t)(n->f[0] * 0x1p32);
    bool add = vm_adds(g, n, 0);
    if (!N) return VM_OK;
    return gpu_wide(x, y) ? GPU_LAUNCH(g, dropout_kernel<4>, gpu_grid(g, blocks, 4 * GPU_THREADS), GPU_THREADS, 0, x, y,
                                       N, key, gpu_of(g)->block, keep, below, add)
                          : GPU_LAUNCH(g, dropout_kernel<1>, gpu_grid(g, blocks, GPU_THREADS), GPU_THREADS, 0, x, y, N,
                                       key, gpu_of(g)->block, keep, below, add);
}

/* sin and cos of t turns, |t| <= 1/2, by the polynomials of random_cpu.c */
static __device__ __forceinline__ void sin_cos_turns(float t, float *s, float *c) {
    float half = rintf(2.0f * t), r = t - 0.5f * half, u = r * r,
          sign = 1.0f - 2.0f * half * half; /* half is -1, 0 or 1 */
    float p = 39.5367083f, q = -24.9822723f;
    p = fmaf(p, u, -76.5497826f);
    p = fmaf(p, u, 81.6010041f);
    p = fmaf(p, u, -41.341655f);
    p = fmaf(p, u, 6.28318516f);
    q = fmaf(q, u, 60.144021f);
    q = fmaf(q, u, -85.453572f);
    q = fmaf(q, u, 64.9393466f);
    q = fmaf(q, u, -19.7392085f);
    q = fmaf(q, u, 1.0f);
    *s = sign * p * r;
    *c = sign * q;
}
/* Box-Muller: words a, b give two normals. The radius' uniform is never 0. */
static __device__ __forceinline__ void normals(uint32_t a, uint32_t b, float *y0, float *y1) {
    float s, c, u = fmaf((float)a, 0x1p-32f, 0x1p-33f), r = sqrtf(-2.0f * logf(u < 1.0f ? u : 1.0f));
    sin_cos_turns((float)(int32_t)b * 0x1p-32f, &s, &c);
    *y0 = r * c, *y1 = r * s;
}

__global__ void randn_kernel(gpu_mem y, int64_t n, uint64_t node_key, const vm_gpu_block *run) {
    uint64_t key = run->seed, stream = run->step << 32 ^ node_key;
    GPU_FOR(b, 1, (n + PIECE - 1) / PIECE * BLOCKS) {
        uint32_t w[4];
        float z[4];
        int64_t at = b / BLOCKS * PIECE + b % BLOCKS;
        philox(key, stream, (uint64_t)b, w);
        normals(w[0], w[1], &z[0], &z[1]);
        normals(w[2], w[3], &z[2], &z[3]);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (at + j * BLOCKS < n) gpu_put(y, at + j * BLOCKS, z[j]);
    }
}
extern "C" vm_status randn_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    if (!N) return VM_OK;
    return GPU_LAUNCH(g, randn_kernel, gpu_grid(g, (N + 3) / 4, GPU_THREADS), GPU_THREADS, 0, gpu_out(g, n, 0), N,
                      n->key, gpu_of(g)->block);
}
