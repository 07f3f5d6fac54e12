/* scene_edits.h - edits of the miniature world for `vismin inpaint`, with boxes, and what the oracle (scene_look) says of the pictures it made. */
#ifndef VM_SCENE_EDITS_H
#define VM_SCENE_EDITS_H
#include "kernels/base.h"
#include "models/scene.h"

/* DIR/edits.jsonl and DIR/images/: n edits each of the class of an object, of its colour, and removals, of the scenes of a split from `first` on. */
vm_status scene_write_edits(const char *dir, scene_split split, uint64_t first, int64_t n, vm_error *e);
/* The same into dir from a run of the text stages on captions of the world's source pool: `most` edits that RUN/instruct proposed and RUN/vet accepted, one
 * of each caption and category, and `removals` more that take an object away. Sizes are left out: the box of another size is not known. */
vm_status scene_edits_of_run(const char *dir, const char *run, int64_t most, int64_t removals, vm_error *e);

typedef struct {
    int64_t right, all;
} scene_share;
typedef struct {
    scene_share class, colour;  /* objects that are what the text says, of those whose class or colour it states */
    scene_share removed;        /* objects that are gone, of those that should be */
    int64_t edits, touched;     /* pictures; those of them with a pixel that changed outside mask and feather */
} scene_score;
/* Of the pictures in RUN/images that `vismin inpaint` chose. */
vm_status scene_score_run(const char *run, scene_score *out, vm_error *e);
#endif
