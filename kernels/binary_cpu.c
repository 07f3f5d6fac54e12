/* binary_cpu.c - one vectorised loop per operation. A short b is repeated into a piece of the first cache once, so that
 * all loops run over long contiguous pieces whatever b's size. */
#include "kernels/binary.h"
#include "kernels/cpu.h"

/* How N elements of a meet a repeated b of Nb elements: pieces of at most VM_CHUNK elements, piece k of a begins at
 * `at` and meets b from `from`. */
typedef struct {
    const void *b;
    vm_type t;
    int64_t N, Nb, row, per_row; /* row: elements after which b begins anew; per_row: pieces in a row */
    vm_real tile[VM_CHUNK];      /* b repeated, when several fit */
} repeated;

static int64_t repeat(repeated *r, const void *b, vm_type t, int64_t N, int64_t Nb) {
    r->b = b, r->t = t, r->N = N, r->Nb = Nb;
    r->row = Nb <= VM_CHUNK / 2 ? VM_CHUNK / Nb * Nb : Nb;
    r->per_row = (r->row + VM_CHUNK - 1) / VM_CHUNK;
    if (r->row != Nb) {
        const vm_real *first = vm_row(b, t, 0, Nb, r->tile);
        for (int64_t i = 0; i < r->row; i++) r->tile[i] = i < Nb ? first[i] : r->tile[i - Nb];
    }
    return (N + r->row - 1) / r->row * r->per_row;
}
/* Piece k: its place in a, its length (0: beyond the end), b's part. */
static const vm_real *piece(const repeated *r, int64_t k, int64_t *at, int64_t *m, vm_real *tmp) {
    int64_t from = k % r->per_row * VM_CHUNK;
    *at = k / r->per_row * r->row + from;
    *m = VM_MIN(VM_MIN((int64_t)VM_CHUNK, r->row - from), r->N - *at);
    return r->row != r->Nb ? r->tile : vm_row(r->b, r->t, from, *m, tmp);
}

#define CASE(kind, expr)                                                                                           \
    case kind:                                                                                                     \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = (expr);                                         \
        break

static void apply(vm_binary_kind k, const vm_real *restrict a, const vm_real *restrict b, int64_t n,
                  vm_real *restrict y) {
    switch (k) {
        CASE(VM_ADD, a[i] + b[i]);
        CASE(VM_SUB, a[i] - b[i]);
        CASE(VM_MUL, a[i] * b[i]);
        CASE(VM_DIV, a[i] / b[i]);
        CASE(VM_MAXIMUM, a[i] < b[i] || b[i] != b[i] ? b[i] : a[i]);
    }
}

/* the part of the larger one: 1, or 1/2 when equal */
static inline vm_real share(vm_real mine, vm_real other) {
    return mine > other ? (vm_real)1 : mine == other ? (vm_real)0.5 : (vm_real)0;
}

static void apply_back(int64_t what, const vm_real *restrict d, const vm_real *restrict a, const vm_real *restrict b,
                       int64_t n, vm_real *restrict y) {
    switch (what) {
        CASE(VM_DIV_B, -d[i] * a[i] / (b[i] * b[i]));
        CASE(VM_MAXIMUM_A, d[i] * share(a[i], b[i]));
        CASE(VM_MAXIMUM_B, d[i] * share(b[i], a[i]));
    }
}

vm_status VM_KERNEL(binary_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *a = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type ta = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_binary_kind kind = (vm_binary_kind)n->i[1];
    bool add = vm_adds(g, n, 0);
    repeated b;
    if (N == 0) return VM_OK;
    int64_t pieces = repeat(&b, vm_in(g, n, 1), g->v[n->in[1]].type, N, vm_count(g, n->in[1]));
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t k = 0; k < pieces; k++) {
        vm_real a_[VM_CHUNK], b_[VM_CHUNK], y_[VM_CHUNK];
        int64_t at, m;
        const vm_real *r = piece(&b, k, &at, &m, b_);
        vm_real *out = vm_row_into(y, ty, at, y_, add);
        apply(kind, vm_row(a, ta, at, m, a_), r, m, out);
        vm_row_done(y, ty, at, m, out, add);
    }
    return VM_OK;
}

vm_status VM_KERNEL(binary_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    const void *dy = vm_in(g, n, 0), *a = vm_in(g, n, 1);
    void *y = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type, ta = g->v[n->in[1]].type, ty = g->v[n->out[0]].type;
    bool add = vm_adds(g, n, 0);
    repeated b;
    if (N == 0) return VM_OK;
    int64_t pieces = repeat(&b, vm_in(g, n, 2), g->v[n->in[2]].type, N, vm_count(g, n->in[2]));
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t k = 0; k < pieces; k++) {
        vm_real d_[VM_CHUNK], a_[VM_CHUNK], b_[VM_CHUNK], y_[VM_CHUNK];
        int64_t at, m;
        const vm_real *r = piece(&b, k, &at, &m, b_);
        vm_real *out = vm_row_into(y, ty, at, y_, add);
        apply_back(n->i[1], vm_row(dy, td, at, m, d_), vm_row(a, ta, at, m, a_), r, m, out);
        vm_row_done(y, ty, at, m, out, add);
    }
    return VM_OK;
}
