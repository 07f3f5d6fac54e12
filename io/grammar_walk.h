/* grammar_walk.h - runs of a grammar's automaton, byte by byte; models/constrain.c makes masks of tokens from them.
 *
 * Where a text stands is a set of places: a state that takes a byte, and the frame to return to. A walk owns the
 * frames. */
#ifndef VM_GRAMMAR_WALK_H
#define VM_GRAMMAR_WALK_H
#include "io/grammar.h"

typedef struct grammar_walk grammar_walk;
typedef struct {
    int32_t state, frame;
} g_place;
/* All-zero is empty; g_places_free. */
typedef struct {
    g_place *at;
    int64_t n, cap;
    bool done; /* the text may end here */
} g_places;
static inline void g_places_free(g_places *s) {
    vm_free(s->at);
    *s = (g_places){ 0 };
}

/* What a vocabulary can write: byte[c]: c is a token; joined[c]: a blank and c are one. */
typedef struct {
    bool byte[256], joined[256];
} g_tokens;
/* longest: bytes of the longest token. Ends of texts are made of what can be written where they can be. */
vm_status grammar_walk_new(grammar_walk **out, const grammar *g, int longest, const g_tokens *can, vm_error *e);
void grammar_walk_free(grammar_walk *w); /* accepts NULL */
int64_t grammar_walk_frames(const grammar_walk *w);
void grammar_walk_forget(grammar_walk *w); /* all frames; no place is valid then */
/* The first thing that went wrong since the last call: memory (VM_EDEVICE), more ways to read a text than are followed
 * (VM_EINPUT). */
vm_status grammar_walk_error(grammar_walk *w, vm_error *e);

void grammar_walk_start(grammar_walk *w, g_places *to);
/* to = where c leads from all of `from`; false when nowhere. */
bool grammar_walk_step(grammar_walk *w, const g_places *from, uint8_t c, g_places *to);
bool grammar_walk_takes(const grammar_walk *w, g_place p, uint8_t c); /* whether c leads anywhere from p */

/* Bytes that the shortest end takes from here; GRAMMAR_NEVER and more: it needs a byte that cannot be written. begins: a text
 * starts here whose first token drops a blank, so that a joined byte can be written, and a blank by two of them. */
enum { GRAMMAR_NEVER = 1 << 20 };
int64_t grammar_walk_cost(const grammar_walk *w, g_place p, bool begins);
int64_t grammar_walk_cost_of(const grammar_walk *w, const g_places *s, bool begins); /* the least of them, 0 when done */
/* Such an end, of grammar_walk_cost bytes; the end of a place that it leads to between tokens is its rest. vm_free; NULL
 * when memory is out. */
char *grammar_walk_end(grammar_walk *w, g_place p, bool begins);

/* A place from which the same tokens may come: counts that no single token can exhaust are made equal. */
g_place grammar_walk_view(const grammar_walk *w, g_place p);
/* Whether p stands before a character of a JSON string (most: at most so many may come, INT64_MAX without end) ... */
bool grammar_walk_chars(const grammar_walk *w, g_place p, int64_t *most);
/* ... and where k <= most characters lead from there. */
void grammar_walk_skip(grammar_walk *w, g_place p, int64_t k, g_places *to);
#endif
