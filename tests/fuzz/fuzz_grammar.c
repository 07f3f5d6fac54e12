/* fuzz_grammar.c - any text as a JSON schema or as a grammar: it is refused with a sentence, or its shortest text is
 * one of its own. */
#include "io/grammar.h"
#include "io/grammar_walk.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The shortest text, read by the automaton that wrote it; every prefix can still end. */
static void read_own_text(const grammar *g) {
    vm_error e = { 0 };
    grammar_walk *w = NULL;
    g_places at = { 0 }, next = { 0 };
    g_tokens all = { .joined = { 0 } };
    memset(all.byte, 1, sizeof all.byte);
    if (grammar_walk_new(&w, g, 16, &all, &e)) __builtin_trap();
    grammar_walk_start(w, &at);
    int64_t cost = grammar_walk_cost_of(w, &at, false);
    if (!grammar_walk_error(w, &e) && cost > 0 && cost < 5000 && at.n) {
        int64_t best = 0;
        for (int64_t i = 1; i < at.n; i++)
            if (grammar_walk_cost(w, at.at[i], false) < grammar_walk_cost(w, at.at[best], false)) best = i;
        char *text = grammar_walk_end(w, at.at[best], false);
        for (int64_t i = 0; text && i < cost; i++) {
            if (!grammar_walk_step(w, &at, (uint8_t)text[i], &next) && !grammar_walk_error(w, &e)) __builtin_trap();
            g_places swap = at;
            at = next, next = swap;
            if (grammar_walk_error(w, &e)) break;
            if (grammar_walk_cost_of(w, &at, false) > cost - i - 1) __builtin_trap();
        }
        if (!e.status && !at.done) __builtin_trap();
        vm_free(text);
    }
    g_places_free(&at), g_places_free(&next);
    grammar_walk_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    for (int k = 0; k < 2; k++) {
        vm_error e = { 0 };
        grammar *g = NULL;
        if (k) grammar_from_schema(&g, (const char *)data, bytes, "input", &e);
        else grammar_from_text(&g, (const char *)data, bytes, "input", &e);
        if (!g != (e.status != VM_OK) || (e.status && !e.msg[0])) __builtin_trap();
        if (g) read_own_text(g);
        grammar_free(g);
    }
    return 0;
}
