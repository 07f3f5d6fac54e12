/* export_edits.c - edits and their checks in the layouts of the original project:
 *   instruct  {image_id: {caption: [{"input_phrase", "edited_phrase", "edited_caption", "edited_region_phrase",
 *             "category", "edit_id"}]}}
 *   vet       {image_id: {edit_id: {"reject": "YES" | "NO", "output": reason}}} */
#include <stdlib.h>
#include <string.h>

#include "io/hash.h"
#include "pipeline/edit.h"
#include "pipeline/export.h"

typedef struct {
    json_writer *w;
    export_nest nest;
} writing;

/* --- instruct ----------------------------------------------------------------------------------------------------- */
static const char *const published[] = { "input_phrase",         "edited_phrase", "edited_caption",
                                         "edited_region_phrase", "category",      "edit_id" };

static vm_status put_edit(void *ctx, const char *key, json_value rec, vm_error *e) {
    writing *x = ctx;
    const char *image = json_as_str(json_need(rec, "image_id", JSON_STRING, e), e),
               *text = json_as_str(json_need(rec, "caption", JSON_STRING, e), e);
    if (e->status || export_level(&x->nest, x->w, image, text, e)) return e->status;
    json_begin_object(x->w, NULL);
    for (int k = 0; k < VM_LEN(published); k++) json_put_value(x->w, published[k], json_get(rec, published[k]));
    json_close_object(x->w);
    return VM_OK;
}

static vm_status write_edits(json_writer *w, const char *run, vm_error *e) {
    writing x = { .w = w, .nest = { .list = true } };
    json_begin_object(w, NULL);
    stage_records(run, "instruct", put_edit, &x, e);
    export_end(&x.nest, w);
    json_close_object(w);
    return e->status;
}

/* A record of ours from a published one; the id as it is. */
static void put_record(json_writer *w, const char *image, const char *text, json_value rec, vm_error *e) {
    static const char *const order[] = { "input_phrase", "edited_phrase", "edited_region_phrase", "edited_caption",
                                         "category" };
    edit x = { 0 };
    char id[17];
    snprintf(x.selected, EDIT_TEXT, "%s", json_as_str(json_need(rec, "input_phrase", JSON_STRING, e), e));
    snprintf(x.edited, EDIT_TEXT, "%s", json_as_str(json_need(rec, "edited_phrase", JSON_STRING, e), e));
    snprintf(x.caption, EDIT_TEXT, "%s", json_as_str(json_need(rec, "edited_caption", JSON_STRING, e), e));
    snprintf(x.category, sizeof x.category, "%s", json_as_str(json_need(rec, "category", JSON_STRING, e), e));
    edit_id(id, image, text, &x);
    json_begin_object(w, NULL);
    json_put_str(w, "edit_id", json_str(rec, "edit_id", id, e)), json_put_str(w, "image_id", image),
        json_put_str(w, "caption", text);
    for (int k = 0; k < VM_LEN(order); k++)
        if (json_has(json_get(rec, order[k]))) json_put_value(w, order[k], json_get(rec, order[k]));
    json_close_object(w);
}

static vm_status read_edits(stage *s, json_value root, vm_error *e) {
    for (json_iter image = json_each(root); json_next(&image) && !e->status;) {
        if (!stage_mine(s, image.key)) continue;
        if (image.value.kind != JSON_OBJECT)
            return json_fail(image.value, e, "found no object, expected {caption: [edits]}");
        for (json_iter text = json_each(image.value); json_next(&text) && !e->status;) {
            char hex[65];
            sha256_hex(hex, text.key, strlen(text.key));
            char *key = vm_asprintf("%s:%.8s", image.key, hex);
            json_writer w = json_to_memory(JSON_COMPACT);
            json_begin_array(&w, NULL);
            for (json_iter rec = json_each(text.value); json_next(&rec) && !e->status;)
                put_record(&w, image.key, text.key, rec.value, e);
            json_close_array(&w);
            char *recs = json_take(&w, NULL, e);
            stage_unit u = { .key = key, .shard = image.key, .input = text.key };
            if (!key) vm_nomem(e, 64, "a key");
            if (!e->status && !stage_done(s, &u))
                stage_put(s,
                          &(stage_line){
                              .key = key, .input = text.key, .state = STAGE_OK, .recs = recs, .in = -1, .out = -1 },
                          e);
            vm_free(recs), vm_free(key);
        }
    }
    return e->status;
}

const export_layout export_instruct = { .stage = "instruct", .write = write_edits, .read = read_edits };

/* --- vet ---------------------------------------------------------------------------------------------------------- */
/* Edits are sorted by their own ids, and the layout by pictures: those of one picture are gathered first. */
typedef struct {
    char *image, *id, *reason;
    bool reject;
} checked;

typedef struct {
    checked *c;
    int64_t n, cap;
} check_list;

static vm_status add_verdict(void *ctx, const char *key, json_value rec, vm_error *e) {
    check_list *l = ctx;
    if (!vm_grow(&l->c, &l->cap, l->n + 1, sizeof *l->c)) return vm_nomem(e, sizeof *l->c, "verdicts");
    const char *image = json_as_str(json_need(rec, "image_id", JSON_STRING, e), e),
               *id = json_as_str(json_need(rec, "edit_id", JSON_STRING, e), e);
    const char *verdict = json_as_str(json_need(rec, "verdict", JSON_STRING, e), e),
               *reason = json_str(rec, "reason", "", e);
    if (e->status) return e->status;
    l->c[l->n] = (checked){ vm_strdup(image), vm_strdup(id), vm_strdup(reason), strcmp(verdict, "accept") != 0 };
    checked *c = &l->c[l->n++];
    return c->image && c->id && c->reason ? VM_OK : vm_nomem(e, 256, "verdicts");
}

static int by_image(const void *a, const void *b) {
    const checked *x = a, *y = b;
    int c = strcmp(x->image, y->image);
    return c ? c : strcmp(x->id, y->id);
}

static vm_status write_verdicts(json_writer *w, const char *run, vm_error *e) {
    check_list l = { 0 };
    export_nest nest = { 0 };
    stage_records(run, "vet", add_verdict, &l, e);
    if (l.n && !e->status) qsort(l.c, (size_t)l.n, sizeof *l.c, by_image);
    json_begin_object(w, NULL);
    for (int64_t i = 0; i < l.n && !e->status; i++) {
        if (export_level(&nest, w, l.c[i].image, NULL, e)) break;
        json_begin_object(w, l.c[i].id);
        json_put_str(w, "reject", l.c[i].reject ? "YES" : "NO"), json_put_str(w, "output", l.c[i].reason);
        json_close_object(w);
    }
    export_end(&nest, w);
    json_close_object(w);
    for (int64_t i = 0; i < l.n; i++) vm_free(l.c[i].image), vm_free(l.c[i].id), vm_free(l.c[i].reason);
    vm_free(l.c);
    return e->status;
}

static vm_status read_verdicts(stage *s, json_value root, vm_error *e) {
    for (json_iter image = json_each(root); json_next(&image) && !e->status;) {
        if (!stage_mine(s, image.key)) continue;
        for (json_iter it = json_each(image.value); json_next(&it) && !e->status;) {
            bool reject = strcmp(json_as_str(json_need(it.value, "reject", JSON_STRING, e), e), "NO") != 0;
            json_writer w = json_to_memory(JSON_COMPACT);
            json_begin_array(&w, NULL);
            json_begin_object(&w, NULL);
            json_put_str(&w, "edit_id", it.key), json_put_str(&w, "image_id", image.key),
                json_put_str(&w, "verdict", reject ? "reject" : "accept");
            json_put_str(&w, "reason", json_str(it.value, "output", "", e));
            json_close_object(&w);
            json_close_array(&w);
            char *recs = json_take(&w, NULL, e);
            stage_unit u = { .key = it.key, .shard = image.key, .input = image.key };
            if (!e->status && !stage_done(s, &u))
                stage_put(s,
                          &(stage_line){
                              .key = it.key, .input = image.key, .state = STAGE_OK, .recs = recs, .in = -1, .out = -1 },
                          e);
            vm_free(recs);
        }
    }
    return e->status;
}

const export_layout export_vet = { .stage = "vet", .write = write_verdicts, .read = read_verdicts };
