/* clip_data.h - where CLIP's training batches come from. A source is a pure function of (seed, step): nothing about the
 * order of data has to be saved, and a resumed run sees what an uninterrupted one would have seen. */
#ifndef VM_CLIP_DATA_H
#define VM_CLIP_DATA_H
#include "io/tokenizer.h"
#include "models/clip_train.h"
#include "models/preprocess.h"
#include "pipeline/command.h"

typedef struct clip_source clip_source;
struct clip_source {
    int64_t n_groups;      /* originals; 0 = unlimited */
    int64_t n_orig, n_twins; /* of each batch */
    uint64_t seed;
    int64_t total_steps;   /* of the run, for curricula */
    const towers *m;       /* the model that is fed */
    tok *t;
    const vm_preprocess *pp;
    /* Fills the pixels and captions (row i: texts[i], 256 bytes each) of the batch of a step. */
    vm_status (*fill)(clip_source *s, int64_t step, float *pixels, char (*texts)[512], vm_error *e);
    void (*free)(clip_source *s);
};

/* The miniature world, rendered on the fly. kind: "plain" (ordinary captions), "pairs" (minimal changes in all four
 * categories by mix[object, attribute, relation, counting], specific captions), "spec" (the same captions, one twin of each pair). plain_share: part of
 * the originals of "pairs" that are ordinary scenes without a twin. curriculum: one object per scene until 6 % of the run, two until 18 %. */
vm_status clip_source_world(clip_source **out, const char *kind, int64_t rows, double plain_share, const double mix[4], bool curriculum, vm_error *e);

/* Writes a model directory without weights for the world: configuration, tokenizer of its words, image processor.
 * ViT of 8x8 patches on 64x64, width 128, 6 layers; text width 128, 3 layers; 1.9 M parameters. */
vm_status clip_world_model(const char *dir, vm_error *e);

/* VisMin's training JSON: originals with their edits (pipeline/clip_json.c). categories NULL = all. edits false: originals only. */
typedef struct {
    const char *path;
    const char *const *images; int n_images;       /* roots to search */
    const char *const *categories; int n_categories;
    bool edits, augment;
} clip_json_options;
vm_status clip_source_json(clip_source **out, const clip_json_options *o, int64_t rows, vm_error *e);

/* Batches: memory for the largest, refilled for each step. */
vm_status clip_batch_new(clip_batch *b, const clip_source *s, vm_error *e);
void clip_batch_free(clip_batch *b);
vm_status clip_batch_fill(clip_batch *b, clip_source *s, int64_t step, vm_error *e);

#endif
