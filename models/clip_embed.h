/* clip_embed.h - CLIP for use: pictures and texts in, unit vectors out. Keeps one plan per batch size and text length
 * (buckets), packs weights once. Results do not depend on batch mates beyond rounding of the last bits (bit-equal with
 * deterministic). One thread at a time. */
#ifndef VM_CLIP_EMBED_H
#define VM_CLIP_EMBED_H
#include "io/image.h"
#include "io/tokenizer.h"
#include "models/clip.h"
#include "models/preprocess.h"

typedef struct clip_embedder clip_embedder;

/* Opens model, tokenizer and image processor of a directory. */
vm_status clip_embedder_open(clip_embedder **out, vm_backend *be, const char *dir, vm_type dtype, bool deterministic, vm_error *e);
/* Around a model in use elsewhere (a trainer's); t may be NULL when only images are embedded. Nothing is owned. */
vm_status clip_embedder_wrap(clip_embedder **out, clip_model *m, tok *t, const vm_preprocess *p, vm_type dtype, vm_error *e);
void clip_embedder_free(clip_embedder *x); /* accepts NULL */

int64_t clip_embedder_dim(const clip_embedder *x);
float clip_embedder_scale(const clip_embedder *x); /* exp(logit_scale) */
const clip_model *clip_embedder_model(const clip_embedder *x);
int64_t clip_embedder_batch(const clip_embedder *x); /* the batch it likes best: give it this many at a time */

/* RGB pictures of any size -> out (n,E). */
vm_status clip_embed_images(clip_embedder *x, int64_t n, const vm_image *const *images, float *out, vm_error *e);
/* Pixels (n,S,S,3) that are preprocessed already -> out (n,E). */
vm_status clip_embed_pixels(clip_embedder *x, int64_t n, const float *pixels, float *out, vm_error *e);
/* UTF-8 texts, cut to the model's context -> out (n,E). */
vm_status clip_embed_texts(clip_embedder *x, int64_t n, const char *const *texts, float *out, vm_error *e);

#endif
