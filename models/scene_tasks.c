/* scene_tasks.c - see scene_tasks.h. */
#include "models/scene_tasks.h"

#include <stdio.h>
#include <string.h>

#include "models/scene_parts.h"

const char *const scene_task_name[] = { "instruct.object", "instruct.attribute", "vet.object", "vet.attribute", "layout.relation", "layout.counting",
                                        "magic.object", "ask.full", "ask.region" };

/* A caption and one that differs in `changed` of its phrases. */
typedef struct {
    scene_text before, after;
    int k;       /* the phrase */
    scene_aspect aspect;
} edit;

enum { COIN = 1 << 30, PICK }; /* streams beside those of the captions that are tried */
static vm_rng stream(uint64_t seed, uint64_t variant) { return vm_rng_at(seed, (uint64_t)0x7a5c << 32 | variant); }

static int below(vm_rng *r, int n) { return (int)vm_rng_below(r, (uint32_t)n); }
static uint8_t another(vm_rng *r, uint8_t now, int n) {
    uint8_t v = (uint8_t)below(r, n - 1);
    return (uint8_t)(v + (v >= now));
}

static void draw_caption(scene_text *t, uint64_t seed, uint64_t variant, const scene_opts *o, scene_mode mode, vm_rng *r) {
    scene s;
    scene_sample_variant(seed, 1000 + variant, o, &s);
    scene_describe(&s, r, mode, t);
    scene_write(t);
}
static scene_mode any_mode(vm_rng *r) { return scene_chance(r, 70) ? SCENE_ORDINARY : SCENE_SPECIFIC; }

/* --- edits -------------------------------------------------------------------------------------------------------------- */
static uint8_t new_class(const scene_text *t, vm_rng *r) {
    unsigned used = 0;
    uint8_t class;
    for (int k = 0; k < t->n; k++) used |= 1u << t->phrase[k].class;
    do class = (uint8_t)below(r, SCENE_CLASSES);
    while (used >> class & 1);
    return class;
}

static bool has_attribute(const scene_phrase *p) { return p->colour != SCENE_UNSAID || p->texture != SCENE_UNSAID; }

/* One word of phrase x->k of the second caption, as the category wants it. */
static void change(edit *x, bool attribute, vm_rng *r) {
    scene_phrase *p = &x->after.phrase[x->k];
    x->aspect = SCENE_OF_CLASS;
    if (!attribute) p->class = new_class(&x->before, r);
    else if (p->texture == SCENE_UNSAID || (p->colour != SCENE_UNSAID && scene_chance(r, 75))) x->aspect = SCENE_OF_COLOUR, p->colour = another(r, p->colour, SCENE_COLOURS);
    else x->aspect = SCENE_OF_TEXTURE, p->texture = (uint8_t)(SCENE_TEXTURES - p->texture);
    scene_write(&x->after);
}

/* false: the caption has no attribute. */
static bool make_edit(edit *x, const scene_text *t, bool attribute, vm_rng *r) {
    int at = below(r, t->n), k = 0;
    while (attribute && k < t->n && !has_attribute(&t->phrase[(at + k) % t->n])) k++;
    if (k == t->n) return false;
    x->before = x->after = *t, x->k = (at + k) % t->n;
    change(x, attribute, r);
    return true;
}

static void cut(char out[SCENE_TEXT], const scene_text *t, int k, bool whole) {
    const scene_phrase *p = &t->phrase[k];
    int from = whole ? p->begin : p->name;
    snprintf(out, SCENE_TEXT, "%.*s", p->end - from, t->text + from);
}

static const char *category_of(scene_aspect a) {
    return a == SCENE_OF_CLASS ? "object" : a == SCENE_OF_COLOUR ? "attribute(color)" : "attribute(pattern)";
}

static void put_edit(json_writer *w, const edit *x) {
    char text[SCENE_TEXT];
    json_begin_object(w, NULL);
    cut(text, &x->before, x->k, false), json_put_str(w, "SelectedPhrase", text);
    cut(text, &x->after, x->k, false), json_put_str(w, "EditedPhrase", text);
    cut(text, &x->after, x->k, true), json_put_str(w, "EditedRegionPhrase", text);
    json_put_str(w, "EditedCaption", x->after.text);
    json_put_str(w, "Category", category_of(x->aspect));
    json_close_object(w);
}

static void add_field(scene_exercise *q, const char *name, const char *value) {
    q->field[q->n].name = name;
    snprintf(q->field[q->n++].value, SCENE_TEXT, "%s", value);
}

static void instruct(scene_exercise *q, json_writer *w, const scene_text *t, bool attribute, vm_rng *r) {
    edit first, second;
    add_field(q, "caption", t->text);
    json_begin_array(w, NULL);
    if (make_edit(&first, t, attribute, r)) {
        put_edit(w, &first);
        if (scene_chance(r, 35) && make_edit(&second, t, attribute, r) && strcmp(first.after.text, second.after.text)) {
            char a[SCENE_TEXT], b[SCENE_TEXT];
            cut(a, &first.after, first.k, false), cut(b, &second.after, second.k, false);
            if (strcmp(a, b)) put_edit(w, &second);
        }
    }
    json_close_array(w);
}

/* --- vet ---------------------------------------------------------------------------------------------------------------- */
typedef enum { WRONG_NOTHING, WRONG_OTHER, WRONG_COUNT, WRONG_RELATION, WRONG_SIZE, WRONG_ADDED, WRONG_TWO, WRONGS } wrong;
static const char *const wrong_name[] = { "unchanged", "category", "count", "relation", "size", "added", "several" };

/* What is wrong with an edit of the caption, made so; false when this caption does not allow it. */
static bool spoil(edit *x, wrong what, bool attribute, vm_rng *r) {
    scene_phrase *p = &x->after.phrase[x->k];
    scene_text *t = &x->after;
    switch (what) {
    case WRONG_NOTHING: break;
    case WRONG_OTHER:
        if (!attribute && !has_attribute(p)) return false;
        change(x, !attribute, r);
        break;
    case WRONG_COUNT:
        if (p->count < 1 || p->count > 5) return false;
        p->count = (uint8_t)(1 + another(r, (uint8_t)(p->count - 1), 5));
        break;
    case WRONG_RELATION:
        if (t->relation == SCENE_NO_RELATION) return false;
        t->relation = another(r, t->relation, SCENE_NO_RELATION);
        break;
    case WRONG_SIZE:
        if (p->size == SCENE_UNSAID) return false;
        p->size = !p->size;
        break;
    case WRONG_ADDED:
        if (p->colour == SCENE_UNSAID) p->colour = (uint8_t)below(r, SCENE_COLOURS);
        else if (p->texture == SCENE_UNSAID) p->texture = (uint8_t)(1 + below(r, 2));
        else return false;
        break;
    default: { /* two phrases */
        int other = (x->k + 1) % t->n;
        if (t->n < 2 || (attribute && (!has_attribute(p) || !has_attribute(&t->phrase[other])))) return false;
        change(x, attribute, r);
        x->before.phrase[x->k].class = p->class; /* the second new class is another one */
        x->k = other;
        change(x, attribute, r);
    }
    }
    scene_write(t);
    return true;
}

static void add_change(char out[SCENE_TEXT * 2], const char *was, const char *is) {
    size_t n = strlen(out);
    if (strcmp(was, is)) snprintf(out + n, SCENE_TEXT * 2 - n, "%s%.150s becomes %.150s", n ? " and " : "", was, is);
}

/* "red ball becomes red cup", phrase by phrase, then numbers and the relation. */
static void differences(char out[SCENE_TEXT * 2], const scene_text *a, const scene_text *b) {
    char x[SCENE_TEXT], y[SCENE_TEXT];
    out[0] = 0;
    for (int k = 0; k < a->n; k++) {
        bool counted = a->phrase[k].count != b->phrase[k].count;
        cut(x, a, k, counted), cut(y, b, k, counted);
        add_change(out, x, y);
    }
    if (a->relation != b->relation) add_change(out, scene_relation_name[a->relation], scene_relation_name[b->relation]);
    if (!out[0]) snprintf(out, SCENE_TEXT, "nothing changes");
}

static bool vet(scene_exercise *q, json_writer *w, const scene_text *t, bool attribute, bool good, vm_rng *r) {
    edit x = { .before = *t, .after = *t, .k = below(r, t->n) };
    char reason[SCENE_TEXT * 2];
    wrong what = (wrong)below(r, WRONGS);
    if (good ? !make_edit(&x, t, attribute, r) : !spoil(&x, what, attribute, r)) return false;
    add_field(q, "caption", t->text), add_field(q, "edited_caption", x.after.text);
    differences(reason, t, &x.after);
    json_begin_object(w, NULL);
    json_put_str(w, "reason", reason);
    json_put_str(w, "verdict", good ? "accept" : "reject");
    json_begin_array(w, "violated");
    if (!good) json_put_str(w, NULL, wrong_name[what]);
    json_close_array(w);
    json_close_object(w);
    return true;
}

/* --- layout ------------------------------------------------------------------------------------------------------------- */
enum { GRID = 16, EDGE = 16, CANVAS = 512 };
typedef struct {
    int x, y, w, h;
} box;

static int grid(vm_rng *r, int lo, int hi) { return (lo + GRID * below(r, (hi - lo) / GRID + 1)); } /* lo ... hi */

/* Subject and reference of a relation: the second lies to the right of or below the first when its numbers are larger. */
static void place_two(box b[2], scene_relation rel, vm_rng *r) {
    for (int k = 0; k < 2; k++) b[k] = (box){ .w = grid(r, 96, 128), .h = grid(r, 96, 128) };
    bool upright = rel == SCENE_ABOVE || rel == SCENE_BELOW, turned = rel == SCENE_RIGHT || rel == SCENE_BELOW;
    box *first = &b[turned], *second = &b[!turned];
    int gap = grid(r, 48, 112), aside = grid(r, -32, 32), long1 = upright ? first->h : first->w, long2 = upright ? second->h : second->w;
    int along = grid(r, EDGE, (CANVAS - EDGE - long1 - gap - long2) / GRID * GRID), across = grid(r, 64, 320);
    if (upright) first->y = along, second->y = along + long1 + gap, first->x = across, second->x = across + aside;
    else first->x = along, second->x = along + long1 + gap, first->y = across, second->y = across + aside;
}

/* Each in a cell of its own of 3 x 2, read row by row. */
static void place_alike(box *b, int n, vm_rng *r) {
    unsigned cells = 0;
    int w = grid(r, 80, 128), h = grid(r, 80, 128), k = 0;
    while (__builtin_popcount(cells) < n) cells |= 1u << below(r, 6);
    for (int c = 0; c < 6; c++)
        if (cells >> c & 1) b[k++] = (box){ EDGE + c % 3 * 160 + grid(r, 0, 144 - w), EDGE + c / 3 * 240 + grid(r, 0, 224 - h), w, h };
}

static void put_box(json_writer *w, const char *name, const box *b) {
    json_begin_object(w, NULL);
    json_put_str(w, "name", name);
    json_begin_array(w, "box");
    json_put_int(w, NULL, b->x), json_put_int(w, NULL, b->y), json_put_int(w, NULL, b->w), json_put_int(w, NULL, b->h);
    json_close_array(w);
    json_close_object(w);
}

static bool layout(scene_exercise *q, json_writer *w, const scene_text *t, bool counting, vm_rng *r) {
    char name[SCENE_TEXT], category[64];
    box b[SCENE_OBJECTS];
    int n = counting ? t->phrase[0].count : 2;
    if (counting ? t->n != 1 || n < 2 || n > 5 : t->relation == SCENE_NO_RELATION) return false;
    if (counting) place_alike(b, n, r);
    else place_two(b, (scene_relation)t->relation, r);
    add_field(q, "caption", t->text);
    json_begin_object(w, NULL);
    json_put_str(w, "caption", t->text);
    json_begin_array(w, "objects");
    for (int k = 0; k < n; k++) {
        scene_text one = *t; /* "two red balls": each of them is "a red ball" */
        if (counting) one.phrase[0].count = SCENE_A, scene_write(&one);
        cut(name, &one, counting ? 0 : k, true);
        put_box(w, name, &b[k]);
    }
    json_close_array(w);
    json_put_str(w, "background", t->background == SCENE_UNSAID ? "plain" : scene_background_name[t->background]);
    json_put_str(w, "negative", "");
    if (counting) snprintf(category, sizeof category, "counting(%s)", scene_number_name[n]);
    else snprintf(category, sizeof category, "relation(%s)", scene_relation_name[t->relation]);
    json_put_str(w, "category", category);
    json_close_object(w);
    return true;
}

/* --- magic, ask ---------------------------------------------------------------------------------------------------------- */
static void magic(scene_exercise *q, json_writer *w, const scene_text *t, vm_rng *r) {
    static const char *const word[] = { "shiny", "smooth", "painted", "glossy", "clean", "soft" };
    char phrase[SCENE_TEXT], richer[SCENE_TEXT + 16];
    int n = 2 + below(r, 2), at = below(r, VM_LEN(word)), by = scene_chance(r, 50) ? 1 : 5; /* steps that meet each word once */
    cut(phrase, t, below(r, t->n), false);
    add_field(q, "phrase", phrase), add_field(q, "caption", t->text);
    json_begin_array(w, NULL);
    for (int k = 0; k < n; k++) {
        snprintf(richer, sizeof richer, "%s %s", word[(at + k * by) % VM_LEN(word)], phrase);
        json_put_str(w, NULL, richer);
    }
    json_close_array(w);
}

static void put_question(json_writer *w, const char *text, const char *const *choices, int n, int answer, const char *kind) {
    json_begin_object(w, NULL);
    json_put_str(w, "question", text);
    json_begin_array(w, "choices");
    for (int k = 0; k < n; k++) json_put_str(w, NULL, choices[k]);
    json_close_array(w);
    json_put_int(w, "answer_index", answer);
    json_put_str(w, "kind", kind);
    json_close_object(w);
}

/* "is there a red cup?", "are there red cups?" */
static void put_presence(json_writer *w, const scene_text *t, int k, bool there) {
    static const char *const yes_no[] = { "yes", "no" };
    scene_text one = *t;
    scene_phrase *p = &one.phrase[k];
    char name[SCENE_TEXT], text[SCENE_TEXT + 32];
    bool single = p->count == SCENE_A || p->count == 1;
    if (single) p->count = SCENE_A, scene_write(&one);
    cut(name, &one, k, single);
    snprintf(text, sizeof text, "%s there %s?", single ? "is" : "are", name);
    put_question(w, text, yes_no, 2, !there, there ? "exist" : "absent");
}

/* Which of both: the new thing or the old one. */
static void put_which(json_writer *w, const edit *x, vm_rng *r) {
    const scene_phrase *was = &x->before.phrase[x->k], *is = &x->after.phrase[x->k];
    bool single = is->count == SCENE_A || is->count == 1;
    const char *const *nouns = single ? scene_class_name : scene_plural_name, *choice[2];
    char text[2 * SCENE_TEXT];
    int answer = below(r, 2);
    if (x->aspect == SCENE_OF_CLASS) {
        choice[answer] = nouns[is->class], choice[!answer] = nouns[was->class];
        snprintf(text, sizeof text, single ? "is it a %s or a %s?" : "are they %s or %s?", choice[0], choice[1]);
        put_question(w, text, choice, 2, answer, "identity");
        return;
    }
    bool colour = x->aspect == SCENE_OF_COLOUR;
    choice[answer] = colour ? scene_colour_name[is->colour] : scene_texture_name[is->texture];
    choice[!answer] = colour ? scene_colour_name[was->colour] : scene_texture_name[was->texture];
    snprintf(text, sizeof text, "%s the %s %s or %s?", single ? "is" : "are", nouns[is->class], choice[0], choice[1]);
    put_question(w, text, choice, 2, answer, "attribute");
}

static bool ask(scene_exercise *q, json_writer *w, const scene_text *t, bool full, vm_rng *r) {
    edit x;
    char text[SCENE_TEXT];
    if (!make_edit(&x, t, scene_chance(r, 50), r)) return false;
    const scene_phrase *p = &x.after.phrase[x.k];
    cut(text, &x.after, x.k, false), add_field(q, "edited_phrase", text);
    cut(text, &x.before, x.k, false), add_field(q, "phrase", text);
    if (full) add_field(q, "edited_caption", x.after.text);
    json_begin_array(w, NULL);
    put_presence(w, &x.after, x.k, true), put_presence(w, &x.before, x.k, false);
    put_which(w, &x, r);
    if (full && p->count >= 2 && p->count <= 5) {
        int first = below(r, 2), at = p->count - 2; /* three numbers in a row of two ... five */
        first = VM_MIN(VM_MAX(first, at - 2), at);
        snprintf(text, sizeof text, "how many %s are there?", scene_plural_name[p->class]);
        put_question(w, text, (const char *const *)scene_number_name + 2 + first, 3, at - first, "count");
    }
    json_close_array(w);
    return true;
}

/* --- all ---------------------------------------------------------------------------------------------------------------- */
static bool try_task(scene_exercise *q, json_writer *w, uint64_t seed, uint64_t variant, scene_task task, int max_objects) {
    vm_rng r = stream(seed, variant), coin = stream(seed, COIN);
    bool good = scene_chance(&coin, 50); /* whatever captions are tried: the verdicts stay balanced */
    bool relation = task == TASK_LAYOUT_RELATION, counting = task == TASK_LAYOUT_COUNTING;
    scene_opts o = { relation ? SCENE_TWO : counting ? SCENE_GROUP : SCENE_MIX, relation || counting ? 0 : max_objects };
    scene_text t;
    draw_caption(&t, seed, variant, &o, relation || counting ? SCENE_SPECIFIC : any_mode(&r), &r);
    switch (task) {
    case TASK_EDIT_OBJECT: instruct(q, w, &t, false, &r); return true;
    case TASK_EDIT_ATTRIBUTE: instruct(q, w, &t, true, &r); return true;
    case TASK_VET_OBJECT: return vet(q, w, &t, false, good, &r);
    case TASK_VET_ATTRIBUTE: return vet(q, w, &t, true, good, &r);
    case TASK_LAYOUT_RELATION:
    case TASK_LAYOUT_COUNTING: return layout(q, w, &t, counting, &r);
    case TASK_MAGIC: magic(q, w, &t, &r); return true;
    default: return ask(q, w, &t, task == TASK_ASK_FULL, &r);
    }
}

vm_status scene_task_make(scene_exercise *q, uint64_t seed, scene_task task, int max_objects, vm_error *e) {
    for (uint64_t variant = 0;; variant++) {
        json_writer w = json_to_memory(JSON_COMPACT);
        *q = (scene_exercise){ 0 };
        bool made = try_task(q, &w, seed, variant, task, max_objects);
        if (!made) json_put_null(&w, NULL); /* another caption */
        char *text = json_take(&w, NULL, e);
        if (!text || made) return q->answer = text, e->status;
        vm_free(text);
    }
}

scene_task scene_task_pick(uint64_t seed) {
    static const int percent[SCENE_TASKS] = { 23, 22, 10, 10, 8, 7, 5, 8, 7 };
    vm_rng r = stream(seed, PICK);
    int at = below(&r, 100), k = 0;
    while (at >= percent[k]) at -= percent[k++];
    return (scene_task)k;
}
