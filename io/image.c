/* image.c - what the picture formats share: magic bytes, limits, transparency, orientation, gray, writing to files.
 *
 * Over white, with a = alpha and s = colour, in integers as Pillow's alpha_composite does it:
 *   c1 = 128 a,  c2 = 255*128 - c1,  t = s c1 + 255 c2 + 16384,  out = (((t >> 8) + t) >> 8) >> 7 */
#include "io/image.h"

#include "io/codec.h"
#include "io/file.h"

#include <stdio.h>
#include <string.h>

/* --- pictures ----------------------------------------------------------------------------------------------------- */
vm_status image_new(vm_image *out, int w, int h, int c, vm_error *e) {
    size_t bytes;
    *out = (vm_image){0};
    if (w < 1 || h < 1 || w > 65535 || h > 65535 || (c != 1 && c != 3 && c != 4))
        return vm_fail(e, VM_EINPUT, "picture of %dx%d pixels with %d channels: sides must be 1..65535, channels 1, 3 or 4",
                       w, h, c);
    if (!vm_mul_sz((size_t)w * (size_t)h, (size_t)c, &bytes)) return vm_nomem(e, SIZE_MAX, "a picture");
    uint8_t *px = vm_alloc(bytes);
    if (!px) return vm_nomem(e, bytes, "a picture");
    *out = (vm_image){.px = px, .w = w, .h = h, .c = c};
    return VM_OK;
}

void image_free(vm_image *im) {
    vm_free(im->px);
    *im = (vm_image){0};
}

vm_status image_to_gray(vm_image *out, const vm_image *im, vm_error *e) {
    vm_status st = image_new(out, im->w, im->h, 1, e);
    if (st) return st;
    const uint8_t *p = im->px;
    for (size_t i = 0, n = (size_t)im->w * (size_t)im->h; i < n; i++, p += im->c)
        out->px[i] = im->c == 1 ? *p : (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 32768u) >> 16);
    return VM_OK;
}

/* --- for the decoders --------------------------------------------------------------------------------------------- */
vm_status codec_fail(const image_source *s, const char *format, vm_error *e, const char *fmt, ...) {
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return vm_fail(e, VM_EINPUT, "%s: %s: %s", s->name, format, what);
}

vm_status codec_truncated(const image_source *s, const char *format, vm_error *e) {
    return codec_fail(s, format, e, "truncated: the file ends after %zu bytes, before its picture; fetch it again, or allow "
                                    "truncated pictures to keep the decoded part", s->n);
}

vm_status codec_alloc(vm_image *out, const image_source *s, const char *format, int64_t w, int64_t h, int c,
                      double pixels_at_most, vm_error *e) {
    if (w < 1 || h < 1)
        return codec_fail(s, format, e, "found a size of %lldx%lld pixels; both sides must be at least 1", (long long)w,
                          (long long)h);
    if (w > s->max_side || h > s->max_side)
        return codec_fail(s, format, e, "found %lldx%lld pixels, at most %d per side are read; scale it down", (long long)w,
                          (long long)h, s->max_side);
    if (w * h > s->max_pixels)
        return codec_fail(s, format, e, "found %lldx%lld pixels, at most %lld in all are read; scale it down",
                          (long long)w, (long long)h, (long long)s->max_pixels);
    if (!s->tolerant && (double)(w * h) > pixels_at_most && w * h > 1 << 22)
        return codec_fail(s, format, e, "declares %lldx%lld pixels, more than its %zu bytes can stand for; the file is "
                                        "truncated or a decompression bomb", (long long)w, (long long)h, s->n);
    return out ? image_new(out, (int)w, (int)h, c, e) : VM_OK;
}

/* --- after the decoder -------------------------------------------------------------------------------------------- */
const char *const image_alpha_name[4] = { "drop", "white", "keep", "black" };

static void lay_over(uint8_t *to, const uint8_t *px, uint32_t ground) {
    const uint32_t c1 = px[3] * 128u, c2 = 255 * 128 - c1;
    for (int k = 0; k < 3; k++) {
        const uint32_t t = px[k] * c1 + ground * c2 + 16384;
        to[k] = (uint8_t)((((t >> 8) + t) >> 8) >> 7);
    }
}

/* To the channels that the policy asks for; RGBA to RGB shrinks in place. */
static vm_status settle_alpha(vm_image *im, image_alpha policy, vm_error *e) {
    const size_t n = (size_t)im->w * (size_t)im->h;
    if (policy == ALPHA_KEEP && im->c == 3) {
        vm_image full;
        vm_status st = image_new(&full, im->w, im->h, 4, e);
        if (st) return st;
        for (size_t i = 0; i < n; i++) memcpy(full.px + 4 * i, im->px + 3 * i, 3), full.px[4 * i + 3] = 255;
        full.partial = im->partial;
        image_free(im);
        *im = full;
    }
    if (policy == ALPHA_KEEP || im->c == 3) return VM_OK;
    for (size_t i = 0; i < n; i++) {
        uint8_t px[4];
        memcpy(px, im->px + 4 * i, 4);
        if (policy != ALPHA_DROP) lay_over(im->px + 3 * i, px, policy == ALPHA_WHITE ? 255 : 0);
        else memcpy(im->px + 3 * i, px, 3);
    }
    im->c = 3;
    return VM_OK;
}

/* EXIF orientation: the pixel (x, y) of the result comes from `from + x*dx + y*dy` of the stored picture. */
static vm_status turn(vm_image *im, int orientation, vm_error *e) {
    if (orientation < 2) return VM_OK;
    const ptrdiff_t w = im->w, h = im->h, right = w - 1, down = (h - 1) * w, all = down + right;
    const struct {
        ptrdiff_t from, dx, dy;
    } map[9] = {
        [2] = {right, -1, w},  /* mirror left-right */
        [3] = {all, -1, -w},   /* rotate 180 */
        [4] = {down, 1, -w},   /* mirror top-bottom */
        [5] = {0, w, 1},       /* transpose */
        [6] = {down, -w, 1},   /* rotate 90 clockwise */
        [7] = {all, -w, -1},   /* transverse */
        [8] = {right, w, -1},  /* rotate 90 counter-clockwise */
    };
    const bool swap = orientation >= 5;
    vm_image out;
    vm_status st = image_new(&out, swap ? im->h : im->w, swap ? im->w : im->h, im->c, e);
    if (st) return st;
    const ptrdiff_t c = im->c, dx = map[orientation].dx * c, dy = map[orientation].dy * c;
    uint8_t *to = out.px;
    for (int y = 0; y < out.h; y++) {
        const uint8_t *p = im->px + map[orientation].from * c + y * dy;
        for (int x = 0; x < out.w; x++, to += c, p += dx) memcpy(to, p, (size_t)c);
    }
    out.partial = im->partial;
    image_free(im);
    *im = out;
    return VM_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */
typedef vm_status (*decoder)(vm_image *out, image_source *s, vm_error *e);

static decoder find_decoder(const uint8_t *d, size_t n) {
    static const struct {
        const char *magic;
        size_t len;
        decoder run;
    } formats[] = {{"\x89PNG\r\n\x1a\n", 8, png_decode}, {"\xff\xd8\xff", 3, jpeg_decode}, {"GIF87a", 6, gif_decode},
                   {"GIF89a", 6, gif_decode},            {"BM", 2, bmp_decode},
                 {"\x93NUMPY", 6, npy_decode}};
    for (int i = 0; i < VM_LEN(formats); i++)
        if (n >= formats[i].len && !memcmp(d, formats[i].magic, formats[i].len)) return formats[i].run;
    return n >= 12 && !memcmp(d, "RIFF", 4) && !memcmp(d + 8, "WEBP", 4) ? webp_decode : NULL;
}

/* The name of a format that is known but not read, for the message. */
static const char *name_format(const uint8_t *d, size_t n) {
    static const struct {
        const char *magic;
        size_t at, len;
        const char *name;
    } known[] = {{"II*\0", 0, 4, "a TIFF picture"},      {"MM\0*", 0, 4, "a TIFF picture"},
                 {"ftypavif", 4, 8, "an AVIF picture"},  {"ftyphe", 4, 6, "a HEIF picture"},
                 {"ftypmif1", 4, 8, "a HEIF picture"},   {"\0\0\0\x0cjP  ", 0, 8, "a JPEG 2000 picture"},
                 {"\xff\x0a", 0, 2, "a JPEG XL picture"}, {"\0\0\0\x0cJXL ", 0, 8, "a JPEG XL picture"},
                 {"8BPS", 0, 4, "a Photoshop file"},     {"%PDF", 0, 4, "a PDF file"},
                 {"<svg", 0, 4, "an SVG drawing"},       {"<", 0, 1, "a web page or XML text"},
                 {"{", 0, 1, "JSON text"},               {"PK\3\4", 0, 4, "a zip archive"},
                 {"\x1f\x8b", 0, 2, "gzip data"},        {"version https://git-lfs", 0, 23, "a Git LFS pointer"}};
    for (int i = 0; i < VM_LEN(known); i++)
        if (n >= known[i].at + known[i].len && !memcmp(d + known[i].at, known[i].magic, known[i].len)) return known[i].name;
    return NULL;
}

vm_status image_decode(vm_image *out, const void *data, size_t n, const char *name, const image_options *o, vm_error *e) {
    static const image_options defaults;
    if (!o) o = &defaults;
    image_source s = {.data = data, .n = n, .name = name, .want_alpha = o->alpha != ALPHA_DROP, .tolerant = o->tolerant};
    s.max_side = o->max_side ? o->max_side : 16384;
    s.max_pixels = o->max_pixels ? o->max_pixels : 1 << 28;
    *out = (vm_image){0};
    if (!n) return vm_fail(e, VM_EINPUT, "%s: empty file, expected a picture; fetch it again", name);
    decoder run = find_decoder(data, n);
    if (!run) {
        const char *what = name_format(data, n);
        const uint8_t *d = data;
        char start[32];
        snprintf(start, sizeof start, "bytes %02x %02x %02x %02x", d[0], n > 1 ? d[1] : 0, n > 2 ? d[2] : 0, n > 3 ? d[3] : 0);
        return vm_fail(e, VM_EINPUT, "%s: found %s, expected a PNG, JPEG, BMP, GIF or lossless WebP picture; convert it", name,
                       what ? what : start);
    }
    vm_image im = {0};
    vm_status st = run(&im, &s, e);
    if (!st) st = settle_alpha(&im, o->alpha, e);
    if (!st && !o->stored_orientation) st = turn(&im, s.orientation, e);
    if (st) image_free(&im);
    else *out = im;
    return st;
}

vm_status image_read(vm_image *out, const char *path, const image_options *o, vm_error *e) {
    char *data;
    size_t n;
    *out = (vm_image){0};
    vm_status st = file_read(&data, &n, path, 0, e);
    if (st) return st;
    st = image_decode(out, data, n, path, o, e);
    vm_free(data);
    return st;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */
static vm_status put_file(const char *path, vm_status st, uint8_t *buf, size_t n, vm_error *e) {
    if (!st) st = file_write(path, buf, n, e);
    vm_free(buf);
    return st;
}

vm_status image_write_png(const char *path, const vm_image *im, const image_text *text, int n_text, vm_error *e) {
    uint8_t *buf = NULL;
    size_t n = 0;
    vm_status st = image_encode_png(&buf, &n, im, text, n_text, e);
    return put_file(path, st, buf, n, e);
}

vm_status image_write_jpeg(const char *path, const vm_image *im, int quality, vm_error *e) {
    uint8_t *buf = NULL;
    size_t n = 0;
    vm_status st = image_encode_jpeg(&buf, &n, im, quality, e);
    return put_file(path, st, buf, n, e);
}
