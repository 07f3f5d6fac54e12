/* eval_set.h - items of a benchmark, whatever files they came from: captions and pictures to be scored against each
 * other; and what a loader of a benchmark is.
 *
 * A loader (pipeline/eval_NAME.c) fills a set; nothing behind it knows the formats of data sets. Captions and pictures
 * are kept once, however many items use them. */
#ifndef VM_EVAL_SET_H
#define VM_EVAL_SET_H
#include "io/keymap.h"
#include "pipeline/media.h"
#include "pipeline/metrics.h"

typedef enum {
    EVAL_PAIR,  /* 2 captions and 2 images; caption i belongs to image i */
    EVAL_CHOICE /* one image and K captions, or one caption and K images, one of which is right; K >= 2 */
} eval_kind;

/* A picture as an item shows it: a file, or a part of it. */
typedef struct {
    const char *path;
    bool boxed;
    int32_t box[4]; /* x, y, w, h in pixels of the file */
} eval_picture;

typedef struct {
    const char *id;
    int split;
    eval_kind kind;
    int tag;                  /* number in s->tags, -1 = none: categories inside a split, for breakdowns */
    int n_captions, n_images; /* pair: 2 and 2; choice: one of them is 1, the other K >= 2 */
    int gold;                 /* choice: the right option; pair: 0 */
    int64_t at;               /* of its numbers in s->ref: first the captions, then the images */
    const char *group;        /* items that are judged together as well (What'sUp sets, MMVP patterns); NULL = none */
    int64_t row;              /* number of the record in its split, from 0; records that cannot be scored count */
} eval_item;

/* A record that cannot be scored. */
typedef struct {
    int split;       /* -1 = not known */
    int tag;         /* -1 = none */
    const char *id;  /* NULL = not known */
    const char *why; /* one sentence with file and line */
    int64_t row;
    bool malformed;  /* the annotation, not a picture */
} eval_fault;

/* What becomes of records that cannot be scored: a picture that is missing or broken, an annotation that is malformed. */
typedef enum {
    EVAL_SKIP_MEDIA, /* missing pictures are left out and counted, a malformed record is an error (the default) */
    EVAL_SKIP,       /* both are left out and counted */
    EVAL_FAIL,       /* both are errors */
    EVAL_WRONG       /* both count as items with a wrong answer */
} eval_on_error;

/* Two different records with one id in a split. */
typedef enum {
    EVAL_DUP_MALFORMED, /* the second one is malformed (the default) */
    EVAL_DUP_FIRST,     /* the first one counts */
    EVAL_DUP_LAST       /* the last one counts */
} eval_dup;

typedef struct {
    const char *name; /* of the data set */
    keymap files;     /* annotation files that were read */
    eval_kind kind;   /* of all its items; of the first one that is added */
    keymap splits, tags, captions, images /* path, NUL, box */, text /* ids, sentences */, ids /* "split id" */;
    eval_item *item;
    int64_t n, cap;
    int32_t *ref; /* of each item: numbers in captions, numbers in images */
    int64_t n_ref, cap_ref;
    int64_t *same_as; /* by number in ids: the item, -1 = left out */
    int64_t cap_ids;
    int64_t *rows; /* records of each split */
    int64_t cap_rows;
    eval_fault *fault;
    int64_t n_faults, cap_faults;
    int64_t n_twice; /* records that repeat an item; left out */
    double limit;    /* records per split that are taken: a number from 1, or a share below 1; 0 = all */
    eval_on_error on_error;
    eval_dup dup;
    bool no_media;   /* pictures are names only: nobody looks for their files */
} eval_set;

/* The number of a split, added when it is new; -1 when memory is out. */
int eval_set_split(eval_set *s, const char *name);
/* Has the split as many records as are wanted? Those that cannot be scored count: the same records stand in every run.
 * Only a short cut for loaders: what is too much is taken off in the end. */
bool eval_set_full(const eval_set *s, int split);

/* What a loader hands over; strings are copied. */
typedef struct {
    const char *id, *tag, *group; /* tag, group may be NULL */
    int n_captions, n_images, gold;
    const char *const *captions;
    const char *const *images;    /* paths as media_find gave them */
    const int32_t (*boxes)[4];    /* one per image, w <= 0 or h <= 0: whole picture; NULL = none */
} eval_record;
/* Adds an item. A record with an id of the split that is there already: left out and counted when it is the same, else
 * malformed at `where` ("file:line"). Malformed too: numbers of captions and images that do not fit the kind, gold
 * outside the options. */
vm_status eval_set_add(eval_set *s, int split, eval_kind kind, const eval_record *r, const char *where, vm_error *e);
/* The same for images named as annotations store them: each is looked for in p (folders: a folder for each image to
 * look into first, or NULL), unless s->no_media. One that is missing makes the record a fault. Asks eval_set_full
 * itself. */
vm_status eval_set_add_named(eval_set *s, const media_places *p, int split, eval_kind kind, const eval_record *r,
                             const char *const *folders, const char *where, vm_error *e);
/* Adds a record whose pictures are missing, with the sentence that says so; id may be NULL, split -1. */
vm_status eval_set_add_fault(eval_set *s, int split, const char *id, const char *why, vm_error *e);
/* Adds a malformed record (file, line, found, expected): an error unless the user has said otherwise. */
vm_status eval_set_add_malformed(eval_set *s, int split, const char *id, const char *why, vm_error *e);

static inline int32_t eval_caption_number(const eval_set *s, const eval_item *x, int k) { return s->ref[x->at + k]; }
static inline int32_t eval_image_number(const eval_set *s, const eval_item *x, int k) {
    return s->ref[x->at + x->n_captions + k];
}
static inline const char *eval_caption(const eval_set *s, const eval_item *x, int k) {
    return keymap_at(&s->captions, eval_caption_number(s, x, k), NULL);
}
eval_picture eval_picture_at(const eval_set *s, int64_t number); /* number in images */
static inline eval_picture eval_image(const eval_set *s, const eval_item *x, int k) {
    return eval_picture_at(s, eval_image_number(s, x, k));
}
static inline const char *eval_split_name(const eval_set *s, int k) { return keymap_at(&s->splits, k, NULL); }
static inline const char *eval_tag_name(const eval_set *s, int k) { return k < 0 ? NULL : keymap_at(&s->tags, k, NULL); }
/* Scores of an item: one for each caption and image, n_images * caption + image. Pairs 4, choices K. */
static inline int eval_n_scores(const eval_item *x) { return x->n_captions * x->n_images; }
/* Are two captions or two pictures of the item the same? Every answer is a tie then. */
bool eval_degenerate(const eval_set *s, const eval_item *x);
/* The item of the split's name and id, or -1. */
int64_t eval_set_find(const eval_set *s, const char *split, const char *id);

eval_set *eval_set_new(const char *name, vm_error *e);
void eval_set_free(eval_set *s); /* accepts NULL */

/* --- data sets: each loader is one file ---------------------------------------------------------------------------- */
/* Where a loader reads from and how. */
typedef struct {
    const char *data;      /* --data: file or folder */
    media_places places;   /* --images, --map; inside load the folder of the data is the last root */
    const char *const *splits;
    int n_splits;          /* --split NAME (repeatable): only these; 0 = all */
    uint64_t seed;         /* of whatever a loader draws */
    const char *const *variants;
    int n_variants;        /* --option KEY=VALUE (repeatable) */
    double limit;          /* see eval_set */
    eval_on_error on_error;
    eval_dup dup;
    bool no_media;
} eval_source;

/* Does the user want the split? A loader asks before it reads one. */
bool eval_wants(const eval_source *src, const char *split);
/* The value of KEY among the variants, or dflt; the value must be one of `allowed` (NULL-terminated) when that is given,
 * else VM_EUSAGE and NULL. The last one given counts. */
const char *eval_variant(const eval_source *src, const char *key, const char *dflt, const char *const *allowed,
                         vm_error *e);

/* Further numbers of a benchmark. scope: name of a split, "average" (over splits) or "overall" (all items). Shares go
 * from 0 to 1; an interval that is not known is NaN. */
typedef struct {
    const char *scope, *name;
    estimate v;
    int64_t n; /* items behind it */
} eval_extra;
typedef struct {
    eval_extra *row;
    int64_t n, cap;
    keymap text;
} eval_extras;
vm_status eval_extra_add(eval_extras *x, const char *scope, const char *name, estimate v, int64_t n, vm_error *e);
void eval_extras_free(eval_extras *x); /* and zeroes it */

typedef struct eval_result eval_result; /* pipeline/eval_run.h */

typedef struct eval_dataset {
    const char *name;            /* --dataset */
    const char *summary;         /* for --list: what it is, the files that --data must hold */
    /* Records of each split, "SPLIT:N SPLIT:N ...": "~" before N, not confirmed; "?" behind it, only with --split. Another
     * line "KEY=VALUE SPLIT:N ..." holds with that --option. NULL = not known. */
    const char *counts;
    const char *const *variants; /* --option it knows, "KEY=VALUE|VALUE", NULL-terminated; NULL = none */
    vm_status (*load)(eval_set *s, const eval_source *src, vm_error *e);
    /* numbers beside those that every item of its kind gets, added to the results; NULL = none */
    vm_status (*extra)(const eval_result *r, eval_extras *out, vm_error *e);
} eval_dataset;
extern const eval_dataset *const eval_datasets[]; /* pipeline/eval_datasets.c: the table, NULL-terminated */

/* The data set of that name; NULL and VM_EUSAGE with the nearest one. */
const eval_dataset *eval_find_dataset(const char *name, vm_error *e);
/* Loads d into a new set. VM_EUSAGE: options and splits that it does not know; VM_EINPUT: no records. */
vm_status eval_load(eval_set **out, const eval_dataset *d, const eval_source *src, vm_error *e);
#endif
