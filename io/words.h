/* words.h - English as far as captions need it: words and phrases inside a text, articles, plurals, numbers.
 *
 * A word is a run of letters, digits and bytes beyond ASCII; a hyphen or apostrophe between two such bytes belongs to
 * it ("t-shirt", "dog's"). Everything else separates words. Upper and lower case of ASCII letters are the same
 * throughout. Nothing here allocates: results go into buffers of WORDS_MAX bytes, longer phrases are cut at a whole
 * character. */
#ifndef VM_IO_WORDS_H
#define VM_IO_WORDS_H
#include "kernels/base.h"

enum { WORDS_MAX = 1024 };

/* A piece of a text, not terminated. */
typedef struct {
    const char *at;
    int len;
} word;

/* The first word at or behind *p; *p moves behind it. False when there is none. */
bool word_next(const char **p, word *w);
int word_count(const char *text);
bool word_is(word w, const char *s);                        /* the same letters, either case */
int word_any(word w, const char *const *list, int n);       /* its place in the list, or -1 */

/* The first place in the text where the words of the phrase stand as whole words, one behind the other, with nothing
 * but blanks and the phrase's own hyphens between them; at NULL when there is none or the phrase has no word. */
word phrase_find(const char *text, const char *phrase);
int phrase_count(const char *text, const char *phrase);     /* places, not overlapping */

/* The phrase behind a leading a, an, the (inside the phrase). */
const char *phrase_bare(const char *phrase);
/* "a" or "an", by the sound as far as spelling tells (an hour, a unicorn, an SUV, an 8). */
const char *phrase_article(const char *phrase);
/* In lower case, without articles and punctuation, single blanks between the words: a key to compare by. */
void phrase_key(char out[WORDS_MAX], const char *phrase);
/* The head noun, singular, in lower case: the last word, or the last one before of, in, on, with, ... ("cups of tea":
 * cup). */
void phrase_head(char out[WORDS_MAX], const char *phrase);
/* Is one of the words of the text this noun (as phrase_head gives it), in either number? */
bool phrase_mentions(const char *text, const char *noun);
/* The phrase with its head noun in the other number; those with one form (sheep, scissors) stay. */
void phrase_plural(char out[WORDS_MAX], const char *phrase);
void phrase_singular(char out[WORDS_MAX], const char *phrase);
bool noun_is_pair(const char *phrase); /* its head is plural in form, for one thing: scissors, skis, jeans */

/* no or zero 0, one 1, ... twelve 12, digits up to 999; -1 when it is no number. */
int word_number(word w);
const char *number_word(int n); /* "zero" ... "twelve"; NULL beyond */
#endif
