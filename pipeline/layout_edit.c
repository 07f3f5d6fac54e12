/* layout_edit.c - the twins of layouts: swapped relations, removed objects. See layout.h. */
#include "pipeline/layout.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The phrase with the article before it. */
static word with_article(const char *caption, word phrase) {
    const char *p = caption;
    for (word w, last = { NULL, 0 }; word_next(&p, &w) && w.at <= phrase.at; last = w)
        if (w.at == phrase.at && last.at && (word_is(last, "a") || word_is(last, "an") || word_is(last, "the")))
            return (word){ last.at, (int)(phrase.at + phrase.len - last.at) };
    return phrase;
}

/* Appends n bytes of s; the first letter takes the case that `like` begins with. False when out is full. */
static bool add(char *out, const char *s, int n, char like) {
    size_t len = strlen(out);
    if (len + (size_t)n + 1 > LAYOUT_TEXT) return false;
    memcpy(out + len, s, (size_t)n);
    out[len + (size_t)n] = 0;
    if (n && like && isalpha((unsigned char)like) && (n < 2 || !isupper((unsigned char)s[1])))
        out[len] = (char)(isupper((unsigned char)like) ? toupper((unsigned char)s[0]) : tolower((unsigned char)s[0]));
    return true;
}

bool layout_swap(layout *out, const layout *l) {
    if (l->n != 2) return false;
    const char *a = phrase_bare(l->object[0].name), *b = phrase_bare(l->object[1].name);
    if (phrase_count(l->caption, a) != 1 || phrase_count(l->caption, b) != 1) return false;
    word first = with_article(l->caption, phrase_find(l->caption, a)),
         second = with_article(l->caption, phrase_find(l->caption, b));
    if (second.at < first.at) {
        word t = first;
        first = second, second = t;
    }
    if (first.at + first.len > second.at) return false;
    layout t = *l;
    t.caption[0] = 0;
    const char *between = first.at + first.len, *behind = second.at + second.len;
    bool start = first.at == l->caption; /* only there a capital letter is the place's, not the word's */
    if (!add(t.caption, l->caption, (int)(first.at - l->caption), 0) ||
        !add(t.caption, second.at, second.len, start ? first.at[0] : 0) ||
        !add(t.caption, between, (int)(second.at - between), 0) ||
        !add(t.caption, first.at, first.len, start ? second.at[0] : 0) ||
        !add(t.caption, behind, (int)strlen(behind), 0))
        return false;
    for (int i = 0; i < 2; i++) { /* centres rounded down, so that the second swap leads back */
        const layout_object *o = &l->object[!i];
        t.object[i].x = o->x + o->w / 2 - l->object[i].w / 2;
        t.object[i].y = o->y + o->h / 2 - l->object[i].h / 2;
    }
    *out = t;
    return true;
}

int layout_isolated(const layout *l, int distance, int which[LAYOUT_OBJECTS]) {
    int k = 0;
    for (int i = 0; i < l->n; i++) {
        const layout_object *a = &l->object[i];
        bool apart = true;
        for (int j = 0; j < l->n && apart; j++) {
            const layout_object *b = &l->object[j];
            int64_t dx = 2 * (a->x - b->x) + a->w - b->w, dy = 2 * (a->y - b->y) + a->h - b->h;
            apart = j == i || dx * dx + dy * dy >= 4 * (int64_t)distance * distance;
        }
        if (apart) which[k++] = i;
    }
    return k;
}

bool layout_remove(layout *out, const layout *l, const int *which, int k) {
    char name[WORDS_MAX], other[WORDS_MAX];
    bool gone[LAYOUT_OBJECTS] = { 0 };
    layout t = *l;
    if (k < 1 || k > l->n) return false;
    phrase_singular(name, phrase_bare(l->object[which[0]].name));
    for (int i = 0; i < k; i++) {
        phrase_singular(other, phrase_bare(l->object[which[i]].name));
        if (strcmp(other, name) || gone[which[i]]) return false;
        gone[which[i]] = true;
    }
    int had = 0;
    t.n = 0;
    for (int i = 0; i < l->n; i++) {
        phrase_singular(other, phrase_bare(l->object[i].name));
        had += !strcmp(other, name);
        if (!gone[i]) t.object[t.n++] = l->object[i];
    }
    if (had == k || !layout_recount(t.caption, l->caption, name, had, had - k)) return false;
    if (layout_number(l) == had) snprintf(t.category, sizeof t.category, "counting(%s)", number_word(had - k));
    *out = t;
    return true;
}
