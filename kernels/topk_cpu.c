/* topk_cpu.c - see topk.c. A heap of the k best so far, its worst on top: most entries cost one comparison. */
#include "kernels/cpu.h"

typedef struct {
    vm_real *v;
    int32_t *id;
} heap;

/* Whether entry (v, i) comes before (w, j) in the result. */
static inline bool before(vm_real v, int32_t i, vm_real w, int32_t j) {
    if (v != v || w != w) return v != v && (w == w || i < j);
    return v > w || (v == w && i < j);
}

/* Puts (v, id) at place at of a heap of n, whose children are heaps. */
static void sink(heap h, int64_t at, int64_t n, vm_real v, int32_t id) {
    for (int64_t c; (c = 2 * at + 1) < n; at = c) {
        c += c + 1 < n && before(h.v[c], h.id[c], h.v[c + 1], h.id[c + 1]); /* the worse of the two children */
        if (before(h.v[c], h.id[c], v, id)) break;
        h.v[at] = h.v[c], h.id[at] = h.id[c];
    }
    h.v[at] = v, h.id[at] = id;
}

/* The k best of n entries, in order. */
static void best(heap h, int64_t k, const void *x, vm_type t, int64_t at, int64_t n) {
    vm_real tmp[VM_CHUNK];
    for (int64_t j = 0; k && j < n; j += VM_CHUNK) {
        int64_t m = VM_MIN((int64_t)VM_CHUNK, n - j);
        const vm_real *r = vm_row(x, t, at + j, m, tmp);
        for (int64_t i = 0; i < m; i++) {
            int32_t id = (int32_t)(j + i);
            if (id < k) {
                h.v[id] = r[i], h.id[id] = id;
                if (id == k - 1)
                    for (int64_t p = k / 2; p-- > 0;) sink(h, p, k, h.v[p], h.id[p]);
            } else if (before(r[i], id, h.v[0], h.id[0])) {
                sink(h, 0, k, r[i], id);
            }
        }
    }
    for (int64_t e = k; e-- > 1;) {
        vm_real v = h.v[e];
        int32_t id = h.id[e];
        h.v[e] = h.v[0], h.id[e] = h.id[0];
        sink(h, 0, e, v, id);
    }
}

vm_status VM_KERNEL(topk_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), N = vm_cols(g, n->in[0]), k = n->i[0];
    vm_type t = g->v[n->in[0]].type;
    const void *x = vm_in(g, n, 0);
    vm_real *v = vm_o(g, n, 0);
    int32_t *id = vm_o(g, n, 1);
#pragma omp parallel for schedule(static) if (R * N > VM_PAR_MIN)
    for (int64_t r = 0; r < R; r++) best((heap){ v + r * k, id + r * k }, k, x, t, r * N, N);
    return VM_OK;
}

vm_status VM_KERNEL(topk_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), k = vm_cols(g, n->in[0]), N = n->i[0];
    vm_type t = g->v[n->in[0]].type, tx = g->v[n->out[0]].type;
    const void *d = vm_in(g, n, 0);
    const int32_t *id = vm_in(g, n, 1);
    char *dx = vm_o(g, n, 0);
    if (!vm_adds(g, n, 0)) memset(dx, 0, (size_t)(R * N) * vm_type_size(tx));
#pragma omp parallel for schedule(static) if (R * k > VM_PAR_MIN)
    for (int64_t i = 0; i < R * k; i++) {
        vm_real tmp;
        vm_row_done(dx, tx, i / k * N + id[i], 1, vm_row(d, t, i, 1, &tmp), true);
    }
    return VM_OK;
}

/* --- gather ---------------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t B, N, C, Q; /* x as (B,N,C), indices as (B,Q) */
    const int32_t *id;
} rows;

static vm_status rows_of(vm_graph *g, const vm_node *n, const vm_value *x, rows *r) {
    bool batched = x->nd == 3;
    *r = (rows){ batched ? x->ne[0] : 1, x->ne[x->nd - 2], x->ne[x->nd - 1], vm_count(g, n->in[1]), vm_in(g, n, 1) };
    if (batched) r->Q = vm_dim(g, n->in[1], 1);
    for (int64_t i = 0; i < r->B * r->Q; i++)
        if (r->id[i] < 0 || r->id[i] >= r->N)
            return vm_fail(&g->err, VM_EINPUT, "gather_rows: index %d at position %lld, there are %lld rows", (int)r->id[i],
                           (long long)i, (long long)r->N);
    return VM_OK;
}

vm_status VM_KERNEL(gather_rows_cpu)(vm_graph *g, vm_node *n) {
    const vm_value *xv = &g->v[n->in[0]];
    rows r;
    if (rows_of(g, n, xv, &r)) return g->err.status;
    size_t row = (size_t)r.C * vm_type_size(xv->type);
    const char *x = xv->data;
    char *y = vm_o(g, n, 0);
#pragma omp parallel for schedule(static) if (r.B * r.Q * r.C > VM_PAR_MIN)
    for (int64_t i = 0; i < r.B * r.Q; i++)
        memcpy(y + (size_t)i * row, x + (size_t)(i / r.Q * r.N + r.id[i]) * row, row);
    return VM_OK;
}

/* Threads own blocks of columns of one batch entry, so each row's sum is taken in the order of positions. */
vm_status VM_KERNEL(gather_rows_back_cpu)(vm_graph *g, vm_node *n) {
    enum { BLOCK = 64 };
    const vm_value *xv = &g->v[n->out[0]];
    rows r;
    if (rows_of(g, n, xv, &r)) return g->err.status;
    vm_type t = g->v[n->in[0]].type;
    const void *dy = vm_in(g, n, 0);
    vm_real *dx = xv->data;
    int64_t blocks = (r.C + BLOCK - 1) / BLOCK;
    if (!vm_adds(g, n, 0)) memset(dx, 0, (size_t)(r.B * r.N * r.C) * sizeof *dx);
#pragma omp parallel for schedule(static) if (r.B * r.Q * r.C > VM_PAR_MIN)
    for (int64_t w = 0; w < r.B * blocks; w++) {
        vm_real tmp[BLOCK];
        int64_t b = w / blocks, c = w % blocks * BLOCK, m = VM_MIN((int64_t)BLOCK, r.C - c);
        for (int64_t q = 0; q < r.Q; q++) {
            const vm_real *d = vm_row(dy, t, (b * r.Q + q) * r.C + c, m, tmp);
            vm_real *restrict to = dx + (b * r.N + r.id[b * r.Q + q]) * r.C + c;
#pragma omp simd
            for (int64_t j = 0; j < m; j++) to[j] += d[j];
        }
    }
    return VM_OK;
}
