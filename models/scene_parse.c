/* scene_parse.c - reads captions of the miniature world back (grammar: scene.h) and checks them against a scene. */
#include <string.h>

#include "models/scene_parts.h"

typedef struct {
    scene_text *t;
    int at; /* byte of the next word; words are separated by single blanks */
} reader;

/* Takes `word` (which may hold a blank) when it comes next. */
static bool take(reader *r, const char *word) {
    size_t n = strlen(word);
    const char *s = r->t->text + r->at;
    if (strncmp(s, word, n) || (s[n] && s[n] != ' ')) return false;
    r->at += (int)n + (s[n] == ' ' && s[n + 1] != '\0');
    return true;
}

/* Index of the word of a table that comes next, from `first` on; -1 when none does. */
static int take_one(reader *r, const char *const *table, int first, int n) {
    for (int k = first; k < n; k++)
        if (take(r, table[k])) return k;
    return -1;
}

static bool read_phrase(reader *r, scene_phrase *p) {
    p->begin = (uint8_t)r->at;
    bool an = take(r, "an");
    int count = an ? SCENE_A : take_one(r, scene_number_name, 0, SCENE_A + 1);
    if (count < 0) return false;
    p->name = (uint8_t)r->at;
    if (count == SCENE_A && an != (strchr("aeiou", r->t->text[r->at]) != NULL)) return false;
    int size = take_one(r, scene_size_name, 0, SCENE_SIZES);
    int colour = take_one(r, scene_colour_name, 0, SCENE_COLOURS);
    int texture = take_one(r, scene_texture_name, 1, SCENE_TEXTURES);
    bool one = count == SCENE_A || count == 1;
    int class = take_one(r, one ? scene_class_name : scene_plural_name, 0, SCENE_CLASSES);
    if (class < 0) return false;
    p->count = (uint8_t)count;
    p->size = (uint8_t)(size < 0 ? SCENE_UNSAID : size);
    p->colour = (uint8_t)(colour < 0 ? SCENE_UNSAID : colour);
    p->texture = (uint8_t)(texture < 0 ? SCENE_UNSAID : texture);
    p->class = (uint8_t)class;
    p->end = (uint8_t)(r->t->text[r->at] ? r->at - 1 : r->at);
    return true;
}

bool scene_parse(const char *text, scene_text *t) {
    memset(t, 0, sizeof *t);
    t->relation = SCENE_NO_RELATION;
    t->background = SCENE_UNSAID;
    size_t n = strlen(text);
    if (n >= SCENE_TEXT || !n || text[n - 1] == ' ') return false;
    memcpy(t->text, text, n);
    reader r = { t, 0 };
    if (!read_phrase(&r, &t->phrase[t->n++])) return false;
    int relation = take_one(&r, scene_relation_name, 0, SCENE_NO_RELATION);
    if (relation >= 0) {
        t->relation = (uint8_t)relation;
        if (!read_phrase(&r, &t->phrase[t->n++])) return false;
    }
    while (relation < 0 && t->n < SCENE_PHRASES && take(&r, "and"))
        if (!read_phrase(&r, &t->phrase[t->n++])) return false;
    if (take(&r, "on")) {
        int k = take_one(&r, scene_background_name, 0, SCENE_BACKGROUNDS);
        if (k < 0) return false;
        t->background = (uint8_t)k;
    }
    return !t->text[r.at];
}

static bool said(uint8_t word, uint8_t is) { return word == SCENE_UNSAID || word == is; }

unsigned scene_matches(const scene *s, const scene_phrase *p) {
    unsigned found = 0;
    for (int k = 0; k < s->n; k++) {
        const scene_object *o = &s->object[k];
        if (o->class == p->class && said(p->colour, o->colour) && said(p->texture, o->texture) &&
            said(p->size, o->size))
            found |= 1u << k;
    }
    return found;
}

static bool relation_holds(const scene *s, unsigned a, unsigned b, scene_relation relation) {
    for (int i = 0; i < s->n; i++)
        for (int j = 0; j < s->n; j++)
            if (i != j && a >> i & b >> j & 1 && scene_relate(&s->object[i], &s->object[j]) == relation) return true;
    return false;
}

bool scene_holds(const scene *s, const scene_text *t) {
    unsigned found[SCENE_PHRASES];
    for (int k = 0; k < t->n; k++) {
        found[k] = scene_matches(s, &t->phrase[k]);
        int n = __builtin_popcount(found[k]), count = t->phrase[k].count;
        if (count == SCENE_A ? n < 1 : count == SCENE_SOME ? n < 2 : n != count) return false;
    }
    if (t->relation != SCENE_NO_RELATION && !relation_holds(s, found[0], found[1], (scene_relation)t->relation))
        return false;
    return said(t->background, s->background);
}
