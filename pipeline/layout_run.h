/* layout_run.h - layouts in a run directory: records of the journals of `vismin layout`, and how other stages read
 * them. */
#ifndef VM_LAYOUT_RUN_H
#define VM_LAYOUT_RUN_H
#include "pipeline/layout.h"
#include "pipeline/stage.h"

/* 16 digits that name the layout for ever: SHA-256 of its JSON. */
vm_status layout_id(char id[17], const layout *l, vm_error *e);
/* The record: layout_id, from (the picture of the caption it was made from, when not NULL), and the members of
 * layout.h. */
vm_status layout_put_record(json_writer *w, const layout *l, const char *from, vm_error *e);

/* Calls each for the layouts of RUN in the order of their keys, without those that L13 rejects beside the ones before
 * them. */
typedef vm_status (*layout_fn)(void *ctx, const char *id, const layout *l, vm_error *e);
vm_status layouts_each(const char *run, layout_fn each, void *ctx, vm_error *e);
/* How many there are of a kind ("relation", "counting") in the shard that s works on. */
vm_status layouts_count(const char *run, const char *kind, const stage *s, int64_t *n, vm_error *e);
#endif
