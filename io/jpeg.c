/* jpeg.c - JPEG through libjpeg-turbo with its exact integer transform and triangle chroma upsampling: baseline and
 * progressive, gray, YCbCr, RGB, CMYK and YCCK; and the JPEG writer.
 *
 * CMYK is stored inverted (as Adobe does, and Pillow always assumes): with c, m, y, k = 255 - stored value,
 *   R = (255-k) - round(c (255-k) / 255), G and B alike.
 * Distrust: at most 100 scans, 16 warnings, 512 MiB of coefficients; sizes are checked before memory is taken. */
#include "io/codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

static const char format[] = "JPEG";
enum { MAX_SCANS = 100, MAX_WARNINGS = 16, MAX_MIB = 512 };

typedef struct {
    struct jpeg_error_mgr err; /* first: libjpeg hands it to the callbacks */
    jmp_buf back;
    char why[JMSG_LENGTH_MAX];
    bool no_memory;
} jpeg_trap;

static void on_error(j_common_ptr c) {
    jpeg_trap *t = (jpeg_trap *)c->err;
    t->no_memory = c->err->msg_code == JERR_OUT_OF_MEMORY;
    if (!t->why[0]) c->err->format_message(c, t->why);
    longjmp(t->back, 1);
}

static void on_warning(j_common_ptr c, int level) {
    jpeg_trap *t = (jpeg_trap *)c->err;
    if (level >= 0 || ++t->err.num_warnings <= MAX_WARNINGS) return;
    char last[JMSG_LENGTH_MAX];
    c->err->format_message(c, last);
    snprintf(t->why, sizeof t->why, "more than %d warnings, the last: %.120s", MAX_WARNINGS, last);
    longjmp(t->back, 1);
}

static void on_output(j_common_ptr c) { (void)c; }

static void set_trap(jpeg_trap *t) {
    jpeg_std_error(&t->err);
    t->err.error_exit = on_error;
    t->err.emit_message = on_warning;
    t->err.output_message = on_output;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */
typedef struct {
    jpeg_trap trap;
    struct jpeg_decompress_struct c;
    struct jpeg_source_mgr src;
    struct jpeg_progress_mgr progress;
    image_source *s;
    bool ended;
    vm_image im;
    uint8_t *row; /* of CMYK */
} jpeg_job;

static void on_start(j_decompress_ptr c) { (void)c; }

/* Called when all bytes are used up: an end marker keeps libjpeg going, the caller decides what it is worth. */
static boolean on_empty(j_decompress_ptr c) {
    static const JOCTET end[2] = {0xff, JPEG_EOI};
    jpeg_job *j = c->client_data;
    j->ended = true;
    if (!j->s->tolerant) longjmp(j->trap.back, 1);
    c->src->next_input_byte = end;
    c->src->bytes_in_buffer = sizeof end;
    return TRUE;
}

static void on_skip(j_decompress_ptr c, long n) {
    if (n <= 0) return;
    if ((size_t)n > c->src->bytes_in_buffer) {
        on_empty(c);
        return;
    }
    c->src->next_input_byte += n;
    c->src->bytes_in_buffer -= (size_t)n;
}

static void on_progress(j_common_ptr c) {
    jpeg_job *j = c->client_data;
    if (j->c.input_scan_number <= MAX_SCANS) return;
    snprintf(j->trap.why, sizeof j->trap.why, "more than %d scans", MAX_SCANS);
    longjmp(j->trap.back, 1);
}

/* EXIF (or else XMP) orientation from the segments before the first scan. */
static int find_orientation(const image_source *s) {
    static const char xmp_id[] = "http://ns.adobe.com/xap/1.0/";
    int xmp = 0;
    for (size_t at = 2; s->n - at >= 4 && s->data[at] == 0xff;) {
        const uint8_t *p = s->data + at;
        if (p[1] == 0xff) {
            at++;
            continue;
        }
        const size_t len = be16(p + 2);
        if (p[1] == 0xda || len < 2 || len > s->n - at - 2) break;
        if (p[1] == 0xe1 && len >= 8 && !memcmp(p + 4, "Exif\0", 6)) {
            int o = exif_orientation(p + 10, len - 8);
            if (o) return o;
        } else if (p[1] == 0xe1 && len > 2 + sizeof xmp_id && !memcmp(p + 4, xmp_id, sizeof xmp_id) && !xmp) {
            xmp = xmp_orientation(p + 4 + sizeof xmp_id, len - 2 - sizeof xmp_id);
        }
        at += 2 + len;
    }
    return xmp;
}

static bool read_header(jpeg_job *j) {
    if (setjmp(j->trap.back)) return false;
    jpeg_create_decompress(&j->c);
    j->c.client_data = j;
    j->src = (struct jpeg_source_mgr){.next_input_byte = j->s->data, .bytes_in_buffer = j->s->n, .init_source = on_start,
                                      .fill_input_buffer = on_empty, .skip_input_data = on_skip,
                                      .resync_to_restart = jpeg_resync_to_restart, .term_source = on_start};
    j->c.src = &j->src;
    j->progress.progress_monitor = on_progress;
    j->c.progress = &j->progress;
    j->c.mem->max_memory_to_use = (long)MAX_MIB << 20;
    jpeg_read_header(&j->c, TRUE);
    return true;
}

static void invert_cmyk(uint8_t *rgb, const uint8_t *cmyk, int w) {
    for (int x = 0; x < w; x++, rgb += 3, cmyk += 4)
        for (int k = 0; k < 3; k++) {
            const uint32_t t = (255u - cmyk[k]) * cmyk[3] + 128;
            rgb[k] = (uint8_t)(cmyk[3] - (((t >> 8) + t) >> 8));
        }
}

static bool read_rows(jpeg_job *j) {
    if (setjmp(j->trap.back)) return false;
    j->c.out_color_space = j->c.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&j->c);
    while (j->c.output_scanline < j->c.output_height) {
        uint8_t *to = j->im.px + (size_t)j->c.output_scanline * (size_t)j->im.w * 3, *row = j->row ? j->row : to;
        if (jpeg_read_scanlines(&j->c, &row, 1) && j->row) invert_cmyk(to, row, j->im.w);
    }
    return true;
}

static vm_status complain(const jpeg_job *j, vm_error *e) {
    if (j->trap.no_memory) return vm_nomem(e, j->s->n, "the JPEG decoder");
    if (j->ended && !j->trap.why[0]) return codec_truncated(j->s, format, e);
    return codec_fail(j->s, format, e, "damaged (%s); fetch or save it again", j->trap.why);
}

static vm_status decode(jpeg_job *j, vm_error *e) {
    image_source *s = j->s;
    if (!read_header(j)) return complain(j, e);
    const struct jpeg_decompress_struct *c = &j->c;
    if (c->arith_code) return codec_fail(s, format, e, "arithmetic coding is not supported; save it with Huffman coding");
    if (c->num_components != 1 && c->num_components != 3 && c->num_components != 4)
        return codec_fail(s, format, e, "found %d channels, expected 1, 3 or 4; save it as RGB", c->num_components);
    const double w = c->image_width, h = c->image_height;
    /* no fewer than one bit per block of 64 pixels */
    vm_status st = codec_alloc(&j->im, s, format, c->image_width, c->image_height, 3, 512.0 * (double)s->n, e);
    if (st) return st;
    if (jpeg_has_multiple_scans(&j->c) && w * h * c->num_components * 2 > (double)MAX_MIB * (1 << 20))
        return codec_fail(s, format, e, "progressive picture of %.0fx%.0f pixels needs more than %d MiB; save it as baseline",
                          w, h, MAX_MIB);
    if (c->num_components == 4 && !(j->row = vm_alloc((size_t)j->im.w * 4))) return vm_nomem(e, (size_t)j->im.w * 4, "a row");
    s->orientation = find_orientation(s);
    if (!read_rows(j)) return complain(j, e);
    j->im.partial = j->ended;
    return VM_OK;
}

vm_status jpeg_decode(vm_image *out, image_source *s, vm_error *e) {
    jpeg_job j = {.s = s};
    set_trap(&j.trap);
    j.c.err = &j.trap.err;
    vm_status st = decode(&j, e);
    jpeg_destroy_decompress(&j.c);
    vm_free(j.row);
    if (st) image_free(&j.im);
    else *out = j.im;
    return st;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */
typedef struct {
    jpeg_trap trap;
    struct jpeg_compress_struct c;
    struct jpeg_destination_mgr dest;
    uint8_t *buf;
    int64_t n, cap;
    uint8_t block[1 << 14];
} jpeg_out;

static boolean keep_block(jpeg_out *o, size_t n) {
    if (!vm_grow(&o->buf, &o->cap, o->n + (int64_t)n, 1)) {
        o->trap.no_memory = true;
        longjmp(o->trap.back, 1);
    }
    memcpy(o->buf + o->n, o->block, n);
    o->n += (int64_t)n;
    o->dest.next_output_byte = o->block;
    o->dest.free_in_buffer = sizeof o->block;
    return TRUE;
}

static void out_start(j_compress_ptr c) { (void)c; }
static boolean out_full(j_compress_ptr c) { return keep_block(c->client_data, sizeof ((jpeg_out *)0)->block); }
static void out_end(j_compress_ptr c) {
    jpeg_out *o = c->client_data;
    keep_block(o, sizeof o->block - o->dest.free_in_buffer);
}

static bool write_picture(jpeg_out *o, const vm_image *im, int quality) {
    if (setjmp(o->trap.back)) return false;
    struct jpeg_compress_struct *c = &o->c;
    jpeg_create_compress(c);
    c->client_data = o;
    o->dest = (struct jpeg_destination_mgr){.next_output_byte = o->block, .free_in_buffer = sizeof o->block,
                                            .init_destination = out_start, .empty_output_buffer = out_full,
                                            .term_destination = out_end};
    c->dest = &o->dest;
    c->image_width = (JDIMENSION)im->w;
    c->image_height = (JDIMENSION)im->h;
    c->input_components = im->c;
    c->in_color_space = im->c == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, quality, TRUE);
    if (im->c == 3 && quality >= 95) c->comp_info[0].h_samp_factor = c->comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(c, TRUE);
    while (c->next_scanline < c->image_height) {
        JSAMPROW row = im->px + (size_t)c->next_scanline * (size_t)im->w * (size_t)im->c;
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
    return true;
}

vm_status image_encode_jpeg(uint8_t **buf, size_t *n, const vm_image *im, int quality, vm_error *e) {
    if (im->c == 4) return vm_fail(e, VM_EINPUT, "JPEG writer: RGBA pictures have no place in JPEG; write PNG or drop the alpha");
    if (quality < 1 || quality > 100) return vm_fail(e, VM_EINPUT, "JPEG writer: quality %d, expected 1..100", quality);
    jpeg_out *o = vm_calloc(1, sizeof *o);
    if (!o) return vm_nomem(e, sizeof *o, "the JPEG writer");
    set_trap(&o->trap);
    o->c.err = &o->trap.err;
    vm_status st = VM_OK;
    if (write_picture(o, im, quality)) *buf = o->buf, *n = (size_t)o->n;
    else st = o->trap.no_memory ? vm_nomem(e, (size_t)o->n, "a JPEG file") : vm_fail(e, VM_EINPUT, "JPEG writer: %s", o->trap.why);
    jpeg_destroy_compress(&o->c);
    if (st) vm_free(o->buf);
    vm_free(o);
    return st;
}
