/* glu_cpu.c - see glu.c. Two tensors are one long row each, packed halves rows of their own. */
#include "kernels/activate.h"

/* Rows of C columns: row i of a half begins at element i*step + at of its tensor. */
typedef struct {
    int64_t R, C, step[2], at[2]; /* of value, gate */
    const void *p[2];
    vm_type t[2];
} halves;

/* k: the first input of the pair; y: the tensor with C columns */
static halves halves_of(const vm_graph *g, const vm_node *n, int k, vm_val y) {
    vm_val value = n->in[k], gate = n->n_in > k + 1 ? n->in[k + 1] : 0;
    halves h = { .R = 1, .C = vm_count(g, y), .p = { g->v[value].data, g->v[gate ? gate : value].data },
                 .t = { g->v[value].type, g->v[gate ? gate : value].type } };
    if (gate) return h;
    h.R = vm_rows(g, y), h.C = vm_cols(g, y);
    h.step[0] = h.step[1] = 2 * h.C, h.at[n->i[2] ? 0 : 1] = h.C;
    return h;
}

vm_status VM_KERNEL(glu_cpu)(vm_graph *g, vm_node *n) {
    halves h = halves_of(g, n, 0, n->out[0]);
    void *y = vm_o(g, n, 0);
    vm_type ty = g->v[n->out[0]].type;
    vm_unary_kind act = (vm_unary_kind)n->i[1];
    int64_t pieces = (h.C + VM_CHUNK - 1) / VM_CHUNK;
#pragma omp parallel for schedule(static) if (h.R * h.C * 8 > VM_PAR_MIN)
    for (int64_t k = 0; k < h.R * pieces; k++) {
        vm_real v_[VM_CHUNK], g_[VM_CHUNK], a[VM_CHUNK], y_[VM_CHUNK];
        int64_t row = k / pieces, c = k % pieces * VM_CHUNK, m = VM_MIN((int64_t)VM_CHUNK, h.C - c), at = row * h.C + c;
        const vm_real *restrict v = vm_row(h.p[0], h.t[0], row * h.step[0] + h.at[0] + c, m, v_);
        vm_apply(act, vm_row(h.p[1], h.t[1], row * h.step[1] + h.at[1] + c, m, g_), m, a);
        vm_real *restrict out = vm_row_begin(y, ty, at, y_);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) out[i] = v[i] * a[i];
        vm_row_end(y, ty, at, m, out);
    }
    return VM_OK;
}

vm_status VM_KERNEL(glu_back_cpu)(vm_graph *g, vm_node *n) {
    halves h = halves_of(g, n, 1, n->in[0]);
    const void *dy = vm_in(g, n, 0);
    vm_type td = g->v[n->in[0]].type;
    bool two = n->n_out == 2, add[] = { vm_adds(g, n, 0), vm_adds(g, n, two) };
    void *to[] = { vm_o(g, n, 0), vm_o(g, n, two) };
    vm_type tt[] = { g->v[n->out[0]].type, g->v[n->out[two]].type };
    vm_unary_kind act = (vm_unary_kind)n->i[1];
    int64_t pieces = (h.C + VM_CHUNK - 1) / VM_CHUNK;
#pragma omp parallel for schedule(static) if (h.R * h.C * 16 > VM_PAR_MIN)
    for (int64_t k = 0; k < h.R * pieces; k++) {
        vm_real d_[VM_CHUNK], v_[VM_CHUNK], g_[VM_CHUNK], a[VM_CHUNK], o_[VM_CHUNK];
        int64_t row = k / pieces, c = k % pieces * VM_CHUNK, m = VM_MIN((int64_t)VM_CHUNK, h.C - c);
        int64_t av = row * h.step[0] + h.at[0] + c, ag = row * h.step[1] + h.at[1] + c;
        const vm_real *restrict d = vm_row(dy, td, row * h.C + c, m, d_);
        const vm_real *restrict v = vm_row(h.p[0], h.t[0], av, m, v_);
        const vm_real *gate = vm_row(h.p[1], h.t[1], ag, m, g_);
        vm_apply(act, gate, m, a);
        vm_real *restrict out = vm_row_into(to[0], tt[0], av, o_, add[0]);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) out[i] = d[i] * a[i];
        vm_row_done(to[0], tt[0], av, m, out, add[0]);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) a[i] = d[i] * v[i];
        out = vm_row_into(to[1], tt[1], ag, o_, add[1]);
        vm_apply_slope(act, a, gate, m, out);
        vm_row_done(to[1], tt[1], ag, m, out, add[1]);
    }
    return VM_OK;
}
