/* eval_pairs.h - scores of a model that reads a caption and a picture together: what it keeps of a picture is computed once
 * and stays while there is room, every pair is read. */
#ifndef VM_EVAL_PAIRS_H
#define VM_EVAL_PAIRS_H
#include "pipeline/eval_model.h"
#include "pipeline/eval_set.h"

enum { EVAL_PAIRS_KEPT = 64 }; /* pictures; a slice of pictures that is put at once is not longer */

/* A pair whose score is wanted. */
typedef struct {
    int64_t content; /* number of the picture's content */
    int64_t caption; /* number in the set */
    int64_t place;   /* of the score: item->at + n_images * caption + image */
} eval_pair;

typedef struct eval_pairs eval_pairs;
/* template: of captions, or NULL. */
vm_status eval_pairs_new(eval_pairs **out, const eval_set *set, const eval_model *m, const char *template, vm_error *e);
void eval_pairs_free(eval_pairs *p); /* accepts NULL */
bool eval_pairs_keeps(const eval_pairs *p, int64_t content);
/* n pictures of these contents; those that were not asked for longest make room. */
vm_status eval_pairs_put(eval_pairs *p, int64_t n, const vm_image *const *images, const int64_t *contents, vm_error *e);
/* Reads all pairs of a picture that is kept. */
vm_status eval_pairs_read(eval_pairs *p, int64_t content, int64_t n, const eval_pair *pairs, vm_error *e);
float eval_pairs_score(const eval_pairs *p, int64_t place);
/* Is the caption longer than the model takes? After it was read. */
bool eval_pairs_cut(const eval_pairs *p, int64_t caption);
#endif
