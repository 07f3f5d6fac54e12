/* edit_mask.c - see edit_mask.h. */
#include "models/edit_mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/resize.h"

/* --- masks ---------------------------------------------------------------------------------------------------------- */
/* Whole pixels a..b of a side of n, at least `least` of them, grown. */
static void side(float from, float to, int n, int least, int grow, int *a, int *b) {
    *a = (int)fminf(fmaxf(from, 0), (float)n), *b = (int)fminf(fmaxf(to, 0), (float)n);
    int more = VM_MIN(least, n) - (*b - *a);
    if (more > 0) *a -= more / 2, *b += more - more / 2;
    if (*a < 0) *b -= *a, *a = 0;
    if (*b > n) *a -= *b - n, *b = n;
    *a = VM_MAX(*a - grow, 0), *b = VM_MIN(*b + grow, n);
}

vm_status edit_mask_boxes(vm_image *out, int w, int h, const float *boxes, int64_t n, int least, int grow, vm_error *e) {
    if (image_new(out, w, h, 1, e)) return e->status;
    memset(out->px, 0, (size_t)w * (size_t)h);
    for (int64_t k = 0; k < n; k++) {
        const float *b = boxes + 4 * k;
        int x0, x1, y0, y1;
        if (!(b[0] < b[2] && b[1] < b[3] && b[2] > 0 && b[3] > 0 && b[0] < (float)w && b[1] < (float)h)) continue; /* nothing of it lies in the picture */
        side(b[0], b[2], w, least, grow, &x0, &x1), side(b[1], b[3], h, least, grow, &y0, &y1);
        for (int y = y0; y < y1 && x1 > x0; y++) memset(out->px + (size_t)y * (size_t)w + x0, 255, (size_t)(x1 - x0));
    }
    return VM_OK;
}

vm_status edit_mask_picture(vm_image *out, const vm_image *im, int w, int h, vm_error *e) {
    vm_image gray = { 0 };
    const vm_image *from = im;
    if (im->c != 1) {
        if (image_to_gray(&gray, im, e)) return e->status;
        from = &gray;
    }
    if (!image_resize(out, from, w, h, RESIZE_BILINEAR, e))
        for (int64_t i = 0; i < (int64_t)w * h; i++) out->px[i] = out->px[i] >= 128 ? 255 : 0;
    image_free(&gray);
    return e->status;
}

/* Distance in squares to the nearest white pixel, at most `most`; vm_free. Two passes find it exactly. */
static uint16_t *distances(const vm_image *mask, int most, vm_error *e) {
    const int w = mask->w, h = mask->h;
    uint16_t *d = vm_alloc((size_t)w * (size_t)h * sizeof *d);
    if (!d) return vm_nomem(e, (size_t)w * (size_t)h * sizeof *d, "distances to a mask"), NULL;
    for (int64_t i = 0; i < (int64_t)w * h; i++) d[i] = mask->px[i] ? 0 : (uint16_t)most;
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < h; j++)
            for (int i = 0; i < w; i++) {
                int y = pass ? h - 1 - j : j, x = pass ? w - 1 - i : i, back = pass ? 1 : -1;
                uint16_t *p = d + (size_t)y * (size_t)w + x;
                int best = *p;
                if (x + back >= 0 && x + back < w) best = VM_MIN(best, p[back] + 1);
                for (int s = -1; s <= 1 && y + back >= 0 && y + back < h; s++)
                    if (x + s >= 0 && x + s < w) best = VM_MIN(best, p[back * w + s] + 1);
                *p = (uint16_t)best;
            }
    return d;
}

vm_status edit_mask_grow(vm_image *mask, int px, vm_error *e) {
    uint16_t *d = px > 0 ? distances(mask, px + 1, e) : NULL;
    for (int64_t i = 0; d && i < (int64_t)mask->w * mask->h; i++) mask->px[i] = d[i] <= px ? 255 : 0;
    vm_free(d);
    return e->status;
}

vm_status edit_mask_feather(vm_image *mask, int px, vm_error *e) {
    uint16_t *d = px > 0 ? distances(mask, px + 1, e) : NULL;
    for (int64_t i = 0; d && i < (int64_t)mask->w * mask->h; i++) mask->px[i] = (uint8_t)((255 * (px + 1 - d[i]) + (px + 1) / 2) / (px + 1));
    vm_free(d);
    return e->status;
}

int64_t edit_mask_count(const vm_image *mask) {
    int64_t n = 0;
    for (int64_t i = 0; i < (int64_t)mask->w * mask->h; i++) n += mask->px[i] != 0;
    return n;
}

/* --- the canvas ------------------------------------------------------------------------------------------------------- */
/* Sides of about size^2 pixels in the shape of w x h, in whole units. */
static void bucket(double w, double h, int size, int unit, int *cw, int *ch) {
    double shape = w / h, best = 1e300;
    for (int k = 1; k * unit <= 4 * size; k++) {
        int width = k * unit, height = VM_MAX((int)lround((double)size * size / width / unit), 1) * unit;
        double off = fabs(log((double)width / height / shape)) + 0.25 * fabs(log((double)width * height / ((double)size * size)));
        if (off < best) best = off, *cw = width, *ch = height;
    }
}

/* Of side n: from..to becomes as long as it should be, within 0..n. */
static void lengthen(int *from, int *to, int n, int want) {
    int more = VM_MIN(want, n) - (*to - *from);
    if (more <= 0) return;
    *from -= more / 2, *to += more - more / 2;
    if (*from < 0) *to -= *from, *from = 0;
    if (*to > n) *from -= *to - n, *to = n;
}

static void around_mask(const vm_image *mask, int pad, bool square, int window[4]) {
    int x0 = mask->w, x1 = 0, y0 = mask->h, y1 = 0;
    for (int y = 0; y < mask->h; y++)
        for (int x = 0; x < mask->w; x++)
            if (mask->px[(size_t)y * (size_t)mask->w + (size_t)x]) x0 = VM_MIN(x0, x), x1 = VM_MAX(x1, x + 1), y0 = VM_MIN(y0, y), y1 = VM_MAX(y1, y + 1);
    if (x0 >= x1) return;
    x0 = VM_MAX(x0 - pad, 0), x1 = VM_MIN(x1 + pad, mask->w), y0 = VM_MAX(y0 - pad, 0), y1 = VM_MIN(y1 + pad, mask->h);
    if (square) lengthen(&x0, &x1, mask->w, y1 - y0), lengthen(&y0, &y1, mask->h, x1 - x0);
    window[0] = x0, window[1] = y0, window[2] = x1 - x0, window[3] = y1 - y0;
}

edit_canvas edit_canvas_of(const vm_image *im, const vm_image *mask, edit_fit fit, int size, int unit, int only_masked) {
    edit_canvas c = { .window = { 0, 0, im->w, im->h }, .cw = size, .ch = size };
    if (only_masked >= 0) around_mask(mask, only_masked, fit != EDIT_BUCKET, c.window);
    double w = c.window[2], h = c.window[3];
    if (fit == EDIT_BUCKET) bucket(w, h, size, unit, &c.cw, &c.ch);
    c.w = c.cw, c.h = c.ch;
    if (fit != EDIT_PAD) return c;
    c.w = w >= h ? size : VM_MAX((int)lround(size * w / h), 1), c.h = h >= w ? size : VM_MAX((int)lround(size * h / w), 1);
    c.x = (size - c.w) / 2, c.y = (size - c.h) / 2;
    return c;
}

vm_status edit_canvas_in(vm_image *out, const edit_canvas *c, const vm_image *im, vm_error *e) {
    vm_image part = { 0 }, fit = { 0 };
    if (image_crop(&part, im, c->window[0], c->window[1], c->window[2], c->window[3], NULL, e)) return e->status;
    if (!image_resize(&fit, &part, c->w, c->h, im->c == 1 ? RESIZE_BILINEAR : RESIZE_BICUBIC, e) && !image_new(out, c->cw, c->ch, im->c, e))
        for (int y = 0; y < c->ch; y++)
            for (int x = 0; x < c->cw; x++) { /* borders go on around the window; a mask does not */
                int fx = VM_MIN(VM_MAX(x - c->x, 0), c->w - 1), fy = VM_MIN(VM_MAX(y - c->y, 0), c->h - 1);
                uint8_t *to = out->px + ((size_t)y * (size_t)c->cw + (size_t)x) * (size_t)im->c;
                if (im->c == 1 && (fx != x - c->x || fy != y - c->y)) *to = 0;
                else memcpy(to, fit.px + ((size_t)fy * (size_t)c->w + (size_t)fx) * (size_t)im->c, (size_t)im->c);
            }
    image_free(&part), image_free(&fit);
    return e->status;
}

vm_status edit_canvas_out(vm_image *out, const edit_canvas *c, const vm_image *canvas, const vm_image *im, vm_error *e) {
    vm_image part = { 0 }, fit = { 0 };
    if (!image_crop(&part, canvas, c->x, c->y, c->w, c->h, NULL, e) && !image_resize(&fit, &part, c->window[2], c->window[3], RESIZE_BICUBIC, e) &&
        !image_crop(out, im, 0, 0, im->w, im->h, NULL, e))
        image_paste(out, &fit, c->window[0], c->window[1]);
    image_free(&part), image_free(&fit);
    return e->status;
}

/* --- back into the picture -------------------------------------------------------------------------------------------- */
vm_status edit_composite(vm_image *out, const vm_image *im, const vm_image *painted, const vm_image *mask, int feather, vm_error *e) {
    uint16_t *d = distances(mask, feather + 1, e);
    if (!d || image_new(out, im->w, im->h, 3, e)) return vm_free(d), e->status;
    for (int64_t i = 0; i < (int64_t)im->w * im->h * 3; i++) {
        int part = feather + 1 - d[i / 3], whole = feather + 1; /* of the painted one */
        out->px[i] = (uint8_t)((im->px[i] * (whole - part) + painted->px[i] * part + whole / 2) / whole);
    }
    vm_free(d);
    return VM_OK;
}

vm_status edit_changes(edit_change *c, const vm_image *im, const vm_image *edited, const vm_image *mask, int feather, vm_error *e) {
    uint16_t *d = distances(mask, feather + 1, e);
    *c = (edit_change){ 0 };
    double sum = 0;
    for (int64_t i = 0; d && i < (int64_t)im->w * im->h; i++) {
        if (d[i] <= feather) continue;
        int most = 0;
        for (int k = 0; k < 3; k++) {
            int diff = abs(im->px[3 * i + k] - edited->px[3 * i + k]);
            most = VM_MAX(most, diff), sum += diff;
        }
        c->outside++, c->changed += most > 0, c->most = VM_MAX(c->most, most);
    }
    c->mean = c->outside ? sum / (3.0 * (double)c->outside) : 0;
    vm_free(d);
    return e->status;
}
