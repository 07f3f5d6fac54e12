/* grammar_parts.h - what the grammar files share: expressions, the automaton made of them, its runs. Not for callers
 * but constrain.c.
 *
 * A notation is read into expressions (gx), grouped in rules. grammar_finish turns them into states over bytes; a run
 * of those is a set of places (state, frame). A frame is where a called rule or a counted repetition returns to, with
 * the frame below it; equal frames are one, so that places compare by their numbers. */
#ifndef VM_GRAMMAR_PARTS_H
#define VM_GRAMMAR_PARTS_H
#include "io/grammar.h"

/* --- expressions -------------------------------------------------------------------------------------------------- */
typedef enum { GX_LITERAL, GX_SET, GX_ALL, GX_ANY, GX_REPEAT, GX_CALL, GX_CHARS } gx_kind;
typedef struct {
    gx_kind kind;
    /* bytes; ranges; members of a sequence or of a choice; the repeated one, the rule called: first */
    int64_t first, n;
    int64_t lo, hi;   /* repetitions and characters; hi -1: without end */
} gx;
typedef struct { int32_t lo, hi; } gx_range; /* code points */
typedef struct {
    char *name;
    int32_t body;  /* -1 = not yet */
    int64_t line;  /* where it was first named; 0 = unknown */
} gx_rule;

typedef struct {
    gx *x;
    int64_t n, cap;
    char *bytes;
    int64_t n_bytes, bytes_cap;
    gx_range *range;
    int64_t n_ranges, ranges_cap;
    int32_t *member;
    int64_t n_members, members_cap;
    gx_rule *rule; /* rule 0 is the text */
    int64_t n_rules, rules_cap;
    const char *name; /* in messages */
    bool failed;      /* memory, or */
    bool full;        /* more than GX_MOST_RULES */
} gx_book;
enum { GX_MOST_RULES = 1 << 14 };

/* Each gives the number of a new expression; -1 and b->failed when memory is out. */
int32_t gx_literal(gx_book *b, const char *s, size_t n);
int32_t gx_set(gx_book *b, gx_range *r, int64_t n); /* in any order; r is sorted */
int32_t gx_list(gx_book *b, gx_kind all_or_any, const int32_t *x, int64_t n);
int32_t gx_pair(gx_book *b, gx_kind all_or_any, int32_t x, int32_t y);
int32_t gx_repeat(gx_book *b, int32_t x, int64_t lo, int64_t hi);
int32_t gx_call(gx_book *b, int32_t rule);
int32_t gx_chars(gx_book *b, int64_t lo, int64_t hi); /* what stands between the quotes of a JSON string */
/* The rule of this name, made when there is none; line as gx_rule has it. */
int32_t gx_rule_of(gx_book *b, const char *name, size_t n, int64_t line);
int32_t gx_rule_new(gx_book *b, const char *name, size_t n, int64_t line); /* a new one, whatever its name is */
void gx_book_free(gx_book *b);

/* A growing list of expressions. */
typedef struct {
    int32_t *x;
    int64_t n, cap;
} gx_items;
static inline bool gx_add(gx_items *l, int32_t x) {
    if (x < 0 || !vm_grow(&l->x, &l->cap, l->n + 1, sizeof *l->x)) return false;
    l->x[l->n++] = x;
    return true;
}

/* Pieces of notations: at *s < end; errors are "NAME:LINE: ...". */
typedef struct {
    gx_book *b;
    const char *s, *end;
    int64_t line;
    vm_error *e;
} gx_reader;
vm_status gx_fail(const gx_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* * + ? {m,n} behind x, as many as stand there; the expression with them. */
int32_t gx_read_counts(gx_reader *r, int32_t x);
/* [...] from the bracket on: the ranges of a class (vm_free), *negated as it says. escape: reads one behind its
 * backslash into ranges. */
typedef bool gx_escape(gx_reader *r, gx_range *out, int *n);
vm_status gx_read_class(gx_reader *r, gx_escape *escape, gx_range **out, int64_t *n);
/* Everything but these; surrogates are no characters. *r is replaced. */
vm_status gx_negate(gx_range **r, int64_t *n, vm_error *e);
enum { GX_CLASS_ROOM = 8 }; /* ranges of one escape at most */

int32_t gx_pattern(gx_book *b, const char *pattern, json_value where, vm_error *e); /* inside a JSON string */
int32_t gx_integer(gx_book *b, int64_t lo, int64_t hi);                             /* decimal, |lo|, |hi| < 10^18 */

/* --- the automaton ------------------------------------------------------------------------------------------------ */
typedef enum { G_RETURN, G_BYTES, G_SPLIT, G_CALL, G_REPEAT } g_kind;
typedef struct {
    uint8_t kind;
    bool again;     /* G_SPLIT: can come back to itself without a byte */
    bool chars;     /* G_REPEAT: of JSON characters */
    int32_t a, b;   /* first and count of edges or targets; callee, body: a, behind it: b */
    int64_t lo, hi; /* G_REPEAT */
} g_state;
typedef struct {
    uint8_t lo, hi;
    int32_t to;
} g_edge;

struct grammar {
    g_state *state; /* state 0 returns */
    int64_t n, cap;
    g_edge *edge;
    int64_t n_edges, edges_cap;
    int32_t *target;
    int64_t n_targets, targets_cap;
    int32_t start, character; /* the first state of a JSON character; -1 = none in it */
    int64_t *least;           /* of each state: bytes to the end of its rule or body at least */
    char *name;
};

/* Frees the book's contents in any case. */
vm_status grammar_finish(grammar **out, gx_book *b, vm_error *e);
#endif
