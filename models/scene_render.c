/* scene_render.c - pictures of the miniature world: signed distances, anti-aliased, 8 bits at the end.
 *
 * Background: vertical gradient, plus noise of an 8x8 grid (sigma .035, bilinear, the same on the three channels), plus
 * noise of every value (sigma .02); all in 1/65536 of a level, so integers decide every bit. The noise is a sum of
 * uniform numbers, near enough to a normal one.
 * Objects: a class is a list of primitives in unit coordinates u = (x - cx) / r, v = (y - cy) / r, joined to parts with
 * a paint each. Coverage of a part is clamp(.5 - d r, 0, 1) for distance d; parts lie over each other in their order,
 * below them the outline: the union of all parts grown by .7 px. Single precision with + - * / sqrt and comparisons
 * only, compiled without contraction (Makefile): the same bits from any compiler. Bound by the noise (two thirds), then
 * by square roots; each object computes its own rectangle only. */
#include <math.h>
#include <string.h>

#include "models/scene_parts.h"

/* ---- shapes ---- */
typedef enum { CIRCLE, ELLIPSE, RECT, POLYGON, STAR } primitive_kind;
typedef enum { PART, JOIN, CUT, KEEP } primitive_use; /* begins a part; union with it; minus; intersection */
typedef enum { BODY, SHADED, DARK, CREAM, BROWN, GLASS, YOLK } paint;

typedef struct {
    uint8_t use, paint, kind, n; /* n: vertices */
    float p[8];                  /* x y R | x y a b | x0 y0 x1 y1 rounding | vertices clockwise on the screen | - */
} primitive;

enum { PRIMITIVES = 8, PARTS = 4, ROW = 32 }; /* most of a class; pixels of the widest rectangle */

static const struct {
    int n;
    primitive p[PRIMITIVES];
} shape[SCENE_CLASSES] = {
    /* ball */ { 1, { { PART, BODY, CIRCLE, 0, { 0, 0, .95f } } } },
    /* box */
    { 2, { { PART, BODY, RECT, 0, { -.78f, -.78f, .78f, .78f, .06f } },
           { PART, SHADED, RECT, 0, { -.84f, -.12f, .84f, .12f } } } },
    /* star */ { 1, { { PART, BODY, STAR, 0, { 0 } } } },
    /* tree */
    { 3, { { PART, BROWN, RECT, 0, { -.17f, .4f, .17f, 1 } },
           { PART, BODY, POLYGON, 3, { 0, -1, .62f, -.1f, -.62f, -.1f } },
           { JOIN, BODY, POLYGON, 3, { 0, -.55f, .85f, .55f, -.85f, .55f } } } },
    /* house */
    { 3, { { PART, BODY, RECT, 0, { -.7f, -.15f, .7f, .95f } },
           { PART, SHADED, POLYGON, 3, { 0, -1, .98f, -.1f, -.98f, -.1f } },
           { PART, CREAM, RECT, 0, { -.2f, .35f, .2f, .95f } } } },
    /* car */
    { 5, { { PART, BODY, RECT, 0, { -.97f, -.1f, .97f, .45f, .03f } },
           { JOIN, BODY, RECT, 0, { -.55f, -.6f, .5f, 0 } },
           { PART, GLASS, RECT, 0, { -.4f, -.45f, .35f, -.12f } },
           { PART, DARK, CIRCLE, 0, { -.55f, .48f, .28f } },
           { JOIN, DARK, CIRCLE, 0, { .55f, .48f, .28f } } } },
    /* fish */
    { 3, { { PART, BODY, ELLIPSE, 0, { .2f, 0, .78f, .55f } },
           { JOIN, BODY, POLYGON, 3, { -.35f, 0, -1, .62f, -1, -.62f } },
           { PART, DARK, CIRCLE, 0, { .62f, -.12f, .13f } } } },
    /* cup */
    { 4, { { PART, BODY, CIRCLE, 0, { .48f, 0, .45f } },
           { CUT, BODY, CIRCLE, 0, { .48f, 0, .22f } },
           { PART, BODY, RECT, 0, { -.75f, -.7f, .42f, .8f } },
           { PART, DARK, RECT, 0, { -.65f, -.7f, .32f, -.5f } } } },
    /* heart */
    { 3, { { PART, BODY, CIRCLE, 0, { .44f, -.36f, .5f } },
           { JOIN, BODY, CIRCLE, 0, { -.44f, -.36f, .5f } },
           { JOIN, BODY, POLYGON, 4, { -.86f, -.1f, 0, -.5f, .86f, -.1f, 0, .95f } } } },
    /* moon */
    { 2, { { PART, BODY, CIRCLE, 0, { -.05f, 0, .95f } }, { CUT, BODY, CIRCLE, 0, { .45f, -.12f, .78f } } } },
    /* mushroom */
    { 3, { { PART, CREAM, RECT, 0, { -.27f, 0, .27f, .92f } },
           { PART, BODY, ELLIPSE, 0, { 0, .12f, .97f, 1.05f } },
           { KEEP, BODY, RECT, 0, { -2, -2, 2, .15f } } } },
    /* flower: petals on a circle of .6, every 60 degrees */
    { 7, { { PART, BODY, CIRCLE, 0, { .6f, 0, .36f } },
           { JOIN, BODY, CIRCLE, 0, { .3f, .51961524f, .36f } },
           { JOIN, BODY, CIRCLE, 0, { -.3f, .51961524f, .36f } },
           { JOIN, BODY, CIRCLE, 0, { -.6f, 0, .36f } },
           { JOIN, BODY, CIRCLE, 0, { -.3f, -.51961524f, .36f } },
           { JOIN, BODY, CIRCLE, 0, { .3f, -.51961524f, .36f } },
           { PART, YOLK, CIRCLE, 0, { 0, 0, .3f } } } },
};

static inline float least(float a, float b) { return a < b ? a : b; }
static inline float most(float a, float b) { return a > b ? a : b; }

/* Five points, tip up, outer radius 1, inner .45: folded into the half of one point, where the edge from the tip to the
 * inner corner is one line. */
static float star_distance(float u, float v) {
    const float c36 = .80901699f, s36 = .58778525f;
    u = fabsf(u);
    for (int side = 0; side < 2; side++) { /* mirror at the lines 36 degrees beside the tip */
        float over = (side ? -u : u) * c36 + v * s36;
        over = most(over, 0);
        u -= 2 * over * (side ? -c36 : c36);
        v -= 2 * over * s36;
    }
    return (fabsf(u) * .63594235f - (v + 1) * .26450336f) * 1.4518932f;
}

/* Distances of n pixels of one row. */
static void primitive_row(const primitive *s, const float *u, float v, int n, float *d) {
    const float *p = s->p;
    switch (s->kind) {
    case CIRCLE:
        for (int i = 0; i < n; i++) d[i] = sqrtf((u[i] - p[0]) * (u[i] - p[0]) + (v - p[1]) * (v - p[1])) - p[2];
        return;
    case ELLIPSE:
        for (int i = 0; i < n; i++) {
            float a = (u[i] - p[0]) / p[2], b = (v - p[1]) / p[3];
            d[i] = least(p[2], p[3]) * (sqrtf(a * a + b * b) - 1);
        }
        return;
    case RECT:
        for (int i = 0; i < n; i++) {
            float a = most(p[0] - u[i], u[i] - p[2]), b = most(p[1] - v, v - p[3]);
            float x = most(a, 0), y = most(b, 0);
            d[i] = sqrtf(x * x + y * y) + least(most(a, b), 0) - p[4];
        }
        return;
    case POLYGON:
        for (int k = 0; k < s->n; k++) {
            const float *a = p + 2 * k, *b = p + 2 * ((k + 1) % s->n);
            float ex = b[0] - a[0], ey = b[1] - a[1], len = sqrtf(ex * ex + ey * ey);
            float nx = ey / len, ny = -ex / len, at = (v - a[1]) * ny - a[0] * nx;
            for (int i = 0; i < n; i++) d[i] = k ? most(d[i], u[i] * nx + at) : u[i] * nx + at;
        }
        return;
    default:
        for (int i = 0; i < n; i++) d[i] = star_distance(u[i], v);
    }
}

/* Distances of all parts, one row each; returns how many and fills their paints and the union. */
static int part_rows(int class, const float *u, float v, int n, float d[PARTS][ROW], uint8_t paints[PARTS],
                     float *all) {
    float one[ROW];
    int parts = 0;
    for (int k = 0; k < shape[class].n; k++) {
        const primitive *s = &shape[class].p[k];
        if (s->use == PART) paints[parts++] = s->paint;
        float *to = d[parts - 1];
        primitive_row(s, u, v, n, s->use == PART ? to : one);
        if (s->use == JOIN) for (int i = 0; i < n; i++) to[i] = least(to[i], one[i]);
        if (s->use == CUT) for (int i = 0; i < n; i++) to[i] = most(to[i], -one[i]);
        if (s->use == KEEP) for (int i = 0; i < n; i++) to[i] = most(to[i], one[i]);
    }
    for (int i = 0; i < n; i++) {
        all[i] = d[0][i];
        for (int k = 1; k < parts; k++) all[i] = least(all[i], d[k][i]);
    }
    return parts;
}

/* ---- paint; colours in levels 0..255 ---- */
static const uint8_t colour_rgb[SCENE_COLOURS][3] = {
    { 219, 31, 36 },  { 26, 158, 46 },  { 36, 71, 230 },   { 247, 219, 31 },
    { 148, 41, 184 }, { 250, 133, 20 }, { 247, 247, 247 }, { 20, 20, 26 },
};
static const float fixed_rgb[][3] = { /* dark, cream, brown, glass, yolk */
    { 40.8f, 38.25f, 43.35f }, { 242.25f, 229.5f, 198.9f }, { 107.1f, 68.85f, 35.7f },
    { 191.25f, 224.4f, 242.25f }, { 249.9f, 204, 51 },
};
enum { WHITE = 6, BLACK = 7, STRIPED = 1, DOTTED = 2 };

/* The second colour of a texture: darker or lighter than the first, whichever shows. */
static float second_level(const scene_object *o, float first) {
    if (o->colour == BLACK) return first + 127.5f;
    if (o->colour == WHITE) return first * .62f;
    return o->texture == STRIPED ? first * .45f : first * .35f + 165.75f;
}

/* Weight of the second colour at (dx, dy), 1/256 pixel from the centre. Stripes: diagonal, every 5 px. Dots: every
 * 4.2 px, radius .3 of that. */
static float texture_weight(int texture, int32_t dx, int32_t dy) {
    if (texture == STRIPED) {
        int32_t s = (dx + dy + 1280 * 64) % 1280;                  /* the offset keeps it positive */
        float wave = (float)(s < 640 ? 640 - s : s - 640) / 320.0f - 1; /* 4 |s - .5| - 1 of a period */
        return least(most(2 * wave, -1), 1) * .5f + .5f;
    }
    float x = (float)((dx + 1075 * 64) % 1075 - 537) / 256.0f, y = (float)((dy + 1075 * 64) % 1075 - 537) / 256.0f;
    return least(most(.5f - (sqrtf(x * x + y * y) - 1.26f), 0), 1);
}

typedef struct {
    uint8_t *rgb;
    int w, h;
} canvas;

/* Pixels that an object may touch: 1.5 px around its extent. */
static scene_box object_rect(const scene_object *o, int w, int h) {
    int32_t reach = o->r + 384;
    scene_box b = { (o->x - reach) / SCENE_ONE_PX, (o->y - reach) / SCENE_ONE_PX, (o->x + reach) / SCENE_ONE_PX + 1,
                    (o->y + reach) / SCENE_ONE_PX + 1 };
    return (scene_box){ b.x0 < 0 ? 0 : b.x0, b.y0 < 0 ? 0 : b.y0, b.x1 > w ? w : b.x1, b.y1 > h ? h : b.y1 };
}

static inline float coverage(float distance_px) { return least(most(.5f - distance_px, 0), 1); }

/* Unit coordinates of the pixel centres x0 ... x0 + n - 1. */
static void unit_row(const scene_object *o, int x0, int n, float *u) {
    for (int i = 0; i < n; i++) u[i] = (float)((x0 + i) * SCENE_ONE_PX + 128 - o->x) / (float)o->r;
}

/* Lays one part over a row of one channel: level[i] of the paint, weight a[i]. */
static void lay_over(float *row, const float *a, const float *level, int n) {
    for (int i = 0; i < n; i++) row[i] += (level[i] - row[i]) * a[i];
}

static void draw_row(const canvas *c, const scene_object *o, scene_box b, int y, const float *u) {
    float d[PARTS][ROW], all[ROW], weight[ROW], a[PARTS + 1][ROW], row[ROW], level[ROW];
    uint8_t paints[PARTS];
    int n = b.x1 - b.x0;
    int32_t dy = y * SCENE_ONE_PX + 128 - o->y;
    float r = (float)o->r / SCENE_ONE_PX, near = 1e9f;
    int parts = part_rows(o->class, u, (float)dy / (float)o->r, n, d, paints, all);
    for (int i = 0; i < n; i++) near = least(near, all[i]);
    if (near * r >= 1.2f) return;
    for (int i = 0; i < n; i++) a[PARTS][i] = coverage(all[i] * r - .7f);
    for (int k = 0; k < parts; k++)
        for (int i = 0; i < n; i++) a[k][i] = coverage(d[k][i] * r);
    for (int i = 0; o->texture && i < n; i++)
        weight[i] = texture_weight(o->texture, (b.x0 + i) * SCENE_ONE_PX + 128 - o->x, dy);
    uint8_t *px = c->rgb + ((size_t)y * (size_t)c->w + (size_t)b.x0) * 3;
    for (int ch = 0; ch < 3; ch++) {
        float first = colour_rgb[o->colour][ch], second = second_level(o, first);
        for (int i = 0; i < n; i++) row[i] = px[3 * i + ch], level[i] = o->colour == BLACK ? 216.75f : 25.5f;
        lay_over(row, a[PARTS], level, n);
        for (int k = 0; k < parts; k++) {
            float shade = paints[k] == SHADED ? .6f : 1;
            for (int i = 0; i < n; i++) {
                float body = o->texture ? first + (second - first) * weight[i] : first;
                level[i] = paints[k] > SHADED ? fixed_rgb[paints[k] - DARK][ch] : body * shade;
            }
            lay_over(row, a[k], level, n);
        }
        for (int i = 0; i < n; i++) px[3 * i + ch] = (uint8_t)(row[i] + .5f);
    }
}

static void draw_object(const canvas *c, const scene_object *o) {
    float u[ROW];
    scene_box b = object_rect(o, c->w, c->h);
    unit_row(o, b.x0, b.x1 - b.x0, u);
    for (int y = b.y0; y < b.y1; y++) draw_row(c, o, b, y, u);
}

scene_box scene_object_square(const scene_object *o) {
    const int32_t reach = o->r + SCENE_ONE_PX, end = SCENE_SIDE * SCENE_ONE_PX;
    const int32_t x0 = o->x - reach, y0 = o->y - reach, x1 = o->x + reach, y1 = o->y + reach;
    return (scene_box){ (x0 < 0 ? 0 : x0) / SCENE_ONE_PX, (y0 < 0 ? 0 : y0) / SCENE_ONE_PX, ((x1 > end ? end : x1) + SCENE_ONE_PX - 1) / SCENE_ONE_PX,
                        ((y1 > end ? end : y1) + SCENE_ONE_PX - 1) / SCENE_ONE_PX };
}

scene_box scene_object_box(const scene_object *o) {
    float u[ROW], d[PARTS][ROW], all[ROW], r = (float)o->r / SCENE_ONE_PX;
    uint8_t paints[PARTS];
    scene_box b = object_rect(o, SCENE_SIDE, SCENE_SIDE), tight = { SCENE_SIDE, SCENE_SIDE, 0, 0 };
    unit_row(o, b.x0, b.x1 - b.x0, u);
    for (int y = b.y0; y < b.y1; y++) {
        part_rows(o->class, u, (float)(y * SCENE_ONE_PX + 128 - o->y) / (float)o->r, b.x1 - b.x0, d, paints, all);
        for (int i = 0; i < b.x1 - b.x0; i++) {
            if (all[i] * r >= .95f) continue; /* at half, thin tips would reach three pixels beyond their box */
            int x = b.x0 + i;
            if (x < tight.x0) tight.x0 = x;
            if (x >= tight.x1) tight.x1 = x + 1;
            if (y < tight.y0) tight.y0 = y;
            tight.y1 = y + 1;
        }
    }
    return tight;
}

/* ---- background ---- */
static const uint8_t background_rgb[SCENE_BACKGROUNDS][2][3] = { /* top, bottom; hundredths */
    { { 62, 74, 55 }, { 48, 62, 42 } },
    { { 84, 78, 62 }, { 74, 66, 50 } },
    { { 80, 86, 92 }, { 70, 76, 84 } },
    { { 52, 50, 62 }, { 40, 38, 50 } },
};

/* Level at height y of last + 1 rows, in 1/65536. */
static int32_t gradient(int background, int channel, int y, int last) {
    int64_t top = background_rgb[background][0][channel], bottom = background_rgb[background][1][channel];
    return (int32_t)((top * (last - y) + bottom * y) * 255 * 65536 / (100 * last));
}

/* Two grid points and the weight of the second (of 16) of a pixel: centres of 8x8 cells, clamped at the border. */
static void grid_place(int i, int *k, int *next, int *weight) {
    int at = 2 * i - 7; /* in 1/16 of a cell */
    if (at < 0) at = 0;
    *k = at / 16;
    *next = *k < 7 ? *k + 1 : 7;
    *weight = at % 16;
}

static void draw_background(const scene *s, uint8_t rgb[SCENE_BYTES]) {
    enum { COARSE = 2798, FINE = 36253 }; /* sigma .035 and .02 of 255 levels per unit of the sums below, in 1/65536 */
    int32_t grid[8][8];
    uint64_t stream = s->variant << 3 | SCENE_STREAM_NOISE, block = 0;
    uint32_t bits[4];
    for (int k = 0; k < 64; k += 2) { /* eight bytes each */
        vm_philox(s->seed, stream, block++, bits);
        for (int j = 0; j < 2; j++) {
            int32_t sum = -1020;
            for (int b = 0; b < 4; b++)
                sum += (int32_t)(bits[2 * j] >> 8 * b & 255) + (int32_t)(bits[2 * j + 1] >> 8 * b & 255);
            grid[(k + j) / 8][(k + j) % 8] = sum * COARSE;
        }
    }
    for (int y = 0; y < SCENE_SIDE; y++) {
        int32_t coarse[SCENE_SIDE * 3], sums[SCENE_SIDE * 3];
        int k, below, wy;
        grid_place(y, &k, &below, &wy);
        for (int x = 0; x < SCENE_SIDE; x++) {
            int j, right, wx;
            grid_place(x, &j, &right, &wx);
            int32_t a = grid[k][j] * (16 - wx) + grid[k][right] * wx;
            int32_t b = grid[below][j] * (16 - wx) + grid[below][right] * wx;
            coarse[3 * x] = coarse[3 * x + 1] = coarse[3 * x + 2] = (a * (16 - wy) + b * wy) / 256;
        }
        for (int i = 0; i < SCENE_SIDE * 3; i += 8) { /* four half bytes each */
            vm_philox(s->seed, stream, block++, bits);
            for (int j = 0; j < 4; j++) {
                uint32_t pairs = (bits[j] & 0x0f0f0f0f) + (bits[j] >> 4 & 0x0f0f0f0f);
                sums[i + 2 * j] = (int32_t)((pairs & 255) + (pairs >> 8 & 255));
                sums[i + 2 * j + 1] = (int32_t)((pairs >> 16 & 255) + (pairs >> 24));
            }
        }
        int32_t level[3];
        for (int ch = 0; ch < 3; ch++) level[ch] = gradient(s->background, ch, y, SCENE_SIDE - 1) + 32768;
        for (int i = 0; i < SCENE_SIDE * 3; i++) {
            int32_t v = (level[i % 3] + coarse[i] + (sums[i] - 30) * FINE) >> 16;
            rgb[y * SCENE_SIDE * 3 + i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

void scene_render(const scene *s, uint8_t rgb[SCENE_BYTES]) {
    canvas c = { rgb, SCENE_SIDE, SCENE_SIDE };
    draw_background(s, rgb);
    for (int k = 0; k < s->n; k++) draw_object(&c, &s->object[k]);
}

void scene_draw_object(uint8_t rgb[SCENE_BYTES], const scene_object *o) {
    draw_object(&(canvas){ rgb, SCENE_SIDE, SCENE_SIDE }, o);
}

void scene_chart(int background, int texture, uint8_t rgb[SCENE_CHART_W * SCENE_CHART_H * 3]) {
    canvas c = { rgb, SCENE_CHART_W, SCENE_CHART_H };
    for (int i = 0; i < SCENE_CHART_W * SCENE_CHART_H * 3; i++)
        rgb[i] = (uint8_t)((gradient(background, i % 3, i / 3 / SCENE_CHART_W, SCENE_CHART_H - 1) + 32768) >> 16);
    for (int k = 0; k < SCENE_CLASSES * SCENE_COLOURS; k++) {
        int column = k % SCENE_CLASSES, row = k / SCENE_CLASSES;
        scene_object o = { (uint8_t)column, (uint8_t)row, (uint8_t)texture, 1, 0, 0, scene_radius(1, 256), 256 };
        o.x = (2 * column + 1) * SCENE_CELL * SCENE_ONE_PX / 2;
        o.y = (2 * row + 1) * SCENE_CELL * SCENE_ONE_PX / 2;
        draw_object(&c, &o);
    }
}
