/* box_draw.c - see box_draw.h. */
#include "pipeline/box_draw.h"

#include <string.h>

#include "pipeline/letters.h"

static void fill(vm_image *im, int x0, int x1, int y0, int y1, const uint8_t *colour) {
    for (int y = VM_MAX(y0, 0); y < VM_MIN(y1, im->h); y++)
        for (int x = VM_MAX(x0, 0); x < VM_MIN(x1, im->w); x++) memcpy(im->px + ((size_t)y * (size_t)im->w + (size_t)x) * (size_t)im->c, colour, (size_t)im->c);
}

void box_frame(vm_image *im, const float box[4], int64_t number, const char *text) {
    static const uint8_t colours[][3] = { { 230, 25, 75 }, { 0, 130, 200 }, { 60, 180, 75 }, { 255, 200, 0 }, { 145, 30, 180 }, { 245, 130, 48 },
                                          { 70, 240, 240 }, { 240, 50, 230 } };
    static const uint8_t black[3] = { 0, 0, 0 }, white[3] = { 255, 255, 255 };
    const uint8_t *c = colours[number % VM_LEN(colours)], *ink = 2 * c[0] + 5 * c[1] + c[2] > 4 * 255 ? black : white;
    const int side = VM_MIN(im->w, im->h), t = VM_MAX(side / 200, 1), zoom = VM_MAX(side / 300, 1);
    const int x0 = (int)box[0], x1 = (int)box[2], y0 = (int)box[1], y1 = (int)box[3], high = (LETTER_H + 2) * zoom;
    fill(im, x0, x1, y0, y0 + t, c), fill(im, x0, x1, y1 - t, y1, c), fill(im, x0, x0 + t, y0, y1, c), fill(im, x1 - t, x1, y0, y1, c);
    if (!text) return;
    const int wide = ((int)strlen(text) * LETTER_ADVANCE + 1) * zoom, x = VM_MAX(VM_MIN(x0, im->w - wide), 0);
    const int y = y0 - high >= 0 ? y0 - high : y1 + high <= im->h ? y1 : VM_MAX(y0, 0);
    fill(im, x, x + wide, y, y + high, c);
    letters_draw(im, x + zoom, y + zoom, zoom, text, ink);
}
