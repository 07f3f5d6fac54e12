/* expect.h - published values of models on benchmarks, and whether a result agrees with them. */
#ifndef VM_EXPECT_H
#define VM_EXPECT_H
#include "pipeline/eval_result.h"

typedef struct {
    const char *split, *metric;
    double value; /* in % */
} expected;
typedef struct {
    expected *row;
    int64_t n, cap;
    keymap text;
} expectation;

/* What is published for a model (a key of expect_list) on a data set; or a table with the columns split, metric, value
 * (in %), and perhaps dataset, of which only rows of this data set count. VM_EUSAGE: neither; VM_EINPUT: the table. */
vm_status expect_open(expectation *x, const char *key_or_file, const char *dataset, vm_error *e);
void expect_free(expectation *x);
/* The value of a result in %: a metric of a split, "mean" (over splits) or "all"; NaN when the result has none. */
double expect_value(const eval_result *r, const char *split, const char *metric, vm_error *e);
/* The keys: "clip-b32  vismin  CLIP ViT-B/32, arXiv 2407.16772", one after the other; NULL at the end. */
const char *expect_list(int i, const char **dataset, const char **what);
#endif
