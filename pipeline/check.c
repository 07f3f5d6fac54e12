/* check.c - `vismin check`: is a run directory whole? Every line of every journal, ids, and that whatever a stage
 * speaks of is there. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/hash.h"
#include "io/journal.h"
#include "io/log.h"
#include "pipeline/captions.h"
#include "pipeline/edit.h"
#include "pipeline/run.h"
#include "pipeline/stage_lines.h"

/* Records of a stage name records of another one. */
typedef struct {
    const char *stage, *member, *of, *id;
} reference;
static const reference references[] = {
    { "vet", "edit_id", "instruct", "edit_id" },   { "magic", "edit_id", "instruct", "edit_id" },
    { "ask", "edit_id", "instruct", "edit_id" },   { "magic", "layout_id", "layout", "layout_id" },
    { "ask", "layout_id", "layout", "layout_id" },
    { "ask_llm", "edit_id", "instruct", "edit_id" },
    { "ask_llm", "layout_id", "layout", "layout_id" },
};

typedef struct {
    const char *run;
    int64_t problems, lines, records;
    json_writer *json; /* an array of sentences; NULL: to stdout */
} job;

static void say(job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(job *j, const char *fmt, ...) {
    char text[1024];
    va_list v;
    va_start(v, fmt);
    vsnprintf(text, sizeof text, fmt, v);
    va_end(v);
    j->problems++;
    if (j->json) json_put_str(j->json, NULL, text);
    else printf("%s\n", text);
}

/* --- journals ----------------------------------------------------------------------------------------------------- */
typedef struct {
    keymap name; /* "key hash" of finished lines */
    char (*sha)[65];
    int64_t cap;
} finished;

/* Two finished lines of one unit and configuration must say the same: whoever works twice on something gets the
 * same. */
static vm_status check_line(job *j, finished *f, const char *path, const journal_line *line, vm_error *e) {
    vm_error own = { 0 };
    json_doc *d = json_parse_at(line->text, line->bytes, path, line->number, 0, &own);
    json_value v = json_root(d);
    const char *key = json_as_str(json_need(v, "k", JSON_STRING, &own), &own),
               *hash = json_as_str(json_need(v, "h", JSON_STRING, &own), &own);
    const char *st = json_as_str(json_need(v, "st", JSON_STRING, &own), &own);
    j->lines++;
    if (own.status) say(j, "%s", own.msg);
    if (d && !own.status && strcmp(st, "error") && !json_bool(v, "more", false, &own)) {
        char hex[65], *name = vm_asprintf("%s %s", key, hash);
        json_writer w = json_to_memory(JSON_COMPACT);
        json_put_value(&w, NULL, json_get(v, "recs"));
        char *recs = json_take(&w, NULL, e);
        int64_t before = f->name.n, i = name ? keymap_put_text(&f->name, name) : -1;
        if (i < 0 || !recs || !vm_grow(&f->sha, &f->cap, i + 1, sizeof *f->sha)) vm_nomem(e, line->bytes, path);
        else {
            sha256_hex(hex, recs, strlen(recs));
            if (i < before && strcmp(f->sha[i], hex))
                say(j, "%s:%" PRId64 ": %s is there twice with different records", path, line->number, key);
            memcpy(f->sha[i], hex, 65);
        }
        vm_free(name), vm_free(recs);
    }
    json_free(d);
    return e->status;
}

static vm_status check_done(job *j, const char *path, vm_error *e) {
    char hex[65], *name = vm_asprintf("%.*s.done", (int)(strlen(path) - strlen(".jsonl")), path);
    json_doc *d = name && file_exists(name) ? json_open(name, e) : NULL;
    if (!name) vm_nomem(e, strlen(path), "a path");
    if (d && !sha256_file(hex, path, e) && strcmp(json_str(json_root(d), "sha256", "", e), hex))
        say(j, "%s: is of other bytes than the journal beside it", name);
    json_free(d);
    vm_free(name);
    return e->status;
}

static vm_status check_journal(job *j, finished *f, const char *path, vm_error *e) {
    journal_reader *r = NULL;
    journal_line line;
    vm_error own = { 0 };
    if (journal_reader_open(&r, path, e)) return e->status;
    while (!e->status && journal_next(r, &line, &own) > 0) check_line(j, f, path, &line, e);
    journal_reader_close(r);
    if (own.status == VM_EINPUT) say(j, "%s", own.msg);
    else if (own.status) *e = own;
    return e->status ? e->status : check_done(j, path, e);
}

static vm_status check_stage(job *j, const char *name, vm_error *e) {
    char *dir = path_join(j->run, name), **names = NULL;
    int64_t n = 0;
    finished f = { 0 };
    if (!dir) return vm_nomem(e, strlen(name), "a path");
    dir_list(&names, &n, dir, e);
    for (int64_t i = 0; i < n && !e->status; i++) {
        int a, b, end = 0;
        if (sscanf(names[i], "part-%d-of-%d.jsonl%n", &a, &b, &end) != 2 || !end || names[i][end]) continue;
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, "a path");
        else check_journal(j, &f, path, e);
        vm_free(path);
    }
    keymap_free(&f.name);
    vm_free(f.sha), vm_free(names), vm_free(dir);
    return e->status;
}

/* --- ids ---------------------------------------------------------------------------------------------------------- */
typedef struct {
    job *j;
    const char *stage, *member;
    keymap *ids; /* those that there are, or to be filled */
    keymap *images;
    bool fill;
} looking;

static void check_edit_id(job *j, const char *id, json_value rec, vm_error *e) {
    edit x = { 0 };
    char want[17];
    snprintf(x.selected, EDIT_TEXT, "%s", json_str(rec, "input_phrase", "", e)),
        snprintf(x.edited, EDIT_TEXT, "%s", json_str(rec, "edited_phrase", "", e));
    snprintf(x.caption, EDIT_TEXT, "%s", json_str(rec, "edited_caption", "", e)),
        snprintf(x.category, sizeof x.category, "%s", json_str(rec, "category", "", e));
    edit_id(want, json_str(rec, "image_id", "", e), json_str(rec, "caption", "", e), &x);
    if (strlen(id) == 16 && strcmp(id, want))
        say(j, "instruct: edit %s does not have the id of its contents, which is %s", id, want);
}

static vm_status look(void *ctx, const char *key, json_value rec, vm_error *e) {
    looking *l = ctx;
    const char *id = json_str(rec, l->member, NULL, e), *image = json_str(rec, "image_id", NULL, e);
    if (e->status || !id) return e->status;
    l->j->records++;
    if (!l->fill) {
        if (keymap_find(l->ids, id, strlen(id)) < 0)
            say(l->j, "%s: %s of unit %s is of no record that there is", l->stage, id, key);
        return VM_OK;
    }
    int64_t before = l->ids->n, i = keymap_put_text(l->ids, id);
    if (i < 0) return vm_nomem(e, 64, "ids");
    if (i < before) say(l->j, "%s: %s is there twice", l->stage, id);
    if (!strcmp(l->stage, "instruct")) check_edit_id(l->j, id, rec, e);
    if (l->images->n && image && keymap_find(l->images, image, strlen(image)) < 0)
        say(l->j, "%s: %s is of picture %s, which has no caption in captions.jsonl", l->stage, id, image);
    return e->status;
}

static vm_status read_images(job *j, keymap *images, vm_error *e) {
    captions l = { .strict = true };
    char *path = path_join(j->run, "captions.jsonl");
    if (!path) return vm_nomem(e, 256, "a path");
    if (file_exists(path)) captions_read(&l, path, e);
    for (int64_t i = 0; i < l.n && !e->status; i++)
        if (keymap_put_text(images, l.c[i].image_id) < 0) vm_nomem(e, 64, "ids");
    captions_free(&l);
    vm_free(path);
    return e->status;
}

static vm_status check_references(job *j, vm_error *e) {
    keymap images = { 0 };
    static const char *const sources[][2] = { { "instruct", "edit_id" }, { "layout", "layout_id" } };
    read_images(j, &images, e);
    for (int s = 0; s < VM_LEN(sources) && !e->status; s++) {
        keymap ids = { 0 };
        looking fill = { j, sources[s][0], sources[s][1], &ids, &images, true };
        stage_records(j->run, sources[s][0], look, &fill, e);
        for (int k = 0; k < VM_LEN(references) && !e->status; k++) {
            const reference *r = &references[k];
            looking l = { j, r->stage, r->member, &ids, &images, false };
            if (!strcmp(r->of, sources[s][0])) stage_records(j->run, r->stage, look, &l, e);
        }
        keymap_free(&ids);
    }
    keymap_free(&images);
    return e->status;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static vm_status check_all(job *j, vm_error *e) {
    char **names;
    int64_t n, stages = 0;
    if (dir_list(&names, &n, j->run, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status; i++) {
        run_tags tags;
        if (run_dir_tags(&tags, j->run, names[i], e) || !tags.n) continue;
        check_stage(j, names[i], e), stages++;
    }
    vm_free(names);
    if (!e->status && !stages)
        vm_fail(e, VM_EINPUT, "%s: no stage has run here (no manifest.json with stages)", j->run);
    if (!e->status && !j->problems) check_references(j, e); /* damaged lines cannot be read there */
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    json_writer w = json_to_stream(stdout, JSON_COMPACT);
    bool json = arg_flag(a, "json");
    job j = { .run = arg_pos(a, 0), .json = json ? &w : NULL };
    if (json) json_begin_object(&w, NULL), json_begin_array(&w, "problems");
    check_all(&j, e);
    if (json) {
        json_close_array(&w);
        json_put_int(&w, "lines", j.lines), json_put_int(&w, "records", j.records);
        json_close_object(&w), json_newline(&w);
    }
    json_end(&w, e);
    if (!e->status)
        vm_info("%s: %" PRId64 " lines, %" PRId64 " ids looked up, %" PRId64 " problems", j.run, j.lines, j.records,
                j.problems);
    return e->status ? e->status : j.problems ? VM_EPARTIAL : VM_OK;
}

const vm_command cmd_check = {
    .name = "check",
    .summary = "is a run directory whole: journals, ids, what stages say about each other",
    .usage = "RUN",
    .about = "Reads every line of every journal, and lists: damaged lines; units that are there twice with different "
             "records; ids that do not fit their\n"
             "contents or stand twice; records about edits, layouts or pictures that there are none of. Status 1 when "
             "anything is listed.",
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
