/* clip_feed.h - batches made ahead of the trainer by threads of their own.
 *
 * A ring of batches, the next ones of the run; each thread takes the next slot of the earliest batch that is not
 * complete, so that all of them work on what is needed first. What stands in a batch is a function of its step and
 * slots alone, so neither the number of threads nor their order can be seen in it. Without threads a batch is made when
 * it is asked for. */
#ifndef VM_CLIP_FEED_H
#define VM_CLIP_FEED_H
#include "pipeline/clip_data.h"

typedef struct clip_feed clip_feed;

/* Batches of steps first, first + 1, ... below `end`. workers: threads; 0 = none. Fewer are taken with a warning when
 * the system grants no more. The source and its tokenizer belong to the feed until it is freed. */
vm_status clip_feed_open(clip_feed **out, const clip_source *s, int64_t first, int64_t end, int workers, vm_error *e);
void clip_feed_free(clip_feed *f); /* waits for the slots that are being filled; accepts NULL */

/* The batch of the next step, valid until the next call; *bad gets its samples that were passed over (clip_bad_free).
 * *waited: seconds that it was not ready. Errors as clip_source.fill: the one of the lowest slot. */
vm_status clip_feed_next(clip_feed *f, const clip_batch **b, clip_bad_list *bad, double *waited, vm_error *e);

/* The sample of slot i of the batch that is in use. */
int64_t clip_feed_sample(const clip_feed *f, int64_t i);

/* Batches of so many bytes that are held at a time. */
int clip_feed_batches(int workers, double bytes);
/* Threads for a machine with so many processors. */
int clip_feed_workers(int processors);
#endif
