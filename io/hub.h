/* hub.h - the cache folder of Hugging Face models, shared with every other program that uses it.
 *
 *   ROOT  $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub
 *   ROOT/models--ORG--NAME/refs/REVISION          one line: a commit of 40 hexadecimal digits
 *                         /snapshots/COMMIT/PATH  relative links into blobs (ordinary files are read as well)
 *                         /blobs/HASH             SHA-256 of large files, git's SHA-1 of small ones
 *                         /.no_exist/COMMIT/PATH  empty: known to be absent
 * Layout: the page "Local cache" of the Hub's documentation. Nothing here opens a socket (pipeline/fetch.h does). */
#ifndef VM_IO_HUB_H
#define VM_IO_HUB_H
#include "kernels/base.h"

/* A model by name: "org/name" or "org/name@revision"; "name" alone is none. */
typedef struct {
    char repo[200];     /* org/name */
    char revision[120]; /* "main" when none was given */
} hub_name;

/* Does the text have the form of a name, and is no file or folder of this machine? */
bool hub_is_name(const char *text);
vm_status hub_parse(hub_name *n, const char *text, vm_error *e); /* VM_EUSAGE */
bool hub_is_commit(const char *revision);                        /* 40 hexadecimal digits */

char *hub_root(void);                     /* vm_free; NULL when memory is out */
char *hub_folder(const char *repo);       /* ROOT/models--ORG--NAME; vm_free */
/* The commit that a revision stands for in the cache; "" when it is not there. */
vm_status hub_commit(char commit[41], const hub_name *n, vm_error *e);
/* ROOT/models--ORG--NAME/snapshots/COMMIT of a name, vm_free. Not in the cache: VM_EINPUT with the command that gets it. */
vm_status hub_snapshot(char **dir, const hub_name *n, vm_error *e);

/* A model argument of a command: a path stays what it is (*path is a copy; VM_EINPUT when nothing is there), a name becomes its snapshot. */
vm_status hub_resolve(char **path, const char *model, vm_error *e);

/* The hash of a blob's contents in the kind that its name has: 64 digits SHA-256, 40 digits SHA-1 over "blob SIZE\0" and
 * the contents. *good: equal to the name. VM_EINPUT when the name is neither. */
vm_status hub_verify(bool *good, const char *path, const char *hash, vm_error *e);
#endif
