/* pad_cpu.c - see pad.c: runs of the last axis that has padding. */
#include "kernels/pad.h"

#include "kernels/cpu.h"

/* n elements onto place `to` of y */
static void put(void *y, vm_type ty, int64_t to, const void *x, vm_type tx, int64_t from, int64_t n, bool add) {
    size_t size = vm_type_size(tx);
    vm_real x_[VM_CHUNK];
    if (!add) memcpy((char *)y + (size_t)to * size, (const char *)x + (size_t)from * size, (size_t)n * size);
    for (int64_t i = 0, m; add && i < n; i += m) {
        m = VM_MIN(n - i, (int64_t)VM_CHUNK);
        vm_row_done(y, ty, to + i, m, vm_row(x, tx, from + i, m, x_), true);
    }
}

vm_status VM_KERNEL(pad_cpu)(vm_graph *g, vm_node *n) {
    vm_pad_box b = vm_pad_box_of(&g->v[n->in[0]], n->i);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    const void *x = vm_in(g, n, 0);
    char *y = vm_o(g, n, 0);
    size_t size = vm_type_size(ty);
    int64_t R = vm_pad_rows(&b, true), run = b.n[b.nd - 1], all = b.all[b.nd - 1], before = b.before[b.nd - 1];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * all > VM_PAR_MIN)
    for (int64_t r = 0; r < R; r++) {
        int64_t in = vm_pad_in(&b, r), first = in < 0 ? all : before;
        if (!add) {
            memset(y + (size_t)(r * all) * size, 0, (size_t)first * size);
            if (in >= 0)
                memset(y + (size_t)(r * all + before + run) * size, 0, (size_t)(all - before - run) * size);
        }
        if (in >= 0) put(y, ty, r * all + before, x, tx, in * run, run, add);
    }
    return VM_OK;
}

vm_status VM_KERNEL(crop_cpu)(vm_graph *g, vm_node *n) {
    vm_pad_box b = vm_pad_box_of(&g->v[n->out[0]], n->i);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    int64_t R = vm_pad_rows(&b, false), run = b.n[b.nd - 1], all = b.all[b.nd - 1], before = b.before[b.nd - 1];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * run > VM_PAR_MIN)
    for (int64_t r = 0; r < R; r++) put(y, ty, r * run, x, tx, vm_pad_out(&b, r) * all + before, run, add);
    return VM_OK;
}
