/* gpu.cuh - what a .cu file stands on: its first and only header, and the only place with inline PTX.
 *
 * Under nvcc this is CUDA; elsewhere tests/emu/shim.h gives the same names on the CPU, where every thread of a block is a
 * fiber and every access is checked. So the rules of .cu files (make lint): no asm, <<<>>>, raw __shared__, cooperative
 * groups, wmma, CUB or 16-bit types of the toolkit; launches by GPU_LAUNCH, shared memory by GPU_SHARED and GPU_SHARED_DYN,
 * 8- and 16-byte accesses by ld_vec and st_vec, warp operations in their _sync forms with a mask, fmaf where the rounding
 * matters. A kernel's launcher is `extern "C" vm_status NAME_cuda(vm_graph *g, vm_node *n)`: it allocates nothing, waits for
 * nothing, launches nothing for empty results. Values are f32 in registers whatever their type in memory. */
#ifndef VM_GPU_CUH
#define VM_GPU_CUH
#include <stdint.h>
#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "tests/emu/shim.h"
#endif
extern "C" {
#include "kernels/backend_cuda.h"
#include "kernels/graph.h"
}

/* --- launches, shared memory ---------------------------------------------------------------------------------------- */
#ifdef __CUDACC__
/* Queues kernel(args...) on the graph's stream; the value is a vm_status (g->err says which op). A kernel with a comma in
 * its template arguments stands in parentheses. */
#define GPU_LAUNCH(g, kernel, grid, block, dyn_smem, ...)                                                          \
    ((kernel)<<<(grid), (block), (dyn_smem), (cudaStream_t)gpu_stream(g)>>>(__VA_ARGS__), gpu_launched(g, cudaGetLastError()))
/* Once before a launch with more than 48 KiB of dynamic shared memory; a vm_status. */
#define GPU_SMEM(g, kernel, bytes)                                                                                 \
    gpu_launched(g, cudaFuncSetAttribute((const void *)(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes)))
#define GPU_SHARED(type, name, dims) __shared__ __align__(16) type name dims /* GPU_SHARED(float, sum, [32][4]); scalars [1] */
#define GPU_SHARED_DYN(type, name)                                                                                 \
    extern __shared__ __align__(128) unsigned char gpu_dyn_smem[];                                                 \
    type *name = (type *)gpu_dyn_smem
#endif
#define GPU_ALL 0xffffffffu /* the mask of a whole warp */
static inline unsigned gpu_blocks(int64_t n, int64_t per_block) { return (unsigned)((n + per_block - 1) / per_block); }

/* --- 16-bit floats: bits in memory, f32 in registers ---------------------------------------------------------------- */
struct bf16 { uint16_t u; };
struct f16 { uint16_t u; };

#ifdef __CUDA_ARCH__
__device__ __forceinline__ uint32_t f32_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float bits_f32(uint32_t u) { return __uint_as_float(u); }
#else
__host__ __device__ static inline uint32_t f32_bits(float x) { union { float f; uint32_t u; } v; v.f = x; return v.u; }
__host__ __device__ static inline float bits_f32(uint32_t u) { union { float f; uint32_t u; } v; v.u = u; return v.f; }
#endif

__host__ __device__ static inline float to_f32(float x) { return x; }
__host__ __device__ static inline float to_f32(bf16 x) { return bits_f32((uint32_t)x.u << 16); }
__host__ __device__ static inline float to_f32(f16 x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.u));
    return y;
#else
    float y = bits_f32((uint32_t)(x.u & 0x7fffu) << 13) * 0x1p112f;
    return bits_f32(f32_bits(y) | ((x.u & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0) | (uint32_t)(x.u & 0x8000u) << 16);
#endif
}
/* from_f32<T>(x): rounded to nearest even, NaN stays NaN */
template <class T> __host__ __device__ static inline T from_f32(float x);
template <> __host__ __device__ inline float from_f32<float>(float x) { return x; }
template <> __host__ __device__ inline bf16 from_f32<bf16>(float x) {
    bf16 y;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.u) : "f"(x));
#else
    uint32_t u = f32_bits(x);
    y.u = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fffu + ((u >> 16) & 1)) >> 16);
#endif
    return y;
}
template <> __host__ __device__ inline f16 from_f32<f16>(float x) {
    f16 y;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.u) : "f"(x));
#else
    uint32_t a = f32_bits(x) & 0x7fffffffu, small = f32_bits(bits_f32(a) + 0.5f);
    uint32_t normal = (a - (112u << 23) + 0xfffu + ((a >> 13) & 1)) >> 13;
    uint32_t r = a < 0x38800000u ? small - 0x3f000000u : normal;
    r = a >= 0x477ff000u ? 0x7c00u : r;
    r = a > 0x7f800000u ? 0x7fffu : r;
    y.u = (uint16_t)(r | (f32_bits(x) >> 16 & 0x8000u));
#endif
    return y;
}
/* Two values in one register, the first in the low half: what mma reads. */
template <class T> __device__ __forceinline__ uint32_t pack2(float lo, float hi) {
    return (uint32_t)from_f32<T>(lo).u | (uint32_t)from_f32<T>(hi).u << 16;
}

/* --- vectors: N values of T at once, at an address aligned to their size (4, 8 or 16 bytes) --------------------------- */
template <class T, int N> struct __align__(sizeof(T) * N) vec { T v[N]; };
#ifdef __CUDACC__
template <int N, class T> __device__ __forceinline__ vec<T, N> ld_vec(const T *p) { return *(const vec<T, N> *)p; }
template <int N, class T> __device__ __forceinline__ void st_vec(T *p, vec<T, N> x) { *(vec<T, N> *)p = x; }
#endif
/* For launchers: whether rows of C elements of size `each` beginning at p may be read N at a time. */
static inline bool gpu_aligned(const void *p, int64_t C, size_t each, int N) {
    return C % N == 0 && (uintptr_t)p % (each * (size_t)N) == 0;
}

/* --- values that a kernel cannot take ---------------------------------------------------------------------------------- */
/* Ends the run with an error that names the op and the value (an id outside its table): the first one is kept. block and node
 * are gpu_of(g)->block and gpu_node(g, n), given to the kernel by its launcher. The kernel goes on without reading there. */
__device__ static inline void gpu_fault(vm_gpu_block *block, int node, int64_t value) {
    if (atomicCAS(&block->faulted, 0, 1)) return;
    block->fault_node = node, block->fault_value = value, block->fault_graph = block->graph;
}

/* --- math ------------------------------------------------------------------------------------------------------------- */
/* e^x within 2 ulp of ex2.approx, for softmax-like sums */
__device__ __forceinline__ float fast_exp2(float x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}
__device__ __forceinline__ float fast_exp(float x) { return fast_exp2(x * 1.44269504088896341f); }
__device__ __forceinline__ uint32_t umulhi32(uint32_t a, uint32_t b) { return (uint32_t)(((uint64_t)a * b) >> 32); }

/* --- warps and blocks --------------------------------------------------------------------------------------------------- */
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(GPU_ALL, x, o);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int o = 16; o; o >>= 1) x = fmaxf(x, __shfl_xor_sync(GPU_ALL, x, o));
    return x;
}
/* Sum over the block in a fixed order, the same value in every thread; room: 33 floats of shared memory, free again when the
 * call returns. blockDim.x a multiple of 32, blocks of one axis; every thread calls. */
__device__ __forceinline__ float block_sum(float x, float *room) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    if (warps == 1) return x;
    if (lane == 0) room[warp] = x;
    __syncthreads();
    if (warp == 0) {
        float y = warp_sum(lane < warps ? room[lane] : 0.0f);
        if (lane == 0) room[32] = y;
    }
    __syncthreads();
    x = room[32];
    __syncthreads();
    return x;
}
__device__ __forceinline__ float block_max(float x, float *room) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_max(x);
    if (warps == 1) return x;
    if (lane == 0) room[warp] = x;
    __syncthreads();
    if (warp == 0) {
        float y = warp_max(lane < warps ? room[lane] : -INFINITY);
        if (lane == 0) room[32] = y;
    }
    __syncthreads();
    x = room[32];
    __syncthreads();
    return x;
}

/* --- tensor cores (sm_80 on): lane L, g = L/4, t = 2 (L mod 4) ---------------------------------------------------------- */
#ifdef __CUDACC__
/* c (16,8) += a (16,16) b (16,8). a: register i holds row g + 8 (i odd), columns t, t+1 (+ 8 if i >= 2); b: register i holds
 * rows t, t+1 (+ 8 i) of column g; c: (g,t), (g,t+1), (g+8,t), (g+8,t+1). T: bf16 or f16; sums in f32. */
template <class T> __device__ __forceinline__ void mma_16816(float c[4], const uint32_t a[4], const uint32_t b[2]);
template <> __device__ __forceinline__ void mma_16816<bf16>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> __device__ __forceinline__ void mma_16816<f16>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Four 8x8 tiles of 16-bit values from shared memory: lane 8m+r gives the address (16-byte aligned) of row r of tile m;
 * register m gets row g, columns t, t+1 of tile m; _trans: column g, rows t, t+1. _x2: two tiles, lanes 0 to 15. */
__device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void *smem) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(smem)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void *smem) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(smem)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void *smem) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"((uint32_t)__cvta_generic_to_shared(smem)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t r[2], const void *smem) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"((uint32_t)__cvta_generic_to_shared(smem)) : "memory");
}
/* 16 bytes from global to shared memory behind the thread's back, both aligned to 16; only the first src_bytes (0 to 16) are
 * read, the rest becomes zeros. Visible after cp_async_wait<N> (all but the N newest groups) and a barrier. */
__device__ __forceinline__ void cp_async16(void *smem, const void *from, int src_bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(smem)), "l"(from), "r"(src_bytes) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }
#endif

#endif
