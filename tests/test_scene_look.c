/* test_scene_look.c - the oracle of the miniature world sees what was drawn: classes, colours, textures, nothing; also beside the place, and blurred. */
#include <stdlib.h>
#include <string.h>

#include "models/scene.h"
#include "tests/test.h"

enum { SCENES = 60 };

static void blur(uint8_t rgb[SCENE_BYTES]) {
    static uint8_t from[SCENE_BYTES];
    memcpy(from, rgb, SCENE_BYTES);
    for (int y = 1; y < SCENE_SIDE - 1; y++)
        for (int k = 3; k < 3 * (SCENE_SIDE - 1); k++) {
            const uint8_t *p = from + y * SCENE_SIDE * 3 + k;
            rgb[y * SCENE_SIDE * 3 + k] = (uint8_t)((4 * p[0] + p[3] + p[-3] + p[3 * SCENE_SIDE] + p[-3 * SCENE_SIDE] + 4) / 8);
        }
}

/* Every object of another class, colour and texture, moved by dx, dy: how many are seen as that. */
static int seen(int dx, int dy, bool blurred, int *all) {
    static uint8_t rgb[SCENE_BYTES];
    int right = 0;
    *all = 0;
    for (uint64_t n = 0; n < SCENES; n++) {
        scene s;
        scene_sample(scene_seed(SCENE_VAL, n), NULL, &s);
        const int i = (int)n % s.n;
        scene other = s;
        scene_object *o = &other.object[i];
        o->class = (uint8_t)((o->class + 1 + n) % SCENE_CLASSES), o->colour = (uint8_t)((o->colour + n) % SCENE_COLOURS), o->texture = (uint8_t)(n % SCENE_TEXTURES);
        o->x += dx * SCENE_ONE_PX, o->y += dy * SCENE_ONE_PX;
        scene_render(&other, rgb);
        if (blurred) blur(rgb);
        scene_seen v;
        scene_look(&s, i, rgb, &v);
        right += !v.nothing && v.class == o->class && v.colour == o->colour && v.texture == o->texture;
        ++*all;
    }
    return right;
}

TEST(what_was_drawn) {
    int all, right = seen(0, 0, false, &all);
    EXPECT(right == all);
    right = seen(1, -1, false, &all);
    EXPECT(right == all);
}
TEST(blurred) {
    int all, right = seen(0, 1, true, &all);
    EXPECT(right >= all - 1);
}

TEST(nothing_there) {
    static uint8_t rgb[SCENE_BYTES];
    for (uint64_t n = 0; n < SCENES; n++) {
        scene s;
        scene_seen v;
        scene_sample(scene_seed(SCENE_VAL, n), NULL, &s);
        const int i = (int)n % s.n;
        scene rest = s;
        scene_take_out(&rest, 1u << i);
        scene_render(&rest, rgb);
        if (n % 2) blur(rgb);
        scene_look(&s, i, rgb, &v);
        EXPECT(v.nothing && v.far_nothing < v.far);
        for (int k = 0; k < SCENE_BYTES; k++) rgb[k] = (uint8_t)(rgb[k] / 2); /* something that is no object is not nothing */
        scene_look(&s, i, rgb, &v);
        EXPECT(!v.nothing);
        scene_render(&s, rgb);
        scene_look(&s, i, rgb, &v);
        EXPECT(!v.nothing && v.class == s.object[i].class && v.colour == s.object[i].colour && v.far == 0);
    }
}

int main(void) {
    RUN(what_was_drawn);
    RUN(blurred);
    RUN(nothing_there);
    return test_end();
}
