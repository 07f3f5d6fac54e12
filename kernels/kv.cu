/* kv.cu - see kv.c. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

typedef struct {
    gpu_mem k, cache;
    const int32_t *at, *lengths, *pages;
    int64_t blocks, rows, columns; /* of the cache: sequences or pages, positions in each; of the table of pages */
    gpu_div C, T;
} kv_call;

template <int V> __global__ void kv_kernel(kv_call s, int64_t n, vm_gpu_block *block, int node) {
    GPU_FOR(e, V, n) {
        int64_t c, t, b = gpu_divide(gpu_divide(e, s.C, &c), s.T, &t), p = s.at[b] + t, page = b, row = p;
        if (p >= s.lengths[b]) continue;
        if (s.pages) {
            page = p >= 0 && p / s.rows < s.columns ? s.pages[b * s.columns + p / s.rows] : -1;
            row = p % s.rows;
        }
        if (p < 0 || row >= s.rows || page < 0 || page >= s.blocks) {
            if (c == 0) gpu_fault(block, node, p);
            continue;
        }
        float v[V];
        gpu_load<V>(s.k, e, v);
        gpu_store<V>(s.cache, (page * s.rows + row) * s.C.d + c, v, false);
    }
}
extern "C" vm_status kv_append_cuda(vm_graph *g, vm_node *n) {
    const vm_value *cache = &g->v[n->in[0]], *k = &g->v[n->in[1]];
    kv_call s = { gpu_in(g, n, 1), gpu_in(g, n, 0), (const int32_t *)vm_in(g, n, 2), (const int32_t *)vm_in(g, n, 3), (const int32_t *)vm_in(g, n, 4),
                  cache->ne[0], cache->ne[1], n->in[4] ? vm_dim(g, n->in[4], 1) : 0, gpu_div_by(k->ne[2]), gpu_div_by(k->ne[1]) };
    int64_t N = vm_count(g, n->in[1]);
    if (!N) return VM_OK;
    return GPU_EACH(g, kv_kernel, s.C.d % 8 == 0 && gpu_wide(s.k, s.cache), N, s, N, gpu_of(g)->block, gpu_node(g, n));
}
