/* optim.cu - see optim.c. AdamW reads four numbers and writes three per element, 16 bytes at a time; hyper-parameters
 * that vary from step to step are read from device memory. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_sum.cuh"
extern "C" {
#include "kernels/optim.h"
}

typedef struct {
    float b1, b2, eps, decay, lr_scale; /* decay 0 where none applies */
} adam;

template <int N>
__global__ void adamw_kernel(gpu_mem w, gpu_mem d, gpu_mem m, gpu_mem v, const float *hyper, adam a, int64_t n) {
    float lr = hyper[0] * a.lr_scale, scale = hyper[3], keep = 1.0f - lr * a.decay, step = lr / hyper[1],
          r2 = 1.0f / hyper[2];
    GPU_FOR(i, N, n) {
        float x[N], p[N], m1[N], m2[N];
        gpu_load_to<N>(d, i, n, x);
        gpu_load_to<N>(m, i, n, m1);
        gpu_load_to<N>(v, i, n, m2);
        gpu_load_to<N>(w, i, n, p);
#pragma unroll
        for (int k = 0; k < N; k++) {
            x[k] *= scale;
            m1[k] = a.b1 * m1[k] + (1.0f - a.b1) * x[k];
            m2[k] = a.b2 * m2[k] + (1.0f - a.b2) * x[k] * x[k];
            p[k] = p[k] * keep - step * m1[k] / (sqrtf(m2[k] * r2) + a.eps);
        }
        gpu_store_to<N>(m, i, n, m1, false);
        gpu_store_to<N>(v, i, n, m2, false);
        gpu_store_to<N>(w, i, n, p, false);
    }
}
extern "C" vm_status adamw_cuda(vm_graph *g, vm_node *n) {
    const vm_param *p = (const vm_param *)n->ptr;
    int64_t N = p->grad ? vm_param_count(p) : 0;
    gpu_mem w = { p->data, VM_F32 }, d = { p->grad, VM_F32 }, m = { p->m, VM_F32 }, v = { p->v, VM_F32 };
    adam a = { (float)n->f[0], (float)n->f[1], (float)n->f[2], p->decay ? (float)n->f[3] : 0.0f, p->lr_scale };
    if (!N) return VM_OK;
    return GPU_EACH(g, adamw_kernel, gpu_wide3(w, d, m) && gpu_on16(v.p), N, w, d, m, v, (const float *)vm_in(g, n, 0),
                    a, N);
}

template <int N> __global__ void average_kernel(gpu_mem w, gpu_mem a, const float *decay, int64_t n) {
    float d = decay[0];
    GPU_FOR(i, N, n) {
        float x[N], y[N];
        gpu_load_to<N>(w, i, n, x);
        gpu_load_to<N>(a, i, n, y);
#pragma unroll
        for (int k = 0; k < N; k++) y[k] = d * y[k] + (1.0f - d) * x[k];
        gpu_store_to<N>(a, i, n, y, false);
    }
}
extern "C" vm_status average_cuda(vm_graph *g, vm_node *n) {
    const vm_param *p = (const vm_param *)n->ptr;
    int64_t N = vm_param_count(p);
    gpu_mem w = { p->data, VM_F32 }, a = { p->average, VM_F32 };
    if (!N) return VM_OK;
    return GPU_EACH(g, average_kernel, gpu_wide(w, a), N, w, a, (const float *)vm_in(g, n, 0), N);
}

/* --- sum of squares of many gradients: a block per chunk, then one that adds the chunks --------------------------- */
typedef struct {
    const float *x;
    int64_t n, first; /* elements; number of its first chunk */
} gradient;

__global__ void sqnorm_kernel(const gradient *list, int count, float *part) {
    GPU_SHARED(float, room, [33]);
    int lo = 0, hi = count - 1;
    while (lo < hi) { /* the last whose first chunk is not beyond this one; empty ones share theirs with the next */
        int mid = (lo + hi + 1) / 2;
        if (list[mid].first <= (int64_t)blockIdx.x) lo = mid;
        else hi = mid - 1;
    }
    const float *x = list[lo].x;
    int64_t at = ((int64_t)blockIdx.x - list[lo].first) * VM_SQNORM_CHUNK, end = at + VM_SQNORM_CHUNK;
    float sum = 0.0f;
    if (end > list[lo].n) end = list[lo].n;
#pragma unroll 4
    for (int64_t i = at + threadIdx.x; i < end; i += GPU_THREADS) sum = fmaf(x[i], x[i], sum);
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

extern "C" vm_status grad_sqnorm_cuda(vm_graph *g, vm_node *n) {
    vm_param *const *params = (vm_param *const *)n->cache;
    int count = (int)n->i[0];
    int64_t chunks = 0;
    gradient *list = count ? (gradient *)vm_alloc((size_t)count * sizeof *list) : NULL;
    if (count && !list) return vm_nomem(&g->err, (size_t)count * sizeof *list, "the list of gradients");
    for (int k = 0; k < count; k++) {
        gradient d = { params[k]->grad, params[k]->grad ? vm_param_count(params[k]) : 0, chunks };
        list[k] = d, chunks += (d.n + VM_SQNORM_CHUNK - 1) / VM_SQNORM_CHUNK;
    }
    const gradient *table = chunks ? (const gradient *)gpu_table(g, n, list, (size_t)count * sizeof *list) : NULL;
    vm_free(list);
    if (chunks && !table) return g->err.status;
    float *part = (float *)vm_o(g, n, 1);
    if (chunks && GPU_LAUNCH(g, sqnorm_kernel, (unsigned)chunks, GPU_THREADS, 0, table, count, part))
        return g->err.status;
    return gpu_sum_chunks(g, part, chunks, 1, 1, vm_o(g, n, 0), false);
}
