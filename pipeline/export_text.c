/* export_text.c - layouts, richer phrases and questions in the layouts of the original project:
 *   layout  {id: {"prompt", "bounding_boxes": [[name, [x, y, w, h]]], "background_prompt", "negative_prompt",
 *           "category"}}; read is also {caption: [texts of several lines, as layout.h has them]}
 *   magic   {image_id: {edit_id: [texts]}}; of layouts {id: {name: [texts]}}
 *   ask     {image_id: {edit_id: {"generated_questions_full_caption", "generated_questions_region_caption",
 *           "prompt"}}};
 *           of relation layouts {id: {"generated_questions": [[of object 0], [of object 1]]}},
 *           of counting ones {id: {"generated_questions": {name: [...]}}}
 * A published question is {"question", "choices", "answer"}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/hash.h"
#include "pipeline/ask_question.h"
#include "pipeline/export.h"
#include "pipeline/layout_run.h"

/* --- layout ------------------------------------------------------------------------------------------------------- */
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
        json_put_int(w, NULL, o->x), json_put_int(w, NULL, o->y), json_put_int(w, NULL, o->w),
            json_put_int(w, NULL, o->h);
        json_close_array(w);
        json_close_array(w);
    }
    json_close_array(w);
    json_put_str(w, "background_prompt", l->background), json_put_str(w, "negative_prompt", l->negative),
        json_put_str(w, "category", l->category);
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
    return stage_put(s, &(stage_line){ .key = key, .input = "", .state = STAGE_OK, .recs = recs, .in = -1, .out = -1 },
                     e);
}

/* Layouts that are read back under one key. Those that break a rule are kept out: the published files have many. */
typedef struct {
    json_writer w;
    tally why;
    int n;
    char first[LAYOUT_WHY]; /* what was wrong with the first of them */
} layouts_of;

/* id NULL: that of its contents. */
static void take_layout(layouts_of *o, layout *l, const char *id, const char *problem, vm_error *e) {
    char why[LAYOUT_WHY], name[8];
    layout_code c = *problem ? L01 : layout_check(l, &layout_rules_default, why);
    if (c) {
        snprintf(name, sizeof name, "L%02d", (int)c);
        tally_add(&o->why, name, 1);
        if (!o->first[0]) snprintf(o->first, LAYOUT_WHY, "%s", *problem ? problem : why);
    } else if (!id) layout_put_record(&o->w, l, NULL, e), o->n++;
    else {
        json_begin_object(&o->w, NULL);
        json_put_str(&o->w, "layout_id", id);
        layout_put_members(&o->w, l);
        json_close_object(&o->w);
        o->n++;
    }
}

static vm_status put_layouts(stage *s, layouts_of *o, const char *key, const char *id, json_value v, vm_error *e) {
    layout l;
    char problem[LAYOUT_WHY];
    o->w = json_to_memory(JSON_COMPACT);
    json_begin_array(&o->w, NULL);
    if (v.kind == JSON_OBJECT) layout_from_json(&l, v, problem), take_layout(o, &l, id, problem, e);
    for (json_iter it = json_each(v); v.kind == JSON_ARRAY && json_next(&it) && !e->status;) {
        const char *p = json_as_str(it.value, e), *end = p + strlen(p);
        if (!layout_next(&p, end, true, &l, problem)) snprintf(problem, sizeof problem, "no layout");
        layout_caption(l.caption, id);
        take_layout(o, &l, NULL, problem, e);
    }
    json_close_array(&o->w);
    char *recs = json_take(&o->w, NULL, e);
    stage_line line = { .key = key,
                        .input = "",
                        .state = o->n ? STAGE_OK : STAGE_VOID,
                        .code = o->n ? NULL : "rejected",
                        .recs = recs,
                        .why = &o->why,
                        .in = -1,
                        .out = -1 };
    if (!e->status) stage_put(s, &line, e);
    if (!e->status && !o->n) stage_reject(s, key, 0, "rejected", o->first, e);
    vm_free(recs);
    return e->status;
}

static vm_status read_layouts(stage *s, json_value root, vm_error *e) {
    for (json_iter it = json_each(root); json_next(&it) && !e->status;) {
        char hex[65];
        bool texts = it.value.kind == JSON_ARRAY;
        sha256_hex(hex, it.key, strlen(it.key));
        hex[16] = 0;
        const char *key = texts ? hex : it.key;
        stage_unit u = { .key = key, .shard = key, .input = "" };
        layouts_of o = { .n = 0 };
        if (stage_mine(s, key) && !stage_done(s, &u)) put_layouts(s, &o, key, it.key, it.value, e);
    }
    return e->status;
}

const export_layout export_layouts = { .stage = "layout", .write = write_layouts, .read = read_layouts };

/* --- records by picture ------------------------------------------------------------------------------------------- */
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
    if (!json || !vm_grow(&l->p, &l->cap, l->n + 1, sizeof *l->p))
        return vm_free(json), vm_nomem(e, sizeof *l->p, "records");
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

/* --- magic -------------------------------------------------------------------------------------------------------- */
static vm_status add_phrase(void *ctx, const char *key, json_value rec, vm_error *e) {
    const char *layout_id = json_str(rec, "layout_id", NULL, e);
    const char *outer = layout_id ? layout_id : json_as_str(json_need(rec, "image_id", JSON_STRING, e), e);
    const char *inner = json_as_str(json_need(rec, layout_id ? "name" : "edit_id", JSON_STRING, e), e);
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, json_need(rec, "enhanced", JSON_ARRAY, e));
    return add_piece(ctx, outer, inner, &w, e);
}

static vm_status write_phrases(json_writer *w, const char *run, vm_error *e) {
    return write_pieces(w, run, "magic", add_phrase, e);
}

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

/* --- ask ---------------------------------------------------------------------------------------------------------- */
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
        put_questions(&w, "generated_questions_full_caption", json_get(rec, "global"), e),
            put_questions(&w, "generated_questions_region_caption", json_get(rec, "local"), e);
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
    return add_piece(ctx,
                     id ? json_as_str(json_need(rec, "image_id", JSON_STRING, e), e)
                        : json_as_str(json_need(rec, "layout_id", JSON_STRING, e), e),
                     id, &w, e);
}

static vm_status write_questions(json_writer *w, const char *run, vm_error *e) {
    return write_pieces(w, run, "ask", add_questions, e);
}

/* Published questions have no kind: yes is exist, no is absent, all others identity. */
static vm_status get_questions(json_writer *w, const char *key, json_value list, question *q, vm_error *e) {
    const char *why = "";
    json_begin_array(w, key);
    for (json_iter it = json_each(list); json_next(&it) && !e->status;) {
        if (!question_from_json(q, it.value, ASK_IDENTITY, &why))
            return json_fail(it.value, e, "no question: its %s", why);
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

static vm_status read_edit_questions(stage *s, const char *image, const char *id, json_value v, question *q,
                                     vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_array(&w, NULL);
    json_begin_object(&w, NULL);
    json_put_str(&w, "edit_id", id), json_put_str(&w, "image_id", image),
        json_put_str(&w, "prompt", json_str(v, "prompt", "", e));
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
            for (json_iter it = json_each(image.value); json_next(&it) && !e->status;)
                read_edit_questions(s, image.key, it.key, it.value, q, e);
    }
    vm_free(q);
    return e->status;
}

const export_layout export_ask = { .stage = "ask", .write = write_questions, .read = read_questions };
