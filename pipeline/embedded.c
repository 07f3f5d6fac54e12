/* embedded.c - see embedded.h. */
#include "pipeline/embedded.h"

#include <string.h>

#include "io/file.h"

vm_status embedded_read(char **text, size_t *bytes, char **from, const char *dir, const char *name, vm_error *e) {
    char *path = dir ? path_join(dir, name) : NULL;
    *text = NULL, *bytes = 0;
    if (from) *from = NULL;
    if (dir && !path) return vm_nomem(e, strlen(name), "a path");
    if (path && file_exists(path)) {
        file_read(text, bytes, path, 0, e);
    } else {
        for (const embedded_file *f = embedded_files; f->name && !*text; f++) {
            if (strcmp(f->name, name)) continue;
            if (!(*text = vm_strndup(f->text, f->bytes))) vm_nomem(e, f->bytes, name);
            *bytes = f->bytes;
        }
        vm_free(path);
        path = NULL;
    }
    if (from && *text && !(*from = vm_strdup(path ? path : name))) vm_nomem(e, strlen(name), "a name");
    vm_free(path);
    return e->status;
}
