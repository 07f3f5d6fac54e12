/* attention_tile.h - for attention*_cpu.c only: a tile of keys and values of one head, what softmax does to a row of its scores, and how a
 * row ends. A row is one query of one head, of which its largest score m, the sum l of 2^(score - m) and y, that of 2^(score - m) V, are
 * carried from tile to tile. Scores are kept times log2(e), so that 2^x serves. Tiles lie at fixed places and nothing of a row depends on
 * those that share its tiles, which may therefore be any. */
#ifndef VM_ATTENTION_TILE_H
#define VM_ATTENTION_TILE_H
#include "kernels/attention.h"
#include "kernels/tile_bf16.h"

/* Elements of K or V in a tile; keys of one at most. */
enum { ATTN_TILE_ELEMENTS = 20480, ATTN_TILE_KEYS = 512 };

static const vm_real LOG2E = (vm_real)1.44269504088896340736, LN2 = (vm_real)0.69314718055994530942;

typedef struct {
    bool bf16;          /* kt and v are for the products of tile_bf16.h, pairs of columns and of keys */
    int64_t k0, n, ld;  /* first key, number, padded number */
    TILE kt[ATTN_TILE_ELEMENTS]; /* K^T [HSp][ld] */
    TILE v[ATTN_TILE_ELEMENTS];  /* V [n][HSp] */
    TILE hide[ATTN_TILE_KEYS];   /* 0, or -inf for hidden and padding keys */
    TILE tmp[LANES * ATTN_MAX_HS], rows[2][LANES * ATTN_MAX_HS];
} attn_tile;

static inline bool attn_in_bf16(const attn_call *a) {
    return tile_bf16_usable() && a->q.type == VM_BF16 && a->k.type == VM_BF16 && a->v.type == VM_BF16 && a->HS % 2 == 0;
}

/* Keys k0 .. k0 + n, at most LANES, of one head of x: where they stand, or from several pages one after the other in `to`. */
static inline attn_rows attn_few_keys(const attn_call *a, const attn_rows *x, int64_t b, int64_t kv_head, int64_t k0, int64_t n, vm_real *to) {
    attn_rows y = *x;
    if (!a->pages) {
        y.at = attn_at(a, x, b, kv_head, k0);
        return y;
    }
    const int32_t *page = a->pages + b * a->n_pages + k0 / a->block;
    y.at = x->at + kv_head * a->HS;
    if (k0 % a->block + n <= a->block) {
        y.at += (*page * a->block + k0 % a->block) * x->row;
        return y;
    }
    size_t size = x->type == VM_F32 ? sizeof(vm_real) : 2, bytes = (size_t)a->HS * size;
    for (int64_t j = 0, r = k0 % a->block; j < n; j++, r++) {
        if (r == a->block) r = 0, page++;
        memcpy((char *)to + (size_t)j * bytes, (const char *)x->p + (size_t)(y.at + (*page * a->block + r) * x->row) * size, bytes);
    }
    return (attn_rows){ to, x->type, 0, a->HS, n };
}

/* What the key mask of sequence b hides of the tile. */
static inline void attn_hide(const attn_call *a, attn_tile *t, int64_t b) {
    for (int64_t j = 0; j < t->ld; j++)
        t->hide[j] = j < t->n && (!a->mask || a->mask[b * a->Tk + t->k0 + j]) ? 0 : -(vm_real)INFINITY;
}

static inline void attn_load_keys(const attn_call *a, attn_tile *t, int64_t b, int64_t kv_head, int64_t k0, int64_t n) {
    int64_t HSp = round_lanes(a->HS);
    t->k0 = k0, t->n = n, t->ld = round_lanes(n);
    for (int64_t j = 0; j < n; j += LANES) {
        int64_t rows = VM_MIN((int64_t)LANES, n - j);
        attn_rows k = attn_few_keys(a, &a->k, b, kv_head, k0 + j, rows, t->rows[0]);
        attn_rows v = attn_few_keys(a, &a->v, b, kv_head, k0 + j, rows, t->rows[1]);
        if (t->bf16) {
            bf16_transpose(t->kt + j, t->ld, k.p, k.at, k.row, rows, a->HS, t->tmp);
            bf16_pair_rows(t->v + j / 2 * HSp, HSp, v.p, v.at, v.row, rows, a->HS);
            continue;
        }
        tile_rows(t->tmp, HSp, k.p, k.type, k.at, k.row, rows, a->HS);
        if (rows < LANES) memset(t->tmp + rows * HSp, 0, (size_t)((LANES - rows) * HSp) * sizeof *t->tmp);
        tile_transpose(t->kt + j, t->ld, t->tmp, HSp, LANES, HSp);
        tile_rows(t->v + j * HSp, HSp, v.p, v.type, v.at, v.row, rows, a->HS);
    }
    attn_hide(a, t, b);
}

/* s = raw products of m rows of q, in bf16 or vm_real as the tile is, with its columns [c0,np). Rows of s are ATTN_TILE_KEYS apart. */
static inline void attn_scores(const attn_call *a, const attn_tile *t, int m, const void *q, int64_t row, int64_t c0, int64_t np, vm_real *s) {
    if (t->bf16) bf16_mul_rows(m, np - c0, a->HS / 2, q, row, t->kt + c0, t->ld, s + c0, ATTN_TILE_KEYS, false);
    else tile_mul_rows(m, np - c0, a->HS, q, row, 1, t->kt + c0, t->ld, s + c0, ATTN_TILE_KEYS, false);
}

/* m rows of y, HSp apart, += P V, columns [c0,hi) of P, which stands where the scores stood. p: room for it in bf16. */
static inline void attn_add_values(const attn_call *a, const attn_tile *t, int m, int64_t c0, int64_t hi, const vm_real *s, uint16_t *p, vm_real *y) {
    int64_t HSp = round_lanes(a->HS);
    if (t->bf16) {
        bf16_round_rows(p, ATTN_TILE_KEYS, s + c0, ATTN_TILE_KEYS, m, round_lanes(hi) - c0);
        bf16_mul_rows(m, HSp, (hi - c0 + 1) / 2, p, ATTN_TILE_KEYS, t->v + c0 / 2 * HSp, HSp, y, HSp, true);
    } else {
        tile_mul_rows(m, HSp, hi - c0, s + c0, ATTN_TILE_KEYS, 1, t->v + c0 * HSp, HSp, y, HSp, true);
    }
}

/* s: raw products of query i of head h with columns [c0,np) of the tile -> 2^(score - the new *m); *l and y follow. */
static inline void attn_softmax(const attn_call *a, const attn_tile *t, int64_t b, int64_t h, int64_t i, int64_t c0, int64_t np, vm_real *s,
                                vm_real *m, vm_real *l, vm_real *y) {
    vm_real c = (vm_real)a->scale * LOG2E;
    int64_t lo = VM_MAX(attn_lo(a, i) - t->k0, c0), hi = a->causal ? VM_MIN(attn_hi(a, i) - t->k0, np) : np;
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
    for (int64_t j = c0; j < VM_MIN(lo, np); j++) s[j] = -(vm_real)INFINITY;
    for (int64_t j = VM_MAX(hi, c0); j < np; j++) s[j] = -(vm_real)INFINITY;
    vec largest = vec_all(-(vm_real)INFINITY);
    for (int64_t j = c0; j < np; j += LANES) {
        vec x = vec_load(s + j) * c + vec_load(t->hide + j);
        vec_store(s + j, x);
        largest = vec_max(largest, x);
    }
    vm_real old = *m, new = vec_largest(largest);
    new = new > old ? new : old;
    vm_real base = new == -(vm_real)INFINITY ? 0 : new; /* all hidden so far: exp2(-inf) = 0 */
    vec sum = vec_all(0);
    for (int64_t j = c0; j < np; j += LANES) {
        vec p = vec_exp2(vec_load(s + j) - base);
        vec_store(s + j, p);
        sum += p;
    }
    if (new > old && old != -(vm_real)INFINITY) {
        vm_real f = vec_exp2(vec_all(old - new))[0];
        int64_t HSp = round_lanes(a->HS);
        *l *= f;
        for (int64_t d = 0; d < HSp; d += LANES) vec_store(y + d, vec_load(y + d) * f);
    }
    *m = new;
    *l += vec_sum(sum);
}

/* y, m and l of query i of head h become its row of the output and its lse (B,NH,Tq). */
static inline void attn_end_row(const attn_call *a, int64_t b, int64_t h, int64_t i, const vm_real *restrict y, vm_real m, vm_real l, vm_real *lse) {
    vm_real tmp[ATTN_MAX_HS], f = l > 0 || l != l ? 1 / l : 0;
    int64_t at = attn_at(a, &a->y, b, h, i);
    vm_real *restrict o = vm_row_begin(a->y.p, a->y.type, at, tmp);
#pragma omp simd
    for (int64_t c = 0; c < a->HS; c++) o[c] = y[c] * f;
    vm_row_end(a->y.p, a->y.type, at, a->HS, o);
    lse[(b * a->NH + h) * a->Tq + i] = m * LN2 + (vm_real)log((double)l);
}

/* attention_few_cpu.c: whether it is for this call, and the call. */
static inline bool attn_few(const attn_call *a) { return a->Tq <= ATTN_FEW && (a->pages || a->NH > a->NKV); }
void VM_KERNEL(attention_few)(const attn_call *a, vm_real *lse);
#endif
