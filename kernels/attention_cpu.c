/* attention_cpu.c - the forward pass on the CPU (formulas: attention.c).
 *
 * A task is one block of queries of one head. It walks over tiles of keys (attention_tile.h): K transposed and V are copied
 * into tiles (which also converts bf16 and f16 and pads), then groups of MR queries do S, softmax and P V while their scores
 * stay in the first-level cache. Up to some hundred keys are one tile and never rescaled. bf16 tensors are multiplied as such
 * where the processor can (tile_bf16.h), else converted by the tiles. Tile borders depend on the shape alone, and a row is
 * summed by one thread: results do not depend on threads. Few queries: attention_few_cpu.c. */
#include "kernels/attention_tile.h"

/* The elements of a tile of output. */
enum { Y_ELEMENTS = 16384, MAX_QUERIES = 256 };

typedef struct {
    attn_tile k;
    uint16_t p[MR * ATTN_TILE_KEYS]; /* P in bf16 */
    TILE y[Y_ELEMENTS];              /* [queries][HSp] */
    TILE m[MAX_QUERIES], l[MAX_QUERIES];
    TILE s[MR * ATTN_TILE_KEYS];     /* scores of one group of queries */
} scratch;

static int64_t keys_per_tile(int64_t HSp) { return VM_MIN(ATTN_TILE_ELEMENTS / HSp / 16 * 16, (int64_t)ATTN_TILE_KEYS); }
static int64_t queries_per_block(int64_t HSp) { return VM_MIN(Y_ELEMENTS / HSp, (int64_t)MAX_QUERIES); }

/* t->s = raw scores of m queries from row i on, columns [c0,np) of the tile */
static void scores(const attn_call *a, scratch *t, int64_t b, int64_t h, int64_t i, int m, int64_t c0, int64_t np) {
    TILE wide[MR * ATTN_MAX_HS];
    int64_t at = attn_at(a, &a->q, b, h, i);
    if (t->k.bf16) {
        attn_scores(a, &t->k, m, (const uint16_t *)a->q.p + at, a->q.row, c0, np, t->s);
    } else if (a->q.type == VM_F32) {
        attn_scores(a, &t->k, m, (const vm_real *)a->q.p + at, a->q.row, c0, np, t->s);
    } else {
        tile_rows(wide, ATTN_MAX_HS, a->q.p, a->q.type, at, a->q.row, m, a->HS);
        attn_scores(a, &t->k, m, wide, ATTN_MAX_HS, c0, np, t->s);
    }
}

/* One tile of keys for all queries q0 .. q0 + nq of the block. */
static void attend(const attn_call *a, scratch *t, int64_t b, int64_t h, int64_t q0, int64_t nq) {
    int64_t HSp = round_lanes(a->HS);
    for (int64_t r = 0; r < nq;) {
        int m = next_rows(nq - r);
        int64_t lo = VM_MAX(attn_lo(a, q0 + r) - t->k.k0, (int64_t)0),
                hi = VM_MIN(attn_hi(a, q0 + r + m - 1) - t->k.k0, t->k.n);
        attn_prefetch(a, b, h, q0 + r, q0 + r + m, MAX_QUERIES);
        if (lo < hi) {
            int64_t c0 = lo / LANES * LANES, np = round_lanes(hi);
            scores(a, t, b, h, q0 + r, m, c0, np);
            for (int64_t k = r; k < r + m; k++)
                attn_softmax(a, &t->k, b, h, q0 + k, c0, np, t->s + (k - r) * ATTN_TILE_KEYS, &t->m[k], &t->l[k], t->y + k * HSp);
            attn_add_values(a, &t->k, m, c0, hi, t->s, t->p, t->y + r * HSp);
        }
        r += m;
    }
}

static void run_block(const attn_call *a, int64_t b, int64_t h, int64_t q0, int64_t nq, vm_real *lse) {
    scratch t;
    int64_t HSp = round_lanes(a->HS), lo = attn_lo(a, q0), hi = attn_hi(a, q0 + nq - 1),
            n = VM_MAX(hi - lo, (int64_t)0);
    int64_t most = keys_per_tile(HSp), tiles = (n + most - 1) / most;
    int64_t per_tile = tiles ? ((n + tiles - 1) / tiles + 15) / 16 * 16 : 1;
    t.k.bf16 = attn_in_bf16(a);
    memset(t.y, 0, (size_t)(nq * HSp) * sizeof *t.y);
    for (int64_t r = 0; r < nq; r++) t.m[r] = -(vm_real)INFINITY, t.l[r] = 0;
    for (int64_t k0 = lo; k0 < hi; k0 += per_tile) {
        attn_load_keys(a, &t.k, b, h / (a->NH / a->NKV), k0, VM_MIN(per_tile, hi - k0));
        attend(a, &t, b, h, q0, nq);
    }
    for (int64_t r = 0; r < nq; r++) attn_end_row(a, b, h, q0 + r, t.y + r * HSp, t.m[r], t.l[r], lse);
}

/* What the kernels below rely on: lengths within the keys, pages that exist where tokens are, first keys that do not fall. */
static vm_status check_keys(vm_graph *g, const attn_call *a) {
    for (int64_t b = 0; b < a->B; b++) {
        int64_t len = a->lengths ? a->lengths[b] : a->Tk;
        if (len < 0 || len > a->Tk)
            return vm_fail(&g->err, VM_EINPUT, "attention: length %lld of sequence %lld, there are 0 to %lld keys",
                           (long long)len, (long long)b, (long long)a->Tk);
        for (int64_t p = 0; a->pages && p * a->block < len; p++)
            if (a->pages[b * a->n_pages + p] < 0 || a->pages[b * a->n_pages + p] >= a->P)
                return vm_fail(&g->err, VM_EINPUT, "attention: page %d of sequence %lld, there are %lld pages",
                               (int)a->pages[b * a->n_pages + p], (long long)b, (long long)a->P);
        for (int64_t i = 1; a->firsts && i < a->Tq; i++)
            if (a->firsts[b * a->Tq + i] < a->firsts[b * a->Tq + i - 1])
                return vm_fail(&g->err, VM_EINPUT,
                               "attention: first key %d of query %lld of sequence %lld, after %d of the query before it",
                               (int)a->firsts[b * a->Tq + i], (long long)i, (long long)b,
                               (int)a->firsts[b * a->Tq + i - 1]);
    }
    return VM_OK;
}

vm_status VM_KERNEL(attention_cpu)(vm_graph *g, vm_node *n) {
    attn_call a = attn_of(g, n);
    if (check_keys(g, &a)) return g->err.status;
    int64_t most = queries_per_block(round_lanes(a.HS)), blocks = (a.Tq + most - 1) / most;
    int64_t per_block = blocks ? (a.Tq + blocks - 1) / blocks : 1, tasks = a.B * a.NH * blocks;
    double work = (double)tasks * (double)per_block * (double)a.Tk * (double)a.HS;
    vm_real *lse = vm_o(g, n, 1);
    a.y = (attn_rows){ vm_o(g, n, 0), g->v[n->out[0]].type, 0, a.NH * a.HS, a.Tq };
    if (attn_few(&a)) {
        VM_KERNEL(attention_few)(&a, lse);
        return VM_OK;
    }
    /* the heads of one batch together where there are enough: they share pages */
    int chunk = (int)(a.B >= 4 * vm_num_threads() ? a.NH * blocks : 1);
#pragma omp parallel for schedule(dynamic, chunk) if (work > VM_PAR_MIN)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t q0 = task % blocks * per_block, bh = task / blocks;
        attn_call one = attn_batch(&a, bh / a.NH);
        if (q0 < a.Tq) run_block(&one, bh / a.NH, bh % a.NH, q0, VM_MIN(per_block, a.Tq - q0), lse);
    }
    return VM_OK;
}
