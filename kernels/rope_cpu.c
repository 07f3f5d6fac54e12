/* rope_cpu.c - see rope.c. A row of x at a time, as many whole heads as a piece of the first cache holds. */
#include "kernels/cpu.h"

/* Heads of HS columns whose first 2n turn; c, s: n cosines and sines. */
static void turn(const vm_real *restrict x, const vm_real *restrict c, const vm_real *restrict s, vm_real sign,
                 int64_t n, int64_t HS, int64_t heads, bool pairs, vm_real *restrict y) {
    for (int64_t h = 0; h < heads; h++, x += HS, y += HS) {
        if (pairs)
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                vm_real a = x[2 * i], b = x[2 * i + 1], t = sign * s[i];
                y[2 * i] = a * c[i] - b * t, y[2 * i + 1] = b * c[i] + a * t;
            }
        else
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                vm_real a = x[i], b = x[n + i], t = sign * s[i];
                y[i] = a * c[i] - b * t, y[n + i] = b * c[i] + a * t;
            }
        for (int64_t i = 2 * n; i < HS; i++) y[i] = x[i];
    }
}

vm_status VM_KERNEL(rope_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]), RT = vm_rows(g, n->in[1]),
            half = vm_cols(g, n->in[1]) / 2;
    int64_t NH = n->i[1], turned = n->i[2], HS = C / NH, per = HS ? VM_CHUNK / HS : 1;
    const void *x = vm_in(g, n, 0);
    const vm_real *table = vm_in(g, n, 1);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_real sign = (vm_real)n->f[0];
    bool add = vm_adds(g, n, 0), pairs = n->i[3];
    if (!C) return VM_OK;
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t r = 0; r < R; r++) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK];
        const vm_real *c = table + r % RT * 2 * half;
        for (int64_t h = 0, m; h < NH; h += m) {
            m = VM_MIN(h < turned ? turned - h : NH - h, per); /* a piece turns or stays */
            int64_t at = r * C + h * HS;
            vm_real *out = vm_row_into(y, ty, at, y_, add);
            turn(vm_row(x, tx, at, m * HS, x_), c, c + half, sign, h < turned ? half : 0, HS, m, pairs, out);
            vm_row_done(y, ty, at, m * HS, out, add);
        }
    }
    return VM_OK;
}
