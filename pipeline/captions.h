/* captions.h - captions of pictures, one a line of captions.jsonl:
 *   {"image_id": "234136", "caption": "Two men hold a dog.", "caption_id": "...", "file": "...", "width": 640,
 *     "height": 480, "source": "coco",
 *    "split": "train2017", "caption_raw": what it was before blanks were put in order}
 * image_id and caption are there always. Everything behind the stages of the captions' side begins with such a file. */
#ifndef VM_CAPTIONS_H
#define VM_CAPTIONS_H
#include "io/file.h"
#include "kernels/base.h"

enum { CAPTION_LEAST = 3, CAPTION_MOST = 60 }; /* words */

/* Texts may be NULL where they are not known; numbers 0. */
typedef struct {
    char *image_id, *caption, *raw, *id, *file, *source, *split;
    int64_t width, height;
} caption;

typedef struct {
    caption *c;
    int64_t n, cap;
    int64_t too_short, too_long, control; /* left out: fewer than 3 words, more than 60, control characters */
    int64_t malformed;                    /* lines that were none, each warned of (the first 20) */
    bool strict;                          /* a malformed line is an error */
} captions;

/* Adds a copy with blanks put in order, or counts why not. */
vm_status captions_add(captions *l, const caption *c, vm_error *e);
/* A line that is none: counted, or with strict e. */
vm_status captions_bad(captions *l, const vm_error *why, vm_error *e);
void captions_free(captions *l);

/* captions.jsonl. VM_EINPUT, VM_EIO. */
vm_status captions_read(captions *l, const char *path, vm_error *e);
vm_status captions_write(const captions *l, const char *path, vm_error *e);

/* --- sources: pipeline/captions_coco.c, captions_table.c ---------------------------------------------------------- */
typedef enum { PICK_RANDOM, PICK_FIRST, PICK_LONGEST, PICK_ALL } captions_pick;
/* COCO's captions_{train,val}2017.json. random: one of each picture, by the seed, whatever the order of the file. */
vm_status captions_coco(captions *l, const char *path, captions_pick pick, uint64_t seed, const char *split,
                        vm_error *e);
/* VSR's JSON Lines: the true statements. */
vm_status captions_vsr(captions *l, const char *path, vm_error *e);
/* Any list: .jsonl, .csv, .tsv with image (or image_id, file) and caption; other names: a caption a line. */
vm_status captions_table(captions *l, const char *path, const char *split, vm_error *e);
/* n scenes of the miniature world from number `first` of a split on; specific: number, colour, texture and relation
 * always stated. */
vm_status captions_world(captions *l, int64_t first, int64_t n, const char *split, bool specific, vm_error *e);
#endif
