/* samples.h - captioned pictures to train on: groups of an original with its caption and its minimal changes.
 *
 * The first bytes of a file say what it is, never its name:
 *   VisMin       a JSON array of {image_path, caption, negatives: [{edited_image_path, edited_caption, category}, ...]}
 *   COCO         a JSON object with images [{id, file_name}] and annotations [{image_id, caption}]
 *   Karpathy     a JSON object with images [{filepath, filename, split, sentences: [{raw}, ...]}] (samples_karpathy.c)
 *   JSON Lines   one object a line: an element of VisMin's array, a record of CE-CLIP's, or a picture and its caption,
 *                or a list of captions (one group for each; also in an array)
 * NumPy        CE-CLIP's records {image_id, caption, relation_aug_caption, adj_..., noun_..., verb_..., valid_caption}
 *                as numpy.save writes an array of them (npy_records.h): the changes have captions and no pictures
 * tar          WebDataset shards: KEY.jpg (jpeg, png, webp, bmp, gif) and KEY.txt or KEY.json, KEY up to the first dot
 *   table        comma or tab between the fields, the first row names the columns; one row, one picture
 * A path may be a folder of .tar or .npy files, or hold ranges: shards/{000..010}.tar. Nothing of the pictures is read.
 *
 * A record that cannot be used is passed over and kept as a fault, with file, place and reason; a file that is damaged
 * as a whole is an error. Memory: the texts and 56 bytes for each picture. */
#ifndef VM_IO_SAMPLES_H
#define VM_IO_SAMPLES_H
#include "kernels/base.h"

enum { SAMPLE_CATEGORIES = 4, SAMPLES_AUGMENTED = 4 /* changes of a CE-CLIP record */, SAMPLES_FAULTS = 200 };
extern const char *const sample_category[SAMPLE_CATEGORIES]; /* "object", "attribute", "relation", "counting" */

typedef struct {
    int64_t name, caption; /* where they begin in the text; name -1: a change of the caption alone */
    int64_t at, bytes;     /* of the picture in its archive */
    int32_t archive;       /* number; -1 = a file of its own */
    int8_t category;       /* of a change; -1 = not stated */
    bool valid;            /* false: a caption that only fills its place (CE-CLIP) */
} sample_side;

typedef struct {
    int64_t first, n; /* sides: the original, then its changes */
} sample_group;

typedef struct {
    char *text; /* NUL-terminated strings one after the other */
    sample_side *side;
    sample_group *group;
    char **archive;        /* their paths; groups stand in the order of the archives */
    int64_t *archive_from; /* first group of each; one more element: the end */
    char **fault;          /* sentences; the first SAMPLES_FAULTS of n_faults */
    int64_t text_len, n_sides, n, n_archives, n_faults;
    int64_t cap_text, cap_sides, cap_groups, cap_archives, cap_from, cap_faults;
    bool captions_only; /* the changes have no pictures */
    const char *layout; /* of the last file: "VisMin JSON", ... */
} samples;

typedef struct {
    const char *image_key,
        *caption_key;       /* columns or members; NULL: image_path, filepath, image, file_name; caption, title, text,
                               captions */
    const char *image_name; /* file of a CE-CLIP record; {} stands for the twelve digits of its image_id */
    const char *const *categories; /* only changes of these; 0 = all */
    int n_categories;
    bool originals_only;
    const char *split; /* of Karpathy's file: only pictures of this one; NULL = all */
} samples_options;

/* Reads all paths into one. VM_EINPUT, VM_EUSAGE (an unknown category), VM_EIO, VM_EDEVICE. */
vm_status samples_open(samples **out, int n, const char *const *paths, const samples_options *o, vm_error *e);
/* Text in memory as one file, for tests and fuzzing. */
vm_status samples_open_memory(samples **out, const void *data, size_t bytes, const char *name, const samples_options *o,
                              vm_error *e);
void samples_free(samples *s); /* accepts NULL */

static inline const char *sample_text(const samples *s, int64_t at) { return s->text + at; }
/* SHA-256 of everything that a training can see of it: names, captions, groups. */
void samples_digest(const samples *s, char hex[65]);
/* The bytes of a picture that stands in an archive (vm_free). VM_EIO. */
vm_status sample_read(const samples *s, const sample_side *side, uint8_t **data, vm_error *e);
#endif
