/* eval_vectors.h - the pictures and captions of a set as a model sees them: each different content is read and embedded
 * once; a model that reads captions and pictures together (eval_pairs.h) gives a score per pair instead. */
#ifndef VM_EVAL_VECTORS_H
#define VM_EVAL_VECTORS_H
#include "pipeline/eval_run.h"

typedef struct eval_vectors eval_vectors;
/* template: of captions, or NULL. */
vm_status eval_vectors_new(eval_vectors **out, const eval_set *set, const eval_model *m, const eval_options *o,
                           const char *template, vm_error *e);
void eval_vectors_free(eval_vectors *v); /* accepts NULL */

/* *sum: 32 hexadecimal digits of the SHA-256 of the file of picture i of the set, and its box when it has one; NULL when
 * the file cannot be read. */
vm_status eval_vectors_sum(eval_vectors *v, int64_t i, const char **sum, vm_error *e);
/* Reads and embeds what the n items need and is not there yet, or takes it from the cache of the options; or reads pairs. A picture that
 * cannot be used is no error. */
vm_status eval_vectors_fill(eval_vectors *v, int64_t n, const eval_item *const *items, vm_error *e);
/* The same for pictures and captions by their numbers in the set, of models that have vectors. */
vm_status eval_vectors_need(eval_vectors *v, int64_t n_images, const int32_t *image, int64_t n_captions,
                            const int32_t *caption, vm_error *e);
/* Everything in the set, with a progress of that name. VM_ESTOP after a signal. */
vm_status eval_vectors_all(eval_vectors *v, const char *what, vm_error *e);
/* What was needed: unit vectors of eval_model_dim values, valid until more is needed; a picture with a fault has NULL. */
const float *eval_vectors_image(const eval_vectors *v, int64_t i);
const float *eval_vectors_caption(const eval_vectors *v, int64_t i);
/* The number of the content of picture i: files of equal bytes have one number. After eval_vectors_need. */
int64_t eval_vectors_content(const eval_vectors *v, int64_t i);
/* The table of the vectors of all contents; [*contents][dim]. */
const float *eval_vectors_contents(const eval_vectors *v, int64_t *contents);
/* Why picture i cannot be used, or NULL. */
const char *eval_vectors_fault(const eval_vectors *v, int64_t i);
/* Cosine of a caption and a picture of the item; f64 sum, one rounding. Models that read pairs, or have no vectors: their
 * score. After eval_vectors_fill. */
float eval_vectors_score(const eval_vectors *v, const eval_item *x, int caption, int image);
/* The caption in the place of {} in the template (NULL: as it is); vm_free. */
char *eval_caption_text(const char *template, const char *caption);
/* Is a caption of the item longer than the model takes? After eval_vectors_fill. */
bool eval_vectors_truncated(const eval_vectors *v, const eval_item *x);
/* Pictures with a box that has nothing of the picture in it; the whole picture is taken. */
int64_t eval_vectors_empty_boxes(const eval_vectors *v);
#endif
