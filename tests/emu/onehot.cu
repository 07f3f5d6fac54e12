/* onehot.cu - what the wrappers of gpu.cuh do to every single register and byte, as tables of numbers.
 *
 * A product of matrices cannot see a permutation that all its operands share; so every register of one operand in turn
 * holds the only 1, and the others hold the numbers of their places. tests/emu/test_onehot.c compares with the stored
 * tables, on the emulated device, on translated PTX and on a GPU. */
#include "kernels/gpu.cuh"
#include "tests/emu/onehot.h"

/* Lane p/8, register p/2%4, half p%2 of a is 1; register halves of b are their number + 1: c says which met. */
template <class T> __global__ void mma_kernel(int32_t *out) {
    int p = blockIdx.x, lane = threadIdx.x;
    uint32_t a[4] = { 0, 0, 0, 0 }, b[2];
    float c[4] = { 0, 0, 0, 0 };
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (lane == p / 8 && i == p / 2 % 4) a[i] = p % 2 ? pack2<T>(0, 1) : pack2<T>(1, 0);
#pragma unroll
    for (int i = 0; i < 2; i++) b[i] = pack2<T>((float)(lane * 4 + i * 2 + 1), (float)(lane * 4 + i * 2 + 2));
    mma_16816<T>(c, a, b);
#pragma unroll
    for (int i = 0; i < 4; i++) out[p * 128 + lane * 4 + i] = (int32_t)c[i];
}

/* Four 8x8 tiles hold their own numbers; out: x4, x4_trans, x2, x2_trans, two halves per register. */
__global__ void ldmatrix_kernel(int32_t *out) {
    GPU_SHARED(uint16_t, tile, [32][8]);
    int lane = threadIdx.x;
    uint32_t r[4][4];
    for (int k = 0; k < 8; k++) tile[lane][k] = (uint16_t)(lane * 8 + k);
    __syncthreads();
    ldmatrix_x4(r[0], tile[lane]);
    ldmatrix_x4_trans(r[1], tile[lane]);
    ldmatrix_x2(r[2], tile[lane % 16]);
    ldmatrix_x2_trans(r[3], tile[lane % 16]);
#pragma unroll
    for (int how = 0; how < 4; how++)
#pragma unroll
        for (int i = 0; i < (how < 2 ? 4 : 2); i++) {
            out[(how * 32 + lane) * 8 + 2 * i] = (int32_t)(r[how][i] & 0xffff);
            out[(how * 32 + lane) * 8 + 2 * i + 1] = (int32_t)(r[how][i] >> 16);
        }
}

/* From which lane a value comes, for every distance and width. */
__global__ void shuffle_kernel(int32_t *out) {
    int lane = threadIdx.x;
    for (int w = 0; w < 6; w++)
        for (int d = 0; d < 32; d++) {
            int32_t *o = out + ((w * 32 + d) * 32 + lane) * 4;
            o[0] = __shfl_sync(GPU_ALL, lane, d, 1 << w);
            o[1] = __shfl_up_sync(GPU_ALL, lane, d, 1 << w);
            o[2] = __shfl_down_sync(GPU_ALL, lane, d, 1 << w);
            o[3] = __shfl_xor_sync(GPU_ALL, lane, d, 1 << w);
        }
}

/* 16 bytes 1, 2, ... of which n are asked for, onto bytes 255; and what stands behind them. */
__global__ void cp_async_kernel(const uint8_t *bytes, int32_t *out) {
    GPU_SHARED(uint8_t, to, [17][32]);
    int n = threadIdx.x;
    if (n < 17) {
        for (int k = 0; k < 32; k++) to[n][k] = 255;
        cp_async16(to[n], bytes, n);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    for (int k = 0; k < 32 && n < 17; k++) out[n * 32 + k] = to[n][k];
}

/* Votes and bit tricks of lane numbers. */
__global__ void bits_kernel(int32_t *out) {
    int lane = threadIdx.x;
    int32_t *o = out + lane * 8;
    o[0] = (int32_t)__ballot_sync(GPU_ALL, lane % 3 == 0);
    o[1] = __any_sync(GPU_ALL, lane == 31) * 2 + __all_sync(GPU_ALL, lane < 31);
    o[2] = __popc((unsigned)lane * 0x01010101u);
    o[3] = __clz(lane * lane);
    o[4] = __ffs(lane << 3);
    o[5] = (int32_t)__brev((unsigned)lane);
    o[6] = (int32_t)umulhi32((uint32_t)lane * 0x89abcdefu, 0xfedcba98u);
    o[7] = (int32_t)__byte_perm(0x33221100u, 0x77665544u, (unsigned)lane * 0x1111u & 0x7777u);
}

extern "C" vm_status onehot_run(vm_graph *g, int32_t *out, const uint8_t *bytes) {
    if (GPU_LAUNCH(g, mma_kernel<bf16>, 256, 32, 0, out + ONEHOT_MMA_BF16)) return VM_EDEVICE;
    if (GPU_LAUNCH(g, mma_kernel<f16>, 256, 32, 0, out + ONEHOT_MMA_F16)) return VM_EDEVICE;
    if (GPU_LAUNCH(g, ldmatrix_kernel, 1, 32, 0, out + ONEHOT_LDMATRIX)) return VM_EDEVICE;
    if (GPU_LAUNCH(g, shuffle_kernel, 1, 32, 0, out + ONEHOT_SHUFFLE)) return VM_EDEVICE;
    if (GPU_LAUNCH(g, cp_async_kernel, 1, 32, 0, bytes, out + ONEHOT_CP_ASYNC)) return VM_EDEVICE;
    return GPU_LAUNCH(g, bits_kernel, 1, 32, 0, out + ONEHOT_BITS);
}
