/* kv_cpu.c - see kv.c. */
#include "kernels/cpu.h"

static vm_status bad_place(vm_graph *g, int64_t b, int64_t p, int64_t page, int64_t rows, bool paged) {
    return paged ? vm_fail(&g->err, VM_EINPUT, "kv_append: position %lld of sequence %lld is on page %lld, the cache has %lld",
                           (long long)p, (long long)b, (long long)page, (long long)rows)
                 : vm_fail(&g->err, VM_EINPUT, "kv_append: position %lld of sequence %lld, the cache has %lld", (long long)p,
                           (long long)b, (long long)rows);
}

vm_status VM_KERNEL(kv_append_cpu)(vm_graph *g, vm_node *n) {
    vm_value cache = g->v[n->in[0]], k = g->v[n->in[1]];
    const int32_t *at = vm_in(g, n, 2), *lengths = vm_in(g, n, 3), *pages = vm_in(g, n, 4);
    int64_t B = k.ne[0], T = k.ne[1], C = k.ne[2], rows = cache.ne[1], columns = pages ? vm_dim(g, n->in[4], 1) : 0;
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T && at[b] + t < lengths[b]; t++) {
            int64_t p = at[b] + t, page = pages ? p >= 0 && p / rows < columns ? pages[b * columns + p / rows] : -1 : b;
            if (p < 0 || page < 0 || page >= cache.ne[0] || (!pages && p >= rows))
                return bad_place(g, b, p, page, pages ? cache.ne[0] : rows, pages != NULL);
            for (int64_t c = 0; c < C; c += VM_CHUNK) {
                vm_real tmp[VM_CHUNK], out[VM_CHUNK];
                int64_t m = VM_MIN((int64_t)VM_CHUNK, C - c), to = (page * rows + p % rows) * C + c;
                const vm_real *x = vm_row(k.data, k.type, (b * T + t) * C + c, m, tmp);
                vm_real *y = vm_row_begin(cache.data, cache.type, to, out);
                memcpy(y, x, (size_t)m * sizeof *y);
                vm_row_end(cache.data, cache.type, to, m, y);
            }
        }
    return VM_OK;
}
