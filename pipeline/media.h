/* media.h - where a picture named in an annotation stands on this machine. */
#ifndef VM_MEDIA_H
#define VM_MEDIA_H
#include "kernels/base.h"

/* Places to look, in this order. Strings are not owned. */
typedef struct {
    const char *const *map; /* "PREFIX=DIR": a name that begins with PREFIX is DIR and the rest, and nothing else */
    int n_map;
    const char *const *roots; /* folders */
    int n_roots;
    bool allow_absolute; /* a name that begins with "/" may be a path of this machine */
} media_places;

/* A copy of p with one root more, the last: the folder of the data, which is `data` itself or the one that it stands in.
 * Its roots are vm_free by media_close; the other strings stay the caller's. Checks the form of every map: VM_EUSAGE. */
vm_status media_open(media_places *out, const media_places *p, const char *data, vm_error *e);
void media_close(media_places *p);
/* Checks the form of every map. VM_EUSAGE. */
vm_status media_check(const media_places *p, vm_error *e);

/* The absolute path of an existing file for the stored name, vm_free; a leading "/" of the name is dropped (after it was
 * tried with it, with allow_absolute). In every folder: the name as it is, the same with another of the endings jpg, jpeg,
 * png, webp, npy, and the same without regard to case; then the name without its first folder, where that is the last of
 * ROOT ("images/1.png" in DIR/images). folder: tried as ROOT/folder/name before ROOT/name; several are separated by ':';
 * NULL for none. NULL and e (VM_EINPUT) when there is none, or when the name has ".." in it. */
char *media_find(const media_places *p, const char *folder, const char *name, vm_error *e);
#endif
