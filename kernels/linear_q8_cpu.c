/* linear_q8_cpu.c - rows of linear_q.c with x rounded to 8 bits: rows of the weight shared among the threads. Of a few rows of x they walk
 * through the codes as these stand in memory (dot8.h), for more they unpack them once for all (dot8_many.h). Each sum is taken by one thread
 * in a fixed order, and which others there are does not change the bits of a row; how many there are does, unless the graph is
 * deterministic. Compiled without contraction to fused operations, so that all processors get the same bits. */
#include "kernels/dot8_many.h"
#include "kernels/linear_q_cpu.h"

enum { LINES = 16,           /* rows of the weight that a thread takes at a time */
       SHARED_X = 24 << 10,  /* bytes of x that they share: they stay in the first-level cache */
       SCALES = 256,         /* scales of a row that are brought to f32 at a time */
       BLOCKS = DOT8_LANES };/* blocks of many rows whose scales are turned at a time */

typedef struct {
    vm_quant_weight w;
    dot8_kind kind;
    dot8_way way;
    uint8_t table[16];
    char *x;        /* rows of x as dot8.h has them, DOT8_ROWS or the last few at a time */
    dot8_x *many;   /* or as dot8_many.h has them */
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

/* --- many rows ------------------------------------------------------------------------------------------------------- */
/* Scales or zeros of blocks b .. b + n, at most BLOCKS, of `lines` rows of the weight from n0 on: of each block those of all rows. */
static void block_numbers(const vm_quant_weight *w, bool zeros, int64_t n0, int64_t lines, int64_t b, int64_t n, dot8_sums_of *to) {
    const int64_t G = (w->K + w->block - 1) / w->block, first = n0 * G + b;
    float part[DOT8_MANY_LINES][BLOCKS];
    const size_t size = w->nested && !zeros ? 1 : sizeof(vm_real);
    const char *from = (zeros ? (const char *)w->zeros : (const char *)w->scales) + (size_t)first * size;
    for (int64_t i = 0; i < lines; i++) __builtin_prefetch(from + (size_t)((lines + i) * G) * size); /* what comes next of these */
    for (int64_t i = 0; i < lines; i++)
        for (int64_t k = 0; k < n; k++) part[i][k] = (float)(zeros ? w->zeros[first + i * G + k] : vm_quant_scale(w, first + i * G + k));
    dot8_many_turn((const uint8_t *)part, sizeof part[0], lines, n * (int64_t)sizeof(float), (uint32_t(*)[DOT8_MANY_LINES])(void *)to);
}

/* all[m] = rows n0 .. n0 + lines of the weight times row m of x, of which there are M. */
static void many_rows(const few *f, int64_t n0, int64_t lines, int M, dot8_sums_of *all) {
    const vm_quant_weight *w = &f->w;
    const int64_t columns = dot8_columns(w->kind), per = w->kind == VM_INT8 ? 1 : 2, row = w->K / per, G = (w->K + w->block - 1) / w->block;
    __attribute__((aligned(64))) dot8_panel panel[2 * DOT8_BYTES / DOT8_GROUP];
    __attribute__((aligned(64))) dot8_sums_of sum[VM_ROUNDED_ROWS], s[BLOCKS], z[BLOCKS];
    memset(all, 0, (size_t)M * sizeof *all);
    for (int64_t k = 0; k < w->K; k += columns) {
        const uint8_t *codes = w->codes + (n0 * w->K + k) / per;
        dot8_many_panels(f->kind, codes, row, lines, VM_MIN((int64_t)DOT8_BYTES, (w->K - k) / per), f->table, panel);
        for (int64_t c = k, b; c < VM_MIN(k + columns, w->K); c += DOT8_GROUP) {
            const dot8_x *x = f->many + c / DOT8_GROUP * M;
            for (int64_t i = (c - k) / DOT8_GROUP; i < lines; i += columns / DOT8_GROUP) /* what comes next in these columns */
                __builtin_prefetch(codes + (lines + i) * row);
            dot8_many_group(f->way, panel[(c - k) / DOT8_GROUP], M, x, c % w->block == 0, sum);
            if ((c + DOT8_GROUP) % w->block && c + DOT8_GROUP < w->K) continue;
            b = c / w->block;
            if (b % BLOCKS == 0) {
                block_numbers(w, false, n0, lines, b, VM_MIN(G - b, (int64_t)BLOCKS), s);
                if (w->zeros) block_numbers(w, true, n0, lines, b, VM_MIN(G - b, (int64_t)BLOCKS), z);
            }
            dot8_many_block(M, x, s[b % BLOCKS], w->zeros ? z[b % BLOCKS] : NULL, sum, all);
        }
    }
}

static void run_many(const few *f, const lq_product *p, int64_t first, int64_t M) {
    const int64_t N = f->w.N, K = f->w.K;
    const vm_value *y = p->y, *x = p->x;
#pragma omp parallel if (N * K > VM_PAR_MIN)
    {
#pragma omp for schedule(static)
        for (int64_t m = 0; m < M; m++)
            for (int64_t k = 0; k < K; k += VM_CHUNK) {
                vm_real tmp[VM_CHUNK];
                int64_t now = VM_MIN((int64_t)VM_CHUNK, K - k);
                dot8_many_place(f->kind, vm_row(x->data, x->type, (first + m) * K + k, now, tmp), k, now, f->w.block, M, m, f->many);
            }
#pragma omp for schedule(static)
        for (int64_t n0 = 0; n0 < N; n0 += DOT8_MANY_LINES) {
            __attribute__((aligned(64))) dot8_sums_of all[VM_ROUNDED_ROWS];
            const int64_t lines = VM_MIN((int64_t)DOT8_MANY_LINES, N - n0);
            many_rows(f, n0, lines, (int)M, all);
            for (int64_t m = 0; m < M; m++) {
                const int64_t at = (first + m) * N + n0;
                vm_real tmp[DOT8_MANY_LINES], *to = vm_row_into(y->data, y->type, at, tmp, p->add);
                for (int64_t i = 0; i < lines; i++) to[i] = (vm_real)all[m][i] + (p->bias ? p->bias[n0 + i] : 0);
                vm_row_done(y->data, y->type, at, lines, to, p->add);
            }
        }
    }
}

void VM_KERNEL(lq_rounded_rows)(const lq_product *p, int64_t first, int64_t M) {
    few f = { .w = p->w, .x = p->room };
    const int64_t N = f.w.N, blocks = (M + DOT8_ROWS - 1) / DOT8_ROWS;
    const vm_value *y = p->y;
    f.kind = (dot8_kind){ f.w.kind, f.w.zeros != NULL }, f.way = dot8_best();
    f.x_room = dot8_registers(f.w.kind, f.w.K) * dot8_lines(f.w.kind) * DOT8_BYTES;
    make_table(&f);
    if (M >= DOT8_MANY && !p->deterministic && dot8_many_fits(f.w.K, f.w.block)) {
        f.many = (dot8_x *)(void *)f.x;
        run_many(&f, p, first, M);
        return;
    }
#pragma omp parallel if (N * f.w.K > VM_PAR_MIN)
    {
#pragma omp for schedule(static)
        for (int64_t m = 0; m < blocks * DOT8_ROWS; m++) {
            int64_t m0 = m / DOT8_ROWS * DOT8_ROWS;
            int T = together(M - m0), at = (int)(m - m0);
            if (at < T) place(&f, p->x, first + m, m < M, T, at, f.x + m0 * f.x_room);
        }
#pragma omp for schedule(static)
        for (int64_t n0 = 0; n0 < N; n0 += LINES)
            for (int64_t m0 = 0; m0 < M; m0 += DOT8_ROWS) {
                __attribute__((aligned(64))) float sum[LINES][DOT8_ROWS][DOT8_LANES];
                int64_t lines = VM_MIN((int64_t)LINES, N - n0);
                int now = (int)VM_MIN((int64_t)DOT8_ROWS, M - m0), T = together(now);
                dots(&f, n0, lines, T, f.x + m0 * f.x_room, sum);
                for (int m = 0; m < now; m++) {
                    const int64_t at = (first + m0 + m) * N + n0;
                    vm_real tmp[LINES], *to = vm_row_into(y->data, y->type, at, tmp, p->add);
                    for (int64_t i = 0; i < lines; i++) to[i] = dot8_total(sum[i][m]) + (p->bias ? p->bias[n0 + i] : 0);
                    vm_row_done(y->data, y->type, at, lines, to, p->add);
                }
            }
    }
}

vm_status VM_KERNEL(linear_q8_cpu)(vm_graph *g, vm_node *n) {
    lq_product p = { .w = lq_weight(g, n), .x = &g->v[n->in[LQ_X]], .y = &g->v[n->out[0]], .bias = vm_in(g, n, LQ_BIAS), .add = vm_adds(g, n, 0),
                     .deterministic = g->deterministic, .room = vm_o(g, n, 1) };
    VM_KERNEL(lq_rounded_rows)(&p, 0, vm_rows(g, n->in[LQ_X]));
    return VM_OK;
}
