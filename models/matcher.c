/* matcher.c - see matcher.h. */
#include "models/matcher.h"

#include <float.h>
#include <math.h>

#include "kernels/box.h"

/* Shortest augmenting paths: rows are assigned one after the other; u and v are prices that keep every reduced cost c - u - v at 0 or
 * above, and at 0 where something is assigned. From the new row the cheapest paths over assigned columns grow (as Dijkstra's) until one
 * ends in a free column; along it the assignments move on. n <= m. */
typedef struct {
    int64_t n, m;
    const double *cost;
    int64_t row_step, col_step;
    double *u, *v, *dist;
    int64_t *row_of, *from, *col_of; /* per column: its row or -1, the row that reached it; per row: its column */
    bool *done;
} assignment;

static double cost_of(const assignment *a, int64_t i, int64_t j) { return a->cost[i * a->row_step + j * a->col_step]; }

static void assign_row(assignment *a, int64_t first) {
    double least = 0;
    int64_t i = first, end = -1;
    for (int64_t j = 0; j < a->m; j++) a->dist[j] = INFINITY, a->done[j] = false, a->from[j] = -1;
    while (end < 0) {
        int64_t best = -1;
        for (int64_t j = 0; j < a->m; j++) {
            if (a->done[j]) continue;
            double d = least + cost_of(a, i, j) - a->u[i] - a->v[j];
            if (d < a->dist[j]) a->dist[j] = d, a->from[j] = i;
            if (best < 0 || a->dist[j] < a->dist[best] || (a->dist[j] == a->dist[best] && a->row_of[j] < 0 && a->row_of[best] >= 0))
                best = j;
        }
        least = a->dist[best], a->done[best] = true;
        if (a->row_of[best] < 0) end = best;
        else i = a->row_of[best];
    }
    a->u[first] += least;
    for (int64_t j = 0; j < a->m; j++) {
        if (!a->done[j] || j == end) continue;
        a->u[a->row_of[j]] += least - a->dist[j], a->v[j] -= least - a->dist[j];
    }
    for (int64_t j = end; ; ) { /* columns of the path take the row that reached them, which gives its old column on */
        int64_t row = a->from[j], old = a->col_of[row];
        a->row_of[j] = row, a->col_of[row] = j;
        if (row == first) break;
        j = old;
    }
}

vm_status matcher_assign(const double *cost, int64_t R, int64_t C, int32_t *col, vm_error *e) {
    bool tall = R > C; /* rows are then what is assigned to */
    int64_t n = tall ? C : R, m = tall ? R : C;
    size_t bytes = (size_t)n * (sizeof(double) + sizeof(int64_t)) + (size_t)m * (2 * sizeof(double) + 2 * sizeof(int64_t) + 1);
    char *room = vm_calloc(1, bytes + 1);
    if (!room) return vm_nomem(e, bytes, "an assignment");
    assignment a = { .n = n, .m = m, .cost = cost, .row_step = tall ? 1 : C, .col_step = tall ? C : 1 };
    a.u = (double *)(void *)room, a.v = a.u + n, a.dist = a.v + m;
    a.row_of = (int64_t *)(void *)(a.dist + m), a.from = a.row_of + m, a.col_of = a.from + m;
    a.done = (bool *)(a.col_of + n);
    for (int64_t j = 0; j < m; j++) a.row_of[j] = -1;
    for (int64_t i = 0; i < n; i++) assign_row(&a, i);
    for (int64_t r = 0; r < R; r++) col[r] = tall ? (int32_t)a.row_of[r] : -1;
    for (int64_t j = 0; j < m && !tall; j++)
        if (a.row_of[j] >= 0) col[a.row_of[j]] = (int32_t)j;
    vm_free(room);
    return VM_OK;
}

void matcher_cost(const matcher_costs *c, int64_t Q, int64_t V, int64_t T, const vm_real *logits, const vm_real *boxes,
                  const vm_real *labels, const vm_real *targets, double *cost) {
    for (int64_t q = 0; q < Q; q++)
        for (int64_t t = 0; t < T; t++) cost[q * T + t] = 0;
    for (int64_t q = 0; q < Q && T; q++)
        for (int64_t v = 0; v < V; v++) {
            double p = 1 / (1 + exp(-(double)logits[q * V + v]));
            double pos = -c->alpha * pow(1 - p, c->gamma) * log(p + 1e-8);
            double neg = -(1 - c->alpha) * pow(p, c->gamma) * log(1 - p + 1e-8);
            for (int64_t t = 0; t < T; t++)
                if (labels[t * V + v] != 0) cost[q * T + t] += (pos - neg) * (double)labels[t * V + v];
        }
    for (int64_t t = 0; t < T; t++) {
        double tokens = 0;
        for (int64_t v = 0; v < V; v++) tokens += (double)labels[t * V + v];
        for (int64_t q = 0; q < Q; q++) {
            const vm_real *b = boxes + q * 4, *w = targets + t * 4;
            double l1 = 0, *to = cost + q * T + t;
            for (int k = 0; k < 4; k++) l1 += fabs((double)b[k] - (double)w[k]);
            double giou = (double)box_giou(box_of(b, true), box_of(w, true));
            *to = c->class * *to / fmax(tokens, 1) + c->box * l1 - c->giou * giou;
            if (!isfinite(*to)) *to = (double)FLT_MAX;
        }
    }
}

static vm_status match_batch(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    const matcher *m = ctx;
    const vm_real *logits = in[0], *boxes = in[1], *labels = in[2], *targets = in[3];
    const int32_t *counts = in[4];
    int32_t *match = out[0];
    double *cost = vm_alloc((size_t)(m->Q * m->T) * sizeof *cost + 1), *by_target = vm_alloc((size_t)(m->Q * m->T) * sizeof *cost + 1);
    vm_status st = cost && by_target ? VM_OK : vm_nomem(e, (size_t)(m->Q * m->T) * sizeof *cost, "matching");
    for (int64_t b = 0; b < m->B && !st; b++) {
        int64_t T = counts[b];
        if (T < 0 || T > m->T) {
            st = vm_fail(e, VM_EINPUT, "matching: image %lld has %d targets, there is room for %lld", (long long)b, (int)counts[b],
                         (long long)m->T);
            break;
        }
        for (int64_t t = T; t < m->T; t++) match[b * m->T + t] = -1;
        matcher_cost(&m->costs, m->Q, m->V, T, logits + b * m->Q * m->V, boxes + b * m->Q * 4, labels + b * m->T * m->V,
                     targets + b * m->T * 4, cost);
        for (int64_t t = 0; t < T; t++)
            for (int64_t q = 0; q < m->Q; q++) by_target[t * m->Q + q] = cost[q * T + t];
        st = matcher_assign(by_target, T, m->Q, match + b * m->T, e);
    }
    vm_free(cost), vm_free(by_target);
    return st;
}

vm_val matcher_node(vm_graph *g, const matcher *m, vm_val logits, vm_val boxes, vm_val labels, vm_val targets, vm_val counts) {
    vm_val in[] = { logits, boxes, labels, targets, counts }, out = 0;
    const int64_t want[] = { m->B * m->Q * m->V, m->B * m->Q * 4, m->B * m->T * m->V, m->B * m->T * 4, m->B };
    for (int k = 0; k < 5; k++) {
        if (!in[k]) return 0;
        if (vm_count(g, in[k]) != want[k] || g->v[in[k]].type != (k < 4 ? VM_F32 : VM_I32)) {
            char s[64];
            return vm_bad(g, "matching: input %d is %s %s, %lld entries are needed", k, vm_type_name(g->v[in[k]].type),
                          vm_shape_text(g, in[k], s), (long long)want[k]), 0;
        }
    }
    vm_shape shape = { VM_I32, 2, { m->B, m->T } };
    return vm_host(g, "match", match_batch, (void *)(uintptr_t)m, 5, in, 1, &shape, &out) ? out : 0;
}
