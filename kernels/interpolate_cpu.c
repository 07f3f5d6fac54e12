/* interpolate_cpu.c - see interpolate.c. One output (or input) pixel at a time, its channels in vectorised pieces. */
#include "kernels/interpolate.h"

#include "kernels/cpu.h"

typedef struct {
    vm_resize_axis row, col;
    int64_t B, H, W, C, OH, OW;
} shape;

static shape shape_of(const vm_graph *g, const vm_node *n, vm_val x, vm_val y) {
    const int64_t *a = g->v[x].ne, *b = g->v[y].ne;
    return (shape){ vm_resize_axis_of((int)n->i[1], a[1], b[1]), vm_resize_axis_of((int)n->i[1], a[2], b[2]),
                    a[0], a[1], a[2], a[3], b[1], b[2] };
}

vm_status VM_KERNEL(resize_cpu)(vm_graph *g, vm_node *n) {
    shape s = shape_of(g, n, n->in[0], n->out[0]);
    const char *x = vm_in(g, n, 0);
    char *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    size_t run = (size_t)s.C * vm_type_size(tx);
#pragma omp parallel for schedule(static) if (s.B * s.OH * s.OW * s.C > VM_PAR_MIN)
    for (int64_t p = 0; p < s.B * s.OH * s.OW; p++) {
        vm_resize_tap r = vm_resize_at(&s.row, (int32_t)(p / s.OW % s.OH)),
                      q = vm_resize_at(&s.col, (int32_t)(p % s.OW));
        int64_t top = (p / (s.OW * s.OH) * s.H + r.i0) * s.W, bottom = top + (r.i1 - r.i0) * s.W;
        if (!s.row.mix && tx == ty) {
            memcpy(y + (size_t)p * run, x + (size_t)(top + q.i0) * run, run);
            continue;
        }
        vm_real t[4][VM_CHUNK], y_[VM_CHUNK];
        vm_real w00 = (1 - r.w1) * (1 - q.w1), w01 = (1 - r.w1) * q.w1, w10 = r.w1 * (1 - q.w1), w11 = r.w1 * q.w1;
        for (int64_t c = 0, m; c < s.C; c += m) {
            m = VM_MIN(s.C - c, (int64_t)VM_CHUNK);
            const vm_real *restrict a = vm_row(x, tx, (top + q.i0) * s.C + c, m, t[0]);
            vm_real *restrict out = vm_row_begin(y, ty, p * s.C + c, y_);
            if (!s.row.mix) {
                memcpy(out, a, (size_t)m * sizeof *a);
            } else {
                const vm_real *restrict b = vm_row(x, tx, (top + q.i1) * s.C + c, m, t[1]),
                              *restrict d = vm_row(x, tx, (bottom + q.i0) * s.C + c, m, t[2]),
                              *restrict e = vm_row(x, tx, (bottom + q.i1) * s.C + c, m, t[3]);
#pragma omp simd
                for (int64_t i = 0; i < m; i++) out[i] = w00 * a[i] + w01 * b[i] + w10 * d[i] + w11 * e[i];
            }
            vm_row_end(y, ty, p * s.C + c, m, out);
        }
    }
    return VM_OK;
}

vm_status VM_KERNEL(resize_back_cpu)(vm_graph *g, vm_node *n) {
    shape s = shape_of(g, n, n->out[0], n->in[0]);
    const void *dy = vm_in(g, n, 0);
    void *dx = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type, to = g->v[n->out[0]].type;
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (s.B * (s.H * s.W + s.OH * s.OW) * s.C > VM_PAR_MIN)
    for (int64_t p = 0; p < s.B * s.H * s.W; p++) {
        vm_real d_[VM_CHUNK], o_[VM_CHUNK];
        int32_t r = (int32_t)(p / s.W % s.H), q = (int32_t)(p % s.W);
        int32_t i0 = vm_resize_from(&s.row, r), i1 = vm_resize_to(&s.row, r);
        int32_t j0 = vm_resize_from(&s.col, q), j1 = vm_resize_to(&s.col, q);
        for (int64_t c = 0, m; c < s.C; c += m) {
            m = VM_MIN(s.C - c, (int64_t)VM_CHUNK);
            vm_real *restrict out = vm_row_into(dx, to, p * s.C + c, o_, add);
            for (int64_t k = 0; k < m; k++) out[k] = 0;
            for (int32_t i = i0; i < i1; i++)
                for (int32_t j = j0; j < j1; j++) {
                    vm_real w = vm_resize_weight(&s.row, i, r) * vm_resize_weight(&s.col, j, q);
                    int64_t at = ((p / (s.W * s.H) * s.OH + i) * s.OW + j) * s.C + c;
                    const vm_real *restrict d = vm_row(dy, td, at, m, d_);
#pragma omp simd
                    for (int64_t k = 0; k < m; k++) out[k] += w * d[k];
                }
            vm_row_done(dx, to, p * s.C + c, m, out, add);
        }
    }
    return VM_OK;
}
