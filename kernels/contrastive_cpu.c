/* contrastive_cpu.c - see contrastive.c. Tiles follow each other; within a tile rows never cross threads, and sums over
 * rows are added in their order, so that the bits do not depend on the number of threads. */
#include "kernels/contrastive.h"
#include "kernels/cpu.h"
#include "kernels/ops.h"

typedef struct {
    int64_t M, N, E, R; /* R rows of a tile */
    const vm_real *q, *k, *pos;
    const int32_t *hide;
    vm_real s;
    vm_target target;
    vm_real *tile;
} job;

static job job_of(const vm_graph *g, const vm_node *n, int tile) {
    int64_t M = vm_dim(g, n->in[0], 0), N = vm_dim(g, n->in[1], 0);
    return (job){ M, N, vm_dim(g, n->in[0], 1), vm_contrastive_tile(M, N), vm_in(g, n, 0), vm_in(g, n, 1), vm_in(g, n, 4),
                  vm_in(g, n, 3), *(const vm_real *)vm_in(g, n, 2), (vm_target)n->i[0], vm_o(g, n, tile) };
}

static vm_gemm *product(vm_graph *g, vm_gemm **kept, vm_gemm_shape s) {
    s.a = s.b = s.c = VM_F32, s.batch = 1, s.alpha = 1, s.deterministic = g->deterministic;
    return *kept ? *kept : (*kept = vm_gemm_new(&s, &g->err));
}

static vm_contrastive_products *products(vm_graph *g, vm_node *n) {
    if (!n->cache && !(n->cache = vm_calloc(1, sizeof(vm_contrastive_products))))
        vm_nomem(&g->err, sizeof(vm_contrastive_products), "matrix products");
    return n->cache;
}

/* tile = q[at..at+R] k^T */
static vm_status dots(vm_graph *g, const job *j, vm_contrastive_products *p, int64_t at, int64_t R) {
    vm_gemm *m = product(g, &p->logits[R < j->R], (vm_gemm_shape){ .M = R, .N = j->N, .K = j->E, .tb = true });
    return m ? vm_gemm_run(m, j->q + at * j->E, j->k, NULL, j->tile, &g->err) : g->err.status;
}

/* dq[at..at+R] += tile k;  dk += tile^T q[at..at+R] */
static vm_status spread(vm_graph *g, const job *j, vm_contrastive_products *p, int64_t at, int64_t R, vm_real *dq, vm_real *dk) {
    int tail = R < j->R;
    vm_gemm *a = product(g, &p->dq[tail], (vm_gemm_shape){ .M = R, .N = j->E, .K = j->N, .add = true });
    vm_gemm *b = product(g, &p->dk[tail], (vm_gemm_shape){ .M = j->N, .N = j->E, .K = R, .ta = true, .add = true });
    if (!a || !b || vm_gemm_run(a, j->tile, j->k, NULL, dq + at * j->E, &g->err)) return g->err.status;
    return vm_gemm_run(b, j->tile, j->q + at * j->E, NULL, dk, &g->err);
}

static bool kept(const job *j, int64_t i) { return j->target != VM_TARGET_SELF || !j->hide || j->hide[i] >= 0; }

/* x = s x in place, -inf in hidden columns. */
static void logits(const job *j, int64_t i, vm_real *restrict x) {
    const vm_real s = j->s;
    const int32_t *restrict hide = j->hide;
    if (!hide) {
#pragma omp simd
        for (int64_t c = 0; c < j->N; c++) x[c] *= s;
        return;
    }
    const int32_t mine = j->target == VM_TARGET_SELF ? hide[i] : -1; /* negative ones are hidden anyway */
    const vm_real self = j->target == VM_TARGET_SELF ? x[i] * s : 0;
#pragma omp simd
    for (int64_t c = 0; c < j->N; c++) x[c] = hide[c] < 0 || hide[c] == mine ? -(vm_real)INFINITY : x[c] * s;
    if (j->target == VM_TARGET_SELF) x[i] = self;
}

vm_status VM_KERNEL(contrastive_cpu)(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, 3);
    vm_contrastive_products *p = products(g, n);
    vm_real *max = vm_o(g, n, 1), *log_sum = max + j.M;
    double sum = 0;
    int64_t rows = 0;
    for (int64_t at = 0; p && at < j.M; at += j.R) {
        int64_t R = VM_MIN(j.R, j.M - at);
        double loss[256];
        if (dots(g, &j, p, at, R)) return g->err.status;
#pragma omp parallel for schedule(static) if (R * j.N > VM_PAR_MIN / 4)
        for (int64_t r = 0; r < R; r++) {
            int64_t i = at + r;
            vm_real *restrict x = j.tile + r * j.N, m = -INFINITY, total = 0;
            max[i] = log_sum[i] = 0, loss[r] = 0;
            if (!kept(&j, i)) continue;
            logits(&j, i, x);
            vm_real own = j.pos ? j.s * j.pos[i] : -INFINITY;
#pragma omp simd reduction(max : m)
            for (int64_t c = 0; c < j.N; c++) m = x[c] > m ? x[c] : m;
            m = own > m ? own : m;
            m = m > -INFINITY ? m : 0;
            vm_real target = j.target == VM_TARGET_POSITIVE ? own : x[j.target == VM_TARGET_SELF ? i : 0];
#pragma omp simd reduction(+ : total)
            for (int64_t c = 0; c < j.N; c++) total += vm_exp(x[c] - m);
            if (j.pos) total += vm_exp(own - m);
            max[i] = m, log_sum[i] = (vm_real)log((double)total);
            loss[r] = (double)(m - target) + log((double)total); /* in this order: a small loss keeps its digits */
        }
        for (int64_t r = 0; r < R; r++) sum += loss[r], rows += kept(&j, at + r);
    }
    *(vm_real *)vm_o(g, n, 0) = (vm_real)(rows ? sum / (double)rows : 0);
    *(vm_real *)vm_o(g, n, 2) = (vm_real)rows;
    return g->err.status;
}

/* The gradients are summed tile by tile: onto what is there, or onto zeros. */
static void begin_sums(const vm_graph *g, const vm_node *n) {
    for (int k = 0; k < 4; k++)
        if (!vm_adds(g, n, k)) memset(vm_o(g, n, k), 0, (size_t)vm_count(g, n->out[k]) * sizeof(vm_real));
}

vm_status VM_KERNEL(contrastive_back_cpu)(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, 4);
    vm_contrastive_products *p = products(g, n);
    const vm_real *max = vm_in(g, n, 6), *log_sum = max + j.M, rows = *(const vm_real *)vm_in(g, n, 7);
    const vm_real k = rows > 0 ? *(const vm_real *)vm_in(g, n, 5) / rows : 0;
    vm_real *dq = vm_o(g, n, 0), *dk = vm_o(g, n, 1), *ds = vm_o(g, n, 2), *dpos = vm_o(g, n, 3);
    double scale = 0;
    begin_sums(g, n);
    for (int64_t at = 0; p && at < j.M; at += j.R) {
        int64_t R = VM_MIN(j.R, j.M - at);
        double part[256];
        if (dots(g, &j, p, at, R)) return g->err.status;
#pragma omp parallel for schedule(static) if (R * j.N > VM_PAR_MIN / 4)
        for (int64_t r = 0; r < R; r++) {
            int64_t i = at + r;
            vm_real *restrict x = j.tile + r * j.N, sum = 0;
            part[r] = 0;
            if (!kept(&j, i)) {
                memset(x, 0, (size_t)j.N * sizeof *x);
                continue;
            }
            const int64_t t = j.target == VM_TARGET_SELF ? i : 0;
            const vm_real raw = j.target == VM_TARGET_POSITIVE ? j.pos[i] : x[t], m = max[i], l = log_sum[i], s = j.s;
            /* G sums to 0, so <G, x> = <G, x - x_t>, where the large products that cancel are gone */
            if (j.hide) {
                const int32_t mine = j.target == VM_TARGET_SELF ? j.hide[i] : -1, *restrict hide = j.hide;
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < j.N; c++) {
                    bool out = hide[c] < 0 || (hide[c] == mine && c != t);
                    vm_real e = vm_exp(s * x[c] - m - l), G = out ? 0 : k * e;
                    sum += G * (x[c] - raw);
                    x[c] = G * s;
                }
            } else {
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < j.N; c++) {
                    vm_real G = k * vm_exp(s * x[c] - m - l);
                    sum += G * (x[c] - raw);
                    x[c] = G * s;
                }
            }
            part[r] = (double)sum;
            if (j.target != VM_TARGET_POSITIVE) x[t] -= k * s;
            if (j.pos) {
                vm_real G = k * (vm_exp(s * j.pos[i] - m - l) - (j.target == VM_TARGET_POSITIVE));
                part[r] += (double)(G * (j.pos[i] - raw));
                dpos[i] += G * s;
            }
        }
        for (int64_t r = 0; r < R; r++) scale += part[r];
        if (spread(g, &j, p, at, R, dq, dk)) return g->err.status;
    }
    *ds += (vm_real)scale;
    return g->err.status;
}

/* --- sigmoid --------------------------------------------------------------------------------------------------------- */
static bool hidden(const job *j, int64_t i, int64_t c) { return j->hide && c != i && (j->hide[c] < 0 || j->hide[c] == j->hide[i]); }

vm_status VM_KERNEL(pair_sigmoid_cpu)(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, 2);
    vm_contrastive_products *p = products(g, n);
    const vm_real bias = *j.pos;
    double sum = 0;
    int64_t rows = 0, cells = 0;
    for (int64_t at = 0; p && at < j.M; at += j.R) {
        int64_t R = VM_MIN(j.R, j.M - at), seen[256];
        double loss[256];
        if (dots(g, &j, p, at, R)) return g->err.status;
#pragma omp parallel for schedule(static) if (R * j.N > VM_PAR_MIN / 4)
        for (int64_t r = 0; r < R; r++) {
            int64_t i = at + r, out = 0;
            vm_real *restrict x = j.tile + r * j.N, total = 0;
            loss[r] = 0, seen[r] = 0;
            if (!kept(&j, i)) continue;
#pragma omp simd
            for (int64_t c = 0; c < j.N; c++) x[c] = j.s * x[c] + bias;
            for (int64_t c = 0; j.hide && c < j.N; c++)
                if (hidden(&j, i, c)) x[c] = -(vm_real)INFINITY, out++;
            x[i] = -x[i];
#pragma omp simd reduction(+ : total)
            for (int64_t c = 0; c < j.N; c++) total += vm_softplus(x[c]);
            loss[r] = (double)total, seen[r] = j.N - out;
        }
        for (int64_t r = 0; r < R; r++) sum += loss[r], rows += seen[r] > 0, cells += seen[r];
    }
    double count = (double)(n->i[1] ? cells : rows);
    *(vm_real *)vm_o(g, n, 0) = (vm_real)(count > 0 ? sum / count : 0);
    *(vm_real *)vm_o(g, n, 1) = (vm_real)count;
    return g->err.status;
}

vm_status VM_KERNEL(pair_sigmoid_back_cpu)(vm_graph *g, vm_node *n) {
    job j = job_of(g, n, 4);
    vm_contrastive_products *p = products(g, n);
    const vm_real bias = *j.pos, count = *(const vm_real *)vm_in(g, n, 6);
    const vm_real k = count > 0 ? *(const vm_real *)vm_in(g, n, 5) / count : 0;
    double scale = 0, shift = 0;
    begin_sums(g, n);
    for (int64_t at = 0; p && at < j.M; at += j.R) {
        int64_t R = VM_MIN(j.R, j.M - at);
        double part[256], all[256];
        if (dots(g, &j, p, at, R)) return g->err.status;
#pragma omp parallel for schedule(static) if (R * j.N > VM_PAR_MIN / 4)
        for (int64_t r = 0; r < R; r++) {
            int64_t i = at + r;
            vm_real *restrict x = j.tile + r * j.N, raw = x[i], gs = 0, gb = 0;
            part[r] = all[r] = 0;
            if (!kept(&j, i)) {
                memset(x, 0, (size_t)j.N * sizeof *x);
                continue;
            }
            for (int64_t c = 0; j.hide && c < j.N; c++)
                if (hidden(&j, i, c)) x[c] = -(vm_real)INFINITY;
            x[i] = -(vm_real)INFINITY; /* on its own below */
#pragma omp simd reduction(+ : gs, gb)
            for (int64_t c = 0; c < j.N; c++) {
                vm_real G = k * vm_sigmoid(j.s * x[c] + bias);
                gs += x[c] > -(vm_real)INFINITY ? G * x[c] : 0; /* 0 times infinity is no number */
                gb += G;
                x[c] = G * j.s;
            }
            vm_real own = -k * vm_sigmoid(-(j.s * raw + bias));
            x[i] = own * j.s;
            part[r] = (double)gs + (double)(own * raw), all[r] = (double)gb + (double)own;
        }
        for (int64_t r = 0; r < R; r++) scale += part[r], shift += all[r];
        if (spread(g, &j, p, at, R, vm_o(g, n, 0), vm_o(g, n, 1))) return g->err.status;
    }
    *(vm_real *)vm_o(g, n, 2) += (vm_real)scale;
    *(vm_real *)vm_o(g, n, 3) += (vm_real)shift;
    return g->err.status;
}
