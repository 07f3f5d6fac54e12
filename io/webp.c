/* webp.c - lossless WebP (the VP8L bitstream in a RIFF file). Lossy pictures and animations are refused by name.
 *
 * Source: "Specification for WebP Lossless Bitstream". Bits come least significant first. A picture is: up to four
 * transforms (each with a small picture of its own as parameters), then the pixels: per area a group of five prefix
 * codes (green or copy length or cache, red, blue, alpha, copy distance). Transforms are undone in reverse order. */
#include "io/codec.h"

#include <string.h>

static const char format[] = "WebP";
enum { MAX_BITS = 15, LITERALS = 256, LENGTHS = 24, DISTANCES = 40, MAX_CACHE = 2048 };

/* --- bits --------------------------------------------------------------------------------------------------------- */
typedef struct {
    const uint8_t *data;
    size_t n, bit; /* bit: position; zeros are read beyond 8n */
    const char *wrong;
    bool no_memory;
} bit_reader;

static bool ended(const bit_reader *b) { return b->bit > 8 * b->n; }
static bool failed(const bit_reader *b) { return b->wrong || b->no_memory; }

static bool stop(bit_reader *b, const char *why) {
    if (!failed(b)) b->wrong = why;
    return false;
}

static void *get_memory(bit_reader *b, size_t n, size_t each) {
    void *p = vm_calloc(n, each);
    if (!p) b->no_memory = true;
    return p;
}

/* At least the next 24 bits, unconsumed. */
static uint32_t peek(const bit_reader *b) {
    const size_t at = b->bit / 8;
    uint32_t v = 0;
    if (at < b->n && b->n - at >= 4) v = le32(b->data + at);
    else for (size_t i = 0; i < 4 && at + i < b->n; i++) v |= (uint32_t)b->data[at + i] << 8 * i;
    return v >> b->bit % 8;
}

static uint32_t take(bit_reader *b, int n) { /* n <= 24 */
    const uint32_t v = peek(b) & ((1u << n) - 1);
    b->bit += (size_t)n;
    return v;
}

/* --- prefix codes ------------------------------------------------------------------------------------------------- */
/* Canonical: count[k] codes of k bits, symbols ordered by (length, value). A symbol alone takes no bits: longest = 0. */
typedef struct {
    uint16_t count[MAX_BITS + 1];
    uint16_t longest;
    uint16_t *symbols;
} prefix_code;

static bool build_code(bit_reader *b, prefix_code *c, const uint8_t *lengths, int n) {
    int used = 0, at[MAX_BITS + 2] = {0};
    int32_t filled = 0; /* of 2^15 leaves */
    for (int i = 0; i < n; i++) used += lengths[i] > 0, c->count[lengths[i]]++;
    c->count[0] = 0;
    if (!used) return stop(b, "prefix code without symbols");
    if (!(c->symbols = get_memory(b, (size_t)used, sizeof *c->symbols))) return false;
    for (int k = 1; k <= MAX_BITS; k++) {
        at[k + 1] = at[k] + c->count[k];
        filled += c->count[k] << (MAX_BITS - k);
        if (c->count[k] && used > 1) c->longest = (uint16_t)k;
    }
    for (int i = 0; i < n; i++)
        if (lengths[i]) c->symbols[at[lengths[i]]++] = (uint16_t)i;
    return used == 1 || filled == 1 << MAX_BITS || stop(b, "incomplete prefix code");
}

static int next_symbol(bit_reader *b, const prefix_code *c) {
    uint32_t window = peek(b);
    int code = 0, first = 0, index = 0;
    for (int k = 1; k <= c->longest; k++, window >>= 1) {
        code = code * 2 + (int)(window & 1);
        const int n = c->count[k];
        if (code - first < n) {
            b->bit += (size_t)k;
            return c->symbols[index + code - first];
        }
        index += n;
        first = (first + n) * 2;
    }
    return c->symbols[0];
}

static bool read_lengths(bit_reader *b, uint8_t *lengths, int n) {
    static const uint8_t order[19] = {17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t meta[19] = {0}, previous = 8;
    prefix_code c = {0};
    for (int i = 0, k = 4 + (int)take(b, 4); i < k; i++) meta[order[i]] = (uint8_t)take(b, 3);
    int tokens = n;
    if (take(b, 1)) {
        const int width = 2 + 2 * (int)take(b, 3);
        if ((tokens = 2 + (int)take(b, width)) > n) return stop(b, "more code lengths than symbols");
    }
    bool good = build_code(b, &c, meta, 19);
    for (int i = 0; good && i < n && tokens--;) {
        const int t = next_symbol(b, &c);
        if (t < 16) {
            if ((lengths[i++] = (uint8_t)t)) previous = (uint8_t)t;
            continue;
        }
        int run = t == 16 ? 3 + (int)take(b, 2) : t == 17 ? 3 + (int)take(b, 3) : 11 + (int)take(b, 7);
        if (run > n - i) good = stop(b, "code lengths run over the alphabet");
        else while (run--) lengths[i++] = t == 16 ? previous : 0;
    }
    vm_free(c.symbols);
    return good;
}

static bool read_code(bit_reader *b, prefix_code *c, int n) {
    uint8_t lengths[LITERALS + LENGTHS + MAX_CACHE] = {0};
    if (take(b, 1)) { /* one or two symbols */
        const bool two = take(b, 1);
        lengths[take(b, take(b, 1) ? 8 : 1)] = 1;
        if (two) lengths[take(b, 8)] = 1;
        for (int i = n; i < 256; i++)
            if (lengths[i]) return stop(b, "symbol outside the alphabet");
    } else if (!read_lengths(b, lengths, n)) {
        return false;
    }
    return build_code(b, c, lengths, n);
}

/* --- pixels ------------------------------------------------------------------------------------------------------- */
static uint32_t read_prefixed(bit_reader *b, int symbol) {
    if (symbol < 4) return (uint32_t)symbol + 1;
    const int extra = (symbol - 2) >> 1;
    return ((2u + (symbol & 1)) << extra) + take(b, extra) + 1;
}

/* Distances 1..120 name neighbours: column in the low nibble (8 = straight above), row in the high one. */
static int64_t find_distance(uint32_t d, int w) {
    static const uint8_t near[120] = {
        0x18, 0x07, 0x17, 0x19, 0x28, 0x06, 0x27, 0x29, 0x16, 0x1a, 0x26, 0x2a, 0x38, 0x05, 0x37, 0x39, 0x15, 0x1b, 0x36, 0x3a,
        0x25, 0x2b, 0x48, 0x04, 0x47, 0x49, 0x14, 0x1c, 0x35, 0x3b, 0x46, 0x4a, 0x24, 0x2c, 0x58, 0x45, 0x4b, 0x34, 0x3c, 0x03,
        0x57, 0x59, 0x13, 0x1d, 0x56, 0x5a, 0x23, 0x2d, 0x44, 0x4c, 0x55, 0x5b, 0x33, 0x3d, 0x68, 0x02, 0x67, 0x69, 0x12, 0x1e,
        0x66, 0x6a, 0x22, 0x2e, 0x54, 0x5c, 0x43, 0x4d, 0x65, 0x6b, 0x32, 0x3e, 0x78, 0x01, 0x77, 0x79, 0x53, 0x5d, 0x11, 0x1f,
        0x64, 0x6c, 0x42, 0x4e, 0x76, 0x7a, 0x21, 0x2f, 0x75, 0x7b, 0x31, 0x3f, 0x63, 0x6d, 0x52, 0x5e, 0x00, 0x74, 0x7c, 0x41,
        0x4f, 0x10, 0x20, 0x62, 0x6e, 0x30, 0x73, 0x7d, 0x51, 0x5f, 0x40, 0x72, 0x7e, 0x61, 0x6f, 0x50, 0x71, 0x7f, 0x60, 0x70};
    if (d > 120) return (int64_t)d - 120;
    const int64_t at = (int64_t)(near[d - 1] >> 4) * w + 8 - (near[d - 1] & 15);
    return VM_MAX(at, 1);
}

typedef struct {
    int cache_bits, area_bits, areas_wide, n_groups;
    uint32_t *areas; /* number of the code group in bits 8..23; NULL = one group */
    prefix_code *codes; /* 5 per group */
} entropy;

static uint32_t *read_picture(bit_reader *b, int w, int h, bool main);

static int count_blocks(int n, int block_bits) { return (n + (1 << block_bits) - 1) >> block_bits; }

static bool read_entropy(bit_reader *b, entropy *t, int w, int h, bool main) {
    t->n_groups = 1;
    if (take(b, 1)) {
        t->cache_bits = (int)take(b, 4);
        if (t->cache_bits < 1 || t->cache_bits > 11) return stop(b, "colour cache of a size that is not 1..11 bits");
    }
    if (main && take(b, 1)) {
        t->area_bits = (int)take(b, 3) + 2;
        t->areas_wide = count_blocks(w, t->area_bits);
        const int high = count_blocks(h, t->area_bits);
        if (!(t->areas = read_picture(b, t->areas_wide, high, false))) return false;
        for (int i = 0; i < t->areas_wide * high; i++) t->n_groups = VM_MAX(t->n_groups, (int)(t->areas[i] >> 8 & 0xffff) + 1);
    }
    const int sizes[5] = {LITERALS + LENGTHS + (t->cache_bits ? 1 << t->cache_bits : 0), 256, 256, 256, DISTANCES};
    if ((size_t)t->n_groups > b->n * 8 / 20 + 1) return stop(b, "more prefix codes than bits"); /* each takes 4 or more */
    if (!(t->codes = get_memory(b, (size_t)t->n_groups * 5, sizeof *t->codes))) return false;
    for (int i = 0; i < 5 * t->n_groups; i++)
        if (ended(b) || !read_code(b, &t->codes[i], sizes[i % 5])) return stop(b, "the file ends within the prefix codes");
    return true;
}

/* Pixels in ARGB order of bits; those that the file no longer holds stay zero. */
static void read_pixels(bit_reader *b, const entropy *t, uint32_t *px, int w, int h) {
    const int64_t all = (int64_t)w * h;
    uint32_t cache[MAX_CACHE] = {0};
    int64_t i = 0, cached = 0; /* px[0..cached) are in the cache */
    for (int x = 0, y = 0; i < all && !ended(b);) {
        const prefix_code *c = t->codes;
        if (t->areas) c += 5 * (t->areas[(y >> t->area_bits) * t->areas_wide + (x >> t->area_bits)] >> 8 & 0xffff);
        const int s = next_symbol(b, &c[0]);
        int64_t n = 1;
        if (s < LITERALS) {
            const uint32_t red = (uint32_t)next_symbol(b, &c[1]), blue = (uint32_t)next_symbol(b, &c[2]);
            px[i] = (uint32_t)next_symbol(b, &c[3]) << 24 | red << 16 | (uint32_t)s << 8 | blue;
        } else if (s < LITERALS + LENGTHS) {
            n = read_prefixed(b, s - LITERALS);
            const int64_t d = find_distance(read_prefixed(b, next_symbol(b, &c[4])), w);
            if (d > i || n > all - i) {
                if (!ended(b)) stop(b, "copy from outside the picture");
                return;
            }
            for (int64_t k = 0; k < n; k++) px[i + k] = px[i + k - d];
        } else {
            for (; cached < i; cached++) cache[0x1e35a7bdu * px[cached] >> (32 - t->cache_bits)] = px[cached];
            px[i] = cache[s - LITERALS - LENGTHS];
        }
        i += n;
        for (x += (int)n; x >= w; x -= w) y++;
    }
}

static uint32_t *read_picture(bit_reader *b, int w, int h, bool main) {
    entropy t = {0};
    uint32_t *px = NULL;
    if (read_entropy(b, &t, w, h, main) && (px = get_memory(b, (size_t)w * (size_t)h, sizeof *px)))
        read_pixels(b, &t, px, w, h);
    for (int i = 0; t.codes && i < 5 * t.n_groups; i++) vm_free(t.codes[i].symbols);
    vm_free(t.codes);
    vm_free(t.areas);
    if (failed(b)) {
        vm_free(px);
        return NULL;
    }
    return px;
}

/* --- transforms --------------------------------------------------------------------------------------------------- */
enum { PREDICT, CROSS_COLOUR, SUBTRACT_GREEN, PALETTE };

typedef struct {
    int kind, block_bits; /* log2 of the side of a block, or of the pixels that a palette packs into one */
    int w;                /* of the picture once the transform is undone */
    int n;                /* colours of a palette */
    uint32_t *data;
} transform;

/* Sum byte by byte. */
static uint32_t add(uint32_t a, uint32_t b) {
    const uint32_t high = (a & 0xff00ff00u) + (b & 0xff00ff00u), low = (a & 0xff00ffu) + (b & 0xff00ffu);
    return (high & 0xff00ff00u) | (low & 0xff00ffu);
}
static uint32_t mean(uint32_t a, uint32_t b) { return (((a ^ b) & 0xfefefefeu) >> 1) + (a & b); }
static int byte_of(uint32_t v, int k) { return (int)(v >> 8 * k & 255); }
static uint32_t clip(int v) { return v < 0 ? 0 : v > 255 ? 255 : (uint32_t)v; }

static uint32_t select_nearer(uint32_t left, uint32_t top, uint32_t corner) {
    int to_left = 0, to_top = 0;
    for (int k = 0; k < 4; k++) {
        const int l = byte_of(top, k) - byte_of(corner, k), t = byte_of(left, k) - byte_of(corner, k);
        to_left += l < 0 ? -l : l;
        to_top += t < 0 ? -t : t;
    }
    return to_left < to_top ? left : top;
}

static uint32_t add_gradient(uint32_t a, uint32_t b, uint32_t corner, bool half) {
    uint32_t v = 0;
    for (int k = 0; k < 4; k++) {
        const int p = half ? byte_of(a, k) + (byte_of(a, k) - byte_of(corner, k)) / 2
                           : byte_of(a, k) + byte_of(b, k) - byte_of(corner, k);
        v |= clip(p) << 8 * k;
    }
    return v;
}

static uint32_t predict(int mode, uint32_t l, uint32_t t, uint32_t tr, uint32_t tl) {
    switch (mode) {
    case 1: return l;
    case 2: return t;
    case 3: return tr;
    case 4: return tl;
    case 5: return mean(mean(l, tr), t);
    case 6: return mean(l, tl);
    case 7: return mean(l, t);
    case 8: return mean(tl, t);
    case 9: return mean(t, tr);
    case 10: return mean(mean(l, tl), mean(t, tr));
    case 11: return select_nearer(l, t, tl);
    case 12: return add_gradient(l, t, tl, false);
    case 13: return add_gradient(mean(l, t), 0, tl, true);
    default: return 0xff000000u;
    }
}

static void undo_predict(const transform *t, uint32_t *px, int w, int h) {
    const int wide = count_blocks(w, t->block_bits);
    for (int64_t y = 0, i = 0; y < h; y++)
        for (int x = 0; x < w; x++, i++) {
            uint32_t p;
            if (!y) p = x ? px[i - 1] : 0xff000000u;
            else if (!x) p = px[i - w];
            else p = predict(byte_of(t->data[(y >> t->block_bits) * wide + (x >> t->block_bits)], 1) & 15, px[i - 1],
                             px[i - w], px[i - w + 1], px[i - w - 1]); /* top right of the last column: this row's first */
            px[i] = add(px[i], p);
        }
}

static void undo_cross_colour(const transform *t, uint32_t *px, int w, int h) {
    const int wide = count_blocks(w, t->block_bits);
    for (int64_t y = 0, i = 0; y < h; y++)
        for (int x = 0; x < w; x++, i++) {
            const uint32_t m = t->data[(y >> t->block_bits) * wide + (x >> t->block_bits)], v = px[i];
            const int8_t green = (int8_t)byte_of(v, 1);
            const int red = byte_of(v, 2) + ((int8_t)byte_of(m, 0) * green >> 5);
            const int blue = byte_of(v, 0) + ((int8_t)byte_of(m, 1) * green >> 5) + ((int8_t)byte_of(m, 2) * (int8_t)red >> 5);
            px[i] = (v & 0xff00ff00u) | (uint32_t)(red & 255) << 16 | (uint32_t)(blue & 255);
        }
}

/* Several indices stand in the green byte of one packed pixel; from the end, so that it works in place. */
static void undo_palette(const transform *t, uint32_t *px, int h) {
    const int packed = count_blocks(t->w, t->block_bits), width = 8 >> t->block_bits;
    for (int64_t y = h - 1; y >= 0; y--)
        for (int x = t->w - 1; x >= 0; x--) {
            const int green = byte_of(px[y * packed + (x >> t->block_bits)], 1);
            const int index = green >> width * (x & ((1 << t->block_bits) - 1)) & ((1 << width) - 1);
            px[y * t->w + x] = index < t->n ? t->data[index] : 0;
        }
}

static bool read_transform(bit_reader *b, transform *t, int *w, int h) {
    t->kind = (int)take(b, 2);
    t->w = *w;
    if (t->kind == SUBTRACT_GREEN) return true;
    if (t->kind == PALETTE) {
        t->n = (int)take(b, 8) + 1;
        if (!(t->data = read_picture(b, t->n, 1, false))) return false;
        for (int i = 1; i < t->n; i++) t->data[i] = add(t->data[i], t->data[i - 1]);
        t->block_bits = t->n <= 2 ? 3 : t->n <= 4 ? 2 : t->n <= 16 ? 1 : 0;
        *w = count_blocks(*w, t->block_bits);
        return true;
    }
    t->block_bits = (int)take(b, 3) + 2;
    return (t->data = read_picture(b, count_blocks(*w, t->block_bits), count_blocks(h, t->block_bits), false)) != NULL;
}

/* w x h pixels, or NULL. */
static uint32_t *read_lossless(bit_reader *b, int w, int h) {
    transform t[4];
    int n = 0, now = w, seen = 0;
    uint32_t *px = NULL;
    while (!failed(b) && take(b, 1)) {
        t[n] = (transform){0};
        const bool good = read_transform(b, &t[n], &now, h), again = seen & 1 << t[n].kind;
        seen |= 1 << t[n++].kind;
        if (good && again) stop(b, "the same transform twice");
        if (again || n == 4) break;
    }
    if (n == 4 && !failed(b) && take(b, 1)) stop(b, "more than four transforms");
    uint32_t *read = failed(b) ? NULL : read_picture(b, now, h, true);
    if (read && (px = get_memory(b, (size_t)w * (size_t)h, sizeof *px))) memcpy(px, read, (size_t)now * (size_t)h * sizeof *px);
    vm_free(read);
    while (n--) {
        if (px && t[n].kind == PREDICT) undo_predict(&t[n], px, now, h);
        if (px && t[n].kind == CROSS_COLOUR) undo_cross_colour(&t[n], px, now, h);
        for (int64_t i = 0; px && t[n].kind == SUBTRACT_GREEN && i < (int64_t)now * h; i++)
            px[i] = add(px[i], (px[i] >> 8 & 255) * 0x10001u);
        if (px && t[n].kind == PALETTE) undo_palette(&t[n], px, h), now = t[n].w;
        vm_free(t[n].data);
    }
    return px;
}

/* --- container ---------------------------------------------------------------------------------------------------- */
static vm_status decode(vm_image *out, image_source *s, const uint8_t *data, size_t n, vm_error *e) {
    if (n < 5) return codec_truncated(s, format, e);
    if (data[0] != 0x2f) return codec_fail(s, format, e, "damaged (no lossless signature); fetch or save it again");
    const uint32_t head = le32(data + 1);
    const int w = (int)(head & 0x3fff) + 1, h = (int)(head >> 14 & 0x3fff) + 1;
    const bool alpha = head >> 28 & 1;
    if (head >> 29) return codec_fail(s, format, e, "version %u of the bitstream is unknown; save it as PNG", head >> 29);
    vm_image im;
    vm_status st = codec_alloc(&im, s, format, w, h, s->want_alpha && alpha ? 4 : 3, 4096.0 * (double)s->n, e);
    if (st) return st;
    bit_reader b = {.data = data, .n = n, .bit = 40};
    uint32_t *px = read_lossless(&b, w, h);
    if (b.no_memory) st = vm_nomem(e, (size_t)w * (size_t)h * 4, "a WebP picture");
    else if (ended(&b) && !(s->tolerant && px)) st = codec_truncated(s, format, e);
    else if (!px) st = codec_fail(s, format, e, "damaged (%s); fetch or save it again", b.wrong);
    for (int64_t i = 0; !st && i < (int64_t)w * h; i++) {
        uint8_t *to = im.px + i * im.c;
        to[0] = (uint8_t)(px[i] >> 16), to[1] = (uint8_t)(px[i] >> 8), to[2] = (uint8_t)px[i];
        if (im.c == 4) to[3] = (uint8_t)(px[i] >> 24);
    }
    im.partial = ended(&b);
    vm_free(px);
    if (st) image_free(&im);
    else *out = im;
    return st;
}

vm_status webp_decode(vm_image *out, image_source *s, vm_error *e) {
    const uint8_t *picture = NULL;
    size_t picture_n = 0;
    for (size_t at = 12; s->n - at >= 8;) {
        const uint8_t *c = s->data + at;
        const size_t len = le32(c + 4), room = s->n - at - 8, n = VM_MIN(len, room);
        if (!memcmp(c, "VP8 ", 4)) return codec_fail(s, format, e, "lossy WebP is not supported; convert it to PNG or JPEG");
        if (!memcmp(c, "ANIM", 4)) return codec_fail(s, format, e, "animated WebP is not supported; convert it to PNG or JPEG");
        if (!memcmp(c, "VP8L", 4) && !picture) picture = c + 8, picture_n = n;
        if (!memcmp(c, "EXIF", 4)) {
            const bool prefixed = n > 6 && !memcmp(c + 8, "Exif\0", 6);
            s->orientation = prefixed ? exif_orientation(c + 14, n - 6) : exif_orientation(c + 8, n);
        }
        if (len >= room) break;
        at += 8 + len + (len & 1);
        if (at > s->n) break;
    }
    return picture ? decode(out, s, picture, picture_n, e) : codec_truncated(s, format, e);
}
