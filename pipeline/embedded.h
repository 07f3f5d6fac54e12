/* embedded.h - the files of pipeline/prompts and pipeline/tables, which are part of the program (pipeline/embed.sh). */
#ifndef VM_EMBEDDED_H
#define VM_EMBEDDED_H
#include <stddef.h>

#include "kernels/base.h"

typedef struct {
    const char *name; /* without folder */
    const char *text; /* terminated behind its bytes */
    size_t bytes;
} embedded_file;
extern const embedded_file embedded_files[]; /* ends with a name NULL */

/* A text that the file NAME of dir overrides: that file when dir (may be NULL) has it, else the embedded one. *text
 * (vm_free) is NULL and no error when neither is there. *from (may be NULL) is what messages call it; vm_free. */
vm_status embedded_read(char **text, size_t *bytes, char **from, const char *dir, const char *name, vm_error *e);
#endif
