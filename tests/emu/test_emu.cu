/* test_emu.cu - the emulated device itself: queues that wait, events, graphs, memory, what warps and blocks do
 * together. That it catches wrong kernels is shown by tests/emu/bugs.sh. */
#include "kernels/gpu.cuh"

#include "tests/test.h"

static vm_graph g;
static vm_cuda device;
static cudaStream_t stream() { return (cudaStream_t)device.stream; }
template <class T> static T *take(size_t n) {
    void *p = NULL;
    EXPECT(!cudaMalloc(&p, n * sizeof(T)));
    return (T *)p;
}
template <class T> static void fetch(T *to, const T *p, size_t n) {
    EXPECT(!cudaMemcpyAsync(to, p, n * sizeof(T), cudaMemcpyDeviceToHost, stream()));
    EXPECT(!cudaStreamSynchronize(stream()));
}

__global__ void add_one(int *x, int n) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) x[i]++;
}

TEST(work_waits_for_somebody_who_waits) {
    int h[40] = { 0 }, *x = take<int>(40);
    cudaMemcpyAsync(x, h, sizeof h, cudaMemcpyHostToDevice, stream());
    EXPECT(!GPU_LAUNCH(&g, add_one, 2, 32, 0, x, 40));
    int *pin;
    EXPECT(!cudaMallocHost((void **)&pin, sizeof *pin));
    cudaMemcpyAsync(pin, x + 39, sizeof *pin, cudaMemcpyDeviceToHost, stream());
    EXPECT(*pin == -1); /* nothing ran yet: memory is as it was taken */
    cudaStreamSynchronize(stream());
    EXPECT(*pin == 1);
    cudaFreeHost(pin);
    cudaFree(x);
}

TEST(memory_is_nan_and_not_too_aligned) {
    float got[5], *x = take<float>(5);
    fetch(got, x, 5);
    EXPECT(isnan(got[0]) && isnan(got[4]));
    EXPECT((uintptr_t)x % 64 == 0);
    cudaFree(x);
    void *p = x;
    EXPECT(cudaMalloc(&p, (size_t)1 << 60) == cudaErrorMemoryAllocation && !p);
    EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
    EXPECT(!cudaMalloc(&p, 0) && !p && !cudaFree(NULL));
}

TEST(pageable_copies_are_staged_and_pinned_ones_are_not) {
    int page = 1, got[2], *x = take<int>(2), *pin;
    EXPECT(!cudaMallocHost((void **)&pin, sizeof *pin));
    *pin = 1;
    cudaMemcpyAsync(x, &page, sizeof page, cudaMemcpyHostToDevice, stream());
    cudaMemcpyAsync(x + 1, pin, sizeof *pin, cudaMemcpyHostToDevice, stream());
    page = *pin = 2;
    fetch(got, x, 2);
    EXPECT(got[0] == 1 && got[1] == 2);
    cudaFreeHost(pin);
    cudaFree(x);
}

TEST(events_order_streams) {
    cudaStream_t other;
    cudaEvent_t first, last;
    int zero = 0, *x = take<int>(1), *pin;
    float ms = -1;
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    cudaEventCreate(&first), cudaEventCreate(&last);
    cudaMallocHost((void **)&pin, sizeof *pin);
    cudaMemcpyAsync(x, &zero, sizeof zero, cudaMemcpyHostToDevice, stream());
    cudaEventRecord(first, stream());
    for (int i = 0; i < 3; i++) EXPECT(!GPU_LAUNCH(&g, add_one, 1, 32, 0, x, 1));
    EXPECT(cudaEventElapsedTime(&ms, first, last) == cudaErrorInvalidValue);
    cudaEventRecord(last, stream());
    EXPECT(cudaEventElapsedTime(&ms, first, last) == cudaErrorNotReady);
    cudaStreamWaitEvent(other, last, 0);
    cudaMemcpyAsync(pin, x, sizeof *pin, cudaMemcpyDeviceToHost, other);
    cudaStreamSynchronize(other);
    EXPECT(*pin == 3);
    EXPECT(!cudaEventElapsedTime(&ms, first, last) && ms >= 0);
    cudaStreamDestroy(other);
    cudaEventDestroy(first), cudaEventDestroy(last);
    cudaFreeHost(pin);
    cudaFree(x);
}

TEST(graphs_repeat_what_was_captured) {
    int zero = 0, got, *x = take<int>(1);
    size_t nodes = 0;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamCaptureStatus status;
    cudaMemcpyAsync(x, &zero, sizeof zero, cudaMemcpyHostToDevice, stream());
    EXPECT(!cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal));
    EXPECT(!cudaStreamIsCapturing(stream(), &status) && status == cudaStreamCaptureStatusActive);
    for (int i = 0; i < 2; i++) EXPECT(!GPU_LAUNCH(&g, add_one, 1, 32, 0, x, 1));
    EXPECT(!cudaStreamEndCapture(stream(), &graph));
    EXPECT(!cudaGraphGetNodes(graph, NULL, &nodes) && nodes == 2);
    EXPECT(!cudaGraphInstantiate(&exec, graph, 0) && !cudaGraphDestroy(graph));
    fetch(&got, x, 1);
    EXPECT(got == 0); /* capturing runs nothing */
    for (int i = 0; i < 3; i++) EXPECT(!cudaGraphLaunch(exec, stream()));
    EXPECT(!cudaGraphExecDestroy(exec));
    fetch(&got, x, 1);
    EXPECT(got == 6);
    cudaFree(x);
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */
__global__ void shared_kernel(int *out) {
    GPU_SHARED(int, a, [3]);
    GPU_SHARED(uint8_t, b, [5]);
    GPU_SHARED_DYN(int, d);
    if (threadIdx.x == 0) a[0] = 5, b[4] = 6, d[9] = 7;
    __syncthreads();
    int aligned = (uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)d % 128 == 0;
    int t = (int)threadIdx.x, o = (int)(blockIdx.x * blockDim.x) + t;
    int sum = a[0] * 10000 + b[4] * 1000 + d[9] * 100 + aligned;
    sum += __syncthreads_count(t % 3 == 0) + 10000000 * __syncthreads_or(t == 4) + 20000000 * __syncthreads_and(t < 40);
    out[o] = sum;
}
TEST(blocks) {
    int got[80], *x = take<int>(80);
    EXPECT(!GPU_LAUNCH(&g, shared_kernel, 2, 40, 40, x));
    fetch(got, x, 80);
    for (int i = 0; i < 80; i++) EXPECT(got[i] == 30056701 + 14);
    cudaFree(x);
}

__global__ void warp_kernel(int *out) {
    int t = (int)threadIdx.x, lane = t % 32, *o = out + t * 10;
    unsigned half = lane < 16 ? 0xffff : 0xffff0000; /* two groups of one warp, each for itself */
    o[0] = (int)__reduce_add_sync(half, lane);
    o[1] = (int)__reduce_max_sync(GPU_ALL, (unsigned)lane);
    o[2] = __reduce_min_sync(GPU_ALL, -lane);
    o[3] = (int)__match_any_sync(GPU_ALL, lane / 8);
    o[4] = __shfl_down_sync(half, lane, 1);
    double d = __shfl_xor_sync(GPU_ALL, (double)lane / 2, 3);
    o[5] = (int)(2 * d);
    o[6] = (int)__reduce_xor_sync(GPU_ALL, 1u << lane);
    o[7] = (int)warp_sum((float)t);
    o[8] = (int)warp_max((float)(t % 7));
    if (lane < 4) o[9] = (int)__ballot_sync(0xf, lane & 1);
    else o[9] = 0;
}
TEST(warps) {
    int got[640], *x = take<int>(640);
    EXPECT(!GPU_LAUNCH(&g, warp_kernel, 1, 64, 0, x));
    fetch(got, x, 640);
    for (int t = 0; t < 64; t++) {
        int l = t % 32, *o = got + t * 10;
        EXPECT(o[0] == (l < 16 ? 120 : 376) && o[1] == 31 && o[2] == -31);
        EXPECT(o[3] == (int)(0xffu << l / 8 * 8) && o[5] == (l ^ 3) && o[6] == -1);
        EXPECT(o[4] == (l == 15 ? -1 : l == 31 ? 31 : l + 1)); /* from outside of the mask: all ones */
        EXPECT(o[7] == (t < 32 ? 496 : 1520) && o[8] == 6 && o[9] == (l < 4 ? 10 : 0));
    }
    cudaFree(x);
}

__global__ void atomic_kernel(int *x, float *f, unsigned long long *u) {
    int t = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(&x[0], t), atomicMax(&x[1], t), atomicMin(&x[2], t), atomicOr(&x[3], 1 << t % 32), atomicSub(&x[4], 2);
    atomicCAS(&x[5], 0, 9), atomicInc((unsigned *)&x[6], 10), atomicExch(&x[7], 4);
    atomicAdd(f, 0.5f), atomicAdd(u, 1ull << 33);
}
TEST(atomics) {
    int h[8] = { 0, 0, 99, 0, 0, 0, 0, 0 }, *x = take<int>(8);
    float zero = 0, f, *fx = take<float>(1);
    unsigned long long none = 0, u, *ux = take<unsigned long long>(1);
    cudaMemcpyAsync(x, h, sizeof h, cudaMemcpyHostToDevice, stream());
    cudaMemcpyAsync(fx, &zero, sizeof zero, cudaMemcpyHostToDevice, stream());
    cudaMemcpyAsync(ux, &none, sizeof none, cudaMemcpyHostToDevice, stream());
    EXPECT(!GPU_LAUNCH(&g, atomic_kernel, 2, 50, 0, x, fx, ux));
    fetch(h, x, 8), fetch(&f, fx, 1), fetch(&u, ux, 1);
    EXPECT(h[0] == 4950 && h[1] == 99 && h[2] == 0 && h[3] == -1 && h[4] == -200 && h[5] == 9 && h[6] == 100 % 11 &&
           h[7] == 4);
    EXPECT(f == 50 && u == 100ull << 33);
    cudaFree(x), cudaFree(fx), cudaFree(ux);
}

__global__ void index_kernel(int *out) {
    int t = (int)((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
    int b = (int)((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
    out[b * (int)(blockDim.x * blockDim.y * blockDim.z) + t] =
        (int)(threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x + 10000 * blockIdx.y +
              100000 * blockIdx.z);
}
TEST(indices) {
    int got[2 * 3 * 4 * 24], *x = take<int>(2 * 3 * 4 * 24), *p = got;
    EXPECT(!GPU_LAUNCH(&g, index_kernel, dim3(2, 3, 4), dim3(4, 3, 2), 0, x));
    fetch(got, x, 2 * 3 * 4 * 24);
    for (int bz = 0; bz < 4; bz++)
        for (int by = 0; by < 3; by++)
            for (int bx = 0; bx < 2; bx++)
                for (int tz = 0; tz < 2; tz++)
                    for (int ty = 0; ty < 3; ty++)
                        for (int tx = 0; tx < 4; tx++, p++)
                            EXPECT(*p == tx + 10 * ty + 100 * tz + 1000 * bx + 10000 * by + 100000 * bz);
    cudaFree(x);
}

/* --- numbers: the 16-bit types of gpu.cuh, all of them ----------------------------------------------------------- */
TEST(sixteen_bits_there_and_back) {
    for (unsigned u = 0; u < 65536; u++) {
        bf16 b = { (uint16_t)u };
        f16 h = { (uint16_t)u };
        bool nan_b = (u & 0x7fff) > 0x7f80, nan_h = (u & 0x7fff) > 0x7c00;
        EXPECT(nan_b ? isnan(to_f32(b)) && isnan(to_f32(from_f32<bf16>(to_f32(b)))) : from_f32<bf16>(to_f32(b)).u == u);
        EXPECT(nan_h ? isnan(to_f32(h)) && isnan(to_f32(from_f32<f16>(to_f32(h)))) : from_f32<f16>(to_f32(h)).u == u);
    }
    EXPECT(to_f32(f16{ 0x3c01 }) == 1 + 0x1p-10f && to_f32(f16{ 1 }) == 0x1p-24f && from_f32<f16>(65520).u == 0x7c00);
    EXPECT(from_f32<f16>(1 + 0x1p-11f).u == 0x3c00 && from_f32<f16>(1 + 3 * 0x1p-11f).u == 0x3c02);
    EXPECT(from_f32<bf16>(1 + 0x1p-8f).u == 0x3f80 && from_f32<bf16>(1 + 3 * 0x1p-8f).u == 0x3f82);
}

int main() {
    cudaStream_t s;
    if (cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking)) return 1;
    device.stream = s, g.be = &device.be;
    RUN(work_waits_for_somebody_who_waits);
    RUN(memory_is_nan_and_not_too_aligned);
    RUN(pageable_copies_are_staged_and_pinned_ones_are_not);
    RUN(events_order_streams);
    RUN(graphs_repeat_what_was_captured);
    RUN(blocks);
    RUN(warps);
    RUN(atomics);
    RUN(indices);
    RUN(sixteen_bits_there_and_back);
    cudaStreamDestroy(s);
    return test_end();
}
