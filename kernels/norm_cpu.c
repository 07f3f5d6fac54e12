/* norm_cpu.c - rows in pieces of VM_CHUNK columns, in as many passes as the formula has sums: a row stays in the first
 * cache, so only the first pass reads memory. The variance is taken about the mean (two passes), not from squares. */
#include "kernels/chunks.h"
#include "kernels/cpu.h"

/* y = (x - mean) r w + b */
static void affine(const vm_real *restrict x, vm_real mean, vm_real r, const vm_real *restrict w,
                   const vm_real *restrict b, int64_t n, vm_real *restrict y) {
    if (w && b)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r * w[i] + b[i];
    else if (w)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r * w[i];
    else
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r;
}

vm_status VM_KERNEL(norm_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]);
    const void *x = vm_in(g, n, 0), *w = vm_in(g, n, 1), *b = vm_in(g, n, 2);
    void *y = vm_o(g, n, 0);
    vm_real *means = vm_o(g, n, 1), *rs = vm_o(g, n, 2);
    vm_type tx = g->v[n->in[0]].type, tw = g->v[n->in[1]].type, tb = g->v[n->in[2]].type, ty = g->v[n->out[0]].type;
    bool centre = n->i[1];
    vm_real eps = (vm_real)n->f[0];
    if (C == 0) return VM_OK;
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t row = 0; row < R; row++) {
        vm_real x_[VM_CHUNK], w_[VM_CHUNK], b_[VM_CHUNK], y_[VM_CHUNK], mean = 0, sq = 0;
        int64_t at = row * C, m;
        for (int64_t c = 0; centre && c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            mean += vm_row_sum(vm_row(x, tx, at + c, m, x_), m);
        }
        mean /= (vm_real)C;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            sq += vm_row_sqdev(vm_row(x, tx, at + c, m, x_), mean, m);
        }
        vm_real r = 1 / (vm_real)sqrt(sq / (vm_real)C + eps);
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            vm_real *out = vm_row_begin(y, ty, at + c, y_);
            affine(vm_row(x, tx, at + c, m, x_), mean, r, w ? vm_row(w, tw, c, m, w_) : NULL,
                   b ? vm_row(b, tb, c, m, b_) : NULL, m, out);
            vm_row_end(y, ty, at + c, m, out);
        }
        means[row] = mean, rs[row] = r;
    }
    return VM_OK;
}

/* s[0] += sum g, s[1] += sum g h; dw += dy h, db += dy unless NULL. */
static void back_sums(const vm_real *restrict dy, const vm_real *restrict x, const vm_real *restrict w, vm_real mean,
                      vm_real r, int64_t n, vm_real *restrict dw, vm_real *restrict db, vm_real s[2]) {
    vm_real sg = 0, sgh = 0;
    if (dw && w)
#pragma omp simd reduction(+ : sg, sgh)
        for (int64_t i = 0; i < n; i++) {
            vm_real h = (x[i] - mean) * r, gi = dy[i] * w[i];
            sg += gi, sgh += gi * h;
            dw[i] += dy[i] * h, db[i] += dy[i];
        }
    else
#pragma omp simd reduction(+ : sg, sgh)
        for (int64_t i = 0; i < n; i++) {
            vm_real gi = w ? dy[i] * w[i] : dy[i];
            sg += gi, sgh += gi * ((x[i] - mean) * r);
        }
    s[0] += sg, s[1] += sgh;
}

/* dx = r (g - mg - h mgh) */
static void back_dx(const vm_real *restrict dy, const vm_real *restrict x, const vm_real *restrict w, vm_real mean,
                    vm_real r, vm_real mg, vm_real mgh, int64_t n, vm_real *restrict dx) {
    if (w)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = r * (dy[i] * w[i] - mg - (x[i] - mean) * r * mgh);
    else
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = r * (dy[i] - mg - (x[i] - mean) * r * mgh);
}

vm_status VM_KERNEL(norm_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), C = vm_cols(g, n->in[1]), n_chunks = g->v[n->out[3]].ne[0];
    const void *dy = vm_in(g, n, 0), *x = vm_in(g, n, 1), *w = vm_in(g, n, 2);
    const vm_real *means = vm_in(g, n, 3), *rs = vm_in(g, n, 4);
    vm_type td = g->v[n->in[0]].type, tx = g->v[n->in[1]].type, tw = g->v[n->in[2]].type, to = g->v[n->out[0]].type;
    void *dx = vm_o(g, n, 0);
    vm_real *part = vm_o(g, n, 3);
    bool centre = n->i[1], params = n->i[2], add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t k = 0; k < n_chunks; k++) {
        vm_real d_[VM_CHUNK], x_[VM_CHUNK], w_[VM_CHUNK], o_[VM_CHUNK], *pw = NULL, *pb = NULL;
        int64_t m;
        if (params) {
            pw = part + k * 2 * C, pb = pw + C;
            memset(pw, 0, 2 * (size_t)C * sizeof *pw);
        }
        for (int64_t row = vm_chunk_begin(R, n_chunks, k); row < vm_chunk_begin(R, n_chunks, k + 1); row++) {
            int64_t at = row * C;
            vm_real mean = means[row], r = rs[row], s[2] = { 0 };
            for (int64_t c = 0; c < C; c += m) {
                m = VM_MIN(C - c, (int64_t)VM_CHUNK);
                back_sums(vm_row(dy, td, at + c, m, d_), vm_row(x, tx, at + c, m, x_),
                          w ? vm_row(w, tw, c, m, w_) : NULL, mean, r, m,
                          params ? pw + c : NULL, params ? pb + c : NULL, s);
            }
            vm_real mg = centre ? s[0] / (vm_real)C : 0, mgh = s[1] / (vm_real)C;
            for (int64_t c = 0; c < C; c += m) {
                m = VM_MIN(C - c, (int64_t)VM_CHUNK);
                vm_real *out = vm_row_into(dx, to, at + c, o_, add);
                back_dx(vm_row(dy, td, at + c, m, d_), vm_row(x, tx, at + c, m, x_),
                        w ? vm_row(w, tw, c, m, w_) : NULL, mean, r, mg, mgh, m, out);
                vm_row_done(dx, to, at + c, m, out, add);
            }
        }
    }
    if (!params) return VM_OK;
    vm_sum_chunks(part, n_chunks, 2 * C, C, 1, vm_o(g, n, 1), vm_adds(g, n, 1));
    vm_sum_chunks(part + C, n_chunks, 2 * C, C, 1, vm_o(g, n, 2), vm_adds(g, n, 2));
    return VM_OK;
}

/* y = s x */
static void scaled(const vm_real *restrict x, vm_real s, int64_t n, vm_real *restrict y) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = s * x[i];
}

vm_status VM_KERNEL(l2norm_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]);
    const void *x = vm_in(g, n, 0);
    vm_type tx = g->v[n->in[0]].type;
    vm_real *y = vm_o(g, n, 0), *norms = vm_o(g, n, 1), eps = (vm_real)n->f[0];
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t row = 0; row < R; row++) {
        vm_real x_[VM_CHUNK], sq = 0;
        int64_t at = row * C, m;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            sq += vm_row_sqdev(vm_row(x, tx, at + c, m, x_), 0, m);
        }
        vm_real norm = (vm_real)sqrt(sq);
        norms[row] = norm;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            scaled(vm_row(x, tx, at + c, m, x_), 1 / VM_MAX(norm, eps), m, y + at + c);
        }
    }
    return VM_OK;
}

vm_status VM_KERNEL(l2norm_back_cpu)(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[1]), C = vm_cols(g, n->in[1]);
    const void *dy = vm_in(g, n, 0);
    const vm_real *y = vm_in(g, n, 1), *norms = vm_in(g, n, 2);
    void *dx = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type, to = g->v[n->out[0]].type;
    vm_real eps = (vm_real)n->f[0];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * C > VM_PAR_MIN)
    for (int64_t row = 0; row < R; row++) {
        vm_real d_[VM_CHUNK], o_[VM_CHUNK], dot = 0, norm = norms[row];
        int64_t at = row * C, m;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            dot += vm_row_dot(vm_row(dy, td, at + c, m, d_), y + at + c, m);
        }
        if (norm <= eps && eps > 0) dot = 0, norm = eps;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            const vm_real *restrict d = vm_row(dy, td, at + c, m, d_), *restrict v = y + at + c;
            vm_real *restrict out = vm_row_into(dx, to, at + c, o_, add), s = 1 / norm;
#pragma omp simd
            for (int64_t i = 0; i < m; i++) out[i] = (d[i] - v[i] * dot) * s;
            vm_row_done(dx, to, at + c, m, out, add);
        }
    }
    return VM_OK;
}
