/* gpu_quant_tile.cuh - an operand of the tiles of gpu_tile.cuh that comes from codes: each chunk of a stage is brought to the type of x on its
 * way to shared memory, so that no copy of the weight exists. For weights of which gpu_codes_whole holds. */
#ifndef VM_GPU_QUANT_TILE_CUH
#define VM_GPU_QUANT_TILE_CUH
#include "kernels/gpu_tile.cuh"
#include "kernels/gpu_quant.cuh"

template <bool STEEP> struct tile_codes {
    gpu_codes w;
    int outer; /* rows (flat) or columns (steep) of the weight in the direction of N */
};
template <class T, int TILE, int SIDE, bool STEEP>
__device__ __forceinline__ void tile_aim(const tile_codes<STEEP> &s, tile_lines &l, int o0) {}
template <class T, int TILE, int SIDE, bool STEEP>
__device__ __forceinline__ void tile_fetch(const tile_codes<STEEP> &s, const tile_lines &l, unsigned char *to, int o0, int k0, int k1) {
    using size = tile_size<T, TILE>;
    constexpr int E = size::E, CPR = (STEEP ? SIDE : size::BK) / E, LINES = STEEP ? size::BK : SIDE, STRIDE = size::THREADS / CPR;
    int c = threadIdx.x % CPR;
#pragma unroll
    for (int i = 0; i < LINES / STRIDE; i++) {
        int line = threadIdx.x / CPR + i * STRIDE, row = STEEP ? k0 + line : o0 + line, col = (STEEP ? o0 : k0) + c * E;
        bool exists = STEEP ? row < k1 && col < s.outer : row < s.outer && col < k1; /* all of the chunk: K is a multiple of 8 */
        float x[E];
#pragma unroll
        for (int e = 0; e < E; e++) x[e] = 0.0f;
        if (exists) gpu_weights<E>(s.w, row, col, x);
        gpu_store_as<T, E>((T *)(to + tile_at<CPR>(line, c)), x);
    }
}

#endif
