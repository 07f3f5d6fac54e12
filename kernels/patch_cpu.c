/* patch_cpu.c - see patch.c. Pixel rows are taken apart into channels in pieces of the first cache, three channels at a
 * time as pictures have them; bf16 is rounded a whole piece at a time. */
#include "kernels/cpu.h"

enum { GROUP = 3 };

/* y[k*step + i] = x[i*C + k] for n channels k, P pixels i */
static void take_apart(const vm_real *restrict x, int64_t C, int64_t n, int64_t P, vm_real *restrict y, int64_t step) {
    if (C == 3 && n == 3) {
        vm_real *restrict y0 = y, *restrict y1 = y + step, *restrict y2 = y + 2 * step;
#pragma omp simd
        for (int64_t i = 0; i < P; i++) y0[i] = x[3 * i], y1[i] = x[3 * i + 1], y2[i] = x[3 * i + 2];
        return;
    }
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < P; i++) y[k * step + i] = x[i * C + k];
}

/* One patch: pixel rows from x on, W*C apart, to P*P columns per channel at element `at` of y. */
static void patch(const vm_real *x, int64_t W, int64_t C, int64_t P, void *y, vm_type t, int64_t at) {
    vm_real tmp[GROUP * VM_CHUNK];
    int64_t rows = VM_CHUNK / P, n;
    for (int64_t c = 0; c < C; c += n) {
        n = VM_MIN(C - c, (int64_t)GROUP);
        for (int64_t r0 = 0; r0 < P; r0 += rows) {
            int64_t m = VM_MIN(rows, P - r0), to = at + c * P * P + r0 * P;
            vm_real *out = vm_row_begin(y, t, to, tmp);
            int64_t step = t == VM_F32 ? P * P : VM_CHUNK;
            for (int64_t r = 0; r < m; r++) take_apart(x + (r0 + r) * W * C + c, C, n, P, out + r * P, step);
            for (int64_t k = 0; k < n; k++) vm_row_end(y, t, to + k * P * P, m * P, tmp + k * VM_CHUNK);
        }
    }
}

vm_status VM_KERNEL(patchify_cpu)(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], y = g->v[n->out[0]];
    int64_t P = n->i[0], H = x.ne[1], W = x.ne[2], C = x.ne[3], nh = H / P, nw = W / P, K = C * P * P;
#pragma omp parallel for schedule(static) if (x.ne[0] * H * W * C > VM_PAR_MIN)
    for (int64_t k = 0; k < x.ne[0] * nh * nw; k++) {
        int64_t b = k / (nh * nw), row = k / nw % nh * P, column = k % nw * P;
        patch((const vm_real *)x.data + ((b * H + row) * W + column) * C, W, C, P, y.data, y.type, k * K);
    }
    return VM_OK;
}

vm_status VM_KERNEL(patchify_back_cpu)(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]], dx = g->v[n->out[0]];
    int64_t P = n->i[0], H = dx.ne[1], W = dx.ne[2], C = dx.ne[3], nh = H / P, nw = W / P, K = C * P * P;
    if ((nh * P != H || nw * P != W) && vm_count(g, n->out[0]))
        memset(dx.data, 0, (size_t)vm_count(g, n->out[0]) * sizeof(vm_real));
#pragma omp parallel for schedule(static) if (dx.ne[0] * H * W * C > VM_PAR_MIN)
    for (int64_t k = 0; k < dx.ne[0] * nh * nw; k++) {
        int64_t b = k / (nh * nw), row = k / nw % nh * P, column = k % nw * P;
        for (int64_t c = 0; c < C; c++)
            for (int64_t r = 0; r < P; r++) {
                vm_real *to = (vm_real *)dx.data + ((b * H + row + r) * W + column) * C + c, tmp[VM_CHUNK];
                const vm_real *from = vm_row(dy.data, dy.type, k * K + (c * P + r) * P, P, tmp);
                for (int64_t i = 0; i < P; i++) to[i * C] = from[i];
            }
    }
    return VM_OK;
}
