/* unary_cpu.c - pieces that stay in the first cache through the loops of activate.h. */
#include "kernels/activate.h"

vm_status VM_KERNEL(unary_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_unary_kind kind = (vm_unary_kind)n->i[1];
#pragma omp parallel for schedule(static) if (N * 8 > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK], *out = vm_row_begin(y, ty, at, y_);
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        vm_apply(kind, vm_row(x, tx, at, m, x_), m, out);
        vm_row_end(y, ty, at, m, out);
    }
    return VM_OK;
}

vm_status VM_KERNEL(unary_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *dy = vm_in(g, n, 0), *x = vm_in(g, n, 1);
    void *dx = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type, tx = g->v[n->in[1]].type, to = g->v[n->out[0]].type;
    vm_unary_kind kind = (vm_unary_kind)n->i[1];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N * 8 > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real d_[VM_CHUNK], x_[VM_CHUNK], o_[VM_CHUNK], *out = vm_row_into(dx, to, at, o_, add);
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        vm_apply_slope(kind, vm_row(dy, td, at, m, d_), vm_row(x, tx, at, m, x_), m, out);
        vm_row_done(dx, to, at, m, out, add);
    }
    return VM_OK;
}

vm_status VM_KERNEL(scale_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_real s = (vm_real)n->f[0], b = (vm_real)n->f[1];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        const vm_real *restrict a = vm_row(x, tx, at, m, x_);
        vm_real *restrict out = vm_row_into(y, ty, at, y_, add);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) out[i] = s * a[i] + b;
        vm_row_done(y, ty, at, m, out, add);
    }
    return VM_OK;
}
