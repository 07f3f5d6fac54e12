/* run_dir.c - see run_dir.h. */
#include "pipeline/run_dir.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/hash.h"
#include "io/log.h"
#include "pipeline/run.h"

bool run_tag_counts(const run_tags *t, const char *h) {
    for (int k = 0; k < t->n; k++)
        if (!strncmp(t->tag[k], h, 8)) return true;
    return false;
}

static json_doc *open_manifest(char **path, const char *run, vm_error *e) {
    *path = path_join(run, "manifest.json");
    if (!*path) return vm_nomem(e, strlen(run), "a path"), NULL;
    return file_exists(*path) ? json_open(*path, e) : NULL;
}

static vm_status read_tags(run_tags *tags, json_value stage, vm_error *e) {
    *tags = (run_tags){ 0 };
    for (json_iter it = json_each(json_get(stage, "tags")); json_next(&it) && !e->status && tags->n < RUN_TAGS;) {
        const char *t = json_as_str(it.value, e);
        if (!e->status && strlen(t) != 8) json_fail(it.value, e, "found \"%.40s\", expected eight digits", t);
        snprintf(tags->tag[tags->n++], 9, "%.8s", t);
    }
    return e->status;
}

vm_status run_dir_tags(run_tags *tags, const char *run, const char *stage, vm_error *e) {
    char *path;
    json_doc *d = open_manifest(&path, run, e);
    *tags = (run_tags){ 0 };
    if (d) read_tags(tags, json_get(json_get(json_root(d), "stages"), stage), e);
    json_free(d);
    vm_free(path);
    return e->status;
}

static char *text_of(json_value v, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, v);
    return json_take(&w, NULL, e);
}

char *run_dir_config(const char *run, const char *stage, vm_error *e) {
    char *path, *text = NULL;
    json_doc *d = open_manifest(&path, run, e);
    json_value v = json_get(json_get(json_get(json_root(d), "stages"), stage), "config");
    if (json_has(v)) text = text_of(v, e);
    json_free(d);
    vm_free(path);
    return text;
}

/* Says which member of the configuration is not what it was. */
static vm_status differs(const char *path, const char *stage, json_value was, json_value is, vm_error *e) {
    for (json_iter it = json_each(is); json_next(&it);) {
        char *a = text_of(json_get(was, it.key), e), *b = text_of(it.value, e);
        if (a && b && strcmp(a, b))
            vm_fail(e, VM_EINPUT,
                    "%s: %s was begun with another configuration: \"%s\" was %.120s and is %.120s now; give --new-run "
                    "to begin anew, or "
                    "--resume ignore-config to keep what is there",
                    path, stage, it.key, a, b);
        vm_free(a), vm_free(b);
    }
    return vm_fail(
        e, VM_EINPUT,
        "%s: %s was begun with another configuration; give --new-run to begin anew, or --resume ignore-config", path,
        stage);
}

static void put_stage(json_writer *w, const char *name, const run_tags *tags, json_value config, const vm_args *a) {
    char started[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_begin_object(w, name);
    json_begin_array(w, "tags");
    for (int k = 0; k < tags->n; k++) json_put_str(w, NULL, tags->tag[k]);
    json_close_array(w);
    json_put_value(w, "config", config);
    json_put_str(w, "command", arg_line(a));
    json_put_str(w, "program", "vismin " VM_VERSION);
    json_put_str(w, "started", started);
    json_close_object(w);
}

static vm_status write_manifest(const char *run, json_value old, const char *stage, const run_tags *tags,
                                json_value config, const vm_args *a, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_object(&w, "stages");
    for (json_iter it = json_each(json_get(old, "stages")); json_next(&it);)
        if (strcmp(it.key, stage)) json_put_value(&w, it.key, it.value);
    put_stage(&w, stage, tags, config, a);
    json_close_object(&w);
    for (json_iter it = json_each(old); json_next(&it);)
        if (strcmp(it.key, "stages")) json_put_value(&w, it.key, it.value);
    json_close_object(&w);
    return json_save(&w, run, "manifest.json", e);
}

static vm_status compare(run_tags *tags, const char *path, const char *stage, json_value old, json_value config,
                         const char *tag, bool *change, const vm_args *a, vm_error *e) {
    json_value mine = json_get(json_get(old, "stages"), stage);
    const char *resume = arg_str(a, "resume");
    bool keep = !strcmp(resume, "ignore-config"), anew = arg_flag(a, "new-run");
    if (!keep && strcmp(resume, "auto"))
        return vm_fail(e, VM_EUSAGE, "--resume %s: expected auto or ignore-config", resume);
    if (read_tags(tags, mine, e)) return e->status;
    bool same = tags->n && !strcmp(tags->tag[tags->n - 1], tag);
    *change = !same;
    if (same) return VM_OK;
    if (tags->n && !anew && !keep) return differs(path, stage, json_get(mine, "config"), config, e);
    if (tags->n && keep) vm_warn("%s: results of another configuration count as well", stage);
    if (anew || !keep) tags->n = 0;
    int k = 0; /* a configuration that comes back moves to the end */
    for (int i = 0; i < tags->n; i++)
        if (strcmp(tags->tag[i], tag)) memmove(tags->tag[k++], tags->tag[i], 9);
    if (k == RUN_TAGS)
        return vm_fail(e, VM_EINPUT, "%s: %s has %d configurations; give --new-run", path, stage, RUN_TAGS);
    snprintf(tags->tag[k], 9, "%.8s", tag);
    tags->n = k + 1;
    return VM_OK;
}

void run_dir_locks(const vm_args *a) {
    if (arg_flag(a, "no-lock") && file_locks_off())
        vm_warn("--no-lock: two workers on one shard are not noticed and would spoil each other's journal; see that there is one for each");
}

vm_status run_dir_enter(run_tags *tags, const char *run, const char *stage, const char *config, const vm_args *a,
                        vm_error *e) {
    char hex[65], *path = NULL, *folder = path_join(run, stage), *name = path_join(run, "manifest.json");
    file_lock lock = { .fd = -1 };
    bool change = false;
    sha256_hex(hex, config, strlen(config));
    hex[8] = 0;
    json_doc *d = NULL, *c = json_parse(config, strlen(config), "configuration", JSON_STRICT, e);
    if (!folder || !name) vm_nomem(e, strlen(run), "a path");
    if (!e->status && !dir_make(folder, e)) {
        for (vm_error busy = { 0 }; file_lock_take(&lock, name, &busy);
             vm_error_clear(&busy)) { /* other shards hold it for a moment */
            if (busy.status != VM_ELOCKED || run_stopping()) {
                *e = busy;
                break;
            }
            usleep(10000);
        }
        if (!e->status) d = open_manifest(&path, run, e);
        if (!e->status && !compare(tags, name, stage, json_root(d), json_root(c), hex, &change, a, e) && change)
            write_manifest(run, json_root(d), stage, tags, json_root(c), a, e);
    }
    json_free(d), json_free(c);
    file_lock_free(&lock);
    vm_free(path), vm_free(folder), vm_free(name);
    return e->status;
}
