/* diffusion_feed.h - batches of pictures, texts and masks for the training of a diffusion model: a function of (seed, step). */
#ifndef VM_DIFFUSION_FEED_H
#define VM_DIFFUSION_FEED_H
#include "io/samples.h"
#include "models/diffusion_train.h"
#include "pipeline/media.h"

typedef struct {
    const samples *s;
    const media_places *places;
    int size;          /* pictures are scaled to cover a square of this side, and cut around the middle */
    int64_t batch;
    double drop_text;  /* part of the texts that are dropped */
    double flip;       /* part of the pictures that are mirrored */
    double whole_mask; /* part of the masks that are the whole picture; the others are one to three boxes */
    bool masks;
    uint64_t seed;
    /* the feed's own */
    int64_t *side, n;  /* of all pictures with a text */
    diffusion_sample *sample;
    vm_image *image, *mask;
    int64_t *chosen;   /* numbers of the samples, from 0 */
    int64_t bad;       /* pictures that could not be read, so far */
} diffusion_feed;
vm_status diffusion_feed_new(diffusion_feed *f, vm_error *e); /* after the first fields are set */
void diffusion_feed_free(diffusion_feed *f);
/* Batch `step` into sample[batch]. A picture that cannot be read is warned of, and the next one of the epoch takes its place. */
vm_status diffusion_feed_batch(diffusion_feed *f, int64_t step, vm_error *e);
/* The same for pictures first.. in the order of the files, for validation; the number of them. */
int64_t diffusion_feed_rows(diffusion_feed *f, int64_t first, vm_error *e);
#endif
