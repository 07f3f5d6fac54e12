/* attention_few_cpu.c - the forward pass on the CPU for few queries of each sequence (decoding): what counts there is how often a key is
 * brought into a tile.
 *
 * A task is some key/value heads with rows of all their query heads and of as many sequences as threads allow. It walks over tiles of keys,
 * and each one serves all rows that see it: the query heads of a group, and where sequences have the same pages (a prompt's beginning
 * that they share, llm_seq_fork) the rows of all of these. Tiles begin at the same keys whoever shares them, and what happens to a row is
 * that of attention_tile.h: its bits depend neither on the other sequences, nor on what it shares with them, nor on threads. */
#include "kernels/attention_tile.h"

/* Rows of a task and their elements; elements and keys of a tile, which lies in the first-level cache. */
enum { ROWS = 512, ROW_ELEMENTS = 32768, ELEMENTS = 16384, KEYS = 128 };

/* Query i of head h of sequence b. */
typedef struct {
    int32_t b, h, i;
} row;

/* Rows row .. row + rows of sequence b, of each key/value head, which see nothing outside the keys [lo,hi). */
typedef struct {
    int64_t b, row, rows, lo, hi;
} sequence;

typedef struct {
    attn_call a;  /* with length and first keys of the sequence that see() was called for */
    attn_tile k;
    int64_t kv_head, kv_heads, rows, sequences; /* the first key/value head; rows of all of them, one after the other */
    int64_t soon_b, soon_head, soon, soon_end, soon_each; /* keys [soon,soon_end) come next, and so many are asked for with each row */
    row row[ROWS];
    sequence of[ROWS];
    TILE q[ROW_ELEMENTS], y[ROW_ELEMENTS]; /* [rows][HSp]; q in bf16 where the tiles are */
    TILE m[ROWS], l[ROWS], s[MR * ATTN_TILE_KEYS];
    uint16_t p[MR * ATTN_TILE_KEYS];
} task;

/* The length and the first keys of sequence b (attn_batch). */
static void see(task *t, const attn_call *all, int64_t b) {
    if (all->lengths) t->a.len = all->lengths[b];
    if (all->firsts) t->a.first = all->firsts + b * all->Tq;
}

/* Keys lie in pages, which the processor's own prefetchers do not follow. */
static void ask_ahead(task *t) {
    const attn_call *a = &t->a;
    const int64_t size = a->k.type == VM_F32 ? sizeof(vm_real) : 2, bytes = a->HS * size;
    for (int64_t end = VM_MIN(t->soon + t->soon_each, t->soon_end), rows; t->soon < end; t->soon += rows) {
        int64_t first = t->soon_b * a->k.T + t->soon, in_page = a->pages ? t->soon % a->block : 0;
        if (a->pages) first = a->pages[t->soon_b * a->n_pages + t->soon / a->block] * a->block + in_page;
        rows = a->pages ? VM_MIN(end - t->soon, a->block - in_page) : end - t->soon;
        const char *k = (const char *)a->k.p + (a->k.at + t->soon_head * a->HS + first * a->k.row) * size;
        const char *v = (const char *)a->v.p + (a->v.at + t->soon_head * a->HS + first * a->v.row) * size;
        for (int64_t j = 0; j < rows; j++, k += a->k.row * size, v += a->v.row * size)
            for (int64_t c = 0; c < bytes; c += 64) __builtin_prefetch(k + c, 0, 2), __builtin_prefetch(v + c, 0, 2);
    }
}

/* The tile for m rows from r on. */
static void attend_rows(task *t, const attn_call *all, int64_t r, int m) {
    const attn_call *a = &t->a;
    int64_t HSp = round_lanes(a->HS), lo = t->k.n, hi = 0;
    const row *x = t->row + r;
    for (int k = 0; k < m; k++) {
        see(t, all, x[k].b);
        lo = VM_MIN(lo, VM_MAX(attn_lo(a, x[k].i) - t->k.k0, (int64_t)0));
        hi = VM_MAX(hi, VM_MIN(attn_hi(a, x[k].i) - t->k.k0, t->k.n));
    }
    if (lo >= hi) return;
    int64_t c0 = lo / LANES * LANES, np = round_lanes(hi);
    attn_scores(a, &t->k, m, t->k.bf16 ? (const void *)((const uint16_t *)t->q + r * HSp) : t->q + r * HSp, HSp, c0, np, t->s);
    for (int k = 0; k < m; k++) {
        see(t, all, x[k].b);
        ask_ahead(t);
        if (a->mask && (k == 0 || x[k].b != x[k - 1].b)) attn_hide(a, &t->k, x[k].b);
        attn_softmax(a, &t->k, x[k].b, x[k].h, x[k].i, c0, np, t->s + k * ATTN_TILE_KEYS, &t->m[r + k], &t->l[r + k], t->y + (r + k) * HSp);
    }
    attn_add_values(a, &t->k, m, c0, hi, t->s, t->p, t->y + r * HSp);
}

/* Keys of a sequence from k0 on in a tile of at most `most`; 0 = none that it sees. */
static int64_t keys_of(const sequence *s, int64_t k0, int64_t most) {
    return s->lo < k0 + most ? VM_MAX(VM_MIN(s->hi - k0, most), (int64_t)0) : 0;
}

/* Whether n keys from k0 on are the same ones in memory. */
static bool same_keys(const attn_call *a, int64_t b, int64_t c, int64_t k0, int64_t n) {
    if (!a->pages) return b == c;
    int64_t first = k0 / a->block, last = (k0 + n - 1) / a->block;
    return !memcmp(a->pages + b * a->n_pages + first, a->pages + c * a->n_pages + first, (size_t)(last - first + 1) * sizeof *a->pages);
}

/* What comes behind key/value head kv of the tile of n keys from k0 on of sequence number s. */
static void look_ahead(task *t, const attn_call *all, const bool *done, int64_t s, int64_t kv, int64_t k0, int64_t n, int64_t most) {
    int64_t c = s, m = n;
    if (++kv == t->kv_heads) {
        for (kv = 0, c = s + 1; c < t->sequences && (done[c] || !(m = keys_of(&t->of[c], k0, most)));) c++;
        if (c == t->sequences)
            for (c = 0, k0 += most; c < t->sequences && !(m = keys_of(&t->of[c], k0, most));) c++;
    }
    t->soon = t->soon_end = 0;
    if (c < t->sequences) t->soon_b = t->of[c].b, t->soon_head = t->kv_head + kv, t->soon = k0, t->soon_end = k0 + m;
}

/* The tile of keys from k0 on: those of a sequence are loaded when they are needed first, and serve all that have the same. */
static void walk(task *t, const attn_call *all, int64_t k0, int64_t most) {
    bool done[ROWS] = { false };
    for (int64_t s = 0; s < t->sequences; s++) {
        const int64_t b = t->of[s].b, n = keys_of(&t->of[s], k0, most);
        bool has[ROWS];
        if (done[s] || !n) continue;
        for (int64_t c = s; c < t->sequences; c++) {
            has[c] = keys_of(&t->of[c], k0, most) == n && same_keys(all, b, t->of[c].b, k0, n);
            done[c] |= has[c];
        }
        for (int64_t kv = 0; kv < t->kv_heads; kv++) {
            attn_load_keys(all, &t->k, b, t->kv_head + kv, k0, n);
            look_ahead(t, all, done, s, kv, k0, n, most);
            for (int64_t c = s; c < t->sequences; c++) {
                int64_t r = t->of[c].row + kv * t->rows / t->kv_heads, end = r;
                for (; c < t->sequences && has[c]; c++) end += t->of[c].rows;
                t->soon_each = KEYS / VM_MAX(end - r, (int64_t)1) + 1;
                for (int m; r < end; r += m) {
                    m = next_rows(end - r);
                    attend_rows(t, all, r, m);
                }
            }
        }
    }
}

/* Rows of query heads [from,to), counted along the sequences, among those that read key/value head kv. */
static void begin_rows(task *t, const attn_call *all, int64_t kv, int64_t from, int64_t to) {
    const int64_t G = all->NH / all->NKV, HSp = round_lanes(all->HS);
    for (int64_t u = from; u < to; u++) {
        const int64_t b = u / G, h = kv * G + u % G, at = attn_at(all, &all->q, b, h, 0);
        for (int64_t i = 0; i < all->Tq && t->k.bf16; i++)
            memcpy((uint16_t *)t->q + (t->rows + i) * HSp, (const uint16_t *)all->q.p + at + i * all->q.row, (size_t)all->HS * 2);
        if (!t->k.bf16) tile_rows(t->q + t->rows * HSp, HSp, all->q.p, all->q.type, at, all->q.row, all->Tq, all->HS);
        for (int64_t i = 0; i < all->Tq; i++) t->row[t->rows++] = (row){ (int32_t)b, (int32_t)h, (int32_t)i };
    }
}

/* Query heads [from,to) of each of the key/value heads [kv,end). */
static void run(const attn_call *all, int64_t kv, int64_t end, int64_t from, int64_t to, vm_real *lse) {
    task t;
    const int64_t G = all->NH / all->NKV, HSp = round_lanes(all->HS), most = VM_MIN(ELEMENTS / HSp / 16 * 16, (int64_t)KEYS);
    int64_t lo = all->Tk, hi = 0;
    t.a = *all, t.k.bf16 = attn_in_bf16(all), t.kv_head = kv, t.kv_heads = end - kv, t.rows = t.sequences = 0;
    for (; kv < end; kv++) begin_rows(&t, all, kv, from, to);
    for (int64_t u = from, next; u < to; u = next) {
        const int64_t b = u / G;
        next = VM_MIN((b + 1) * G, to);
        see(&t, all, b);
        sequence s = { b, (u - from) * all->Tq, (next - u) * all->Tq, attn_lo(&t.a, 0), attn_hi(&t.a, all->Tq - 1) };
        t.of[t.sequences++] = s, lo = VM_MIN(lo, s.lo), hi = VM_MAX(hi, s.hi);
    }
    memset(t.y, 0, (size_t)(t.rows * HSp) * sizeof *t.y);
    for (int64_t r = 0; r < t.rows; r++) t.m[r] = -(vm_real)INFINITY, t.l[r] = 0;
    for (int64_t k0 = lo / most * most; k0 < hi; k0 += most) walk(&t, all, k0, most);
    for (int64_t r = 0; r < t.rows; r++)
        attn_end_row(all, t.row[r].b, t.row[r].h, t.row[r].i, t.y + r * HSp, t.m[r], t.l[r], lse);
}

void VM_KERNEL(attention_few)(const attn_call *a, vm_real *lse) {
    const int64_t G = a->NH / a->NKV, heads = a->B * G, threads = vm_num_threads();
    if (!heads || !a->Tq) return;
    /* Key/value heads of a sequence together, whose keys lie beside each other, but as many parts as there are threads; as many sequences
     * together as there is room for, and parts of one where threads would have nothing. */
    const int64_t fit = VM_MIN((int64_t)ROWS, ROW_ELEMENTS / round_lanes(a->HS)) / a->Tq;
    const int64_t kv_each = VM_MAX(VM_MIN((a->NKV + threads - 1) / threads, fit / G), (int64_t)1);
    const int64_t kv_parts = (a->NKV + kv_each - 1) / kv_each, room = fit / kv_each;
    int64_t parts = VM_MAX((heads + room - 1) / room, (threads + kv_parts - 1) / kv_parts), each = (heads + parts - 1) / parts;
    if (each > G && room >= G) each = VM_MIN((each + G - 1) / G * G, room / G * G);
    parts = (heads + each - 1) / each;
    double work = (double)(heads * a->Tq * a->NKV) * (double)a->Tk * (double)a->HS;
#pragma omp parallel for schedule(dynamic, 1) if (work > VM_PAR_MIN)
    for (int64_t k = 0; k < kv_parts * parts; k++) {
        int64_t kv = k / parts * kv_each, from = k % parts * each;
        run(a, kv, VM_MIN(kv + kv_each, a->NKV), from, VM_MIN(from + each, heads), lse);
    }
}
