/* export_text.c - layouts, richer phrases and questions in the layouts of the original project:
 *   layout  {id: {"prompt", "bounding_boxes": [[name, [x, y, w, h]]], "background_prompt", "negative_prompt", "category"}}
 *   magic   {image_id: {edit_id: [texts]}}; of layouts {id: {name: [texts]}}
 *   ask     {image_id: {edit_id: {"generated_questions_full_caption", "generated_questions_region_caption", "prompt"}}};
 *           of relation layouts {id: {"generated_questions": [[of object 0], [of object 1]]}}, of counting ones {id: {"generated_questions": {name: [...]}}}
 * A published question is {"question", "choices", "answer"}. */
#include <stdlib.h>
#include <string.h>

#include "pipeline/ask_question.h"
#include "pipeline/export.h"
#include "pipeline/layout_run.h"

/* --- layout ------------------------------------------------------------------------------------------------------------- */
static vm_status put_layout(void *ctx, const char *id, const layout *l, vm_error *e) {
    json_writer *w = ctx;
    json_begin_object(w, id);
    json_put_str(w, "prompt", l->caption);
    json_begin_array(w, "bounding_boxes");
    for (int i = 0; i < l->n; i++) {
        const layout_object *o = &l->object[i];
        json_begin_array(w, NULL);
        json_put_str(w, NULL, o->name);
        json_begin_array(w, NULL);
        json_put_int(w, NULL, o->x), json_put_int(w, NULL, o->y), json_put_int(w, NULL, o->w), json_put_int(w, NULL, o->h);
        json_close_array(w);
        json_close_array(w);
    }
    json_close_array(w);
    json_put_str(w, "background_prompt", l->background), json_put_str(w, "negative_prompt", l->negative), json_put_str(w, "category", l->category);
    json_close_object(w);
    return VM_OK;
}

static vm_status write_layouts(json_writer *w, const char *run, vm_error *e) {
    json_begin_object(w, NULL);
    layouts_each(run, put_layout, w, e);
    json_close_object(w);
    return e->status;
}

/* One unit of a stage that is read back. */
static vm_status put_unit(stage *s, const char *key, const char *shard, const char *recs, vm_error *e) {
    stage_unit u = { .key = key, .shard = shard, .input = "" };
    if (e->status || !stage_mine(s, shard) || stage_done(s, &u)) return e->status;
    return stage_put(s, &(stage_line){ .key = key, .input = "", .state = STAGE_OK, .recs = recs, .in = -1, .out = -1 }, e);
}

/* Layouts that break a rule are kept out: the published files have many. */
static vm_status read_layouts(stage *s, json_value root, vm_error *e) {
    layout_rules rules = layout_rules_default;
    for (json_iter it = json_each(root); json_next(&it) && !e->status;) {
        layout l;
        char why[LAYOUT_WHY];
        layout_code c = layout_from_json(&l, it.value, why) ? layout_check(&l, &rules, why) : L01;
        stage_unit u = { .key = it.key, .shard = it.key, .input = "" };
        if (!stage_mine(s, it.key) || stage_done(s, &u)) continue;
        json_writer w = json_to_memory(JSON_COMPACT);
        json_begin_array(&w, NULL);
        if (!c) {
            json_begin_object(&w, NULL);
            json_put_str(&w, "layout_id", it.key);
            layout_put_members(&w, &l);
            json_close_object(&w);
        }
        json_close_array(&w);
        char *recs = json_take(&w, NULL, e), name[8];
        tally bad = { 0 };
        snprintf(name, sizeof name, "L%02d", (int)c);
        if (c) tally_add(&bad, name, 1);
        stage_line line = { .key = it.key, .input = "", .state = c ? STAGE_VOID : STAGE_OK, .code = c ? "rejected" : NULL, .recs = recs, .why = &bad, .in = -1, .out = -1 };
        if (!e->status) stage_put(s, &line, e);
        if (!e->status && c) stage_reject(s, it.key, 0, name, why, e);
        vm_free(recs);
    }
    return e->status;
}

const export_layout export_layouts = { .stage = "layout", .write = write_layouts, .read = read_layouts };

/* --- records by picture ------------------------------------------------------------------------------------------------- */
/* Records come in the order of their units; the published layout is by picture. */
typedef struct {
    char *outer, *inner, *json; /* inner NULL: json is the value of outer */
} piece;

typedef struct {
    piece *p;
    int64_t n, cap;
} pieces;

static vm_status add_piece(pieces *l, const char *outer, const char *inner, json_writer *w, vm_error *e) {
    char *json = json_take(w, NULL, e);
    if (!json || !vm_grow(&l->p, &l->cap, l->n + 1, sizeof *l->p)) return vm_free(json), vm_nomem(e, sizeof *l->p, "records");
    piece *x = &l->p[l->n++];
    *x = (piece){ vm_strdup(outer), inner ? vm_strdup(inner) : NULL, json };
    return x->outer && (x->inner || !inner) ? e->status : vm_nomem(e, 64, "records");
}

static int by_name(const void *a, const void *b) {
    const piece *x = a, *y = b;
    int c = strcmp(x->outer, y->outer);
    return c ? c : strcmp(x->inner ? x->inner : "", y->inner ? y->inner : "");
}

static vm_status write_pieces(json_writer *w, const char *run, const char *name, stage_record_fn each, vm_error *e) {
    pieces l = { 0 };
    export_nest nest = { 0 };
    stage_records(run, name, each, &l, e);
    if (l.n && !e->status) qsort(l.p, (size_t)l.n, sizeof *l.p, by_name);
    json_begin_object(w, NULL);
    for (int64_t i = 0; i < l.n && !e->status; i++) {
        const piece *x = &l.p[i];
        if (x->inner && !export_level(&nest, w, x->outer, NULL, e)) json_put_raw(w, x->inner, x->json, strlen(x->json));
        else if (!x->inner) export_end(&nest, w), json_put_raw(w, x->outer, x->json, strlen(x->json));
    }
    export_end(&nest, w);
    json_close_object(w);
    for (int64_t i = 0; i < l.n; i++) vm_free(l.p[i].outer), vm_free(l.p[i].inner), vm_free(l.p[i].json);
    vm_free(l.p);
    return e->status;
}

/* --- magic -------------------------------------------------------------------------------------------------------------- */
static vm_status add_phrase(void *ctx, const char *key, json_value rec, vm_error *e) {
    const char *layout_id = json_str(rec, "layout_id", NULL, e);
    const char *outer = layout_id ? layout_id : json_as_str(json_need(rec, "image_id", JSON_STRING, e), e);
    const char *inner = json_as_str(json_need(rec, layout_id ? "name" : "edit_id", JSON_STRING, e), e);
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, json_need(rec, "enhanced", JSON_ARRAY, e));
    return add_piece(ctx, outer, inner, &w, e);
}

static vm_status write_phrases(json_writer *w, const char *run, vm_error *e) { return write_pieces(w, run, "magic", add_phrase, e); }

/* Whether a picture is a layout the file does not say: its names are no ids. The texts are all that there is. */
static vm_status read_phrases(stage *s, json_value root, vm_error *e) {
    for (json_iter image = json_each(root); json_next(&image) && !e->status;)
        for (json_iter it = json_each(image.value); json_next(&it) && !e->status;) {
            bool edit = strspn(it.key, "0123456789abcdef") == strlen(it.key);
            char *key = edit ? vm_strdup(it.key) : vm_asprintf("%s:%s", image.key, it.key);
            json_writer w = json_to_memory(JSON_COMPACT);
            json_begin_array(&w, NULL);
            json_begin_object(&w, NULL);
            if (edit) json_put_str(&w, "edit_id", it.key), json_put_str(&w, "image_id", image.key);
            else json_put_str(&w, "layout_id", image.key), json_put_str(&w, "name", it.key);
            if (it.value.kind != JSON_ARRAY) json_fail(it.value, e, "expected a list of texts");
            json_put_value(&w, "enhanced", it.value);
            json_close_object(&w);
            json_close_array(&w);
            char *recs = json_take(&w, NULL, e);
            if (!key) vm_nomem(e, 64, "a key");
            else put_unit(s, key, image.key, recs, e);
            vm_free(recs), vm_free(key);
        }
    return e->status;
}

const export_layout export_magic = { .stage = "magic", .write = write_phrases, .read = read_phrases };

/* --- ask ---------------------------------------------------------------------------------------------------------------- */
static void put_questions(json_writer *w, const char *key, json_value list, vm_error *e) {
    json_begin_array(w, key);
    for (json_iter it = json_each(list); json_next(&it) && !e->status;) {
        json_value choices = json_get(it.value, "choices");
        json_begin_object(w, NULL);
        json_put_value(w, "question", json_get(it.value, "question")), json_put_value(w, "choices", choices);
        json_put_value(w, "answer", json_at(choices, json_int(it.value, "answer_index", 0, 0, ASK_CHOICES - 1, e)));
        json_close_object(w);
    }
    json_close_array(w);
}

static vm_status add_questions(void *ctx, const char *key, json_value rec, vm_error *e) {
    const char *id = json_str(rec, "edit_id", NULL, e), *category = json_str(rec, "category", "", e);
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    if (id) {
        put_questions(&w, "generated_questions_full_caption", json_get(rec, "global"), e), put_questions(&w, "generated_questions_region_caption", json_get(rec, "local"), e);
        json_put_value(&w, "prompt", json_get(rec, "prompt"));
    } else {
        bool named = !strncmp(category, "counting", 8);
        if (named) json_begin_object(&w, "generated_questions");
        else json_begin_array(&w, "generated_questions");
        for (json_iter it = json_each(json_get(rec, "objects")); json_next(&it) && !e->status;)
            put_questions(&w, named ? json_str(it.value, "name", "", e) : NULL, json_get(it.value, "questions"), e);
        if (named) json_close_object(&w);
        else json_close_array(&w);
    }
    json_close_object(&w);
    return add_piece(ctx, id ? json_as_str(json_need(rec, "image_id", JSON_STRING, e), e) : json_as_str(json_need(rec, "layout_id", JSON_STRING, e), e), id, &w, e);
}

static vm_status write_questions(json_writer *w, const char *run, vm_error *e) { return write_pieces(w, run, "ask", add_questions, e); }

/* Published questions have no kind: yes is exist, no is absent, all others identity. */
static vm_status get_questions(json_writer *w, const char *key, json_value list, question *q, vm_error *e) {
    const char *why = "";
    json_begin_array(w, key);
    for (json_iter it = json_each(list); json_next(&it) && !e->status;) {
        if (!question_from_json(q, it.value, ASK_IDENTITY, &why)) return json_fail(it.value, e, "no question: its %s", why);
        if (!json_has(json_get(it.value, "kind")) && !strcmp(q->choice[q->answer], "yes")) q->kind = ASK_EXIST;
        if (!json_has(json_get(it.value, "kind")) && !strcmp(q->choice[q->answer], "no")) q->kind = ASK_ABSENT;
        question_put(w, NULL, q);
    }
    json_close_array(w);
    return e->status;
}

static vm_status read_layout_questions(stage *s, const char *id, json_value v, question *q, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_array(&w, NULL);
    json_begin_object(&w, NULL);
    json_put_str(&w, "layout_id", id), json_put_str(&w, "category", v.kind == JSON_OBJECT ? "counting" : "relation");
    json_begin_array(&w, "objects");
    for (json_iter it = json_each(v); json_next(&it) && !e->status;) {
        json_begin_object(&w, NULL);
        if (it.key) json_put_str(&w, "name", it.key);
        get_questions(&w, "questions", it.value, q, e);
        json_close_object(&w);
    }
    json_close_array(&w);
    json_close_object(&w);
    json_close_array(&w);
    char *recs = json_take(&w, NULL, e);
    put_unit(s, id, id, recs, e);
    vm_free(recs);
    return e->status;
}

static vm_status read_edit_questions(stage *s, const char *image, const char *id, json_value v, question *q, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_array(&w, NULL);
    json_begin_object(&w, NULL);
    json_put_str(&w, "edit_id", id), json_put_str(&w, "image_id", image), json_put_str(&w, "prompt", json_str(v, "prompt", "", e));
    get_questions(&w, "global", json_get(v, "generated_questions_full_caption"), q, e);
    get_questions(&w, "local", json_get(v, "generated_questions_region_caption"), q, e);
    json_close_object(&w);
    json_close_array(&w);
    char *recs = json_take(&w, NULL, e);
    put_unit(s, id, image, recs, e);
    vm_free(recs);
    return e->status;
}

static vm_status read_questions(stage *s, json_value root, vm_error *e) {
    question *q = vm_alloc(sizeof *q);
    if (!q) return vm_nomem(e, sizeof *q, "a question");
    for (json_iter image = json_each(root); json_next(&image) && !e->status;) {
        json_value of_layout = json_get(image.value, "generated_questions");
        if (json_has(of_layout)) read_layout_questions(s, image.key, of_layout, q, e);
        else
            for (json_iter it = json_each(image.value); json_next(&it) && !e->status;) read_edit_questions(s, image.key, it.key, it.value, q, e);
    }
    vm_free(q);
    return e->status;
}

const export_layout export_ask = { .stage = "ask", .write = write_questions, .read = read_questions };
