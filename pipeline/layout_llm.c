/* layout_llm.c - layouts by a language model: what is asked, and what is taken of the answers. See layout_stage.h. */
#include <stdio.h>
#include <string.h>

#include "io/grammar.h"
#include "io/hash.h"
#include "io/json_loose.h"
#include "io/log.h"
#include "pipeline/captions.h"
#include "pipeline/layout_run.h"
#include "pipeline/layout_stage.h"

enum { CAPTION = 2 /* its prompt */, KEY = 96, SPAN_WORDS = 8 };

typedef struct {
    layout_kind kind;
    relation rel;             /* REL_NONE: counting */
    int number;
    char key[KEY], things[LAYOUT_TEXT], category[2][LAYOUT_NAME]; /* the second one may be "" */
    const caption *caption;   /* NULL: bootstrap */
} item;

typedef struct {
    layout_job *j;
    item *item;
    stage_unit *unit;
    int64_t n;
    llm_stage stage;
} asking;

/* --- demonstrations ----------------------------------------------------------------------------------------------- */
static vm_status check_demo(json_value demo, void *ctx, vm_error *e) {
    const layout_job *j = ctx;
    layout l;
    char why[LAYOUT_WHY];
    json_value answer = json_get(demo, "answer");
    if (!layout_from_json(&l, answer, why)) return json_fail(answer, e, "no layout: %s", why);
    layout_code c = layout_check(&l, &j->rules, why);
    return c ? json_fail(answer, e, "the demonstration breaks L%02d (%s): %s", c, layout_code_rule[c], why) : VM_OK;
}

vm_status layout_open_prompts(layout_job *j, vm_error *e) {
    static const struct { const char *category, *fields, *balance;
    } p[LAYOUT_PROMPTS] = { { "relation", "label things", "label" },
                            { "counting", "number things", "number" },
                            { "caption", "caption", "kind" } };
    for (int k = 0; k < LAYOUT_PROMPTS && !e->status; k++)
        if (j->mode == LAYOUT_FROM_CAPTION ? k == CAPTION : k != CAPTION && j->want[k])
            prompt_open(&j->prompt[k],
                        &(prompt_options){ .stage = "layout",
                                           .category = p[k].category,
                                           .dir = arg_str(j->a, "prompt-dir"),
                                           .fields = p[k].fields,
                                           .shots = j->how.shots,
                                           .seed = (uint64_t)arg_int(j->a, "seed"),
                                           .check = check_demo,
                                           .ctx = j,
                                           .balance = p[k].balance },
                        e);
    return e->status;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */
static void put_text(json_writer *w, const char *key, int least, int most) {
    json_begin_object(w, key);
    json_put_str(w, "type", "string"), json_put_int(w, "minLength", least), json_put_int(w, "maxLength", most);
    json_close_object(w);
}

static void put_names(json_writer *w, const char *key, const char *const *value, int n) {
    json_begin_object(w, key);
    json_put_str(w, "type", "string");
    json_begin_array(w, "enum");
    for (int k = 0; k < n; k++) json_put_str(w, NULL, value[k]);
    json_close_array(w);
    json_close_object(w);
}

static void put_required(json_writer *w, const char *const *name, int n) {
    json_begin_array(w, "required");
    for (int k = 0; k < n; k++) json_put_str(w, NULL, name[k]);
    json_close_array(w);
    json_put_bool(w, "additionalProperties", false);
}

/* Two objects of a relation, or as many as are counted. spans: of a caption that is given, names are runs
 * of its words. */
static void put_objects(json_writer *w, const item *x, bool spans) {
    int n = x->rel != REL_NONE ? 2 : x->number;
    json_begin_object(w, "objects");
    json_put_str(w, "type", "array"), json_put_int(w, "minItems", n), json_put_int(w, "maxItems", n);
    json_begin_object(w, "items");
    json_put_str(w, "type", "object");
    json_begin_object(w, "properties");
    if (spans && x->caption && x->rel != REL_NONE) grammar_put_spans(w, "name", x->caption->caption, SPAN_WORDS);
    else put_text(w, "name", 1, 60);
    json_begin_object(w, "box");
    json_put_str(w, "type", "array"), json_put_int(w, "minItems", 4), json_put_int(w, "maxItems", 4);
    json_begin_object(w, "items");
    json_put_str(w, "type", "integer"), json_put_int(w, "minimum", 0), json_put_int(w, "maximum", LAYOUT_CANVAS);
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
    put_required(w, (const char *const[]){ "name", "box" }, 2);
    json_close_object(w);
    json_close_object(w);
}

static char *schema_of(const item *x, bool spans, vm_error *e) {
    char text[LAYOUT_TEXT];
    const char *category[2] = { x->category[0], x->category[1] }, *given = text;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "type", "object");
    json_begin_object(&w, "properties");
    if (x->caption) layout_caption(text, x->caption->caption), put_names(&w, "caption", &given, 1);
    else put_text(&w, "caption", 10, 200);
    put_objects(&w, x, spans);
    put_text(&w, "background", 1, 120), put_text(&w, "negative", 0, 120);
    put_names(&w, "category", category, category[1][0] ? 2 : 1);
    json_close_object(&w);
    put_required(&w, (const char *const[]){ "caption", "objects", "background", "negative", "category" }, 5);
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status ask(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e) {
    asking *x = ctx;
    item *it = u->item;
    *ask = (llm_ask){ .prompt = x->j->prompt[it->caption ? CAPTION : it->kind] };
    if (it->caption) ask->field[ask->fields++] = (prompt_field){ "caption", it->caption->caption };
    else {
        bool related = it->kind == LAYOUTS_RELATION;
        ask->field[ask->fields++] = (prompt_field){ related ? "label" : "number",
                                                    related ? relations[it->rel].label : number_word(it->number) };
        ask->field[ask->fields++] = (prompt_field){ "things", it->things };
    }
    ask->schema = schema_of(it, x->j->c && complete_spans(x->j->c), e);
    return e->status;
}

/* --- taking ------------------------------------------------------------------------------------------------------- */
typedef struct {
    const asking *x;
    const item *it;
    llm_taken *out;
    layout_seen *seen; /* of this unit */
    int proposed;
} taking;

static void count(taking *k, layout_code c) {
    char name[8];
    snprintf(name, sizeof name, "L%02d", (int)c);
    tally_add(&k->out->why, name, 1);
}

static void propose(taking *k, layout *l, const char *problem, vm_error *e) {
    const item *it = k->it;
    layout_rules any = { 0 };
    char why[LAYOUT_WHY];
    if (problem[0]) {
        count(k, L01);
        return;
    }
    k->proposed++;
    if (it->caption) {
        char key[2][WORDS_MAX];
        phrase_key(key[0], l->caption), phrase_key(key[1], it->caption->caption);
        if (strcmp(key[0], key[1])) {
            tally_add(&k->out->why, "other_caption", 1);
            return;
        }
        layout_caption(l->caption, it->caption->caption);
    } else if (strncmp(l->category, layout_kind_name[it->kind], strlen(layout_kind_name[it->kind]))) {
        tally_add(&k->out->why, "other_category", 1);
        return;
    }
    layout_code c = layout_check(l, &k->x->j->rules, why);
    if (!c) c = layout_seen_add(k->seen, l, &any, why, e);
    if (c) count(k, c);
    else if (!layout_put_record(k->out->recs, l, it->caption ? it->caption->image_id : NULL, e)) k->out->n++;
}

/* JSON, or the text forms where there is none. */
static void read_answer(taking *k, const completion *c, vm_error *e) {
    layout l;
    char problem[LAYOUT_WHY];
    json_loose s = json_loose_start(c->text, strlen(c->text));
    for (json_doc *d; !e->status && json_loose_next(&s, '{', &d, e); json_free(d)) {
        layout_from_json(&l, json_root(d), problem);
        propose(k, &l, problem, e);
    }
    if (s.found) return;
    const char *p = c->text, *end = p + strlen(p);
    while (!e->status && layout_next(&p, end, c->end == COMPLETE_STOP, &l, problem)) propose(k, &l, problem, e);
}

static stage_state take(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e) {
    taking k = { .x = ctx, .it = u->item, .out = out };
    bool refused = true;
    if (layout_seen_new(&k.seen, e)) return STAGE_VOID;
    for (int i = 0; i < n && !e->status; i++) {
        refused &= c[i].end == COMPLETE_REFUSED || llm_refuses(c[i].text);
        read_answer(&k, &c[i], e);
    }
    layout_seen_free(k.seen);
    *more = false;
    if (out->n) return STAGE_OK; /* a try without any is void, and then there is no earlier one to keep */
    out->code = k.proposed ? "rejected" : refused ? "refused" : NULL;
    return STAGE_VOID;
}

/* --- units -------------------------------------------------------------------------------------------------------- */
static void add_unit(asking *x, const char *input) {
    item *it = &x->item[x->n];
    x->unit[x->n++] = (stage_unit){
        .key = it->key, .shard = it->caption ? it->caption->image_id : it->key, .input = input, .item = it
    };
}

static void name_category(item *it) {
    if (it->rel != REL_NONE) snprintf(it->category[0], LAYOUT_NAME, "relation(%s)", relations[it->rel].label);
    else snprintf(it->category[0], LAYOUT_NAME, "counting(%s)", number_word(it->number));
}

static vm_status bootstrap_units(asking *x, layout_kind kind, int64_t from, int64_t n, vm_error *e) {
    uint64_t seed = (uint64_t)arg_int(x->j->a, "seed");
    for (x->n = 0; x->n < n && !e->status;) {
        int64_t i = from + x->n;
        item *it = &x->item[x->n];
        *it = (item){ .kind = kind,
                      .rel = kind == LAYOUTS_RELATION ? layout_kind_relation(seed, i) : REL_NONE,
                      .number = layout_kind_number(seed, i) };
        snprintf(it->key, KEY, "%s:%08lld", layout_kind_name[kind], (long long)i);
        name_category(it);
        layout_world_topic(x->j->world, kind, it->rel, seed, i, it->things, e);
        add_unit(x, "");
    }
    return e->status;
}

/* What a caption is about; false: neither one relation nor one number. */
static bool read_caption(item *it, const char *text, const bool want[LAYOUT_KINDS]) {
    word at[2];
    int n = relation_words(text, at, 2), numbers = 0;
    const char *p = text;
    for (word w; word_next(&p, &w);)
        if (word_number(w) >= 0) numbers++, it->number = word_number(w);
    it->rel = n ? relation_of_word(at[0]) : REL_NONE, it->kind = n ? LAYOUTS_RELATION : LAYOUTS_COUNTING;
    if (!want[it->kind] || strlen(text) >= LAYOUT_TEXT) return false;
    if (!n && (numbers != 1 || it->number < 2 || it->number > 9)) return false;
    if (n && (n > 2 || it->rel >= REL_SWAPPABLE || (n == 2 && relations[it->rel].inverse != relation_of_word(at[1]))))
        return false;
    if (n == 2) snprintf(it->category[1], LAYOUT_NAME, "relation(%s)", relations[relation_of_word(at[1])].label);
    name_category(it);
    return true;
}

static vm_status caption_units(asking *x, const captions *l) {
    for (int64_t i = 0; i < l->n; i++) {
        const caption *c = &l->c[i];
        char hex[65];
        item *it = &x->item[x->n];
        *it = (item){ .caption = c };
        sha256_hex(hex, c->caption, strlen(c->caption));
        snprintf(it->key, KEY, "%.70s:%.16s", c->image_id, hex);
        bool again = false;
        for (int64_t k = x->n; k-- > 0 && !strcmp(x->item[k].caption->image_id, c->image_id);)
            again |= !strcmp(x->item[k].key, it->key);
        if (!again && read_caption(it, c->caption, x->j->want)) add_unit(x, c->caption);
    }
    return VM_OK;
}

static vm_status room(asking *x, int64_t n, vm_error *e) {
    vm_free(x->item), vm_free(x->unit);
    x->item = vm_calloc((size_t)n + 1, sizeof *x->item), x->unit = vm_calloc((size_t)n + 1, sizeof *x->unit);
    return x->item && x->unit ? VM_OK : vm_nomem(e, (size_t)n * sizeof *x->item, "units");
}

/* --- the two ways ------------------------------------------------------------------------------------------------- */
/* In blocks as large as what is missing, so that which units are asked depends on the answers alone, not on
 * interruptions. */
static vm_status bootstrap(asking *x, layout_kind kind, stage *s, tally *counts, vm_error *e) {
    enum { LEAST = 64 };
    layout_job *j = x->j;
    int64_t have = 0, parts = s ? stage_shards(s) : 1, quota = (j->quota + parts - 1) / parts;
    for (int64_t from = 0; !e->status && have < quota && from < j->units;) {
        int64_t n = VM_MIN(VM_MAX((quota - have) * parts, LEAST), j->units - from);
        if (room(x, n, e) || bootstrap_units(x, kind, from, n, e)) break;
        from += n;
        if (!s) return llm_stage_show(j->c, &x->stage, x->unit, x->n, e);
        if (!llm_stage_run(s, j->c, &x->stage, x->unit, x->n, counts, e))
            layouts_count(j->run, layout_kind_name[kind], s, &have, e);
    }
    if (!e->status)
        vm_info("%s: %lld layouts, %lld were wanted", layout_kind_name[kind], (long long)have, (long long)quota);
    return e->status;
}

static vm_status from_captions(asking *x, stage *s, tally *counts, vm_error *e) {
    layout_job *j = x->j;
    captions l = { .strict = arg_flag(j->a, "strict") };
    const char *given = arg_str(j->a, "captions");
    char *path = given ? vm_strdup(given) : path_join(j->run, "captions.jsonl");
    if (!path) vm_nomem(e, 256, "a path");
    else if (!captions_read(&l, path, e) && !room(x, l.n, e)) {
        caption_units(x, &l);
        vm_info("%lld of %lld captions have one relation or one number", (long long)x->n, (long long)l.n);
        if (!x->n)
            vm_fail(e, VM_EINPUT,
                    "%s: no caption with one of left, right, top, bottom, below, above, under, or with one number from "
                    "two to nine",
                    path);
        else if (s) llm_stage_run(s, j->c, &x->stage, x->unit, x->n, counts, e);
        else llm_stage_show(j->c, &x->stage, x->unit, x->n, e);
    }
    captions_free(&l);
    vm_free(path);
    return e->status;
}

vm_status layout_ask(layout_job *j, stage *s, tally *counts, vm_error *e) {
    asking x = { .j = j };
    x.stage = (llm_stage){ .ask = ask, .take = take, .ctx = &x, .how = &j->how, .a = j->a };
    if (j->mode == LAYOUT_FROM_CAPTION) from_captions(&x, s, counts, e);
    else
        for (int k = 0; k < LAYOUT_KINDS && !e->status; k++)
            if (j->want[k]) bootstrap(&x, (layout_kind)k, s, counts, e);
    vm_free(x.item), vm_free(x.unit);
    return e->status;
}
