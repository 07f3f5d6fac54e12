/* eval_splits.c - which files of --data hold which split. See eval_rows.h. */
#include <stdlib.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_rows.h"

/* The next of the names as a path below dir; NULL behind the last, or without memory (e is set). */
static char *next_path(const char **names, const char *dir, vm_error *e) {
    while (**names == ' ') (*names)++;
    size_t n = strcspn(*names, " ");
    if (!n) return NULL;
    char *path = vm_asprintf("%s/%.*s", dir, (int)n, *names);
    if (!path) vm_nomem(e, n, "a path");
    *names += n;
    return path;
}

char *eval_first_file(const char *dir, const char *names, vm_error *e) {
    for (char *path; (path = next_path(&names, dir, e)); vm_free(path))
        if (file_exists(path)) return path;
    return NULL;
}

/* How much of the end of path is one of the names: all components of the longest match; 0 = none. */
static size_t match(const char *names, const char *path) {
    size_t best = 0, p = strlen(path);
    for (const char *at = names; *at;) {
        size_t n = strcspn(at, " ");
        for (size_t skip = 0; skip < n;) { /* "random/dev.jsonl", then "dev.jsonl" */
            size_t len = n - skip;
            if (len <= p && !memcmp(path + p - len, at + skip, len) && (len == p || path[p - len - 1] == '/'))
                best = VM_MAX(best, len);
            const char *slash = memchr(at + skip, '/', len);
            skip = slash ? (size_t)(slash + 1 - at) : n;
        }
        at += n;
        while (*at == ' ') at++;
    }
    return best;
}

/* "a.json, b.json ..." of the first names. */
static void list_names(char *out, size_t bytes, const eval_file *files, int n) {
    size_t at = 0;
    *out = 0;
    for (int k = 0; k < n && at < bytes; k++) {
        size_t len = strcspn(files[k].names, " ");
        at += (size_t)snprintf(out + at, bytes - at, "%s%.*s", k ? ", " : "", (int)len, files[k].names);
    }
}

static vm_status read_one(const eval_reading *of, const char *split, const char *path,
                          vm_status (*each)(const eval_reading *r, vm_error *e), vm_error *e) {
    eval_reading r = *of;
    r.file = path, r.split = eval_set_split(of->set, split);
    return r.split < 0 ? vm_nomem(e, 64, "splits") : each(&r, e);
}

static vm_status read_file(const eval_reading *of, const eval_file *files, int n,
                           vm_status (*each)(const eval_reading *r, vm_error *e), vm_error *e) {
    const eval_source *src = of->src;
    const eval_file *found = n == 1 ? files : NULL;
    size_t best = 0;
    char known[600], *real = realpath(src->data, NULL);
    for (int k = 0; k < n && n > 1; k++) {
        size_t m = match(files[k].names, real ? real : src->data);
        if (m && m >= best) found = m == best ? NULL : &files[k], best = m; /* two splits with this name: neither */
    }
    free(real);
    for (int k = 0; k < n && !found && src->n_splits == 1; k++)
        if (!strcmp(files[k].split, src->splits[0])) found = &files[k];
    list_names(known, sizeof known, files, n);
    if (!found)
        return vm_fail(e, VM_EINPUT, "%s: the name of the file tells no split; expected %s, or --split NAME", src->data,
                       known);
    return read_one(of, found->split, src->data, each, e);
}

vm_status eval_read_splits(const eval_reading *of, const eval_file *files, int n,
                           vm_status (*each)(const eval_reading *r, vm_error *e), vm_error *e) {
    const eval_source *src = of->src;
    char known[600];
    uint64_t lacks = 0; /* one bit per file */
    int found = 0;
    if (!file_is_dir(src->data)) return read_file(of, files, n, each, e);
    list_names(known, sizeof known, files, n);
    for (int k = 0; k < n && !e->status; k++) {
        char *path = NULL;
        if (!(files[k].on_request && !src->n_splits) && eval_wants(src, files[k].split)) {
            path = eval_first_file(src->data, files[k].names, e);
            /* --data vsr/random for the file random/dev.jsonl */
            const char *slash = strchr(files[k].names, '/'), *base = path_base(src->data);
            if (!path && !e->status && slash && strlen(base) == (size_t)(slash - files[k].names) &&
                !strncmp(base, files[k].names, strlen(base)))
                path = eval_first_file(src->data, slash + 1, e);
            if (path) found++, read_one(of, files[k].split, path, each, e);
            else if (!e->status && src->n_splits)
                vm_fail(e, VM_EINPUT, "%s: has no %s, the file of --split %s", src->data, files[k].names,
                        files[k].split);
            else lacks |= 1ull << k;
        }
        vm_free(path);
    }
    for (int k = 0; k < n && !e->status && found; k++)
        if (lacks >> k & 1)
            vm_warn("%s: has no %s; the split %s is left out", src->data, files[k].names, files[k].split);
    if (!e->status && !found && !src->n_splits)
        vm_fail(e, VM_EINPUT, "%s: none of the files %s in this folder; --data takes such a folder or one file",
                src->data, known);
    return e->status;
}
