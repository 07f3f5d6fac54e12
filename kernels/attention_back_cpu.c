/* attention_back_cpu.c - the backward passes on the CPU (formulas: attention.c).
 *
 * A task is one key/value head: over tiles of keys, over its query heads, over tiles of queries. Scores are computed
 * transposed, a group of MR keys at a time (S^T = K Q^T, dP^T = V dY^T), so that lse and D lie along the lanes and
 * P^T and dS^T serve dV and dK at once, while in the first-level cache; dS^T of the whole tile is kept for dQ. dK and dV
 * stay in tiles; dQ is summed in the node's workspace when there are several tiles of keys. Nothing is summed across tasks: no
 * atomics, and results do not depend on threads.
 *
 * The gradient of a bias is a pass of its own (rarely wanted): a task is a block of its rows, and adds up what the bias
 * was broadcast over, in order. */
#include "kernels/attention.h"
#include "kernels/tile_bf16.h"

enum { LD = ATTN_BACK_ROWS };

static const vm_real LOG2E = (vm_real)1.44269504088896340736;

typedef struct {
    bool of_bias; /* dS is for the bias, which is added behind the cap of scores */
    bool bf16; /* k, q, dy, qt, dyt are for the products of tile_bf16.h: pairs of rows or of columns */
    int64_t k0, nk, q0, nq, nqp; /* keys and queries of the tile; padded number of queries */
    TILE k[ATTN_BACK_ELEMENTS], v[ATTN_BACK_ELEMENTS], dk[ATTN_BACK_ELEMENTS], dv[ATTN_BACK_ELEMENTS];   /* [nk][HSp] */
    TILE q[ATTN_BACK_ELEMENTS], dy[ATTN_BACK_ELEMENTS], dq[ATTN_BACK_ELEMENTS]; /* [nqp][HSp] */
    TILE qt[ATTN_BACK_ELEMENTS], dyt[ATTN_BACK_ELEMENTS];                       /* [HSp][nqp] */
    TILE lse[LD], d[LD];         /* lse times log2(e); +inf for rows without keys and padding: P = 0 */
    TILE slope[LD];              /* of the cap of scores, for one key */
    TILE p[MR * LD];             /* S^T, then P^T of one group of keys */
    TILE ds[LD * LD];            /* dP^T, then dS^T [nk][LD] */
    TILE block[LANES * ATTN_MAX_HS];
    uint16_t half[LANES * LD];   /* rows of P^T, dS^T or dS in bf16 */
} scratch;

static int64_t per_tile(int64_t n, int64_t most) { /* even tiles of a multiple of 16 */
    int64_t tiles = VM_MAX((n + most - 1) / most, (int64_t)1);
    return VM_MAX((n + tiles - 1) / tiles + 15, (int64_t)16) / 16 * 16;
}

static void load_keys(const attn_call *a, scratch *t, int64_t b, int64_t kv_head, int64_t k0, int64_t nk) {
    int64_t HSp = round_lanes(a->HS);
    t->k0 = k0, t->nk = nk;
    if (t->bf16) { /* as left factors the rows serve where they are */
        bf16_pair_rows(t->k, HSp, a->k.p, attn_at(a, &a->k, b, kv_head, k0), a->k.row, nk, a->HS);
        return;
    }
    tile_rows(t->k, HSp, a->k.p, a->k.type, attn_at(a, &a->k, b, kv_head, k0), a->k.row, nk, a->HS);
    tile_rows(t->v, HSp, a->v.p, a->v.type, attn_at(a, &a->v, b, kv_head, k0), a->v.row, nk, a->HS);
}

/* Rows x of the tile's queries, as they are and transposed. */
static void load_rows(const attn_call *a, scratch *t, const attn_rows *x, int64_t b, int64_t h, vm_real *rows,
                      vm_real *turned) {
    int64_t HSp = round_lanes(a->HS), at = attn_at(a, x, b, h, t->q0);
    if (t->bf16) {
        bf16_pair_rows(rows, HSp, x->p, at, x->row, t->nq, a->HS);
        for (int64_t i = 0; i < t->nq; i += LANES)
            bf16_transpose(turned + i, t->nqp, x->p, at + i * x->row, x->row, VM_MIN((int64_t)LANES, t->nq - i), a->HS,
                           t->block);
        return;
    }
    tile_rows(rows, HSp, x->p, x->type, at, x->row, t->nq, a->HS);
    memset(rows + t->nq * HSp, 0, (size_t)((t->nqp - t->nq) * HSp) * sizeof *rows);
    tile_transpose(turned, t->nqp, rows, HSp, t->nqp, HSp);
}

static void load_queries(const attn_call *a, scratch *t, const vm_real *lse, int64_t b, int64_t h, int64_t q0,
                         int64_t nq) {
    int64_t HSp = round_lanes(a->HS);
    t->q0 = q0, t->nq = nq, t->nqp = round_lanes(nq);
    load_rows(a, t, &a->q, b, h, t->q, t->qt);
    load_rows(a, t, &a->dy, b, h, t->dy, t->dyt);
    lse += (b * a->NH + h) * a->Tq + q0;
    for (int64_t i = 0; i < t->nqp; i++) {
        t->lse[i] = i < nq && lse[i] != -(vm_real)INFINITY ? lse[i] * LOG2E : (vm_real)INFINITY;
        t->d[i] = 0;
        if (i >= nq) continue;
        vm_real *y = t->block, *dy = t->block + HSp;
        vec sum = vec_all(0);
        tile_rows(y, HSp, a->y.p, a->y.type, attn_at(a, &a->y, b, h, q0 + i), 0, 1, a->HS);
        tile_rows(dy, HSp, a->dy.p, a->dy.type, attn_at(a, &a->dy, b, h, q0 + i), 0, 1, a->HS);
        for (int64_t c = 0; c < HSp; c += LANES) sum += vec_load(y + c) * vec_load(dy + c);
        t->d[i] = vec_sum(sum);
    }
}

/* Queries of the tile that see key j: [lo, hi), as rows of the tile. */
static int64_t query_lo(const attn_call *a, const scratch *t, int64_t j) {
    int64_t i = a->causal ? j - (a->len - a->Tq) - t->q0 : 0;
    return VM_MIN(VM_MAX(i, (int64_t)0), t->nq);
}
static int64_t query_hi(const attn_call *a, const scratch *t, int64_t j) {
    int64_t i = a->window ? j - (a->len - a->Tq) + a->window - t->q0 : t->nq;
    i = VM_MIN(VM_MAX(i, (int64_t)0), t->nq);
    if (!a->first) return i;
    int64_t lo = 0; /* queries below lo begin at j or before, those from i on see nothing of it */
    while (lo < i) {
        int64_t mid = (lo + i) / 2;
        if (a->first[t->q0 + mid] <= j) lo = mid + 1;
        else i = mid;
    }
    return lo;
}

/* P^T of keys j .. j+m (rows of the tile) into t->p, their dS^T into t->ds; queries [*c0, *c1) see them, the rest of
 * t->ds is 0. */
static void score_group(const attn_call *a, scratch *t, int64_t b, int64_t h, int64_t j, int m, int64_t *c0,
                        int64_t *c1) {
    int64_t HSp = round_lanes(a->HS), lo = query_lo(a, t, t->k0 + j), hi = query_hi(a, t, t->k0 + j + m - 1);
    int64_t begin = lo / LANES * LANES, end = lo < hi ? round_lanes(hi) : begin;
    vm_real *ds = t->ds + j * LD;
    *c0 = begin, *c1 = lo < hi ? hi : begin;
    for (int r = 0; r < m; r++) {
        memset(ds + r * LD, 0, (size_t)begin * sizeof *ds);
        memset(ds + r * LD + end, 0, (size_t)(t->nqp - end) * sizeof *ds);
    }
    if (begin == end) return;
    const vm_real *qt = t->qt + begin, *dyt = t->dyt + begin;
    if (t->bf16) {
        int64_t kv = h / (a->NH / a->NKV), pairs = a->HS / 2;
        const uint16_t *k = (const uint16_t *)a->k.p + attn_at(a, &a->k, b, kv, t->k0 + j);
        const uint16_t *v = (const uint16_t *)a->v.p + attn_at(a, &a->v, b, kv, t->k0 + j);
        bf16_mul_rows(m, end - begin, pairs, k, a->k.row, qt, t->nqp, t->p + begin, LD, false);
        bf16_mul_rows(m, end - begin, pairs, v, a->v.row, dyt, t->nqp, ds + begin, LD, false);
    } else {
        tile_mul_rows(m, end - begin, a->HS, t->k + j * HSp, HSp, 1, qt, t->nqp, t->p + begin, LD, false);
        tile_mul_rows(m, end - begin, a->HS, t->v + j * HSp, HSp, 1, dyt, t->nqp, ds + begin, LD, false);
    }
    for (int r = 0; r < m; r++) {
        int64_t key = t->k0 + j + r, from = query_lo(a, t, key), to = query_hi(a, t, key);
        vm_real c = (vm_real)a->scale * LOG2E, *s = t->p + r * LD, *x = ds + r * LD;
        if (a->mask && !a->mask[b * a->Tk + key]) to = from = begin;
        if (a->softcap > 0) { /* the slope of the cap multiplies dS */
            vm_real cap = (vm_real)a->softcap, in = (vm_real)(a->scale / a->softcap);
#pragma omp simd
            for (int64_t i = begin; i < end; i++) {
                vm_real th = vm_tanh(s[i] * in);
                s[i] = cap * LOG2E * th, t->slope[i] = 1 - th * th;
            }
            c = 1;
        }
        if (a->bias) {
            const vm_real *bias = a->bias + b * a->bias_b + h * a->bias_h + t->q0 * a->Tk + key;
            for (int64_t i = begin; i < *c1; i++) s[i] = s[i] * c + bias[i * a->Tk] * LOG2E;
            c = 1;
        }
        for (int64_t i = begin; i < from; i++) s[i] = -(vm_real)INFINITY;
        if (to < t->nq)
            for (int64_t i = VM_MAX(to, begin); i < end; i++) s[i] = -(vm_real)INFINITY;
        for (int64_t i = begin; i < end; i += LANES) {
            vec p = vec_exp2(vec_load(s + i) * c - vec_load(t->lse + i));
            vec_store(s + i, p);
            vec_store(x + i, p * (vec_load(x + i) - vec_load(t->d + i)));
        }
        if (a->softcap > 0 && !t->of_bias)
            for (int64_t i = begin; i < end; i += LANES) vec_store(x + i, vec_load(x + i) * vec_load(t->slope + i));
    }
}

/* n rows of a tile times f -> rows of one head, in their type */
static void store_rows(const attn_call *a, const attn_rows *to, int64_t b, int64_t h, int64_t t0, int64_t n,
                       const vm_real *tile, int64_t ld, vm_real f) {
    for (int64_t i = 0; i < n; i++) {
        vm_real tmp[ATTN_MAX_HS];
        int64_t at = attn_at(a, to, b, h, t0 + i);
        const vm_real *restrict x = tile + i * ld;
        vm_real *restrict y = vm_row_begin(to->p, to->type, at, tmp);
#pragma omp simd
        for (int64_t c = 0; c < a->HS; c++) y[c] = x[c] * f;
        vm_row_end(to->p, to->type, at, a->HS, y);
    }
}

/* --- dq, dk, dv ---------------------------------------------------------------------------------------------------- */
typedef struct {
    attn_rows dq, dk, dv; /* p is NULL where not wanted */
    const vm_real *lse;
    vm_real *sums;        /* dq of all heads [B*NH*Tq][sums_ld], or NULL: one tile of keys */
    int64_t sums_ld;
} gradients;

/* y [m][HSp] += x [m][queries c0 .. c1] rows: m rows of P^T or dS^T with dY or Q */
static void add_product(const attn_call *a, scratch *t, int m, const vm_real *x, const vm_real *rows, int64_t c0,
                        int64_t c1, vm_real *y) {
    int64_t HSp = round_lanes(a->HS);
    if (t->bf16) {
        bf16_round_rows(t->half, LD, x + c0, LD, m, round_lanes(c1) - c0);
        bf16_mul_rows(m, HSp, (c1 - c0 + 1) / 2, t->half, LD, rows + c0 / 2 * HSp, HSp, y, HSp, true);
    } else {
        tile_mul_rows(m, HSp, c1 - c0, x + c0, LD, 1, rows + c0 * HSp, HSp, y, HSp, true);
    }
}

/* dq [nq][ld] = [dq +] dS K. dS lies transposed, which only the bf16 product minds. */
static void query_gradient(const attn_call *a, scratch *t, vm_real *dq, int64_t ld, bool add) {
    int64_t HSp = round_lanes(a->HS), nkp = round_lanes(t->nk);
    if (t->bf16) memset(t->ds + t->nk * LD, 0, (size_t)((nkp - t->nk) * LD) * sizeof *t->ds);
    for (int64_t r = 0; r < t->nq;) {
        int m = next_rows(t->bf16 ? VM_MIN(t->nq - r, LANES - r % LANES) : t->nq - r);
        int64_t lo = VM_MAX(attn_lo(a, t->q0 + r) - t->k0, (int64_t)0),
                hi = VM_MIN(attn_hi(a, t->q0 + r + m - 1) - t->k0, t->nk);
        lo = VM_MIN(lo, t->nk) / 2 * 2, hi = VM_MAX(hi, lo);
        if (t->bf16) {
            if (r % LANES == 0) {
                tile_transpose(t->block, LD, t->ds + r, LD, nkp, LANES);
                bf16_round_rows(t->half, LD, t->block, LD, LANES, nkp);
            }
            bf16_mul_rows(m, HSp, (hi - lo + 1) / 2, t->half + r % LANES * LD + lo, LD, t->k + lo / 2 * HSp, HSp,
                          dq + r * ld, ld, add);
        } else {
            tile_mul_rows(m, HSp, hi - lo, t->ds + lo * LD + r, 1, LD, t->k + lo * HSp, HSp, dq + r * ld, ld, add);
        }
        r += m;
    }
}

/* One tile: adds to dk and dv, and makes the tile's share of dq. */
static void run_tile(const attn_call *a, const gradients *o, scratch *t, int64_t b, int64_t h) {
    int64_t HSp = round_lanes(a->HS);
    for (int64_t j = 0; j < t->nk;) {
        int m = next_rows(t->nk - j);
        int64_t c0, c1;
        attn_prefetch(a, b, h, j, j + m, ATTN_BACK_ROWS);
        score_group(a, t, b, h, j, m, &c0, &c1);
        if (o->dv.p) add_product(a, t, m, t->p, t->dy, c0, c1, t->dv + j * HSp);
        if (o->dk.p) add_product(a, t, m, t->ds + j * LD, t->q, c0, c1, t->dk + j * HSp);
        j += m;
    }
    if (!o->dq.p) return;
    vm_real *sums = o->sums ? o->sums + ((b * a->NH + h) * a->Tq + t->q0) * o->sums_ld : t->dq;
    query_gradient(a, t, sums, o->sums ? o->sums_ld : HSp, o->sums != NULL);
}

static bool all_bf16(const attn_call *a) {
    return tile_bf16_usable() && a->q.type == VM_BF16 && a->k.type == VM_BF16 && a->v.type == VM_BF16 &&
           a->dy.type == VM_BF16 && a->HS % 2 == 0;
}

static void run_head(const attn_call *a, const gradients *o, int64_t b, int64_t kv_head) {
    scratch t;
    int64_t HSp = round_lanes(a->HS), group = a->NH / a->NKV, h0 = kv_head * group, most = attn_back_tile(a->HS);
    int64_t keys = per_tile(a->Tk, most), queries = per_tile(a->Tq, most);
    t.bf16 = all_bf16(a), t.of_bias = false;
    if (o->sums)
        memset(o->sums + (b * a->NH + h0) * a->Tq * o->sums_ld, 0,
               (size_t)(group * a->Tq * o->sums_ld) * sizeof(vm_real));
    for (int64_t k0 = 0; k0 < VM_MAX(a->len, (int64_t)1); k0 += keys) { /* without keys dq is 0 */
        load_keys(a, &t, b, kv_head, k0, VM_MIN(keys, a->len - k0));
        memset(t.dk, 0, (size_t)(t.nk * HSp) * sizeof *t.dk);
        memset(t.dv, 0, (size_t)(t.nk * HSp) * sizeof *t.dv);
        for (int64_t h = h0; h < h0 + group; h++)
            for (int64_t q0 = 0; q0 < a->Tq; q0 += queries) {
                int64_t nq = VM_MIN(queries, a->Tq - q0);
                if (o->sums && (attn_hi(a, q0 + nq - 1) <= k0 || attn_lo(a, q0) >= k0 + t.nk))
                    continue; /* sees none of them */
                load_queries(a, &t, o->lse, b, h, q0, nq);
                run_tile(a, o, &t, b, h);
                if (o->dq.p && !o->sums) store_rows(a, &o->dq, b, h, q0, nq, t.dq, HSp, (vm_real)a->scale);
            }
        if (o->dk.p) store_rows(a, &o->dk, b, kv_head, k0, t.nk, t.dk, HSp, (vm_real)a->scale);
        if (o->dv.p) store_rows(a, &o->dv, b, kv_head, k0, t.nk, t.dv, HSp, 1);
    }
    memset(t.dk, 0, (size_t)HSp * sizeof *t.dk);
    for (int64_t j = a->len; j < a->Tk; j++) { /* keys that do not exist */
        if (o->dk.p) store_rows(a, &o->dk, b, kv_head, j, 1, t.dk, HSp, 1);
        if (o->dv.p) store_rows(a, &o->dv, b, kv_head, j, 1, t.dk, HSp, 1);
    }
    for (int64_t h = h0; h < h0 + group && o->sums && o->dq.p; h++)
        store_rows(a, &o->dq, b, h, 0, a->Tq, o->sums + (b * a->NH + h) * a->Tq * o->sums_ld, o->sums_ld,
                   (vm_real)a->scale);
}

vm_status VM_KERNEL(attention_back_cpu)(vm_graph *g, vm_node *n) {
    attn_call a = attn_of(g, n);
    bool packed = n->i[ATTN_PACKED];
    int next = 0;
    vm_val val[3] = { 0 }, sums = n->out[n->n_out - 1];
    for (int k = 0; k < 3; k++)
        if (n->i[ATTN_WANT] >> k & 1) val[k] = n->out[next++];
    attn_rows part[3];
    attn_parts(&a, packed, g, val[0], val[1], val[2], part);
    gradients o = { part[0],         part[1], part[2], vm_in(g, n, ATTN_LSE), vm_rows(g, sums) ? g->v[sums].data : NULL,
                    vm_cols(g, sums) };
    int64_t tasks = a.B * a.NKV;
    double work = (double)a.B * (double)a.NH * (double)a.Tq * (double)a.Tk * (double)a.HS;
#pragma omp parallel for schedule(dynamic) if (work > VM_PAR_MIN)
    for (int64_t task = 0; task < tasks; task++) {
        attn_call one = attn_batch(&a, task / a.NKV);
        run_head(&one, &o, task / a.NKV, task % a.NKV);
    }
    return VM_OK;
}

/* --- dbias --------------------------------------------------------------------------------------------------------- */
/* Adds dS of queries q0 .. q0 + nq of one head to rows of the bias. */
static void add_scores(const attn_call *a, scratch *t, const vm_real *lse, int64_t b, int64_t h, int64_t q0, int64_t nq,
                       vm_real *dbias) {
    int64_t keys = per_tile(a->Tk, attn_back_tile(a->HS));
    load_queries(a, t, lse, b, h, q0, nq);
    for (int64_t k0 = 0; k0 < a->len; k0 += keys) {
        load_keys(a, t, b, h / (a->NH / a->NKV), k0, VM_MIN(keys, a->len - k0));
        for (int64_t j = 0; j < t->nk;) {
            int m = next_rows(t->nk - j);
            int64_t c0, c1;
            score_group(a, t, b, h, j, m, &c0, &c1);
            for (int64_t i = c0; i < c1; i++)
                for (int r = 0; r < m; r++) dbias[(q0 + i) * a->Tk + k0 + j + r] += t->ds[(j + r) * LD + i];
            j += m;
        }
    }
}

static void run_bias_block(const attn_call *a, const vm_real *lse, int64_t b0, int64_t nb, int64_t h0, int64_t nh,
                           int64_t q0, int64_t nq, vm_real *dbias) {
    scratch t;
    t.bf16 = all_bf16(a), t.of_bias = true;
    memset(dbias + q0 * a->Tk, 0, (size_t)(nq * a->Tk) * sizeof *dbias);
    for (int64_t b = b0; b < b0 + nb; b++) {
        attn_call one = attn_batch(a, b);
        for (int64_t h = h0; h < h0 + nh; h++) add_scores(&one, &t, lse, b, h, q0, nq, dbias);
    }
}

vm_status VM_KERNEL(attention_bias_back_cpu)(vm_graph *g, vm_node *n) {
    attn_call a = attn_of(g, n);
    const vm_value *bias = &g->v[n->in[ATTN_BIAS]];
    int64_t heads = bias->ne[bias->nd - 3], batches = bias->nd == 4 ? bias->ne[0] : 1;
    int64_t nh = heads ? a.NH / heads : 0, nb = batches ? a.B / batches : 0;
    int64_t queries = per_tile(a.Tq, attn_back_tile(a.HS)), blocks = (a.Tq + queries - 1) / queries,
            tasks = batches * heads * blocks;
    double work = (double)a.B * (double)a.NH * (double)a.Tq * (double)a.Tk * (double)a.HS;
    vm_real *dbias = vm_o(g, n, 0);
    const vm_real *lse = vm_in(g, n, ATTN_LSE);
#pragma omp parallel for schedule(dynamic) if (work > VM_PAR_MIN)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t q0 = task % blocks * queries, map = task / blocks;
        run_bias_block(&a, lse, map / heads * nb, nb, map % heads * nh, nh, q0, VM_MIN(queries, a.Tq - q0),
                       dbias + map * a.Tq * a.Tk);
    }
    return VM_OK;
}
