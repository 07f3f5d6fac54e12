/* box_draw.h - boxes in a picture: frames with their names. */
#ifndef VM_BOX_DRAW_H
#define VM_BOX_DRAW_H
#include "io/image.h"

/* A frame, as wide as the picture lets it be seen, and above it (below, where there is no room) a line of text on its colour. number
 * chooses the colour. */
void box_frame(vm_image *im, const float box[4], int64_t number, const char *text);
#endif
