/* eval_set.h - items of a benchmark, whatever files they came from: captions and pictures to be scored against each
 * other.
 *
 * A loader (pipeline/eval_vismin.c) fills a set; nothing behind it knows the formats of data sets. Captions and picture
 * files are kept once, however many items use them. */
#ifndef VM_EVAL_SET_H
#define VM_EVAL_SET_H
#include "io/keymap.h"
#include "pipeline/media.h"

enum { EVAL_OPTIONS = 10 };

/* Scores of an item: score[n_images * c + i]. Pairs: 2 captions, 2 images, caption i belongs to image i. */
typedef struct {
    const char *id;
    int split;
    int n_captions, n_images;
    int32_t caption[EVAL_OPTIONS], image[EVAL_OPTIONS]; /* numbers in captions and images of the set */
} eval_item;

/* A record that cannot be scored. */
typedef struct {
    int split;        /* -1 = not known */
    const char *id;   /* NULL = not known */
    const char *why;  /* one sentence with file and line */
} eval_fault;

typedef struct {
    const char *name; /* of the data set */
    keymap splits, captions, images /* paths */, text /* ids, sentences */, ids /* "split id" */;
    eval_item *item;
    int64_t n, cap;
    int64_t *same_as; /* by number in ids: the item */
    int64_t cap_ids;
    eval_fault *fault;
    int64_t n_faults, cap_faults;
    int64_t n_twice; /* records that repeat an item; left out */
    int64_t limit;   /* items and faults per split that are taken; 0 = all */
    bool strict;     /* the first fault is an error */
} eval_set;

/* The number of a split, added when it is new; -1 when memory is out. */
int eval_set_split(eval_set *s, const char *name);
/* Is the limit of the split reached? Faults count: the same records stand in every run. */
bool eval_set_full(const eval_set *s, int split);
/* Adds a pair. A second item with the id of the split: left out and counted when it is the same, else a fault at
 * `where`. */
vm_status eval_set_add_pair(eval_set *s, int split, const char *id, const char *const captions[2],
                            const char *const images[2], const char *where, vm_error *e);
/* Adds a fault; with strict its sentence becomes the error. id may be NULL. */
vm_status eval_set_add_fault(eval_set *s, int split, const char *id, const char *why, vm_error *e);

static inline const char *eval_caption(const eval_set *s, const eval_item *x, int k) {
    return keymap_at(&s->captions, x->caption[k], NULL);
}
static inline const char *eval_image(const eval_set *s, const eval_item *x, int k) {
    return keymap_at(&s->images, x->image[k], NULL);
}
static inline const char *eval_split_name(const eval_set *s, int k) { return keymap_at(&s->splits, k, NULL); }
/* The item of the split's name and id, or -1. */
int64_t eval_set_find(const eval_set *s, const char *split, const char *id);

eval_set *eval_set_new(const char *name, int64_t limit, bool strict, vm_error *e); /* name is not copied */
void eval_set_free(eval_set *s);                                                    /* accepts NULL */

/* --- data sets: each loader is one file --- */
/* VisMin (pipeline/eval_vismin.c). data: a folder with {object,attribute,relation,counting}.csv or .json, or one such
 * file. CSV: image_path, caption, edited_image_path, edited_caption and edit_id (or id, idx), or image_0, text_0,
 * image_1, text_1, id, category. JSON: a list of { image_path, caption, negatives: [ { edited_image_path,
 * edited_caption } ] }. Pictures are looked for in places, then in the folder of the data, below original_images/ and
 * edited_images/ and directly. */
vm_status eval_load_vismin(eval_set *s, const char *data, const media_places *places, vm_error *e);
#endif
