/* scene_sample.c - random scenes: kinds, attributes, placement by rejection, relations. Integer arithmetic only.
 *
 * Attributes: 12 classes and 8 colours evenly, plain texture .8, striped .1, dotted .1; sizes evenly, but scenes of
 * four and more objects are small throughout. Placement: 24 tries per object, 1.5 px from the frame, gaps of 1.5 px on
 * one axis; what finds no room is left out, and the counts follow what was placed. */
#include <stdlib.h>
#include <string.h>

#include "models/scene_parts.h"

enum { GAP = 384, SIDE = SCENE_SIDE * SCENE_ONE_PX, TRIES = 24, CLEAR = 14 * SCENE_ONE_PX };

bool scene_fits(const scene *s, const scene_object *o, unsigned except) {
    int32_t lo = o->r + GAP, hi = SIDE - lo;
    if (o->x < lo || o->x > hi || o->y < lo || o->y > hi) return false;
    for (int k = 0; k < s->n; k++) {
        const scene_object *b = &s->object[k];
        int32_t apart = o->r + b->r + GAP;
        if (!(except >> k & 1) && abs(o->x - b->x) < apart && abs(o->y - b->y) < apart) return false;
    }
    return true;
}

static int32_t clamp(int32_t v, int32_t lo, int32_t hi) { return v < lo ? lo : v > hi ? hi : v; }

void scene_clamp(scene_object *o) {
    int32_t lo = o->r + GAP, hi = SIDE - lo;
    o->x = clamp(o->x, lo, hi);
    o->y = clamp(o->y, lo, hi);
}

scene_relation scene_relate(const scene_object *a, const scene_object *b) {
    int32_t dx = a->x - b->x, dy = a->y - b->y, ax = abs(dx), ay = abs(dy);
    if (5 * ax > 7 * ay && ax > CLEAR) return dx < 0 ? SCENE_LEFT : SCENE_RIGHT;
    if (5 * ay > 7 * ax && ay > CLEAR) return dy < 0 ? SCENE_ABOVE : SCENE_BELOW;
    return SCENE_NO_RELATION;
}

/* Class not in *used, which grows; colour, texture and size as the header says. */
static scene_object draw_look(vm_rng *r, unsigned *used, bool small) {
    scene_object o = { 0 };
    do o.class = (uint8_t)vm_rng_below(r, SCENE_CLASSES);
    while (*used >> o.class & 1);
    *used |= 1u << o.class;
    o.colour = (uint8_t)vm_rng_below(r, SCENE_COLOURS);
    uint32_t t = vm_rng_below(r, 10);
    o.texture = (uint8_t)(t < 8 ? 0 : t - 7);
    o.size = (uint8_t)(vm_rng_below(r, 2) && !small);
    return o;
}

/* Adds o where there is room; false when there is none. */
static bool place(scene *s, vm_rng *r, scene_object o) {
    o.jitter = 238 + (int32_t)vm_rng_below(r, 37); /* .93 ... 1.07 */
    o.r = scene_radius(o.size, o.jitter);
    for (int t = 0; t < TRIES; t++) {
        uint32_t room = (uint32_t)(SIDE - 2 * (o.r + GAP) + 1);
        o.x = o.r + GAP + (int32_t)vm_rng_below(r, room);
        o.y = o.r + GAP + (int32_t)vm_rng_below(r, room);
        if (!scene_fits(s, &o, 0)) continue;
        s->object[s->n++] = o;
        return true;
    }
    return false;
}

static void draw_list(scene *s, vm_rng *r, int n) {
    unsigned used = 0;
    for (int k = 0; k < n; k++)
        if (!place(s, r, draw_look(r, &used, n >= 4))) return;
}

static void draw_group(scene *s, vm_rng *r, int max) {
    unsigned used = 0;
    int n = 1 + (int)vm_rng_below(r, (uint32_t)(max < 5 ? max : 5));
    bool other = vm_rng_below(r, 2) && n < max;
    scene_object o = draw_look(r, &used, n + other >= 4);
    while (s->n < n && place(s, r, o)) s->group++;
    if (other) place(s, r, draw_look(r, &used, n + other >= 4));
}

static void draw_two(scene *s, vm_rng *r, int max) {
    unsigned used = 0;
    scene_object a = draw_look(r, &used, false), b = draw_look(r, &used, false);
    do {
        s->n = 0;
        place(s, r, a);
    } while (!place(s, r, b) || scene_relate(&s->object[0], &s->object[1]) == SCENE_NO_RELATION);
    if (max > 2 && scene_chance(r, 25)) place(s, r, draw_look(r, &used, false));
}

void scene_sample_variant(uint64_t seed, uint64_t variant, const scene_opts *o, scene *s) {
    vm_rng r = scene_rng(seed, variant, SCENE_STREAM_OBJECTS);
    int max = o && o->max_objects > 0 && o->max_objects < SCENE_OBJECTS ? o->max_objects : SCENE_OBJECTS;
    scene_kind kind = o ? o->kind : SCENE_MIX;
    uint32_t mix = vm_rng_below(&r, 100);
    if (kind == SCENE_MIX) kind = mix < 35 ? SCENE_LIST : mix < 65 ? SCENE_GROUP : SCENE_TWO;
    if (kind == SCENE_TWO && max < 2) kind = SCENE_LIST;
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->variant = variant;
    s->kind = (uint8_t)kind;
    s->background = (uint8_t)vm_rng_below(&r, SCENE_BACKGROUNDS);
    switch (kind) {
    case SCENE_GROUP: draw_group(s, &r, max); break;
    case SCENE_TWO: draw_two(s, &r, max); break;
    case SCENE_DENSE: draw_list(s, &r, max); break;
    default: draw_list(s, &r, 1 + (int)vm_rng_below(&r, (uint32_t)(max < 3 ? max : 3)));
    }
}

void scene_sample(uint64_t seed, const scene_opts *o, scene *s) { scene_sample_variant(seed, 0, o, s); }

uint64_t scene_seed(scene_split split, uint64_t i) {
    return (split == SCENE_TRAIN ? 0 : UINT64_C(1) << (40 + split)) + i;
}
