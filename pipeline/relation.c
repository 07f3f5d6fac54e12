/* relation.c - see relation.h. */
#include "pipeline/relation.h"

#include <string.h>

const relation_info relations[REL_KINDS] = {
    [REL_LEFT] = { "left of", "left", "to the left of", REL_RIGHT },
    [REL_RIGHT] = { "right of", "right", "to the right of", REL_LEFT },
    [REL_TOP] = { "on top of", "top", "on top of", REL_BOTTOM },
    [REL_BOTTOM] = { "on bottom of", "bottom", "at the bottom of", REL_TOP },
    [REL_BELOW] = { "below", "below", "below", REL_ABOVE },
    [REL_ABOVE] = { "above", "above", "above", REL_BELOW },
    [REL_UNDER] = { "under", "under", "under", REL_ABOVE },
    [REL_FRONT] = { "in front of", "front", "in front of", REL_NONE },
    [REL_INSIDE] = { "inside", "inside", "inside", REL_NONE },
};

relation relation_of_word(word w) {
    for (int r = 0; r < REL_KINDS; r++)
        if (word_is(w, relations[r].word)) return (relation)r;
    return REL_NONE;
}

int relation_words(const char *caption, word *at, int max) {
    int n = 0;
    for (word w; word_next(&caption, &w);) {
        if (relation_of_word(w) == REL_NONE) continue;
        if (n < max) at[n] = w;
        n++;
    }
    return n;
}

relation relation_of_label(const char *label) {
    word w;
    return relation_words(label, &w, 1) == 1 ? relation_of_word(w) : REL_NONE;
}

/* Only these words between two places. */
static bool only(const char *from, const char *to, const char *const *list, int n) {
    for (word w; word_next(&from, &w) && w.at < to;)
        if (word_any(w, list, n) < 0) return false;
    return true;
}

/* Is there a reference right behind the relation word at r: "left of the B", "above a B"? */
static bool governs(word r, word b) {
    static const char *const between[] = { "of", "from", "side", "a", "an", "the" };
    relation k = relation_of_word(r);
    bool needs_of = k == REL_LEFT || k == REL_RIGHT || k == REL_TOP || k == REL_BOTTOM || k == REL_FRONT;
    if (b.at < r.at || !only(r.at + r.len, b.at, between, VM_LEN(between))) return false;
    word of = phrase_find(r.at, "of"), from = phrase_find(r.at, "from");
    return !needs_of || (of.at && of.at < b.at) || (from.at && from.at < b.at);
}

/* Does the word stand by itself, as in "on the left", "on its left side,", "above"? */
static bool alone(word r, const char *end) {
    static const char *const behind[] = { "side", "half", "corner", "part", "edge", "hand" };
    return only(r.at + r.len, end, behind, VM_LEN(behind));
}

static relation one_word(word r, word first, word second, bool *first_is, const char **why) {
    const char *end = second.at + strlen(second.at);
    if (r.at > first.at && r.at < second.at) *first_is = true;       /* A REL of B, A on the REL and B */
    else if (r.at > second.at && alone(r, end)) *first_is = false;   /* A with B on the REL */
    else if (r.at < first.at && governs(r, first)) *first_is = false; /* REL of A is B */
    else {
        *why = "who is where cannot be read from the caption";
        return REL_NONE;
    }
    return relation_of_word(r);
}

relation relation_read(const char *caption, const char *a, const char *b, int *subject, const char **why) {
    word at[3], pa = phrase_find(caption, phrase_bare(a)), pb = phrase_find(caption, phrase_bare(b));
    int n = relation_words(caption, at, 3);
    if (!pa.at || !pb.at || pa.at == pb.at) {
        *why = "an object is not in the caption";
        return REL_NONE;
    }
    bool first_is = true, a_first = pa.at < pb.at;
    word first = a_first ? pa : pb, second = a_first ? pb : pa;
    relation r = REL_NONE;
    if (n == 1) r = one_word(at[0], first, second, &first_is, why);
    else if (n == 2 && relations[relation_of_word(at[0])].inverse == relation_of_word(at[1]) &&
             ((at[0].at > first.at && at[0].at < second.at && at[1].at > second.at) ||
              (at[0].at < first.at && at[1].at > first.at && at[1].at < second.at)))
        r = relation_of_word(at[0]);
    else *why = n ? "several relation words" : "no relation word";
    *subject = first_is == a_first ? 0 : 1;
    return r;
}
