/* rows_cpu.c - see rows.c. */
#include "kernels/cpu.h"

static vm_status bad_id(vm_graph *g, const char *op, int64_t at, int32_t id, int64_t n) {
    return vm_fail(&g->err, VM_EINPUT, "%s: id %d at position %lld, the table has %lld rows", op, (int)id,
                   (long long)at, (long long)n);
}

static vm_status check(vm_graph *g, const char *op, const int32_t *id, int64_t N, int64_t V) {
    for (int64_t i = 0; i < N; i++)
        if (id[i] < 0 || id[i] >= V) return bad_id(g, op, i, id[i], V);
    return VM_OK;
}

vm_status VM_KERNEL(embedding_cpu)(vm_graph *g, vm_node *n) {
    const int32_t *id = vm_in(g, n, 1);
    int64_t N = vm_count(g, n->in[1]), V = vm_dim(g, n->in[0], 0), C = vm_cols(g, n->in[0]);
    vm_type t = g->v[n->in[0]].type;
    const void *table = vm_in(g, n, 0);
    vm_real *y = vm_o(g, n, 0);
    if (check(g, "embedding", id, N, V)) return g->err.status;
#pragma omp parallel for schedule(static) if (N * C > VM_PAR_MIN)
    for (int64_t i = 0; i < N; i++) {
        const vm_real *row = vm_row(table, t, id[i] * C, C, y + i * C);
        if (row != y + i * C) memcpy(y + i * C, row, (size_t)C * sizeof *y);
    }
    return VM_OK;
}

/* Threads own columns, so each row's sum is taken in the order of positions. */
vm_status VM_KERNEL(embedding_back_cpu)(vm_graph *g, vm_node *n) {
    enum { BLOCK = 64 };
    const int32_t *id = vm_in(g, n, 1);
    int64_t N = vm_count(g, n->in[1]), V = n->i[0], C = vm_cols(g, n->in[0]);
    vm_type t = g->v[n->in[0]].type;
    const void *dy = vm_in(g, n, 0);
    vm_real *restrict d = vm_o(g, n, 0);
    if (check(g, "embedding", id, N, V)) return g->err.status;
    if (!vm_adds(g, n, 0)) memset(d, 0, (size_t)(V * C) * sizeof *d);
#pragma omp parallel for schedule(static) if (N * C > VM_PAR_MIN)
    for (int64_t j = 0; j < C; j += BLOCK) {
        vm_real tmp[BLOCK];
        int64_t m = VM_MIN((int64_t)BLOCK, C - j);
        for (int64_t i = 0; i < N; i++) {
            const vm_real *r = vm_row(dy, t, i * C + j, m, tmp);
            vm_real *restrict to = d + id[i] * C + j;
#pragma omp simd
            for (int64_t k = 0; k < m; k++) to[k] += r[k];
        }
    }
    return VM_OK;
}

vm_status VM_KERNEL(pick_cpu)(vm_graph *g, vm_node *n) {
    const int32_t *idx = vm_in(g, n, 1);
    int64_t B = vm_dim(g, n->in[0], 0), T = vm_dim(g, n->in[0], 1);
    size_t row = (size_t)vm_cols(g, n->in[0]) * vm_type_size(g->v[n->in[0]].type);
    const char *x = vm_in(g, n, 0);
    char *y = vm_o(g, n, 0);
    if (check(g, "pick", idx, B, T)) return g->err.status;
    for (int64_t b = 0; b < B; b++) memcpy(y + (size_t)b * row, x + (size_t)(b * T + idx[b]) * row, row);
    return VM_OK;
}

vm_status VM_KERNEL(pick_back_cpu)(vm_graph *g, vm_node *n) {
    const int32_t *idx = vm_in(g, n, 1);
    vm_value dx = g->v[n->out[0]];
    int64_t B = dx.ne[0], T = dx.ne[1], C = dx.ne[2];
    vm_type t = g->v[n->in[0]].type;
    const void *dy = vm_in(g, n, 0);
    bool add = vm_adds(g, n, 0);
    if (check(g, "pick", idx, B, T)) return g->err.status;
    if (!add) memset(dx.data, 0, (size_t)(B * T * C) * vm_type_size(dx.type));
    for (int64_t b = 0; b < B; b++)
        for (int64_t j = 0; j < C; j += VM_CHUNK) {
            vm_real from[VM_CHUNK];
            int64_t m = VM_MIN((int64_t)VM_CHUNK, C - j);
            vm_row_done(dx.data, dx.type, (b * T + idx[b]) * C + j, m, vm_row(dy, t, b * C + j, m, from), true);
        }
    return VM_OK;
}
