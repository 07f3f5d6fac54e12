/* train_val.h - a model in training measured on data that it does not learn from.
 *
 * Of n pictures with their captions, whole pictures, in the order of the files (changes are pairs too): the loss of
 * consecutive batches, and for each picture the rank of its caption among all n and the other way round, as open_clip's
 * get_clip_metrics has it: 1 = best; R@k = share of ranks up to k. A tie counts as lost. A benchmark in VisMin's layout
 * gives text, image and group scores, the mean over its categories. */
#ifndef VM_TRAIN_VAL_H
#define VM_TRAIN_VAL_H
#include "models/clip_loss.h"
#include "models/preprocess.h"
#include "pipeline/media.h"
#include "pipeline/train_log.h"

enum { VAL_RECALLS = 3 }; /* R@1, R@5, R@10 */
typedef struct {
    int64_t n, bad; /* pairs; those whose pictures cannot be read */
    double loss;
    double mean_rank[2], median_rank[2], recall[2][VAL_RECALLS]; /* [0] picture to caption, [1] caption to picture */
    bool has_bench;
    double bench[3]; /* text, image, group */
} val_scores;

typedef enum { VAL_BEST_LOSS, VAL_BEST_RECALL, VAL_BEST_GROUP } val_best;

typedef struct {
    const char *const *data; /* training files (samples.h); 0 = none */
    int n_data;
    media_places places;   /* none = beside the files */
    const char *bench;     /* folder in VisMin's layout; NULL = none */
    int64_t limit;         /* pairs; 0 = all */
    int64_t batch;         /* pairs in the loss */
    clip_loss_config loss; /* its kind counts */
    vm_type dtype;
    const char *image_key, *caption_key, *image_name; /* as samples_options */
} train_val_options;

typedef struct train_val train_val;
/* t: a tokenizer that nobody else uses at the time of a measurement. Strings are not copied. */
vm_status train_val_open(train_val **out, const train_val_options *o, towers *m, tok *t, const vm_preprocess *pp,
                         vm_error *e);
void train_val_free(train_val *v); /* accepts NULL */
/* VM_ESTOP after a signal: nothing was measured. */
vm_status train_val_run(train_val *v, val_scores *out, vm_error *e);
void train_val_log(const val_scores *s, train_log *l); /* members of a line */
/* What is best: smaller is better. NaN when that was not measured. */
double train_val_rank(const val_scores *s, val_best by);

/* Ranks of the rows of a among those of b, both (n,E) unit vectors of pairs: rank[i] = 1 + how many other rows of b are
 * at least as near to row i of a as row i of b is. */
vm_status train_val_ranks(vm_backend *be, const float *a, const float *b, int64_t n, int64_t E, int32_t *rank,
                          vm_error *e);
#endif
