/* resize.h - pictures scaled as Pillow does, bit for bit; crops, pasting; grids of floats scaled as torch does. */
#ifndef VM_RESIZE_H
#define VM_RESIZE_H
#include "io/image.h"

typedef enum { RESIZE_BILINEAR, RESIZE_BICUBIC, RESIZE_LANCZOS, RESIZE_BOX } resize_filter;

/* Antialiased scaling of the whole picture to w x h (8 bits, two passes, rounded to 8 bits between them).
 * *out may not be im. Alpha is scaled like a colour (no premultiplication). */
vm_status image_resize(vm_image *out, const vm_image *im, int w, int h, resize_filter f, vm_error *e);

/* Pillow before 13 always made the horizontal pass first; 13 makes the vertical one first when the height shrinks and
 * h_in - h_out > 2 (w_in - w_out). The two differ by a few levels. */
typedef enum { RESIZE_PILLOW_13, RESIZE_HORIZONTAL_FIRST } resize_order;
vm_status image_resize_order(vm_image *out, const vm_image *im, int w, int h, resize_filter f, resize_order order,
                             vm_error *e);

/* The w x h window of im whose top left corner is at (x, y); what lies outside im is filled (c bytes; NULL = zeros). */
vm_status image_crop(vm_image *out, const vm_image *im, int x, int y, int w, int h, const uint8_t *fill, vm_error *e);
/* Replaces im by what of the box (x, y, w, h) lies inside it. *inside false: nothing does, and all of it stays. */
vm_status image_crop_to(vm_image *im, const int32_t box[4], bool *inside, vm_error *e);
/* Copies im over to, with its top left corner at (x, y); what falls outside is dropped. Equal channels. */
void image_paste(vm_image *to, const vm_image *im, int x, int y);

/* Bicubic scaling of a grid of c-vectors, f32 [h_in, w_in, c] -> [h_out, w_out, c], as torch.nn.functional.interpolate
 * (mode="bicubic", align_corners=False): a = -0.75 and clamped borders, or with antialias a = -0.5 and weights
 * normalised inside the grid. For position tables of vision towers. */
vm_status resize_grid_f32(float *out, int h_out, int w_out, const float *in, int h_in, int w_in, int64_t c, bool antialias,
                          vm_error *e);

#endif
