/* linear_cpu.c - the products of linear.c and matmul.c through gemm.h, and the column sums of the bias gradient. */
#include "kernels/cpu.h"
#include "kernels/gemm.h"

/* The product of node n, made at its first run (sizes are fixed). Whether it adds may change from run to run, though
 * rarely: the first of several accumulated runs. */
static vm_gemm *product(vm_graph *g, vm_node *n, vm_gemm_shape s) {
    s.deterministic = g->deterministic, s.add = vm_adds(g, n, 0);
    if (n->cache && vm_gemm_of(n->cache)->add != s.add) {
        vm_gemm_free(n->cache);
        n->cache = NULL;
    }
    if (!n->cache) n->cache = vm_gemm_new(&s, &g->err);
    return n->cache;
}

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

static bool packs(const vm_graph *g, vm_val w) {
    return g->v[w].kind == VM_PARAM && g->v[w].root == w && !g->training && !g->deterministic;
}

vm_status VM_KERNEL(linear_cpu)(vm_graph *g, vm_node *n) {
    vm_val x = n->in[0], w = n->in[1];
    vm_type t = g->v[x].type;
    vm_gemm_shape s = { .batch = 1, .M = vm_rows(g, x), .N = vm_dim(g, w, 0), .K = vm_cols(g, x), .tb = true,
                        .a = t, .b = t, .c = g->v[n->out[0]].type, .bias = n->in[2] != 0, .alpha = 1,
                        .act = (vm_unary_kind)n->i[1], .packed = packs(g, w) };
    vm_gemm *m = product(g, n, s);
    if (!m) return g->err.status;
    const void *b = weight(g, n, w, m);
    return b ? vm_gemm_run(m, vm_in(g, n, 0), b, vm_in(g, n, 2), vm_o(g, n, 0), &g->err) : g->err.status;
}

vm_status VM_KERNEL(linear_dx_cpu)(vm_graph *g, vm_node *n) {
    vm_val dy = n->in[0], w = n->in[1];
    vm_type t = g->v[dy].type;
    vm_gemm_shape s = { .batch = 1, .M = vm_rows(g, dy), .N = vm_dim(g, w, 1), .K = vm_cols(g, dy), .a = t, .b = t,
                        .c = g->v[n->out[0]].type, .alpha = 1, .packed = packs(g, w) };
    vm_gemm *m = product(g, n, s);
    if (!m) return g->err.status;
    const void *b = weight(g, n, w, m);
    return b ? vm_gemm_run(m, vm_in(g, n, 0), b, NULL, vm_o(g, n, 0), &g->err) : g->err.status;
}

vm_status VM_KERNEL(linear_dw_cpu)(vm_graph *g, vm_node *n) {
    vm_val dy = n->in[0], x = n->in[1];
    vm_gemm_shape s = { .batch = 1, .M = vm_cols(g, dy), .N = vm_cols(g, x), .K = vm_rows(g, dy), .ta = true,
                        .a = g->v[dy].type, .b = g->v[x].type, .c = VM_F32, .alpha = 1 };
    vm_gemm *m = product(g, n, s);
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
                        .sc = M * N, .a = g->v[a].type, .b = g->v[b].type, .c = g->v[c].type, .alpha = (float)n->f[0] };
    vm_gemm *m = product(g, n, s);
    return m ? vm_gemm_run(m, vm_in(g, n, 0), vm_in(g, n, 1), NULL, vm_o(g, n, 0), &g->err) : g->err.status;
}
