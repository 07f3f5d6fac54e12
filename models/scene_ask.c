/* scene_ask.c - phrases of the miniature world to look for, with the objects that they are true of.
 *
 *   phrase := [size p .25] [colour p .85] [texture p .5, not if plain] noun
 * A present one describes a random object. An absent one is a present one with another class or another colour, or anything. */
#include <stdio.h>
#include <string.h>

#include "models/scene_parts.h"

enum { TRIES = 24 };

static scene_phrase describe(const scene_object *o, vm_rng *r) {
    scene_phrase p = { SCENE_A, SCENE_UNSAID, SCENE_UNSAID, SCENE_UNSAID, o->class, 0, 0, 0, 0 };
    if (scene_chance(r, 25)) p.size = o->size;
    if (scene_chance(r, 85)) p.colour = o->colour;
    if (scene_chance(r, 50) && o->texture) p.texture = o->texture;
    return p;
}

static scene_phrase change(const scene *s, vm_rng *r) {
    scene_object o = s->object[vm_rng_below(r, s->n)];
    const uint32_t how = vm_rng_below(r, 3);
    if (how != 1) o.class = (uint8_t)vm_rng_below(r, SCENE_CLASSES);
    if (how) o.colour = (uint8_t)vm_rng_below(r, SCENE_COLOURS);
    return describe(&o, r);
}

static scene_question write(const scene_phrase *p, unsigned objects) {
    const char *const size = p->size == SCENE_UNSAID ? "" : scene_size_name[p->size], *const colour = p->colour == SCENE_UNSAID ? "" : scene_colour_name[p->colour];
    const char *const texture = p->texture == SCENE_UNSAID ? "" : scene_texture_name[p->texture];
    scene_question q = { { 0 }, p->size, p->colour, p->texture, p->class, (uint8_t)objects };
    snprintf(q.text, sizeof q.text, "%s%s%s%s%s%s%s", size, *size ? " " : "", colour, *colour ? " " : "", texture, *texture ? " " : "", scene_class_name[p->class]);
    return q;
}

static bool asked(const scene_question *q, int n, const char *text) {
    for (int k = 0; k < n; k++)
        if (!strcmp(q[k].text, text)) return true;
    return false;
}

int scene_ask(const scene *s, uint64_t seed, scene_question q[SCENE_QUESTIONS]) {
    vm_rng r = scene_rng(seed, s->variant, SCENE_STREAM_ASK);
    const uint32_t wanted = 1 + scene_chance(&r, 70) + scene_chance(&r, 30);
    unsigned used = 0;
    int n = 0;
    for (uint32_t k = 0; k < wanted; k++) {
        const bool absent = k && scene_chance(&r, 50);
        for (int i = 0; i < TRIES; i++) {
            const scene_phrase p = absent ? change(s, &r) : describe(&s->object[vm_rng_below(&r, s->n)], &r);
            const unsigned objects = scene_matches(s, &p);
            q[n] = write(&p, objects);
            if (absent ? objects != 0 : (objects & used) != 0) continue;
            if (asked(q, n, q[n].text)) continue;
            n++, used |= objects;
            break;
        }
    }
    return n;
}
