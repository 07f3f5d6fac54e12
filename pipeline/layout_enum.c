/* layout_enum.c - layouts from tables: wordings, numbers, and boxes drawn until the rules hold. See layout_enum.h. */
#include "pipeline/layout_enum.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/philox.h"
#include "pipeline/layout_world.h"

const char *const layout_kind_name[LAYOUT_KINDS] = { "relation", "counting" };

/* A is the subject, B the reference. */
enum { WORDINGS = 7 };
static const char *const wording[REL_SWAPPABLE][WORDINGS] = {
    [REL_LEFT] = { "A to the left of B", "A is to the left of B", "a photo of A to the left of B",
                   "A on the left side of B", "there is A left of B", "A can be seen to the left of B",
                   "B with A on the left" },
    [REL_RIGHT] = { "A to the right of B", "A is to the right of B", "a photo of A to the right of B",
                    "A on the right side of B", "there is A right of B", "A can be seen to the right of B",
                    "B with A on the right" },
    [REL_ABOVE] = { "A above B", "A is above B", "a photo of A above B", "A directly above B", "there is A above B",
                    "A can be seen above B", "above B there is A" },
    [REL_BELOW] = { "A below B", "A is below B", "a photo of A below B", "A directly below B", "there is A below B",
                    "A can be seen below B", "below B there is A" },
    [REL_TOP] = { "A on top of B", "A is on top of B", "a photo of A on top of B", "A resting on top of B",
                  "there is A on top of B", "A can be seen on top of B", "on top of B there is A" },
    [REL_BOTTOM] = { "A at the bottom and B at the top", "A is at the bottom and B is at the top",
                     "a photo of A at the bottom and B at the top", "A at the bottom with B at the top",
                     "there is A at the bottom and B at the top", "A in the bottom half and B in the top half",
                     "A at the very bottom, B at the very top" },
    [REL_UNDER] = { "A under B", "A is under B", "a photo of A under B", "A hidden under B", "there is A under B",
                    "A can be seen under B", "under B there is A" },
};
static const relation plain[] = { REL_LEFT, REL_RIGHT, REL_ABOVE, REL_BELOW };
static const relation stacked[] = { REL_LEFT, REL_RIGHT, REL_ABOVE, REL_BELOW, REL_TOP, REL_BOTTOM, REL_UNDER };

/* N things at a place. Numbers in twenty parts: 2 to 5 have three each, 6 to 9 two; the parts of a number differ in
 * wording. */
static const char *const counting[] = { "N P S", "a photo of N P S", "there are N P S", "a picture with N P S" };
static const uint8_t parts[] = { 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9 };

static const char negative[] = "text, watermark, border, blur";

/* Random numbers: streams of Philox under the seed of the caller. */
enum { ORDER = 1, CHOICE = 2, BOXES = 3, TOPIC = 4, STREAM_BITS = 48 };
static uint64_t stream(int what, layout_kind kind, int64_t i) {
    return (uint64_t)(what * LAYOUT_KINDS + (int)kind) << STREAM_BITS | (uint64_t)i;
}

/* The wording with its capital letters replaced; the first letter becomes a capital. */
static void say(char out[LAYOUT_TEXT], const char *text, const char *const value[256]) {
    int n = 0;
    for (; *text; text++) {
        const char *v = isupper((unsigned char)*text) ? value[(unsigned char)*text] : NULL;
        n += v ? snprintf(out + n, (size_t)(LAYOUT_TEXT - n), "%s", v)
               : snprintf(out + n, (size_t)(LAYOUT_TEXT - n), "%c", *text);
        if (n >= LAYOUT_TEXT) n = LAYOUT_TEXT - 1;
    }
    out[0] = (char)toupper((unsigned char)out[0]);
}

static int64_t pair_parts(int per_pair) {
    int most = VM_LEN(plain) * WORDINGS * 2;
    return per_pair && per_pair < most ? per_pair : most;
}

vm_status layout_world_count(layout_world *w, layout_kind kind, int per_pair, int64_t *n, vm_error *e) {
    if (layout_world_list(w, e)) return e->status;
    *n = kind == LAYOUTS_RELATION ? w->pairs * pair_parts(per_pair) : w->spots * VM_LEN(parts);
    return VM_OK;
}

/* A box of about side x side with the shape of the thing. */
static void shape(layout_object *o, const thing *t, double side) {
    double stretch = sqrt(t->aspect / 100.0);
    o->w = (int)(side * stretch + 0.5), o->h = (int)(side / stretch + 0.5);
}

static double between(vm_rng *r, double from, double to) { return from + (to - from) * vm_rng_f64(r); }

/* Two boxes that should stand in the relation, o[0] the subject; false when the draw does not fit on the canvas. */
static bool stand(layout_object o[2], const thing *const t[2], relation rel, const layout_rules *r, double scale,
                  vm_rng *rng) {
    double side = LAYOUT_CANVAS * between(rng, 0.30, 0.45) * scale;
    for (int i = 0; i < 2; i++) {
        double part = t[i]->size < t[!i]->size   ? between(rng, 0.74, 0.9)
                      : t[i]->size > t[!i]->size ? 1
                                                 : between(rng, 0.88, 1);
        shape(&o[i], t[i], side * part);
    }
    bool sideways = rel == REL_LEFT || rel == REL_RIGHT,
         subject_first = rel == REL_LEFT || rel == REL_TOP || rel == REL_ABOVE;
    layout_object *p = &o[!subject_first], *q = &o[subject_first]; /* p left of or above q */
    int p_len = sideways ? p->w : p->h, q_len = sideways ? q->w : q->h, room = LAYOUT_CANVAS - 2 * r->margin;
    int gap = (int)(rel == REL_TOP ? between(rng, -0.05 * p->h, 20) : between(rng, 4, 60)), all = p_len + gap + q_len;
    if (all > room) return false;
    int start = r->margin + (int)vm_rng_below(rng, (uint32_t)(room - all + 1));
    int across_p = sideways ? p->h : p->w, across_q = sideways ? q->h : q->w, widest = VM_MAX(across_p, across_q);
    double shift =
        rel == REL_TOP || rel == REL_UNDER ? 0.2 * VM_MIN(across_p, across_q) : VM_MIN(40, (p_len + q_len) / 4);
    if (widest > room) return false;
    int middle = r->margin + widest / 2 + (int)vm_rng_below(rng, (uint32_t)(room - widest + 1));
    int at_p = middle - across_p / 2 + (int)between(rng, -shift / 2, shift / 2),
        at_q = middle - across_q / 2 + (int)between(rng, -shift / 2, shift / 2);
    if (sideways) p->x = start, q->x = start + p_len + gap, p->y = at_p, q->y = at_q;
    else p->y = start, q->y = start + p_len + gap, p->x = at_p, q->x = at_q;
    return true;
}

static vm_status relation_layout(layout_world *w, const layout_rules *r, uint64_t seed, int64_t j, layout *l,
                                 vm_error *e) {
    int64_t each = pair_parts(r->per_pair), number = j / each, part = j % each;
    thing_pair pair = w->pair[number];
    bool stack = w->thing[pair.a].stackable && w->thing[pair.b].stackable;
    int n = stack ? VM_LEN(stacked) : VM_LEN(plain), scenes;
    relation rel = (stack ? stacked : plain)[(part + number) % n];
    uint64_t form = vm_shuffled(seed, stream(CHOICE, LAYOUTS_RELATION, number), (uint64_t)(part / n), 2 * WORDINGS);
    const thing *t[2] = { &w->thing[form & 1 ? pair.b : pair.a], &w->thing[form & 1 ? pair.a : pair.b] };
    vm_rng rng = vm_rng_at(seed, stream(BOXES, LAYOUTS_RELATION, j));
    const scene *s = layout_world_scene(w, t[0], t[1], vm_rng_u32(&rng), &scenes);
    *l = (layout){ .n = 2 };
    const char *value[256] = { ['A'] = t[0]->phrase, ['B'] = t[1]->phrase };
    say(l->caption, wording[rel][form / 2], value);
    snprintf(l->background, sizeof l->background, "%s", s ? s->background : "a plain backdrop");
    snprintf(l->negative, sizeof l->negative, "%s", negative);
    snprintf(l->category, sizeof l->category, "relation(%s)", relations[rel].label);
    for (int i = 0; i < 2; i++) snprintf(l->object[i].name, LAYOUT_NAME, "%s", t[i]->phrase);
    char why[LAYOUT_WHY] = "";
    for (int draw = 0; draw < 1000; draw++) { /* a hundred draws of each size, then smaller ones */
        layout twin;
        if (!stand(l->object, t, rel, r, pow(0.93, draw / 100), &rng)) continue;
        if (!layout_check(l, r, why) && layout_swap(&twin, l) && !layout_check(&twin, r, why)) return VM_OK;
    }
    return vm_fail(e, VM_EINPUT, "no boxes for \"%s\" within the rules (%s)", l->caption, why);
}

/* n boxes in cells of a grid with at least as many. */
static bool scatter(layout *l, int n, const thing *t, const layout_rules *r, double scale, vm_rng *rng) {
    enum { APART = 12 };
    int cols = 1 + (int)vm_rng_below(rng, 4), rows = 1 + (int)vm_rng_below(rng, 4), cells = rows * cols;
    if (cells < n || cells > n + 4) return false;
    int room = LAYOUT_CANVAS - 2 * r->margin, w = room / cols, h = room / rows, gap = VM_MAX(r->gap, APART);
    double stretch = sqrt(t->aspect / 100.0), most = fmin((w - gap) / stretch, (h - gap) * stretch);
    double side = fmin(most, LAYOUT_CANVAS * 0.4) * between(rng, 0.8, 1) * scale;
    int left = n;
    l->n = 0;
    for (int c = 0; c < cells; c++) {
        if ((int)vm_rng_below(rng, (uint32_t)(cells - c)) >= left) continue;
        layout_object *o = &l->object[l->n++];
        left--;
        shape(o, t, side * between(rng, 0.92, 1));
        if (o->w > w - gap || o->h > h - gap) return false;
        o->x = r->margin + c % cols * w + gap / 2 + (int)vm_rng_below(rng, (uint32_t)(w - gap - o->w + 1));
        o->y = r->margin + c / cols * h + gap / 2 + (int)vm_rng_below(rng, (uint32_t)(h - gap - o->h + 1));
        snprintf(o->name, LAYOUT_NAME, "%s", t->phrase);
    }
    return true;
}

static vm_status counting_layout(layout_world *w, const layout_rules *r, uint64_t seed, int64_t j, layout *l,
                                 vm_error *e) {
    int64_t number = j / VM_LEN(parts), part = j % VM_LEN(parts);
    const thing *t = &w->thing[w->spot[number].a];
    const scene *s = &w->scene[w->spot[number].b];
    int n = parts[part], same = 0;
    while (same < part && parts[part - same - 1] == n) same++;
    vm_rng rng = vm_rng_at(seed, stream(BOXES, LAYOUTS_COUNTING, j));
    *l = (layout){ 0 };
    const char *value[256] = { ['N'] = number_word(n), ['P'] = t->plural, ['S'] = s->place };
    say(l->caption, counting[(number + same) % VM_LEN(counting)], value);
    snprintf(l->background, sizeof l->background, "%s", s->background);
    snprintf(l->negative, sizeof l->negative, "%s", negative);
    snprintf(l->category, sizeof l->category, "counting(%s)", number_word(n));
    char why[LAYOUT_WHY] = "";
    for (int draw = 0; draw < 1000; draw++)
        if (scatter(l, n, t, r, pow(0.95, draw / 100), &rng) && !layout_check(l, r, why)) return VM_OK;
    return vm_fail(e, VM_EINPUT, "no boxes for \"%s\" within the rules (%s)", l->caption, why);
}

vm_status layout_world_make(layout_world *w, layout_kind kind, const layout_rules *r, uint64_t seed, int64_t i,
                            layout *l, vm_error *e) {
    int64_t n = 0;
    if (layout_world_count(w, kind, r->per_pair, &n, e)) return e->status;
    if (i < 0 || i >= n)
        return vm_fail(e, VM_EINPUT, "layout %lld of %s: there are %lld", (long long)i, layout_kind_name[kind],
                       (long long)n);
    int64_t j = (int64_t)vm_shuffled(seed, stream(ORDER, kind, 0), (uint64_t)i, (uint64_t)n);
    return kind == LAYOUTS_RELATION ? relation_layout(w, r, seed, j, l, e) : counting_layout(w, r, seed, j, l, e);
}

relation layout_kind_relation(uint64_t seed, int64_t i) {
    uint64_t n = VM_LEN(stacked);
    return stacked[vm_shuffled(seed, stream(TOPIC, LAYOUTS_RELATION, i / (int64_t)n), (uint64_t)i % n, n)];
}

int layout_kind_number(uint64_t seed, int64_t i) {
    uint64_t n = VM_LEN(parts);
    return parts[vm_shuffled(seed, stream(TOPIC, LAYOUTS_COUNTING, i / (int64_t)n), (uint64_t)i % n, n)];
}

vm_status layout_world_topic(layout_world *w, layout_kind kind, relation rel, uint64_t seed, int64_t i,
                             char out[LAYOUT_TEXT], vm_error *e) {
    enum { PAIRS = 2, COUNTED = 3, DRAWS = 4000 };
    const thing *chosen[4];
    bool stack = rel == REL_TOP || rel == REL_BOTTOM || rel == REL_UNDER, counted = kind == LAYOUTS_COUNTING;
    int n = 0, want = counted ? COUNTED : 2 * PAIRS;
    out[0] = 0;
    if (layout_world_list(w, e)) return e->status;
    int64_t all = counted ? w->spots : w->pairs;
    vm_rng rng = vm_rng_at(seed, stream(CHOICE, kind, i) | (uint64_t)1 << (STREAM_BITS - 1));
    for (int draw = 0; all && n < want && draw < DRAWS; draw++) {
        thing_pair p = (counted ? w->spot : w->pair)[vm_rng_below(&rng, (uint32_t)all)];
        const thing *t[2] = { &w->thing[p.a], counted ? NULL : &w->thing[p.b] };
        bool fresh = !stack || (t[0]->stackable && t[1] && t[1]->stackable);
        for (int k = 0; k < n; k++) fresh &= chosen[k] != t[0] && chosen[k] != t[1];
        for (int k = 0; fresh && k < 2 && t[k] && n < want; k++) chosen[n++] = t[k];
    }
    for (int k = 0; k < n; k++)
        snprintf(out + strlen(out), LAYOUT_TEXT - strlen(out), "%s%s", k ? ", " : "", chosen[k]->phrase);
    return VM_OK;
}
