/* info.h - the part of `vismin info` that looks into the graph of a model. */
#ifndef VM_INFO_H
#define VM_INFO_H
#include "io/json.h"
#include "models/clip.h"
#include "pipeline/command.h"

/* Both towers and their logits for `batch` pictures and as many full-length texts: what --plan, --dot, --profile and
 * --trace ask for. dir: the model, whose weights are read only when the graph is run. w: NULL, or where the figures go
 * ("plan"). */
vm_status info_graph(const clip_config *c, const char *dir, const vm_args *a, json_writer *w, vm_error *e);
/* Bytes of the activations of one tower for a batch of n. 0 and the error on failure. */
size_t info_arena(const clip_config *c, bool text, int64_t n, vm_type dtype, vm_error *e);
vm_status info_devices(const vm_args *a, vm_error *e); /* --devices */

#endif
