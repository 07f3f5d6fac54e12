/* relation.h - the spatial relations of layouts: their words, and who is where in a caption.
 *
 * A relation is said of a subject and a reference: "A is to the left of B" says left of A, with B as reference. */
#ifndef VM_RELATION_H
#define VM_RELATION_H
#include "io/words.h"

typedef enum {
    REL_NONE = -1,
    REL_LEFT, REL_RIGHT, REL_TOP, REL_BOTTOM, REL_BELOW, REL_ABOVE, REL_UNDER,
    REL_SWAPPABLE,              /* the ones before can be swapped in a picture; depth and containment cannot */
    REL_FRONT = REL_SWAPPABLE, REL_INSIDE,
    REL_KINDS
} relation;

typedef struct {
    const char *label;    /* in categories: relation(left of) */
    const char *word;     /* in captions */
    const char *phrase;   /* between subject and reference: "A is <phrase> B" */
    relation inverse;     /* holds of the reference; REL_NONE = without a word here */
} relation_info;
extern const relation_info relations[REL_KINDS];

relation relation_of_word(word w);              /* REL_NONE when it is none */
/* Of "left of", "to the left of", "top", ...: of the one relation word in the text. REL_NONE: none, or several. */
relation relation_of_label(const char *label);

/* The relation words of a caption in their order, at most max of them; returns how many there are. */
int relation_words(const char *caption, word *at, int max);

/* What a caption says of two objects, whose names (articles do not count) stand in it once each. Understood are
 *     A ... REL (of) B          the left of A
 *     REL of B ... A            "on the left of B is A": the left of A
 *     A ... B ... on the REL    "B with A on the left": of the one before it
 *     A ... REL ... B ... REL'  "A at the top and B at the bottom": two words, each the other's inverse
 * *subject is 0 for a, 1 for b. REL_NONE when no pattern fits: *why says what. */
relation relation_read(const char *caption, const char *a, const char *b, int *subject, const char **why);
#endif
