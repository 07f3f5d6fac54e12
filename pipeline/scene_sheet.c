/* scene_sheet.c - see scene_sheet.h. */
#include "pipeline/scene_sheet.h"

#include <string.h>

enum { ZOOM = 2, SHOWN = SCENE_SIDE * ZOOM, GAP = 4, MARGIN = 14, ADVANCE = 6, LINE = 11, LINES = 4 };

/* Letters of 5x9 dots, the upper row first, bit 4 = left; the last two rows are below the line. */
static const uint8_t glyph[26][9] = {
    { 0, 0, 0x0e, 0x01, 0x0f, 0x11, 0x0f },             { 0x10, 0x10, 0x1e, 0x11, 0x11, 0x11, 0x1e },
    { 0, 0, 0x0e, 0x11, 0x10, 0x11, 0x0e },             { 0x01, 0x01, 0x0f, 0x11, 0x11, 0x11, 0x0f },
    { 0, 0, 0x0e, 0x11, 0x1f, 0x10, 0x0e },             { 0x06, 0x08, 0x1c, 0x08, 0x08, 0x08, 0x08 },
    { 0, 0, 0x0f, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x0e }, { 0x10, 0x10, 0x1e, 0x11, 0x11, 0x11, 0x11 },
    { 0x04, 0, 0x0c, 0x04, 0x04, 0x04, 0x0e },          { 0x02, 0, 0x06, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c },
    { 0x10, 0x10, 0x12, 0x14, 0x18, 0x14, 0x12 },       { 0x0c, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e },
    { 0, 0, 0x1a, 0x15, 0x15, 0x15, 0x15 },             { 0, 0, 0x1e, 0x11, 0x11, 0x11, 0x11 },
    { 0, 0, 0x0e, 0x11, 0x11, 0x11, 0x0e },             { 0, 0, 0x1e, 0x11, 0x11, 0x11, 0x1e, 0x10, 0x10 },
    { 0, 0, 0x0f, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x01 }, { 0, 0, 0x16, 0x19, 0x10, 0x10, 0x10 },
    { 0, 0, 0x0f, 0x10, 0x0e, 0x01, 0x1e },             { 0x08, 0x08, 0x1c, 0x08, 0x08, 0x08, 0x06 },
    { 0, 0, 0x11, 0x11, 0x11, 0x13, 0x0d },             { 0, 0, 0x11, 0x11, 0x11, 0x0a, 0x04 },
    { 0, 0, 0x11, 0x15, 0x15, 0x15, 0x0a },             { 0, 0, 0x11, 0x0a, 0x04, 0x0a, 0x11 },
    { 0, 0, 0x11, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x0e }, { 0, 0, 0x1f, 0x02, 0x04, 0x08, 0x1f },
};

typedef struct {
    uint8_t r, g, b;
} ink;
static const ink plain = { 45, 48, 56 }, marked = { 200, 60, 20 };

static void put(vm_image *im, int x, int y, ink c) {
    uint8_t *p = im->px + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
    p[0] = c.r, p[1] = c.g, p[2] = c.b;
}

static void draw_letter(vm_image *im, int x, int y, char c, ink colour) {
    if (c < 'a' || c > 'z') return;
    for (int j = 0; j < 9; j++)
        for (int i = 0; i < 5; i++)
            if (glyph[c - 'a'][j] >> (4 - i) & 1) put(im, x + i, y + j, colour);
}

/* Text broken at blanks into lines no wider than a picture; what does not fit in LINES lines is left out. */
static void draw_text(vm_image *im, int x, int y, const char *text, int begin, int end) {
    int room = SHOWN / ADVANCE, column = 0, line = 0;
    for (int i = 0; text[i];) {
        int n = (int)strcspn(text + i, " ");
        if (column && column + 1 + n > room) column = 0, line++;
        else if (column) column++;
        if (line == LINES) return;
        for (int k = 0; k < n; k++, column++)
            draw_letter(im, x + column * ADVANCE, y + line * LINE, text[i + k],
                        i + k >= begin && i + k < end ? marked : plain);
        i += n + (text[i + n] == ' ');
    }
}

static void draw_scene(vm_image *im, int x0, int y0, const scene *s) {
    uint8_t rgb[SCENE_BYTES];
    scene_render(s, rgb);
    for (int y = 0; y < SHOWN; y++)
        for (int x = 0; x < SHOWN; x++) {
            const uint8_t *p = rgb + (y / ZOOM * SCENE_SIDE + x / ZOOM) * 3;
            put(im, x0 + x, y0 + y, (ink){ p[0], p[1], p[2] });
        }
}

static int cell_width(const scene_sheet *s) { return s->across * SHOWN + (s->across - 1) * GAP + MARGIN; }
enum { CELL_HEIGHT = SHOWN + LINES * LINE + MARGIN };

vm_status sheet_new(scene_sheet *s, int n, int columns, int across, vm_error *e) {
    int rows = (n + columns - 1) / columns;
    *s = (scene_sheet){ .columns = columns, .across = across };
    vm_status st = image_new(&s->im, columns * cell_width(s) + MARGIN, rows * CELL_HEIGHT + MARGIN, 3, e);
    if (!st) memset(s->im.px, 250, (size_t)s->im.w * (size_t)s->im.h * 3);
    return st;
}

static void add(scene_sheet *s, const scene *a, const scene_text *t, int which, int begin, int end) {
    int x = MARGIN + s->next % s->columns * cell_width(s) + which * (SHOWN + GAP);
    int y = MARGIN + s->next / s->columns * CELL_HEIGHT;
    draw_scene(&s->im, x, y, a);
    draw_text(&s->im, x, y + SHOWN + 4, t->text, begin, end);
}

void sheet_add_scene(scene_sheet *s, const scene *a, const scene_text *t) {
    add(s, a, t, 0, 0, 0);
    s->next++;
}

void sheet_add_pair(scene_sheet *s, const scene_pair *p) {
    for (int k = 0; k < 2; k++) add(s, &p->scene[k], &p->text[k], k, p->change[k].begin, p->change[k].end);
    s->next++;
}
