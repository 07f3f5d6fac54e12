/* scene_sheet.c - see scene_sheet.h. */
#include "pipeline/scene_sheet.h"

#include <string.h>

#include "pipeline/letters.h"

enum { ZOOM = 2, SHOWN = SCENE_SIDE * ZOOM, GAP = 4, MARGIN = 14, LINE = 11, LINES = 4 };

static const uint8_t plain[] = { 45, 48, 56 }, marked[] = { 200, 60, 20 };

/* Text broken at blanks into lines no wider than a picture; what does not fit in LINES lines is left out. */
static void draw_text(vm_image *im, int x, int y, const char *text, int begin, int end) {
    int room = SHOWN / LETTER_ADVANCE, column = 0, line = 0;
    for (int i = 0; text[i];) {
        int n = (int)strcspn(text + i, " ");
        if (column && column + 1 + n > room) column = 0, line++;
        else if (column) column++;
        if (line == LINES) return;
        for (int k = 0; k < n; k++, column++)
            letter_draw(im, x + column * LETTER_ADVANCE, y + line * LINE, 1, text[i + k], i + k >= begin && i + k < end ? marked : plain);
        i += n + (text[i + n] == ' ');
    }
}

static void draw_picture(vm_image *im, int x0, int y0, const uint8_t *rgb) {
    for (int y = 0; y < SHOWN; y++)
        for (int x = 0; x < SHOWN; x++) {
            memcpy(im->px + ((size_t)(y0 + y) * (size_t)im->w + (size_t)(x0 + x)) * 3, rgb + (y / ZOOM * SCENE_SIDE + x / ZOOM) * 3, 3);
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

static void add(scene_sheet *s, const sheet_half *h, int which) {
    int x = MARGIN + s->next % s->columns * cell_width(s) + which * (SHOWN + GAP);
    int y = MARGIN + s->next / s->columns * CELL_HEIGHT;
    draw_picture(&s->im, x, y, h->rgb);
    draw_text(&s->im, x, y + SHOWN + 4, h->text, h->begin, h->end);
}

void sheet_add_scene(scene_sheet *s, const scene *a, const scene_text *t) {
    uint8_t rgb[SCENE_BYTES];
    scene_render(a, rgb);
    add(s, &(sheet_half){ rgb, t->text, 0, 0 }, 0);
    s->next++;
}

void sheet_add_halves(scene_sheet *s, const sheet_half half[2]) {
    add(s, &half[0], 0), add(s, &half[1], 1);
    s->next++;
}

void sheet_add_pair(scene_sheet *s, const scene_pair *p) {
    uint8_t rgb[2][SCENE_BYTES];
    for (int k = 0; k < 2; k++) scene_render(&p->scene[k], rgb[k]);
    sheet_add_halves(s, (sheet_half[]){ { rgb[0], p->text[0].text, p->change[0].begin, p->change[0].end }, { rgb[1], p->text[1].text, p->change[1].begin, p->change[1].end } });
}
