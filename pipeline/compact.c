/* compact.c - `vismin compact`: journals of a run directory without the lines that others have replaced, in the order
 * of their keys. Damaged lines are left out and counted: what is whole in a damaged file is saved so. A file is
 * replaced whole or not at all. */
#include <stdlib.h>
#include <string.h>

#include "io/hash.h"
#include "io/journal.h"
#include "io/keymap.h"
#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/run_dir.h"

/* A line that counts, as a piece of the file. */
typedef struct {
    const char *at;
    size_t bytes;
    const char *key, *hash;
} kept;

typedef struct {
    keymap names; /* "key hash" */
    kept *line;
    int64_t n, cap, dropped, damaged;
    json_doc **doc;
    int64_t docs, cap_docs;
} content;

static vm_status take_line(content *c, const char *at, size_t bytes, vm_error *e) {
    vm_error own = { 0 };
    json_doc *d = journal_line_ok(at, bytes) ? json_parse(at, bytes, "line", 0, &own) : NULL;
    const char *key = json_str(json_root(d), "k", NULL, &own), *hash = json_str(json_root(d), "h", "", &own);
    if (!d || own.status || !key) {
        json_free(d);
        c->damaged++;
        return own.status == VM_EDEVICE ? (*e = own, e->status) : VM_OK;
    }
    char *name = vm_asprintf("%s %s", key, hash);
    int64_t before = c->names.n, i = name ? keymap_put_text(&c->names, name) : -1;
    vm_free(name);
    if (i < 0 || !vm_grow(&c->doc, &c->cap_docs, c->docs + 1, sizeof *c->doc) ||
        (i == before && !vm_grow(&c->line, &c->cap, i + 1, sizeof *c->line))) {
        json_free(d);
        return vm_nomem(e, bytes, "lines");
    }
    if (i == before) c->n++;
    else c->dropped++;
    c->doc[c->docs++] = d; /* key and hash live in it */
    c->line[i] = (kept){ at, bytes, key, hash };
    return VM_OK;
}

static int by_key(const void *a, const void *b) {
    const kept *x = a, *y = b;
    int c = strcmp(x->key, y->key);
    return c ? c : strcmp(x->hash, y->hash);
}

static vm_status write_lines(const content *c, const char *path, vm_error *e) {
    vm_out *o = NULL;
    if (vm_out_open(&o, path, e)) return e->status;
    for (int64_t i = 0; i < c->n && !e->status; i++)
        if (!vm_out_write(o, c->line[i].at, c->line[i].bytes, e)) vm_out_text(o, "\n", e);
    vm_out_finish(o, e);
    return e->status;
}

/* The .done file beside it speaks of the bytes that were. */
static vm_status renew_done(const content *c, const char *path, vm_error *e) {
    char hex[65], *name = vm_asprintf("%.*s.done", (int)(strlen(path) - strlen(".jsonl")), path);
    json_doc *d = name && file_exists(name) ? json_open(name, e) : NULL;
    if (!name) vm_nomem(e, strlen(path), "a path");
    if (d && !sha256_file(hex, path, e)) {
        json_writer w = json_to_memory(JSON_PRETTY);
        json_begin_object(&w, NULL);
        for (json_iter it = json_each(json_root(d)); json_next(&it);)
            if (strcmp(it.key, "lines") && strcmp(it.key, "bytes") && strcmp(it.key, "sha256"))
                json_put_value(&w, it.key, it.value);
        json_put_int(&w, "lines", c->n), json_put_int(&w, "bytes", file_bytes(path)), json_put_str(&w, "sha256", hex);
        json_close_object(&w);
        json_save(&w, "", name, e);
    }
    json_free(d);
    vm_free(name);
    return e->status;
}

static vm_status compact(const char *path, bool *damaged, vm_error *e) {
    file_lock lock = { .fd = -1 };
    content c = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    if (file_lock_take(&lock, path, e) || file_read(&text, &bytes, path, SIZE_MAX, e)) goto done;
    for (const char *p = text, *end = text + bytes; p < end && !e->status;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        if (n) take_line(&c, p, n, e);
        p += n + 1;
    }
    if (e->status) goto done;
    if (c.n) qsort(c.line, (size_t)c.n, sizeof *c.line, by_key);
    if (!write_lines(&c, path, e) && !renew_done(&c, path, e))
        vm_info("%s: %lld lines kept, %lld replaced ones and %lld damaged ones left out", path, (long long)c.n,
                (long long)c.dropped, (long long)c.damaged);
    *damaged |= c.damaged > 0;
done:
    for (int64_t i = 0; i < c.docs; i++) json_free(c.doc[i]);
    vm_free(c.doc), vm_free(c.line), vm_free(text);
    keymap_free(&c.names);
    file_lock_free(&lock);
    return e->status;
}

static bool is_journal(const char *name) {
    size_t n = strlen(name);
    return !strncmp(name, "part-", 5) && n > 6 && !strcmp(name + n - 6, ".jsonl");
}

static vm_status compact_stage(const char *dir, int64_t *files, bool *damaged, vm_error *e) {
    char **names;
    int64_t n;
    if (dir_list(&names, &n, dir, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status && !run_stopping(); i++) {
        if (!is_journal(names[i])) continue;
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, "a path");
        else compact(path, damaged, e), ++*files;
        vm_free(path);
    }
    vm_free(names);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    char **names;
    int64_t n, files = 0;
    bool damaged = false;
    const char *run = arg_pos(a, 0), *only = arg_pos(a, 1);
    run_dir_locks(a);
    if (dir_list(&names, &n, run, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status && !run_stopping(); i++) {
        char *dir = path_join(run, names[i]);
        if (!dir) vm_nomem(e, 256, "a path");
        else if (file_is_dir(dir) && (!only || !strcmp(only, names[i]))) compact_stage(dir, &files, &damaged, e);
        vm_free(dir);
    }
    vm_free(names);
    if (!e->status && !files) vm_fail(e, VM_EINPUT, "%s: no journals (STAGE/part-*.jsonl) in it", run);
    return e->status ? e->status : run_stopping() ? VM_ESTOP : damaged ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = { NO_LOCK_OPT, { 0 } };
const vm_command cmd_compact = {
    .name = "compact",
    .summary = "the journals of a run directory without replaced and damaged lines",
    .usage = "RUN [STAGE]",
    .about = "Of several lines for one unit and configuration the last one stays; lines are sorted by unit. A damaged "
             "journal is repaired by leaving out\n"
             "what is damaged (status 1).",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 2,
    .run = run,
};
