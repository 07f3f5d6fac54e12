/* checkpoint.c - see checkpoint.h. */
#include "pipeline/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"

static vm_status put_manifest(const char *dir, vm_error *e) {
    char **names = NULL, hash[65];
    int64_t n = 0;
    if (dir_list(&names, &n, dir, e)) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_array(&w, "files");
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, names[i]);
        else if (!sha256_file(hash, path, e)) {
            json_begin_object(&w, NULL);
            json_put_str(&w, "name", names[i]);
            json_put_int(&w, "bytes", file_bytes(path));
            json_put_str(&w, "sha256", hash);
            json_close_object(&w);
        }
        vm_free(path);
    }
    json_close_array(&w);
    json_close_object(&w);
    vm_free(names);
    if (!e->status) return json_save(&w, dir, "manifest.json", e);
    vm_error ignored = { 0 };
    vm_free(json_take(&w, NULL, &ignored));
    return e->status;
}

static bool verifies(const char *dir) {
    vm_error e = { 0 };
    char *path = path_join(dir, "manifest.json"), hash[65];
    json_doc *d = path ? json_open(path, &e) : NULL;
    json_value files = json_get(json_root(d), "files");
    bool good = d && json_len(files) > 0;
    for (json_iter it = json_each(files); good && json_next(&it);) {
        char *file = path_join(dir, json_str(it.value, "name", "", &e));
        good = file && file_bytes(file) == json_int(it.value, "bytes", -2, 0, INT64_MAX, &e) &&
               !sha256_file(hash, file, &e) && !strcmp(hash, json_str(it.value, "sha256", "", &e));
        vm_free(file);
    }
    json_free(d);
    vm_free(path);
    return good && !e.status;
}

/* "step-00000100" -> 100; -1 for other names. */
static int64_t step_of(const char *name) {
    char *end;
    if (strncmp(name, "step-", 5) || strlen(name) < 13) return -1;
    int64_t step = strtoll(name + 5, &end, 10);
    return *end ? -1 : step;
}

static vm_status remove_old(const char *root, checkpoint_keep keep, vm_error *e) {
    char **names = NULL;
    int64_t n = 0, found = 0;
    if (dir_list(&names, &n, root, e)) return e->status;
    for (int64_t i = n - 1; i >= 0 && !e->status; i--) { /* names sort by step */
        int64_t step = step_of(names[i]);
        if (step < 0 || found++ < keep.last || step == keep.best) continue;
        char *path = path_join(root, names[i]);
        if (path) dir_remove(path, e);
        vm_free(path);
    }
    vm_free(names);
    return e->status;
}

static void move_link(const char *root, const char *link_name,
                      const char *name) { /* a convenience: resume does not read it */
    char *tmp = path_join(root, ".link"), *link = path_join(root, link_name);
    if (tmp && link) {
        unlink(tmp);
        if (!symlink(name, tmp) && rename(tmp, link)) unlink(tmp);
    }
    vm_free(tmp);
    vm_free(link);
}

/* root is OUT/checkpoints */
static vm_status tidy(const char *root, int64_t step, checkpoint_keep keep, vm_error *e) {
    char name[64];
    snprintf(name, sizeof name, "step-%08" PRId64, step);
    move_link(root, "latest", name);
    if (keep.best == step) move_link(root, "best", name);
    return remove_old(root, keep, e);
}

vm_status checkpoint_tidy(const char *out, int64_t step, checkpoint_keep keep, vm_error *e) {
    char *root = path_join(out, "checkpoints");
    if (root) tidy(root, step, keep, e);
    else vm_nomem(e, 256, "a path");
    vm_free(root);
    return e->status;
}

vm_status checkpoint_save(const char *out, int64_t step, checkpoint_keep keep, checkpoint_writer write, const void *ctx,
                          vm_error *e) {
    char name[64], *root = path_join(out, "checkpoints"), *path = NULL, *tmp = NULL;
    snprintf(name, sizeof name, "step-%08" PRId64, step);
    if (!root || !(path = path_join(root, name))) {
        vm_nomem(e, 256, "a path");
        goto done;
    }
    if (dir_make(root, e) || dir_begin(&tmp, path, e)) goto done;
    if (write(tmp, ctx, e) || put_manifest(tmp, e) || dir_commit(tmp, path, e)) {
        dir_abort(tmp);
        goto done;
    }
    tidy(root, step, keep, e);
done:
    vm_free(tmp);
    vm_free(path);
    vm_free(root);
    return e->status;
}

vm_status checkpoint_newest(char **dir, const char *out, vm_error *e) {
    char *root = path_join(out, "checkpoints"), **names = NULL;
    int64_t n = 0;
    *dir = NULL;
    if (root && file_is_dir(root)) {
        dir_sweep(root, 0); /* under the run's lock: what is left there belongs to nobody */
        dir_list(&names, &n, root, e);
    }
    for (int64_t i = n - 1; i >= 0 && !*dir && !e->status; i--) {
        if (step_of(names[i]) < 0) continue;
        char *path = path_join(root, names[i]);
        if (path && verifies(path)) {
            *dir = path;
            break;
        }
        vm_warn("%s: damaged checkpoint passed over", path ? path : names[i]);
        vm_free(path);
    }
    vm_free(names);
    vm_free(root);
    return e->status;
}

bool checkpoint_any(const char *out) {
    char *root = path_join(out, "checkpoints"), **names = NULL;
    int64_t n = 0;
    bool any = false;
    vm_error ignored = { 0 };
    if (root && file_is_dir(root)) dir_list(&names, &n, root, &ignored);
    for (int64_t i = 0; i < n; i++) any |= step_of(names[i]) >= 0;
    vm_free(names);
    vm_free(root);
    return any;
}
