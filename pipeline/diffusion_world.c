/* diffusion_world.c - the miniature world for diffusion models: scenes, and for inpainting models what an edit would repaint in them.
 *
 * Of the samples with masks, .15 are removals: objects that were left out, their boxes repainted with the text "background". In the others the boxes of
 * one phrase of the caption (.85) or of one object are repainted with what is there. Prompts have the forms that `vismin inpaint` writes (phrase,
 * period, caption: .6) or are the phrase or the caption alone. Boxes are the squares that any object of the size would fit in (a tight one would tell
 * the class), moved by -1 to 2 pixels a side and grown by up to 3. */
#include <stdio.h>

#include "models/edit_mask.h"
#include "models/scene.h"
#include "pipeline/diffusion_feed.h"

/* Boxes (n,4) of the objects in `which`, drawn around as a person or a detector would. */
static int64_t put_boxes(const scene *s, unsigned which, vm_rng *r, float *boxes) {
    int64_t n = 0;
    for (int i = 0; i < s->n; i++) {
        if (!(which >> i & 1)) continue;
        const scene_box b = scene_object_square(&s->object[i]);
        const int side[] = { b.x0, b.y0, b.x1, b.y1 };
        for (int k = 0; k < 4; k++) {
            int out = (int)vm_rng_below(r, 4) - 1;
            boxes[4 * n + k] = (float)(side[k] + (k < 2 ? -out : out));
        }
        n++;
    }
    return n;
}

/* Without its article or number, as edit instructions have it; with them at times. */
static void put_phrase(char text[DIFFUSION_TEXT], const scene_text *c, const scene_phrase *p, vm_rng *r) {
    const int begin = vm_rng_below(r, 4) ? p->name : p->begin;
    snprintf(text, DIFFUSION_TEXT, "%.*s", p->end - begin, c->text + begin);
}

static void put_text(char text[DIFFUSION_TEXT], const char *phrase, const char *caption, vm_rng *r) {
    uint32_t form = vm_rng_below(r, 10);
    if (!*caption || form >= 8) snprintf(text, DIFFUSION_TEXT, "%s", phrase);
    else if (form < 6) snprintf(text, DIFFUSION_TEXT, "%s. %s", phrase, caption);
    else snprintf(text, DIFFUSION_TEXT, "%s", caption);
}

/* Chooses what is repainted; s becomes what is drawn. */
static vm_status choose(scene *s, uint64_t seed, vm_rng *r, char text[DIFFUSION_TEXT], vm_image *mask, vm_error *e) {
    const scene whole = *s;
    uint32_t kind = vm_rng_below(r, 100);
    scene_text c = { 0 };
    unsigned which = 1u << vm_rng_below(r, (uint32_t)s->n);
    if (kind < 15) {
        scene_take_out(s, which);
        if (s->n) scene_caption(s, seed, SCENE_ORDINARY, &c);
        if (vm_rng_below(r, 3)) put_text(text, "background", c.text, r);
        else snprintf(text, DIFFUSION_TEXT, "background");
    } else if (kind < 30) {
        scene one = *s;
        scene_take_out(&one, ~which);
        scene_caption(&one, seed, SCENE_SPECIFIC, &c);
        put_phrase(text, &c, &c.phrase[0], r);
    } else {
        scene_caption(s, seed, kind < 75 ? SCENE_SPECIFIC : SCENE_ORDINARY, &c);
        const scene_phrase *p = &c.phrase[vm_rng_below(r, c.n)];
        which = p->objects;
        char phrase[DIFFUSION_TEXT];
        put_phrase(phrase, &c, p, r);
        put_text(text, phrase, c.text, r);
    }
    float boxes[4 * SCENE_OBJECTS];
    int64_t n = put_boxes(&whole, which, r, boxes);
    return edit_mask_boxes(mask, SCENE_SIDE, SCENE_SIDE, boxes, n, 1, (int)vm_rng_below(r, 4), e);
}

vm_status diffusion_world_fill(diffusion_feed *f, int64_t k, int64_t i, vm_rng *r, char text[DIFFUSION_TEXT], vm_error *e) {
    const uint64_t seed = scene_seed(f->held_out ? SCENE_VAL : SCENE_TRAIN, (uint64_t)i);
    const scene_opts o = { vm_rng_f64(r) < f->crowded ? SCENE_DENSE : SCENE_MIX, 0 };
    scene s;
    scene_sample(seed, &o, &s);
    if (f->objects) {
        if (image_new(&f->focus[k], SCENE_SIDE, SCENE_SIDE, 1, e)) return e->status;
        for (int at = 0; at < SCENE_SIDE * SCENE_SIDE; at++) f->focus[k].px[at] = 0;
        for (int j = 0; j < s.n; j++) {
            const scene_box b = scene_object_box(&s.object[j]);
            for (int y = b.y0; y < b.y1; y++)
                for (int x = b.x0; x < b.x1; x++) f->focus[k].px[y * SCENE_SIDE + x] = 255;
        }
    }
    if (f->masks) choose(&s, seed, r, text, &f->mask[k], e);
    else {
        scene_text c;
        scene_caption(&s, seed, SCENE_ORDINARY, &c);
        snprintf(text, DIFFUSION_TEXT, "%s", c.text);
    }
    if (!e->status && !image_new(&f->image[k], SCENE_SIDE, SCENE_SIDE, 3, e)) scene_render(&s, f->image[k].px);
    return e->status;
}
