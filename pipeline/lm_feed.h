/* lm_feed.h - the texts of lm_data.h as steps of a training.
 *
 * The order of an epoch is a permutation of (seed, epoch), or with in_order that of the files; step n has the texts
 * n * texts.. of it. They are sorted by length and dealt to `pieces` pieces, side by side, every piece as long as its
 * longest text; or with `packs` one behind the other into rows of about 1024 tokens or the longest text, the longest
 * text first, each into the row that has the fewest tokens yet. Lengths are rounded up to one of a few sizes. All of
 * it is a function of data, options and step. */
#ifndef VM_LM_FEED_H
#define VM_LM_FEED_H
#include "pipeline/lm_data.h"

typedef struct {
    const lm_data *d;
    int64_t texts, pieces; /* of a step; a piece has texts / pieces */
    uint64_t seed;
    bool in_order, packs;
    int64_t *chosen;       /* texts of the step, longest first; -1 = none */
    int64_t tokens;        /* of these texts */
    llm_piece *piece;
    int64_t width;         /* rows of a piece */
    int64_t *row, *at;     /* where each chosen text stands: row, counted over all pieces, and place */
    int64_t *filled;       /* tokens in each row */
    int32_t *id, *target, *first; /* room for all pieces */
    int64_t room;
} lm_feed;
vm_status lm_feed_new(lm_feed *f, vm_error *e); /* the fields up to packs are set */
vm_status lm_feed_batch(lm_feed *f, int64_t step, vm_error *e);
/* Texts first.. as one step, without a permutation; there are none behind the last text. */
vm_status lm_feed_rows(lm_feed *f, int64_t first, vm_error *e);
/* Over `steps` steps, an epoch at most: the sizes of the largest piece, and the share of places that hold a token. */
double lm_feed_fill(lm_feed *f, int64_t steps, int64_t *B, int64_t *T);
void lm_feed_free(lm_feed *f);
#endif
