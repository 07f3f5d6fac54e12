/* attention_cpu.c - the forward pass on the CPU (formulas: attention.c).
 *
 * A task is one block of queries of one head. It walks over tiles of keys: K transposed and V are copied into tiles
 * (which also converts bf16 and f16 and pads), then groups of MR queries do S, softmax and P V while their scores
 * stay in the first-level cache. Row maximum m and sum l are carried from tile to tile and the output so far is
 * rescaled when m grows; up to some hundred keys are one tile and never rescaled. Scores are kept times log2(e), so that
 * 2^x serves. bf16 tensors are multiplied as such where the processor can (tile_bf16.h), else converted by the tiles.
 * Tile borders depend on the shape alone, and a row is summed by one thread: results do not depend on threads. */
#include "kernels/attention.h"
#include "kernels/tile_bf16.h"

/* The elements of a K or V tile, of an output tile; a tile of keys holds at most MAX_KEYS. */
enum { KV_ELEMENTS = 20480, Y_ELEMENTS = 16384, MAX_KEYS = 512, MAX_QUERIES = 256 };

static const vm_real LOG2E = (vm_real)1.44269504088896340736, LN2 = (vm_real)0.69314718055994530942;

typedef struct {
    bool bf16;          /* kt, v and p are for the products of tile_bf16.h */
    int64_t k0, n, ld;  /* first key, number, padded number */
    TILE kt[KV_ELEMENTS];       /* K^T [HSp][ld] */
    TILE v[KV_ELEMENTS];        /* V [n][HSp] */
    uint16_t p[MR * MAX_KEYS];  /* P in bf16 */
    TILE hide[MAX_KEYS];        /* 0, or -inf for hidden and padding keys */
    TILE y[Y_ELEMENTS];         /* sum of P V [queries][HSp] */
    TILE m[MAX_QUERIES], l[MAX_QUERIES];
    TILE s[MR * MAX_KEYS];      /* scores of one group of queries */
    TILE tmp[LANES * ATTN_MAX_HS];
    TILE page[2][KV_ELEMENTS];  /* rows of K and V brought together from their pages */
} scratch;

static int64_t keys_per_tile(int64_t HSp) { return VM_MIN(KV_ELEMENTS / HSp / 16 * 16, (int64_t)MAX_KEYS); }
static int64_t queries_per_block(int64_t HSp) { return VM_MIN(Y_ELEMENTS / HSp, (int64_t)MAX_QUERIES); }

/* Rows k0 .. k0 + n of one head of x, which lie in pages, one after the other in `to`. */
static attn_rows from_pages(const attn_call *a, const attn_rows *x, int64_t b, int64_t kv_head, int64_t k0, int64_t n,
                            vm_real *to) {
    size_t size = x->type == VM_F32 ? sizeof(vm_real) : 2, bytes = (size_t)a->HS * size;
    for (int64_t j = 0; j < n; j++) {
        int64_t page = a->pages[b * a->n_pages + (k0 + j) / a->block], row = page * a->block + (k0 + j) % a->block;
        memcpy((char *)to + (size_t)j * bytes, (const char *)x->p + (size_t)(kv_head * a->HS + row * x->row) * size, bytes);
    }
    return (attn_rows){ to, x->type, 0, a->HS, n };
}

static void load_keys(const attn_call *a, scratch *t, int64_t b, int64_t kv_head, int64_t k0, int64_t n) {
    int64_t HSp = round_lanes(a->HS), ld = round_lanes(n), at_k = 0, at_v = 0;
    attn_rows k = a->k, v = a->v;
    if (a->pages) {
        k = from_pages(a, &a->k, b, kv_head, k0, n, t->page[0]), v = from_pages(a, &a->v, b, kv_head, k0, n, t->page[1]);
    } else {
        at_k = attn_at(a, &k, b, kv_head, k0), at_v = attn_at(a, &v, b, kv_head, k0);
    }
    t->k0 = k0, t->n = n, t->ld = ld;
    for (int64_t j = 0; j < n; j += LANES) {
        int64_t rows = VM_MIN((int64_t)LANES, n - j), at = at_k + j * k.row;
        if (t->bf16) {
            bf16_transpose(t->kt + j, ld, k.p, at, k.row, rows, a->HS, t->tmp);
            continue;
        }
        tile_rows(t->tmp, HSp, k.p, k.type, at, k.row, rows, a->HS);
        if (rows < LANES) memset(t->tmp + rows * HSp, 0, (size_t)((LANES - rows) * HSp) * sizeof *t->tmp);
        tile_transpose(t->kt + j, ld, t->tmp, HSp, LANES, HSp);
    }
    if (t->bf16) bf16_pair_rows(t->v, HSp, v.p, at_v, v.row, n, a->HS);
    else tile_rows(t->v, HSp, v.p, v.type, at_v, v.row, n, a->HS);
    for (int64_t j = 0; j < ld; j++)
        t->hide[j] = j < n && (!a->mask || a->mask[b * a->Tk + k0 + j]) ? 0 : -(vm_real)INFINITY;
}

/* s [m][ld] columns [c0,np) of raw products -> P relative to the new row maximum; rescales y and l of the m rows. */
static void softmax_rows(const attn_call *a, scratch *t, int64_t b, int64_t h, int64_t i0, int64_t r0, int m,
                         int64_t c0, int64_t np) {
    int64_t HSp = round_lanes(a->HS);
    for (int r = 0; r < m; r++) {
        vm_real *s = t->s + r * MAX_KEYS, c = (vm_real)a->scale * LOG2E;
        int64_t i = i0 + r, lo = VM_MAX(attn_lo(a, i) - t->k0, c0),
                hi = a->causal ? VM_MIN(attn_hi(a, i) - t->k0, np) : np;
        if (a->softcap > 0) {
            vm_real cap = (vm_real)a->softcap, in = (vm_real)(a->scale / a->softcap);
#pragma omp simd
            for (int64_t j = c0; j < np; j++) s[j] = cap * LOG2E * vm_tanh(s[j] * in);
            c = 1;
        }
        if (a->bias) {
            const vm_real *bias = a->bias + b * a->bias_b + h * a->bias_h + i * a->Tk + t->k0;
            int64_t end = VM_MIN(np, t->n);
#pragma omp simd
            for (int64_t j = c0; j < end; j++) s[j] = s[j] * c + bias[j] * LOG2E;
            c = 1;
        }
        for (int64_t j = c0; j < lo; j++) s[j] = -(vm_real)INFINITY;
        for (int64_t j = VM_MAX(hi, c0); j < np; j++) s[j] = -(vm_real)INFINITY;
        vec largest = vec_all(-(vm_real)INFINITY);
        for (int64_t j = c0; j < np; j += LANES) {
            vec x = vec_load(s + j) * c + vec_load(t->hide + j);
            vec_store(s + j, x);
            largest = vec_max(largest, x);
        }
        vm_real old = t->m[r0 + r], new = vec_largest(largest);
        new = new > old ? new : old;
        vm_real base = new == -(vm_real)INFINITY ? 0 : new; /* all hidden so far: exp2(-inf) = 0 */
        vec sum = vec_all(0);
        for (int64_t j = c0; j < np; j += LANES) {
            vec p = vec_exp2(vec_load(s + j) - base);
            vec_store(s + j, p);
            sum += p;
        }
        if (new > old && old != -(vm_real)INFINITY) {
            vm_real f = vec_exp2(vec_all(old - new))[0], *y = t->y + (r0 + r) * HSp;
            t->l[r0 + r] *= f;
            for (int64_t d = 0; d < HSp; d += LANES) vec_store(y + d, vec_load(y + d) * f);
        }
        t->m[r0 + r] = new;
        t->l[r0 + r] += vec_sum(sum);
    }
}

/* t->s = raw scores of m queries from row i on, columns [c0,np) of the tile */
static void scores(const attn_call *a, scratch *t, int64_t b, int64_t h, int64_t i, int m, int64_t c0, int64_t np) {
    TILE wide[MR * ATTN_MAX_HS];
    int64_t at = attn_at(a, &a->q, b, h, i), row = a->q.row;
    const vm_real *kt = t->kt + c0, *q = (const vm_real *)a->q.p + at;
    if (t->bf16) {
        bf16_mul_rows(m, np - c0, a->HS / 2, (const uint16_t *)a->q.p + at, row, kt, t->ld, t->s + c0, MAX_KEYS, false);
        return;
    }
    if (a->q.type != VM_F32) {
        tile_rows(wide, ATTN_MAX_HS, a->q.p, a->q.type, at, row, m, a->HS);
        q = wide, row = ATTN_MAX_HS;
    }
    tile_mul_rows(m, np - c0, a->HS, q, row, 1, kt, t->ld, t->s + c0, MAX_KEYS, false);
}

/* y += P V for m queries from row r of the block on, columns [c0,hi) of P */
static void add_values(const attn_call *a, scratch *t, int64_t r, int m, int64_t c0, int64_t hi) {
    int64_t HSp = round_lanes(a->HS);
    vm_real *y = t->y + r * HSp;
    if (t->bf16) {
        bf16_round_rows(t->p, MAX_KEYS, t->s + c0, MAX_KEYS, m, round_lanes(hi) - c0);
        bf16_mul_rows(m, HSp, (hi - c0 + 1) / 2, t->p, MAX_KEYS, t->v + c0 / 2 * HSp, HSp, y, HSp, true);
    } else {
        tile_mul_rows(m, HSp, hi - c0, t->s + c0, MAX_KEYS, 1, t->v + c0 * HSp, HSp, y, HSp, true);
    }
}

/* One tile of keys for all queries q0 .. q0 + nq of the block. */
static void attend(const attn_call *a, scratch *t, int64_t b, int64_t h, int64_t q0, int64_t nq) {
    for (int64_t r = 0; r < nq;) {
        int m = next_rows(nq - r);
        int64_t lo = VM_MAX(attn_lo(a, q0 + r) - t->k0, (int64_t)0),
                hi = VM_MIN(attn_hi(a, q0 + r + m - 1) - t->k0, t->n);
        attn_prefetch(a, b, h, q0 + r, q0 + r + m, MAX_QUERIES);
        if (lo < hi) {
            int64_t c0 = lo / LANES * LANES, np = round_lanes(hi);
            scores(a, t, b, h, q0 + r, m, c0, np);
            softmax_rows(a, t, b, h, q0 + r, r, m, c0, np);
            add_values(a, t, r, m, c0, hi);
        }
        r += m;
    }
}

static void store(const attn_call *a, const scratch *t, int64_t b, int64_t h, int64_t q0, int64_t nq, vm_real *lse) {
    int64_t HSp = round_lanes(a->HS);
    for (int64_t r = 0; r < nq; r++) {
        vm_real tmp[ATTN_MAX_HS], f = t->l[r] > 0 || t->l[r] != t->l[r] ? 1 / t->l[r] : 0;
        int64_t at = attn_at(a, &a->y, b, h, q0 + r);
        const vm_real *restrict x = t->y + r * HSp;
        vm_real *restrict o = vm_row_begin(a->y.p, a->y.type, at, tmp);
#pragma omp simd
        for (int64_t c = 0; c < a->HS; c++) o[c] = x[c] * f;
        vm_row_end(a->y.p, a->y.type, at, a->HS, o);
    }
    lse += (b * a->NH + h) * a->Tq + q0;
    for (int64_t r = 0; r < nq; r++) lse[r] = t->m[r] * LN2 + (vm_real)log((double)t->l[r]);
}

static void run_block(const attn_call *a, int64_t b, int64_t h, int64_t q0, int64_t nq, vm_real *lse) {
    scratch t;
    int64_t HSp = round_lanes(a->HS), lo = attn_lo(a, q0), hi = attn_hi(a, q0 + nq - 1),
            n = VM_MAX(hi - lo, (int64_t)0);
    int64_t most = keys_per_tile(HSp), tiles = (n + most - 1) / most;
    int64_t per_tile = tiles ? ((n + tiles - 1) / tiles + 15) / 16 * 16 : 1;
    t.bf16 =
        tile_bf16_usable() && a->q.type == VM_BF16 && a->k.type == VM_BF16 && a->v.type == VM_BF16 && a->HS % 2 == 0;
    memset(t.y, 0, (size_t)(nq * HSp) * sizeof *t.y);
    for (int64_t r = 0; r < nq; r++) t.m[r] = -(vm_real)INFINITY, t.l[r] = 0;
    for (int64_t k0 = lo; k0 < hi; k0 += per_tile) {
        load_keys(a, &t, b, h / (a->NH / a->NKV), k0, VM_MIN(per_tile, hi - k0));
        attend(a, &t, b, h, q0, nq);
    }
    store(a, &t, b, h, q0, nq, lse);
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
