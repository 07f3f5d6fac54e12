/* linear_q8_cpu.c - few rows of linear_q.c with x rounded to 8 bits (dot8.h): rows of the weight shared among the threads, which walk
 * through its codes as these stand in memory. Each sum is taken by one thread in a fixed order and the bits of a row of x depend on
 * nothing else. Compiled without contraction to fused operations, so that all processors get the same bits. */
#include "kernels/dot8.h"
#include "kernels/linear_q.h"

enum { LINES = 16,           /* rows of the weight that a thread takes at a time */
       SHARED_X = 24 << 10,  /* bytes of x that they share: they stay in the first-level cache */
       SCALES = 256 };       /* scales of a row that are brought to f32 at a time */

typedef struct {
    vm_quant_weight w;
    dot8_kind kind;
    dot8_way way;
    uint8_t table[16];
    char *x;        /* rows of x as dot8.h has them, DOT8_ROWS or the last few at a time */
    int64_t x_room; /* bytes of one row */
} few;

static void make_table(few *f) {
    for (int c = 0; c < 16; c++) f->table[c] = (uint8_t)(f->w.kind == VM_NF4 ? 128 + (int)rintf(vm_nf4[c] * DOT8_NF4) : c);
}

/* M rows at a time: as many as there are code for. */
static int together(int64_t rows) { return rows >= 5 ? 8 : rows >= 3 ? 4 : rows == 2 ? 2 : 1; }

/* Columns that are taken at a time for several rows of the weight. */
static int64_t columns_at(const few *f, int M) {
    const vm_quant_weight *w = &f->w;
    int64_t columns = dot8_columns(w->kind), unit = w->block >= w->K ? columns : VM_MAX(w->block, columns);
    int64_t fit = SHARED_X / (M * dot8_lines(w->kind) * DOT8_BYTES) * columns;
    return VM_MAX(VM_MIN(fit, SCALES * w->block) / unit * unit, unit);
}

/* sum[i][m] of `lines` rows of the weight from n on. */
static void dots(const few *f, int64_t n, int64_t lines, int M, const char *x, float (*sum)[DOT8_ROWS][DOT8_LANES]) {
    const vm_quant_weight *w = &f->w;
    const int64_t G = (w->K + w->block - 1) / w->block, columns = dot8_columns(w->kind), step = columns_at(f, M), per = w->kind == VM_INT8 ? 1 : 2;
    vm_real s[LINES * SCALES];
    for (int64_t k = 0; k == 0 || k < w->K; k += step) {
        const int64_t m = VM_MIN(step, w->K - k), first = n * G + k / w->block, blocks = (m + w->block - 1) / w->block;
        dot8_rows r = { lines, m, w->K / per, w->codes + (n * w->K + k) / per, (const vm_real *)w->scales + first, w->zeros ? w->zeros + first : NULL, G, w->block, k == 0 };
        if (w->nested) {
            for (int64_t i = 0; i < lines; i++)
                for (int64_t b = 0; b < blocks; b++) s[i * blocks + b] = vm_quant_scale(w, first + i * G + b);
            r.s = s, r.s_row = blocks;
        }
        dot8_run(f->way, f->kind, M, &r, f->table, x + k / columns * M * dot8_lines(w->kind) * DOT8_BYTES, sum);
    }
}

/* Row m of x in its place, number `at` of M; behind the last row are zeros. */
static void place(const few *f, const vm_value *x, int64_t m, bool there, int M, int at, char *room) {
    const int64_t K = f->w.K, lines = dot8_lines(f->w.kind) * DOT8_BYTES, columns = dot8_columns(f->w.kind);
    for (int64_t k = 0; k < K && !there; k += columns) memset(room + (k / columns * M + at) * lines, 0, (size_t)lines);
    if (!there) return;
    for (int64_t k = 0; k < K; k += VM_CHUNK) {
        vm_real tmp[VM_CHUNK];
        int64_t n = VM_MIN((int64_t)VM_CHUNK, K - k);
        dot8_place(f->kind, vm_row(x->data, x->type, m * K + k, n, tmp), n, M, at, room + k / columns * M * lines);
    }
}

vm_status VM_KERNEL(linear_q8_cpu)(vm_graph *g, vm_node *n) {
    few f = { .w = lq_weight(g, n), .x = vm_o(g, n, 1) };
    const int64_t M = vm_rows(g, n->in[LQ_X]), N = f.w.N, blocks = (M + DOT8_ROWS - 1) / DOT8_ROWS;
    vm_value y = g->v[n->out[0]], *x = &g->v[n->in[LQ_X]];
    const vm_real *bias = vm_in(g, n, LQ_BIAS);
    const bool add = vm_adds(g, n, 0);
    f.kind = (dot8_kind){ f.w.kind, f.w.zeros != NULL }, f.way = dot8_best();
    f.x_room = dot8_registers(f.w.kind, f.w.K) * dot8_lines(f.w.kind) * DOT8_BYTES;
    make_table(&f);
#pragma omp parallel if (N * f.w.K > VM_PAR_MIN)
    {
#pragma omp for schedule(static)
        for (int64_t m = 0; m < blocks * DOT8_ROWS; m++) {
            int64_t m0 = m / DOT8_ROWS * DOT8_ROWS;
            int T = together(M - m0), at = (int)(m - m0);
            if (at < T) place(&f, x, m, m < M, T, at, f.x + m0 * f.x_room);
        }
#pragma omp for schedule(static)
        for (int64_t n0 = 0; n0 < N; n0 += LINES)
            for (int64_t m0 = 0; m0 < M; m0 += DOT8_ROWS) {
                __attribute__((aligned(64))) float sum[LINES][DOT8_ROWS][DOT8_LANES];
                int64_t lines = VM_MIN((int64_t)LINES, N - n0);
                int now = (int)VM_MIN((int64_t)DOT8_ROWS, M - m0), T = together(now);
                dots(&f, n0, lines, T, f.x + m0 * f.x_room, sum);
                for (int m = 0; m < now; m++) {
                    vm_real tmp[LINES], *to = vm_row_into(y.data, y.type, (m0 + m) * N + n0, tmp, add);
                    for (int64_t i = 0; i < lines; i++) to[i] = dot8_total(sum[i][m]) + (bias ? bias[n0 + i] : 0);
                    vm_row_done(y.data, y.type, (m0 + m) * N + n0, lines, to, add);
                }
            }
    }
    return VM_OK;
}
