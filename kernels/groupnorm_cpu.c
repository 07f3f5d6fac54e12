/* groupnorm_cpu.c - see groupnorm.c. Moments per channel (moments.h), folded into those of the groups; what a pixel
 * row is multiplied with is laid out per channel once for a chunk of rows. */
#include "kernels/groupnorm.h"

#include "kernels/activate.h"
#include "kernels/chunks.h"
#include "kernels/moments.h"

/* Mean and sum of squared deviations of all groups over rows r0..r1 of a picture at element `at`. */
static void group_moments(const vm_groupnorm_shape *s, const void *x, vm_type t, int64_t at, int64_t r0, int64_t r1,
                          vm_real *mean, vm_real *sq) {
    vm_real m[VM_CHUNK], d[VM_CHUNK];
    int64_t per = VM_MAX(VM_CHUNK / s->D, (int64_t)1), rows = r1 - r0, cols;
    for (int64_t g = 0; g < s->G; g += per)
        /* a group beyond VM_CHUNK comes in parts */
        for (int64_t c = 0, all = VM_MIN(per, s->G - g) * s->D; c < all; c += cols) {
            cols = VM_MIN(all - c, (int64_t)VM_CHUNK);
            vm_moments(x, t, s->C, at + g * s->D + c, cols, r0, r1, m, d);
            for (int64_t u = 0, k = g, width = VM_MIN(s->D, cols); u < cols; u += width, k++) {
                vm_real a = 0, b = 0;
                for (int64_t i = u; i < u + width; i++) a += m[i];
                a /= (vm_real)width;
                for (int64_t i = u; i < u + width; i++) b += d[i] + (vm_real)rows * (m[i] - a) * (m[i] - a);
                if (s->D <= VM_CHUNK || c == 0) mean[k] = a, sq[k] = b;
                else vm_join(&mean[k], &sq[k], rows * c, &a, &b, rows * width, 1);
            }
        }
}

static void statistics(const vm_groupnorm_shape *s, const void *x, vm_type t, vm_real eps, vm_real *part, vm_real *mean,
                       vm_real *r) {
    int64_t G = s->G;
#pragma omp parallel for schedule(static) if (s->B * s->P * s->C > VM_PAR_MIN)
    for (int64_t k = 0; k < s->B * s->K; k++) {
        int64_t chunk = k % s->K, at = k / s->K * s->P * s->C;
        group_moments(s, x, t, at, vm_chunk_begin(s->P, s->K, chunk), vm_chunk_begin(s->P, s->K, chunk + 1),
                      part + k * 2 * G, part + k * 2 * G + G);
    }
#pragma omp parallel for schedule(static) if (s->B * s->K * G > VM_PAR_MIN)
    for (int64_t b = 0; b < s->B; b++) {
        vm_real *m = mean + b * G, *q = r + b * G;
        memset(m, 0, (size_t)G * sizeof *m), memset(q, 0, (size_t)G * sizeof *q);
        for (int64_t k = 0; k < s->K; k++) {
            const vm_real *p = part + (b * s->K + k) * 2 * G;
            int64_t r0 = vm_chunk_begin(s->P, s->K, k), r1 = vm_chunk_begin(s->P, s->K, k + 1);
            vm_join(m, q, r0 * s->D, p, p + G, (r1 - r0) * s->D, G);
        }
        vm_real over = s->P ? 1 / (vm_real)(s->P * s->D) : 0;
        for (int64_t g = 0; g < G; g++) q[g] = 1 / (vm_real)sqrt(q[g] * over + eps);
    }
}

/* out[i] = v[group of channel c + i] */
static void spread(const vm_real *v, int64_t D, int64_t c, int64_t n, vm_real *restrict out) {
    for (int64_t i = 0, g = c / D; i < n; g++)
        for (int64_t end = VM_MIN((g + 1) * D - c, n); i < end; i++) out[i] = v[g];
}

/* y = act((x - mean) a + b); y may be x */
static void forward_row(const vm_real *x, const vm_real *restrict mean, const vm_real *restrict a,
                        const vm_real *restrict b, bool silu, int64_t n, vm_real *y) {
    if (silu)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            vm_real z = (x[i] - mean[i]) * a[i] + b[i];
            y[i] = z * vm_sigmoid(z);
        }
    else
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean[i]) * a[i] + b[i];
}

vm_status VM_KERNEL(groupnorm_cpu)(vm_graph *g, vm_node *n) {
    vm_groupnorm_shape s = vm_groupnorm_of(&g->v[n->in[0]], n->i[1]);
    const void *x = vm_in(g, n, 0), *w = vm_in(g, n, 1), *b = vm_in(g, n, 2);
    vm_type tx = g->v[n->in[0]].type, tw = g->v[n->in[1]].type, tb = g->v[n->in[2]].type, ty = g->v[n->out[0]].type;
    void *y = vm_o(g, n, 0);
    vm_real *mean = vm_o(g, n, 1), *r = vm_o(g, n, 2);
    bool silu = n->i[2] == VM_SILU;
    if (!s.C) return VM_OK;
    statistics(&s, x, tx, (vm_real)n->f[0], vm_o(g, n, 3), mean, r);
#pragma omp parallel for schedule(static) if (s.B * s.P * s.C > VM_PAR_MIN)
    for (int64_t k = 0; k < s.B * s.K; k++) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK], m_[VM_CHUNK], a_[VM_CHUNK], b_[VM_CHUNK], tmp[VM_CHUNK];
        int64_t picture = k / s.K, chunk = k % s.K, m;
        for (int64_t c = 0; c < s.C; c += m) {
            m = VM_MIN(s.C - c, (int64_t)VM_CHUNK);
            spread(mean + picture * s.G, s.D, c, m, m_), spread(r + picture * s.G, s.D, c, m, a_);
            const vm_real *wc = vm_row(w, tw, c, m, tmp);
            for (int64_t i = 0; i < m; i++) a_[i] *= wc[i];
            const vm_real *bc = vm_row(b, tb, c, m, b_);
            for (int64_t p = vm_chunk_begin(s.P, s.K, chunk); p < vm_chunk_begin(s.P, s.K, chunk + 1); p++) {
                int64_t at = (picture * s.P + p) * s.C + c;
                vm_real *out = vm_row_begin(y, ty, at, y_);
                forward_row(vm_row(x, tx, at, m, x_), m_, a_, bc, silu, m, out);
                vm_row_end(y, ty, at, m, out);
            }
        }
    }
    return VM_OK;
}

/* --- backward ----------------------------------------------------------------------------------------------------- */
typedef struct {
    const void *dy, *x, *w;
    vm_type td, tx, tw;
    const vm_real *mean, *r;
} sources;

/* Per chunk of pixels and channel: sum of dy h, then sum of dy. */
static void chunk_sums(const vm_groupnorm_shape *s, const sources *q, int64_t k, vm_real *part) {
    vm_real d_[VM_CHUNK], x_[VM_CHUNK], m_[VM_CHUNK], r_[VM_CHUNK];
    int64_t picture = k / s->KB, chunk = k % s->KB, m;
    for (int64_t c = 0; c < s->C; c += m) {
        m = VM_MIN(s->C - c, (int64_t)VM_CHUNK);
        vm_real *restrict a = part + k * 2 * s->C + c, *restrict b = a + s->C;
        memset(a, 0, (size_t)m * sizeof *a), memset(b, 0, (size_t)m * sizeof *b);
        spread(q->mean + picture * s->G, s->D, c, m, m_), spread(q->r + picture * s->G, s->D, c, m, r_);
        for (int64_t p = vm_chunk_begin(s->P, s->KB, chunk); p < vm_chunk_begin(s->P, s->KB, chunk + 1); p++) {
            int64_t at = (picture * s->P + p) * s->C + c;
            const vm_real *restrict d = vm_row(q->dy, q->td, at, m, d_), *restrict x = vm_row(q->x, q->tx, at, m, x_);
#pragma omp simd
            for (int64_t i = 0; i < m; i++) a[i] += d[i] * ((x[i] - m_[i]) * r_[i]), b[i] += d[i];
        }
    }
}

/* mean(g) and mean(g h) of the groups of a picture from its sums per channel */
static void group_means(const vm_groupnorm_shape *s, const sources *q, const vm_real *sums, vm_real *means) {
    vm_real w_[VM_CHUNK], over = 1 / (vm_real)(s->P * s->D);
    int64_t m;
    memset(means, 0, 2 * (size_t)s->G * sizeof *means);
    for (int64_t c = 0; c < s->C; c += m) {
        m = VM_MIN(s->C - c, (int64_t)VM_CHUNK);
        const vm_real *w = vm_row(q->w, q->tw, c, m, w_);
        for (int64_t i = 0; i < m; i++) {
            int64_t g = (c + i) / s->D;
            means[g] += w[i] * sums[s->C + c + i] * over, means[s->G + g] += w[i] * sums[c + i] * over;
        }
    }
}

vm_status VM_KERNEL(groupnorm_back_cpu)(vm_graph *g, vm_node *n) {
    vm_groupnorm_shape s = vm_groupnorm_of(&g->v[n->in[1]], n->i[1]);
    const sources q = { vm_in(g, n, 0),      vm_in(g, n, 1),      vm_in(g, n, 2), g->v[n->in[0]].type,
                        g->v[n->in[1]].type, g->v[n->in[2]].type, vm_in(g, n, 3), vm_in(g, n, 4) };
    void *dx = vm_o(g, n, 0);
    vm_real *part = vm_o(g, n, 3), *means = vm_o(g, n, 4);
    vm_type to = g->v[n->out[0]].type;
    bool add = vm_adds(g, n, 0);
    int64_t C = s.C, chunks = s.B * s.KB;
#pragma omp parallel for schedule(static) if (s.B * s.P * C > VM_PAR_MIN)
    for (int64_t k = 0; k < chunks; k++) chunk_sums(&s, &q, k, part);
    if (n->i[2]) {
        vm_sum_chunks(part, chunks, 2 * C, C, 1, vm_o(g, n, 1), vm_adds(g, n, 1));
        vm_sum_chunks(part + C, chunks, 2 * C, C, 1, vm_o(g, n, 2), vm_adds(g, n, 2));
    }
    for (int64_t b = 0; b < s.B && s.P && C; b++) { /* the sums of a picture replace those of its first chunk */
        vm_real *sums = part + b * s.KB * 2 * C;
        vm_sum_chunks(sums, s.KB, 2 * C, 2 * C, 1, sums, false);
        group_means(&s, &q, sums, means + b * 2 * s.G);
    }
#pragma omp parallel for schedule(static) if (s.B * s.P * C > VM_PAR_MIN)
    for (int64_t k = 0; k < chunks; k++) {
        vm_real d_[VM_CHUNK], x_[VM_CHUNK], w_[VM_CHUNK], o_[VM_CHUNK];
        vm_real m_[VM_CHUNK], r_[VM_CHUNK], a_[VM_CHUNK], h_[VM_CHUNK];
        int64_t picture = k / s.KB, chunk = k % s.KB, m;
        for (int64_t c = 0; c < C; c += m) {
            m = VM_MIN(C - c, (int64_t)VM_CHUNK);
            spread(q.mean + picture * s.G, s.D, c, m, m_), spread(q.r + picture * s.G, s.D, c, m, r_);
            spread(means + picture * 2 * s.G, s.D, c, m, a_), spread(means + picture * 2 * s.G + s.G, s.D, c, m, h_);
            const vm_real *w = vm_row(q.w, q.tw, c, m, w_);
            for (int64_t p = vm_chunk_begin(s.P, s.KB, chunk); p < vm_chunk_begin(s.P, s.KB, chunk + 1); p++) {
                int64_t at = (picture * s.P + p) * C + c;
                const vm_real *restrict d = vm_row(q.dy, q.td, at, m, d_), *restrict x = vm_row(q.x, q.tx, at, m, x_);
                vm_real *restrict out = vm_row_into(dx, to, at, o_, add);
#pragma omp simd
                for (int64_t i = 0; i < m; i++)
                    out[i] = r_[i] * (d[i] * w[i] - a_[i] - (x[i] - m_[i]) * r_[i] * h_[i]);
                vm_row_done(dx, to, at, m, out, add);
            }
        }
    }
    return VM_OK;
}
