/* npy.c - a picture that numpy saved: an array of bytes, H x W x 3 (RGB), H x W x 4 (RGBA), H x W x 1 or H x W (gray).
 *
 * NumPy's format 1.0 to 3.0 (numpy.lib.format): "\x93NUMPY", version (2 bytes), length of the header (2 bytes, 4 from
 * 2.0 on, little endian), the header as the text of a Python dictionary
 *     {'descr': '|u1', 'fortran_order': False, 'shape': (480, 640, 3), }
 * and the numbers, the last axis fastest. */
#include <ctype.h>
#include <string.h>

#include "io/codec.h"

static vm_status fail_header(const image_source *s, const char *what, vm_error *e) {
    return codec_fail(s, "NPY", e, "%s; expected an array of bytes ('|u1', C order) of H x W x 3 numbers", what);
}

/* What stands behind "'key':" in the header; NULL when the key is not there. */
static const char *value_of(const char *header, const char *key) {
    const char *p = strstr(header, key);
    if (!p) return NULL;
    p += strlen(key);
    while (*p == ' ' || *p == ':') p++;
    return p;
}

/* "(480, 640, 3)" into d; how many numbers, -1 when it is no such text. */
static int read_shape(const char *p, int64_t d[3]) {
    int n = 0;
    if (!p || *p++ != '(') return -1;
    for (;;) {
        while (*p == ' ') p++;
        if (*p == ')') return n;
        if (n == 3 || !isdigit((unsigned char)*p)) return -1;
        for (d[n] = 0; isdigit((unsigned char)*p); p++)
            if ((d[n] = d[n] * 10 + (*p - '0')) > INT32_MAX) return -1;
        n++;
        while (*p == ' ') p++;
        if (*p == ',') p++;
        else if (*p != ')') return -1;
    }
}

vm_status npy_decode(vm_image *out, image_source *s, vm_error *e) {
    size_t wide = s->n > 6 && s->data[6] > 1 ? 4 : 2, at = 8 + wide, len;
    char header[1024];
    int64_t d[3] = { 0, 0, 1 };
    if (s->n < at) return codec_truncated(s, "NPY", e);
    len = wide == 2 ? le16(s->data + 8) : le32(s->data + 8);
    if (len >= sizeof header) return fail_header(s, "its header is longer than 1023 bytes", e);
    if (s->n - at < len) return codec_truncated(s, "NPY", e);
    memcpy(header, s->data + at, len);
    header[len] = 0, at += len;
    const char *type = value_of(header, "'descr'"), *order = value_of(header, "'fortran_order'");
    int axes = read_shape(value_of(header, "'shape'"), d);
    if (!type || !order || axes < 0) return fail_header(s, "its header lacks descr, fortran_order or shape", e);
    if (strncmp(type, "'|u1'", 5) || strncmp(order, "False", 5)) return fail_header(s, "it holds other numbers", e);
    if (axes < 2 || (d[2] != 1 && d[2] != 3 && d[2] != 4)) return fail_header(s, "it has another shape", e);
    const int c = (int)d[2], to_c = c == 4 && s->want_alpha ? 4 : 3;
    const size_t have = s->n - at;
    vm_status st = codec_alloc(out, s, "NPY", d[1], d[0], to_c, (double)have / c, e);
    if (st) return st;
    const size_t pixels = (size_t)d[0] * (size_t)d[1], whole = VM_MIN(pixels, have / (size_t)c);
    if (whole < pixels && !s->tolerant) {
        image_free(out);
        return codec_truncated(s, "NPY", e);
    }
    const uint8_t *from = s->data + at;
    for (size_t i = 0; i < whole; i++, from += c)
        for (int k = 0; k < to_c; k++) out->px[i * (size_t)to_c + (size_t)k] = from[c == 1 ? 0 : k];
    memset(out->px + whole * (size_t)to_c, 0, (pixels - whole) * (size_t)to_c);
    out->partial = whole < pixels;
    return VM_OK;
}
