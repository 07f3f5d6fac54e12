/* answer.c - see answer.h. */
#include "pipeline/answer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static int in_word(char c) { return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80; }

/* Blanks, and marks that only decorate. */
static const char *skip(const char *s) { return s + strspn(s, " \t\r\n*\"'`"); }

static int is_word(const char *text, const char *s, const char *word) {
    size_t n = strlen(word);
    return !strncasecmp(s, word, n) && !in_word(s[n]) && (s == text || !in_word(s[-1]));
}

/* What stands behind the last cue and its "is" and ":"; NULL without a cue. */
static const char *behind_cue(const char *text) {
    static const char *const cues[] = { "answer", "option", "choice" };
    const char *last = NULL;
    for (const char *s = text; *s; s++)
        for (int k = 0; k < 3; k++)
            if (is_word(text, s, cues[k])) last = s + strlen(cues[k]);
    if (!last) return NULL;
    last = skip(last);
    if (is_word(text, last, "is")) last = skip(last + 2);
    if (*last == ':') last = skip(last + 1);
    return last;
}

/* --- letters ------------------------------------------------------------------------------------------------------ */
static int option(char c, int n) { return c >= 'A' && c < 'A' + n ? c - 'A' : -1; }

/* "(x)" in either case. */
static int in_parentheses(const char *s, int n) {
    return s[0] == '(' && s[1] && s[2] == ')' ? option((char)toupper((unsigned char)s[1]), n) : -1;
}

/* "A or B" chooses nothing. */
static int goes_on(const char *text, const char *s) {
    return is_word(text, s, "or") || is_word(text, s, "and");
}

/* "A man", but not "A is right". */
static int is_article(const char *s) {
    const char *next = s + 1 + strspn(s + 1, " \t");
    return s[0] == 'A' && next > s + 1 && islower((unsigned char)*next) && !is_word(s, next, "is") && !goes_on(s, next);
}

/* An upper-case letter that is a word of its own. */
static int alone(const char *text, const char *s, int n) {
    if ((s > text && in_word(s[-1])) || in_word(s[1]) || s[1] == '\'' || is_article(s)) return -1;
    return option(*s, n);
}

static int leading(const char *s, int n) {
    int k = in_parentheses(s, n);
    if (k >= 0) return goes_on(s, skip(s + 3)) ? -1 : k;
    return s[0] && (!s[1] || strchr(".):,\n*", s[1])) ? option(s[0], n) : -1;
}

/* The only option that `find` sees in the text; -1 none, -2 several. */
static int only(const char *text, int n, int (*find)(const char *text, const char *s, int n)) {
    int found = -1;
    for (const char *s = text; *s; s++) {
        int k = find(text, s, n);
        if (k >= 0 && found >= 0 && k != found) return -2;
        if (k >= 0) found = k;
    }
    return found;
}

static int parenthesised(const char *text, const char *s, int n) { return in_parentheses(s, n); }

int answer_letter(const char *text, int n) {
    const char *from = skip(text), *cue = behind_cue(text);
    size_t len = strlen(from);
    int k = -1;
    while (len && isspace((unsigned char)from[len - 1])) len--;
    if (len == 1) return option((char)toupper((unsigned char)from[0]), n);
    if (cue && *cue && (k = in_parentheses(cue, n)) < 0) k = alone(text, cue, n);
    if (k < 0) k = leading(from, n);
    if (k < 0 && (k = only(text, n, parenthesised)) == -1) k = only(text, n, alone);
    return k < 0 ? -1 : k;
}

/* --- first and second --------------------------------------------------------------------------------------------- */
static int order_at(const char *text, const char *s, int n) {
    static const char *const words[2][3] = { { "first", "1st", "image 1" }, { "second", "2nd", "image 2" } };
    for (int k = 0; k < 2; k++)
        for (int w = 0; w < 3; w++)
            if (is_word(text, s, words[k][w])) return k;
    return -1;
}

int answer_order(const char *text) {
    const char *cue = behind_cue(text);
    int k = cue && *cue ? order_at(text, cue, 2) : -1;
    if (k < 0) k = only(text, 2, order_at);
    return k < 0 ? -1 : k;
}
