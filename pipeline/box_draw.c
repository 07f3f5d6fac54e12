/* box_draw.c - see box_draw.h. */
#include "pipeline/box_draw.h"

#include <math.h>
#include <string.h>

#include "pipeline/letters.h"

/* --- frames --------------------------------------------------------------------------------------------------------- */
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

/* --- masks ---------------------------------------------------------------------------------------------------------- */
/* Whole pixels along one axis: grown, at least so long, within 0 .. n; first and one behind the last. */
static void reach(float from, float to, const box_mask_options *o, int n, int out[2]) {
    int a = (int)from - o->grow, b = (int)to + o->grow;
    const int less = o->least - (b - a);
    if (less > 0) a -= less / 2, b += less - less / 2;
    if (less > 0 && a < 0) b -= a, a = 0; /* moved into the picture rather than cut */
    if (less > 0 && b > n) a -= b - n, b = n;
    out[0] = VM_MAX(a, 0), out[1] = VM_MIN(b, n);
}

void box_mask_add(vm_image *mask, const float box[4], const box_mask_options *o) {
    const int f = o->feather;
    int x[2], y[2];
    reach(box[0], box[2], o, mask->w, x), reach(box[1], box[3], o, mask->h, y);
    if (x[0] >= x[1] || y[0] >= y[1]) return;
    for (int v = VM_MAX(y[0] - f, 0); v < VM_MIN(y[1] + f, mask->h); v++)
        for (int u = VM_MAX(x[0] - f, 0); u < VM_MIN(x[1] + f, mask->w); u++) {
            const int dx = VM_MAX(VM_MAX(x[0] - u, u - x[1] + 1), 0), dy = VM_MAX(VM_MAX(y[0] - v, v - y[1] + 1), 0);
            const double part = 1 - sqrt((double)(dx * dx + dy * dy)) / (f + 1);
            uint8_t *p = mask->px + (size_t)v * (size_t)mask->w + (size_t)u, value = part > 0 ? (uint8_t)lround(255 * part) : 0;
            *p = VM_MAX(*p, value);
        }
}

vm_status box_mask(vm_image *out, int w, int h, const float (*box)[4], int64_t n, const box_mask_options *o, vm_error *e) {
    if (image_new(out, w, h, 1, e)) return e->status;
    memset(out->px, 0, (size_t)w * (size_t)h);
    for (int64_t k = 0; k < n; k++) box_mask_add(out, box[k], o);
    return VM_OK;
}
