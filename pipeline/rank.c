/* rank.c - see rank.h. */
#include "pipeline/rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/progress.h"
#include "kernels/gemm.h"
#include "pipeline/run.h"

enum { ROWS = 256, SCORES = 1 << 24 }; /* queries, and scores, worked on together */

const int rank_cut[RANK_CUTS] = { 1, 5, 10 };

static float score_of(const float *s, const rank_list *candidates, int64_t j) {
    float x = s[candidates->row[j]];
    return isnan(x) ? -INFINITY : x;
}

/* The outcome of one query, whose scores for the rows of the candidates' table are s. */
static rank_outcome judge(const float *s, const rank_list *candidates, const int32_t *answer, int64_t n_answers) {
    rank_outcome o = { .right = -1, .first = -1, .s_right = -INFINITY, .s_first = -INFINITY };
    for (int64_t k = 0; k < n_answers; k++) {
        float x = score_of(s, candidates, answer[k]);
        if (x > o.s_right || (x == o.s_right && (o.right < 0 || answer[k] < o.right))) o.s_right = x, o.right = answer[k];
    }
    o.rank = o.right >= 0 && isfinite(o.s_right);
    for (int64_t j = 0; j < candidates->n; j++) {
        float x = score_of(s, candidates, j);
        if (o.first < 0 || x > o.s_first) o.s_first = x, o.first = (int32_t)j;
        if (o.rank && (x > o.s_right || (x == o.s_right && j < o.right))) o.rank++;
    }
    return o;
}

vm_status rank_queries(const rank_list *queries, const rank_list *candidates, const int64_t *at, const int32_t *answer,
                       const char *what, rank_outcome *out, vm_error *e) {
    int64_t E = queries->dim, U = candidates->rows,
            B = VM_MAX(1, VM_MIN(VM_MIN((int64_t)ROWS, queries->n), SCORES / VM_MAX(U, (int64_t)1)));
    vm_gemm_shape shape = { .batch = 1, .M = B, .N = U, .K = E, .tb = true, .alpha = 1, .deterministic = true };
    vm_gemm *product = vm_gemm_new(&shape, e);
    size_t scores = 0;
    bool fits = vm_mul_sz((size_t)(B * U), sizeof(float), &scores);
    float *q = vm_calloc((size_t)(B * E) + 1, sizeof *q), *s = fits ? vm_alloc(scores + 1) : NULL;
    if (!e->status && (!q || !s)) vm_nomem(e, scores, "a block of scores");
    progress *bar = what && !e->status ? progress_start(what, queries->n, "queries") : NULL;
    for (int64_t i = 0; i < queries->n && !e->status; i += B) {
        int64_t n = VM_MIN(B, queries->n - i);
        for (int64_t k = 0; k < n; k++)
            memcpy(q + k * E, queries->table + queries->row[i + k] * E, (size_t)E * sizeof *q);
        if (run_stopping()) vm_fail(e, VM_ESTOP, "stopped while candidates were ranked; nothing was written");
        else vm_gemm_run(product, q, candidates->table, NULL, s, e);
        if (e->status) break;
#pragma omp parallel for schedule(dynamic)
        for (int64_t k = 0; k < n; k++)
            out[i + k] = judge(s + k * U, candidates, answer + at[i + k], at[i + k + 1] - at[i + k]);
        progress_add(bar, n);
    }
    progress_end(bar);
    vm_gemm_free(product);
    vm_free(q), vm_free(s);
    return e->status;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

vm_status rank_summarise(rank_summary *out, const rank_outcome *x, int64_t n, vm_error *e) {
    int64_t *rank = vm_alloc((size_t)n * sizeof *rank + 1), m = 0;
    double within[RANK_CUTS] = { 0 }, sum = 0, inverse = 0;
    *out = (rank_summary){ .n = n, .median = NAN, .mean = NAN, .inverse = NAN };
    if (!rank) return vm_nomem(e, (size_t)n * sizeof *rank, "ranks");
    for (int64_t i = 0; i < n; i++) {
        if (!x[i].rank) continue;
        rank[m++] = x[i].rank, sum += (double)x[i].rank, inverse += 1 / (double)x[i].rank;
        for (int k = 0; k < RANK_CUTS; k++) within[k] += x[i].rank <= rank_cut[k];
    }
    qsort(rank, (size_t)m, sizeof *rank, ascending);
    if (m) out->median = (double)(rank[(m - 1) / 2] + rank[m / 2]) / 2, out->mean = sum / (double)m;
    if (m) out->inverse = inverse / (double)m;
    out->n_invalid = n - m;
    for (int k = 0; k < RANK_CUTS; k++) out->recall[k] = share_estimate(within[k], n);
    vm_free(rank);
    return VM_OK;
}
