/* reduce_cpu.c - see reduce.c. Short inner axes are taken several at a time: (A,I) is read in rows of as many I as
 * fit into a piece, so that loops are long. Each lane adds few numbers, lanes are added in double: long sums stay
 * accurate. */
#include "kernels/chunks.h"
#include "kernels/cpu.h"

/* y[i] = sum over a < A of x[at + a*I + i], i < m; m = I unless I exceeds VM_CHUNK */
static void sum_rows(const void *x, vm_type t, int64_t at, int64_t A, int64_t I, int64_t m, vm_real *restrict y) {
    vm_real sum[VM_CHUNK], x_[VM_CHUNK];
    int64_t together = VM_MAX((int64_t)1, VM_MIN(VM_CHUNK / I, A / 8)); /* adding lanes must not outweigh adding rows */
    for (int64_t i = 0; i < together * m; i++) sum[i] = 0;
    for (int64_t a = 0; a < A; a += together) {
        int64_t n = VM_MIN(together, A - a) * m;
        const vm_real *restrict r = vm_row(x, t, at + a * I, n, x_);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) sum[i] += r[i];
    }
    for (int64_t i = 0; i < m; i++) {
        double total = (double)sum[i];
        for (int64_t k = 1; k < together; k++) total += (double)sum[k * m + i];
        y[i] = (vm_real)total;
    }
}
/* Sum of n numbers in a row. */
static vm_real sum_run(const void *x, vm_type t, int64_t at, int64_t n) {
    vm_real x_[VM_CHUNK];
    double total = 0;
    for (int64_t i = 0; i < n; i += VM_CHUNK) {
        int64_t m = VM_MIN(n - i, (int64_t)VM_CHUNK);
        total += (double)vm_row_sum(vm_row(x, t, at + i, m, x_), m);
    }
    return (vm_real)total;
}

vm_status VM_KERNEL(sum_cpu)(vm_graph *g, vm_node *n) {
    int64_t O = n->i[0], A = n->i[1], I = n->i[2], n_chunks = g->v[n->out[1]].ne[1];
    const void *x = vm_in(g, n, 0);
    vm_real *y = vm_o(g, n, 0), *part = vm_o(g, n, 1), scale = (vm_real)n->f[0];
    vm_type t = g->v[n->in[0]].type;
    bool add = vm_adds(g, n, 0);
    int64_t blocks = (I + VM_CHUNK - 1) / VM_CHUNK, tasks = O * n_chunks * blocks;
#pragma omp parallel for schedule(static) if (O * A * I > VM_PAR_MIN)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t o = task / blocks / n_chunks, k = task / blocks % n_chunks, i = task % blocks * VM_CHUNK;
        int64_t a = vm_chunk_begin(A, n_chunks, k), rows = vm_chunk_begin(A, n_chunks, k + 1) - a;
        vm_real *to = part + (o * n_chunks + k) * I + i;
        if (I == 1) *to = sum_run(x, t, o * A + a, rows);
        else sum_rows(x, t, (o * A + a) * I + i, rows, I, VM_MIN(I - i, (int64_t)VM_CHUNK), to);
    }
    for (int64_t o = 0; o < O && n_chunks != 1; o++)
        vm_sum_chunks(part + o * n_chunks * I, n_chunks, I, I, scale, y + o * I, add);
    for (int64_t i = 0; i < O * I && n_chunks == 1; i++) y[i] = scale * part[i] + (add ? y[i] : 0);
    return VM_OK;
}

vm_status VM_KERNEL(broadcast_cpu)(vm_graph *g, vm_node *n) {
    int64_t O = n->i[0], A = n->i[1], I = n->i[2];
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_real scale = (vm_real)n->f[0];
    bool add = vm_adds(g, n, 0);
    if (O * A * I == 0) return VM_OK;
    int64_t together = I <= VM_CHUNK ? VM_CHUNK / I : 1, pieces = (A + together - 1) / together;
    int64_t blocks = (I + VM_CHUNK - 1) / VM_CHUNK;
#pragma omp parallel for schedule(static) if (O * A * I > VM_PAR_MIN)
    for (int64_t task = 0; task < O * pieces * blocks; task++) {
        vm_real x_[VM_CHUNK], tile[VM_CHUNK], y_[VM_CHUNK];
        int64_t o = task / blocks / pieces, a = task / blocks % pieces * together, i = task % blocks * VM_CHUNK;
        int64_t m = VM_MIN(I - i, (int64_t)VM_CHUNK), copies = VM_MIN(together, A - a), len = m * copies;
        const vm_real *restrict r = vm_row(x, tx, o * I + i, m, x_);
        if (copies > 1) {
            for (int64_t k = 0; m > 1 && k < len; k += m) memcpy(tile + k, r, (size_t)m * sizeof *r);
            for (int64_t k = 0; m == 1 && k < len; k++) tile[k] = *r;
            r = tile;
        }
        int64_t at = (o * A + a) * I + i;
        vm_real *restrict out = vm_row_into(y, ty, at, y_, add);
#pragma omp simd
        for (int64_t k = 0; k < len; k++) out[k] = scale * r[k];
        vm_row_done(y, ty, at, len, out, add);
    }
    return VM_OK;
}
