/* retrieval_data.h - pictures and all the captions that belong to each of them. */
#ifndef VM_RETRIEVAL_DATA_H
#define VM_RETRIEVAL_DATA_H
#include "pipeline/eval_set.h"

typedef struct {
    eval_set *set;      /* the different pictures and captions, and the records that were left out */
    keymap names;       /* of pictures, as the annotations store them */
    int32_t *image;     /* of each name: number in set->images, -1 = missing */
    int32_t *caption;   /* of each caption: number in set->captions */
    int32_t *owner;     /* of each caption: its picture, a number in names */
    int64_t n_captions; /* of pictures that are there */
    int64_t n_orphans;  /* captions of pictures that are missing */
    int64_t cap_image, cap_caption, cap_owner;
} retrieval_data;

typedef struct {
    media_places places;
    const char *split;                    /* of Karpathy's file; NULL = all */
    const char *image_key, *caption_key;  /* see io/samples.h */
    int64_t pictures, captions;           /* at most so many, captions of each picture; 0 = all */
    eval_on_error on_error;               /* EVAL_SKIP_MEDIA, EVAL_SKIP or EVAL_FAIL */
} retrieval_source;

/* Files as io/samples.h reads them: COCO captions, Karpathy's JSON, JSON Lines or arrays of {image, caption(s)}, tables.
 * Pictures count in the order in which they are first met, captions in that of the file. VM_EINPUT: malformed records
 * (unless skipped), nothing in it, pictures in archives. */
vm_status retrieval_load(retrieval_data *d, const char *path, const retrieval_source *src, vm_error *e);
void retrieval_free(retrieval_data *d);
#endif
