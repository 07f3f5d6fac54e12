/* scene_edit.c - minimal changes: one thing of a scene and the words for it, nothing else.
 *
 *   object     one object becomes a class that the scene lacks; colour, texture, size and place stay
 *   attribute  its colour (.6), its texture striped <-> dotted (.2) or its size (.2; the twin must fit as well)
 *   relation   the two objects exchange centres (clamped to the frame); the relation word turns, the names stay
 *   counting   m of g members of the group are removed, 1 <= m < g; "one" takes the singular
 * Both twins keep the seed of the noise, so their pixels differ around the touched objects only. */
#include <string.h>

#include "models/scene_parts.h"

/* Another value of 0 ... n-1. */
static uint8_t another(vm_rng *r, uint8_t now, int n) {
    uint8_t v = (uint8_t)vm_rng_below(r, (uint32_t)n - 1);
    return (uint8_t)(v + (v >= now));
}

/* Index of a random phrase about one object, at wish a textured one; the object in *object. -1 when there is none. */
static int pick_single(const scene_text *t, vm_rng *r, bool textured, const scene *s, int *object) {
    int start = (int)vm_rng_below(r, t->n);
    for (int k = 0; k < t->n; k++) {
        const scene_phrase *p = &t->phrase[(start + k) % t->n];
        if (__builtin_popcount(p->objects) != 1) continue;
        *object = __builtin_ctz(p->objects);
        if (!textured || s->object[*object].texture) return (start + k) % t->n;
    }
    return -1;
}

static bool change_class(scene_pair *p, vm_rng *r) {
    int i, k = pick_single(&p->text[0], r, false, &p->scene[0], &i);
    if (k < 0) return false;
    unsigned used = 0;
    uint8_t class;
    for (int j = 0; j < p->scene[0].n; j++) used |= 1u << p->scene[0].object[j].class;
    do class = (uint8_t)vm_rng_below(r, SCENE_CLASSES);
    while (used >> class & 1);
    p->scene[1].object[i].class = p->text[1].phrase[k].class = class;
    p->touched = (uint8_t)(1u << i);
    return true;
}

static bool change_attribute(scene_pair *p, vm_rng *r) {
    int i, k = pick_single(&p->text[0], r, p->aspect == SCENE_OF_TEXTURE, &p->scene[0], &i);
    if (k < 0) return false;
    scene_object *o = &p->scene[1].object[i];
    scene_phrase *before = &p->text[0].phrase[k], *after = &p->text[1].phrase[k];
    p->touched = (uint8_t)(1u << i);
    if (p->aspect == SCENE_OF_COLOUR) {
        o->colour = after->colour = another(r, o->colour, SCENE_COLOURS);
    } else if (p->aspect == SCENE_OF_TEXTURE) {
        o->texture = after->texture = (uint8_t)(SCENE_TEXTURES - o->texture);
    } else {
        if (!o->size && p->scene[0].n >= 4) return false; /* such scenes are small throughout */
        before->size = o->size;
        o->size = after->size = !o->size;
        o->r = scene_radius(o->size, o->jitter);
        return scene_fits(&p->scene[1], o, 1u << i);
    }
    return true;
}

static bool exchange_places(scene_pair *p) {
    scene_text *after = &p->text[1];
    scene *s = &p->scene[1];
    scene_object *a = &s->object[0], *b = &s->object[1];
    if (after->relation == SCENE_NO_RELATION) return false;
    int32_t x = a->x, y = a->y;
    a->x = b->x, a->y = b->y;
    b->x = x, b->y = y;
    scene_clamp(a);
    scene_clamp(b);
    after->relation = (uint8_t)scene_opposite((scene_relation)after->relation);
    p->touched = 3;
    bool turned = after->phrase[0].objects != 1;
    return scene_relate(&s->object[turned], &s->object[!turned]) == (scene_relation)after->relation &&
           scene_fits(s, a, 1) && scene_fits(s, b, 2);
}

void scene_take_out(scene *s, unsigned objects) {
    int kept = 0, group = 0;
    for (int k = 0; k < s->n; k++) {
        if (objects >> k & 1) continue;
        group += k < s->group;
        s->object[kept++] = s->object[k];
    }
    memset(&s->object[kept], 0, sizeof s->object[0] * (size_t)(SCENE_OBJECTS - kept));
    s->n = (uint8_t)kept, s->group = (uint8_t)group;
    if (!group) s->kind = SCENE_LIST;
}

static bool remove_members(scene_pair *p, vm_rng *r) {
    const scene *s = &p->scene[0];
    scene *left = &p->scene[1];
    if (s->kind != SCENE_GROUP || s->group < 2) return false;
    int gone = 1 + (int)vm_rng_below(r, s->group - 1u);
    while (__builtin_popcount(p->touched) < gone) p->touched |= (uint8_t)(1u << vm_rng_below(r, s->group));
    scene_take_out(left, p->touched);
    for (int k = 0; k < p->text[1].n; k++) {
        scene_phrase *q = &p->text[1].phrase[k];
        if (!(q->objects & 1)) {
            q->objects = (uint8_t)(q->objects >> gone);
        } else {
            q->objects = (uint8_t)((1u << left->group) - 1);
            q->count = left->group;
        }
    }
    return true;
}

/* The relation words, or the phrase about what was touched. */
static void find_change(scene_pair *p) {
    for (int k = 0; k < 2; k++) {
        const scene_phrase *q = p->text[0].phrase;
        int i = 0;
        while (!(q[i].objects & p->touched)) i++;
        q = p->text[k].phrase;
        bool relation = p->category == SCENE_RELATION;
        p->change[k].begin = (uint8_t)(relation ? q[0].end + 1 : q[i].begin);
        p->change[k].end = (uint8_t)(relation ? q[1].begin - 1 : q[i].end);
    }
}

bool scene_edit(const scene *s, scene_category category, uint64_t seed, scene_pair *p) {
    static const scene_aspect aspect[] = { SCENE_OF_CLASS, SCENE_OF_COLOUR, SCENE_OF_PLACE, SCENE_OF_NUMBER };
    static const scene_aspect attribute[] = { SCENE_OF_COLOUR, SCENE_OF_COLOUR, SCENE_OF_COLOUR, SCENE_OF_TEXTURE,
                                              SCENE_OF_SIZE };
    vm_rng r = scene_rng(seed, (uint64_t)category + 1, SCENE_STREAM_EDIT);
    bool done = false;
    memset(p, 0, sizeof *p);
    p->category = category;
    /* drawn before anything that depends on the scene: a pair keeps its aspect while scenes are tried */
    uint32_t drawn = vm_rng_below(&r, 5);
    p->aspect = category == SCENE_ATTRIBUTE ? attribute[drawn] : aspect[category];
    p->scene[0] = p->scene[1] = *s;
    scene_describe(s, &r, SCENE_SPECIFIC, &p->text[0]);
    p->text[1] = p->text[0];
    switch (category) {
    case SCENE_OBJECT: done = change_class(p, &r); break;
    case SCENE_ATTRIBUTE: done = change_attribute(p, &r); break;
    case SCENE_RELATION: done = exchange_places(p); break;
    default: done = remove_members(p, &r);
    }
    if (!done) return false;
    scene_write(&p->text[0]);
    scene_write(&p->text[1]);
    find_change(p);
    return true;
}

void scene_sample_pair(uint64_t seed, scene_category category, const scene_opts *o, scene_pair *p) {
    scene_opts own = { SCENE_MIX, o ? o->max_objects : 0 };
    if (category == SCENE_COUNTING) own = (scene_opts){ SCENE_GROUP, 0 };
    if (category == SCENE_RELATION) own = (scene_opts){ SCENE_TWO, 0 };
    for (uint64_t attempt = 1;; attempt++) {
        scene s;
        scene_sample_variant(seed, ((uint64_t)category + 1) << 32 | attempt, &own, &s);
        if (scene_edit(&s, category, seed, p)) return;
    }
}

scene_category scene_pick_category(uint64_t seed, const double weight[SCENE_CATEGORIES]) {
    vm_rng r = scene_rng(seed, 0, SCENE_STREAM_PICK);
    double sum = 0, at;
    for (int k = 0; k < SCENE_CATEGORIES; k++) sum += weight[k];
    at = vm_rng_f64(&r) * sum;
    for (int k = 0; k < SCENE_CATEGORIES; k++)
        if ((at -= weight[k]) < 0) return (scene_category)k;
    for (int k = SCENE_CATEGORIES - 1; k > 0; k--) /* rounding ate the last of it */
        if (weight[k] > 0) return (scene_category)k;
    return SCENE_OBJECT;
}
