/* edit_mask.h - what of a picture is to be repainted, the canvas that it is painted on, and how the result goes back into the picture.
 *
 * A mask is a picture of one channel and the picture's size, 255 where it is repainted and 0 elsewhere. Beyond the feather of the mask a composite
 * is the picture itself, bit for bit. */
#ifndef VM_EDIT_MASK_H
#define VM_EDIT_MASK_H
#include "io/image.h"

/* Boxes x0 y0 x1 y1 in pixels (n,4), cut to whole pixels and the picture, each at least `least` pixels a side and grown by `grow` around its first
 * place; their union. */
vm_status edit_mask_boxes(vm_image *out, int w, int h, const float *boxes, int64_t n, int least, int grow, vm_error *e);
/* Any picture as a mask of w x h: gray, half and above is white; of another size it is scaled. */
vm_status edit_mask_picture(vm_image *out, const vm_image *im, int w, int h, vm_error *e);
vm_status edit_mask_grow(vm_image *mask, int px, vm_error *e); /* by squares */
vm_status edit_mask_feather(vm_image *mask, int px, vm_error *e); /* falls from white to black over px pixels around it (in squares) */
int64_t edit_mask_count(const vm_image *mask);                 /* pixels to repaint */

typedef enum {
    EDIT_BUCKET,  /* sides near the picture's shape, of about size^2 pixels: little distortion, nothing lost */
    EDIT_PAD,     /* the whole picture in a square, borders repeated around it */
    EDIT_STRETCH, /* the whole picture as a square */
} edit_fit;
/* A window of the picture and the canvas that it becomes: of cw x ch, in which the window takes w x h pixels at x, y. */
typedef struct {
    int window[4];  /* x, y, width, height in the picture */
    int cw, ch, x, y, w, h;
} edit_canvas;
/* size: side of the square that the model knows; unit: sides are multiples of it. only_masked: pixels around the mask that the window keeps, of the
 * canvas's shape where the picture has room; below 0 = the whole picture. */
edit_canvas edit_canvas_of(const vm_image *im, const vm_image *mask, edit_fit fit, int size, int unit, int only_masked);
/* The window of a picture or mask on its canvas. */
vm_status edit_canvas_in(vm_image *out, const edit_canvas *c, const vm_image *im, vm_error *e);
/* Back: a canvas as a picture of im's size; im beside the window. */
vm_status edit_canvas_out(vm_image *out, const edit_canvas *c, const vm_image *canvas, const vm_image *im, vm_error *e);

/* What changed outside the mask and its feather. */
typedef struct {
    int64_t outside, changed; /* pixels; those that differ in any channel */
    int most;                 /* largest difference of a channel */
    double mean;              /* mean difference of all channels outside */
} edit_change;
/* painted over im where the mask is, fading into im over `feather` pixels around it (in squares). */
vm_status edit_composite(vm_image *out, const vm_image *im, const vm_image *painted, const vm_image *mask, int feather, vm_error *e);
vm_status edit_changes(edit_change *c, const vm_image *im, const vm_image *edited, const vm_image *mask, int feather, vm_error *e);
#endif
