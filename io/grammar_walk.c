/* grammar_walk.c - see grammar_walk.h. */
#include "io/grammar_walk.h"

#include <string.h>

#include "io/grammar_parts.h"

enum { BOTTOM = 0, MOST_PLACES = 2048, MOST_FRAMES = 1 << 24 };

typedef struct {
    int32_t state, parent;
    int32_t view; /* the frame with the counts that all such frames share; itself, perhaps */
    int64_t count; /* G_REPEAT: how many there are when this one returns */
    int32_t cost[2]; /* bytes to the end from where it returns to, in either of two modes */
} frame;

/* Where an end is: between tokens; or behind a blank that will be one token with the byte that comes; or at the start of a text,
 * where a token's blank is dropped. */
enum { BETWEEN, BEHIND, START, MODES = START };
/* Bytes from one mode to another. */
typedef struct {
    int32_t at[MODES][MODES]; /* from, to */
} ways;

struct grammar_walk {
    const grammar *g;
    int longest;
    int16_t first[START + 1][257]; /* the first byte from c on that can be written in a mode; 256 = none */
    ways *cost; /* of each state: bytes to the end of its rule or body, those that cannot be written counting
                   GRAMMAR_NEVER */
    frame *frame;
    int64_t n, cap;
    int32_t *table; /* of frames by content, 1 + number; open addressing */
    int64_t room;
    g_places seen; /* splits that were gone through in this step */
    vm_status failed;
};

/* --- costs -------------------------------------------------------------------------------------------------------- */
enum { FAR = 1 << 30 };
static const ways NOWHERE = { { { FAR, FAR }, { FAR, FAR } } }, NOTHING = { { { 0, FAR }, { FAR, 0 } } };

static int32_t sum(int64_t a, int64_t b) { return (int32_t)VM_MIN((int64_t)FAR, a + b); }
static ways better(ways x, ways y) {
    for (int k = 0; k < 4; k++) x.at[k / 2][k % 2] = VM_MIN(x.at[k / 2][k % 2], y.at[k / 2][k % 2]);
    return x;
}
static ways then(ways x, ways y) {
    ways z;
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) z.at[a][b] = VM_MIN(sum(x.at[a][0], y.at[0][b]), sum(x.at[a][1], y.at[1][b]));
    return z;
}
static ways times(int64_t n, ways x) {
    ways all = NOTHING;
    for (; n > 0; n /= 2, x = then(x, x))
        if (n % 2) all = then(all, x);
    return all;
}

/* A byte of an edge that an end may take, and the mode behind it: in each mode the first that can be written, and between tokens
 * the blank that the next byte is joined to. */
typedef struct {
    int byte, to;
    int32_t cost;
} taken;
static int take(const grammar_walk *w, const g_edge *x, int mode, taken out[2]) {
    const int c = w->first[mode][x->lo];
    out[0] = c <= x->hi ? (taken){ c, BETWEEN, 1 } : (taken){ x->lo, BETWEEN, GRAMMAR_NEVER };
    out[1] = (taken){ ' ', BEHIND, 1 };
    return 1 + (mode == BETWEEN && x->lo <= ' ' && ' ' <= x->hi);
}
static ways edge_cost(const grammar_walk *w, const g_edge *x) {
    ways all = NOWHERE;
    taken t[2];
    for (int a = 0; a < MODES; a++)
        for (int k = take(w, x, a, t); k-- > 0;)
            for (int b = 0; b < MODES; b++) all.at[a][b] = VM_MIN(all.at[a][b], sum(t[k].cost, w->cost[x->to].at[t[k].to][b]));
    return all;
}

/* Of a state, `count` times of its repetition being over. A further time than it asks for may change the mode. */
static ways rest_cost(const grammar_walk *w, int32_t state, int64_t count) {
    const grammar *g = w->g;
    const g_state *s = &g->state[state];
    ways best = NOWHERE;
    switch ((g_kind)s->kind) {
    case G_RETURN: return NOTHING;
    case G_BYTES:
        for (int i = 0; i < s->b; i++) best = better(best, edge_cost(w, &g->edge[s->a + i]));
        return best;
    case G_SPLIT:
        for (int i = 0; i < s->b; i++) best = better(best, w->cost[g->target[s->a + i]]);
        return best;
    case G_CALL: return then(w->cost[s->a], w->cost[s->b]);
    case G_REPEAT: break;
    }
    best = times(s->lo - count, w->cost[s->a]);
    if (s->hi < 0 || s->hi > VM_MAX(s->lo, count)) best = better(best, then(best, w->cost[s->a]));
    return then(best, w->cost[s->b]);
}

static void find_costs(grammar_walk *w) {
    for (int64_t i = 0; i < w->g->n; i++) w->cost[i] = NOWHERE;
    for (bool changed = true; changed;) {
        changed = false;
        for (int32_t i = 0; i < w->g->n; i++) {
            ways x = better(rest_cost(w, i, 0), w->cost[i]);
            changed |= memcmp(&x, &w->cost[i], sizeof x) != 0;
            w->cost[i] = x;
        }
    }
}

/* Bytes to the end of the text by these ways and from frame f on. */
static int32_t to_end(const grammar_walk *w, ways x, int32_t f, int mode) {
    const int32_t *below = w->frame[f].cost;
    return VM_MIN(sum(x.at[mode][0], below[0]), sum(x.at[mode][1], below[1]));
}

/* --- frames ------------------------------------------------------------------------------------------------------- */
static uint64_t hash_of(int32_t state, int64_t count, int32_t parent) {
    uint64_t h = ((uint64_t)(uint32_t)state << 32 | (uint32_t)parent) * 0x9e3779b97f4a7c15u ^
                 (uint64_t)count * 0xc2b2ae3d27d4eb4fu;
    h ^= h >> 29, h *= 0xbf58476d1ce4e5b9u;
    return h ^ h >> 32;
}

static bool widen(grammar_walk *w) {
    int64_t room = w->room ? 2 * w->room : 256;
    int32_t *table = vm_calloc((size_t)room, sizeof *table);
    if (!table) return false;
    for (int64_t i = 1; i < w->n; i++) {
        const frame *f = &w->frame[i];
        uint64_t at = hash_of(f->state, f->count, f->parent);
        while (table[at & (uint64_t)(room - 1)]) at++;
        table[at & (uint64_t)(room - 1)] = (int32_t)i + 1;
    }
    vm_free(w->table);
    w->table = table, w->room = room;
    return true;
}

/* Counts that leave more than a token can use, or lack more, are one. */
static int64_t shared_count(const grammar_walk *w, const g_state *s, int64_t count) {
    if (s->kind != G_REPEAT) return 0;
    int64_t reach = w->longest / VM_MAX(w->g->least[s->a], (int64_t)1) + 2;
    if (s->lo - count > reach) return 0;
    return count > s->lo && (s->hi < 0 || s->hi - count > reach) ? s->lo : count;
}

static int32_t push(grammar_walk *w, int32_t state, int64_t count, int32_t parent) {
    uint64_t at = hash_of(state, count, parent);
    for (; w->table[at & (uint64_t)(w->room - 1)]; at++) {
        int32_t i = w->table[at & (uint64_t)(w->room - 1)] - 1;
        const frame *f = &w->frame[i];
        if (f->state == state && f->count == count && f->parent == parent) return i;
    }
    const g_state *s = &w->g->state[state];
    int64_t shared = shared_count(w, s, count);
    int32_t below = w->frame[parent].view, view = -1;
    if (shared != count || below != parent) view = push(w, state, shared, below);
    if (w->n >= MOST_FRAMES || !vm_grow(&w->frame, &w->cap, w->n + 1, sizeof *w->frame) ||
        (2 * w->n >= w->room && !widen(w))) {
        if (!w->failed) w->failed = w->n >= MOST_FRAMES ? VM_EINPUT : VM_EDEVICE;
        return BOTTOM;
    }
    int32_t i = (int32_t)w->n++;
    ways rest = rest_cost(w, state, count);
    w->frame[i] = (frame){ state, parent, view < 0 ? i : view, count, { to_end(w, rest, parent, BETWEEN), to_end(w, rest, parent, BEHIND) } };
    at = hash_of(state, count, parent);
    while (w->table[at & (uint64_t)(w->room - 1)]) at++;
    w->table[at & (uint64_t)(w->room - 1)] = i + 1;
    return i;
}

/* --- life --------------------------------------------------------------------------------------------------------- */
vm_status grammar_walk_new(grammar_walk **out, const grammar *g, int longest, const g_tokens *can, vm_error *e) {
    grammar_walk *w = *out = vm_calloc(1, sizeof *w);
    if (!w) return vm_nomem(e, sizeof *w, "a grammar");
    w->g = g, w->longest = longest;
    for (int mode = 0; mode <= START; mode++) {
        int16_t *first = w->first[mode];
        first[256] = 256;
        for (int c = 255; c >= 0; c--) {
            bool written = mode == BETWEEN ? can->byte[c] : can->joined[c] || (mode == START && can->byte[c] && c != ' ');
            first[c] = written ? (int16_t)c : first[c + 1];
        }
    }
    w->cost = vm_alloc((size_t)g->n * sizeof *w->cost);
    if (!w->cost || !vm_grow(&w->frame, &w->cap, 64, sizeof *w->frame) || !widen(w)) {
        grammar_walk_free(w);
        *out = NULL;
        return vm_nomem(e, (size_t)g->n * sizeof *w->cost, "a grammar");
    }
    find_costs(w);
    w->frame[BOTTOM] = (frame){ .cost = { 0, FAR } };
    w->n = 1;
    return VM_OK;
}

void grammar_walk_free(grammar_walk *w) {
    if (!w) return;
    g_places_free(&w->seen);
    vm_free(w->cost), vm_free(w->frame), vm_free(w->table);
    vm_free(w);
}

int64_t grammar_walk_frames(const grammar_walk *w) { return w->n; }

void grammar_walk_forget(grammar_walk *w) {
    w->n = 1;
    memset(w->table, 0, (size_t)w->room * sizeof *w->table);
}

vm_status grammar_walk_error(grammar_walk *w, vm_error *e) {
    vm_status s = w->failed;
    w->failed = VM_OK;
    if (s == VM_EINPUT)
        return vm_fail(e, s,
                       "%s: the grammar leaves more than %d ways to read the text at one place; let its alternatives "
                       "differ earlier",
                       w->g->name, MOST_PLACES);
    return s ? vm_nomem(e, (size_t)w->n * sizeof *w->frame, "a grammar's places") : VM_OK;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */
/* True when it is new. */
static bool add_place(grammar_walk *w, g_places *s, int32_t state, int32_t at) {
    for (int64_t i = 0; i < s->n; i++)
        if (s->at[i].state == state && s->at[i].frame == at) return false;
    if (s->n >= MOST_PLACES || !vm_grow(&s->at, &s->cap, s->n + 1, sizeof *s->at)) {
        if (!w->failed) w->failed = s->n >= MOST_PLACES ? VM_EINPUT : VM_EDEVICE;
        return false;
    }
    s->at[s->n++] = (g_place){ state, at };
    return true;
}

/* Everything that `state`, returning to frame f, `count` times of its repetition being over, begins with. */
static void expand(grammar_walk *w, g_places *to, int32_t state, int64_t count, int32_t f) {
    const grammar *g = w->g;
    while (!w->failed) {
        const g_state *s = &g->state[state];
        int64_t next;
        switch ((g_kind)s->kind) {
        case G_BYTES:
            add_place(w, to, state, f);
            return;
        case G_RETURN:
            if (f == BOTTOM) {
                to->done = true;
                return;
            }
            state = w->frame[f].state, count = w->frame[f].count, f = w->frame[f].parent;
            continue;
        case G_SPLIT:
            if (s->again && !add_place(w, &w->seen, state, f)) return;
            for (int i = 0; i + 1 < s->b; i++) expand(w, to, g->target[s->a + i], 0, f);
            if (!s->b) return;
            state = g->target[s->a + s->b - 1];
            break;
        case G_CALL:
            if (g->state[s->b].kind != G_RETURN) f = push(w, s->b, 0, f);
            state = s->a;
            break;
        case G_REPEAT:
            next = s->hi < 0 ? VM_MIN(count + 1, s->lo) : count + 1;
            if (s->hi < 0 || count < s->hi) {
                int32_t own = push(w, state, next, f);
                expand(w, to, s->a, 0, own);
            }
            if (count < s->lo) return;
            state = s->b;
            break;
        }
        count = 0;
    }
}

static void clear(grammar_walk *w, g_places *to) {
    to->n = 0, to->done = false;
    w->seen.n = 0;
}

void grammar_walk_start(grammar_walk *w, g_places *to) {
    clear(w, to);
    expand(w, to, w->g->start, 0, BOTTOM);
}

/* The state that c leads to; -1 = none. Edges ascend and do not overlap. */
static int32_t follow(const grammar *g, int32_t state, uint8_t c) {
    const g_state *s = &g->state[state];
    const g_edge *x = g->edge + s->a;
    int lo = 0, hi = s->b;
    while (lo < hi) {
        int m = (lo + hi) / 2;
        if (c > x[m].hi) lo = m + 1;
        else hi = m;
    }
    return lo < s->b && c >= x[lo].lo ? x[lo].to : -1;
}

bool grammar_walk_takes(const grammar_walk *w, g_place p, uint8_t c) { return follow(w->g, p.state, c) >= 0; }

bool grammar_walk_step(grammar_walk *w, const g_places *from, uint8_t c, g_places *to) {
    clear(w, to);
    for (int64_t i = 0; i < from->n; i++) {
        int32_t s = follow(w->g, from->at[i].state, c);
        if (s >= 0) expand(w, to, s, 0, from->at[i].frame);
    }
    return to->n || to->done;
}

/* The byte that an end takes in a state of bytes, and where it is then; what the end costs. */
typedef struct {
    int byte, mode;
    int32_t to, cost;
} step;
static step next_byte(const grammar_walk *w, int32_t state, int32_t f, int mode) {
    const g_state *s = &w->g->state[state];
    step best = { .cost = FAR };
    taken t[2];
    for (int i = 0; i < s->b; i++) {
        const g_edge *x = &w->g->edge[s->a + i];
        for (int k = 0, n = take(w, x, mode, t); k < n; k++) {
            int32_t cost = sum(t[k].cost, to_end(w, w->cost[x->to], f, t[k].to));
            if (cost < best.cost) best = (step){ t[k].byte, t[k].to, x->to, cost };
        }
    }
    return best;
}

int64_t grammar_walk_cost(const grammar_walk *w, g_place p, bool begins) {
    return begins ? next_byte(w, p.state, p.frame, START).cost : to_end(w, w->cost[p.state], p.frame, BETWEEN);
}

int64_t grammar_walk_cost_of(const grammar_walk *w, const g_places *s, bool begins) {
    int64_t best = s->done ? 0 : FAR;
    for (int64_t i = 0; i < s->n; i++) best = VM_MIN(best, grammar_walk_cost(w, s->at[i], begins));
    return best;
}

char *grammar_walk_end(grammar_walk *w, g_place p, bool begins) {
    const grammar *g = w->g;
    int64_t n = 0, count = 0, room = grammar_walk_cost(w, p, begins);
    int32_t state = p.state, f = p.frame;
    int mode = begins ? START : BETWEEN;
    char *text = vm_alloc((size_t)room + 1);
    while (text && !w->failed && (g->state[state].kind != G_RETURN || f != BOTTOM)) {
        const g_state *s = &g->state[state];
        int best = 0;
        step next;
        switch ((g_kind)s->kind) {
        case G_RETURN:
            state = w->frame[f].state, count = w->frame[f].count, f = w->frame[f].parent;
            continue;
        case G_BYTES:
            if (n == room) return vm_free(text), NULL;
            next = next_byte(w, state, f, mode);
            text[n++] = (char)next.byte, state = next.to, mode = next.mode;
            break;
        case G_SPLIT:
            for (int i = 1; i < s->b; i++)
                if (to_end(w, w->cost[g->target[s->a + i]], f, mode) < to_end(w, w->cost[g->target[s->a + best]], f, mode)) best = i;
            state = g->target[s->a + best];
            break;
        case G_CALL:
            if (g->state[s->b].kind != G_RETURN) f = push(w, s->b, 0, f);
            state = s->a;
            break;
        case G_REPEAT: {
            bool more = count < s->lo, may = s->hi < 0 || count < s->hi;
            int32_t own = more || may ? push(w, state, s->hi < 0 ? VM_MIN(count + 1, s->lo) : count + 1, f) : BOTTOM;
            if (!more && may) more = to_end(w, w->cost[s->a], own, mode) < to_end(w, w->cost[s->b], f, mode);
            if (more) f = own, state = s->a;
            else state = s->b;
            break;
        }
        }
        count = 0;
    }
    return text;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */
g_place grammar_walk_view(const grammar_walk *w, g_place p) { return (g_place){ p.state, w->frame[p.frame].view }; }

bool grammar_walk_chars(const grammar_walk *w, g_place p, int64_t *most) {
    if (p.state != w->g->character) return false;
    const frame *f = &w->frame[p.frame];
    const g_state *s = &w->g->state[f->state];
    if (p.frame == BOTTOM || !s->chars) return false;
    *most = s->hi < 0 ? INT64_MAX : s->hi - f->count + 1;
    return true;
}

void grammar_walk_skip(grammar_walk *w, g_place p, int64_t k, g_places *to) {
    const frame f = w->frame[p.frame];
    const g_state *s = &w->g->state[f.state];
    int64_t count = f.count - 1 + k; /* f is the frame of the first of them */
    clear(w, to);
    if (s->hi < 0) count = VM_MIN(f.count + k - 1, s->lo);
    expand(w, to, f.state, count, f.parent);
}
