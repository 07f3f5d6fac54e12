/* batchnorm_cpu.c - see batchnorm.c. Statistics come from moments.h: memory is read once and nothing cancels. */
#include "kernels/chunks.h"
#include "kernels/moments.h"
#include "kernels/ops.h"

static void statistics(const void *x, vm_type t, int64_t R, int64_t C, int64_t n_chunks, vm_real *part, vm_real *mean,
                       vm_real *var) {
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t k = 0; k < n_chunks; k++)
        for (int64_t c = 0; c < C; c += VM_CHUNK)
            vm_moments(x, t, C, c, VM_MIN(C - c, (int64_t)VM_CHUNK), vm_chunk_begin(R, n_chunks, k),
                       vm_chunk_begin(R, n_chunks, k + 1), part + k * 2 * C + c, part + k * 2 * C + C + c);
    memset(mean, 0, (size_t)C * sizeof *mean), memset(var, 0, (size_t)C * sizeof *var);
    for (int64_t k = 0; k < n_chunks; k++) {
        int64_t at = vm_chunk_begin(R, n_chunks, k);
        vm_join(mean, var, at, part + k * 2 * C, part + k * 2 * C + C, vm_chunk_begin(R, n_chunks, k + 1) - at, C);
    }
    for (int64_t c = 0; c < C; c++) var[c] /= (vm_real)R;
}

/* y = (x - mean) r w + b, then + residual, then ReLU */
static void forward_row(const vm_real *restrict x, const vm_real *restrict mean, const vm_real *restrict r,
                        const vm_real *restrict w, const vm_real *restrict b, const vm_real *restrict residual,
                        bool relu, int64_t n, vm_real *restrict y) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean[c]) * (r[c] * w[c]) + b[c];
    if (residual)
#pragma omp simd
        for (int64_t c = 0; c < n; c++) y[c] += residual[c];
    if (relu)
#pragma omp simd
        for (int64_t c = 0; c < n; c++) y[c] = y[c] < 0 ? 0 : y[c]; /* keeps NaN */
}

vm_status VM_KERNEL(batchnorm_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]);
    const void *x = vm_in(g, n, 0), *res = vm_in(g, n, 5);
    const vm_real *w = vm_in(g, n, 1), *b = vm_in(g, n, 2);
    void *y = vm_o(g, n, 0);
    vm_real *mean = vm_o(g, n, 1), *r = vm_o(g, n, 2), *var = vm_o(g, n, 3), eps = (vm_real)n->f[0];
    vm_type tx = g->v[n->in[0]].type, tr = g->v[n->in[5]].type, ty = g->v[n->out[0]].type;
    bool relu = n->i[1] == VM_RELU;
    if (C == 0) return VM_OK;
    if (n->i[2]) {
        statistics(x, tx, R, C, g->v[n->out[4]].ne[0], vm_o(g, n, 4), mean, var);
    } else {
        memcpy(mean, vm_in(g, n, 3), (size_t)C * sizeof *mean);
        memcpy(var, vm_in(g, n, 4), (size_t)C * sizeof *var);
    }
    for (int64_t c = 0; c < C; c++) r[c] = 1 / (vm_real)sqrt(var[c] + eps);
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t row = 0; row < R; row++) {
        vm_real x_[VM_CHUNK], r_[VM_CHUNK], y_[VM_CHUNK];
        int64_t at = row * C, m;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            vm_real *out = vm_row_begin(y, ty, at + c, y_);
            forward_row(vm_row(x, tx, at + c, m, x_), mean + c, r + c, w + c, b + c,
                        res ? vm_row(res, tr, at + c, m, r_) : NULL, relu, m, out);
            vm_row_end(y, ty, at + c, m, out);
        }
    }
    return VM_OK;
}

/* The part of dy that passes the ReLU: dy itself when y is NULL. */
static const vm_real *passed(const vm_real *restrict dy, const vm_real *restrict y, int64_t n, vm_real *restrict out) {
    if (!y) return dy;
#pragma omp simd
    for (int64_t c = 0; c < n; c++) out[c] = y[c] > 0 ? dy[c] : 0;
    return out;
}

typedef struct {
    const void *dy, *x, *y;
    vm_type td, tx, ty;
} sources;

/* g of columns at..at+n of a row, and x */
static const vm_real *load(const sources *s, int64_t at, int64_t n, vm_real bufs[3][VM_CHUNK], const vm_real **x) {
    const vm_real *dy = vm_row(s->dy, s->td, at, n, bufs[0]);
    *x = vm_row(s->x, s->tx, at, n, bufs[1]);
    if (!s->y) return dy;
    vm_real y_[VM_CHUNK];
    return passed(dy, vm_row(s->y, s->ty, at, n, y_), n, bufs[2]);
}

vm_status VM_KERNEL(batchnorm_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), C = vm_cols(g, n->in[1]), n_chunks = g->v[n->out[3]].ne[0];
    const sources s = { vm_in(g, n, 0),      vm_in(g, n, 1),      vm_in(g, n, 5),
                        g->v[n->in[0]].type, g->v[n->in[1]].type, g->v[n->in[5]].type };
    const vm_real *w = vm_in(g, n, 2), *mean = vm_in(g, n, 3), *r = vm_in(g, n, 4);
    vm_real *part = vm_o(g, n, 3), *dw = vm_o(g, n, 1), *db = vm_o(g, n, 2), *sums;
    void *dx = vm_o(g, n, 0), *dres = n->i[2] ? vm_o(g, n, 4) : NULL;
    vm_type to = g->v[n->out[0]].type, tr = g->v[n->out[4]].type;
    bool batch = n->i[1], add = vm_adds(g, n, 0), add_res = dres && vm_adds(g, n, 4);
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t k = 0; k < n_chunks; k++) {
        vm_real bufs[3][VM_CHUNK], *pw = part + k * 2 * C, *pb = pw + C;
        memset(pw, 0, 2 * (size_t)C * sizeof *pw);
        for (int64_t row = vm_chunk_begin(R, n_chunks, k), m; row < vm_chunk_begin(R, n_chunks, k + 1); row++)
            for (int64_t c = 0; c < C; c += m) {
                m = VM_MIN(C - c, (int64_t)VM_CHUNK);
                const vm_real *x, *gr = load(&s, row * C + c, m, bufs, &x);
#pragma omp simd
                for (int64_t i = 0; i < m; i++) {
                    pw[c + i] += gr[i] * ((x[i] - mean[c + i]) * r[c + i]);
                    pb[c + i] += gr[i];
                }
            }
    }
    /* the sums over all chunks replace those of the first: dx needs them without what dw and db may add to */
    vm_sum_chunks(part, n_chunks, 2 * C, C, 1, dw, vm_adds(g, n, 1));
    vm_sum_chunks(part + C, n_chunks, 2 * C, C, 1, db, vm_adds(g, n, 2));
    for (int64_t k = 1; batch && k < n_chunks; k++)
        for (int64_t c = 0; c < 2 * C; c++) part[c] += part[k * 2 * C + c];
    sums = part;
    vm_real over = batch && R ? 1 / (vm_real)R : 0;
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t row = 0; row < R; row++) {
        vm_real bufs[3][VM_CHUNK], o_[VM_CHUNK];
        for (int64_t c = 0, m; c < C; c += m) {
            int64_t at = row * C + c;
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            const vm_real *x, *gr = load(&s, at, m, bufs, &x);
            vm_real *out = vm_row_into(dx, to, at, o_, add);
#pragma omp simd
            for (int64_t i = 0; i < m; i++) {
                vm_real h = (x[i] - mean[c + i]) * r[c + i];
                out[i] = w[c + i] * r[c + i] * (gr[i] - over * (sums[C + c + i] + h * sums[c + i]));
            }
            vm_row_done(dx, to, at, m, out, add);
            if (!dres) continue;
            out = vm_row_into(dres, tr, at, o_, add_res);
            if (out != gr) memcpy(out, gr, (size_t)m * sizeof *out);
            vm_row_done(dres, tr, at, m, out, add_res);
        }
    }
    return VM_OK;
}

vm_status VM_KERNEL(running_stats_cpu)(vm_graph *g, vm_node *n) {
    int64_t C = vm_count(g, n->in[0]);
    vm_real m = (vm_real)n->f[0], unbiased = (vm_real)n->i[0] / (vm_real)(n->i[0] - 1);
    const vm_real *mean = vm_in(g, n, 0), *var = vm_in(g, n, 1);
    vm_real *to_mean = vm_in(g, n, 2), *to_var = vm_in(g, n, 3), *count = vm_in(g, n, 4);
    for (int64_t c = 0; c < C; c++)
        if (!isfinite(mean[c]) || !isfinite(var[c])) return VM_OK; /* a step that will not be taken */
    for (int64_t c = 0; c < C; c++) {
        to_mean[c] += m * (mean[c] - to_mean[c]);
        to_var[c] += m * (var[c] * unbiased - to_var[c]);
    }
    count[0]++;
    return VM_OK;
}

vm_status VM_KERNEL(batchnorm_fold_cpu)(vm_graph *g, vm_node *n) {
    const vm_folded *to = n->ptr;
    int64_t N = vm_rows(g, n->in[0]), K = vm_cols(g, n->in[0]);
    bool fresh = true;
    for (int k = 0; k < 5; k++) fresh &= to->of[k] == g->v[n->in[k]].param->version;
    if (fresh) return VM_OK;
    const vm_real *w = vm_in(g, n, 0), *scale = vm_in(g, n, 1), *b = vm_in(g, n, 2), *mean = vm_in(g, n, 3),
                  *var = vm_in(g, n, 4);
    vm_real *fw = to->w->data, *fb = to->b->data;
    for (int64_t i = 0; i < N; i++) {
        vm_real s = scale[i] / (vm_real)sqrt(var[i] + (vm_real)n->f[0]);
#pragma omp simd
        for (int64_t k = 0; k < K; k++) fw[i * K + k] = s * w[i * K + k];
        fb[i] = b[i] - mean[i] * s;
    }
    return VM_OK;
}
