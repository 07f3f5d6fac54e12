/* words.c - words and phrases inside a text, articles, numbers. See words.h; nouns are in words_noun.c. */
#include "io/words.h"

#include <string.h>
#include <strings.h>

static bool letter(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 0x80 || (u >= '0' && u <= '9') || ((u | 32) >= 'a' && (u | 32) <= 'z');
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool word_next(const char **p, word *w) {
    const char *s = *p;
    while (*s && !letter(*s)) s++;
    w->at = s;
    while (letter(*s) || ((*s == '-' || *s == '\'') && s > w->at && letter(s[1]))) s++;
    w->len = (int)(s - w->at);
    *p = s;
    return w->len > 0;
}

int word_count(const char *text) {
    int n = 0;
    for (word w; word_next(&text, &w);) n++;
    return n;
}

bool word_is(word w, const char *s) { return strlen(s) == (size_t)w.len && !strncasecmp(w.at, s, (size_t)w.len); }

int word_any(word w, const char *const *list, int n) {
    for (int i = 0; i < n; i++)
        if (word_is(w, list[i])) return i;
    return -1;
}

static bool same(word a, word b) { return a.len == b.len && !strncasecmp(a.at, b.at, (size_t)a.len); }

/* Only blanks between the two places, or what stands between them in the phrase too. */
static bool joined(const char *from, const char *to, const char *as, int as_len) {
    int n = (int)(to - from);
    if (n == as_len && !strncmp(from, as, (size_t)n)) return true;
    for (; from < to; from++)
        if (!strchr(" \t\r\n", *from)) return false;
    return true;
}

word phrase_find(const char *text, const char *phrase) {
    const char *p = phrase, *t = text;
    word first, w;
    if (!word_next(&p, &first)) return (word){ NULL, 0 };
    while (word_next(&t, &w)) {
        if (!same(w, first)) continue;
        const char *in = p, *on = t, *end = t;
        bool all = true;
        for (word want, got; all;) {
            const char *gap = in;
            if (!word_next(&in, &want)) break;
            all = word_next(&on, &got) && same(got, want) && joined(end, got.at, gap, (int)(want.at - gap));
            end = on;
        }
        if (all) return (word){ w.at, (int)(end - w.at) };
    }
    return (word){ NULL, 0 };
}

int phrase_count(const char *text, const char *phrase) {
    int n = 0;
    for (word w; (w = phrase_find(text, phrase)).at; text = w.at + w.len) n++;
    return n;
}

static bool is_article(word w) { return word_any(w, (const char *const[]){ "a", "an", "the" }, 3) >= 0; }

const char *phrase_bare(const char *phrase) {
    const char *p = phrase;
    word w;
    while (*phrase == ' ') phrase++;
    if (!word_next(&p, &w) || w.at != phrase || !is_article(w) || *p != ' ') return phrase;
    while (*p == ' ') p++;
    return *p ? p : phrase;
}

const char *phrase_article(const char *phrase) {
    static const char *const consonant[] = { "eu",  "ewe", "one",  "once", "ufo", "uni",
                                             "use", "usu", "uten", "uku",  "ura" };
    static const char *const vowel[] = { "heir", "honest", "honor", "honour", "hour", "8", "11 ", "18 " };
    word w;
    if (!word_next(&phrase, &w)) return "a";
    bool capitals = w.len > 1;
    for (int i = 0; i < w.len; i++)
        if ((w.at[i] < 'A' || w.at[i] > 'Z') && (!i || w.at[i] < '0' || w.at[i] > '9')) capitals = false;
    if (w.len == 1 || w.at[1] == '-' || (capitals && w.len <= 4)) /* spelt: an X-ray, an SUV, a TV */
        return memchr("aefhilmnorsx8", lower(w.at[0]), 13) ? "an" : "a";
    if (!strncasecmp(w.at, "unin", 4) || !strncasecmp(w.at, "unim", 4)) return "an";
    for (int i = 0; i < VM_LEN(consonant); i++)
        if (!strncasecmp(w.at, consonant[i], strlen(consonant[i]))) return "a";
    for (int i = 0; i < VM_LEN(vowel); i++)
        if (!strncasecmp(w.at, vowel[i], strlen(vowel[i]))) return "an";
    return strchr("aeiou", lower(w.at[0])) ? "an" : "a";
}

void phrase_key(char out[WORDS_MAX], const char *phrase) {
    int n = 0;
    for (word w; word_next(&phrase, &w);) {
        if (is_article(w)) continue;
        if (n + w.len + 2 > WORDS_MAX) break;
        if (n) out[n++] = ' ';
        for (int i = 0; i < w.len; i++) out[n++] = lower(w.at[i]);
    }
    out[n] = 0;
}

static const char *const numbers[] = { "zero", "one", "two", "three", "four",  "five",  "six",
                                       "seven", "eight", "nine", "ten",  "eleven", "twelve" };

int word_number(word w) {
    int i = word_any(w, numbers, VM_LEN(numbers)), n = 0;
    if (i >= 0) return i;
    if (word_is(w, "no")) return 0;
    if (w.len < 1 || w.len > 3) return -1;
    for (i = 0; i < w.len; i++) {
        if (w.at[i] < '0' || w.at[i] > '9') return -1;
        n = 10 * n + (w.at[i] - '0');
    }
    return n;
}

const char *number_word(int n) { return n >= 0 && n < VM_LEN(numbers) ? numbers[n] : NULL; }
