/* reduce.cu - sums of n numbers per block: a tree in shared memory, then the sum is handed to every thread of the
 * block. */
#include "kernels/gpu.cuh"
#include "tests/emu/bugs/bugs.h"

enum { T = 128, N = 1000, BLOCKS = 3 };

template <int BUG> __global__ void reduce(const float *x, float *y, int *count, int n) {
    GPU_SHARED(float, part, [T]);
    GPU_SHARED(float, slot, [1]);
    GPU_SHARED(float, swap, [T]);
    int t = threadIdx.x, lane = t % 32;
    for (int turn = 0; turn < 2; turn++) {
        float s = 0;
        const float *xb = x + (int64_t)blockIdx.x * n;
        for (int i = t; BUG == READS_TOO_FAR && blockIdx.x == BLOCKS - 1 ? i <= n : i < n; i += T)
            s += xb[i - (BUG == BEFORE_BEGIN && !blockIdx.x)];
        part[BUG == SHARED_OVERRUN ? t + 1 : t] = s + turn;
        if (BUG == SHARED_OVERRUN && t == 0) part[0] = 0;
        if (BUG == ONE_WARP_BARRIER) {
            if (t < 32) __syncthreads();
        } else if (BUG == TWO_SITES) {
            if (t < 64) __syncthreads();
            else __syncthreads();
        } else if (BUG != NO_BARRIER) {
            __syncthreads();
        }
        for (int h = T / 2; h; h >>= 1) {
            if (t < h) part[t] += part[t + h];
            if (BUG != TREE_NO_BARRIER || h > 32) __syncthreads();
        }
        if (t == 0) slot[0] = part[0];
        __syncthreads();
        float sum = slot[0];
        if (BUG != SLOT_REUSED) __syncthreads();
        if (t == 0) slot[0] = (float)turn;
        __syncthreads();
        sum += slot[0];
        /* every lane takes its neighbour's */
        swap[t] = sum + (float)lane;
        if (BUG != NO_SYNCWARP) __syncwarp();
        float other = swap[t ^ 1];
        __syncwarp();
        if (BUG == EARLY_EXIT && t == 5) return;
        other += __shfl_xor_sync(GPU_ALL, other, 1);
        y[((int64_t)blockIdx.x * 2 + turn) * T + t] = other;
    }
    if (BUG == ATOMIC_MIXED && t == 7) y[(int64_t)blockIdx.x * 2 * T + 7] += (float)(*count > 10000);
    atomicAdd(count, 1);
}

template <int BUG> static int run() {
    static float x[BLOCKS * N], y[BLOCKS * 2 * T];
    int zero = 0, count = 0, bad = 0;
    uint64_t s = 4;
    for (float &v : x) v = bug_random(&s);
    float *dx = bug_device(sizeof x, x, sizeof x), *dy = bug_device(sizeof y, NULL, 0);
    int *dc = (int *)bug_device(sizeof zero, &zero, sizeof zero);
    if (GPU_LAUNCH(bug_graph, reduce<BUG>, BLOCKS, T, 0, dx, dy, dc, N)) return 1;
    bug_fetch(y, dy, sizeof y), bug_fetch(&count, dc, sizeof count);
    cudaFree(dx), cudaFree(dy), cudaFree(dc);
    for (int b = 0; b < BLOCKS; b++)
        for (int turn = 0; turn < 2; turn++) {
            double sum = T * turn + turn; /* a turn per thread, and one by the slot */
            for (int i = 0; i < N; i++) sum += (double)x[b * N + i];
            for (int t = 0; t < T; t++)
                bad |= bug_differs(y[(b * 2 + turn) * T + t], 2 * sum + (t % 32) + (t % 32 ^ 1), 1e-2);
        }
    return bad || count != BLOCKS * T;
}

int run_reduce(int k) {
    switch (k) {
    case NONE: return run<NONE>();
    case READS_TOO_FAR: return run<READS_TOO_FAR>();
    case NO_BARRIER: return run<NO_BARRIER>();
    case ONE_WARP_BARRIER: return run<ONE_WARP_BARRIER>();
    case TREE_NO_BARRIER: return run<TREE_NO_BARRIER>();
    case SLOT_REUSED: return run<SLOT_REUSED>();
    case SHARED_OVERRUN: return run<SHARED_OVERRUN>();
    case NO_SYNCWARP: return run<NO_SYNCWARP>();
    case BEFORE_BEGIN: return run<BEFORE_BEGIN>();
    case EARLY_EXIT: return run<EARLY_EXIT>();
    case TWO_SITES: return run<TWO_SITES>();
    case ATOMIC_MIXED: return run<ATOMIC_MIXED>();
    }
    return 2;
}
