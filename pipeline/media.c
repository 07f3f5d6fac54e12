/* media.c - see media.h. */
#include "pipeline/media.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"

static const char *const endings[] = { "jpg", "jpeg", "png", "webp", "npy" };

vm_status media_check(const media_places *p, vm_error *e) {
    for (int k = 0; k < p->n_map; k++)
        if (!strchr(p->map[k], '=') || p->map[k][0] == '=')
            return vm_fail(e, VM_EUSAGE, "--map %s: expected PREFIX=FOLDER, such as /coco=data/coco", p->map[k]);
    return VM_OK;
}

vm_status media_open(media_places *out, const media_places *p, const char *data, vm_error *e) {
    const char **roots = vm_alloc(((size_t)p->n_roots + 1) * sizeof *roots);
    char *home = file_is_dir(data) ? vm_strdup(data) : path_dir(data);
    *out = *p, out->roots = NULL, out->n_roots = 0;
    if (!roots || !home) {
        vm_free(roots), vm_free(home);
        return vm_nomem(e, 256, "a list of folders");
    }
    for (int k = 0; k < p->n_roots; k++) roots[k] = p->roots[k];
    roots[p->n_roots] = home;
    out->roots = roots, out->n_roots = p->n_roots + 1;
    if (media_check(out, e)) media_close(out);
    return e->status;
}

void media_close(media_places *p) {
    if (p->roots) vm_free((void *)(uintptr_t)p->roots[p->n_roots - 1]), vm_free((void *)(uintptr_t)p->roots);
    p->roots = NULL, p->n_roots = 0;
}

static bool is_file(const char *path) {
    struct stat s;
    return !stat(path, &s) && !S_ISDIR(s.st_mode);
}

static bool climbs(const char *name) {
    for (const char *s = name; s; s = strchr(s, '/') ? strchr(s, '/') + 1 : NULL)
        if (!strncmp(s, "..", 2) && (!s[2] || s[2] == '/')) return true;
    return false;
}

/* The last "." of the file's name, or its end. */
static size_t stem(const char *path) {
    const char *dot = strrchr(path_base(path), '.');
    return dot ? (size_t)(dot - path) : strlen(path);
}

/* Is name the wanted one, but for case and for which of the endings? */
static bool alike(const char *name, const char *wanted) {
    size_t n = stem(name), w = stem(wanted);
    bool ending = !strcasecmp(name + n, wanted + w);
    for (int k = 0; k < VM_LEN(endings) && !ending; k++) ending = name[n] && !strcasecmp(name + n + 1, endings[k]);
    return ending && n == w && !strncasecmp(name, wanted, n);
}

/* The file of the folder that is like path; NULL when there is none. */
static char *respell(const char *path) {
    char *dir = path_dir(path), **names = NULL, *found = NULL;
    vm_error ignored = { 0 };
    int64_t n = 0;
    if (dir && file_is_dir(dir) && !dir_list(&names, &n, dir, &ignored))
        for (int64_t i = 0; i < n && !found; i++)
            if (alike(names[i], path_base(path))) found = path_join(dir, names[i]);
    vm_free(names);
    vm_free(dir);
    return found;
}

/* Takes over path; the path of a file, or NULL. */
static char *settle(char *path, bool respelled) {
    if (!path || (!respelled && is_file(path))) return path;
    char *found = respelled ? respell(path) : NULL;
    for (int k = 0; k < VM_LEN(endings) && !respelled && !found; k++) {
        char *other = vm_asprintf("%.*s.%s", (int)stem(path), path, endings[k]);
        if (other && is_file(other)) found = other;
        else vm_free(other);
    }
    vm_free(path);
    return found;
}

static char *in_root(const char *root, const char *folder, const char *name, bool respelled) {
    char *found = NULL;
    while (folder && *folder && !found) {
        size_t n = strcspn(folder, ":");
        found = settle(vm_asprintf("%s/%.*s/%s", root, (int)n, folder, name), respelled);
        folder += n + (folder[n] == ':');
    }
    if (!found) found = settle(path_join(root, name), respelled);
    size_t first = strcspn(name, "/"), whole = strlen(root); /* DIR/images for "images/1.png": the folder itself was named */
    while (whole && root[whole - 1] == '/') whole--;
    if (!found && name[first] && whole >= first && !strncmp(root + whole - first, name, first) && (whole == first || root[whole - first - 1] == '/'))
        found = settle(path_join(root, name + first + 1), respelled);
    return found;
}

static const char *mapped(const media_places *p, const char *name, size_t *dir_at, size_t *skip) {
    for (int k = 0; k < p->n_map; k++) {
        size_t len = strcspn(p->map[k], "=");
        if (!strncmp(name, p->map[k], len) && (name[len] == '/' || p->map[k][len - 1] == '/')) {
            *dir_at = len + 1, *skip = len;
            return p->map[k];
        }
    }
    return NULL;
}

/* Takes over path; the same from the root of the file system. */
static char *absolute(char *path) {
    char here[4096];
    if (path[0] == '/' || !getcwd(here, sizeof here)) return path;
    char *all = path_join(here, path);
    vm_free(path);
    return all;
}

char *media_find(const media_places *p, const char *folder, const char *name, vm_error *e) {
    size_t dir_at = 0, skip = 0;
    const char *map = mapped(p, name, &dir_at, &skip), *rest = name + skip;
    if (climbs(name)) {
        vm_fail(e, VM_EINPUT, "picture %s: \"..\" in a name is refused", name);
        return NULL;
    }
    if (p->allow_absolute && !map && name[0] == '/' && is_file(name)) return vm_strdup(name);
    while (*rest == '/') rest++;
    if (!*rest) {
        vm_fail(e, VM_EINPUT, "the name of the picture is empty");
        return NULL;
    }
    for (int respelled = 0; respelled < 2; respelled++) {
        char *found = map ? settle(path_join(map + dir_at, rest), respelled) : NULL;
        for (int k = 0; k < p->n_roots && !map && !found; k++) found = in_root(p->roots[k], folder, rest, respelled);
        if (found) return absolute(found);
    }
    if (map) vm_fail(e, VM_EINPUT, "picture %s not found (looked in %s, by --map)", name, map + dir_at);
    else
        vm_fail(e, VM_EINPUT, "picture %s not found (looked in %s%s; --images names further folders)", name,
                p->n_roots ? p->roots[0] : "no folder", p->n_roots > 1 ? " and others" : "");
    return NULL;
}
