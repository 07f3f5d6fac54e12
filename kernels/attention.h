/* attention.h - what attention.c and its kernels share: attributes of the nodes, and the call as kernels see it. */
#ifndef VM_ATTENTION_H
#define VM_ATTENTION_H
#include <string.h>

#include "kernels/graph.h"

/* Inputs of the forward node and, at the same places, of the backward nodes. Packed: q is the one tensor, k and v
 * are 0. */
enum { ATTN_Q, ATTN_K, ATTN_V, ATTN_MASK, ATTN_BIAS, ATTN_LENGTHS, ATTN_PAGES, ATTN_FIRST, ATTN_N_IN,
       ATTN_DY = ATTN_N_IN, ATTN_Y, ATTN_LSE, ATTN_N_BACK };
/* Attributes vm_node.i; f[0] is the scale, f[1] the cap of scores or 0. WANT (backward): bits 0, 1, 2 for dq, dk, dv. */
enum { ATTN_NH, ATTN_NKV, ATTN_HS, ATTN_CAUSAL, ATTN_WINDOW, ATTN_PACKED, ATTN_WANT };

/* Head sizes 1..ATTN_MAX_HS. Tiles of the backward pass have this many queries and keys (a multiple of 16):
 * a tile of rows is at most 32 KiB in f32. */
enum { ATTN_MAX_HS = 512, ATTN_BACK_ELEMENTS = 8192, ATTN_BACK_ROWS = 128 };
static inline int64_t attn_back_tile(int64_t HS) {
    return VM_MIN(ATTN_BACK_ELEMENTS / ((HS + 15) / 16 * 16) / 16 * 16, (int64_t)ATTN_BACK_ROWS);
}

/* Rows of one head: element c of token t of head h of batch b is at[h*HS + (b*T + t)*row + c]. */
typedef struct {
    void *p;
    vm_type type;
    int64_t at, row, T;
} attn_rows;

typedef struct {
    int64_t B, Tq, Tk, NH, NKV, HS, window;
    int64_t len;            /* keys that exist: Tk, or after attn_batch those of one sequence */
    bool causal;
    double scale, softcap;
    attn_rows q, k, v, y, dy; /* y is the output, or in backward nodes an input as dy is */
    const int32_t *mask;    /* (B,Tk) or NULL */
    const vm_real *bias;    /* or NULL; strides are 0 where it is broadcast */
    int64_t bias_b, bias_h;
    const int32_t *lengths; /* (B) or NULL */
    const int32_t *pages;   /* (B, n_pages) or NULL: then k and v are (P, block, row) */
    int64_t n_pages, block, P;
    const int32_t *firsts;  /* (B,Tq) or NULL */
    const int32_t *first;   /* after attn_batch those of one sequence */
} attn_call;

static inline int64_t attn_at(const attn_call *a, const attn_rows *x, int64_t b, int64_t h, int64_t t) {
    return x->at + h * a->HS + (b * x->T + t) * x->row;
}

/* The three parts of a packed tensor, or the tensor itself; p may be NULL. */
static inline void attn_parts(const attn_call *a, bool packed, const vm_graph *g, vm_val q, vm_val k, vm_val v,
                              attn_rows out[3]) {
    const vm_val val[3] = { q, packed ? q : k, packed ? q : v };
    const int64_t cols[3] = { a->NH * a->HS, a->NKV * a->HS, a->NKV * a->HS }, T[3] = { a->Tq, a->Tk, a->Tk };
    int64_t at = 0;
    for (int s = 0; s < 3; s++) {
        const vm_value *x = &g->v[val[s]];
        out[s] = (attn_rows){ val[s] ? x->data : NULL, x->type, packed ? at : 0,
                              packed ? (a->NH + 2 * a->NKV) * a->HS : cols[s], T[s] };
        at += cols[s];
    }
}

static inline attn_call attn_of(const vm_graph *g, const vm_node *n) {
    bool packed = n->i[ATTN_PACKED];
    const vm_value *q = &g->v[n->in[ATTN_Q]], *k = packed ? q : &g->v[n->in[ATTN_K]], *bias = &g->v[n->in[ATTN_BIAS]];
    const vm_value *pages = n->in[ATTN_PAGES] ? &g->v[n->in[ATTN_PAGES]] : NULL;
    attn_call a;
    memset(&a, 0, sizeof a);
    a.B = q->ne[0], a.Tq = q->ne[1], a.Tk = k->ne[1], a.NH = n->i[ATTN_NH], a.NKV = n->i[ATTN_NKV], a.HS = n->i[ATTN_HS];
    a.window = n->i[ATTN_WINDOW], a.causal = n->i[ATTN_CAUSAL] != 0, a.scale = n->f[0], a.softcap = n->f[1];
    a.mask = (const int32_t *)vm_in(g, n, ATTN_MASK), a.bias = (const vm_real *)vm_in(g, n, ATTN_BIAS);
    a.lengths = (const int32_t *)vm_in(g, n, ATTN_LENGTHS), a.firsts = (const int32_t *)vm_in(g, n, ATTN_FIRST);
    if (pages) {
        a.pages = (const int32_t *)pages->data, a.n_pages = pages->ne[1], a.P = k->ne[0], a.block = k->ne[1];
        a.Tk = a.n_pages * a.block;
    }
    a.len = a.Tk;
    attn_rows part[3];
    attn_parts(&a, packed, g, n->in[ATTN_Q], n->in[ATTN_K], n->in[ATTN_V], part);
    a.q = part[0], a.k = part[1], a.v = part[2];
    if (n->n_in == ATTN_N_BACK) {
        const vm_value *dy = &g->v[n->in[ATTN_DY]], *y = &g->v[n->in[ATTN_Y]];
        a.dy = (attn_rows){ dy->data, dy->type, 0, a.NH * a.HS, a.Tq };
        a.y = (attn_rows){ y->data, y->type, 0, a.NH * a.HS, a.Tq };
    }
    if (n->in[ATTN_BIAS]) {
        int64_t heads = bias->ne[bias->nd - 3];
        a.bias_h = heads > 1 ? a.Tq * a.Tk : 0;
        a.bias_b = bias->nd == 4 && bias->ne[0] > 1 ? heads * a.Tq * a.Tk : 0;
    }
    return a;
}

/* On the GPU, few queries against many keys (decoding) are split along the keys into this many parts, which a second kernel
 * combines; query heads that share a key head are then rows of one tile. Depends on the shape alone. */
enum { ATTN_FEW = 16, ATTN_SPLIT_KEYS = 256, ATTN_MOST_SPLITS = 32 };
static inline int64_t attn_splits(const vm_graph *g, const attn_call *a) {
    int64_t blocks = g->deterministic ? 1 : VM_MAX(a->B * a->NKV, (int64_t)1), parts = a->Tk / ATTN_SPLIT_KEYS;
    if (a->Tq > ATTN_FEW) return 1;
    return VM_MAX(VM_MIN(VM_MIN(parts, 264 / blocks), (int64_t)ATTN_MOST_SPLITS), (int64_t)1);
}
/* Floats that the parts need: output, maximum and sum of every row. */
static inline int64_t attn_split_room(const vm_graph *g, const vm_node *n) {
    attn_call a = attn_of(g, n);
    int64_t splits = g->be->device == VM_CUDA_DEV ? attn_splits(g, &a) : 1;
    return splits > 1 ? splits * a.B * a.NH * a.Tq * (a.HS + 2) : 0;
}

/* The call as the sequence b sees it. On the CPU: reads lengths, as attn_lo reads first. */
static inline attn_call attn_batch(const attn_call *a, int64_t b) {
    attn_call one = *a;
    if (a->lengths) one.len = a->lengths[b];
    if (a->firsts) one.first = a->firsts + b * a->Tq;
    return one;
}

/* Keys [lo, hi) that causality, window, length and first key leave to query i; neither falls from query to query. */
static inline int64_t attn_lo(const attn_call *a, int64_t i) {
    int64_t lo = a->window ? i + a->len - a->Tq - a->window + 1 : 0;
    if (a->first) lo = VM_MAX(lo, (int64_t)a->first[i]);
    return VM_MIN(VM_MAX(lo, (int64_t)0), a->len);
}
static inline int64_t attn_hi(const attn_call *a, int64_t i) {
    return a->causal ? VM_MIN(VM_MAX(i + a->len - a->Tq + 1, (int64_t)0), a->len) : a->len;
}

static inline __attribute__((always_inline)) void attn_prefetch_row(const attn_call *a, const attn_rows *x, int64_t b,
                                                                    int64_t h, int64_t t) {
    int64_t size = x->type == VM_F32 ? sizeof(vm_real) : 2;
    const char *p = (const char *)x->p + attn_at(a, x, b, h, t) * size;
    if (x->p && t < x->T)
        for (int64_t c = 0; c < a->HS * size; c += 64) __builtin_prefetch(p + c);
}
/* Rows of a head lie far apart, which the processor's own prefetchers do not follow: while rows [i,end) of a head are
 * worked on, asks for the same rows of the next one; only where sequences are at most `most` long, so that they stay.
 * Inline, as gcc drops calls of functions that do nothing but prefetch. */
static inline __attribute__((always_inline)) void attn_prefetch(const attn_call *a, int64_t b, int64_t h, int64_t i,
                                                                int64_t end, int64_t most) {
    if (a->Tk > most || a->Tq > most || a->pages) return;
    if (++h == a->NH) h = 0, b++;
    int64_t kv = h / (a->NH / a->NKV);
    for (; i < end && b < a->B; i++) {
        attn_prefetch_row(a, &a->q, b, h, i);
        attn_prefetch_row(a, &a->k, b, kv, i);
        attn_prefetch_row(a, &a->v, b, kv, i);
        attn_prefetch_row(a, &a->y, b, h, i);
        attn_prefetch_row(a, &a->dy, b, h, i);
    }
}

#endif
