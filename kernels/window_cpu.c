/* window_cpu.c - see window.c. A token (or pixel) is a run of C elements. */
#include "kernels/window.h"

#include "kernels/cpu.h"

/* out[i] = in[from(i)], or zeros where there is none */
static vm_status move(vm_graph *g, vm_node *n, int32_t (*from)(const vm_window_shape *, int32_t)) {
    vm_window_shape s = vm_window_of(n);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    int64_t C = vm_cols(g, n->out[0]), N = vm_rows(g, n->out[0]);
    const char *x = vm_in(g, n, 0);
    char *y = vm_o(g, n, 0);
    size_t run = (size_t)C * vm_type_size(tx);
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N * C > VM_PAR_MIN)
    for (int64_t i = 0; i < N; i++) {
        vm_real x_[VM_CHUNK];
        int32_t k = from(&s, (int32_t)i);
        if (!add && k < 0) memset(y + (size_t)i * run, 0, run);
        else if (!add) memcpy(y + (size_t)i * run, x + (size_t)k * run, run);
        for (int64_t c = 0, m; add && k >= 0 && c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            vm_row_done(y, ty, i * C + c, m, vm_row(x, tx, k * C + c, m, x_), true);
        }
    }
    return VM_OK;
}
vm_status VM_KERNEL(window_cpu)(vm_graph *g, vm_node *n) { return move(g, n, vm_window_pixel); }
vm_status VM_KERNEL(unwindow_cpu)(vm_graph *g, vm_node *n) { return move(g, n, vm_window_token); }
