/* linear_q_cpu.c - see linear_q.c. Few rows: unpack.h, rows of the weight shared among the threads, each sum taken by one of them in a
 * fixed order. More: tiles of the weight through gemm.h. */
#include "kernels/dequant.h"
#include "kernels/gemm.h"
#include "kernels/linear_q.h"
#include "kernels/unpack.h"

enum { LINES = 16,            /* rows of the weight that a thread takes at a time */
       SCALES = 1024 };       /* scales of a row that are brought to f32 at a time */

/* --- few rows -------------------------------------------------------------------------------------------------------- */
typedef struct {
    vm_quant_weight w;
    const vm_quant_pairs *pairs;
    const vm_real *x; /* M rows, ld apart */
    int64_t ld;
    int M;
    bool in_registers; /* 4 bits by unpack.h; else by way of memory */
} few;

/* Weights k0 .. k0 + m of row n in numbers, then as many dot products. */
static void dots_by_memory(const few *f, int64_t n, vm_real *sum) {
    vm_real w[VM_CHUNK];
    for (int64_t k = 0; k < f->w.K; k += VM_CHUNK) {
        int64_t m = VM_MIN((int64_t)VM_CHUNK, f->w.K - k);
        vm_dequantize(&f->w, f->pairs, n, k, m, w);
        for (int i = 0; i < f->M; i++) sum[i] += vm_row_dot(w, f->x + i * f->ld + k, m);
    }
}

#ifdef VM_F64_BUILD
static bool fits_registers(const vm_quant_weight *w) { return false; }
static void dots(const few *f, int64_t n, vm_real *sum) { dots_by_memory(f, n, sum); }
#else
static bool fits_registers(const vm_quant_weight *w) {
    return w->kind != VM_INT8 && !w->flat && unpack_fits4(w->K, w->block);
}

static void dots(const few *f, int64_t n, vm_real *sum) {
    static const float int4[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };
    const vm_quant_weight *w = &f->w;
    if (w->kind != VM_INT8 && !f->in_registers) {
        dots_by_memory(f, n, sum);
        return;
    }
    int64_t G = (w->K + w->block - 1) / w->block;
    for (int64_t b = 0; b < G; b += SCALES) {
        float s[SCALES + LANES], z[SCALES + LANES], *zeros = w->zeros ? z : NULL;
        int64_t many = VM_MIN((int64_t)SCALES, G - b), k = b * w->block, m = VM_MIN(many * w->block, w->K - k);
        for (int64_t i = 0; i < many; i++) s[i] = vm_quant_scale(w, n * G + b + i);
        for (int64_t i = 0; i < many && zeros; i++) z[i] = w->zeros[n * G + b + i] - 8;
        for (int64_t i = many; i < many + LANES; i++) s[i] = z[i] = 0; /* read beside the last, and meets zeros of x */
        const uint8_t *codes = w->codes + (n * w->K + k) / (w->kind == VM_INT8 ? 1 : 2);
        const float *x = f->x + k, *sums = f->x + lq_padded(w->K) + k / 8, *table = w->kind == VM_NF4 ? vm_nf4 : int4;
#define DOTS(M, side)                                                                                \
    case M:                                                                                          \
        if (w->kind == VM_INT8) unpack_dots8(M, side, codes, m, s, w->block, x, f->ld, sum);         \
        else unpack_dots4(M, codes, m, table, s, zeros, w->block, x, sums, f->ld, sum);              \
        break
        switch (f->M) {
            DOTS(1, 4);
            DOTS(2, 4);
            DOTS(3, 2);
            DOTS(4, 2);
            DOTS(5, 1);
            DOTS(6, 1);
            DOTS(7, 1);
            DOTS(8, 1);
        }
#undef DOTS
    }
}
#endif

/* Row m of x where few.x expects it: numbers, zeros behind them; for unpack_dots4 in its order. */
static void place_x(const few *f, const vm_value *x, int64_t m, vm_real *to) {
    int64_t K = f->w.K, padded = lq_padded(K);
    for (int64_t k = 0; k < padded; k += VM_CHUNK) {
        vm_real tmp[VM_CHUNK], part[VM_CHUNK];
        int64_t n = VM_MIN((int64_t)VM_CHUNK, padded - k), have = VM_MAX(VM_MIN(n, K - k), (int64_t)0);
        memcpy(part, vm_row(x->data, x->type, m * K + k, have, tmp), (size_t)have * sizeof *part);
        memset(part + have, 0, (size_t)(n - have) * sizeof *part);
#ifndef VM_F64_BUILD
        if (f->in_registers) {
            unpack_x(part, n, to + k, to + padded + k / 8);
            continue;
        }
#endif
        memcpy(to + k, part, (size_t)n * sizeof *part);
    }
}

static void few_rows(vm_graph *g, vm_node *n, const vm_quant_weight *w) {
    int64_t M = vm_rows(g, n->in[LQ_X]), N = w->N;
    vm_value y = g->v[n->out[0]], *x = &g->v[n->in[LQ_X]];
    const vm_real *bias = vm_in(g, n, LQ_BIAS);
    vm_real *room = vm_o(g, n, 1);
    vm_quant_pairs pairs;
    few f = { *w, &pairs, room, lq_room(w->K), 0, fits_registers(w) };
    bool add = vm_adds(g, n, 0);
    vm_quant_pairs_make(&pairs, w->kind);
    for (int64_t m0 = 0; m0 < M; m0 += LQ_ROWS) {
        f.M = (int)VM_MIN((int64_t)LQ_ROWS, M - m0);
#pragma omp parallel if (N * w->K > VM_PAR_MIN)
        {
#pragma omp for schedule(static)
            for (int64_t m = 0; m < f.M; m++) place_x(&f, x, m0 + m, room + m * f.ld);
#pragma omp for schedule(static)
            for (int64_t n0 = 0; n0 < N; n0 += LINES) {
                vm_real out[LQ_ROWS][LINES];
                int64_t lines = VM_MIN((int64_t)LINES, N - n0);
                for (int64_t i = 0; i < lines; i++) {
                    vm_real sum[LQ_ROWS] = { 0 };
                    dots(&f, n0 + i, sum);
                    for (int m = 0; m < f.M; m++) out[m][i] = sum[m] + (bias ? bias[n0 + i] : 0);
                }
                for (int64_t m = 0; m < f.M; m++) {
                    vm_real tmp[LINES], *to = vm_row_into(y.data, y.type, (m0 + m) * N + n0, tmp, add);
                    memcpy(to, out[m], (size_t)lines * sizeof *to);
                    vm_row_done(y.data, y.type, (m0 + m) * N + n0, lines, to, add);
                }
            }
        }
    }
}

/* --- products -------------------------------------------------------------------------------------------------------- */
/* Product number k of node n (whole tiles, the last one), made at its first run, anew when it now adds or no longer does. */
static vm_gemm *product(vm_graph *g, vm_node *n, int k, vm_gemm_shape s) {
    vm_gemm **p = n->cache ? n->cache : (n->cache = vm_calloc(2, sizeof *p));
    if (!p) return vm_nomem(&g->err, 2 * sizeof *p, "a matrix product"), NULL;
    if (p[k] && vm_gemm_of(p[k])->add != s.add) vm_gemm_free(p[k]), p[k] = NULL;
    return p[k] ? p[k] : (p[k] = vm_gemm_new(&s, &g->err));
}

/* Rows n0 .. n0 + lines and columns k0 .. k0 + m of the weight as a dense tile of type t. */
static void fill_tile(const vm_quant_weight *w, int64_t n0, int64_t lines, int64_t k0, int64_t m, void *tile, vm_type t) {
    vm_quant_pairs pairs;
    vm_quant_pairs_make(&pairs, w->kind);
#pragma omp parallel for schedule(static) if (lines * m > VM_PAR_MIN)
    for (int64_t i = 0; i < lines; i++)
        for (int64_t k = 0; k < m; k += VM_CHUNK) {
            vm_real tmp[VM_CHUNK];
            int64_t len = VM_MIN((int64_t)VM_CHUNK, m - k);
            vm_real *to = vm_row_begin(tile, t, i * m + k, tmp);
            vm_dequantize(w, &pairs, n0 + i, k0 + k, len, to);
            vm_row_end(tile, t, i * m + k, len, to);
        }
}

vm_status VM_KERNEL(linear_q_cpu)(vm_graph *g, vm_node *n) {
    vm_quant_weight w = lq_weight(g, n);
    vm_type t = g->v[n->in[LQ_X]].type;
    int64_t M = vm_rows(g, n->in[LQ_X]);
    if (lq_few(g, t, M)) {
        few_rows(g, n, &w);
        return VM_OK;
    }
    vm_value y = g->v[n->out[0]];
    const vm_real *bias = vm_in(g, n, LQ_BIAS);
    int64_t lines = vm_dim(g, n->out[1], 0);
    for (int64_t n0 = 0; n0 < w.N; n0 += lines) {
        int64_t now = VM_MIN(lines, w.N - n0);
        vm_gemm_shape s = { .batch = 1, .M = M, .N = now, .K = w.K, .tb = true, .ldc = w.N, .a = t, .b = t, .c = y.type,
                            .bias = bias != NULL, .add = vm_adds(g, n, 0), .alpha = 1 };
        vm_gemm *p = product(g, n, now < lines, s);
        if (!p) return g->err.status;
        fill_tile(&w, n0, now, 0, w.K, vm_o(g, n, 1), t);
        if (vm_gemm_run(p, vm_in(g, n, LQ_X), vm_o(g, n, 1), bias ? (const float *)(bias + n0) : NULL,
                        (char *)y.data + (size_t)n0 * vm_type_size(y.type), &g->err))
            return g->err.status;
    }
    return VM_OK;
}

/* f16, which gemm.h has no products of: columns k .. k + m of dx, the tile of the weight in f32. */
static void dx_of_f16(vm_graph *g, vm_node *n, const vm_quant_weight *w, const vm_real *tile, int64_t k, int64_t m) {
    const void *dy = vm_in(g, n, LQ_X);
    vm_value dx = g->v[n->out[0]];
    int64_t M = vm_rows(g, n->in[LQ_X]), N = w->N;
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (M * N * m > VM_PAR_MIN)
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < m; j += VM_CHUNK) {
            vm_real sum[VM_CHUNK] = { 0 }, one, out[VM_CHUNK];
            int64_t len = VM_MIN((int64_t)VM_CHUNK, m - j), at = i * w->K + k + j;
            for (int64_t r = 0; r < N; r++) {
                const vm_real *restrict row = tile + r * m + j;
                vm_real d = *vm_row(dy, VM_F16, i * N + r, 1, &one);
#pragma omp simd
                for (int64_t c = 0; c < len; c++) sum[c] += d * row[c];
            }
            vm_real *to = vm_row_into(dx.data, dx.type, at, out, add);
            memcpy(to, sum, (size_t)len * sizeof *to);
            vm_row_done(dx.data, dx.type, at, len, to, add);
        }
}

/* Tiles of columns: each element of dx is one sum over all rows of the weight. */
vm_status VM_KERNEL(linear_q_dx_cpu)(vm_graph *g, vm_node *n) {
    vm_quant_weight w = lq_weight(g, n);
    vm_type t = g->v[n->in[LQ_X]].type;
    vm_value dx = g->v[n->out[0]];
    int64_t M = vm_rows(g, n->in[LQ_X]), columns = vm_dim(g, n->out[1], 1);
    for (int64_t k = 0; k < w.K; k += columns) {
        int64_t now = VM_MIN(columns, w.K - k);
        if (t == VM_F16) {
            fill_tile(&w, 0, w.N, k, now, vm_o(g, n, 1), VM_F32);
            dx_of_f16(g, n, &w, vm_o(g, n, 1), k, now);
            continue;
        }
        vm_gemm_shape s = { .batch = 1, .M = M, .N = now, .K = w.N, .ldc = w.K, .a = t, .b = t, .c = dx.type,
                            .add = vm_adds(g, n, 0), .alpha = 1, .deterministic = g->deterministic };
        vm_gemm *p = product(g, n, now < columns, s);
        if (!p) return g->err.status;
        fill_tile(&w, 0, w.N, k, now, vm_o(g, n, 1), t);
        if (vm_gemm_run(p, vm_in(g, n, LQ_X), vm_o(g, n, 1), NULL, (char *)dx.data + (size_t)k * vm_type_size(dx.type), &g->err))
            return g->err.status;
    }
    return VM_OK;
}
