/* pool_cpu.c - see pool.c. One output (or input) pixel at a time, its channels in vectorised pieces. */
#include "kernels/cpu.h"
#include "kernels/pool.h"

typedef struct {
    vm_pool k;
    int64_t B, H, W, C, OH, OW;
} shape;

static shape shape_of(vm_graph *g, vm_node *n, vm_val x, vm_val y) {
    const int64_t *a = g->v[x].ne, *b = g->v[y].ne;
    return (shape){ vm_pool_of(n), a[0], a[1], a[2], a[3], b[1], b[2] };
}

/* Rows (axis 0) or columns (1) of window i of the picture: first..end, and the tap that first is. */
static void window(const shape *s, int axis, int64_t i, int64_t *first, int64_t *end, int64_t *tap) {
    int64_t K = axis ? s->k.KW : s->k.KH, n = axis ? s->W : s->H, at = i * s->k.stride[axis] - s->k.pad[axis];
    *first = VM_MAX(at, (int64_t)0), *end = VM_MIN(at + K, n), *tap = *first - at;
}
/* Windows first..end that hold row (axis 0) or column (1) r. */
static void holders(const shape *s, int axis, int64_t r, int64_t *first, int64_t *end) {
    int64_t K = axis ? s->k.KW : s->k.KH, st = s->k.stride[axis], n = axis ? s->OW : s->OH, at = r + s->k.pad[axis];
    *first = at < K ? 0 : (at - K) / st + 1, *end = VM_MIN(at / st + 1, n);
}

vm_status VM_KERNEL(avgpool_cpu)(vm_graph *g, vm_node *n) {
    shape s = shape_of(g, n, n->in[0], n->out[0]);
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_real scale = 1 / (vm_real)(s.k.KH * s.k.KW);
#pragma omp parallel for schedule(static) if (s.B * s.H * s.W * s.C > VM_PAR_MIN)
    for (int64_t p = 0; p < s.B * s.OH * s.OW; p++) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK];
        int64_t r0, r1, q0, q1, tap, b = p / (s.OH * s.OW);
        window(&s, 0, p / s.OW % s.OH, &r0, &r1, &tap), window(&s, 1, p % s.OW, &q0, &q1, &tap);
        for (int64_t c = 0, m; c < s.C; c += m) {
            m = VM_MIN(s.C - c, (int64_t)VM_CHUNK);
            vm_real *restrict out = vm_row_begin(y, ty, p * s.C + c, y_);
            for (int64_t i = 0; i < m; i++) out[i] = 0;
            for (int64_t r = r0; r < r1; r++)
                for (int64_t q = q0; q < q1; q++) {
                    const vm_real *restrict a = vm_row(x, tx, ((b * s.H + r) * s.W + q) * s.C + c, m, x_);
#pragma omp simd
                    for (int64_t i = 0; i < m; i++) out[i] += a[i];
                }
#pragma omp simd
            for (int64_t i = 0; i < m; i++) out[i] *= scale;
            vm_row_end(y, ty, p * s.C + c, m, out);
        }
    }
    return VM_OK;
}

vm_status VM_KERNEL(maxpool_cpu)(vm_graph *g, vm_node *n) {
    shape s = shape_of(g, n, n->in[0], n->out[0]);
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    uint8_t *winners = vm_o(g, n, 1);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
#pragma omp parallel for schedule(static) if (s.B * s.H * s.W * s.C > VM_PAR_MIN)
    for (int64_t p = 0; p < s.B * s.OH * s.OW; p++) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK];
        int64_t r0, r1, q0, q1, u0, v0, b = p / (s.OH * s.OW);
        window(&s, 0, p / s.OW % s.OH, &r0, &r1, &u0), window(&s, 1, p % s.OW, &q0, &q1, &v0);
        for (int64_t c = 0, m; c < s.C; c += m) {
            m = VM_MIN(s.C - c, (int64_t)VM_CHUNK);
            vm_real *restrict out = vm_row_begin(y, ty, p * s.C + c, y_);
            uint8_t *restrict win = winners + p * s.C + c;
            for (int64_t r = r0; r < r1; r++)
                for (int64_t q = q0; q < q1; q++) {
                    const vm_real *restrict a = vm_row(x, tx, ((b * s.H + r) * s.W + q) * s.C + c, m, x_);
                    bool first = r == r0 && q == q0;
                    uint8_t tap = (uint8_t)((r - r0 + u0) * s.k.KW + q - q0 + v0);
                    for (int64_t i = 0; i < m; i++)
                        if (first || a[i] > out[i] || (a[i] != a[i] && out[i] == out[i]))
                            out[i] = a[i], win[i] = tap; /* NaN wins */
                }
            vm_row_end(y, ty, p * s.C + c, m, out);
        }
    }
    return VM_OK;
}

/* scale: the share of dy that a winner gets; winners NULL: all of the window win. */
static vm_status back(vm_graph *g, vm_node *n, vm_real scale, const uint8_t *winners) {
    shape s = shape_of(g, n, n->out[0], n->in[0]);
    const void *dy = vm_in(g, n, 0);
    void *dx = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type, to = g->v[n->out[0]].type;
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (s.B * s.H * s.W * s.C > VM_PAR_MIN)
    for (int64_t p = 0; p < s.B * s.H * s.W; p++) {
        vm_real d_[VM_CHUNK], o_[VM_CHUNK];
        int64_t r = p / s.W % s.H, q = p % s.W, i0, i1, j0, j1, b = p / (s.H * s.W);
        holders(&s, 0, r, &i0, &i1), holders(&s, 1, q, &j0, &j1);
        for (int64_t c = 0, m; c < s.C; c += m) {
            m = VM_MIN(s.C - c, (int64_t)VM_CHUNK);
            vm_real *restrict out = vm_row_into(dx, to, p * s.C + c, o_, add);
            for (int64_t k = 0; k < m; k++) out[k] = 0;
            for (int64_t i = i0; i < i1; i++)
                for (int64_t j = j0; j < j1; j++) {
                    int64_t at = ((b * s.OH + i) * s.OW + j) * s.C + c;
                    const vm_real *restrict d = vm_row(dy, td, at, m, d_);
                    if (!winners) {
#pragma omp simd
                        for (int64_t k = 0; k < m; k++) out[k] += scale * d[k];
                        continue;
                    }
                    const uint8_t *restrict win = winners + at;
                    int64_t u = r + s.k.pad[0] - i * s.k.stride[0], v = q + s.k.pad[1] - j * s.k.stride[1];
                    uint8_t tap = (uint8_t)(u * s.k.KW + v);
                    for (int64_t k = 0; k < m; k++) out[k] += win[k] == tap ? d[k] : 0;
                }
            vm_row_done(dx, to, p * s.C + c, m, out, add);
        }
    }
    return VM_OK;
}
vm_status VM_KERNEL(avgpool_back_cpu)(vm_graph *g, vm_node *n) {
    vm_pool k = vm_pool_of(n);
    return back(g, n, 1 / (vm_real)(k.KH * k.KW), NULL);
}
vm_status VM_KERNEL(maxpool_back_cpu)(vm_graph *g, vm_node *n) { return back(g, n, 1, vm_in(g, n, 1)); }
