/* image.h - pictures: PNG, JPEG, BMP, GIF and lossless WebP files to 8-bit pixels as Pillow 13 decodes them, arrays of
 * bytes in .npy files (video frames); PNG and JPEG files from pixels.
 *
 * The first bytes of a file decide its format, never its name. Pixels are rows of w*c bytes from the top left.
 *   gray 1, 2, 4 bits  x255, x85, x17; gray 16 bits clips to 255 (no shift); RGB and alpha of 16 bits: high byte
 *   CMYK               stored inverted as Adobe does; R = (255-K) - round(C*(255-K)/255)
 *   gamma, ICC, sBIT   ignored; animations: first frame
 * Limits: 16384 pixels per side, 2^28 pixels, and no more pixels than the file's bytes can stand for. */
#ifndef VM_IMAGE_H
#define VM_IMAGE_H
#include "kernels/base.h"

typedef struct {
    uint8_t *px;  /* h rows of w pixels of c bytes; owned (image_free) */
    int w, h, c;  /* c: 1 gray, 3 RGB, 4 RGBA */
    bool partial; /* the file was truncated: what follows the decoded part is zero (image_options.tolerant) */
} vm_image;

typedef enum {
    ALPHA_DROP,  /* RGB, transparency ignored (the default) */
    ALPHA_WHITE, /* RGB over white; single-colour transparency counts */
    ALPHA_KEEP,  /* RGBA, 255 where the file has no transparency */
    ALPHA_BLACK  /* RGB over black */
} image_alpha;
extern const char *const image_alpha_name[4]; /* "drop", "white", "keep", "black" */

/* All zero = the defaults; a NULL pointer means the same. */
typedef struct {
    image_alpha alpha;
    bool stored_orientation; /* do not apply the EXIF orientation */
    bool tolerant;           /* keep the decoded part of a truncated file instead of an error */
    int max_side;            /* 0 = 16384 */
    int64_t max_pixels;      /* 0 = 2^28 */
} image_options;

/* Decode a file, or n bytes in memory that messages call `name`. *out is set on VM_OK only. VM_EINPUT for a bad or
 * unsupported picture, VM_EIO when the file cannot be read. */
vm_status image_read(vm_image *out, const char *path, const image_options *o, vm_error *e);
vm_status image_decode(vm_image *out, const void *data, size_t n, const char *name, const image_options *o, vm_error *e);

/* New picture, not cleared; sides 1..65535, c 1, 3 or 4. */
vm_status image_new(vm_image *out, int w, int h, int c, vm_error *e);
void image_free(vm_image *im); /* and zeroes it */

/* Single channel by ITU-R 601: (19595 R + 38470 G + 7471 B + 32768) >> 16, as Pillow's convert("L"). */
vm_status image_to_gray(vm_image *out, const vm_image *im, vm_error *e);

/* A text of a PNG file: Latin-1 keyword (1..79 characters) and UTF-8. Plain ASCII is written as tEXt, all else as iTXt. */
typedef struct {
    const char *key, *text;
} image_text;
/* The text with this keyword of a PNG file (vm_free); *text NULL when it has none. Compressed texts are passed over. VM_EINPUT: no PNG file,
 * or a chunk is damaged. */
vm_status image_png_text(char **text, const char *path, const char *key, vm_error *e);

/* Encode to memory (*buf is owned by the caller, vm_free). Same pixels and library, same bytes. quality 1..100;
 * chroma is halved both ways (4:2:0) below quality 95 and kept (4:4:4) from 95 on. JPEG takes c 1 and 3. */
vm_status image_encode_png(uint8_t **buf, size_t *n, const vm_image *im, const image_text *text, int n_text, vm_error *e);
vm_status image_encode_jpeg(uint8_t **buf, size_t *n, const vm_image *im, int quality, vm_error *e);

/* Encode and put the file in place whole or not at all. */
vm_status image_write_png(const char *path, const vm_image *im, const image_text *text, int n_text, vm_error *e);
vm_status image_write_jpeg(const char *path, const vm_image *im, int quality, vm_error *e);

#endif
