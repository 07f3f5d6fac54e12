/* patch_cpu.c - see patch.c. One row of patches at a time; each pixel row of a patch is P pixels of C values apart. */
#include "kernels/cpu.h"

enum { MAX_ROW = 4096 };

vm_status VM_KERNEL(patchify_cpu)(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], y = g->v[n->out[0]];
    int64_t P = n->i[0], H = x.ne[1], W = x.ne[2], C = x.ne[3], nh = H / P, nw = W / P, K = C * P * P;
#pragma omp parallel for schedule(static) if (x.ne[0] * H * W * C > VM_PAR_MIN)
    for (int64_t b = 0; b < x.ne[0]; b++)
        for (int64_t p = 0; p < nh * nw; p++)
            for (int64_t c = 0; c < C; c++)
                for (int64_t r = 0; r < P; r++) {
                    const vm_real *restrict from = (const vm_real *)x.data + ((b * H + p / nw * P + r) * W + p % nw * P) * C + c;
                    vm_real tmp[MAX_ROW];
                    int64_t at = (b * nh * nw + p) * K + (c * P + r) * P;
                    vm_real *restrict to = vm_row_begin(y.data, y.type, at, tmp);
                    for (int64_t k = 0; k < P; k++) to[k] = from[k * C];
                    vm_row_end(y.data, y.type, at, P, to);
                }
    return VM_OK;
}

vm_status VM_KERNEL(patchify_back_cpu)(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]], dx = g->v[n->out[0]];
    int64_t P = n->i[0], H = dx.ne[1], W = dx.ne[2], C = dx.ne[3], nh = H / P, nw = W / P, K = C * P * P;
    if ((nh * P != H || nw * P != W) && vm_count(g, n->out[0])) memset(dx.data, 0, (size_t)vm_count(g, n->out[0]) * sizeof(vm_real));
#pragma omp parallel for schedule(static) if (dx.ne[0] * H * W * C > VM_PAR_MIN)
    for (int64_t b = 0; b < dx.ne[0]; b++)
        for (int64_t p = 0; p < nh * nw; p++)
            for (int64_t c = 0; c < C; c++)
                for (int64_t r = 0; r < P; r++) {
                    vm_real *to = (vm_real *)dx.data + ((b * H + p / nw * P + r) * W + p % nw * P) * C + c, tmp[MAX_ROW];
                    const vm_real *from = vm_row(dy.data, dy.type, (b * nh * nw + p) * K + (c * P + r) * P, P, tmp);
                    for (int64_t k = 0; k < P; k++) to[k * C] = from[k];
                }
    return VM_OK;
}
