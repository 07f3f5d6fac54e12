/* box_draw.h - boxes in a picture: frames with their names, and masks. */
#ifndef VM_BOX_DRAW_H
#define VM_BOX_DRAW_H
#include "io/image.h"

/* A frame, as wide as the picture lets it be seen, and above it (below, where there is no room) a line of text on its colour. number
 * chooses the colour. */
void box_frame(vm_image *im, const float box[4], int64_t number, const char *text);

typedef struct {
    int grow;                  /* pixels that boxes grow on every side */
    int feather;               /* pixels over which white falls to black outside of them */
    int least;                 /* sides are at least so long, around the same middle */
} box_mask_options;
/* Adds a box (x0, y0, x1, y1 in pixels, cut to whole ones towards 0) to a mask of one channel: 255 in it, what is there already or the
 * feather, the larger, outside. Clamped to the picture. */
void box_mask_add(vm_image *mask, const float box[4], const box_mask_options *o);
/* The union of n boxes of a picture of w x h. */
vm_status box_mask(vm_image *out, int w, int h, const float (*box)[4], int64_t n, const box_mask_options *o, vm_error *e);
#endif
