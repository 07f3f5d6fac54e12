/* grad_cpu.c - the two ops of reverse mode itself: a seed of ones, and summing a contribution onto an earlier one. */
#include "kernels/cpu.h"

vm_status VM_KERNEL(ones_cpu)(vm_graph *g, vm_node *n) {
    vm_real *y = vm_o(g, n, 0);
    int64_t N = vm_count(g, n->out[0]);
    for (int64_t i = 0; i < N; i++) y[i] = 1;
    return VM_OK;
}

/* y = [y +] x, y f32 or bf16, x f32 or bf16 */
vm_status VM_KERNEL(accumulate_cpu)(vm_graph *g, vm_node *n) {
    enum { CHUNK = 1024 };
    int64_t N = vm_count(g, n->out[0]);
    bool add = vm_adds(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += CHUNK) {
        vm_real tx_[CHUNK], ty_[CHUNK];
        int64_t m = VM_MIN((int64_t)CHUNK, N - at);
        const vm_real *a = vm_row(x, tx, at, m, tx_);
        vm_real *b = vm_row_begin(y, ty, at, ty_);
        if (add && ty != VM_F32) vm_row(y, ty, at, m, ty_);
        if (add)
#pragma omp simd
            for (int64_t i = 0; i < m; i++) b[i] += a[i];
        else memcpy(b, a, (size_t)m * sizeof *b);
        vm_row_end(y, ty, at, m, b);
    }
    return VM_OK;
}
