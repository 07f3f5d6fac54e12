/* gif.c - the first frame of a GIF on its canvas. What the frame leaves free shows the transparent index if there is one,
 * else index 0 (as in Pillow); a frame that sticks out enlarges the canvas; without any palette the indices are grays. */
#include "io/codec.h"

#include <string.h>

static const char format[] = "GIF";
enum { CODES = 4096 };

typedef struct {
    image_source *s;
    size_t at;
    uint8_t palette[256][4];
    bool has_palette;
    int transparent; /* index or -1 */
    int64_t canvas_w, canvas_h, x0, y0, w, h;
    bool interlaced;
    uint8_t *index; /* canvas */
    int64_t done;   /* pixels of the frame */
} gif_job;

/* The next n bytes, or NULL at the end of the file. */
static const uint8_t *take(gif_job *j, size_t n) {
    if (n > j->s->n - j->at) return NULL;
    j->at += n;
    return j->s->data + j->at - n;
}

static bool read_palette(gif_job *j, int flags) {
    const size_t n = (size_t)2 << (flags & 7);
    const uint8_t *p = take(j, 3 * n);
    if (!p) return false;
    memset(j->palette, 0, sizeof j->palette);
    for (size_t i = 0; i < n; i++) memcpy(j->palette[i], p + 3 * i, 3);
    return j->has_palette = true;
}

static bool skip_blocks(gif_job *j) {
    for (const uint8_t *len; (len = take(j, 1));) {
        if (!*len) return true;
        if (!take(j, *len)) return false;
    }
    return false;
}

/* Up to the first frame's data. false: the file ended. */
static bool read_frame_head(gif_job *j, vm_error *e) {
    const uint8_t *p = take(j, 13);
    if (!p) return false;
    j->canvas_w = le16(p + 6), j->canvas_h = le16(p + 8);
    if ((p[10] & 0x80) && !read_palette(j, p[10])) return false;
    for (;;) {
        if (!(p = take(j, 1))) return false;
        if (*p == 0x2c) break;
        if (*p == 0x3b) {
            codec_fail(j->s, format, e, "no picture in the file; save it again");
            return false;
        }
        if (*p != 0x21) {
            codec_fail(j->s, format, e, "damaged near byte %zu (found block %02x); fetch or save it again", j->at - 1, *p);
            return false;
        }
        if (!(p = take(j, 1))) return false;
        const size_t body = j->at;
        if (*p == 0xf9 && (p = take(j, 6)) && p[0] >= 4) j->transparent = p[1] & 1 ? p[4] : -1;
        j->at = body;
        if (!skip_blocks(j)) return false;
    }
    if (!(p = take(j, 9))) return false;
    j->x0 = le16(p), j->y0 = le16(p + 2), j->w = le16(p + 4), j->h = le16(p + 6);
    j->canvas_w = VM_MAX(j->canvas_w, j->x0 + j->w), j->canvas_h = VM_MAX(j->canvas_h, j->y0 + j->h);
    j->interlaced = p[8] & 0x40;
    return !(p[8] & 0x80) || read_palette(j, p[8]);
}

/* Row of the frame that comes as the n-th in the file. */
static int64_t row_of(const gif_job *j, int64_t n) {
    static const int start[4] = {0, 4, 2, 1}, step[4] = {8, 8, 4, 2};
    if (!j->interlaced) return n;
    for (int p = 0; p < 4; p++) {
        const int64_t rows = j->h > start[p] ? (j->h - start[p] + step[p] - 1) / step[p] : 0;
        if (n < rows) return start[p] + n * step[p];
        n -= rows;
    }
    return 0;
}

typedef struct {
    uint32_t bits, have; /* buffer and its fill */
    size_t left;         /* bytes of the sub-block */
} bit_reader;

/* -1 at the end of the data. */
static int next_code(gif_job *j, bit_reader *b, uint32_t width) {
    while (b->have < width) {
        const uint8_t *p;
        if (!b->left) {
            if (!(p = take(j, 1)) || !*p) return -1;
            b->left = *p;
        }
        if (!(p = take(j, 1))) return -1;
        b->left--;
        b->bits |= (uint32_t)*p << b->have;
        b->have += 8;
    }
    const int code = (int)(b->bits & ((1u << width) - 1));
    b->bits >>= width;
    b->have -= width;
    return code;
}

static void put(gif_job *j, const uint8_t *string, int n) {
    for (const int64_t all = j->w * j->h; n && j->done < all; n--, j->done++) {
        const int64_t y = row_of(j, j->done / j->w);
        j->index[(j->y0 + y) * j->canvas_w + j->x0 + j->done % j->w] = string[n - 1];
    }
}

/* NULL, or what is wrong. */
static const char *unpack(gif_job *j) {
    static const char damaged[] = "code that is not in the table yet";
    uint16_t prefix[CODES];
    uint8_t last[CODES], string[CODES + 1]; /* string: reversed */
    const uint8_t *p = take(j, 1);
    if (!p) return NULL;
    const int least = *p;
    if (least < 1 || least > 11) return "code size is not 1..11";
    const int clear = 1 << least, end = clear + 1;
    int next = end + 1, old = -1;
    uint32_t width = (uint32_t)least + 1;
    bit_reader b = {0};
    while (j->done < j->w * j->h) {
        const int code = next_code(j, &b, width);
        if (code < 0 || code == end) return NULL;
        if (code == clear) {
            next = end + 1, width = (uint32_t)least + 1, old = -1;
            continue;
        }
        if (code > next || (code >= clear && old < 0)) return damaged;
        int n = 0, c = code;
        if (code == next) n = 1, c = old; /* the string of old and its own first byte, filled in below */
        while (c > end) {
            string[n++] = last[c];
            c = prefix[c];
        }
        string[n++] = (uint8_t)c;
        if (code == next) string[0] = (uint8_t)c;
        put(j, string, n);
        if (old >= 0 && next < CODES) {
            prefix[next] = (uint16_t)old, last[next] = (uint8_t)c;
            if (++next == 1 << width && width < 12) width++;
        }
        old = code;
    }
    return NULL;
}

static vm_status decode(gif_job *j, vm_image *im, vm_error *e) {
    image_source *s = j->s;
    vm_error why = {0};
    if (!read_frame_head(j, &why)) return why.status ? vm_fail(e, why.status, "%s", why.msg) : codec_truncated(s, format, e);
    const int64_t all = j->canvas_w * j->canvas_h;
    const double most = 4096.0 * (double)s->n; /* one code may stand for 4096 pixels */
    vm_status st = codec_alloc(im, s, format, j->canvas_w, j->canvas_h, s->want_alpha && j->transparent >= 0 ? 4 : 3, most, e);
    if (st) return st;
    if (!(j->index = vm_alloc((size_t)all))) return vm_nomem(e, (size_t)all, "a GIF canvas");
    memset(j->index, j->transparent >= 0 ? j->transparent : 0, (size_t)all);
    const char *wrong = unpack(j);
    if (wrong) return codec_fail(s, format, e, "damaged near byte %zu (%s); fetch or save it again", j->at, wrong);
    im->partial = j->done < j->w * j->h;
    if (im->partial && !s->tolerant) return codec_truncated(s, format, e);
    for (int i = 0; i < 256; i++) {
        if (!j->has_palette) memset(j->palette[i], i, 3);
        j->palette[i][3] = i == j->transparent ? 0 : 255;
    }
    for (int64_t i = 0; i < all; i++) memcpy(im->px + i * im->c, j->palette[j->index[i]], (size_t)im->c);
    return VM_OK;
}

vm_status gif_decode(vm_image *out, image_source *s, vm_error *e) {
    gif_job j = {.s = s, .transparent = -1};
    vm_image im = {0};
    vm_status st = decode(&j, &im, e);
    vm_free(j.index);
    if (st) image_free(&im);
    else *out = im;
    return st;
}
