/* route.cu - see route.c. A block per expert looks through all entries twice: how many lie before its own, then its own in their order. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

/* The sum over the block; *before: of the threads below this one. room: GPU_THREADS / 32 ints, free again after the next barrier. */
__device__ static __forceinline__ int block_count(bool mine, int *before, int *room) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = 0;
    unsigned all = __ballot_sync(GPU_ALL, mine);
    *before = __popc(all & ((1u << lane) - 1));
    if (lane == 0) room[warp] = __popc(all);
    __syncthreads();
    for (int w = 0; w < GPU_THREADS / 32; w++) {
        if (w == warp) *before += sum;
        sum += room[w];
    }
    return sum;
}

__global__ void route_kernel(const int32_t *id, int32_t *rows, int32_t *offsets, int32_t *place, int N, gpu_div k, int E, vm_gpu_block *block, int node) {
    GPU_SHARED(int, room, [GPU_THREADS / 32]);
    int e = blockIdx.x, at = 0, before;
    for (int i0 = 0; i0 < N; i0 += GPU_THREADS) {
        int i = i0 + (int)threadIdx.x, x = i < N ? id[i] : E;
        if (e == 0 && i < N && (x < 0 || x >= E)) gpu_fault(block, node, x);
        at += block_count(x < e && x >= 0, &before, room);
        __syncthreads();
    }
    if (threadIdx.x == 0) offsets[e] = at;
    for (int i0 = 0; i0 < N; i0 += GPU_THREADS) {
        int i = i0 + (int)threadIdx.x;
        bool mine = i < N && id[i] == e;
        int many = block_count(mine, &before, room);
        int64_t slot;
        if (mine) place[i] = at + before, rows[at + before] = (int32_t)gpu_divide(i, k, &slot);
        at += many;
        __syncthreads();
    }
    if (e == E - 1 && threadIdx.x == 0) offsets[E] = at;
}

extern "C" vm_status route_cuda(vm_graph *g, vm_node *n) {
    return GPU_LAUNCH(g, route_kernel, (unsigned)n->i[0], GPU_THREADS, 0, (const int32_t *)vm_in(g, n, 0), (int32_t *)vm_o(g, n, 0),
                      (int32_t *)vm_o(g, n, 1), (int32_t *)vm_o(g, n, 2), (int)vm_count(g, n->in[0]), gpu_div_by(vm_cols(g, n->in[0])), (int)n->i[0],
                      gpu_of(g)->block, gpu_node(g, n));
}
