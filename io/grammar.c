/* grammar.c - expressions to states over bytes.
 *
 * A rule becomes a small automaton (Thompson, CACM 1968) that is built from its end: every state knows what follows it
 * when it is made, so targets have lower numbers than what leads to them, but for loops and calls. Sets of characters
 * become edges over the bytes of UTF-8, literals that are alternatives of each other one prefix tree. Counted
 * repetitions {m,n} are one state and their body, whatever m and n are: the count stands in the frame of a run. */
#include <stdlib.h>
#include <string.h>

#include "io/grammar_parts.h"

enum { MOST_STATES = 1 << 24 };

typedef struct {
    grammar *g;
    const gx_book *b;
    int32_t *start;  /* of each rule */
    vm_error *e;
} maker;

/* --- states ------------------------------------------------------------------------------------------------------- */
static int32_t add_state(maker *k, g_state s) {
    grammar *g = k->g;
    if (k->e->status) return 0;
    if (g->n >= MOST_STATES)
        return vm_fail(k->e, VM_EINPUT, "%s: the grammar is too large: more than %d states", g->name, MOST_STATES), 0;
    if (!vm_grow(&g->state, &g->cap, g->n + 1, sizeof s)) return vm_nomem(k->e, sizeof s, "a grammar"), 0;
    g->state[g->n] = s;
    return (int32_t)g->n++;
}

static int32_t add_bytes(maker *k, const g_edge *edge, int n) {
    grammar *g = k->g;
    if (!vm_grow(&g->edge, &g->edges_cap, g->n_edges + n + 1, sizeof *edge))
        return vm_nomem(k->e, sizeof *edge, "a grammar"), 0;
    if (n) memcpy(g->edge + g->n_edges, edge, (size_t)n * sizeof *edge);
    g->n_edges += n;
    return add_state(k, (g_state){ .kind = G_BYTES, .a = (int32_t)(g->n_edges - n), .b = n });
}

static int32_t add_split(maker *k, const int32_t *target, int64_t n) {
    grammar *g = k->g;
    if (!vm_grow(&g->target, &g->targets_cap, g->n_targets + n, sizeof *target))
        return vm_nomem(k->e, sizeof *target, "a grammar"), 0;
    memcpy(g->target + g->n_targets, target, (size_t)n * sizeof *target);
    g->n_targets += n;
    return add_state(k, (g_state){ .kind = G_SPLIT, .a = (int32_t)(g->n_targets - n), .b = (int32_t)n });
}

static int32_t one_byte(maker *k, uint8_t lo, uint8_t hi, int32_t next) {
    return add_bytes(k, &(g_edge){ lo, hi, next }, 1);
}

static int32_t literal(maker *k, const char *s, int64_t n, int32_t next) {
    while (n-- > 0) next = one_byte(k, (uint8_t)s[n], (uint8_t)s[n], next);
    return next;
}

/* --- characters --------------------------------------------------------------------------------------------------- */
typedef struct {
    uint8_t lo[4], hi[4];
    int n;
} byte_run;
typedef struct {
    byte_run *run;
    int64_t n, cap;
    bool failed;
} byte_runs;

static int utf8_put(uint8_t *out, int32_t c) {
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)((0xf00 >> n & 0xff) | c);
    return n;
}

/* The characters lo to hi as runs in which each byte has a range of its own. */
static void add_runs(byte_runs *r, int32_t lo, int32_t hi) {
    static const int32_t last[] = { 0x7f, 0x7ff, 0xd7ff, 0xdfff, 0xffff };
    if (lo > hi) return;
    for (int k = 0; k < VM_LEN(last); k++)
        if (lo <= last[k] && hi > last[k]) {
            add_runs(r, lo, last[k]), add_runs(r, last[k] + 1, hi);
            return;
        }
    if (lo >= 0xd800 && hi <= 0xdfff) return; /* surrogates */
    for (int k = 1; k < 4 && lo >= 0x80; k++) {
        int32_t m = (1 << 6 * k) - 1, cut = -1;
        if ((lo & ~m) == (hi & ~m)) continue;
        if (lo & m) cut = lo | m;
        else if ((hi & m) != m) cut = (hi & ~m) - 1;
        if (cut >= 0) {
            add_runs(r, lo, cut), add_runs(r, cut + 1, hi);
            return;
        }
    }
    if (!vm_grow(&r->run, &r->cap, r->n + 1, sizeof *r->run)) {
        r->failed = true;
        return;
    }
    byte_run *x = &r->run[r->n++];
    x->n = utf8_put(x->lo, lo);
    utf8_put(x->hi, hi);
}

/* Runs that share their first `depth` bytes. First bytes of runs are equal or apart, and ascend. */
static int32_t from_runs(maker *k, const byte_run *r, int64_t n, int depth, int32_t next) {
    g_edge edge[256];
    int edges = 0;
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && r[j].lo[depth] == r[i].lo[depth] && r[j].hi[depth] == r[i].hi[depth];) j++;
        int32_t to = depth == 3 || depth + 1 == r[i].n ? next : from_runs(k, r + i, j - i, depth + 1, next);
        edge[edges++] = (g_edge){ r[i].lo[depth], r[i].hi[depth], to };
    }
    return add_bytes(k, edge, edges);
}

static int32_t set(maker *k, const gx_range *r, int64_t n, int32_t next) {
    byte_runs runs = { 0 };
    for (int64_t i = 0; i < n; i++) add_runs(&runs, r[i].lo, r[i].hi);
    int32_t s = 0;
    if (runs.failed) vm_nomem(k->e, (size_t)runs.n * sizeof *runs.run, "a grammar");
    else s = from_runs(k, runs.run, runs.n, 0, next);
    vm_free(runs.run);
    return s;
}

/* One character of a JSON string: itself, or an escape; never \u0000 nor half a pair of surrogates. */
static int32_t json_character(maker *k) {
    enum { END = 0 };
    static const char hex[][2] = { { '0', '9' }, { 'A', 'F' }, { 'a', 'f' } };
    g_edge e[32];
    int n = 0;
    int32_t any[4] = { END }, zeros = END; /* any[i]: i hexadecimal digits; zeros: i digits that are not all 0 */
    for (int i = 1; i < 4; i++) {
        for (int c = 0; c < 3; c++) e[c] = (g_edge){ (uint8_t)hex[c][0], (uint8_t)hex[c][1], any[i - 1] };
        any[i] = add_bytes(k, e, 3);
    }
    for (int i = 1; i < 4; i++) {
        e[0] = (g_edge){ '0', '0', zeros }, e[1] = (g_edge){ '1', '9', any[i - 1] };
        for (int c = 1; c < 3; c++) e[c + 1] = (g_edge){ (uint8_t)hex[c][0], (uint8_t)hex[c][1], any[i - 1] };
        zeros = i == 1 ? add_bytes(k, e + 1, 3) : add_bytes(k, e, 4);
    }
    int32_t low = add_bytes(k, (g_edge[]){ { 'C', 'F', any[2] }, { 'c', 'f', any[2] } }, 2);
    low = one_byte(k, '\\', '\\',
                   one_byte(k, 'u', 'u', add_bytes(k, (g_edge[]){ { 'D', 'D', low }, { 'd', 'd', low } }, 2)));
    for (int i = 0; i < 2; i++)
        low = add_bytes(k, (g_edge[]){ { '0', '9', low }, { 'A', 'F', low }, { 'a', 'f', low } }, 3);
    int32_t d =
        add_bytes(k, (g_edge[]){ { '0', '7', any[2] }, { '8', '9', low }, { 'A', 'B', low }, { 'a', 'b', low } }, 4);
    int32_t u = add_bytes(k,
                          (g_edge[]){ { '0', '0', zeros },
                                      { '1', '9', any[3] },
                                      { 'A', 'C', any[3] },
                                      { 'D', 'D', d },
                                      { 'E', 'F', any[3] },
                                      { 'a', 'c', any[3] },
                                      { 'd', 'd', d },
                                      { 'e', 'f', any[3] } },
                          8);
    for (const char *p = "\"/\\bfnrt"; *p; p++) e[n++] = (g_edge){ (uint8_t)*p, (uint8_t)*p, END };
    e[n++] = (g_edge){ 'u', 'u', u };
    int32_t escape = add_bytes(k, e, n);
    byte_runs runs = { 0 };
    add_runs(&runs, 0x80, 0x10ffff);
    int32_t wide = runs.failed ? 0 : from_runs(k, runs.run, runs.n, 0, END);
    if (runs.failed) vm_nomem(k->e, sizeof *runs.run, "a grammar");
    vm_free(runs.run);
    if (k->e->status) return 0;
    g_edge all[32] = { { 0x20, '!', END }, { '#', '[', END }, { '\\', '\\', escape }, { ']', 0x7f, END } };
    const g_state *w = &k->g->state[wide];
    memcpy(all + 4, k->g->edge + w->a, (size_t)w->b * sizeof *all);
    return add_bytes(k, all, 4 + w->b);
}

/* --- expressions -------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *s;
    int64_t n;
} piece;

static int by_bytes(const void *a, const void *b) {
    const piece *x = a, *y = b;
    int d = memcmp(x->s, y->s, (size_t)VM_MIN(x->n, y->n));
    return d ? d : (x->n > y->n) - (x->n < y->n);
}

/* The prefix tree of sorted literals without their first `from` bytes. */
static int32_t tree(maker *k, const piece *p, int64_t n, int64_t from, int32_t next) {
    const piece *last = &p[n - 1];
    int64_t same = from;
    while (same < p->n && same < last->n && p->s[same] == last->s[same]) same++;
    if (p->n == same && last->n == same) return literal(k, p->s + from, same - from, next);
    int edges = 0;
    int64_t i = 0, j;
    while (i < n && p[i].n == same) i++;
    bool ends = i > 0;
    /* not on the stack, which may get deep here */
    g_edge *edge = vm_alloc((size_t)VM_MIN(n - i, (int64_t)256) * sizeof *edge);
    if (!edge) return vm_nomem(k->e, (size_t)(n - i) * sizeof *edge, "a grammar"), 0;
    for (; i < n; i = j) {
        uint8_t c = (uint8_t)p[i].s[same];
        for (j = i + 1; j < n && (uint8_t)p[j].s[same] == c;) j++;
        int32_t to = tree(k, p + i, j - i, same + 1, next);
        edge[edges++] = (g_edge){ c, c, to };
    }
    int32_t s = add_bytes(k, edge, edges);
    vm_free(edge);
    if (ends) s = add_split(k, (int32_t[]){ s, next }, 2);
    return literal(k, p->s + from, same - from, s);
}

static int32_t make(maker *k, int32_t x, int32_t next);

static int32_t choice(maker *k, const gx *x, int32_t next) {
    const gx_book *b = k->b;
    piece *p = vm_alloc((size_t)x->n * (sizeof *p + sizeof(int32_t)));
    if (!p) return vm_nomem(k->e, (size_t)x->n * sizeof *p, "a grammar"), 0;
    int32_t *target = (int32_t *)(p + x->n), s = 0;
    int64_t n = 0, m = 0;
    for (int64_t i = 0; i < x->n; i++) {
        const gx *y = &b->x[b->member[x->first + i]];
        if (y->kind == GX_LITERAL) p[n++] = (piece){ b->bytes + y->first, y->n };
        else target[m++] = make(k, b->member[x->first + i], next);
    }
    if (n) {
        qsort(p, (size_t)n, sizeof *p, by_bytes);
        target[m++] = tree(k, p, n, 0, next);
    }
    s = m == 1 ? target[0] : add_split(k, target, m);
    vm_free(p);
    return s;
}

static int32_t repeat(maker *k, const gx *x, int32_t next) {
    if (x->hi == 0) return next;
    if (x->lo == 0 && x->hi == 1) return add_split(k, (int32_t[]){ make(k, (int32_t)x->first, next), next }, 2);
    if (x->hi < 0 && x->lo < 2) {
        /* loop = next | body loop; what leaves it stands first, so that a shortest end does */
        int32_t loop = add_split(k, (int32_t[]){ next, next }, 2), body = make(k, (int32_t)x->first, loop);
        if (k->e->status) return 0;
        k->g->target[k->g->state[loop].a + 1] = body;
        return x->lo ? body : loop;
    }
    return add_state(
        k, (g_state){ .kind = G_REPEAT, .a = make(k, (int32_t)x->first, 0), .b = next, .lo = x->lo, .hi = x->hi });
}

/* The first state of x with what follows it. */
static int32_t make(maker *k, int32_t number, int32_t next) {
    const gx_book *b = k->b;
    const gx *x = &b->x[number];
    if (k->e->status) return 0;
    switch (x->kind) {
    case GX_LITERAL: return literal(k, b->bytes + x->first, x->n, next);
    case GX_SET: return set(k, b->range + x->first, x->n, next);
    case GX_ANY: return choice(k, x, next);
    case GX_REPEAT: return repeat(k, x, next);
    case GX_CALL: return add_state(k, (g_state){ .kind = G_CALL, .a = (int32_t)x->first, .b = next });
    case GX_CHARS:
        if (k->g->character < 0) k->g->character = json_character(k);
        return add_state(
            k, (g_state){ .kind = G_REPEAT, .chars = true, .a = k->g->character, .b = next, .lo = x->lo, .hi = x->hi });
    case GX_ALL: break;
    }
    for (int64_t i = x->n; i-- > 0;) next = make(k, b->member[x->first + i], next);
    return next;
}

/* --- what must hold ----------------------------------------------------------------------------------------------- */
enum { NEVER = 1 << 30 };

static int64_t least_of(const grammar *g, const g_state *s) {
    int64_t best = NEVER, body;
    switch ((g_kind)s->kind) {
    case G_RETURN: return 0;
    case G_BYTES:
        for (int i = 0; i < s->b; i++) best = VM_MIN(best, 1 + g->least[g->edge[s->a + i].to]);
        return best;
    case G_SPLIT:
        for (int i = 0; i < s->b; i++) best = VM_MIN(best, g->least[g->target[s->a + i]]);
        return best;
    case G_CALL: return VM_MIN((int64_t)NEVER, g->least[s->a] + g->least[s->b]);
    case G_REPEAT: break;
    }
    body = s->lo == 0 || g->least[s->a] == 0 ? 0 : g->least[s->a] > NEVER / s->lo ? NEVER : s->lo * g->least[s->a];
    return VM_MIN((int64_t)NEVER, body + g->least[s->b]);
}

/* The least bytes of each state, by rounds until nothing changes; few, as most targets come before what leads to
 * them. */
static vm_status find_least(maker *k) {
    grammar *g = k->g;
    if (!(g->least = vm_alloc((size_t)g->n * sizeof *g->least)))
        return vm_nomem(k->e, (size_t)g->n * sizeof *g->least, "a grammar");
    for (int64_t i = 0; i < g->n; i++) g->least[i] = NEVER;
    for (bool changed = true; changed;) {
        changed = false;
        for (int64_t i = 0; i < g->n; i++) {
            int64_t x = least_of(g, &g->state[i]);
            changed |= x < g->least[i];
            g->least[i] = x;
        }
    }
    for (int64_t r = 0; r < k->b->n_rules; r++)
        if (g->least[k->start[r]] >= NEVER)
            return vm_fail(k->e, VM_EINPUT,
                           "%s: rule \"%s\" never comes to an end; give it an alternative without itself", g->name,
                           k->b->rule[r].name);
    for (int64_t i = 0; i < g->n; i++)
        if (g->state[i].kind == G_REPEAT && g->least[g->state[i].a] == 0)
            return vm_fail(
                k->e, VM_EINPUT,
                "%s: a counted repetition of something that may be empty; let its part have at least one character",
                g->name);
    return VM_OK;
}

/* Marks what can be reached from state s without a byte; true when that is rule `to` itself. seen holds the round's
 * number. */
static bool leads(const maker *k, int32_t s, int64_t to, int32_t *seen, int32_t round) {
    const grammar *g = k->g;
    for (;;) {
        const g_state *x = &g->state[s];
        if (seen[s] == round) return false;
        seen[s] = round;
        switch ((g_kind)x->kind) {
        case G_RETURN:
        case G_BYTES: return false;
        case G_SPLIT:
            for (int i = 0; i < x->b; i++)
                if (leads(k, g->target[x->a + i], to, seen, round)) return true;
            return false;
        case G_CALL:
            if (x->a == k->start[to] || leads(k, x->a, to, seen, round)) return true;
            if (g->least[x->a]) return false;
            break;
        case G_REPEAT:
            if (leads(k, x->a, to, seen, round)) return true;
            if (x->lo) return false;
            break;
        }
        s = x->b;
    }
}

static vm_status check_left(maker *k) {
    grammar *g = k->g;
    int32_t *seen = vm_calloc((size_t)g->n, sizeof *seen), round = 0;
    if (!seen) return vm_nomem(k->e, (size_t)g->n * sizeof *seen, "a grammar");
    for (int64_t r = 0; r < k->b->n_rules && !k->e->status; r++)
        if (leads(k, k->start[r], r, seen, ++round))
            vm_fail(k->e, VM_EINPUT,
                    "%s: rule \"%s\" begins with itself; write the repetition as x* or with the rule at the end",
                    g->name, k->b->rule[r].name);
    vm_free(seen);
    for (int64_t i = 0; i < g->n; i++) { /* loops of what may be empty; only `repeat` makes a split that leads up */
        g_state *s = &g->state[i];
        if (s->kind == G_SPLIT && s->b == 2 && g->target[s->a + 1] >= i) s->again = true;
    }
    return k->e->status;
}

vm_status grammar_finish(grammar **out, gx_book *b, vm_error *e) {
    grammar *g = *out = vm_calloc(1, sizeof *g);
    maker k = { .g = g, .b = b, .e = e, .start = vm_calloc((size_t)b->n_rules + 1, sizeof *k.start) };
    if (!g || !k.start || b->failed || !(g->name = vm_strdup(b->name))) vm_nomem(e, sizeof *g, "a grammar");
    else {
        g->character = -1;
        add_state(&k, (g_state){ .kind = G_RETURN });
    }
    for (int64_t r = 0; r < b->n_rules && !e->status; r++) {
        if (b->rule[r].body < 0)
            vm_fail(e, VM_EINPUT, "%s:%lld: rule \"%s\" is not defined", g->name, (long long)b->rule[r].line,
                    b->rule[r].name);
        else k.start[r] = make(&k, b->rule[r].body, 0);
    }
    for (int64_t i = 0; i < (e->status ? 0 : g->n); i++)
        if (g->state[i].kind == G_CALL) g->state[i].a = k.start[g->state[i].a];
    if (!e->status && !find_least(&k)) check_left(&k);
    if (!e->status) g->start = k.start[0];
    vm_free(k.start);
    gx_book_free(b);
    if (!e->status) return VM_OK;
    grammar_free(g);
    *out = NULL;
    return e->status;
}

void grammar_free(grammar *g) {
    if (!g) return;
    vm_free(g->state), vm_free(g->edge), vm_free(g->target), vm_free(g->least), vm_free(g->name);
    vm_free(g);
}
