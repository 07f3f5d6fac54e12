/* samples_parts.h - what the readers of samples.h share; for samples*.c only. */
#ifndef VM_IO_SAMPLES_PARTS_H
#define VM_IO_SAMPLES_PARTS_H
#include "io/samples.h"

#include <string.h>

/* Names of the members that may hold the picture and the caption, best first, NULL-ended. */
extern const char *const sample_image_keys[], *const sample_caption_keys[];

typedef struct {
    samples *s;
    const samples_options *o;
    sample_group open; /* the group that is being read */
    int64_t text_from;
    bool any_change; /* some kept group has changes: captions_only is decided */
    vm_error *e;
} samples_builder;

/* A group begins: side 0 is the original. Then sides and strings; then keep or drop. NULL and e when memory is out. */
bool samples_begin(samples_builder *b);
sample_side *samples_side(samples_builder *b); /* another side, all empty; valid until the next call */
void samples_drop(samples_builder *b);
/* Checks the group and keeps it; where = "FILE:LINE" or the like for the fault of one that is unfit. */
vm_status samples_keep(samples_builder *b, const char *where);
/* Room for n bytes of text and a NUL: where they begin; -1 and e when memory is out. samples_close_text: so many were
 * written. */
int64_t samples_room(samples_builder *b, size_t n);
int64_t samples_close_text(samples_builder *b, int64_t at, size_t n); /* returns at */
int64_t samples_text(samples_builder *b, const char *text, size_t n);
vm_status samples_fault(samples_builder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "COCO_train2014_000000000139.jpg" of the pattern; -1 and e. */
int64_t samples_image_name(samples_builder *b, int64_t image_id);
int samples_category(const char *name, size_t n); /* -1 */
bool samples_wanted(const samples_builder *b, int category);
/* 0 for the first of keys, 1, ... ; given: this key only. -1 = none. */
int samples_key_rank(const char *const *keys, const char *given, const char *key, size_t n);

/* CE-CLIP's four changes in its order: the names of their members, and what an invalid one holds. */
extern const char *const sample_augmented[SAMPLES_AUGMENTED];

vm_status samples_read_json(samples_builder *b, const char *text, size_t bytes, const char *path);
vm_status samples_read_karpathy(samples_builder *b, const char *text, size_t bytes, const char *path);
vm_status samples_read_table(samples_builder *b, const char *text, size_t bytes, const char *path);
vm_status samples_read_tar(samples_builder *b, const uint8_t *data, size_t bytes, const char *path);
vm_status samples_read_npy(samples_builder *b, const uint8_t *data, size_t bytes, const char *path);
#endif
