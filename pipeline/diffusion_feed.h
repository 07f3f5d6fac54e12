/* diffusion_feed.h - batches of pictures, texts and masks for the training of a diffusion model: a function of (seed, step). */
#ifndef VM_DIFFUSION_FEED_H
#define VM_DIFFUSION_FEED_H
#include "io/samples.h"
#include "kernels/philox.h"
#include "models/diffusion_train.h"
#include "pipeline/command.h"
#include "pipeline/media.h"

enum { DIFFUSION_TEXT = 400 }; /* longest text of the world's with its NUL */
enum { DIFFUSION_POOL = 4096 };
enum { DIFFUSION_LOOK = 256 }; /* pictures of the world that a validation looks at */
typedef struct {
    const samples *s;  /* NULL: scenes of the miniature world, made on the fly (diffusion_world.c) */
    const media_places *places;
    bool held_out;     /* world: scenes of its validation set, DIFFUSION_LOOK of them; else those of training, 2^40 */
    double crowded;    /* world: part of the scenes that are full of objects */
    bool objects;      /* world: focus is filled */
    int64_t reuse;     /* world: steps that a sample comes up in, among DIFFUSION_POOL others; it has a key for the trainer's memory */
    double holes;      /* part of the pictures that have gray boxes, as an inpainting model's pictures */
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
    char (*text)[DIFFUSION_TEXT]; /* of the world's samples */
    vm_image *image, *mask, *focus; /* focus: white where objects are */
    int64_t *chosen;   /* numbers of the samples, from 0 */
    int64_t bad;       /* pictures that could not be read, so far */
} diffusion_feed;
vm_status diffusion_feed_new(diffusion_feed *f, vm_error *e); /* after the first fields are set */
/* The same with the files of an option of the command (--data, --val), which go to *s; or with the world when it says so. */
vm_status diffusion_feed_open(diffusion_feed *f, samples **s, const vm_args *a, const char *option, vm_error *e);
/* Of the files; "" for the world. */
void diffusion_feed_digest(const diffusion_feed *f, char digest[65]);
/* --epochs instead of *steps, where it is given; the world has no end. command: for messages. */
vm_status diffusion_feed_steps(const diffusion_feed *f, const vm_args *a, const char *command, int64_t *steps, vm_error *e);
void diffusion_feed_free(diffusion_feed *f);
/* Batch `step` into sample[batch]. A picture that cannot be read is warned of, and the next one of the epoch takes its place. */
vm_status diffusion_feed_batch(diffusion_feed *f, int64_t step, vm_error *e);
/* The same for pictures first.. in the order of the files, for validation; the number of them. */
int64_t diffusion_feed_rows(diffusion_feed *f, int64_t first, vm_error *e);
/* What diffusion_feed_open and eval_places read. */
#define DIFFUSION_DATA_OPTS                                                                                                                \
    { "data", OPT_LIST, NULL, "FILE",                                                                                                      \
      "pictures with captions: VisMin or COCO JSON, JSON Lines, tables, WebDataset (repeatable); or world, scenes made on the fly", 0, 0 }, \
        EVAL_PLACE_OPTS, { "image-key", OPT_STR, NULL, "NAME", "member or column of the picture's name", 0, 0 },                            \
        { "caption-key", OPT_STR, NULL, "NAME", "member or column of the caption", 0, 0 }

/* --- diffusion_world.c --- */
/* Sample k from scene i of the world: the picture, and for an inpainting model what is to be repainted with the text that says what is there. */
vm_status diffusion_world_fill(diffusion_feed *f, int64_t k, int64_t i, vm_rng *r, char text[DIFFUSION_TEXT], vm_error *e);
#endif
