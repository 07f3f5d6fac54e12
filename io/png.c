/* png.c - PNG through libpng's row interface: every depth, palette, transparency and Adam7; and the PNG writer.
 *
 * Ancillary chunks are skipped unread (bombs hide there) except eXIf, found by our own walk over the chunk headers.
 * Rows come from libpng unexpanded; pixels are made here so that they equal Pillow's. Single-colour transparency: the
 * low byte of each sample of the tRNS chunk is compared with the 8-bit pixel (Pillow does so at every depth). */
#include "io/codec.h"

#include <png.h>
#include <string.h>

static const char format[] = "PNG";

typedef struct {
    png_structp png;
    png_infop info;
    image_source *s;
    size_t at;       /* read position */
    bool ended;      /* wanted to read beyond the end */
    bool no_memory;
    char why[128];   /* libpng's complaint */
    int type, depth; /* of IHDR */
    uint8_t palette[256][4];
    bool keyed; /* one transparent colour: key */
    uint8_t key[3];
    vm_image im;
    uint8_t *raw; /* one row, or the whole picture when interlaced */
    size_t raw_row;
    int rows; /* expanded into im */
} png_job;

/* --- callbacks of libpng ------------------------------------------------------------------------------------------ */
static void on_error(png_structp png, png_const_charp msg) {
    png_job *j = png_get_error_ptr(png);
    snprintf(j->why, sizeof j->why, "%s", msg);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp msg) { (void)png, (void)msg; }

static void on_read(png_structp png, png_bytep to, size_t n) {
    png_job *j = png_get_io_ptr(png);
    if (n > j->s->n - j->at) {
        j->ended = true;
        png_error(png, "end of file");
    }
    memcpy(to, j->s->data + j->at, n);
    j->at += n;
}

static png_voidp on_alloc(png_structp png, size_t n) {
    void *p = vm_alloc(n);
    if (!p) *(bool *)png_get_mem_ptr(png) = true;
    return p;
}

static void on_free(png_structp png, png_voidp p) {
    (void)png;
    vm_free(p);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */
/* Chunk headers from the file's start: bytes of image data, EXIF orientation (also behind the image data). */
static uint64_t walk_chunks(image_source *s) {
    uint64_t idat = 0;
    for (size_t at = 8; s->n - at >= 12;) {
        const uint8_t *c = s->data + at;
        size_t len = be32(c), room = s->n - at - 12;
        if (!memcmp(c + 4, "IDAT", 4)) idat += VM_MIN(len, room + 4);
        if (len > room) break;
        if (!memcmp(c + 4, "eXIf", 4)) s->orientation = exif_orientation(c + 8, len);
        at += len + 12;
    }
    return idat;
}

static void read_header(png_job *j) {
    png_read_info(j->png, j->info);
    j->type = png_get_color_type(j->png, j->info);
    j->depth = png_get_bit_depth(j->png, j->info);
    for (int i = 0; i < 256; i++) j->palette[i][3] = 255;
    png_colorp pal = NULL;
    int n = 0;
    if (j->type == PNG_COLOR_TYPE_PALETTE && png_get_PLTE(j->png, j->info, &pal, &n))
        for (int i = 0; i < n && i < 256; i++)
            j->palette[i][0] = pal[i].red, j->palette[i][1] = pal[i].green, j->palette[i][2] = pal[i].blue;
    png_bytep alpha = NULL;
    png_color_16p colour = NULL;
    if (!png_get_tRNS(j->png, j->info, &alpha, &n, &colour)) return;
    if (j->type == PNG_COLOR_TYPE_PALETTE) {
        for (int i = 0; alpha && i < n && i < 256; i++) j->palette[i][3] = alpha[i];
        j->keyed = alpha != NULL;
    } else if (colour) {
        bool gray = j->type == PNG_COLOR_TYPE_GRAY;
        j->key[0] = (uint8_t)(gray ? colour->gray : colour->red);
        if (gray && j->depth == 1) j->key[0] = colour->gray ? 255 : 0;
        j->key[1] = gray ? j->key[0] : (uint8_t)colour->green;
        j->key[2] = gray ? j->key[0] : (uint8_t)colour->blue;
        j->keyed = true;
    }
}

/* One row as libpng gives it: indices and small grays one per byte, 16-bit gray big-endian, else 8 bits. */
static void expand_row(const png_job *j, const uint8_t *in, uint8_t *to) {
    const int w = j->im.w, c = j->im.c;
    switch (j->type) {
    case PNG_COLOR_TYPE_PALETTE:
        for (int x = 0; x < w; x++) memcpy(to + x * c, j->palette[in[x]], (size_t)c);
        return;
    case PNG_COLOR_TYPE_GRAY:
        for (int x = 0, scale = j->depth >= 8 ? 1 : 255 / ((1 << j->depth) - 1); x < w; x++) {
            int v = j->depth < 16 ? in[x] * scale : in[2 * x] ? 255 : in[2 * x + 1];
            memset(to + x * c, v, 3);
        }
        break;
    case PNG_COLOR_TYPE_GRAY_ALPHA:
        for (int x = 0; x < w; x++) {
            memset(to + x * c, in[2 * x], 3);
            if (c == 4) to[x * c + 3] = in[2 * x + 1];
        }
        return;
    case PNG_COLOR_TYPE_RGB:
        if (c == 3) memcpy(to, in, 3 * (size_t)w);
        else for (int x = 0; x < w; x++) memcpy(to + x * c, in + 3 * x, 3);
        break;
    default: /* RGBA */
        if (c == 4) memcpy(to, in, 4 * (size_t)w);
        else for (int x = 0; x < w; x++) memcpy(to + x * c, in + 4 * x, 3);
        return;
    }
    if (c == 4)
        for (int x = 0; x < w; x++) to[x * c + 3] = memcmp(to + x * c, j->key, 3) ? 255 : 0;
}

/* false when libpng jumped out; what it had read so far is in im (plain) or raw (interlaced). */
static bool read_rows(png_job *j) {
    if (setjmp(png_jmpbuf(j->png))) return false;
    int passes = png_get_interlace_type(j->png, j->info) == PNG_INTERLACE_ADAM7 ? 7 : 1;
    for (int p = 0; p < passes; p++)
        for (int y = 0; y < j->im.h; y++) {
            uint8_t *row = passes > 1 ? j->raw + (size_t)y * j->raw_row : j->raw;
            png_read_row(j->png, row, NULL);
            if (passes > 1) continue;
            expand_row(j, row, j->im.px + (size_t)y * (size_t)j->im.w * (size_t)j->im.c);
            j->rows = y + 1;
        }
    return true;
}

static bool start(png_job *j) {
    if (setjmp(png_jmpbuf(j->png))) return false;
    png_set_read_fn(j->png, j, on_read);
    png_set_user_limits(j->png, (png_uint_32)j->s->max_side, (png_uint_32)j->s->max_side);
    png_set_chunk_cache_max(j->png, 64);
    png_set_chunk_malloc_max(j->png, 8 << 20);
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    if (j->s->tolerant) png_set_compression_buffer_size(j->png, 64); /* loses less at a sudden end */
    read_header(j);
    if (j->depth < 8) png_set_packing(j->png);
    if (j->depth == 16 && j->type != PNG_COLOR_TYPE_GRAY) png_set_strip_16(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    j->raw_row = png_get_rowbytes(j->png, j->info);
    return true;
}

static vm_status complain(const png_job *j, vm_error *e) {
    if (j->no_memory) return vm_nomem(e, j->s->n, "the PNG decoder");
    if (j->ended) return codec_truncated(j->s, format, e);
    return codec_fail(j->s, format, e, "damaged near byte %zu (%s); fetch or save it again", j->at, j->why);
}

static vm_status decode(png_job *j, vm_error *e) {
    image_source *s = j->s;
    if (s->n < 33 || memcmp(s->data + 12, "IHDR", 4))
        return s->n < 33 ? codec_truncated(s, format, e)
                         : codec_fail(s, format, e, "the header chunk IHDR is missing; fetch or save it again");
    const int64_t w = be32(s->data + 16), h = be32(s->data + 20);
    const double packed = 1032.0 * (double)walk_chunks(s); /* the most that deflate can expand to */
    static const int samples[8] = {1, 0, 3, 1, 2, 0, 4, 0};
    const int bits = s->data[24] * samples[s->data[25] & 7];
    j->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, j, on_error, on_warning, &j->no_memory, on_alloc, on_free);
    if (!j->png || !(j->info = png_create_info_struct(j->png))) return vm_nomem(e, s->n, "the PNG decoder");
    /* size first: libpng would refuse it without naming the numbers */
    vm_status st = codec_alloc(NULL, s, format, w, h, 3, packed * 8 / VM_MAX(bits, 1), e);
    if (st) return st;
    if (!start(j)) return complain(j, e);
    bool alpha = j->keyed || (j->type & PNG_COLOR_MASK_ALPHA);
    if ((st = codec_alloc(&j->im, s, format, w, h, s->want_alpha && alpha ? 4 : 3, packed * 8 / VM_MAX(bits, 1), e)))
        return st;
    bool interlaced = png_get_interlace_type(j->png, j->info) == PNG_INTERLACE_ADAM7;
    size_t raw = j->raw_row;
    if (interlaced && !vm_mul_sz(raw, (size_t)h, &raw)) return vm_nomem(e, SIZE_MAX, "an interlaced PNG");
    if (!(j->raw = vm_calloc(1, raw))) return vm_nomem(e, raw, "PNG rows");
    bool whole = read_rows(j);
    if (!whole && !(s->tolerant && j->ended)) return complain(j, e);
    j->im.partial = !whole;
    const size_t row = (size_t)w * (size_t)j->im.c;
    for (int y = 0; interlaced && y < j->im.h; y++) {
        expand_row(j, j->raw + (size_t)y * j->raw_row, j->im.px + (size_t)y * row);
        j->rows = y + 1;
    }
    memset(j->im.px + (size_t)j->rows * row, 0, (size_t)(j->im.h - j->rows) * row);
    return VM_OK;
}

vm_status png_decode(vm_image *out, image_source *s, vm_error *e) {
    png_job j = {.s = s};
    vm_status st = decode(&j, e);
    if (j.png) png_destroy_read_struct(&j.png, &j.info, NULL);
    vm_free(j.raw);
    if (st) image_free(&j.im);
    else *out = j.im;
    return st;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */
typedef struct {
    png_structp png;
    png_infop info;
    uint8_t *buf;
    int64_t n, cap;
    bool no_memory;
    char why[128];
} png_out;

static void out_error(png_structp png, png_const_charp msg) {
    png_out *o = png_get_error_ptr(png);
    snprintf(o->why, sizeof o->why, "%s", msg);
    png_longjmp(png, 1);
}

static void out_write(png_structp png, png_bytep from, size_t n) {
    png_out *o = png_get_io_ptr(png);
    if (!vm_grow(&o->buf, &o->cap, o->n + (int64_t)n, 1)) {
        o->no_memory = true;
        png_error(png, "out of memory");
    }
    memcpy(o->buf + o->n, from, n);
    o->n += (int64_t)n;
}

static void out_flush(png_structp png) { (void)png; }

static bool is_ascii(const char *s) {
    while (*s && !(*s & 0x80)) s++;
    return !*s;
}

static bool write_picture(png_out *o, const vm_image *im, const image_text *text, int n_text) {
    if (setjmp(png_jmpbuf(o->png))) return false;
    png_set_write_fn(o->png, o, out_write, out_flush);
    int type = im->c == 1 ? PNG_COLOR_TYPE_GRAY : im->c == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_RGBA;
    png_set_IHDR(o->png, o->info, (png_uint_32)im->w, (png_uint_32)im->h, 8, type, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(o->png, 4); /* a third faster than 6, 2 % larger */
    for (int i = 0; i < n_text; i++) {
        static char none[1];
        png_text t = {.compression = is_ascii(text[i].text) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE, .key = (char *)text[i].key,
                      .text = (char *)text[i].text, .lang = none, .lang_key = none};
        png_set_text(o->png, o->info, &t, 1);
    }
    png_write_info(o->png, o->info);
    for (int y = 0; y < im->h; y++) png_write_row(o->png, im->px + (size_t)y * (size_t)im->w * (size_t)im->c);
    png_write_end(o->png, NULL);
    return true;
}

vm_status image_encode_png(uint8_t **buf, size_t *n, const vm_image *im, const image_text *text, int n_text,
                           vm_error *e) {
    png_out o = {0};
    o.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &o, out_error, on_warning, &o.no_memory, on_alloc, on_free);
    if (o.png) o.info = png_create_info_struct(o.png);
    bool good = o.info && write_picture(&o, im, text, n_text);
    if (o.png) png_destroy_write_struct(&o.png, &o.info);
    if (good) {
        *buf = o.buf, *n = (size_t)o.n;
        return VM_OK;
    }
    vm_free(o.buf);
    if (!o.info || o.no_memory) return vm_nomem(e, (size_t)im->w * (size_t)im->h, "a PNG file");
    return vm_fail(e, VM_EINPUT, "PNG writer: %s", o.why);
}
