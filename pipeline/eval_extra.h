/* eval_extra.h - means that several benchmarks report beside their accuracy. */
#ifndef VM_EVAL_EXTRA_H
#define VM_EVAL_EXTRA_H
#include "pipeline/eval_result.h"

/* Adds the mean accuracy over those of the splits (names separated by blanks) that have items, under the scope
 * "average"; nothing when none has. No interval. */
vm_status extra_mean_of_splits(const eval_result *r, eval_extras *out, const char *name, const char *splits,
                               vm_error *e);
/* Adds the mean accuracy over the tags that have at least `least` items, and how many these are, under the scope
 * "overall"; nothing when there are none. */
vm_status extra_mean_of_tags(const eval_result *r, eval_extras *out, const char *name, int64_t least, vm_error *e);
#endif
