/* magic_rules.h - richer versions of a phrase: the rules M01 to M06, and how many a text encoder has room for. */
#ifndef VM_MAGIC_RULES_H
#define VM_MAGIC_RULES_H
#include "io/tokenizer.h"
#include "io/words.h"

/* Words that name a kind of a thing, and so the thing: kinds.csv, columns noun and also ("dog", "retriever terrier
 * ..."). */
typedef struct magic_kinds magic_kinds;
vm_status magic_kinds_new(magic_kinds **out, const char *text, const char *name, vm_error *e);
void magic_kinds_free(magic_kinds *k); /* accepts NULL */

enum { MAGIC_MOST = 5, MAGIC_USED = 3, MAGIC_TEXT = 128 };
typedef struct {
    char text[MAGIC_MOST][MAGIC_TEXT];
    int n;
} variants;

typedef enum { M_OK, M01, M02, M03, M04, M05, M06, M_CODES } magic_code;
extern const char *const magic_code_rule[M_CODES]; /* one line each */

/* The first rule that a version of the phrase breaks; v holds those before it. kinds may be NULL. */
magic_code magic_check(const char *text, const char *phrase, const char *caption, const variants *v,
                       const magic_kinds *kinds);
/* Adds it (blanks in order, without full stop, first letter small) when it passes and there is room. */
magic_code magic_add(variants *v, const char *text, const char *phrase, const char *caption, const magic_kinds *kinds);

/* "phrase, v1, v2, v3. caption": what a diffusion model is given; at most MAGIC_USED of them. vm_free. NULL when memory
 * is out. */
char *magic_prompt(const variants *v, const char *phrase, const char *caption);
/* Takes versions away from the end until that text has at most `most` tokens, special ones included; returns how many
 * went. */
vm_status magic_fit(variants *v, const char *phrase, const char *caption, tok *t, int64_t most, int *gone, vm_error *e);
#endif
