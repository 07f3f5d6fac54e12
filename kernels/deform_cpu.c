/* deform_cpu.c - see deform.c. */
#include "kernels/cpu.h"
#include "kernels/deform.h"

enum { COLUMNS = 64 }; /* of a head at a time: what a point needs then stays in registers or next to them */

typedef struct {
    int64_t B, S, Q, NH, HS, L, P;
    const int64_t *size;            /* H, W of each map */
    int64_t begin[DEFORM_MAX_LEVELS + 1]; /* first cell of each map */
    const vm_value *v;
    const vm_real *loc, *weight;
} call;

static call call_of(const vm_graph *g, const vm_node *n, int first) {
    const vm_value *v = &g->v[n->in[first]];
    call c = { .B = v->ne[0], .S = v->ne[1], .Q = vm_dim(g, n->in[first + 1], 1), .NH = n->i[DEFORM_HEADS],
               .L = n->i[DEFORM_LEVELS], .P = n->i[DEFORM_POINTS], .size = n->i, .v = v, .loc = vm_in(g, n, first + 1),
               .weight = vm_in(g, n, first + 2) };
    c.HS = v->ne[2] / c.NH;
    for (int64_t l = 0; l < c.L; l++) c.begin[l + 1] = c.begin[l] + c.size[2 * l] * c.size[2 * l + 1];
    return c;
}

/* Where a point lies: cell of the upper left corner, fractions, and which corners are in the map. */
typedef struct {
    int64_t at[4]; /* cells of the corners 00, 01, 10, 11 from the map's first; -1 = outside */
    vm_real fx, fy, w[4];
} point;

static inline bool locate(const vm_real *xy, int64_t H, int64_t W, point *p) {
    vm_real x = xy[0] * (vm_real)W - (vm_real)0.5, y = xy[1] * (vm_real)H - (vm_real)0.5;
    if (!(x > -1 && y > -1 && x < (vm_real)W && y < (vm_real)H)) return false; /* NaN too */
    vm_real x0 = (vm_real)floor((double)x), y0 = (vm_real)floor((double)y), fx = x - x0, fy = y - y0;
    int64_t i = (int64_t)y0, j = (int64_t)x0;
    bool left = j >= 0, right = j + 1 < W, top = i >= 0, bottom = i + 1 < H;
    *p = (point){ { top && left ? i * W + j : -1, top && right ? i * W + j + 1 : -1, bottom && left ? (i + 1) * W + j : -1,
                    bottom && right ? (i + 1) * W + j + 1 : -1 },
                  fx, fy, { (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx } };
    return true;
}

/* The four corners' rows of m <= COLUMNS columns; zeros outside. */
static inline void corners(const call *c, const point *p, int64_t at, int64_t m, const vm_real *r[4], vm_real tmp[4][COLUMNS]) {
    static const vm_real zeros[COLUMNS];
    for (int k = 0; k < 4; k++)
        r[k] = p->at[k] < 0 ? zeros : vm_row(c->v->data, c->v->type, at + p->at[k] * c->NH * c->HS, m, tmp[k]);
}

static void forward_row(const call *c, int64_t row, vm_value *y) { /* row: (b, q, h) */
    int64_t h = row % c->NH, b = row / c->NH / c->Q, LP = c->L * c->P;
    const vm_real *loc = c->loc + row * LP * 2, *a = c->weight + row * LP;
    for (int64_t j = 0; j < c->HS; j += COLUMNS) {
        int64_t m = VM_MIN((int64_t)COLUMNS, c->HS - j);
        vm_real sum[COLUMNS] = { 0 }, tmp[4][COLUMNS], out[COLUMNS];
        for (int64_t k = 0; k < LP; k++) {
            int64_t l = k / c->P;
            const vm_real *r[4];
            point p;
            if (!locate(loc + 2 * k, c->size[2 * l], c->size[2 * l + 1], &p)) continue;
            corners(c, &p, ((b * c->S + c->begin[l]) * c->NH + h) * c->HS + j, m, r, tmp);
            vm_real w0 = a[k] * p.w[0], w1 = a[k] * p.w[1], w2 = a[k] * p.w[2], w3 = a[k] * p.w[3];
            const vm_real *restrict r0 = r[0], *restrict r1 = r[1], *restrict r2 = r[2], *restrict r3 = r[3];
#pragma omp simd
            for (int64_t i = 0; i < m; i++) sum[i] += (w0 * r0[i] + w1 * r1[i]) + (w2 * r2[i] + w3 * r3[i]);
        }
        vm_real *to = vm_row_into(y->data, y->type, row * c->HS + j, out, false);
        memcpy(to, sum, (size_t)m * sizeof *sum);
        vm_row_done(y->data, y->type, row * c->HS + j, m, to, false);
    }
}

vm_status VM_KERNEL(deform_attention_cpu)(vm_graph *g, vm_node *n) {
    call c = call_of(g, n, 0);
    vm_value *y = &g->v[n->out[0]];
    int64_t rows = c.B * c.Q * c.NH;
#pragma omp parallel for schedule(static) if (rows * c.L * c.P * c.HS > VM_PAR_MIN / 8)
    for (int64_t row = 0; row < rows; row++) forward_row(&c, row, y);
    return VM_OK;
}

typedef struct {
    vm_real *value, *loc, *weight; /* gradients; NULL = not wanted */
    bool add_loc, add_weight;
    const vm_value *dy;
} grads;

/* One point: rows of the value gradient get their parts, sums of the others are returned. */
static void back_point(const call *c, const grads *d, const point *p, vm_real a, int64_t at, int64_t dy_at, vm_real out[3]) {
    out[0] = out[1] = out[2] = 0;
    for (int64_t j = 0; j < c->HS; j += COLUMNS) {
        int64_t m = VM_MIN((int64_t)COLUMNS, c->HS - j);
        vm_real tmp[4][COLUMNS], dtmp[COLUMNS], s[4] = { 0 };
        const vm_real *restrict dy = vm_row(d->dy->data, d->dy->type, dy_at + j, m, dtmp), *r[4];
        if (d->loc || d->weight) {
            corners(c, p, at + j, m, r, tmp);
            for (int k = 0; k < 4; k++) s[k] = p->at[k] < 0 ? 0 : vm_row_dot(dy, r[k], m);
            out[0] += (1 - p->fy) * (s[1] - s[0]) + p->fy * (s[3] - s[2]);
            out[1] += (1 - p->fx) * (s[2] - s[0]) + p->fx * (s[3] - s[1]);
            out[2] += (p->w[0] * s[0] + p->w[1] * s[1]) + (p->w[2] * s[2] + p->w[3] * s[3]);
        }
        for (int k = 0; k < 4 && d->value; k++) {
            if (p->at[k] < 0) continue;
            vm_real *restrict to = d->value + at + p->at[k] * c->NH * c->HS + j, w = a * p->w[k];
#pragma omp simd
            for (int64_t i = 0; i < m; i++) to[i] += w * dy[i];
        }
    }
}

/* Map l of head h of batch entry b, all queries in order. */
static void back_map(const call *c, const grads *d, int64_t b, int64_t h, int64_t l) {
    int64_t H = c->size[2 * l], W = c->size[2 * l + 1], at = ((b * c->S + c->begin[l]) * c->NH + h) * c->HS;
    for (int64_t q = 0; q < c->Q; q++) {
        int64_t row = (b * c->Q + q) * c->NH + h;
        for (int64_t k = (row * c->L + l) * c->P, end = k + c->P; k < end; k++) {
            vm_real a = c->weight[k], s[3] = { 0 };
            point p;
            if (locate(c->loc + 2 * k, H, W, &p)) back_point(c, d, &p, a, at, row * c->HS, s);
            if (d->loc) {
                d->loc[2 * k] = (d->add_loc ? d->loc[2 * k] : 0) + (vm_real)W * a * s[0];
                d->loc[2 * k + 1] = (d->add_loc ? d->loc[2 * k + 1] : 0) + (vm_real)H * a * s[1];
            }
            if (d->weight) d->weight[k] = (d->add_weight ? d->weight[k] : 0) + s[2];
        }
    }
}

vm_status VM_KERNEL(deform_attention_back_cpu)(vm_graph *g, vm_node *n) {
    call c = call_of(g, n, 1);
    int64_t want = n->i[DEFORM_OUT], tasks = c.B * c.NH * c.L;
    grads d = { want & 1 ? vm_o(g, n, 0) : NULL, want & 2 ? vm_o(g, n, 1) : NULL, want & 4 ? vm_o(g, n, 2) : NULL,
                vm_adds(g, n, 1), vm_adds(g, n, 2), &g->v[n->in[0]] };
    if (d.value && !vm_adds(g, n, 0)) memset(d.value, 0, (size_t)vm_count(g, n->out[0]) * sizeof *d.value);
#pragma omp parallel for schedule(dynamic) if (c.Q * tasks * c.P * c.HS > VM_PAR_MIN / 8)
    for (int64_t t = 0; t < tasks; t++) back_map(&c, &d, t / c.L / c.NH, t / c.L % c.NH, t % c.L);
    return VM_OK;
}
