/* clip_data.h - where CLIP's training batches come from. A source is a pure function of (seed, step, slot): nothing
 * about the order of data has to be saved, a resumed run sees what an uninterrupted one would have seen, and any number
 * of threads may fill the slots of a batch in any order (clip_feed.h). */
#ifndef VM_CLIP_DATA_H
#define VM_CLIP_DATA_H
#include "io/samples.h"
#include "io/tokenizer.h"
#include "models/clip_train.h"
#include "models/preprocess.h"
#include "pipeline/media.h"

enum { CLIP_CHANGES = 16 }; /* of one original in a batch, at most */

/* A sample that could not be used; another one took its place. */
typedef struct {
    int64_t sample; /* a number of the source, the same in all epochs */
    int64_t step;
    char *what; /* which picture, and why; vm_free */
} clip_bad;
typedef struct {
    clip_bad *v;
    int64_t n, cap;
} clip_bad_list;
void clip_bad_free(clip_bad_list *l);

/* One group of a batch, as the source fills it: side 0 is the original, side k its k-th change. */
typedef struct {
    float *pixels[1 + CLIP_CHANGES]; /* (S,S,3) each; NULL: a change without a picture */
    char *text[1 + CLIP_CHANGES];    /* set by the source; vm_free */
    float valid[1 + CLIP_CHANGES];   /* 1; set to 0 where a change only fills its place */
    int64_t sample;                  /* what it is: a number of the source */
    clip_bad_list bad;               /* samples passed over on the way */
} clip_slot;

typedef struct clip_source clip_source;
struct clip_source {
    int64_t n_groups;        /* of an epoch; 0 = unlimited */
    int64_t n_orig, n_twins; /* of each batch, over all processes */
    int rank, ranks;         /* this process makes its share of every batch (models/clip_ranks.h); ranks 0 = 1 */
    int64_t K;               /* changes of each of the first n_twins / K originals; 0 = 1 */
    bool text_only;          /* the changes have no pictures */
    bool fills;              /* some changes may only fill their place */
    uint64_t seed;
    int64_t total_steps; /* of the run, for curricula */
    const towers *m;     /* the model that is fed */
    tok *t;              /* used by one thread at a time */
    const vm_preprocess *pp;
    /* VM_EINPUT when no usable sample is found for the slot; other errors are the machine's. */
    vm_status (*fill)(const clip_source *s, int64_t step, int64_t slot, clip_slot *out, vm_error *e);
    void (*free)(clip_source *s);
    /* What a sample is called in messages; NULL = samples have no names. */
    const char *(*name)(const clip_source *s, int64_t sample);
    char digest[65]; /* SHA-256 of all names and captions; "" = made on the fly */
};
/* Steps until every group was seen once (those of an incomplete last batch are left out); 0 = never. */
static inline int64_t clip_source_epoch(const clip_source *s) { return s->n_groups / s->n_orig; }

/* --- one of several processes: equal shares of the originals that have changes, and of those that have none --- */
static inline int64_t clip_source_ranks(const clip_source *s) { return s->ranks > 1 ? s->ranks : 1; }
static inline int64_t clip_share_orig(const clip_source *s) { return s->n_orig / clip_source_ranks(s); }   /* originals */
static inline int64_t clip_share_twins(const clip_source *s) { return s->n_twins / clip_source_ranks(s); } /* changes */
/* The slot of the whole batch that is slot i of this process. */
int64_t clip_share_slot(const clip_source *s, int64_t i);
/* Gives the source its share; VM_EUSAGE when the batch cannot be divided evenly. */
vm_status clip_source_share(clip_source *s, int rank, int ranks, vm_error *e);

/* The miniature world, rendered on the fly. kind: "plain" (ordinary captions), "pairs" (minimal changes in all four
 * categories by mix[object, attribute, relation, counting], specific captions), "spec" (the same captions, one twin of
 * each pair). plain_share: part of the originals of "pairs" that are ordinary scenes without a twin. curriculum: one
 * object per scene until 6 % of the run, two until 18 %. */
vm_status clip_source_world(clip_source **out, const char *kind, int64_t rows, double plain_share, const double mix[4],
                            bool curriculum, vm_error *e);

/* Writes a model directory without weights for the world: configuration, tokenizer of its words, image processor.
 * ViT of 8x8 patches on 64x64, width 128, 6 layers; text width 128, 3 layers; 1.9 M parameters. */
vm_status clip_world_model(const char *dir, vm_error *e);

/* Training files (io/samples.h). A batch of `rows` pictures is made of
 * CLIP_GROUPED      whole groups: rows / (1 + K) originals, each with K of its changes, drawn anew in every epoch; the
 * order of groups is a permutation of (seed, epoch), that of archives and then of the groups in each
 *                     where they stand in archives. Originals without a change are left out.
 * CLIP_ADJACENT     rows one after the other: originals in an order of the seed, each followed by all its changes, the
 *                     same in every epoch. A group may stand across the border of two batches.
 * CLIP_SCATTER      rows in a permutation of (seed, epoch): as the fork of open_clip on several GPUs, where a pair
 * meets
 *                     by chance only.
 * The last two have pairs only (n_twins = 0). A group with an unreadable picture is passed over; in its place comes the
 * one that stands at the same place of the next batch of that epoch, which cannot be in the batch already. */
typedef enum { CLIP_GROUPED, CLIP_ADJACENT, CLIP_SCATTER } clip_pairing;
typedef struct {
    clip_pairing pairing;
    media_places places; /* of the pictures; copied */
    bool originals_only; /* grouped: no changes */
    bool sole;           /* one change of each original, drawn once for the whole run */
    bool augment;        /* random crops, else the whole picture as the processor has it */
    bool tolerant;       /* a truncated picture counts with what there is of it */
    int64_t K;           /* grouped: changes of each original in a batch; 0 = 1, of CE-CLIP's records all four */
    int64_t limit;       /* only so many groups, drawn by the seed; 0 = all */
    int64_t most_in_row; /* unreadable samples one after the other that end the training; 0 = 100 */
    uint64_t seed;
} clip_files_options;
/* Takes over s, also on error. */
vm_status clip_source_files(clip_source **out, samples *s, const clip_files_options *o, int64_t rows, vm_error *e);
/* A picture named in training files: by the places, else a full path as it stands (vm_free). NULL and e: VM_EINPUT. */
char *clip_files_find(const media_places *p, const char *name, vm_error *e);
/* The picture of a side, from a file or an archive. tolerant: a truncated one with what there is of it. */
vm_status clip_files_read(vm_image *out, const samples *s, const sample_side *x, const media_places *p, bool tolerant,
                          vm_error *e);

/* Batches: memory for the largest, refilled for each step. Captions and flags of the slots go into the batch by
 * clip_batch_finish, which reads their tokens. */
vm_status clip_batch_new(clip_batch *b, const clip_source *s, vm_error *e);
void clip_batch_free(clip_batch *b);
void clip_batch_slot(clip_slot *slot, const clip_batch *b, const clip_source *s, int64_t i);     /* where slot i of the share goes */
vm_status clip_batch_finish(clip_batch *b, const clip_source *s, clip_slot *slots, vm_error *e); /* frees their texts */
/* All of it, one slot after the other. bad NULL: those are dropped. */
vm_status clip_batch_fill(clip_batch *b, const clip_source *s, int64_t step, clip_bad_list *bad, vm_error *e);

#endif
