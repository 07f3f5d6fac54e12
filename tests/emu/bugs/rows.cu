/* rows.cu - layer norm: a warp per row, y = (x - mean) / deviation; sums of columns of y by the warps of a block in
 * turn. */
#include "kernels/gpu.cuh"
#include "tests/emu/bugs/bugs.h"

enum { ROWS = 21, C = 72, WARPS = 4 };

template <int BUG> __global__ void rows(const float *x, float *y, float *sums, int R, int per_block) {
    GPU_SHARED(float, acc, [C]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.x * WARPS + warp;
    if (BUG != NOT_ZEROED && threadIdx.x < C) acc[threadIdx.x] = 0;
    __syncthreads();
    bool there = BUG == ROW_GUARD ? !(row > R) : row < R;
    float mean = 0, square = 0;
    if (there) {
        const float *xi = x + (int64_t)row * C;
        if (BUG == SIGNED_OVERFLOW) xi = x + (row * 715827883) / 715827883 * C;
        for (int c = lane * 4; c < C; c += 128) {
            vec<float, 4> v = ld_vec<4>(xi + c + (BUG == OFF_BY_ONE_VECTOR));
            for (int k = 0; k < 4; k++) mean += v.v[k], square += v.v[k] * v.v[k];
        }
    }
    for (int o = 16; o; o >>= 1) {
        if (BUG == HALF_MASK) mean += __shfl_xor_sync(0xffff, mean, o), square += __shfl_xor_sync(0xffff, square, o);
        else if (BUG == DIVERGENT_SHUFFLE) {
            if (lane % 2) mean += __shfl_xor_sync(GPU_ALL, mean, o);
            else mean += __shfl_xor_sync(GPU_ALL, mean, o);
            square += __shfl_xor_sync(GPU_ALL, square, o);
        } else mean += __shfl_xor_sync(GPU_ALL, mean, o), square += __shfl_xor_sync(GPU_ALL, square, o);
    }
    mean /= C;
    float scale = rsqrtf(square / C - mean * mean + 1e-5f);
    for (int w = 0; w < WARPS; w++) {
        if (w == warp && there)
            for (int c = lane; c < C; c += 32) {
                float v = (x[(int64_t)row * C + c] - mean) * scale;
                if (BUG != NOT_WRITTEN || c != C - 1) y[(int64_t)row * C + c] = v;
                acc[c] += v;
            }
        if (BUG != NO_TURN_BARRIER) __syncthreads();
    }
    __syncthreads();
    if (threadIdx.x >= C) return;
    if (BUG == BLOCKS_ADD) sums[threadIdx.x] += acc[threadIdx.x];
    else sums[blockIdx.x * per_block + threadIdx.x] = acc[threadIdx.x];
}

template <int BUG> static int run() {
    enum { BLOCKS = (ROWS + WARPS - 1) / WARPS };
    static float x[ROWS * C], y[ROWS * C], sums[BLOCKS * C];
    uint64_t s = 1;
    for (float &v : x) v = 3 + bug_random(&s);
    float *dx = bug_device(sizeof x, x, sizeof x), *dy = bug_device(sizeof y, NULL, 0),
          *ds = bug_device(sizeof sums, sums, sizeof sums);
    if (GPU_LAUNCH(bug_graph, rows<BUG>, BLOCKS, 32 * WARPS, 0, dx, dy, ds, ROWS, C)) return 1;
    bug_fetch(y, dy, sizeof y), bug_fetch(sums, ds, sizeof sums);
    cudaFree(dx), cudaFree(dy), cudaFree(ds);
    int bad = 0;
    double total[C] = {};
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, square = 0;
        for (int c = 0; c < C; c++) mean += x[r * C + c] / (double)C;
        for (int c = 0; c < C; c++) square += (x[r * C + c] - mean) * (x[r * C + c] - mean) / C;
        for (int c = 0; c < C; c++) {
            double want = (x[r * C + c] - mean) / sqrt(square + 1e-5);
            bad |= bug_differs(y[r * C + c], want, 1e-3);
            total[c] += want;
        }
    }
    for (int c = 0; c < C; c++) {
        float got = 0;
        for (int b = 0; b < BLOCKS; b++) got += sums[b * C + c];
        bad |= bug_differs(got, total[c], 1e-2);
    }
    return bad;
}

int run_rows(int k) {
    switch (k) {
    case NONE: return run<NONE>();
    case HALF_MASK: return run<HALF_MASK>();
    case ROW_GUARD: return run<ROW_GUARD>();
    case OFF_BY_ONE_VECTOR: return run<OFF_BY_ONE_VECTOR>();
    case NOT_ZEROED: return run<NOT_ZEROED>();
    case NO_TURN_BARRIER: return run<NO_TURN_BARRIER>();
    case BLOCKS_ADD: return run<BLOCKS_ADD>();
    case DIVERGENT_SHUFFLE: return run<DIVERGENT_SHUFFLE>();
    case SIGNED_OVERFLOW: return run<SIGNED_OVERFLOW>();
    case NOT_WRITTEN: return run<NOT_WRITTEN>();
    }
    return 2;
}
