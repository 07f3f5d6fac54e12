/* checkpoint.h - OUT/checkpoints/step-00000100/: directories that appear whole, with manifest.json (sizes and SHA-256 of
 * every file) as proof; OUT/checkpoints/latest is a symbolic link to the newest. */
#ifndef VM_CHECKPOINT_H
#define VM_CHECKPOINT_H
#include "io/json.h"

typedef vm_status (*checkpoint_writer)(const char *dir, const void *ctx, vm_error *e); /* writes files into dir */

/* Writes the checkpoint of a step, moves the link, removes all but the keep newest. VM_EIO leaves the older ones as they are. */
vm_status checkpoint_save(const char *out, int64_t step, int keep, checkpoint_writer write, const void *ctx, vm_error *e);
/* The newest one whose files are as its manifest says; *dir NULL when there is none (vm_free). Damaged ones are passed over with a warning. */
vm_status checkpoint_newest(char **dir, const char *out, vm_error *e);
/* OUT/log.jsonl for appending, cut back to the lines of steps up to `step`. */
FILE *checkpoint_log(const char *out, int64_t step, vm_error *e);

#endif
