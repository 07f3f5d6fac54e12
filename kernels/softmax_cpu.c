/* softmax_cpu.c - see softmax.c. Rows never cross threads; bf16 rows are widened piece by piece. */
#include "kernels/cpu.h"

enum { PIECE = 1024, IGNORED = -100 };

/* The largest of a row, in lanes: a running maximum alone is not vectorised by every compiler. 0 for a row of -inf only:
 * then e^(x-m) is 0 everywhere, not NaN. */
static vm_real row_max(const void *x, vm_type t, int64_t at, int64_t V) {
    enum { LANES = 64 };
    vm_real tmp[PIECE], lane[LANES], m = -INFINITY;
    for (int l = 0; l < LANES; l++) lane[l] = m;
    for (int64_t j = 0; j < V; j += PIECE) {
        int64_t k = VM_MIN((int64_t)PIECE, V - j), i = 0;
        const vm_real *restrict r = vm_row(x, t, at + j, k, tmp);
        for (; i + LANES <= k; i += LANES)
#pragma omp simd
            for (int l = 0; l < LANES; l++) lane[l] = r[i + l] > lane[l] ? r[i + l] : lane[l];
        for (; i < k; i++) m = r[i] > m ? r[i] : m;
    }
    for (int l = 0; l < LANES; l++) m = lane[l] > m ? lane[l] : m;
    return m > -INFINITY ? m : 0;
}

static vm_real sum_exp(const void *x, vm_type t, int64_t at, int64_t V, vm_real m, vm_real *y) {
    vm_real tmp[PIECE], s = 0;
    for (int64_t j = 0; j < V; j += PIECE) {
        int64_t k = VM_MIN((int64_t)PIECE, V - j);
        const vm_real *r = vm_row(x, t, at + j, k, tmp);
        vm_real *to = y ? y + j : tmp, part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < k; i++) {
            vm_real e = vm_exp(r[i] - m);
            to[i] = e;
            part += e;
        }
        s += part;
    }
    return s;
}

vm_status VM_KERNEL(softmax_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), V = vm_cols(g, n->in[0]);
    vm_type t = g->v[n->in[0]].type;
    const void *x = vm_in(g, n, 0);
    vm_real *y = vm_o(g, n, 0);
#pragma omp parallel for schedule(static) if (R * V > VM_PAR_MIN / 4)
    for (int64_t i = 0; i < R; i++) {
        vm_real *row = y + i * V, s = sum_exp(x, t, i * V, V, row_max(x, t, i * V, V), row);
        vm_real k = s == 0 ? 0 : 1 / s; /* NaN stays */
#pragma omp simd
        for (int64_t j = 0; j < V; j++) row[j] *= k;
    }
    return VM_OK;
}

vm_status VM_KERNEL(softmax_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), V = vm_cols(g, n->in[1]);
    vm_type t = g->v[n->in[0]].type;
    const void *dy = vm_in(g, n, 0);
    const vm_real *y = vm_in(g, n, 1);
    vm_real *dx = vm_o(g, n, 0);
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * V > VM_PAR_MIN)
    for (int64_t i = 0; i < R; i++) {
        vm_real tmp[PIECE], dot = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < V; j += PIECE) {
                int64_t k = VM_MIN((int64_t)PIECE, V - j);
                const vm_real *d = vm_row(dy, t, i * V + j, k, tmp), *p = y + i * V + j;
                vm_real *to = dx + i * V + j, s = 0;
                if (pass == 0) {
#pragma omp simd reduction(+ : s)
                    for (int64_t c = 0; c < k; c++) s += d[c] * p[c];
                    dot += s;
                } else {
#pragma omp simd
                    for (int64_t c = 0; c < k; c++) to[c] = (add ? to[c] : 0) + p[c] * (d[c] - dot);
                }
            }
    }
    return VM_OK;
}

static vm_real element(const void *x, vm_type t, int64_t at) {
    vm_real tmp[1];
    return vm_row(x, t, at, 1, tmp)[0];
}

vm_status VM_KERNEL(cross_entropy_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), V = vm_cols(g, n->in[0]), kept = 0;
    vm_type t = g->v[n->in[0]].type;
    const void *x = vm_in(g, n, 0);
    const int32_t *target = vm_in(g, n, 1);
    vm_real *max = vm_o(g, n, 1), *log_sum = max + R;
    for (int64_t i = 0; i < R; i++)
        if (target[i] != IGNORED && (target[i] < 0 || target[i] >= V))
            return vm_fail(&g->err, VM_EINPUT, "cross_entropy: target %d in row %lld, there are %lld classes",
                           (int)target[i], (long long)i, (long long)V);
#pragma omp parallel for schedule(static) if (R * V > VM_PAR_MIN / 4)
    for (int64_t i = 0; i < R; i++) {
        if (target[i] == IGNORED) continue;
        max[i] = row_max(x, t, i * V, V);
        log_sum[i] = (vm_real)log((double)sum_exp(x, t, i * V, V, max[i], NULL));
    }
    double sum = 0;
    for (int64_t i = 0; i < R; i++)
        if (target[i] != IGNORED) {
            kept++;
            sum += (double)(max[i] - element(x, t, i * V + target[i])) + (double)log_sum[i];
        }
    *(vm_real *)vm_o(g, n, 0) = (vm_real)(kept ? sum / (double)kept : 0);
    *(vm_real *)vm_o(g, n, 2) = (vm_real)kept;
    return VM_OK;
}

vm_status VM_KERNEL(cross_entropy_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), V = vm_cols(g, n->in[1]);
    vm_type t = g->v[n->in[1]].type;
    const void *x = vm_in(g, n, 1);
    const int32_t *target = vm_in(g, n, 2);
    const vm_real *max = vm_in(g, n, 3), *log_sum = max + R, kept = *(const vm_real *)vm_in(g, n, 4);
    vm_real *dx = vm_o(g, n, 0), k = kept > 0 ? *(const vm_real *)vm_in(g, n, 0) / kept : 0;
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * V > VM_PAR_MIN / 4)
    for (int64_t i = 0; i < R; i++) {
        vm_real *to = dx + i * V, tmp[PIECE];
        if (target[i] == IGNORED) {
            if (!add) memset(to, 0, (size_t)V * sizeof *to);
            continue;
        }
        for (int64_t j = 0; j < V; j += PIECE) {
            int64_t m = VM_MIN((int64_t)PIECE, V - j);
            const vm_real *r = vm_row(x, t, i * V + j, m, tmp);
#pragma omp simd
            for (int64_t c = 0; c < m; c++) to[j + c] = (add ? to[j + c] : 0) + k * vm_exp(r[c] - max[i] - log_sum[i]);
        }
        to[target[i]] -= k;
    }
    return VM_OK;
}
