/* bmp.c - Windows and OS/2 bitmaps: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits with or without channel masks.
 * Run-length coding and embedded JPEG or PNG are refused by name. A sample of b bits becomes v*255/(2^b - 1), whole
 * division; without a mask of its own alpha is ignored (as in Pillow). */
#include "io/codec.h"

#include <string.h>

static const char format[] = "BMP";

typedef struct {
    int64_t w, h;
    bool top_down;
    uint32_t bits, packing, colours, header;
    size_t pixels_at, row;
    uint32_t mask[4];
    uint8_t palette[256][4];
} bmp_head;

static vm_status read_palette(bmp_head *b, const image_source *s, vm_error *e) {
    const size_t each = b->header == 12 ? 3 : 4, at = 14 + b->header;
    const uint32_t full = 1u << b->bits;
    if (!b->colours || b->colours > full) b->colours = full;
    if (at > s->n || b->colours * each > s->n - at) return codec_truncated(s, format, e);
    for (uint32_t i = 0; i < b->colours; i++) {
        const uint8_t *p = s->data + at + i * each;
        b->palette[i][0] = p[2], b->palette[i][1] = p[1], b->palette[i][2] = p[0];
    }
    return VM_OK;
}

static vm_status read_masks(bmp_head *b, const image_source *s, vm_error *e) {
    static const uint32_t plain16[4] = {0x7c00, 0x3e0, 0x1f, 0}, plain32[4] = {0xff0000, 0xff00, 0xff, 0};
    memcpy(b->mask, b->bits == 16 ? plain16 : plain32, sizeof b->mask);
    if (b->packing != 3) return VM_OK;
    if (s->n < 70) return codec_truncated(s, format, e);
    for (int k = 0; k < 4; k++) b->mask[k] = k < 3 || b->header >= 56 ? le32(s->data + 54 + 4 * k) : 0;
    for (int k = 0; k < 4; k++) {
        const uint32_t m = b->mask[k], ones = m ? m >> __builtin_ctz(m) : 0;
        if ((ones & (ones + 1)) || (!m && k < 3))
            return codec_fail(s, format, e, "channel mask %08x is no run of bits; save it as a 24-bit BMP or as PNG", m);
    }
    return VM_OK;
}

static vm_status read_head(bmp_head *b, const image_source *s, vm_error *e) {
    if (s->n < 26) return codec_truncated(s, format, e);
    const uint8_t *d = s->data;
    b->pixels_at = le32(d + 10);
    b->header = le32(d + 14);
    if (b->header == 12) {
        b->w = le16(d + 18), b->h = le16(d + 20), b->bits = le16(d + 24);
    } else if (b->header >= 40 && b->header <= 124) {
        if (s->n < 54) return codec_truncated(s, format, e);
        b->w = (int32_t)le32(d + 18), b->h = (int32_t)le32(d + 22), b->bits = le16(d + 28);
        b->packing = le32(d + 30), b->colours = le32(d + 46);
    } else {
        return codec_fail(s, format, e, "found a header of %u bytes, expected 12 or 40..124; save it as PNG", b->header);
    }
    b->top_down = b->h < 0;
    if (b->top_down) b->h = -b->h;
    static const char *const packings[] = {"", "8-bit run-length", "4-bit run-length", "", "JPEG", "PNG"};
    if (b->packing != 0 && b->packing != 3)
        return codec_fail(s, format, e, "%s coding is not supported; save it uncompressed or as PNG",
                          b->packing < 6 ? packings[b->packing] : "unknown");
    if (b->bits != 1 && b->bits != 4 && b->bits != 8 && b->bits != 16 && b->bits != 24 && b->bits != 32)
        return codec_fail(s, format, e, "found %u bits per pixel, expected 1, 4, 8, 16, 24 or 32; save it as PNG", b->bits);
    vm_status st = codec_alloc(NULL, s, format, b->w, b->h, 3, (double)s->n * 8 / b->bits, e);
    if (st) return st;
    b->row = ((size_t)b->w * b->bits + 31) / 32 * 4;
    return b->bits <= 8 ? read_palette(b, s, e) : read_masks(b, s, e);
}

static uint8_t sample(uint32_t v, uint32_t mask) {
    if (!mask) return 255;
    const int shift = __builtin_ctz(mask);
    return (uint8_t)((uint64_t)((v & mask) >> shift) * 255 / (mask >> shift));
}

static void expand_row(const bmp_head *b, const uint8_t *in, uint8_t *to, int c) {
    for (int64_t x = 0; x < b->w; x++, to += c) {
        if (b->bits <= 8) {
            const int64_t bit = x * b->bits;
            memcpy(to, b->palette[(in[bit / 8] >> (8 - b->bits - (uint32_t)(bit % 8))) & ((1u << b->bits) - 1)], 3);
        } else if (b->bits == 24 && b->packing == 0) {
            to[0] = in[3 * x + 2], to[1] = in[3 * x + 1], to[2] = in[3 * x];
        } else {
            const uint8_t *p = in + x * (b->bits / 8);
            const uint32_t v = b->bits == 16 ? le16(p) : b->bits == 24 ? le16(p) | (uint32_t)p[2] << 16 : le32(p);
            for (int k = 0; k < c; k++) to[k] = sample(v, b->mask[k]);
        }
    }
}

vm_status bmp_decode(vm_image *out, image_source *s, vm_error *e) {
    bmp_head b = {0};
    vm_status st = read_head(&b, s, e);
    if (st) return st;
    const size_t there = b.pixels_at > s->n ? 0 : (s->n - b.pixels_at) / b.row;
    if (there < (size_t)b.h && !s->tolerant) return codec_truncated(s, format, e);
    vm_image im;
    const int c = s->want_alpha && b.mask[3] ? 4 : 3;
    if ((st = codec_alloc(&im, s, format, b.w, b.h, c, (double)s->n * 8 / b.bits, e))) return st;
    for (int64_t y = 0; y < b.h; y++) {
        uint8_t *to = im.px + (b.top_down ? y : b.h - 1 - y) * b.w * c;
        if ((size_t)y < there) expand_row(&b, s->data + b.pixels_at + (size_t)y * b.row, to, c);
        else memset(to, 0, (size_t)b.w * (size_t)c);
    }
    im.partial = there < (size_t)b.h;
    *out = im;
    return VM_OK;
}
