/* train_data.h - from the options of `train clip` to a source of batches; what is wrong with the data, before and
 * during a training. */
#ifndef VM_TRAIN_DATA_H
#define VM_TRAIN_DATA_H
#include "pipeline/clip_data.h"
#include "pipeline/command.h"

/* --data, --images, --map and what goes with them. With --check-data everything but the contents of the pictures is
 * looked at first, and listed on stdout when there is no --out: *out is NULL then and the result VM_OK, VM_EPARTIAL
 * (some records cannot be used) or VM_EINPUT (more than --max-bad of them). */
vm_status train_data_open(clip_source **out, const vm_args *a, vm_error *e);
/* OUT/bad_samples.jsonl (journal.h): every sample that was passed over, once: {"sample":7,"step":12,"what":"..."}. */
typedef struct train_bad train_bad;
/* most: share of all samples that may be bad; n_samples 0 = no limit. */
vm_status train_bad_open(train_bad **out, const char *dir, int rank, int64_t n_samples, double most, vm_error *e);
void train_bad_close(train_bad *b); /* accepts NULL */
/* Adds those that are new, and frees the list. VM_EINPUT when there are too many. */
vm_status train_bad_add(train_bad *b, clip_bad_list *l, vm_error *e);
int64_t train_bad_count(const train_bad *b);
#endif
