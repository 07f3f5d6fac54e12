/* codec.h - between image.c and the decoders of the picture formats; nobody else includes it.
 *
 * A decoder gets the bytes of a file, checks the size it declares with codec_alloc before it allocates anything for the
 * pixels, and returns RGB, or RGBA when transparency is wanted and there. On failure it leaves nothing allocated. */
#ifndef VM_CODEC_H
#define VM_CODEC_H
#include "io/image.h"

typedef struct {
    const uint8_t *data;
    size_t n;
    const char *name; /* for messages */
    bool want_alpha, tolerant;
    int max_side;
    int64_t max_pixels;
    int orientation; /* result: EXIF value 1..8, 0 = none */
} image_source;

vm_status png_decode(vm_image *out, image_source *s, vm_error *e);
vm_status jpeg_decode(vm_image *out, image_source *s, vm_error *e);
vm_status bmp_decode(vm_image *out, image_source *s, vm_error *e);
vm_status gif_decode(vm_image *out, image_source *s, vm_error *e);
vm_status webp_decode(vm_image *out, image_source *s, vm_error *e);
vm_status npy_decode(vm_image *out, image_source *s, vm_error *e);

/* Checks w x h against the limits of s and against `pixels_at_most`, the most that the bytes of the file can stand for
 * (2^22 are always allowed; no such check when truncated files are tolerated), then allocates *out. */
vm_status codec_alloc(vm_image *out, const image_source *s, const char *format, int64_t w, int64_t h, int c,
                      double pixels_at_most, vm_error *e);
/* "NAME: FORMAT: ...", VM_EINPUT */
vm_status codec_fail(const image_source *s, const char *format, vm_error *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
vm_status codec_truncated(const image_source *s, const char *format, vm_error *e);

/* Orientation 1..8 of an EXIF block (TIFF header, first directory) or of an XMP text; 0 when absent or malformed. */
int exif_orientation(const uint8_t *tiff, size_t n);
int xmp_orientation(const uint8_t *text, size_t n);

static inline uint32_t be16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static inline uint32_t be32(const uint8_t *p) { return be16(p) << 16 | be16(p + 2); }
static inline uint32_t le16(const uint8_t *p) { return (uint32_t)p[1] << 8 | p[0]; }
static inline uint32_t le32(const uint8_t *p) { return le16(p + 2) << 16 | le16(p); }

#endif
