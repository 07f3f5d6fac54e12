/* constrain.c - see constrain.h. */
#include "models/constrain.h"

#include <string.h>

#include "io/grammar_walk.h"

enum { MOST_KEPT = 64 << 20, MANY_FRAMES = 1 << 16 };

/* What is known of a place. */
typedef struct {
    g_place place;
    int64_t needs;   /* tokens of its shortest end; -1 = not known */
    bool masked;     /* the rest is known */
    int plain;       /* row of token_trie.plain and 1; 0 = none */
    int64_t growth;  /* by how much the end can get longer, in bytes, by a token that may come */
    uint64_t *bits;  /* further tokens, as a mask or as a list */
    int32_t *id;
    int64_t n;
} known;

struct constraint_form {
    const token_trie *trie;
    grammar_walk *walk;
    known *k;
    int64_t n, cap;
    int32_t *table; /* of them by place, 1 + number; open addressing */
    int64_t room;
    size_t kept;    /* bytes of them and of their masks */
    g_places *level; /* of a walk over the tree, by depth */
    int32_t *end;    /* of the node at each depth */
    uint64_t *bits;  /* the answer */
    uint64_t *one;   /* of one place */
    int64_t *best;   /* tokens that an end's rest takes */
    int64_t best_cap, live;
};

struct constraint {
    constraint_form *f;
    g_places at, next;
    bool begun; /* a token has come */
};

/* --- what is known ------------------------------------------------------------------------------------------------ */
static void forget(constraint_form *f) {
    for (int64_t i = 0; i < f->n; i++) vm_free(f->k[i].bits), vm_free(f->k[i].id);
    f->n = 0, f->kept = 0;
    if (f->table) memset(f->table, 0, (size_t)f->room * sizeof *f->table);
}

static uint64_t hash_of(g_place p) {
    uint64_t h = ((uint64_t)(uint32_t)p.state << 32 | (uint32_t)p.frame) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static bool widen(constraint_form *f) {
    int64_t room = f->room ? 2 * f->room : 256;
    int32_t *table = vm_calloc((size_t)room, sizeof *table);
    if (!table) return false;
    for (int64_t i = 0; i < f->n; i++) {
        uint64_t at = hash_of(f->k[i].place);
        while (table[at & (uint64_t)(room - 1)]) at++;
        table[at & (uint64_t)(room - 1)] = (int32_t)i + 1;
    }
    vm_free(f->table);
    f->table = table, f->room = room;
    return true;
}

/* Its number, a new one when nothing is known of it; -1 when memory is out. */
static int64_t find(constraint_form *f, g_place p) {
    uint64_t at = hash_of(p);
    for (; f->table[at & (uint64_t)(f->room - 1)]; at++) {
        int32_t i = f->table[at & (uint64_t)(f->room - 1)] - 1;
        if (f->k[i].place.state == p.state && f->k[i].place.frame == p.frame) return i;
    }
    if (!vm_grow(&f->k, &f->cap, f->n + 1, sizeof *f->k)) return -1;
    f->k[f->n] = (known){ .place = p, .needs = -1 };
    f->kept += sizeof *f->k;
    f->table[at & (uint64_t)(f->room - 1)] = (int32_t)++f->n;
    return 2 * f->n < f->room || widen(f) ? f->n - 1 : -1;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */
/* Fewest tokens that spell the text end[from ..] and begin at a node, best[to] those of what is behind; GRAMMAR_NEVER. */
static int64_t spell_from(const constraint_form *f, int32_t node, const char *end, int64_t from, int64_t n) {
    const trie_nodes *t = &f->trie->all;
    int64_t best = GRAMMAR_NEVER;
    for (int64_t to = from; to < n && (node = trie_child(t, node, (uint8_t)end[to])) > 0;)
        if (to++, t->first[node] < t->first[node + 1]) best = VM_MIN(best, 1 + f->best[to]);
    return best;
}

/* Tokens that spell the shortest end of a place, as few as there can be; begins: from the start of a text, whose first token
 * drops a blank. -1 when memory is out. */
static int64_t spell_end(constraint_form *f, g_place p, bool begins) {
    begins &= f->trie->drops == 1;
    int64_t n = grammar_walk_cost(f->walk, p, begins);
    if (n >= GRAMMAR_NEVER) return n;
    char *end = grammar_walk_end(f->walk, p, begins);
    if (!end || !vm_grow(&f->best, &f->best_cap, n + 1, sizeof *f->best)) return vm_free(end), -1;
    f->best[n] = 0;
    for (int64_t from = n; from-- > begins;) f->best[from] = spell_from(f, 0, end, from, n);
    if (begins && n) {
        int32_t blank = trie_child(&f->trie->all, 0, ' ');
        f->best[0] = *end == ' ' ? GRAMMAR_NEVER : spell_from(f, 0, end, 0, n);
        if (blank > 0) f->best[0] = VM_MIN(f->best[0], spell_from(f, blank, end, 0, n));
    }
    vm_free(end);
    return f->best[0];
}

static int64_t needs_of(constraint_form *f, g_place p) {
    int64_t i = find(f, p);
    if (i < 0 || f->k[i].needs >= 0) return i < 0 ? -1 : f->k[i].needs;
    return f->k[i].needs = spell_end(f, p, false);
}

/* Whether an end from one of these takes at most `left` tokens: bytes that are tokens are as many as tokens at
 * least. */
static bool ends_in(constraint_form *f, const g_places *s, int64_t left) {
    if (left < 0) return false;
    if (grammar_walk_cost_of(f->walk, s, false) <= left) return true;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t needs = needs_of(f, s->at[i]);
        if (needs >= 0 && needs <= left) return true;
    }
    return false;
}

/* --- masks -------------------------------------------------------------------------------------------------------- */
/* Adds the tokens below a node that may come from one place. left < 0: whatever end they leave; else one of at most
 * left - 1 tokens. Returns the bytes of the longest shortest end that one of them leaves. skip: a first byte that is
 * passed over; -1 = none. */
static int64_t visit(constraint_form *f, const trie_nodes *t, int32_t root, int skip, g_place p, int64_t left,
                     uint64_t *bits) {
    g_places *level = f->level;
    int64_t longest = 0, depth = 0;
    int32_t end = t->end[root];
    if (!vm_grow(&level[0].at, &level[0].cap, 1, sizeof p)) return 0;
    level[0].at[0] = p, level[0].n = 1, level[0].done = false;
    for (int32_t i = root + 1; i < end;) {
        while (depth && i >= f->end[depth]) depth--;
        if ((!depth && t->byte[i] == skip) ||
            !grammar_walk_step(f->walk, &level[depth], t->byte[i], &level[depth + 1])) {
            i = t->end[i];
            continue;
        }
        g_places *here = &level[++depth];
        f->end[depth] = t->end[i];
        int64_t cost = t->first[i] < t->first[i + 1] ? grammar_walk_cost_of(f->walk, here, false) : GRAMMAR_NEVER;
        if (cost < GRAMMAR_NEVER && (left < 0 || ends_in(f, here, left - 1))) {
            longest = VM_MAX(longest, cost);
            for (int32_t k = t->first[i]; k < t->first[i + 1]; k++) bits[t->id[k] / 64] |= (uint64_t)1 << t->id[k] % 64;
        }
        i = here->n ? i + 1 : t->end[i];
    }
    return longest;
}

/* The tokens below the root; of a first token also those whose blanks fall away. */
static int64_t visit_all(constraint_form *f, const trie_nodes *t, bool first, g_place p, int64_t left, uint64_t *bits) {
    int drops = first ? f->trie->drops : 0;
    int64_t longest = visit(f, t, 0, drops ? ' ' : -1, p, left, bits);
    for (int32_t node = 0, k = 0; k < drops && (node = trie_child(t, node, ' ')) > 0; k = drops == 1)
        longest = VM_MAX(longest, visit(f, t, node, drops == 2 ? ' ' : -1, p, left, bits));
    return longest;
}

/* Keeps the tokens of `one` for a place. */
static bool keep(constraint_form *f, known *k) {
    const int64_t words = f->trie->words;
    int64_t n = 0;
    for (int64_t i = 0; i < words; i++) n += __builtin_popcountll(f->one[i]);
    bool list = n < 2 * words;
    size_t bytes = list ? (size_t)n * sizeof *k->id : (size_t)words * sizeof *k->bits;
    if (list) k->id = vm_alloc(bytes + 1);
    else k->bits = vm_alloc(bytes);
    if (!k->id && !k->bits) return false;
    if (!list) memcpy(k->bits, f->one, bytes);
    for (int64_t i = 0; i < words && list; i++)
        for (uint64_t w = f->one[i]; w; w &= w - 1) k->id[k->n++] = (int32_t)(64 * i + __builtin_ctzll(w));
    f->kept += bytes;
    return k->masked = true;
}

/* The mask of a place whatever end it leaves; -1 when memory is out. */
static int64_t masked(constraint_form *f, g_place p) {
    const token_trie *t = f->trie;
    int64_t i = find(f, p), most;
    if (i < 0 || f->k[i].masked) return i;
    bool chars = grammar_walk_chars(f->walk, p, &most);
    memset(f->one, 0, (size_t)t->words * sizeof *f->one);
    int64_t longest = visit_all(f, chars ? &t->others : &t->all, false, p, -1, f->one);
    known *k = &f->k[i];
    k->growth = longest - grammar_walk_cost(f->walk, p, false);
    k->plain = chars ? (int)VM_MIN(most, (int64_t)t->longest_plain) : 0;
    return keep(f, k) ? i : -1;
}

/* Adds the tokens from p that leave an end of at most left - 1 tokens. */
static void add_tight(constraint_form *f, bool first, g_place p, int64_t left, g_places *scratch) {
    const token_trie *t = f->trie;
    int64_t most;
    bool chars = !first && grammar_walk_chars(f->walk, p, &most);
    visit_all(f, chars ? &t->others : &t->all, first, p, left, f->bits);
    for (int64_t k = 1; chars && k <= VM_MIN(most, (int64_t)t->longest_plain); k++) {
        grammar_walk_skip(f->walk, p, k, scratch);
        if (!ends_in(f, scratch, left - 1)) continue;
        const uint64_t *with = t->plain + (k - 1) * t->words, *without = k > 1 ? with - t->words : NULL;
        for (int64_t w = 0; w < t->words; w++) f->bits[w] |= without ? with[w] & ~without[w] : with[w];
    }
}

const uint64_t *constraint_mask(constraint *c, int64_t left, vm_error *e) {
    constraint_form *f = c->f;
    const int64_t words = f->trie->words;
    bool tight = !c->begun, ok = true; /* the first token's own rules are not kept */
    memset(f->bits, 0, (size_t)words * sizeof *f->bits);
    if (f->kept > MOST_KEPT) forget(f);
    for (int64_t i = 0; i < c->at.n && ok && !tight; i++) {
        int64_t k = masked(f, grammar_walk_view(f->walk, c->at.at[i]));
        ok = k >= 0;
        tight = ok && grammar_walk_cost(f->walk, c->at.at[i], false) + f->k[k].growth > left - 1;
    }
    for (int64_t i = 0; i < c->at.n && ok; i++) {
        if (tight) {
            add_tight(f, !c->begun, c->at.at[i], left, &c->next);
            continue;
        }
        const known *k = &f->k[masked(f, grammar_walk_view(f->walk, c->at.at[i]))];
        const uint64_t *plain = k->plain ? f->trie->plain + (k->plain - 1) * words : NULL;
        for (int64_t w = 0; w < words && plain; w++) f->bits[w] |= plain[w];
        for (int64_t w = 0; w < words && k->bits; w++) f->bits[w] |= k->bits[w];
        for (int64_t t = 0; t < k->n; t++) f->bits[k->id[t] / 64] |= (uint64_t)1 << k->id[t] % 64;
    }
    if (!ok) vm_nomem(e, (size_t)words * sizeof *f->bits, "a mask of tokens");
    return grammar_walk_error(f->walk, e) || e->status ? NULL : f->bits;
}

int64_t constraint_needs(constraint *c, vm_error *e) {
    int64_t best = c->at.done ? 0 : GRAMMAR_NEVER;
    for (int64_t i = 0; i < c->at.n && best; i++) {
        int64_t n = c->begun ? needs_of(c->f, c->at.at[i]) : spell_end(c->f, c->at.at[i], true);
        if (n < 0) return vm_nomem(e, 64, "a text's end"), -1;
        best = VM_MIN(best, n);
    }
    return grammar_walk_error(c->f->walk, e) ? -1 : best;
}

vm_status constraint_accept(constraint *c, int32_t id, vm_error *e) {
    const token_trie *t = c->f->trie;
    bool known_id = id >= 0 && id < t->vocab;
    const char *s = known_id ? t->bytes + t->at[id] : NULL, *end = known_id ? t->bytes + t->at[id + 1] : NULL;
    for (int drops = c->begun ? 0 : t->drops; drops && s < end && *s == ' '; drops -= drops == 1) s++;
    bool ok = s < end;
    for (; s < end && ok; s++) {
        ok = grammar_walk_step(c->f->walk, &c->at, (uint8_t)*s, &c->next);
        g_places swap = c->at;
        c->at = c->next, c->next = swap;
    }
    c->begun = true;
    if (grammar_walk_error(c->f->walk, e)) return e->status;
    return ok ? VM_OK : vm_fail(e, VM_EINPUT, "token %d does not fit the grammar here", id);
}

bool constraint_done(const constraint *c) { return c->at.done; }
bool constraint_more(const constraint *c) { return c->at.n > 0; }

/* --- life --------------------------------------------------------------------------------------------------------- */
vm_status constraint_form_new(constraint_form **out, const grammar *g, const token_trie *trie, vm_error *e) {
    constraint_form *f = *out = vm_calloc(1, sizeof *f);
    if (!f) return vm_nomem(e, sizeof *f, "a grammar");
    f->trie = trie;
    size_t levels = (size_t)trie->longest + 2, words = (size_t)trie->words;
    f->level = vm_calloc(levels, sizeof *f->level), f->end = vm_calloc(levels, sizeof *f->end);
    f->bits = vm_alloc((words + 1) * sizeof *f->bits), f->one = vm_alloc((words + 1) * sizeof *f->one);
    g_places start = { 0 };
    if (!f->level || !f->end || !f->bits || !f->one || !widen(f)) vm_nomem(e, words * sizeof *f->bits, "a grammar");
    else if (!grammar_walk_new(&f->walk, g, trie->longest, &trie->can, e)) {
        grammar_walk_start(f->walk, &start);
        if (!grammar_walk_error(f->walk, e) && grammar_walk_cost_of(f->walk, &start, trie->drops == 1) >= GRAMMAR_NEVER)
            vm_fail(e, VM_EINPUT,
                    "the model's vocabulary has not all the bytes that a text of this form needs, alone or behind a blank; use a "
                    "tokenizer with single bytes");
    }
    g_places_free(&start);
    if (!e->status) return VM_OK;
    constraint_form_free(f);
    *out = NULL;
    return e->status;
}

void constraint_form_free(constraint_form *f) {
    if (!f) return;
    forget(f);
    for (int i = 0; f->level && i < f->trie->longest + 2; i++) g_places_free(&f->level[i]);
    grammar_walk_free(f->walk);
    vm_free(f->k), vm_free(f->table), vm_free(f->level), vm_free(f->end), vm_free(f->bits), vm_free(f->one),
        vm_free(f->best);
    vm_free(f);
}

void constraint_reset(constraint *c) {
    c->begun = false;
    grammar_walk_start(c->f->walk, &c->at);
}

vm_status constraint_new(constraint **out, constraint_form *f, vm_error *e) {
    constraint *c = *out = vm_calloc(1, sizeof *c);
    if (!c) return vm_nomem(e, sizeof *c, "a grammar");
    if (!f->live && grammar_walk_frames(f->walk) > MANY_FRAMES) grammar_walk_forget(f->walk), forget(f);
    c->f = f, f->live++;
    constraint_reset(c);
    if (!grammar_walk_error(f->walk, e)) return VM_OK;
    constraint_free(c);
    *out = NULL;
    return e->status;
}

void constraint_free(constraint *c) {
    if (!c) return;
    c->f->live--;
    g_places_free(&c->at), g_places_free(&c->next);
    vm_free(c);
}
