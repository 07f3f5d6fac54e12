/* focal.cu - see focal.c. A block per chunk leaves a partial sum, one more block adds these. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

typedef struct {
    gpu_mem x;
    const float *y, *w;
    float alpha, gamma;
} focal_call;
static focal_call focal_call_of(const vm_graph *g, const vm_node *n) {
    focal_call c = { gpu_in(g, n, 0), (const float *)vm_in(g, n, 1), (const float *)vm_in(g, n, 2), (float)n->f[0], (float)n->f[1] };
    return c;
}

/* The term of element i, and its slope with respect to the logit; 0 where the weight is. */
__device__ __forceinline__ float focal_term(const focal_call &c, int64_t i, float *slope) {
    float w = c.w ? c.w[i] : 1.0f, y = c.y[i], x = w != 0.0f ? gpu_get(c.x, i) : 0.0f;
    float e = expf(-fabsf(x)), big = 1.0f / (1.0f + e), small = e / (1.0f + e), p = x > 0.0f ? big : small, q = x > 0.0f ? small : big;
    float m = p * (1.0f - y) + q * y, ce = fmaxf(x, 0.0f) + log1pf(e) - (y == 0.0f ? 0.0f : x * y);
    float power = c.gamma == 2.0f ? m * m : c.gamma == 0.0f ? 1.0f : m > 0.0f ? powf(m, c.gamma) : 0.0f;
    float scale = w * power * (c.alpha < 0.0f ? 1.0f : c.alpha * y + (1.0f - c.alpha) * (1.0f - y));
    *slope = scale * (p - y - (m > 0.0f ? c.gamma * (2.0f * y - 1.0f) * p * q * ce / m : 0.0f));
    return scale * ce;
}

__global__ void focal_kernel(focal_call c, float *part, int64_t N) {
    GPU_SHARED(float, room, [33]);
    int64_t k = blockIdx.x, end = N * (k + 1) / gridDim.x;
    float sum = 0.0f, slope;
    for (int64_t i = N * k / gridDim.x + threadIdx.x; i < end; i += GPU_THREADS) sum += focal_term(c, i, &slope);
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) part[k] = sum;
}
__global__ void focal_sum_kernel(const float *part, const float *norm, float *loss, int64_t n) {
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; i < n; i += 32) sum += part[i];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) *loss = sum / *norm;
}
extern "C" vm_status focal_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->in[0]), chunks = vm_count(g, n->out[1]);
    float *part = (float *)vm_o(g, n, 1);
    vm_status st = N ? GPU_LAUNCH(g, focal_kernel, (unsigned)chunks, GPU_THREADS, 0, focal_call_of(g, n), part, N) : VM_OK;
    return st ? st : GPU_LAUNCH(g, focal_sum_kernel, 1, 32, 0, part, (const float *)vm_in(g, n, 3), (float *)vm_o(g, n, 0), N ? chunks : 0);
}

__global__ void focal_back_kernel(focal_call c, const float *norm, const float *up, gpu_mem dx, int64_t N, bool add) {
    float scale = *up / *norm;
    GPU_FOR(i, 1, N) {
        float d;
        focal_term(c, i, &d);
        d *= scale;
        gpu_store<1>(dx, i, &d, add);
    }
}
extern "C" vm_status focal_back_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->in[0]);
    if (!N) return VM_OK;
    return GPU_LAUNCH(g, focal_back_kernel, gpu_grid(g, N, GPU_THREADS), GPU_THREADS, 0, focal_call_of(g, n), (const float *)vm_in(g, n, 3),
                      (const float *)vm_in(g, n, 4), gpu_out(g, n, 0), N, vm_adds(g, n, 0));
}
