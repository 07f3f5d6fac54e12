/* shim.h - CUDA's names on the CPU: what kernels/gpu.cuh includes where the compiler is not nvcc. See emu.h. */
#ifndef VM_EMU_SHIM_H
#define VM_EMU_SHIM_H
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <math.h>

#include "tests/emu/cudart.h"
#include "tests/emu/emu.h"
#ifdef EMU_PTX
#include "tests/emu/ptx/launch.h"
#endif

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ __attribute__((section("emu_constant")))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define threadIdx (emu_now->idx)
#define blockIdx (emu_here.idx)
#define blockDim (emu_here.dim)
#define gridDim (emu_here.grid)
enum { warpSize = 32 };

/* The place of a call, taken where a default argument is filled in. */
#define EMU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
/* Not instrumented in the race lane: what it does was asked for by emu_access. */
#define EMU_RAW __attribute__((no_sanitize("thread")))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
template <class T, int N> struct vec; /* of gpu.cuh */
struct bf16;
struct f16;

/* --- launches, shared memory ------------------------------------------------------------------------------------- */
namespace emu {
int queue_launch(const char *kernel, const char *file, int line, emu_index grid, emu_index block, size_t smem,
                 void *stream, const void *fn, void (*call)(const void *), std::shared_ptr<void> args);
/* Two files may call different structs by one name: what depends on a kernel's parameters belongs to its file. */
namespace {
template <class T> T as(T x) { return x; } /* converted as an argument is */

template <class... P> struct values {};
template <class P, class... R> struct values<P, R...> {
    P first;
    values<R...> rest;
};
template <class... P> values<P...> pack(P... x);
template <> inline values<> pack() { return {}; }
template <class P, class... R> values<P, R...> pack(P x, R... rest) { return { x, pack<R...>(rest...) }; }

template <class... P> struct call_of {
    void (*kernel)(P...);
    values<P...> args;
    template <class... D> EMU_RAW static void go(void (*k)(P...), const values<> &, const D &...d) { k(d...); }
    template <class F, class... R, class... D>
    EMU_RAW static void go(void (*k)(P...), const values<F, R...> &a, const D &...d) {
        go(k, a.rest, d..., a.first);
    }
    EMU_RAW static void run(const void *c) { go(((const call_of *)c)->kernel, ((const call_of *)c)->args); }
};
template <class... P, class... A> int launch_kernel(const char *name, const char *file, int line, void (*kernel)(P...),
                                                    dim3 g, dim3 b, size_t smem, void *stream, A... a) {
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
    static_assert((std::is_trivially_copyable<P>::value && ...), "kernels take plain values");
    static_assert((sizeof(P) + ... + 0) <= 4096, "at most 4 KiB of arguments");
#ifdef EMU_PTX
    std::shared_ptr<void> t = translate<P...>(name, file, line, kernel, (size_t)b.x * b.y * b.z, as<P>(a)...);
    return queue_launch(name, file, line, { g.x, g.y, g.z }, { b.x, b.y, b.z }, smem, stream, (const void *)kernel,
                        translated::run, t);
#endif
    call_of<P...> *c = (call_of<P...> *)malloc(sizeof *c), with = { kernel, pack<P...>(as<P>(a)...) };
    memcpy((void *)c, &with, sizeof with);
    return queue_launch(name, file, line, { g.x, g.y, g.z }, { b.x, b.y, b.z }, smem, stream, (const void *)kernel,
                        call_of<P...>::run, std::shared_ptr<void>(c, free));
}
} /* namespace */
} /* namespace emu */

#define GPU_LAUNCH(g, kernel, grid, block, dyn_smem, ...) \
    gpu_launched(g, emu::launch_kernel(#kernel, __FILE__, __LINE__, kernel, (grid), (block), (dyn_smem), \
                                       gpu_stream(g), __VA_ARGS__))
#define GPU_SMEM(g, kernel, bytes) \
    gpu_launched( \
        g, cudaFuncSetAttribute((const void *)(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes)))
#define GPU_SHARED(type, name, dims)                                                                               \
    typedef type name##_array dims;                                                                                \
    static const char name##_key = 0;                                                                              \
    name##_array &name = *(name##_array *)emu_shared(&name##_key, sizeof(name##_array), __FILE__, __LINE__)
#define GPU_SHARED_DYN(type, name) type *name = (type *)emu_shared_dyn(__FILE__, __LINE__)

/* --- memory ------------------------------------------------------------------------------------------------------ */
template <int N, class T> EMU_RAW static inline vec<T, N> ld_vec(const T *p, EMU_SITE) {
    emu_access(p, sizeof(vec<T, N>), EMU_READ, file, line);
    return *(const vec<T, N> *)p;
}
template <int N, class T> EMU_RAW static inline void st_vec(T *p, vec<T, N> x, EMU_SITE) {
    emu_access(p, sizeof(vec<T, N>), EMU_WRITE, file, line);
    *(vec<T, N> *)p = x;
}
static inline void cp_async16(void *smem, const void *from, int src_bytes, EMU_SITE) {
    emu_cp_async(smem, from, 16, src_bytes, file, line);
}
static inline void cp_async_commit() { emu_cp_async_commit(); }
template <int N> static inline void cp_async_wait() { emu_cp_async_wait(N); }
template <class T> EMU_RAW static inline T __ldg(const T *p, EMU_SITE) {
    return emu_access(p, sizeof *p, EMU_READ, file, line), *p;
}

static inline void __threadfence() {}
static inline void __threadfence_block() {}

/* atomicX(p, x): *p = what the name says, of the old value and x; the value is the old one */
#define EMU_ATOMIC_FN(name, kind, now)                                                                             \
    template <class T> EMU_RAW static inline T name(T *p, std::common_type_t<T> x, EMU_SITE) {                      \
        emu_access(p, sizeof *p, kind, file, line);                                                                \
        T old = *p;                                                                                                \
        *p = (T)(now);                                                                                             \
        return old;                                                                                                \
    }
enum { EMU_UPDATE = EMU_READ | EMU_WRITE | EMU_ATOMIC };
EMU_ATOMIC_FN(atomicAdd, EMU_UPDATE, old + x)
EMU_ATOMIC_FN(atomicSub, EMU_UPDATE, old - x)
EMU_ATOMIC_FN(atomicMin, EMU_UPDATE, x < old ? x : old)
EMU_ATOMIC_FN(atomicMax, EMU_UPDATE, x > old ? x : old)
EMU_ATOMIC_FN(atomicAnd, EMU_UPDATE, old & x)
EMU_ATOMIC_FN(atomicOr, EMU_UPDATE, old | x)
EMU_ATOMIC_FN(atomicXor, EMU_UPDATE, old ^ x)
EMU_ATOMIC_FN(atomicInc, EMU_UPDATE, old >= x ? 0 : old + 1)
EMU_ATOMIC_FN(atomicDec, EMU_UPDATE, !old || old > x ? x : old - 1)
EMU_ATOMIC_FN(atomicExch, EMU_WRITE | EMU_ATOMIC, x)
template <class T>
EMU_RAW static inline T atomicCAS(T *p, std::common_type_t<T> compare, std::common_type_t<T> x, EMU_SITE) {
    emu_access(p, sizeof *p, EMU_UPDATE, file, line);
    T old = *p;
    if (old == compare) *p = x;
    return old;
}

/* --- barriers, warps --------------------------------------------------------------------------------------------- */
static inline void __syncthreads(EMU_SITE) { emu_barrier(file, line); }
static inline int __syncthreads_or(int p, EMU_SITE) { return emu_barrier_vote(EMU_OR, p, file, line); }
static inline int __syncthreads_and(int p, EMU_SITE) { return emu_barrier_vote(EMU_AND, p, file, line); }
static inline int __syncthreads_count(int p, EMU_SITE) { return emu_barrier_vote(EMU_COUNT, p, file, line); }
static inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_SITE) { emu_syncwarp(mask, file, line); }
static inline void __trap(EMU_SITE) { emu_trap("__trap", file, line); }
static inline void __nanosleep(unsigned, EMU_SITE) { emu_yield(file, line); }

template <class T>
static inline T emu_shuffle(int how, unsigned mask, T x, int arg, int width, const char *file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    uint64_t u = 0;
    memcpy(&u, &x, sizeof x);
    u = emu_shfl(how, mask, u, arg, width, file, line);
    memcpy(&x, &u, sizeof x);
    return x;
}
#define EMU_SHUFFLE(name, how)                                                                                     \
    template <class T> static inline T name(unsigned mask, T x, int arg, int width = 32, EMU_SITE) {                \
        return emu_shuffle(how, mask, x, arg, width, file, line);                                                  \
    }
EMU_SHUFFLE(__shfl_sync, EMU_SHFL_IDX)
EMU_SHUFFLE(__shfl_up_sync, EMU_SHFL_UP)
EMU_SHUFFLE(__shfl_down_sync, EMU_SHFL_DOWN)
EMU_SHUFFLE(__shfl_xor_sync, EMU_SHFL_XOR)
static inline unsigned __ballot_sync(unsigned mask, int p, EMU_SITE) {
    return emu_vote(EMU_BALLOT, mask, p != 0, file, line);
}
static inline int __any_sync(unsigned mask, int p, EMU_SITE) {
    return (int)emu_vote(EMU_ANY, mask, p != 0, file, line);
}
static inline int __all_sync(unsigned mask, int p, EMU_SITE) {
    return (int)emu_vote(EMU_ALL, mask, p != 0, file, line);
}
template <class T> static inline unsigned __match_any_sync(unsigned mask, T x, EMU_SITE) {
    uint64_t u = 0;
    memcpy(&u, &x, sizeof x);
    return emu_vote(EMU_MATCH_ANY, mask, u, file, line);
}
static inline unsigned __activemask() { return 0xffffffffu; }
#define EMU_REDUCE(name, T, how)                                                                                   \
    static inline T name(unsigned mask, T x, EMU_SITE) { return (T)emu_reduce(how, mask, (uint32_t)x, file, line); }
EMU_REDUCE(__reduce_add_sync, unsigned, EMU_RED_ADD)
EMU_REDUCE(__reduce_add_sync, int, EMU_RED_ADD)
EMU_REDUCE(__reduce_min_sync, unsigned, EMU_RED_MIN)
EMU_REDUCE(__reduce_max_sync, unsigned, EMU_RED_MAX)
EMU_REDUCE(__reduce_min_sync, int, EMU_RED_MIN_S)
EMU_REDUCE(__reduce_max_sync, int, EMU_RED_MAX_S)
EMU_REDUCE(__reduce_and_sync, unsigned, EMU_RED_AND)
EMU_REDUCE(__reduce_or_sync, unsigned, EMU_RED_OR)
EMU_REDUCE(__reduce_xor_sync, unsigned, EMU_RED_XOR)

/* --- tensor cores (kernels/gpu.cuh says what they do) ------------------------------------------------------------ */
template <class T> static inline void mma_16816(float c[4], const uint32_t a[4], const uint32_t b[2], EMU_SITE) {
    static_assert(std::is_same<T, bf16>::value || std::is_same<T, f16>::value, "bf16 or f16");
    emu_mma_16816(std::is_same<T, bf16>::value ? EMU_BF16 : EMU_F16, c, a, b, file, line);
}
static inline void ldmatrix_x4(uint32_t r[4], const void *smem, EMU_SITE) { emu_ldmatrix(4, 0, r, smem, file, line); }
static inline void ldmatrix_x4_trans(uint32_t r[4], const void *smem, EMU_SITE) {
    emu_ldmatrix(4, 1, r, smem, file, line);
}
static inline void ldmatrix_x2(uint32_t r[2], const void *smem, EMU_SITE) { emu_ldmatrix(2, 0, r, smem, file, line); }
static inline void ldmatrix_x2_trans(uint32_t r[2], const void *smem, EMU_SITE) {
    emu_ldmatrix(2, 1, r, smem, file, line);
}

/* --- arithmetic -------------------------------------------------------------------------------------------------- */
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return a < b ? b : a; }
static inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
static inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
static inline int64_t min(int64_t a, int64_t b) { return b < a ? b : a; }
static inline int64_t max(int64_t a, int64_t b) { return a < b ? b : a; }
static inline uint64_t min(uint64_t a, uint64_t b) { return b < a ? b : a; }
static inline uint64_t max(uint64_t a, uint64_t b) { return a < b ? b : a; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
static inline float sinpif(float x) { return (float)sin(M_PI * (double)x); }
static inline float cospif(float x) { return (float)cos(M_PI * (double)x); }
static inline float __saturatef(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
/* the C library has some of these names for itself */
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __sincosf(x, s, c) sincosf(x, s, c)

static inline uint32_t __float_as_uint(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
static inline int __float_as_int(float x) { int u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
static inline float __int_as_float(int u) { float x; memcpy(&x, &u, 4); return x; }
/* to integers: out of range saturates, NaN gives 0 */
static inline int emu_to_int(double x) {
    return x != x ? 0 : x >= 2147483647.0 ? 2147483647 : x <= -2147483648.0 ? -2147483647 - 1 : (int)x;
}
static inline int __float2int_rn(float x) { return emu_to_int(nearbyint((double)x)); }
static inline int __float2int_rz(float x) { return emu_to_int(trunc((double)x)); }
static inline int __float2int_rd(float x) { return emu_to_int(floor((double)x)); }
static inline int __float2int_ru(float x) { return emu_to_int(ceil((double)x)); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
static inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return (uint64_t)((unsigned __int128)a * b >> 64); }
static inline unsigned __byte_perm(unsigned lo, unsigned hi, unsigned pick) {
    uint64_t both = (uint64_t)hi << 32 | lo;
    unsigned y = 0;
    for (int i = 0; i < 4; i++) y |= (unsigned)(both >> (pick >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return y;
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
    return (unsigned)(((uint64_t)hi << 32 | lo) << (n & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
    return (unsigned)(((uint64_t)hi << 32 | lo) >> (n & 31));
}
/* sum of four products of signed bytes, and c */
static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += (int)(int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}
#endif
