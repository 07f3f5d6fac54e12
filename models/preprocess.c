/* preprocess.c - image processors applied: sizes, crops, quarters, tiles, numbers. Sizes are computed in double with the
 * reference's own truncations and roundings (half to even where Python's round stands). */
#include "models/preprocess.h"

#include <math.h>
#include <string.h>

static int round_even(double x) { return (int)nearbyint(x); }

/* The size that fit asks for; FIT_TILES: the base tile. */
static void find_size(const vm_preprocess *p, int h, int w, int *to_h, int *to_w) {
    const double ratio = (double)w / h;
    *to_h = h, *to_w = w;
    switch (p->fit) {
    case FIT_NONE: break;
    case FIT_EXACT:
    case FIT_TILES: *to_h = p->h, *to_w = p->w; break;
    case FIT_SHORTEST:
        *to_h = h <= w ? p->shortest : (int)((double)((int64_t)p->shortest * h) / w);
        *to_w = w <= h ? p->shortest : (int)((double)((int64_t)p->shortest * w) / h);
        break;
    case FIT_RATIO: {
        const double down = (double)h / p->h, across = (double)w / p->w, by = p->inside ? fmax(down, across) : fmin(down, across);
        *to_h = VM_MAX(round_even(h / by), 1), *to_w = VM_MAX(round_even(w / by), 1);
        break;
    }
    case FIT_BETWEEN: {
        const double small = VM_MIN(h, w), great = VM_MAX(h, w);
        double size = p->shortest;
        if (great / small * size > p->longest) size = p->longest * small / great;
        const int side = round_even(size);
        if (VM_MIN(h, w) == side) break;
        *to_h = w < h ? (int)(size * h / w) : side;
        *to_w = w < h ? side : (int)(size * w / h);
        break;
    }
    case FIT_IDEFICS2:
        if (w >= h && w > p->longest) *to_w = p->longest, *to_h = (int)(p->longest / ratio);
        else if (h > w && h > p->longest) *to_h = p->longest, *to_w = (int)(p->longest * ratio);
        *to_h = VM_MAX(*to_h, p->shortest), *to_w = VM_MAX(*to_w, p->shortest);
        break;
    }
    *to_h = VM_MAX(*to_h, 1), *to_w = VM_MAX(*to_w, 1);
}

/* Where the crop window of n pixels begins in `have` pixels; negative = padding before. */
static int crop_start(const vm_preprocess *p, int have, int n) {
    const int d = have - n;
    if (!p->crop_half_even) return (int)floor(d / 2.0);
    return d < 0 ? -(-d / 2) : round_even(d / 2.0);
}

vm_status preprocess_fit_image(vm_image *out, const vm_preprocess *p, const vm_image *rgb, vm_error *e) {
    int h, w;
    find_size(p, rgb->h, rgb->w, &h, &w);
    vm_status st = image_resize(out, rgb, w, h, p->filter, e);
    if (st || !p->crop_h || (h == p->crop_h && w == p->crop_w)) return st;
    vm_image whole = *out;
    st = image_crop(out, &whole, crop_start(p, w, p->crop_w), crop_start(p, h, p->crop_h), p->crop_w, p->crop_h, p->fill, e);
    image_free(&whole);
    return st;
}

bool preprocess_fixed_size(const vm_preprocess *p, int *h, int *w) {
    const bool fixed = p->crop_h || p->fit == FIT_EXACT;
    *h = p->crop_h ? p->crop_h : p->h;
    *w = p->crop_h ? p->crop_w : p->w;
    return fixed;
}

/* --- several pieces ----------------------------------------------------------------------------------------------- */
void preprocess_best_grid(const vm_preprocess *p, int h, int w, int *grid_h, int *grid_w) {
    int64_t best_kept = -1, best_waste = 0;
    for (int i = 0; i < p->n_grids; i++) {
        const int64_t gh = p->grid[i][0], gw = p->grid[i][1];
        const double scale = fmin((double)gw / w, (double)gh / h);
        const int64_t shown = (int64_t)(w * scale) * (int64_t)(h * scale);
        const int64_t kept = VM_MIN(shown, (int64_t)w * h), waste = gh * gw - kept;
        if (kept < best_kept || (kept == best_kept && waste >= best_waste)) continue;
        best_kept = kept, best_waste = waste;
        *grid_h = (int)gh, *grid_w = (int)gw;
    }
}

/* Tiles of the best grid, row by row: the picture scaled to fit inside, centred on black. */
static vm_status cut_tiles(vm_image *tiles, int *n, const vm_preprocess *p, const vm_image *rgb, vm_error *e) {
    int gh = p->h, gw = p->w;
    preprocess_best_grid(p, rgb->h, rgb->w, &gh, &gw);
    const double across = (double)gw / rgb->w, down = (double)gh / rgb->h;
    const int w = across < down ? gw : VM_MIN((int)ceil(rgb->w * down), gw);
    const int h = across < down ? VM_MIN((int)ceil(rgb->h * across), gh) : gh;
    vm_image scaled, canvas = {0};
    vm_status st = image_resize(&scaled, rgb, w, h, p->filter, e);
    if (!st) st = image_crop(&canvas, &scaled, -((gw - w) / 2), -((gh - h) / 2), gw, gh, NULL, e);
    for (int y = 0; !st && y < gh; y += p->h)
        for (int x = 0; !st && x < gw; x += p->w)
            if (!(st = image_crop(&tiles[*n], &canvas, x, y, p->w, p->h, NULL, e))) ++*n;
    image_free(&scaled);
    image_free(&canvas);
    return st;
}

/* Top left, top right, bottom left, bottom right; each fitted by itself. */
static vm_status cut_quarters(vm_image *pieces, int *n, const vm_preprocess *p, const vm_image *rgb, vm_error *e) {
    const int mid_x = rgb->w / 2, mid_y = rgb->h / 2;
    vm_status st = mid_x && mid_y ? VM_OK : vm_fail(e, VM_EINPUT, "a picture of %dx%d pixels cannot be split into quarters; switch "
                                                                  "do_image_splitting off", rgb->w, rgb->h);
    for (int k = 0; !st && k < 4; k++) {
        const int x = k & 1 ? mid_x : 0, y = k & 2 ? mid_y : 0;
        vm_image part;
        st = image_crop(&part, rgb, x, y, k & 1 ? rgb->w - mid_x : mid_x, k & 2 ? rgb->h - mid_y : mid_y, NULL, e);
        if (!st && !(st = preprocess_fit_image(&pieces[*n], p, &part, e))) ++*n;
        image_free(&part);
    }
    return st;
}

vm_status preprocess_fit_pieces(vm_image *pieces, int *n, const vm_preprocess *p, const vm_image *rgb, vm_error *e) {
    *n = 0;
    vm_status st = p->split ? cut_quarters(pieces, n, p, rgb, e) : VM_OK;
    if (!st && !(st = preprocess_fit_image(&pieces[*n], p, rgb, e))) ++*n;
    if (!st && p->fit == FIT_TILES) st = cut_tiles(pieces, n, p, rgb, e);
    while (st && *n) image_free(&pieces[--*n]);
    return st;
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */
void preprocess_chw(float *out, const vm_preprocess *p, const vm_image *im) {
    const int64_t n = (int64_t)im->w * im->h;
    for (int c = 0; c < 3; c++)
        for (int64_t i = 0; i < n; i++) out[c * n + i] = p->value[c][im->px[3 * i + c]];
}

void preprocess_hwc(float *out, int64_t row_stride, const vm_preprocess *p, const vm_image *im) {
    const uint8_t *px = im->px;
    if (!row_stride) row_stride = 3 * (int64_t)im->w;
    for (int y = 0; y < im->h; y++, out += row_stride)
        for (int x = 0; x < im->w; x++, px += 3)
            for (int c = 0; c < 3; c++) out[3 * x + c] = p->value[c][px[c]];
}

vm_status preprocess_file(float *out, const vm_preprocess *p, const char *path, vm_error *e) {
    vm_image rgb, fitted = {0};
    vm_status st = image_read(&rgb, path, &(image_options){.alpha = p->alpha}, e);
    if (!st) st = preprocess_fit_image(&fitted, p, &rgb, e);
    if (!st) preprocess_hwc(out, 0, p, &fitted);
    image_free(&rgb);
    image_free(&fitted);
    return st;
}
