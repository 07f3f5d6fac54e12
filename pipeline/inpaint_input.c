/* inpaint_input.c - edit instructions for inpaint_stage.h: from journals of earlier stages or a file. */
#include <stdlib.h>
#include <string.h>

#include "io/json_lines.h"
#include "io/keymap.h"
#include "io/log.h"
#include "pipeline/inpaint_stage.h"
#include "pipeline/stage_lines.h"

/* A copy of the record that lives by itself. */
static json_doc *copy(json_value rec, vm_error *e) {
    size_t n;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, rec);
    char *text = json_take(&w, &n, e);
    json_doc *d = text ? json_parse_at(text, n, json_name(rec.doc), VM_MAX(json_line(rec), (int64_t)1), 0, e) : NULL;
    vm_free(text);
    return d;
}

static void close_edit(inpaint_edit *x) {
    json_free(x->doc);
    vm_free(x->magic), vm_free(x->about);
}

static vm_status add(inpaint_edits *l, json_value rec, vm_error *e) {
    inpaint_edit x = { .doc = copy(rec, e) };
    json_value r = json_root(x.doc);
    if (e->status) return e->status;
    x.id = json_as_str(json_need(r, "edit_id", JSON_STRING, e), e), x.image_id = json_as_str(json_need(r, "image_id", JSON_STRING, e), e);
    x.file = json_str(r, "file", NULL, e);
    x.before = json_str(r, "caption", NULL, e);
    if (!x.before) x.before = json_as_str(json_need(r, "input_caption", JSON_STRING, e), e);
    x.after = json_as_str(json_need(r, "edited_caption", JSON_STRING, e), e);
    x.input = json_as_str(json_need(r, "input_phrase", JSON_STRING, e), e), x.edited = json_as_str(json_need(r, "edited_phrase", JSON_STRING, e), e);
    if (!e->status && (!*x.id || strlen(x.id) > 200 || strspn(x.id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(x.id)))
        json_fail(json_get(r, "edit_id"), e, "\"%.60s\" is no name of a file", x.id);
    if (!e->status && !vm_grow(&l->e, &l->cap, l->n + 1, sizeof *l->e)) vm_nomem(e, sizeof x, "edits");
    if (e->status) close_edit(&x);
    else l->e[l->n++] = x;
    return e->status;
}

static vm_status take_record(void *ctx, const char *key, json_value rec, vm_error *e) {
    return add(ctx, rec, e);
}

/* Malformed lines are counted and said; --strict ends with the first. */
static vm_status read_file(inpaint_edits *l, const char *path, bool strict, vm_error *e) {
    json_lines *r = NULL;
    int64_t bad = 0;
    json_doc *d;
    vm_error why = { 0 };
    if (json_lines_open(&r, path, JSON_LENIENT, e)) return e->status;
    for (int rc; !e->status && (rc = json_lines_next(r, &d, &why));) {
        if (rc > 0) add(l, json_root(d), &why), json_free(d);
        if (!why.status) continue;
        if (strict || why.status != VM_EINPUT) *e = why;
        else if (bad++ < 20) vm_warn("%s", why.msg);
        vm_error_clear(&why);
    }
    json_lines_close(r);
    if (bad) vm_warn("%s: %lld lines are no edits", path, (long long)bad);
    return e->status;
}

static int by_id(const void *a, const void *b) {
    const inpaint_edit *x = a, *y = b;
    int c = strcmp(x->image_id, y->image_id);
    return c ? c : strcmp(x->id, y->id);
}

static inpaint_edit *find(const inpaint_edits *l, const keymap *m, const char *id) {
    int64_t i = keymap_find(m, id, strlen(id));
    return i < 0 ? NULL : &l->e[i];
}

typedef struct {
    inpaint_edits *l;
    const keymap *m;
    bool *accepted;
} later;

/* {"edit_id", "verdict": "accept" | "reject" | "undecided"} */
static vm_status take_verdict(void *ctx, const char *key, json_value rec, vm_error *e) {
    later *t = ctx;
    const inpaint_edit *x = find(t->l, t->m, json_str(rec, "edit_id", key, e));
    if (x) t->accepted[x - t->l->e] = !strcmp(json_str(rec, "verdict", "", e), "accept");
    return e->status;
}

/* {"edit_id", "enhanced": ["...", ...]} */
static vm_status take_magic(void *ctx, const char *key, json_value rec, vm_error *e) {
    later *t = ctx;
    inpaint_edit *x = find(t->l, t->m, json_str(rec, "edit_id", key, e));
    json_value list = json_get(rec, "enhanced");
    for (int64_t k = 0; x && k < json_len(list) && k < INPAINT_MAGIC && !e->status; k++) {
        const char *v = json_as_str(json_at(list, k), e);
        char *all = e->status ? NULL : x->magic && k ? vm_asprintf("%s, %s", x->magic, v) : vm_strdup(v);
        if (!e->status && !all) vm_nomem(e, strlen(v), "a prompt");
        vm_free(x->magic);
        x->magic = all;
    }
    return e->status;
}

/* Where vet has run, only what it accepted; what magic says of each. */
static vm_status settle_with(inpaint_edits *l, const keymap *m, const char *run, vm_error *e) {
    run_tags vetted;
    int64_t kept = 0, all = l->n;
    later t = { .l = l, .m = m, .accepted = vm_calloc((size_t)l->n + 1, 1) };
    if (!t.accepted) return vm_nomem(e, (size_t)l->n, "edits");
    if (!run_dir_tags(&vetted, run, "vet", e) && !stage_records(run, "vet", take_verdict, &t, e)) stage_records(run, "magic", take_magic, &t, e);
    for (int64_t i = 0; i < all && !e->status; i++) {
        if (vetted.n && !t.accepted[i]) close_edit(&l->e[i]);
        else l->e[kept++] = l->e[i];
    }
    if (!e->status) l->n = kept;
    if (!e->status && kept < all) vm_info("%lld of %lld edits were accepted by vet", (long long)kept, (long long)all);
    vm_free(t.accepted);
    return e->status;
}

/* Drops doubles, adds what later stages say. */
static vm_status settle(inpaint_edits *l, const char *run, vm_error *e) {
    keymap m = { 0 };
    int64_t kept = 0, all = l->n;
    if (l->n) qsort(l->e, (size_t)l->n, sizeof *l->e, by_id);
    for (int64_t i = 0; i < all; i++) {
        if (kept && !strcmp(l->e[kept - 1].id, l->e[i].id)) close_edit(&l->e[i]);
        else l->e[kept++] = l->e[i];
    }
    l->n = kept;
    if (kept < all) vm_info("%lld edits stand in the list more than once", (long long)(all - kept));
    for (int64_t i = 0; i < l->n && !e->status; i++)
        if (keymap_put(&m, l->e[i].id, strlen(l->e[i].id)) != i) vm_fail(e, VM_EINPUT, "edit %s belongs to two pictures", l->e[i].id);
    if (!e->status) settle_with(l, &m, run, e);
    keymap_free(&m);
    return e->status;
}

static vm_status describe(inpaint_edit *x, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_array(&w, NULL);
    json_put_value(&w, NULL, json_root(x->doc)), json_put_str(&w, NULL, x->magic);
    json_close_array(&w);
    x->about = json_take(&w, NULL, e);
    return e->status;
}

vm_status inpaint_edits_read(inpaint_edits *l, const char *run, const vm_args *a, vm_error *e) {
    const char *file = arg_str(a, "edits");
    *l = (inpaint_edits){ 0 };
    if (file) read_file(l, file, arg_flag(a, "strict"), e);
    else stage_records(run, "instruct", take_record, l, e);
    if (!e->status) settle(l, run, e);
    for (int64_t i = 0; i < l->n && !e->status; i++) describe(&l->e[i], e);
    if (!e->status && !l->n) vm_fail(e, VM_EINPUT, "%s: no edits; `vismin instruct` makes them, or give --edits FILE", file ? file : run);
    if (e->status) inpaint_edits_free(l);
    return e->status;
}

void inpaint_edits_free(inpaint_edits *l) {
    for (int64_t i = 0; i < l->n; i++) close_edit(&l->e[i]);
    vm_free(l->e);
    *l = (inpaint_edits){ 0 };
}
