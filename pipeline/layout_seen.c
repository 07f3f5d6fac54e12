/* layout_seen.c - L13: captions that were there, pairs and categories that are full. Three kinds of keys, counted in
 * one table: c CAPTION (lower case, no articles and punctuation), p NAME, NAME (unordered), l CATEGORY. */
#include <stdio.h>
#include <string.h>

#include "io/keymap.h"
#include "pipeline/layout.h"

struct layout_seen {
    keymap key;
    int64_t *count, cap;
};

vm_status layout_seen_new(layout_seen **out, vm_error *e) {
    *out = vm_calloc(1, sizeof **out);
    return *out ? VM_OK : vm_nomem(e, sizeof **out, "captions");
}

void layout_seen_free(layout_seen *s) {
    if (!s) return;
    keymap_free(&s->key);
    vm_free(s->count);
    vm_free(s);
}

static int64_t count(const layout_seen *s, const char *key) {
    int64_t i = keymap_find(&s->key, key, strlen(key));
    return i < 0 ? 0 : s->count[i];
}

static bool add(layout_seen *s, const char *key) {
    int64_t before = s->key.n, i = keymap_put_text(&s->key, key);
    if (i < 0 || !vm_grow(&s->count, &s->cap, s->key.n, sizeof *s->count)) return false;
    if (i == before) s->count[i] = 0;
    s->count[i]++;
    return true;
}

layout_code layout_seen_add(layout_seen *s, const layout *l, const layout_rules *r, char why[LAYOUT_WHY], vm_error *e) {
    char text[WORDS_MAX], caption[WORDS_MAX + 2], pair[2 * WORDS_MAX + 8] = "", label[LAYOUT_NAME + 2],
                                                                       name[2][WORDS_MAX];
    phrase_key(text, l->caption);
    snprintf(caption, sizeof caption, "c %s", text);
    snprintf(label, sizeof label, "l %s", l->category);
    if (layout_relation(l) != REL_NONE && l->n == 2) {
        for (int i = 0; i < 2; i++) phrase_key(name[i], l->object[i].name);
        bool swap = strcmp(name[0], name[1]) > 0;
        snprintf(pair, sizeof pair, "p %s, %s", name[swap], name[!swap]);
    }
    why[0] = 0;
    if (count(s, caption)) return snprintf(why, LAYOUT_WHY, "the caption was there before"), L13;
    if (pair[0] && r->per_pair && count(s, pair) >= r->per_pair)
        return snprintf(why, LAYOUT_WHY, "%d captions of this pair were there before", r->per_pair), L13;
    if (r->per_label && count(s, label) >= r->per_label)
        return snprintf(why, LAYOUT_WHY, "%d captions of %s were there before", r->per_label, l->category), L13;
    if (!add(s, caption) || (pair[0] && !add(s, pair)) || !add(s, label)) vm_nomem(e, sizeof caption, "captions");
    return L_OK;
}
