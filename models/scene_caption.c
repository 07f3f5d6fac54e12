/* scene_caption.c - the captions of the miniature world: what they say, with the objects they speak of, and how.
 *
 *   caption := phrase | phrase rel phrase | phrase ("and" phrase)*, then with p .2 "on" background
 *   phrase  := ("a" | "an" | "some" | number) [size p .35] [colour p .7] [texture p .5, not if plain] noun
 *   list: all objects in random order. group: the group and with p .7 the other object, either first; "some" for the
 *   number with p .5 ("a" when there is one). two: with the relation p .5, either object first. dense: any three. */
#include <string.h>

#include "models/scene_parts.h"

const char *const scene_class_name[] = { "ball", "box",   "star", "tree",  "house",    "car",
                                         "fish", "cup", "heart", "moon", "mushroom", "flower" };
const char *const scene_plural_name[] = { "balls", "boxes", "stars",  "trees", "houses",    "cars",
                                          "fish",  "cups",  "hearts", "moons", "mushrooms", "flowers" };
const char *const scene_colour_name[] = { "red", "green", "blue", "yellow", "purple", "orange", "white", "black" };
const char *const scene_texture_name[] = { "plain", "striped", "dotted" };
const char *const scene_size_name[] = { "small", "large" };
const char *const scene_background_name[] = { "grass", "sand", "snow", "dusk" };
const char *const scene_number_name[] = { "some", "one", "two", "three", "four", "five", "a" };
const char *const scene_relation_name[] = { "left of", "right of", "above", "below" };
const char *const scene_category_name[] = { "object", "attribute", "relation", "counting" };
const char *const scene_aspect_name[] = { "class", "colour", "texture", "size", "place", "number" };

static const char *const words[] = {
    "a",      "an",    "some",  "one",    "two",     "three",  "four",  "five",   "and",       "on",      "left",
    "right",  "of",    "above", "below",  "small",   "large",  "red",   "green",  "blue",      "yellow",  "purple",
    "orange", "white", "black", "striped", "dotted", "grass",  "sand",  "snow",   "dusk",      "ball",    "box",
    "star",   "tree",  "house", "car",    "fish",    "cup",    "heart", "moon",   "mushroom",  "flower",  "balls",
    "boxes",  "stars", "trees", "houses", "cars",    "cups",   "hearts", "moons", "mushrooms", "flowers",
};

int scene_words(const char *const **list) {
    *list = words;
    return (int)(sizeof words / sizeof *words);
}

/* A phrase about object i or the group that it stands for (bits). */
static scene_phrase describe_object(const scene *s, int i, unsigned objects, vm_rng *r, scene_mode mode) {
    const scene_object *o = &s->object[i];
    bool all = mode == SCENE_SPECIFIC;
    scene_phrase p = { SCENE_A, SCENE_UNSAID, SCENE_UNSAID, SCENE_UNSAID, o->class, (uint8_t)objects, 0, 0, 0 };
    if (scene_chance(r, 35)) p.size = o->size;
    if (scene_chance(r, 70) || all) p.colour = o->colour;
    if ((scene_chance(r, 50) || all) && o->texture) p.texture = o->texture;
    return p;
}

static void swap_phrases(scene_phrase *a, scene_phrase *b) {
    scene_phrase t = *a;
    *a = *b;
    *b = t;
}

void scene_describe(const scene *s, vm_rng *r, scene_mode mode, scene_text *t) {
    memset(t, 0, sizeof *t);
    t->relation = SCENE_NO_RELATION;
    t->background = SCENE_UNSAID;
    if (s->kind == SCENE_GROUP) {
        t->phrase[t->n++] = describe_object(s, 0, (1u << s->group) - 1, r, mode);
        bool number = scene_chance(r, 50) || mode == SCENE_SPECIFIC;
        t->phrase[0].count = (uint8_t)(number ? s->group : s->group > 1 ? SCENE_SOME : SCENE_A);
        if (s->n > s->group && scene_chance(r, 70))
            t->phrase[t->n++] = describe_object(s, s->group, 1u << s->group, r, mode);
    } else {
        int n = s->kind == SCENE_TWO ? 2 : s->n < SCENE_PHRASES ? s->n : SCENE_PHRASES;
        for (int k = 0; k < n; k++) t->phrase[t->n++] = describe_object(s, k, 1u << k, r, mode);
    }
    for (int k = t->n - 1; k > 0; k--) swap_phrases(&t->phrase[k], &t->phrase[vm_rng_below(r, (uint32_t)k + 1)]);
    if (s->kind == SCENE_TWO && (scene_chance(r, 50) || mode == SCENE_SPECIFIC)) {
        bool turned = t->phrase[0].objects != 1;
        t->relation = (uint8_t)scene_relate(&s->object[turned], &s->object[!turned]);
    }
    if (scene_chance(r, 20)) t->background = s->background;
}

/* ---- text ---- */
static uint8_t add_word(scene_text *t, int *len, const char *word) {
    if (*len) t->text[(*len)++] = ' ';
    int begin = *len;
    size_t n = strlen(word);
    memcpy(t->text + begin, word, n + 1);
    *len += (int)n;
    return (uint8_t)begin;
}

static void add_phrase(scene_text *t, int *len, scene_phrase *p) {
    const char *part[4];
    int n = 0;
    bool one = p->count == SCENE_A || p->count == 1;
    if (p->size != SCENE_UNSAID) part[n++] = scene_size_name[p->size];
    if (p->colour != SCENE_UNSAID) part[n++] = scene_colour_name[p->colour];
    if (p->texture != SCENE_UNSAID) part[n++] = scene_texture_name[p->texture];
    part[n++] = (one ? scene_class_name : scene_plural_name)[p->class];
    bool vowel = strchr("aeiou", part[0][0]) != NULL;
    p->begin = add_word(t, len, p->count == SCENE_A && vowel ? "an" : scene_number_name[p->count]);
    p->name = add_word(t, len, part[0]);
    for (int k = 1; k < n; k++) add_word(t, len, part[k]);
    p->end = (uint8_t)*len;
}

void scene_write(scene_text *t) {
    int len = 0;
    memset(t->text, 0, sizeof t->text);
    for (int k = 0; k < t->n; k++) {
        if (k) add_word(t, &len, t->relation == SCENE_NO_RELATION ? "and" : scene_relation_name[t->relation]);
        add_phrase(t, &len, &t->phrase[k]);
    }
    if (t->background != SCENE_UNSAID) {
        add_word(t, &len, "on");
        add_word(t, &len, scene_background_name[t->background]);
    }
}

void scene_caption(const scene *s, uint64_t seed, scene_mode mode, scene_text *t) {
    vm_rng r = scene_rng(seed, 0, SCENE_STREAM_CAPTION);
    scene_describe(s, &r, mode, t);
    scene_write(t);
}
