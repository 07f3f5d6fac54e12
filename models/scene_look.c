/* scene_look.c - the oracle of the miniature world: which object does a picture show in a place? By drawing all there are. */
#include <string.h>

#include "models/scene_parts.h"

enum { AROUND = 3 * SCENE_ONE_PX }; /* what is compared reaches so far around the object that was there */

/* Mean squared difference of what passes for background: noise of sigma .035 and .02 in both pictures is 211; twice that. */
static const double noise = 422;

/* Centres beside the one that was there; a network does not hit it to the pixel. */
static const int8_t shift[][2] = { { 0, 0 }, { -1, 0 }, { 1, 0 }, { 0, -1 }, { 0, 1 }, { -1, -1 }, { 1, -1 }, { -1, 1 }, { 1, 1 } };
enum { SHIFTS = sizeof shift / sizeof *shift };

static int pixel(int32_t at, int more) {
    int p = at / SCENE_ONE_PX + more;
    return p < 0 ? 0 : p > SCENE_SIDE ? SCENE_SIDE : p;
}

static double far_apart(const uint8_t *a, const uint8_t *b, scene_box r) {
    int64_t sum = 0;
    for (int y = r.y0; y < r.y1; y++)
        for (int k = (y * SCENE_SIDE + r.x0) * 3; k < (y * SCENE_SIDE + r.x1) * 3; k++) {
            int d = a[k] - b[k];
            sum += d * d;
        }
    return (double)sum / (3.0 * (r.x1 - r.x0) * (r.y1 - r.y0));
}

void scene_look(const scene *s, int i, const uint8_t rgb[SCENE_BYTES], scene_seen *out) {
    uint8_t without[SCENE_BYTES], with[SCENE_BYTES];
    scene rest = *s;
    const scene_object was = s->object[i];
    scene_take_out(&rest, 1u << i);
    scene_render(&rest, without);
    const int32_t reach = was.r + AROUND;
    const scene_box r = { pixel(was.x - reach, 0), pixel(was.y - reach, 0), pixel(was.x + reach, 1), pixel(was.y + reach, 1) };
    *out = (scene_seen){ .far_nothing = far_apart(rgb, without, r), .far = 1e9 };
    for (int k = 0; k < SCENE_CLASSES * SCENE_COLOURS * SCENE_TEXTURES * SHIFTS; k++) {
        scene_object o = was;
        o.class = (uint8_t)(k % SCENE_CLASSES), o.colour = (uint8_t)(k / SCENE_CLASSES % SCENE_COLOURS);
        o.texture = (uint8_t)(k / (SCENE_CLASSES * SCENE_COLOURS) % SCENE_TEXTURES);
        const int8_t *by = shift[k / (SCENE_CLASSES * SCENE_COLOURS * SCENE_TEXTURES)];
        o.x += by[0] * SCENE_ONE_PX, o.y += by[1] * SCENE_ONE_PX;
        for (int y = r.y0; y < r.y1; y++) memcpy(with + (y * SCENE_SIDE + r.x0) * 3, without + (y * SCENE_SIDE + r.x0) * 3, (size_t)(r.x1 - r.x0) * 3);
        scene_draw_object(with, &o);
        double far = far_apart(rgb, with, r);
        if (far < out->far) out->far = far, out->class = o.class, out->colour = o.colour, out->texture = o.texture;
    }
    out->nothing = out->far_nothing < out->far && out->far_nothing < noise;
}
