/* linear_cpu.c - the products of linear.c and matmul.c through gemm.h, and the column sums of the bias gradient. */
#include "kernels/columns.h"
#include "kernels/few_pairs.h"

/* w as the product of type t wants it: itself, packed once (inference), or rounded into the node's workspace out[1]. */
static const void *weight(vm_graph *g, vm_node *n, vm_val w, vm_gemm *m) {
    const vm_value *x = &g->v[w];
    if (vm_gemm_of(m)->packed) return vm_gemm_pack(m, x->param, &g->err);
    if (n->n_out < 2 || g->v[n->out[1]].type != VM_BF16) return x->data;
    vm_bf16 *restrict y = vm_o(g, n, 1);
    const float *restrict f = x->data;
    int64_t N = vm_count(g, w);
#pragma omp parallel for simd schedule(static) if (N > VM_PAR_MIN)
    for (int64_t i = 0; i < N; i++) y[i] = vm_f32_to_bf16(f[i]);
    return y;
}

/* Rows of type t from numbers of any. */
static void convert(void *to, vm_type t, const void *from, vm_type of, int64_t N) {
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t i = 0; i < N; i += VM_CHUNK) {
        vm_real tmp[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - i);
        vm_row_end(to, t, i, m, vm_row(from, of, i, m, vm_row_begin(to, t, i, tmp)));
    }
}

/* A weight in 16 bits as it stands in memory. */
static vm_status stays(vm_graph *g, vm_node *n) {
    vm_value *x = &g->v[n->in[0]], w = g->v[n->in[1]], *y = &g->v[n->out[0]];
    const vm_real *bias = vm_in(g, n, 2);
    vm_unary_kind act = (vm_unary_kind)n->i[1];
    int64_t M = vm_rows(g, n->in[0]), N = w.ne[0], K = w.ne[1];
    const bool pairs = vm_stays_pairs(g, x->type, w.type, M);
    if (pairs || vm_stays_few(g, M)) {
        const few_product p = { x, y, w.data, w.type, N, K, bias, act, vm_adds(g, n, 0), vm_o(g, n, 1) };
        if (pairs && tile_bf16_usable()) few_pairs_run(&p, M);
        else few_rows_run(&p, 0, M);
        return VM_OK;
    }
    bool other = w.type != x->type, add = vm_adds(g, n, 0); /* other: by tiles in the type of x, whose results are tiles too */
    int64_t lines = other ? vm_dim(g, n->out[1], 0) : N;
    for (int64_t n0 = 0; n0 < N; n0 += lines) {
        int64_t now = VM_MIN(lines, N - n0);
        vm_gemm_shape s = { .batch = 1, .M = M, .N = now, .K = K, .tb = true, .a = x->type, .b = x->type, .c = other ? VM_F32 : y->type,
                            .bias = bias != NULL, .alpha = 1, .act = act, .add = add && !other };
        vm_gemm *m = vm_gemm_node(g, n, now < lines, s);
        const void *b = (const char *)w.data + (size_t)(n0 * K) * vm_type_size(w.type);
        if (!m) return g->err.status;
        if (other) convert(vm_o(g, n, 1), x->type, b, w.type, now * K), b = vm_o(g, n, 1);
        if (vm_gemm_run(m, x->data, b, bias ? (const float *)(bias + n0) : NULL, other ? vm_o(g, n, 2) : y->data, &g->err)) return g->err.status;
        if (other) vm_put_columns(vm_o(g, n, 2), M, now, y->data, y->type, N, n0, add);
    }
    return VM_OK;
}

vm_status VM_KERNEL(linear_cpu)(vm_graph *g, vm_node *n) {
    vm_val x = n->in[0], w = n->in[1];
    if (vm_stays(g, w)) return stays(g, n);
    vm_type t = g->v[x].type;
    vm_gemm_shape s = { .batch = 1, .M = vm_rows(g, x), .N = vm_dim(g, w, 0), .K = vm_cols(g, x), .tb = true,
                        .a = t, .b = t, .c = g->v[n->out[0]].type, .bias = n->in[2] != 0, .alpha = 1,
                        .act = (vm_unary_kind)n->i[1], .packed = vm_linear_packs(g, w), .add = vm_adds(g, n, 0) };
    vm_gemm *m = vm_gemm_node(g, n, 0, s);
    if (!m) return g->err.status;
    const void *b = weight(g, n, w, m);
    return b ? vm_gemm_run(m, vm_in(g, n, 0), b, vm_in(g, n, 2), vm_o(g, n, 0), &g->err) : g->err.status;
}

vm_status VM_KERNEL(linear_dx_cpu)(vm_graph *g, vm_node *n) {
    vm_val dy = n->in[0], w = n->in[1];
    vm_type t = g->v[dy].type;
    vm_gemm_shape s = { .batch = 1, .M = vm_rows(g, dy), .N = vm_dim(g, w, 1), .K = vm_cols(g, dy), .a = t, .b = t,
                        .c = g->v[n->out[0]].type, .alpha = 1, .packed = vm_linear_packs(g, w), .add = vm_adds(g, n, 0) };
    vm_gemm *m = vm_gemm_node(g, n, 0, s);
    if (!m) return g->err.status;
    const void *b = weight(g, n, w, m);
    return b ? vm_gemm_run(m, vm_in(g, n, 0), b, NULL, vm_o(g, n, 0), &g->err) : g->err.status;
}

vm_status VM_KERNEL(linear_dw_cpu)(vm_graph *g, vm_node *n) {
    vm_val dy = n->in[0], x = n->in[1];
    vm_gemm_shape s = { .batch = 1, .M = vm_cols(g, dy), .N = vm_cols(g, x), .K = vm_rows(g, dy), .ta = true,
                        .a = g->v[dy].type, .b = g->v[x].type, .c = VM_F32, .alpha = 1, .add = vm_adds(g, n, 0) };
    vm_gemm *m = vm_gemm_node(g, n, 0, s);
    return m ? vm_gemm_run(m, vm_in(g, n, 0), vm_in(g, n, 1), NULL, vm_o(g, n, 0), &g->err) : g->err.status;
}

/* Column sums: each thread owns a block of columns and walks down the rows, so the order never depends on threads. */
vm_status VM_KERNEL(linear_db_cpu)(vm_graph *g, vm_node *n) {
    enum { BLOCK = 128 };
    int64_t M = vm_rows(g, n->in[0]), N = vm_cols(g, n->in[0]);
    vm_type t = g->v[n->in[0]].type;
    const void *dy = vm_in(g, n, 0);
    vm_real *db = vm_o(g, n, 0);
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (M * N > VM_PAR_MIN)
    for (int64_t j = 0; j < N; j += BLOCK) {
        vm_real sum[BLOCK] = { 0 }, tmp[BLOCK];
        int64_t m = VM_MIN((int64_t)BLOCK, N - j);
        for (int64_t i = 0; i < M; i++) {
            const vm_real *r = vm_row(dy, t, i * N + j, m, tmp);
#pragma omp simd
            for (int64_t k = 0; k < m; k++) sum[k] += r[k];
        }
        for (int64_t k = 0; k < m; k++) db[j + k] = (add ? db[j + k] : 0) + sum[k];
    }
    return VM_OK;
}

vm_status VM_KERNEL(matmul_cpu)(vm_graph *g, vm_node *n) {
    vm_val a = n->in[0], b = n->in[1], c = n->out[0];
    bool ta = n->i[0], tb = n->i[1];
    int64_t M = vm_dim(g, c, -2), N = vm_dim(g, c, -1), K = vm_dim(g, a, ta ? -2 : -1);
    int64_t batch = M > 0 && N > 0 ? vm_count(g, c) / (M * N) : 0;
    vm_gemm_shape s = { .batch = batch, .M = M, .N = N, .K = K, .ta = ta, .tb = tb, .sa = M * K, .sb = K * N,
                        .sc = M * N, .a = g->v[a].type, .b = g->v[b].type, .c = g->v[c].type, .alpha = (float)n->f[0], .add = vm_adds(g, n, 0) };
    vm_gemm *m = vm_gemm_node(g, n, 0, s);
    return m ? vm_gemm_run(m, vm_in(g, n, 0), vm_in(g, n, 1), NULL, vm_o(g, n, 0), &g->err) : g->err.status;
}
