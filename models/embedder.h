/* embedder.h - two towers of any family (towers.h) for use: pictures and texts in, unit vectors out. Keeps one plan per batch
 * size and text length (buckets), packs weights once. Results do not depend on batch mates beyond rounding of the last bits
 * (bit-equal with deterministic). One thread at a time. */
#ifndef VM_EMBEDDER_H
#define VM_EMBEDDER_H
#include "io/image.h"
#include "models/preprocess.h"
#include "models/towers.h"

typedef struct embedder embedder;

/* Opens model, tokenizer and image processor of a directory. o as for towers_open; NULL = as the files say. */
vm_status embedder_open(embedder **out, vm_backend *be, const char *dir, const towers_options *o, vm_type dtype, bool deterministic, vm_error *e);
/* Around a model in use elsewhere (a trainer's); t may be NULL when only images are embedded. Nothing is owned. */
vm_status embedder_wrap(embedder **out, towers *m, tok *t, const vm_preprocess *p, vm_type dtype, vm_error *e);
void embedder_free(embedder *x); /* accepts NULL */

int64_t embedder_dim(const embedder *x);
const towers *embedder_towers(const embedder *x);
int64_t embedder_batch(const embedder *x); /* the batch it likes best: give it this many at a time */

/* RGB pictures of any size -> out (n,E). */
vm_status embedder_images(embedder *x, int64_t n, const vm_image *const *images, float *out, vm_error *e);
/* Pixels (n,S,S,3) that are preprocessed already -> out (n,E). */
vm_status embedder_pixels(embedder *x, int64_t n, const float *pixels, float *out, vm_error *e);
/* UTF-8 texts, cut to the model's context -> out (n,E). */
vm_status embedder_texts(embedder *x, int64_t n, const char *const *texts, float *out, vm_error *e);
/* The head that reads a text and a picture together, where the model has one (towers.h): floats that it keeps of a picture, 0 = no
 * such head; RGB pictures -> out (n, embedder_row_floats); one of these with n texts -> out (n): log p/(1-p) that they fit. */
int64_t embedder_row_floats(const embedder *x);
vm_status embedder_rows(embedder *x, int64_t n, const vm_image *const *images, float *out, vm_error *e);
vm_status embedder_match(embedder *x, const float *rows, int64_t n, const char *const *texts, float *out, vm_error *e);
/* *cut: does the model not see the end of the text? */
vm_status embedder_cuts(embedder *x, const char *text, bool *cut, vm_error *e);

#endif
