/* experts_q_cpu.c - see experts_q.c. */
#include "kernels/columns.h"
#include "kernels/experts.h"
#include "kernels/experts_q.h"
#include "kernels/linear_q_cpu.h"

/* The weight of expert e. */
static vm_quant_weight weight_of(const vm_graph *g, const vm_node *n, int64_t e) {
    vm_quant_weight w = lq_weight(g, n);
    const int64_t scales = vm_quant_scales(w.kind, w.N, w.K, w.block);
    w.codes += e * w.N * w.K / (w.kind == VM_INT8 ? 1 : 2);
    w.scales = (const char *)w.scales + (size_t)(e * scales) * (w.nested ? 1 : sizeof(vm_real));
    if (w.zeros) w.zeros += e * scales;
    if (w.nested) w.nested += e * vm_nested_len(scales);
    return w;
}

/* Columns of expert e in the order of its codes; NULL = as they are. */
static const int32_t *order_of(vm_graph *g, const vm_node *n, int64_t e) {
    const int64_t K = n->i[LQ_K];
    const int32_t *all = vm_in(g, n, EQ_ORDER), *order = all ? all + e * K : NULL;
    for (int64_t c = 0; order && c < K; c++)
        if (order[c] < 0 || order[c] >= K) {
            vm_fail(&g->err, VM_EINPUT, "%s: column %d in the order of expert %lld, there are %lld", n->op->name, (int)order[c], (long long)e, (long long)K);
            return NULL;
        }
    return order;
}

/* Rows first .. first + m of `to` get the columns from[order[c]], onto what they hold with add. */
static void move_columns(const vm_value *from, const vm_value *to, const int32_t *order, int64_t first, int64_t m, bool add) {
    const int64_t K = to->ne[1];
#pragma omp parallel for schedule(static) if (m * K > VM_PAR_MIN)
    for (int64_t i = first; i < first + m; i++)
        for (int64_t k = 0; k < K; k += VM_CHUNK) {
            vm_real tmp[VM_CHUNK], one;
            int64_t len = VM_MIN((int64_t)VM_CHUNK, K - k);
            vm_real *y = vm_row_into(to->data, to->type, i * K + k, tmp, add);
            for (int64_t c = 0; c < len; c++) y[c] = *vm_row(from->data, from->type, i * K + order[k + c], 1, &one);
            vm_row_done(to->data, to->type, i * K + k, len, y, add);
        }
}

/* Rows first .. first + m of p->y by tiles of the weight, lines of it (or steep: columns), each times chunks of rows of p->x. */
static vm_status by_tiles(vm_graph *g, vm_node *n, const lq_product *p, int64_t first, int64_t m, bool steep) {
    const vm_quant_weight *w = &p->w;
    const vm_value *tile = &g->v[n->out[EQ_TILE]];
    const int64_t across = steep ? w->K : w->N, sum = steep ? w->N : w->K, lines = tile->ne[steep];
    for (int64_t j = 0; j < across; j += lines) {
        const int64_t now = VM_MIN(lines, across - j);
        if (steep) VM_KERNEL(lq_tile)(w, 0, w->N, j, now, tile->data, tile->type);
        else VM_KERNEL(lq_tile)(w, j, now, 0, w->K, tile->data, tile->type);
        for (int64_t i = first, rows; i < first + m; i += rows) {
            const int k = experts_chunk(first + m - i);
            const int64_t size = (int64_t)1 << k;
            rows = VM_MIN(size, first + m - i);
            vm_gemm *product = experts_product(g, n, now < lines, k, (vm_gemm_shape){ .batch = 1, .M = size, .N = now, .K = sum, .tb = !steep,
                                               .a = tile->type, .b = tile->type, .c = VM_F32, .alpha = 1 });
            if (!product) return g->err.status;
            if (vm_gemm_run(product, experts_filled(p->x, i, rows, size, &g->v[n->out[EQ_FILLED]]), tile->data, NULL, vm_o(g, n, EQ_RESULTS), &g->err))
                return g->err.status;
            vm_put_columns(vm_o(g, n, EQ_RESULTS), rows, now, experts_at(p->y, i), p->y->type, across, j, p->add);
        }
    }
    return VM_OK;
}

static vm_status forward(vm_graph *g, vm_node *n, bool rounded) {
    const vm_value *x = &g->v[n->in[LQ_X]], *y = &g->v[n->out[0]], *moved = &g->v[n->out[EQ_MOVED]];
    const int32_t *o = vm_in(g, n, EQ_OFFSETS);
    const int64_t E = vm_dim(g, n->in[LQ_CODES], 0), M = x->ne[0];
    if (!experts_offsets(g, n, o, E, M)) return g->err.status;
    for (int64_t e = 0; e < E; e++) {
        const int64_t first = o[e], m = o[e + 1] - first;
        if (!m) continue;
        const int32_t *order = order_of(g, n, e);
        if (g->err.status) return g->err.status;
        if (order) move_columns(x, moved, order, first, m, false);
        lq_product p = { .w = weight_of(g, n, e), .x = order ? moved : x, .y = y, .deterministic = g->deterministic, .room = vm_o(g, n, EQ_ROOM) };
        if (rounded) VM_KERNEL(lq_rounded_rows)(&p, first, m);
        else if (lq_few(g, x->type, m)) VM_KERNEL(lq_few_rows)(&p, first, m);
        else if (by_tiles(g, n, &p, first, m, false)) return g->err.status;
    }
    if (o[E] < M) memset(experts_at(y, o[E]), 0, (size_t)((M - o[E]) * y->ne[1]) * vm_type_size(y->type));
    return VM_OK;
}
vm_status VM_KERNEL(experts_q_cpu)(vm_graph *g, vm_node *n) { return forward(g, n, false); }
vm_status VM_KERNEL(experts_q8_cpu)(vm_graph *g, vm_node *n) { return forward(g, n, true); }

vm_status VM_KERNEL(experts_q_dx_cpu)(vm_graph *g, vm_node *n) {
    const vm_value *dy = &g->v[n->in[LQ_X]], *dx = &g->v[n->out[0]], *moved = &g->v[n->out[EQ_MOVED]];
    const int32_t *o = vm_in(g, n, EQ_OFFSETS);
    const int64_t E = vm_dim(g, n->in[LQ_CODES], 0), M = dy->ne[0], K = n->i[LQ_K];
    const bool add = vm_adds(g, n, 0);
    int32_t *back = vm_o(g, n, EQ_BACK);
    if (!experts_offsets(g, n, o, E, M)) return g->err.status;
    for (int64_t e = 0; e < E; e++) {
        const int64_t first = o[e], m = o[e + 1] - first;
        if (!m) continue;
        const int32_t *order = order_of(g, n, e);
        if (g->err.status) return g->err.status;
        lq_product p = { .w = weight_of(g, n, e), .x = dy, .y = order ? moved : dx, .add = order ? false : add };
        if (by_tiles(g, n, &p, first, m, true)) return g->err.status;
        for (int64_t c = 0; order && c < K; c++) back[order[c]] = (int32_t)c;
        if (order) move_columns(moved, dx, back, first, m, add);
    }
    if (!add && o[E] < M) memset(experts_at(dx, o[E]), 0, (size_t)((M - o[E]) * K) * vm_type_size(dx->type));
    return VM_OK;
}
