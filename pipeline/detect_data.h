/* detect_data.h - where a detector's training batches come from: pictures with phrases and boxes, of files or of the miniature world.
 *
 * A source is a pure function of (seed, step, slot), and so is what is done to a picture: nothing about the order of data has to be saved. */
#ifndef VM_DETECT_DATA_H
#define VM_DETECT_DATA_H
#include "io/tokenizer.h"
#include "models/grounding_dino.h"
#include "models/preprocess.h"
#include "pipeline/boxes.h"
#include "pipeline/clip_data.h"

/* A picture, the phrases to look for in it, present and absent ones, and the boxes of those that are present. */
typedef struct {
    vm_image rgb;
    char **phrase;             /* each without a period */
    int64_t phrases;
    int32_t *label;            /* (n): numbers of phrases */
    float *box;                /* (n,4): x0, y0, x1, y1 in pixels */
    int64_t n;
    int64_t id;                /* a number of the source */
} detect_sample;
void detect_sample_free(detect_sample *s); /* and zeroes it */
/* A further phrase, a copy; a further box of phrase number `label`. */
vm_status detect_sample_ask(detect_sample *s, const char *phrase, vm_error *e);
vm_status detect_sample_add(detect_sample *s, int32_t label, const float box[4], vm_error *e);

typedef struct detect_source detect_source;
struct detect_source {
    int64_t n;                 /* pictures of an epoch; 0 = unlimited */
    int64_t batch;             /* pictures of a step */
    uint64_t seed;
    char digest[65];           /* SHA-256 of the annotations; "" = made on the fly */
    /* VM_EINPUT: no usable picture for the slot. bad: those passed over. */
    vm_status (*sample)(const detect_source *s, int64_t step, int64_t slot, detect_sample *out, clip_bad_list *bad, vm_error *e);
    void (*free)(detect_source *s);
};
/* Scenes with their questions (scene_ask), of one object in steps below `one`, of two below `two`. */
vm_status detect_source_world(detect_source **out, int64_t one, int64_t two, vm_error *e);
/* Annotations (boxes.h). A picture without a list of absent phrases is asked for `negatives` others, drawn anew in every epoch, and for what
 * it has; crowds are left out. */
vm_status detect_source_files(detect_source **out, const char *const *files, int n, const media_places *places, int64_t negatives, vm_error *e);

/* A model directory without weights for the world: configuration, words, image processor. Pictures of 128 x 128; 1.2 M parameters. */
vm_status detect_world_model(const char *dir, vm_error *e);

/* --- what is done to a picture, and batches (detect_batch.c) --- */
typedef struct {
    double flip;               /* probability; never where a phrase says left or right */
    double crop;               /* probability of a part with sides of at least 60 %, which holds the middle of a box */
    const int *scales;         /* shorter sides, one of them for each batch; NULL = as the image processor has it */
    int n_scales;
} detect_augment;

/* A sample that was flipped and cropped; seeds as of the source. (For tests too.) */
vm_status detect_augment_sample(detect_sample *s, const detect_augment *a, uint64_t seed, uint64_t step, uint64_t slot, vm_error *e);

typedef struct {
    gdino_batch b;             /* what it points to is freed with this */
    gdino_target *target;      /* (B) */
    int64_t *sample;           /* (B): ids */
    clip_bad_list bad;
} detect_batch;
/* Batch number `step` for a model that reads text_len tokens. Texts are the phrases in a random order; those that do not fit are left
 * out, absent ones first. */
vm_status detect_batch_make(detect_batch *out, const detect_source *s, const detect_augment *a, const vm_preprocess *pp, tok *t, int64_t text_len,
                            int64_t step, vm_error *e);
void detect_batch_free(detect_batch *b); /* and zeroes it */
#endif
