/* reduce_cpu.c - see reduce.c. A tensor is outer x n x inner; the middle axis is summed or spread. */
#include "kernels/cpu.h"

enum { PIECE = 512, LONG = 16384 };

/* Sum of n consecutive elements: f32 within a piece, double across pieces. */
static double sum_run(const void *x, vm_type t, int64_t at, int64_t n) {
    vm_real tmp[PIECE];
    double s = 0;
    for (int64_t j = 0; j < n; j += PIECE) {
        int64_t m = VM_MIN((int64_t)PIECE, n - j);
        const vm_real *r = vm_row(x, t, at + j, m, tmp);
        vm_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < m; i++) part += r[i];
        s += (double)part;
    }
    return s;
}

/* inner = 1: long runs are cut into fixed pieces that threads share; their sums are added in order. */
static double sum_long(const void *x, vm_type t, int64_t at, int64_t n) {
    double total = 0;
    for (int64_t base = 0; base < n; base += 64 * (int64_t)LONG) {
        double part[64] = { 0 };
        int64_t pieces = VM_MIN((int64_t)64, (n - base + LONG - 1) / LONG);
#pragma omp parallel for schedule(static) if (pieces > 3)
        for (int64_t k = 0; k < pieces; k++) part[k] = sum_run(x, t, at + base + k * LONG, VM_MIN((int64_t)LONG, n - base - k * LONG));
        for (int64_t k = 0; k < pieces; k++) total += part[k];
    }
    return total;
}

static void sum_columns(vm_real *restrict y, const void *x, vm_type t, int64_t at, int64_t n, int64_t inner, int64_t m, vm_real scale, bool add) {
    vm_real sum[PIECE] = { 0 }, tmp[PIECE];
    for (int64_t k = 0; k < n; k++) {
        const vm_real *r = vm_row(x, t, at + k * inner, m, tmp);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) sum[i] += r[i];
    }
    for (int64_t i = 0; i < m; i++) y[i] = (add ? y[i] : 0) + scale * sum[i];
}

vm_status VM_KERNEL(sum_axis_cpu)(vm_graph *g, vm_node *n) {
    int64_t outer = n->i[0], N = n->i[1], inner = n->i[2], blocks = (inner + PIECE - 1) / PIECE;
    vm_type t = g->v[n->in[0]].type;
    const void *x = vm_in(g, n, 0);
    vm_real *y = vm_o(g, n, 0), scale = (vm_real)n->f[0];
    bool add = vm_adds(g, n, 0);
    if (inner == 1 && outer == 1) {
        *y = (add ? *y : 0) + scale * (vm_real)sum_long(x, t, 0, N);
        return VM_OK;
    }
#pragma omp parallel for schedule(static) if (outer * N * inner > VM_PAR_MIN)
    for (int64_t k = 0; k < outer * blocks; k++) {
        int64_t o = k / blocks, j = k % blocks * PIECE, m = VM_MIN((int64_t)PIECE, inner - j);
        if (inner == 1) y[o] = (add ? y[o] : 0) + scale * (vm_real)sum_run(x, t, o * N, N);
        else sum_columns(y + o * inner + j, x, t, o * N * inner + j, N, inner, m, scale, add);
    }
    return VM_OK;
}

vm_status VM_KERNEL(spread_cpu)(vm_graph *g, vm_node *n) {
    int64_t outer = n->i[0], N = n->i[1], inner = n->i[2];
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_real scale = (vm_real)n->f[0];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (outer * N * inner > VM_PAR_MIN)
    for (int64_t k = 0; k < outer * N; k++)
        for (int64_t j = 0; j < inner; j += PIECE) {
            vm_real from[PIECE], to_[PIECE];
            int64_t m = VM_MIN((int64_t)PIECE, inner - j), at = k * inner + j;
            const vm_real *r = vm_row(x, tx, k / N * inner + j, m, from);
            vm_real *to = vm_row_begin(y, ty, at, to_);
            if (add && ty == VM_BF16) vm_row(y, ty, at, m, to_);
#pragma omp simd
            for (int64_t i = 0; i < m; i++) to[i] = (add ? to[i] : 0) + scale * r[i];
            vm_row_end(y, ty, at, m, to);
        }
    return VM_OK;
}
