/* host.cu - what goes wrong between host and device: pointers, streams, limits, copies. */
#include "kernels/gpu.cuh"
#include "tests/emu/bugs/bugs.h"

enum { N = 300 };
__device__ float bug_variable[4];

__global__ void twice(const float *x, float *y, int n) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) y[i] = 2 * x[i];
}
__global__ void nothing(const float *x, float *y, int n) {}
__global__ void to_program(float *y) { bug_variable[threadIdx.x % 4] = 1, y[threadIdx.x] = 0; }
__global__ void deep(float *y, int n) {
    volatile float own[100000];
    for (int i = 0; i < n; i++) own[i] = (float)i;
    y[threadIdx.x] = 2 * own[n - 1];
}
/* thread 0 lends an array of its own to the others */
__global__ void borrow(float *y) {
    GPU_SHARED(float *, lent, [1]);
    float own[2] = { 1, 2 };
    if (threadIdx.x == 0) lent[0] = own;
    __syncthreads();
    y[threadIdx.x] = lent[0][threadIdx.x % 2];
    __syncthreads();
}

int run_host(int k) {
    cudaStream_t s = (cudaStream_t)gpu_stream(bug_graph), s2;
    static float x[N], y[N + 10];
    for (int i = 0; i < N; i++) x[i] = (float)i;
    float *dx = bug_device(sizeof x, x, sizeof x), *dy = bug_device(N * sizeof(float), NULL, 0), *out = dy;
    unsigned blocks = gpu_blocks(N, 64);
    int bad = 0;
    cudaEvent_t e;
    cudaStreamCreateWithFlags(&s2, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    vm_status st = VM_OK;
    switch (k) {
    case HOST_POINTER: st = GPU_LAUNCH(bug_graph, twice, blocks, 64, 0, x, dy, N); break;
    case OTHERS_STACK: st = GPU_LAUNCH(bug_graph, borrow, 1, 64, 0, dy); break;
    case AFTER_FREE:
        cudaFree(dx);
        st = GPU_LAUNCH(bug_graph, twice, blocks, 64, 0, dx, dy, N);
        dx = NULL;
        break;
    case BLOCK_TOO_LARGE: st = GPU_LAUNCH(bug_graph, twice, blocks, 1025, 0, dx, dy, N); break;
    case GRID_TOO_LARGE: st = GPU_LAUNCH(bug_graph, twice, dim3(blocks, 65536), 64, 0, dx, dy, N); break;
    case STACK_FULL: st = GPU_LAUNCH(bug_graph, deep, 1, 32, 0, dy, 100000); break;
    case WRITES_PROGRAM: st = GPU_LAUNCH(bug_graph, to_program, 1, 64, 0, dy); break;
    case EMPTY_KERNEL: st = GPU_LAUNCH(bug_graph, nothing, blocks, 64, 0, dx, dy, N); break;
    default: st = GPU_LAUNCH(bug_graph, twice, blocks, 64, 0, dx, dy, N); break;
    }
    if (st) return 1;
    if (k == MALLOC_IN_CAPTURE) {
        void *p;
        cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
        cudaMalloc(&p, 16);
    }
    cudaEventRecord(e, s);
    if (k != NO_EVENT) cudaStreamWaitEvent(s2, e, 0);
    void *pinned = NULL;
    cudaMallocHost(&pinned, N * sizeof(float));
    cudaMemcpyAsync(pinned, out, k == COPY_TOO_LONG ? sizeof y : N * sizeof(float),
                    k == WRONG_COPY ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, s2);
    if (k != NO_SYNCHRONIZE) cudaStreamSynchronize(s2);
    memcpy(y, pinned, N * sizeof(float));
    for (int i = 0; i < N; i++) bad |= bug_differs(y[i], 2.0 * i, 0);
    if (k == HOST_TOUCHES) bad |= *(volatile float *)out != 0;
    cudaStreamDestroy(s2);
    cudaEventDestroy(e);
    cudaFreeHost(pinned);
    cudaFree(dx), cudaFree(dy);
    if (k == TWICE_FREED) cudaFree(dy);
    return bad;
}
