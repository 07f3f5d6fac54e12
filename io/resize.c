/* resize.c - separable resampling. For n_in -> n_out, scale = n_in/n_out, fs = max(scale, 1), filter of half width S:
 *   centre = (x + 0.5) scale; lo = max(0, (int)(centre - S fs + 0.5)); hi = min(n_in, (int)(centre + S fs + 0.5))
 *   k[j] = f((j + lo - centre + 0.5) / fs), normalised, in double; q[j] = round(k[j] 2^22)
 *   out = clip((2^21 + sum q[j] in[lo + j]) >> 22)
 * (Pillow's integer arithmetic.) Both passes run the same loop down the columns of a matrix of bytes, whose rows are
 * contiguous; for the horizontal pass the picture is transposed before and after. */
#include "io/resize.h"

#include <math.h>
#include <string.h>

enum { PRECISION = 22, TILE = 32 };

/* --- filters ------------------------------------------------------------------------------------------------------ */
static double bilinear(double x) { return fmax(1 - fabs(x), 0); }
static double cubic(double x, double a) {
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}
static double bicubic(double x) { return cubic(x, -0.5); }
static double sinc(double x) { return x == 0 ? 1 : sin(x * M_PI) / (x * M_PI); }
static double lanczos(double x) { return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0; }
static double box(double x) { return x > -0.5 && x <= 0.5; }

static const struct {
    double (*f)(double);
    double half;
} filters[] = {[RESIZE_BILINEAR] = {bilinear, 1}, [RESIZE_BICUBIC] = {bicubic, 2}, [RESIZE_LANCZOS] = {lanczos, 3},
               [RESIZE_BOX] = {box, 0.5}};

/* Weights of all outputs: row x has n[x] of them from column x*most on, for the inputs from lo[x]. */
typedef struct {
    int most, *lo, *n;
    double *k;
} weights;

static void free_weights(weights *w) {
    vm_free(w->lo);
    vm_free(w->n);
    vm_free(w->k);
}

static vm_status make_weights(weights *w, int n_in, int n_out, resize_filter filter, vm_error *e) {
    const double scale = (double)n_in / n_out, fs = fmax(scale, 1), support = filters[filter].half * fs, inverse = 1 / fs;
    *w = (weights){.most = (int)ceil(support) * 2 + 1};
    w->lo = vm_alloc((size_t)n_out * sizeof *w->lo);
    w->n = vm_alloc((size_t)n_out * sizeof *w->n);
    w->k = vm_calloc((size_t)n_out * (size_t)w->most, sizeof *w->k);
    if (!w->lo || !w->n || !w->k) return vm_nomem(e, (size_t)n_out * (size_t)w->most * sizeof *w->k, "resampling weights");
    for (int x = 0; x < n_out; x++) {
        const double centre = (x + 0.5) * scale;
        const int lo = VM_MAX((int)(centre - support + 0.5), 0), hi = VM_MIN((int)(centre + support + 0.5), n_in);
        double *k = w->k + (size_t)x * (size_t)w->most, sum = 0;
        for (int j = 0; j < hi - lo; j++) sum += k[j] = filters[filter].f((j + lo - centre + 0.5) * inverse);
        for (int j = 0; j < hi - lo && sum != 0; j++) k[j] /= sum;
        w->lo[x] = lo;
        w->n[x] = hi - lo;
    }
    return VM_OK;
}

/* --- 8-bit passes ------------------------------------------------------------------------------------------------- */
/* out[i] = sum of q[j] in[j*stride + i] for i < n; n is small at the last call of a row only. */
static inline void blend(uint8_t *out, const uint8_t *in, size_t stride, const int32_t *q, int taps, int n) {
    int32_t sum[TILE];
    for (int i = 0; i < n; i++) sum[i] = 1 << (PRECISION - 1);
    for (int j = 0; j < taps; j++, in += stride)
        for (int i = 0; i < n; i++) sum[i] += q[j] * in[i];
    for (int i = 0; i < n; i++) {
        const int32_t v = sum[i] >> PRECISION;
        out[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* [n_in, row] -> [n_out, row] */
static vm_status scale_rows(uint8_t *out, int n_out, const uint8_t *in, int n_in, size_t row, resize_filter f, vm_error *e) {
    weights w;
    int32_t *q = NULL;
    vm_status st = make_weights(&w, n_in, n_out, f, e);
    if (!st && !(q = vm_alloc((size_t)w.most * sizeof *q))) st = vm_nomem(e, (size_t)w.most * sizeof *q, "resampling weights");
    for (int y = 0; !st && y < n_out; y++, out += row) {
        for (int j = 0; j < w.n[y]; j++) {
            const double k = w.k[(size_t)y * (size_t)w.most + (size_t)j] * (1 << PRECISION);
            q[j] = (int32_t)(k < 0 ? k - 0.5 : k + 0.5);
        }
        const uint8_t *from = in + (size_t)w.lo[y] * row;
        size_t i = 0;
        for (; i + TILE <= row; i += TILE) blend(out + i, from + i, row, q, w.n[y], TILE);
        if (i < row) blend(out + i, from + i, row, q, w.n[y], (int)(row - i));
    }
    vm_free(q);
    free_weights(&w);
    return st;
}

/* Pixels of c bytes, [h, w] -> [w, h], in blocks that stay in the cache. */
static inline void transpose_pixels(uint8_t *out, const uint8_t *in, int w, int h, int c) {
    for (int y0 = 0; y0 < h; y0 += TILE)
        for (int x0 = 0; x0 < w; x0 += TILE)
            for (int x = x0; x < VM_MIN(x0 + TILE, w); x++) {
                const uint8_t *from = in + ((size_t)y0 * (size_t)w + (size_t)x) * (size_t)c;
                uint8_t *to = out + ((size_t)x * (size_t)h + (size_t)y0) * (size_t)c;
                for (int y = y0; y < VM_MIN(y0 + TILE, h); y++, to += c, from += (size_t)w * (size_t)c)
                    for (int k = 0; k < c; k++) to[k] = from[k];
            }
}

static void transpose(uint8_t *out, const uint8_t *in, int w, int h, int c) {
    if (c == 3) transpose_pixels(out, in, w, h, 3);
    else if (c == 4) transpose_pixels(out, in, w, h, 4);
    else transpose_pixels(out, in, w, h, 1);
}

/* im is replaced by the result; `owned` tells whether its pixels may be freed. */
static vm_status pass(vm_image *im, bool owned, int n_out, bool across, resize_filter f, vm_error *e) {
    vm_image to = {0}, turned = {0}, scaled = {0};
    vm_status st;
    if (!across) {
        if (!(st = image_new(&to, im->w, n_out, im->c, e)))
            st = scale_rows(to.px, n_out, im->px, im->h, (size_t)im->w * (size_t)im->c, f, e);
    } else if (!(st = image_new(&turned, im->h, im->w, im->c, e)) && !(st = image_new(&scaled, im->h, n_out, im->c, e)) &&
               !(st = image_new(&to, n_out, im->h, im->c, e))) {
        transpose(turned.px, im->px, im->w, im->h, im->c);
        st = scale_rows(scaled.px, n_out, turned.px, im->w, (size_t)im->h * (size_t)im->c, f, e);
        transpose(to.px, scaled.px, im->h, n_out, im->c);
    }
    image_free(&turned);
    image_free(&scaled);
    if (owned) image_free(im);
    if (st) image_free(&to);
    *im = to;
    return st;
}

vm_status image_resize_order(vm_image *out, const vm_image *im, int w, int h, resize_filter f, resize_order order,
                             vm_error *e) {
    const bool partial = im->partial, down_first = order == RESIZE_PILLOW_13 && h < im->h && im->h - h > 2 * (im->w - w);
    vm_image now = *im;
    vm_status st = w < 1 || h < 1 || w > 65535 || h > 65535
                       ? vm_fail(e, VM_EINPUT, "cannot scale a picture to %dx%d pixels; sides must be 1..65535", w, h) : VM_OK;
    for (int k = 0; !st && k < 2; k++) {
        const bool across = down_first ? k == 1 : k == 0;
        if (across ? now.w != w : now.h != h) st = pass(&now, now.px != im->px, across ? w : h, across, f, e);
    }
    if (!st && now.px == im->px) st = image_crop(&now, im, 0, 0, w, h, NULL, e); /* a copy */
    *out = st ? (vm_image){0} : now;
    out->partial = partial;
    return st;
}

vm_status image_resize(vm_image *out, const vm_image *im, int w, int h, resize_filter f, vm_error *e) {
    return image_resize_order(out, im, w, h, f, RESIZE_PILLOW_13, e);
}

/* --- windows ------------------------------------------------------------------------------------------------------ */
void image_paste(vm_image *to, const vm_image *im, int x, int y) {
    const int x0 = VM_MAX(x, 0), x1 = VM_MIN(x + im->w, to->w), c = im->c;
    for (int row = VM_MAX(y, 0); x0 < x1 && row < VM_MIN(y + im->h, to->h); row++)
        memcpy(to->px + ((size_t)row * (size_t)to->w + (size_t)x0) * (size_t)c,
               im->px + ((size_t)(row - y) * (size_t)im->w + (size_t)(x0 - x)) * (size_t)c, (size_t)(x1 - x0) * (size_t)c);
}

vm_status image_crop(vm_image *out, const vm_image *im, int x, int y, int w, int h, const uint8_t *fill, vm_error *e) {
    vm_status st = image_new(out, w, h, im->c, e);
    if (st) return st;
    const size_t n = (size_t)w * (size_t)h;
    const bool inside = x >= 0 && y >= 0 && w <= im->w - x && h <= im->h - y;
    for (size_t i = 0; !inside && fill && i < n; i++) memcpy(out->px + i * (size_t)im->c, fill, (size_t)im->c);
    if (!inside && !fill) memset(out->px, 0, n * (size_t)im->c);
    image_paste(out, im, -x, -y);
    out->partial = im->partial;
    return VM_OK;
}

vm_status image_crop_to(vm_image *im, const int32_t box[4], bool *inside, vm_error *e) {
    const int64_t x0 = VM_MAX(box[0], 0), y0 = VM_MAX(box[1], 0), x1 = VM_MIN((int64_t)box[0] + box[2], im->w),
                  y1 = VM_MIN((int64_t)box[1] + box[3], im->h);
    vm_image part;
    *inside = x0 < x1 && y0 < y1;
    if (!*inside) return VM_OK;
    if (image_crop(&part, im, (int)x0, (int)y0, (int)(x1 - x0), (int)(y1 - y0), NULL, e)) return e->status;
    image_free(im);
    *im = part;
    return VM_OK;
}

/* --- grids of floats ---------------------------------------------------------------------------------------------- */
/* torch without antialias: four taps around the centre, positions beyond the border clamped to it. */
static vm_status make_plain_weights(weights *w, int n_in, int n_out, vm_error *e) {
    const float scale = (float)n_in / (float)n_out; /* single precision, as in torch */
    *w = (weights){.most = n_in};
    w->lo = vm_calloc((size_t)n_out, sizeof *w->lo);
    w->n = vm_alloc((size_t)n_out * sizeof *w->n);
    w->k = vm_calloc((size_t)n_out * (size_t)n_in, sizeof *w->k);
    if (!w->lo || !w->n || !w->k) return vm_nomem(e, (size_t)n_out * (size_t)n_in * sizeof *w->k, "resampling weights");
    for (int x = 0; x < n_out; x++) {
        const float at = ((float)x + 0.5f) * scale - 0.5f, t = at - floorf(at);
        const int first = (int)floorf(at) - 1, last = n_in - 1;
        w->lo[x] = VM_MIN(VM_MAX(first, 0), last);
        w->n[x] = VM_MIN(VM_MAX(first + 3, 0), last) - w->lo[x] + 1;
        for (int j = 0; j < 4; j++) {
            const int i = VM_MIN(VM_MAX(first + j, 0), last);
            w->k[(size_t)x * (size_t)n_in + (size_t)(i - w->lo[x])] += cubic((double)(j - 1) - (double)t, -0.75);
        }
    }
    return VM_OK;
}

/* [before, n_in, after] -> [before, n_out, after] */
static void scale_axis(float *out, int n_out, const float *in, int n_in, const weights *w, int64_t before, int64_t after) {
    for (int64_t b = 0; b < before; b++)
        for (int x = 0; x < n_out; x++) {
            float *to = out + (b * n_out + x) * after;
            memset(to, 0, (size_t)after * sizeof *to);
            for (int j = 0; j < w->n[x]; j++) {
                const float k = (float)w->k[(size_t)x * (size_t)w->most + (size_t)j];
                const float *from = in + (b * n_in + w->lo[x] + j) * after;
                for (int64_t i = 0; i < after; i++) to[i] += k * from[i];
            }
        }
}

vm_status resize_grid_f32(float *out, int h_out, int w_out, const float *in, int h_in, int w_in, int64_t c, bool antialias,
                          vm_error *e) {
    weights across = {0}, down = {0};
    float *half = NULL;
    vm_status st = antialias ? make_weights(&across, w_in, w_out, RESIZE_BICUBIC, e) : make_plain_weights(&across, w_in, w_out, e);
    if (!st) st = antialias ? make_weights(&down, h_in, h_out, RESIZE_BICUBIC, e) : make_plain_weights(&down, h_in, h_out, e);
    size_t bytes = (size_t)h_in * (size_t)w_out * sizeof *half;
    if (!st && (!vm_mul_sz(bytes, (size_t)c, &bytes) || !(half = vm_alloc(bytes)))) st = vm_nomem(e, bytes, "a grid");
    if (!st) {
        scale_axis(half, w_out, in, w_in, &across, h_in, c);
        scale_axis(out, h_out, half, h_in, &down, 1, (int64_t)w_out * c);
    }
    vm_free(half);
    free_weights(&across);
    free_weights(&down);
    return st;
}
