/* scene_tasks.c - see scene_tasks.h. */
#include "models/scene_tasks.h"

#include <stdio.h>
#include <string.h>

#include "models/scene_parts.h"

const char *const scene_task_name[] = { "instruct.object", "instruct.attribute", "vet.object",
                                        "vet.attribute",   "layout.caption",     "magic",
                                        "ask.global",      "ask.local",          "ask.layout",
                                        "ask.judge" };

/* A caption and one that differs in `changed` of its phrases. */
typedef struct {
    scene_text before, after;
    int k; /* the phrase */
    scene_aspect aspect;
} edit;

enum { COIN = 1 << 30, PICK }; /* streams beside those of the captions that are tried */
static vm_rng stream(uint64_t seed, uint64_t variant) { return vm_rng_at(seed, (uint64_t)0x7a5c << 32 | variant); }

static int below(vm_rng *r, int n) { return (int)vm_rng_below(r, (uint32_t)n); }
static uint8_t another(vm_rng *r, uint8_t now, int n) {
    uint8_t v = (uint8_t)below(r, n - 1);
    return (uint8_t)(v + (v >= now));
}

static void draw_caption(scene_text *t, uint64_t seed, uint64_t variant, const scene_opts *o, scene_mode mode,
                         vm_rng *r) {
    scene s;
    scene_sample_variant(seed, 1000 + variant, o, &s);
    scene_describe(&s, r, mode, t);
    scene_write(t);
}
static scene_mode any_mode(vm_rng *r) { return scene_chance(r, 70) ? SCENE_ORDINARY : SCENE_SPECIFIC; }

static bool is_counted(const scene_phrase *p) { return p->count >= 2 && p->count <= 5; } /* "two" ... "five" */

/* --- edits ------------------------------------------------------------------------------------------------------- */
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
    else if (p->texture == SCENE_UNSAID || (p->colour != SCENE_UNSAID && scene_chance(r, 75)))
        x->aspect = SCENE_OF_COLOUR, p->colour = another(r, p->colour, SCENE_COLOURS);
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

/* --- vet --------------------------------------------------------------------------------------------------------- */
typedef enum {
    WRONG_NOTHING,
    WRONG_OTHER,
    WRONG_COUNT,
    WRONG_RELATION,
    WRONG_SIZE,
    WRONG_ADDED,
    WRONG_TWO,
    WRONGS
} wrong;
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

/* --- layout ------------------------------------------------------------------------------------------------------ */
enum { GRID = 16, EDGE = 16, CANVAS = 512 };
typedef struct {
    int x, y, w, h;
} box;

static int grid(vm_rng *r, int lo, int hi) { return (lo + GRID * below(r, (hi - lo) / GRID + 1)); } /* lo ... hi */

/* Subject and reference of a relation: the second lies to the right of or below the first when its numbers are larger.
 */
static void place_two(box b[2], scene_relation rel, vm_rng *r) {
    for (int k = 0; k < 2; k++) b[k] = (box){ .w = grid(r, 96, 128), .h = grid(r, 96, 128) };
    bool upright = rel == SCENE_ABOVE || rel == SCENE_BELOW, turned = rel == SCENE_RIGHT || rel == SCENE_BELOW;
    box *first = &b[turned], *second = &b[!turned];
    int gap = grid(r, 48, 112), aside = grid(r, -32, 32), long1 = upright ? first->h : first->w,
        long2 = upright ? second->h : second->w;
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
        if (cells >> c & 1)
            b[k++] = (box){ EDGE + c % 3 * 160 + grid(r, 0, 144 - w), EDGE + c / 3 * 240 + grid(r, 0, 224 - h), w, h };
}

static void put_box(json_writer *w, const char *name, const box *b) {
    json_begin_object(w, NULL);
    json_put_str(w, "name", name);
    json_begin_array(w, "box");
    json_put_int(w, NULL, b->x), json_put_int(w, NULL, b->y), json_put_int(w, NULL, b->w), json_put_int(w, NULL, b->h);
    json_close_array(w);
    json_close_object(w);
}

/* The things of the caption, one for each box: those of a group are "a red ball" each. */
static int things_of(const scene_text *t, char name[SCENE_OBJECTS + 1][SCENE_TEXT]) {
    int n = 0;
    for (int k = 0; k < t->n && k < SCENE_PHRASES; k++) {
        scene_text one = *t;
        int times = is_counted(&t->phrase[k]) ? t->phrase[k].count : 1;
        if (times > 1) one.phrase[k].count = SCENE_A, scene_write(&one);
        for (int i = 0; i < times && n < SCENE_OBJECTS; i++) cut(name[n++], &one, k, true);
    }
    return n;
}

/* counting: a group, perhaps with one thing more; else two in a relation. */
static bool layout(scene_exercise *q, json_writer *w, const scene_text *t, bool counting, vm_rng *r) {
    char name[SCENE_OBJECTS + 1][SCENE_TEXT], category[64];
    box b[SCENE_OBJECTS];
    int groups = 0, count = 0;
    for (int k = 0; k < t->n; k++)
        if (is_counted(&t->phrase[k])) groups++, count = t->phrase[k].count;
        else if (t->phrase[k].count != SCENE_A) return false;
    if (counting ? groups != 1 : t->relation == SCENE_NO_RELATION) return false;
    int n = things_of(t, name);
    if (counting) place_alike(b, n, r);
    else place_two(b, (scene_relation)t->relation, r);
    add_field(q, "caption", t->text);
    json_begin_object(w, NULL);
    json_put_str(w, "caption", t->text);
    json_begin_array(w, "objects");
    for (int k = 0; k < n; k++) put_box(w, name[k], &b[k]);
    json_close_array(w);
    json_put_str(w, "background", t->background == SCENE_UNSAID ? "plain" : scene_background_name[t->background]);
    json_put_str(w, "negative", "");
    if (counting) snprintf(category, sizeof category, "counting(%s)", scene_number_name[count]);
    else snprintf(category, sizeof category, "relation(%s)", scene_relation_name[t->relation]);
    json_put_str(w, "category", category);
    json_close_object(w);
    return true;
}

/* --- magic, ask -------------------------------------------------------------------------------------------------- */
static void magic(scene_exercise *q, json_writer *w, const scene_text *t, vm_rng *r) {
    static const char *const word[] = { "shiny", "smooth", "painted", "glossy", "clean", "soft" };
    char phrase[SCENE_TEXT], richer[SCENE_TEXT + 16];
    int n = 2 + below(r, 2), at = below(r, VM_LEN(word)),
        by = scene_chance(r, 50) ? 1 : 5; /* steps that meet each word once */
    cut(phrase, t, below(r, t->n), false);
    add_field(q, "phrase", phrase), add_field(q, "caption", t->text);
    json_begin_object(w, NULL);
    json_begin_array(w, "enhanced");
    for (int k = 0; k < n; k++) {
        snprintf(richer, sizeof richer, "%s %s", word[(at + k * by) % VM_LEN(word)], phrase);
        json_put_str(w, NULL, richer);
    }
    json_close_array(w);
    json_close_object(w);
}

enum { MOST_CHOICES = 3 };
typedef struct {
    char text[2 * SCENE_TEXT];
    const char *choice[MOST_CHOICES], *kind;
    int n, answer;
} question;

static void put_question(json_writer *w, const question *q) {
    json_begin_object(w, NULL);
    json_put_str(w, "question", q->text);
    json_begin_array(w, "choices");
    for (int k = 0; k < q->n; k++) json_put_str(w, NULL, q->choice[k]);
    json_close_array(w);
    json_put_int(w, "answer_index", q->answer);
    json_put_str(w, "kind", q->kind);
    json_close_object(w);
}

static bool is_single(const scene_phrase *p) { return p->count == SCENE_A || p->count == 1; }

/* "is there a red cup?", "are there red cups?" */
static question presence(const scene_text *t, int k, bool there) {
    question q = { .choice = { "yes", "no" }, .n = 2, .answer = !there, .kind = there ? "exist" : "absent" };
    scene_text one = *t;
    char name[SCENE_TEXT];
    bool single = is_single(&one.phrase[k]);
    if (single) one.phrase[k].count = SCENE_A, scene_write(&one);
    cut(name, &one, k, single);
    snprintf(q.text, sizeof q.text, "%s there %s?", single ? "is" : "are", name);
    return q;
}

/* Which of both: the new thing or the old one. */
static question which(const edit *x, vm_rng *r) {
    const scene_phrase *was = &x->before.phrase[x->k], *is = &x->after.phrase[x->k];
    const bool single = is_single(is), colour = x->aspect == SCENE_OF_COLOUR;
    const char *const *nouns = single ? scene_class_name : scene_plural_name;
    question q = { .n = 2, .answer = below(r, 2), .kind = x->aspect == SCENE_OF_CLASS ? "identity" : "attribute" };
    if (x->aspect == SCENE_OF_CLASS) {
        q.choice[q.answer] = nouns[is->class], q.choice[!q.answer] = nouns[was->class];
        snprintf(q.text, sizeof q.text, single ? "is it a %s or a %s?" : "are they %s or %s?", q.choice[0],
                 q.choice[1]);
        return q;
    }
    q.choice[q.answer] = colour ? scene_colour_name[is->colour] : scene_texture_name[is->texture];
    q.choice[!q.answer] = colour ? scene_colour_name[was->colour] : scene_texture_name[was->texture];
    snprintf(q.text, sizeof q.text, "%s the %s %s or %s?", single ? "is" : "are", nouns[is->class], q.choice[0],
             q.choice[1]);
    return q;
}

/* Three numbers in a row of two ... five. */
static question how_many(const scene_phrase *p, vm_rng *r) {
    int at = p->count - 2, first = VM_MIN(VM_MAX(below(r, 2), at - 2), at);
    question q = { .n = 3, .answer = at - first, .kind = "count" };
    for (int k = 0; k < 3; k++) q.choice[k] = scene_number_name[2 + first + k];
    snprintf(q.text, sizeof q.text, "how many %s are there?", scene_plural_name[p->class]);
    return q;
}

/* "is the ball left of the cup?" */
static question where(const scene_text *t, vm_rng *r) {
    question q = { .choice = { "yes", "no" }, .n = 2, .answer = below(r, 2), .kind = "relation" };
    scene_relation rel = (scene_relation)t->relation;
    snprintf(q.text, sizeof q.text, "is the %s %s the %s?", scene_class_name[t->phrase[0].class],
             scene_relation_name[q.answer ? scene_opposite(rel) : rel], scene_class_name[t->phrase[1].class]);
    return q;
}

/* Of an edit: is the new thing there, is the old one, which is it, how many. */
static int questions_of(question q[4], const edit *x, bool global, vm_rng *r) {
    int n = 0;
    q[n++] = presence(&x->after, x->k, true), q[n++] = presence(&x->before, x->k, false);
    q[n++] = which(x, r);
    if (global && is_counted(&x->after.phrase[x->k])) q[n++] = how_many(&x->after.phrase[x->k], r);
    return n;
}

/* global: the caption after the edit, and before; local: the new phrase with its article, and the old one. */
static bool ask(scene_exercise *x, json_writer *w, const scene_text *t, bool global, vm_rng *r) {
    edit of;
    char text[SCENE_TEXT];
    question q[4];
    if (!make_edit(&of, t, scene_chance(r, 50), r)) return false;
    if (global) add_field(x, "caption", of.after.text), add_field(x, "before", t->text);
    else {
        cut(text, &of.after, of.k, true), add_field(x, "phrase", text);
        cut(text, &of.before, of.k, false), add_field(x, "absent", text);
    }
    int n = questions_of(q, &of, global, r);
    json_begin_array(w, NULL);
    for (int k = 0; k < n; k++) put_question(w, &q[k]);
    json_close_array(w);
    return true;
}

/* Of a layout's caption and the things in it. */
static bool ask_layout(scene_exercise *x, json_writer *w, const scene_text *t, bool counting, vm_rng *r) {
    char things[2 * SCENE_TEXT], name[SCENE_TEXT];
    scene_text one = *t, other = *t;
    question q;
    if (counting ? t->n != 1 || !is_counted(&t->phrase[0]) : t->relation == SCENE_NO_RELATION) return false;
    if (counting) one.phrase[0].count = SCENE_A, scene_write(&one);
    cut(things, &one, 0, true);
    if (!counting) cut(name, t, 1, true), snprintf(things + strlen(things), SCENE_TEXT, ", %.150s", name);
    add_field(x, "caption", t->text), add_field(x, "things", things);
    json_begin_array(w, NULL);
    q = presence(t, 0, true), put_question(w, &q);
    other.phrase[0].class = new_class(t, r), scene_write(&other);
    q = presence(&other, 0, false), put_question(w, &q);
    if (!counting) q = presence(t, 1, true), put_question(w, &q);
    q = counting ? how_many(&t->phrase[0], r) : where(t, r), put_question(w, &q);
    json_close_array(w);
    return true;
}

/* One of the questions above with its choices in some order. */
static bool judge(scene_exercise *x, json_writer *w, const scene_text *t, vm_rng *r) {
    edit of;
    question q[5];
    char text[SCENE_TEXT] = "", letter[2] = "A";
    bool global = scene_chance(r, 60);
    if (!make_edit(&of, t, scene_chance(r, 50), r)) return false;
    int n = questions_of(q, &of, global, r);
    if (global && of.after.relation != SCENE_NO_RELATION) q[n++] = where(&of.after, r);
    const question *one = &q[below(r, n)];
    if (global) add_field(x, "text", of.after.text);
    else cut(text, &of.after, of.k, true), add_field(x, "text", text);
    add_field(x, "question", one->text);
    int shift = below(r, one->n), back = below(r, 2);
    text[0] = 0;
    for (int k = 0; k < one->n; k++) {
        int at = ((back ? one->n - 1 - k : k) + shift) % one->n;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%c) %s", k ? "  " : "", 'A' + k, one->choice[at]);
        if (at == one->answer) letter[0] = (char)('A' + k);
    }
    add_field(x, "choices", text);
    json_begin_object(w, NULL);
    json_put_str(w, "answer", letter);
    json_close_object(w);
    return true;
}

/* --- all --------------------------------------------------------------------------------------------------------- */
static bool try_task(scene_exercise *q, json_writer *w, uint64_t seed, uint64_t variant, scene_task task,
                     int max_objects) {
    vm_rng r = stream(seed, variant), coin = stream(seed, COIN);
    bool good = scene_chance(&coin, 50); /* whatever captions are tried: the verdicts stay balanced */
    bool other = scene_chance(&coin, 50),
         laid = task == TASK_LAYOUT || task == TASK_ASK_LAYOUT; /* other: counting instead of a relation */
    scene_opts o = { laid ? other ? SCENE_GROUP : SCENE_TWO : SCENE_MIX, laid ? 0 : max_objects };
    scene_text t;
    draw_caption(&t, seed, variant, &o, laid ? SCENE_SPECIFIC : any_mode(&r), &r);
    switch (task) {
    case TASK_EDIT_OBJECT: instruct(q, w, &t, false, &r); return true;
    case TASK_EDIT_ATTRIBUTE: instruct(q, w, &t, true, &r); return true;
    case TASK_VET_OBJECT: return vet(q, w, &t, false, good, &r);
    case TASK_VET_ATTRIBUTE: return vet(q, w, &t, true, good, &r);
    case TASK_LAYOUT: return layout(q, w, &t, other, &r);
    case TASK_MAGIC: magic(q, w, &t, &r); return true;
    case TASK_ASK_LAYOUT: return ask_layout(q, w, &t, other, &r);
    case TASK_ASK_JUDGE: return judge(q, w, &t, &r);
    default: return ask(q, w, &t, task == TASK_ASK_GLOBAL, &r);
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
    static const int percent[SCENE_TASKS] = { 19, 19, 17, 11, 11, 4, 6, 4, 4, 5 };
    vm_rng r = stream(seed, PICK);
    int at = below(&r, 100), k = 0;
    while (at >= percent[k]) at -= percent[k++];
    return (scene_task)k;
}
