/* scene_set.h - the miniature world as files, for programs. */
#ifndef VM_SCENE_SET_H
#define VM_SCENE_SET_H
#include "kernels/base.h"
#include "models/scene.h"

/* n minimal pairs of each category of a split, from its first seed on, in the benchmark layout with pairs.json and
 * scenes.jsonl; sheet: also sheet.png. What `vismin scene --pairs N` writes. */
vm_status scene_write_pairs(const char *dir, scene_split split, int64_t n, bool sheet, vm_error *e);

#endif
