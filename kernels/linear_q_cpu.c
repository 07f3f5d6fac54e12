/* linear_q_cpu.c - see linear_q.c. Few rows: unpack.h, rows of the weight shared among the threads, each sum taken by one of them in a
 * fixed order. More: tiles of the weight through gemm.h. */
#include "kernels/columns.h"
#include "kernels/dequant.h"
#include "kernels/gemm.h"
#include "kernels/linear_q_cpu.h"
#include "kernels/unpack.h"

enum { LINES = 16,       /* rows of the weight that a thread takes at a time */
       SHARED_X = 8192,  /* numbers of x that they share */
       SCALES = 1024 };  /* scales of a row that are brought to f32 at a time */

/* --- few rows -------------------------------------------------------------------------------------------------------- */
typedef struct {
    vm_quant_weight w;
    const vm_quant_pairs *pairs;
    const vm_real *x; /* M rows, lq_padded apart; or in_registers: side by side as unpack.h has them, then sums of eights */
    int M;
    bool in_registers; /* by unpack.h; else by way of memory */
} few;

/* How many columns from k on are taken at a time, for several rows of the weight: their part of x stays in the first-level cache. Whole
 * blocks, or a part of one of 8 bits. */
static int64_t columns_at(const few *f, int64_t k) {
    int64_t fit = SHARED_X / f->M / 128 * 128, block = f->w.block, len = fit / block * block;
    if (block >= fit) len = f->in_registers && f->w.kind != VM_INT8 ? block : VM_MIN(fit, block - k % block);
    return VM_MIN(len, f->w.K - k);
}

/* Weights k .. k + m of row n in numbers, then as many dot products. */
static void dots_by_memory(const few *f, int64_t n, int64_t k, int64_t m, vec *sum) {
    vm_real w[VM_CHUNK];
    for (int64_t end = k + m; k < end; k += VM_CHUNK) {
        int64_t now = VM_MIN((int64_t)VM_CHUNK, end - k);
        vm_dequantize(&f->w, f->pairs, n, k, now, w);
        for (int i = 0; i < f->M; i++) sum[i][0] += vm_row_dot(w, f->x + i * lq_padded(f->w.K) + k, now);
    }
}

#ifdef VM_F64_BUILD
static bool fits_registers(const vm_quant_weight *w) { return false; }
static void dots(const few *f, int64_t n, int64_t k, int64_t m, int64_t ahead, vec *sum) { dots_by_memory(f, n, k, m, sum); }
#else
static const float int4[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };

static bool fits_registers(const vm_quant_weight *w) {
    return w->kind == VM_INT8 ? unpack_fits8(w->K, w->block) : !w->flat && unpack_fits4(w->K, w->block);
}

/* sum[i] += row i of x times columns k .. k + m of row n, spread over the lanes. ahead: the weight that comes soon, from the first. */
static void dots(const few *f, int64_t n, int64_t k, int64_t m, int64_t ahead, vec *sum) {
    const vm_quant_weight *w = &f->w;
    int64_t G = (w->K + w->block - 1) / w->block, first = n * G + k / w->block, many = (m + w->block - 1) / w->block;
    if (!f->in_registers) {
        dots_by_memory(f, n, k, m, sum);
        return;
    }
    float s[SCALES + LANES], z[SCALES + LANES], *zeros = w->zeros ? z : NULL;
    for (int64_t i = 0; i < many; i++) s[i] = vm_quant_scale(w, first + i);
    for (int64_t i = 0; i < many && zeros; i++) z[i] = w->zeros[first + i] - 8;
    for (int64_t i = many; i < many + LANES; i++) s[i] = z[i] = 0; /* read beside the last, and meets zeros of x */
    int per_byte = w->kind == VM_INT8 ? 1 : 2;
    const uint8_t *codes = w->codes + (n * w->K + k) / per_byte, *soon = w->codes + ahead / per_byte;
    const float *x = f->x + k * f->M, *sums = f->x + (lq_padded(w->K) + k / 8) * f->M, *table = w->kind == VM_NF4 ? vm_nf4 : int4;
#define DOTS(M, side)                                                                    \
    case M:                                                                              \
        if (w->kind == VM_INT8) unpack_dots8(M, side, codes, soon, m, s, w->block, x, sum);    \
        else unpack_dots4(M, codes, soon, m, table, s, zeros, w->block, x, sums, sum);         \
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
#endif

/* Row m of x, number `place` of these, where few.x expects it: numbers, and zeros behind them. */
static void place_x(const few *f, const vm_value *x, int64_t m, int place, vm_real *room) {
    int64_t K = f->w.K, padded = lq_padded(K);
    for (int64_t k = 0; k < padded; k += VM_CHUNK) {
        vm_real tmp[VM_CHUNK], part[VM_CHUNK];
        int64_t n = VM_MIN((int64_t)VM_CHUNK, padded - k), have = VM_MAX(VM_MIN(n, K - k), (int64_t)0);
        memcpy(part, vm_row(x->data, x->type, m * K + k, have, tmp), (size_t)have * sizeof *part);
        memset(part + have, 0, (size_t)(n - have) * sizeof *part);
        if (!f->in_registers) memcpy(room + place * padded + k, part, (size_t)n * sizeof *part);
#ifndef VM_F64_BUILD
        else if (f->w.kind == VM_INT8) unpack_x8(part, n, f->M, place, room + k * f->M);
        else unpack_x4(part, n, f->M, place, room + k * f->M, room + (padded + k / 8) * f->M);
#endif
    }
}

void VM_KERNEL(lq_few_rows)(const lq_product *p, int64_t first, int64_t M) {
    const vm_quant_weight *w = &p->w;
    const int64_t N = w->N;
    const vm_value *x = p->x, *y = p->y;
    const vm_real *bias = p->bias;
    const bool add = p->add;
    vm_real *room = p->room;
    vm_quant_pairs pairs;
    few f = { *w, &pairs, room, 0, fits_registers(w) };
    vm_quant_pairs_make(&pairs, w->kind);
    for (int64_t m0 = first; m0 < first + M; m0 += LQ_ROWS) {
        f.M = (int)VM_MIN((int64_t)LQ_ROWS, first + M - m0);
#pragma omp parallel if (N * w->K > VM_PAR_MIN)
        {
#pragma omp for schedule(static)
            for (int m = 0; m < f.M; m++) place_x(&f, x, m0 + m, m, room);
#pragma omp for schedule(static)
            for (int64_t n0 = 0; n0 < N; n0 += LINES) {
                vec sum[LINES][LQ_ROWS] = { { { 0 } } };
                int64_t lines = VM_MIN((int64_t)LINES, N - n0);
                for (int64_t k = 0, len; k < w->K; k += len) {
                    len = columns_at(&f, k);
                    for (int64_t i = 0; i < lines; i++) { /* two rows on, in these columns or then the next */
                        bool here = i + 2 < lines;
                        int64_t soon = (n0 + (here ? i + 2 : VM_MAX(i + 2 - lines, (int64_t)0))) * w->K + (here ? k : k + len);
                        dots(&f, n0 + i, k, len, soon, sum[i]);
                    }
                }
                for (int64_t m = 0; m < f.M; m++) {
                    vm_real tmp[LINES], *to = vm_row_into(y->data, y->type, (m0 + m) * N + n0, tmp, add);
                    for (int64_t i = 0; i < lines; i++) to[i] = vec_sum(sum[i][m]) + (bias ? bias[n0 + i] : 0);
                    vm_row_done(y->data, y->type, (m0 + m) * N + n0, lines, to, add);
                }
            }
        }
    }
}

/* --- products -------------------------------------------------------------------------------------------------------- */
/* Weights k .. k + m of row n: whole blocks of 4 bits in registers, others as vm_dequantize has them. */
static void numbers(const vm_quant_weight *w, const vm_quant_pairs *pairs, int64_t n, int64_t k, int64_t m, vm_real *y) {
#ifndef VM_F64_BUILD
    if (w->kind != VM_INT8 && !w->flat && w->block % LANES == 0 && k % w->block == 0 && w->K % 2 == 0) {
        int64_t G = (w->K + w->block - 1) / w->block, b = n * G + k / w->block;
        for (; m >= w->block; m -= w->block, k += w->block, y += w->block, b++) {
            float s = vm_quant_scale(w, b), shift = w->zeros ? (8 - w->zeros[b]) * s : 0;
            unpack_line4(w->codes + (n * w->K + k) / 2, w->block, w->kind == VM_NF4 ? vm_nf4 : int4, s, shift, y);
        }
    }
#endif
    vm_dequantize(w, pairs, n, k, m, y);
}

void VM_KERNEL(lq_tile)(const vm_quant_weight *w, int64_t n0, int64_t lines, int64_t k0, int64_t m, void *tile, vm_type t) {
    vm_quant_pairs pairs;
    vm_quant_pairs_make(&pairs, w->kind);
#pragma omp parallel for schedule(static) if (lines * m > VM_PAR_MIN)
    for (int64_t i = 0; i < lines; i++)
        for (int64_t k = 0; k < m; k += VM_CHUNK) {
            vm_real tmp[VM_CHUNK];
            int64_t len = VM_MIN((int64_t)VM_CHUNK, m - k);
            vm_real *to = vm_row_begin(tile, t, i * m + k, tmp);
            numbers(w, &pairs, n0 + i, k0 + k, len, to);
            vm_row_end(tile, t, i * m + k, len, to);
        }
}

vm_status VM_KERNEL(linear_q_cpu)(vm_graph *g, vm_node *n) {
    vm_quant_weight w = lq_weight(g, n);
    vm_type t = g->v[n->in[LQ_X]].type;
    int64_t M = vm_rows(g, n->in[LQ_X]);
    if (lq_few(g, t, M)) {
        VM_KERNEL(lq_few_rows)(&(lq_product){ .w = w, .x = &g->v[n->in[LQ_X]], .y = &g->v[n->out[0]], .bias = vm_in(g, n, LQ_BIAS),
                                             .add = vm_adds(g, n, 0), .room = vm_o(g, n, 1) }, 0, M);
        return VM_OK;
    }
    vm_value y = g->v[n->out[0]];
    const vm_real *bias = vm_in(g, n, LQ_BIAS);
    int64_t lines = vm_dim(g, n->out[1], 0);
    for (int64_t n0 = 0; n0 < w.N; n0 += lines) {
        int64_t now = VM_MIN(lines, w.N - n0);
        vm_gemm_shape s = { .batch = 1, .M = M, .N = now, .K = w.K, .tb = true, .a = t, .b = t, .c = VM_F32, .bias = bias != NULL, .alpha = 1 };
        vm_gemm *p = vm_gemm_node(g, n, now < lines, s);
        if (!p) return g->err.status;
        VM_KERNEL(lq_tile)(&w, n0, now, 0, w.K, vm_o(g, n, 1), t);
        if (vm_gemm_run(p, vm_in(g, n, LQ_X), vm_o(g, n, 1), bias ? (const float *)(bias + n0) : NULL, vm_o(g, n, 2), &g->err)) return g->err.status;
        vm_put_columns(vm_o(g, n, 2), M, now, y.data, y.type, w.N, n0, vm_adds(g, n, 0));
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
            VM_KERNEL(lq_tile)(&w, 0, w.N, k, now, vm_o(g, n, 1), VM_F32);
            dx_of_f16(g, n, &w, vm_o(g, n, 1), k, now);
            continue;
        }
        vm_gemm_shape s = { .batch = 1, .M = M, .N = now, .K = w.N, .a = t, .b = t, .c = VM_F32, .alpha = 1 };
        vm_gemm *p = vm_gemm_node(g, n, now < columns, s);
        if (!p) return g->err.status;
        VM_KERNEL(lq_tile)(&w, 0, w.N, k, now, vm_o(g, n, 1), t);
        if (vm_gemm_run(p, vm_in(g, n, LQ_X), vm_o(g, n, 1), NULL, vm_o(g, n, 2), &g->err)) return g->err.status;
        vm_put_columns(vm_o(g, n, 2), M, now, dx.data, dx.type, w.K, k, vm_adds(g, n, 0));
    }
    return VM_OK;
}
