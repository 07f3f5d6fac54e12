/* experts_cpu.c - see experts.c. */
#include "kernels/experts.h"
#include "kernels/few_rows.h"

/* y = x W_e^T, or x W_e; both sides by rows */
static vm_status by_rows(vm_graph *g, vm_node *n, bool transposed) {
    vm_value x = g->v[n->in[0]], w = g->v[n->in[1]], y = g->v[n->out[0]], *room = g->v + n->out[1], *to = g->v + n->out[2];
    const int32_t *o = vm_in(g, n, 2);
    int64_t E = w.ne[0], M = x.ne[0], N = y.ne[1], K = x.ne[1];
    size_t line = (size_t)N * vm_type_size(y.type);
    bool add = vm_adds(g, n, 0), stays = vm_stays(g, n->in[1]);
    if (!experts_offsets(g, n, o, E, M)) return g->err.status;
    for (int64_t e = 0; e < E; e++) {
        if (stays && (w.type != x.type || vm_stays_few(g, o[e + 1] - o[e]))) {
            few_rows_run(&(few_product){ &x, &y, experts_at(&w, e * N), w.type, N, K, NULL, VM_NONE, add, vm_o(g, n, 3) }, o[e], o[e + 1] - o[e]);
            continue;
        }
        for (int64_t i = o[e], m; i < o[e + 1]; i += m) {
            int k = experts_chunk(o[e + 1] - i);
            int64_t size = (int64_t)1 << k;
            m = VM_MIN(size, o[e + 1] - i);
            vm_gemm *p = experts_product(g, n, 0, k, (vm_gemm_shape){ .batch = 1, .M = size, .N = N, .K = K, .tb = transposed, .a = x.type,
                                                           .b = x.type, .c = y.type, .add = add, .alpha = 1 });
            if (!p) return g->err.status;
            void *out = m < size ? to->data : experts_at(&y, i);
            if (m < size && add) experts_filled(&y, i, m, size, to);
            if (vm_gemm_run(p, experts_filled(&x, i, m, size, room), experts_at(&w, e * w.ne[1]), NULL, out, &g->err)) return g->err.status;
            if (m < size) memcpy(experts_at(&y, i), to->data, (size_t)m * line);
        }
    }
    if (!add) memset(experts_at(&y, o[E]), 0, (size_t)(M - o[E]) * line);
    return VM_OK;
}
vm_status VM_KERNEL(experts_cpu)(vm_graph *g, vm_node *n) { return by_rows(g, n, true); }
vm_status VM_KERNEL(experts_dx_cpu)(vm_graph *g, vm_node *n) { return by_rows(g, n, false); }

vm_status VM_KERNEL(experts_dw_cpu)(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]], x = g->v[n->in[1]], dw = g->v[n->out[0]];
    const int32_t *o = vm_in(g, n, 2);
    int64_t E = dw.ne[0], N = dw.ne[1], K = dw.ne[2];
    if (!experts_offsets(g, n, o, E, x.ne[0])) return g->err.status;
    if (!vm_adds(g, n, 0)) memset(dw.data, 0, (size_t)(E * N * K) * sizeof(vm_real));
    for (int64_t e = 0; e < E; e++)
        for (int64_t i = o[e], m; i < o[e + 1]; i += m) {
            int k = experts_chunk(o[e + 1] - i);
            int64_t size = (int64_t)1 << k;
            m = VM_MIN(size, o[e + 1] - i);
            vm_gemm *p = experts_product(g, n, 0, k, (vm_gemm_shape){ .batch = 1, .M = N, .N = K, .K = size, .ta = true, .a = x.type,
                                                           .b = x.type, .c = VM_F32, .add = true, .alpha = 1 });
            if (!p) return g->err.status;
            if (vm_gemm_run(p, experts_filled(&dy, i, m, size, &g->v[n->out[1]]), experts_filled(&x, i, m, size, &g->v[n->out[2]]), NULL,
                            experts_at(&dw, e * N), &g->err))
                return g->err.status;
        }
    return VM_OK;
}
