/* layout_count.c - numbers in captions: how many of a thing there are, and the caption with one fewer. See layout.h. */
#include "pipeline/layout.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { APART = 3 }; /* words between number and noun: "three small red" apples */

/* The number before the noun: the nearest of the words before it. */
static int before(const char *caption, word noun, word *number) {
    word last[APART + 1] = { { NULL, 0 } };
    const char *p = caption;
    for (word w; word_next(&p, &w) && w.at < noun.at;) {
        memmove(last + 1, last, APART * sizeof last[0]);
        last[0] = w;
    }
    for (int i = 0; i <= APART && last[i].at; i++) {
        int n = word_number(last[i]);
        if (n < 0 && (word_is(last[i], "a") || word_is(last[i], "an"))) n = 1;
        if (n < 0) continue;
        if (number) *number = last[i];
        return n;
    }
    return -1;
}

int layout_said(const char *caption, const char *name, word *number, word *noun) {
    char form[4][WORDS_MAX]; /* the whole name and its head, in both numbers */
    phrase_plural(form[0], name);
    snprintf(form[1], WORDS_MAX, "%s", name);
    phrase_head(form[3], name);
    phrase_plural(form[2], form[3]);
    for (int i = 0; i < 4; i++) {
        word at = phrase_find(caption, form[i]);
        int n = at.at ? before(caption, at, number) : -1;
        if (n < 0) continue;
        if (noun) *noun = at;
        return n;
    }
    return -1;
}

typedef struct {
    char *out;
    bool full;
} text;

static void add(text *t, const char *s, int n) {
    size_t len = strlen(t->out);
    if (len + (size_t)n + 1 > LAYOUT_TEXT) t->full = true;
    else memcpy(t->out + len, s, (size_t)n), t->out[len + (size_t)n] = 0;
}

/* The word before a place; at NULL when there is none. */
static word word_before(const char *caption, const char *place) {
    word last = { NULL, 0 };
    for (word w; word_next(&caption, &w) && w.at < place;) last = w;
    return last;
}

bool layout_recount(char out[LAYOUT_TEXT], const char *caption, const char *name, int from, int to) {
    word number, noun, behind;
    char form[WORDS_MAX], old[WORDS_MAX], digits[16];
    if (layout_said(caption, name, &number, &noun) != from || !number_word(to) || noun.len >= WORDS_MAX) return false;
    text t = { out, false };
    out[0] = 0;
    const char *p = caption, *next = noun.at + noun.len;
    word verb = word_before(caption, number.at);
    if (to == 1 && from > 1 && verb.at && word_is(verb, "are")) { /* there are three */
        add(&t, p, (int)(verb.at - p)), add(&t, isupper((unsigned char)verb.at[0]) ? "Is" : "is", 2);
        p = verb.at + verb.len;
    }
    add(&t, p, (int)(number.at - p));
    snprintf(digits, sizeof digits, "%d", to);
    bool as_digits = isdigit((unsigned char)number.at[0]);
    size_t len = strlen(out);
    add(&t, as_digits ? digits : number_word(to), (int)strlen(as_digits ? digits : number_word(to)));
    if (isupper((unsigned char)number.at[0])) out[len] = (char)toupper((unsigned char)out[len]);
    add(&t, number.at + number.len, (int)(noun.at - number.at - number.len));
    snprintf(old, sizeof old, "%.*s", noun.len, noun.at);
    if (to == 1) phrase_singular(form, old);
    else if (from == 1) phrase_plural(form, old);
    else snprintf(form, sizeof form, "%s", old);
    add(&t, form, (int)strlen(form));
    const char *q = next;
    if (to == 1 && from > 1 && word_next(&q, &behind) && word_is(behind, "are")) { /* apples are */
        add(&t, next, (int)(behind.at - next)), add(&t, "is", 2);
        next = behind.at + behind.len;
    }
    add(&t, next, (int)strlen(next));
    return !t.full;
}
