/* preprocess.h - from a picture to the numbers a vision tower reads: the image processor of a model directory.
 *
 * Settings come from preprocessor_config.json, else from image_processor in processor_config.json, else from
 * open_clip_config.json (which comes first in a directory with open_clip weights only). Nothing is guessed: a setting
 * that is needed and absent is an error; only do_* flags and rescale_factor have the defaults of their class.
 * Classes: CLIP, Blip, Siglip, ViT, GroundingDino, Idefics2, LlavaNext (all spellings), and open_clip.
 *
 * Numbers: f = (float)((double)u8 * rescale_factor), then (f - mean) / std in float; open_clip: (float)u8 / 255. */
#ifndef VM_PREPROCESS_H
#define VM_PREPROCESS_H
#include "io/image.h"
#include "io/json.h"
#include "io/resize.h"

typedef enum {
    FIT_NONE,       /* as it is */
    FIT_EXACT,      /* to h x w, whatever the shape */
    FIT_SHORTEST,   /* shorter side = shortest, the other (int)(shortest * long / short) */
    FIT_RATIO,      /* open_clip's: both sides / ratio to h x w, rounded; inside it or around it */
    FIT_BETWEEN,    /* shorter side = shortest unless the longer one then passes longest (detectors) */
    FIT_IDEFICS2,   /* longer side at most longest, then both at least shortest */
    FIT_TILES       /* whole picture to a square, and tiles of the best grid (LLaVA-NeXT) */
} preprocess_fit;

enum { PREPROCESS_MAX_GRIDS = 64, PREPROCESS_MAX_PIECES = 65 };

typedef struct {
    preprocess_fit fit;
    int h, w;              /* FIT_EXACT, FIT_RATIO; side of a tile */
    int shortest, longest; /* FIT_SHORTEST, FIT_BETWEEN, FIT_IDEFICS2 */
    bool inside;           /* FIT_RATIO: by the greater ratio */
    resize_filter filter;
    int crop_h, crop_w;    /* centre crop afterwards; 0 = none */
    bool crop_half_even;   /* open_clip: offset round_half_even(d/2), padding floor(d/2); else floor(d/2), ceil */
    uint8_t fill[3];       /* of the padding */
    bool split;            /* Idefics2: four quarters, then the whole */
    int n_grids;
    int grid[PREPROCESS_MAX_GRIDS][2]; /* LLaVA-NeXT: height, width */
    image_alpha alpha;     /* ALPHA_DROP as the goldens and open_clip; ALPHA_WHITE as recent processors */
    float mean[3], std[3];
    float value[3][256];   /* the number that stands for each byte, per channel */
} vm_preprocess;

/* VM_EINPUT when the directory has no image processor, or one that is not understood. */
vm_status preprocess_load(vm_preprocess *p, const char *dir, vm_error *e);
/* From the JSON of one processor ("image_processor_type" and settings), or of an open_clip_config.json. */
vm_status preprocess_parse(vm_preprocess *p, json_value settings, vm_error *e);
vm_status preprocess_parse_open_clip(vm_preprocess *p, json_value config, vm_error *e);

/* RGB to RGB: resized and cropped. Idefics2 without splitting; LLaVA-NeXT: its base tile. */
vm_status preprocess_fit_image(vm_image *out, const vm_preprocess *p, const vm_image *rgb, vm_error *e);
/* All pieces that one picture becomes (1, or 5 when split, or base + tiles), at most PREPROCESS_MAX_PIECES. On error
 * none is left allocated. */
vm_status preprocess_fit_pieces(vm_image *pieces, int *n, const vm_preprocess *p, const vm_image *rgb, vm_error *e);
/* Height and width that every picture gets; false when they depend on the picture. */
bool preprocess_fixed_size(const vm_preprocess *p, int *h, int *w);
/* LLaVA-NeXT: the grid (height, width) for a picture: most pixels kept, then least waste, then the first. */
void preprocess_best_grid(const vm_preprocess *p, int h, int w, int *grid_h, int *grid_w);

/* Numbers of a fitted picture: planes [3, h, w], or pixels [h, w, 3] whose rows lie row_stride floats apart (0 = 3w). */
void preprocess_chw(float *out, const vm_preprocess *p, const vm_image *fitted);
void preprocess_hwc(float *out, int64_t row_stride, const vm_preprocess *p, const vm_image *fitted);

/* All in one for processors of a fixed size: file to [h, w, 3]. */
vm_status preprocess_file(float *out, const vm_preprocess *p, const char *path, vm_error *e);

#endif
