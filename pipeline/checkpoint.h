/* checkpoint.h - OUT/checkpoints/step-00000100/: directories that appear whole, with manifest.json (sizes and SHA-256
 * of every file) as proof; OUT/checkpoints/latest and best are symbolic links. */
#ifndef VM_CHECKPOINT_H
#define VM_CHECKPOINT_H
#include "io/json.h"

typedef vm_status (*checkpoint_writer)(const char *dir, const void *ctx, vm_error *e); /* writes files into dir */

/* Which of them stay: the newest `last`, and that of the step `best` (-1 = none), to which a link of that name points.
 */
typedef struct {
    int last;
    int64_t best;
} checkpoint_keep;

/* Writes the checkpoint of a step, moves the links, then removes what is not kept. VM_EIO leaves the older ones as they
 * are. */
vm_status checkpoint_save(const char *out, int64_t step, checkpoint_keep keep, checkpoint_writer write, const void *ctx,
                          vm_error *e);
/* What comes behind the files of a checkpoint, again: for a run that was killed between the two. */
vm_status checkpoint_tidy(const char *out, int64_t step, checkpoint_keep keep, vm_error *e);
bool checkpoint_any(const char *out); /* is there one, good or damaged? */
/* The newest one whose files are as its manifest says; *dir NULL when there is none (vm_free). Damaged ones are passed
 * over with a warning. */
vm_status checkpoint_newest(char **dir, const char *out, vm_error *e);

#endif
