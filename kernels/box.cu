/* box.cu - see box.c. A few thousand boxes: one block makes a loss; a gradient is a sum over targets by the one thread (or warp) that a box
 * has. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
#include "kernels/box.h"
extern "C" {
#include "kernels/ops.h"
}

typedef struct {
    const float *box, *target, *norm;
    const int32_t *match;
    int64_t B, Q, T;
    bool giou;
} box_call;
static box_call box_call_of(const vm_graph *g, const vm_node *n) {
    box_call c = { (const float *)vm_in(g, n, 0), (const float *)vm_in(g, n, 1), (const float *)vm_in(g, n, 3), (const int32_t *)vm_in(g, n, 2),
                   vm_dim(g, n->in[0], 0), vm_dim(g, n->in[0], 1), vm_dim(g, n->in[1], 1), n->i[0] == VM_BOX_GIOU };
    return c;
}

__global__ void box_loss_kernel(box_call c, float *loss, vm_gpu_block *block, int node) {
    GPU_SHARED(float, room, [33]);
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; i < c.B * c.T; i += GPU_THREADS) {
        int32_t m = c.match[i];
        if (m >= c.Q) gpu_fault(block, node, m);
        if (m < 0 || m >= c.Q) continue;
        const float *p = c.box + (i / c.T * c.Q + m) * 4, *t = c.target + i * 4;
        if (c.giou) sum += 1.0f - box_giou(box_of(p, true), box_of(t, true));
        else
            for (int k = 0; k < 4; k++) sum += fabsf(p[k] - t[k]);
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) *loss = sum / *c.norm;
}
extern "C" vm_status box_loss_cuda(vm_graph *g, vm_node *n) {
    return GPU_LAUNCH(g, box_loss_kernel, 1, GPU_THREADS, 0, box_call_of(g, n), (float *)vm_o(g, n, 0), gpu_of(g)->block, gpu_node(g, n));
}

__global__ void box_loss_back_kernel(box_call c, const float *up, float *d, bool add) {
    int64_t i = (int64_t)blockIdx.x * GPU_THREADS + threadIdx.x, b = i / c.Q;
    if (i >= c.B * c.Q) return;
    float scale = *up / *c.norm, sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    const float *p = c.box + i * 4;
    for (int64_t t = b * c.T; t < (b + 1) * c.T; t++) {
        if (c.match[t] != i - b * c.Q) continue;
        const float *q = c.target + t * 4;
        if (c.giou) box_giou_back(box_of(p, true), box_of(q, true), true, -scale, sum);
        else
            for (int k = 0; k < 4; k++) sum[k] += p[k] > q[k] ? scale : p[k] < q[k] ? -scale : 0.0f;
    }
    for (int k = 0; k < 4; k++) d[i * 4 + k] = sum[k] + (add ? d[i * 4 + k] : 0.0f);
}
extern "C" vm_status box_loss_back_cuda(vm_graph *g, vm_node *n) {
    box_call c = box_call_of(g, n);
    if (c.B * c.Q == 0) return VM_OK;
    return GPU_LAUNCH(g, box_loss_back_kernel, gpu_blocks(c.B * c.Q, GPU_THREADS), GPU_THREADS, 0, c, (const float *)vm_in(g, n, 4),
                      (float *)vm_o(g, n, 0), vm_adds(g, n, 0));
}

__global__ void giou_kernel(const float *a, const float *b, float *y, int64_t N, int64_t M, bool centre, int64_t n) {
    GPU_FOR(i, 1, n) y[i] = box_giou(box_of(a + i / M * 4, centre), box_of(b + (i / M / N * M + i % M) * 4, centre));
}
extern "C" vm_status giou_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_dim(g, n->in[0], 1), M = vm_dim(g, n->in[1], 1), count = vm_count(g, n->out[0]);
    if (!count) return VM_OK;
    return GPU_LAUNCH(g, giou_kernel, gpu_grid(g, count, GPU_THREADS), GPU_THREADS, 0, (const float *)vm_in(g, n, 0), (const float *)vm_in(g, n, 1),
                      (float *)vm_o(g, n, 0), N, M, n->i[0] != 0, count);
}

/* A warp per own box, its lanes over the others. */
__global__ void giou_back_kernel(const float *a, const float *b, const float *dy, float *d, int64_t N, int64_t M, bool centre, bool columns, bool add,
                                 int64_t n) {
    int64_t i = ((int64_t)blockIdx.x * GPU_THREADS + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (i >= n) return;
    float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    box_corners own = box_of(a + i * 4, centre);
    for (int64_t m = lane; m < M; m += 32) {
        int64_t other = i / N * M + m, at = columns ? other * N + i % N : i * M + m;
        box_giou_back(own, box_of(b + other * 4, centre), centre, dy[at], sum);
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float s = warp_sum(sum[k]);
        if (lane == k) d[i * 4 + k] = s + (add ? d[i * 4 + k] : 0.0f);
    }
}
extern "C" vm_status giou_back_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_dim(g, n->in[0], 1), M = vm_dim(g, n->in[1], 1), count = vm_count(g, n->in[0]) / 4;
    if (!count) return VM_OK;
    return GPU_LAUNCH(g, giou_back_kernel, gpu_blocks(count * 32, GPU_THREADS), GPU_THREADS, 0, (const float *)vm_in(g, n, 0),
                      (const float *)vm_in(g, n, 1), (const float *)vm_in(g, n, 2), (float *)vm_o(g, n, 0), N, M, n->i[0] != 0, n->i[1] != 0,
                      vm_adds(g, n, 0), count);
}
