/* ask_llm.c - questions by a language model: the stage ask_llm. See ask_stage.h. */
#include <stdio.h>
#include <string.h>

#include "io/json_loose.h"
#include "io/keymap.h"
#include "io/log.h"
#include "pipeline/ask_stage.h"
#include "pipeline/run.h"
#include "pipeline/stage_lines.h"

/* --- prompts ------------------------------------------------------------------------------------------------------ */
enum { DEMO_NOUNS = 96 };

/* Every word of a text may be what a demonstration is about. */
static int add_nouns(char (*noun)[64], int n, const char *text) {
    for (word w; n < DEMO_NOUNS && word_next(&text, &w); n++) {
        char one[WORDS_MAX], head[WORDS_MAX];
        snprintf(one, sizeof one, "%.*s", w.len, w.at);
        phrase_head(head, one);
        snprintf(noun[n], sizeof noun[n], "%.63s", head);
    }
    return n;
}

/* The questions of a demonstration pass the rules. ctx: its two fields. */
static vm_status check_demo(json_value demo, void *ctx, vm_error *e) {
    const char *const *field = ctx, *why = "", *nouns[DEMO_NOUNS + 1];
    char text[DEMO_NOUNS][64];
    questions l = { 0 };
    question *q = vm_alloc(sizeof *q);
    int n = 0;
    for (int k = 0; k < 2; k++) n = add_nouns(text, n, json_as_str(json_need(demo, field[k], JSON_STRING, e), e));
    for (int k = 0; k < n; k++) nouns[k] = text[k];
    nouns[n] = NULL;
    if (!q) return vm_nomem(e, sizeof *q, "a question");
    for (json_iter it = json_each(json_get(demo, "answer")); json_next(&it) && !e->status;) {
        if (!question_from_json(q, it.value, ASK_IDENTITY, &why)) json_fail(it.value, e, "no question: its %s", why);
        ask_code c = e->status ? Q_OK : questions_add(&l, q, nouns, e);
        if (c) json_fail(it.value, e, "the demonstration breaks Q%02d: %s", c, ask_code_rule[c]);
    }
    if (!e->status && (!l.n || !questions_balanced(&l)))
        json_fail(json_get(demo, "answer"), e, "at least one question of a demonstration is answered with no");
    questions_free(&l);
    vm_free(q);
    return e->status;
}

vm_status ask_open_prompts(ask_job *j, vm_error *e) {
    static const char *const fields[3][2] = { { "caption", "before" },
                                              { "phrase", "absent" },
                                              { "caption", "things" } };
    prompt_options o = { .stage = "ask",
                         .dir = arg_str(j->a, "prompt-dir"),
                         .shots = j->how.shots,
                         .seed = (uint64_t)arg_int(j->a, "seed"),
                         .check = check_demo };
    o.category = "global", o.fields = "caption before", o.ctx = (void *)fields[0];
    prompt_open(&j->global, &o, e);
    o.category = "local", o.fields = "phrase absent", o.ctx = (void *)fields[1];
    if (!e->status) prompt_open(&j->local, &o, e);
    o.category = "layout", o.fields = "caption things", o.ctx = (void *)fields[2];
    if (!e->status) prompt_open(&j->layout, &o, e);
    o.category = "judge", o.fields = "text question choices", o.check = NULL;
    if (!e->status) prompt_open(&j->judge, &o, e);
    return e->status;
}

/* --- asking and taking -------------------------------------------------------------------------------------------- */
static vm_status ask(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e) {
    static const char schema[] =
        "{\"type\":\"array\",\"minItems\":2,\"maxItems\":6,\"items\":{\"type\":\"object\",\"properties\":{\"question\":"
        "{\"type\":\"string\",\"minLength\":8,\"maxLength\":160},"
        "\"choices\":{\"type\":\"array\",\"minItems\":2,\"maxItems\":5,\"items\":{\"type\":\"string\",\"minLength\":1,"
        "\"maxLength\":80}},"
        "\"answer_index\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":4},"
        "\"kind\":{\"type\":\"string\",\"enum\":[\"exist\",\"absent\",\"identity\",\"attribute\",\"count\","
        "\"relation\"]}},"
        "\"required\":[\"question\",\"choices\",\"answer_index\",\"kind\"],\"additionalProperties\":false}}";
    ask_job *j = ctx;
    const ask_scope *s = u->item;
    *ask = (llm_ask){ .prompt = s->things                                                  ? j->layout
                                : s->of->layout || !strcmp(strrchr(s->key, ':'), ":local") ? j->local
                                                                                           : j->global,
                      .fields = 2,
                      .schema = vm_strdup(schema) };
    if (ask->prompt == j->layout)
        ask->field[0] = (prompt_field){ "caption", s->text }, ask->field[1] = (prompt_field){ "things", s->things };
    else if (ask->prompt == j->local)
        ask->field[0] = (prompt_field){ "phrase", s->text },
        ask->field[1] = (prompt_field){ "absent", s->not_text ? s->not_text : "" };
    else ask->field[0] = (prompt_field){ "caption", s->text }, ask->field[1] = (prompt_field){ "before", s->not_text };
    return ask->schema ? VM_OK : vm_nomem(e, sizeof schema, "a schema");
}

static void count(llm_taken *out, ask_code c) {
    char name[8];
    snprintf(name, sizeof name, "Q%02d", (int)c);
    tally_add(&out->why, name, 1);
}

static stage_state take(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e) {
    const ask_scope *s = u->item;
    const char *nouns[ASK_HEADS], *why;
    questions l = { 0 };
    question *q = vm_alloc(sizeof *q);
    bool read = false, refused = true;
    if (!q) return vm_nomem(e, sizeof *q, "a question"), STAGE_VOID;
    ask_scope_nouns(s, nouns);
    for (json_iter it = json_each(had); json_next(&it) && !e->status;)
        if (question_from_json(q, json_get(it.value, "question"), ASK_IDENTITY, &why)) questions_add(&l, q, nouns, e);
    for (int k = 0; k < n && !e->status; k++) {
        refused &= c[k].end == COMPLETE_REFUSED || llm_refuses(c[k].text);
        json_loose r = json_loose_start(c[k].text, strlen(c[k].text));
        for (json_doc *d; json_loose_next(&r, '{', &d, e); json_free(d)) {
            read = true;
            ask_code code = question_from_json(q, json_root(d), ASK_IDENTITY, &why) ? questions_add(&l, q, nouns, e)
                            : !strcmp(why, "answer")                                ? Q03
                                                                                    : Q02;
            if (code) count(out, code);
        }
    }
    for (int k = 0; k < l.n && !e->status; k++) {
        json_begin_object(out->recs, NULL);
        json_put_str(out->recs, "unit", s->key),
            json_put_str(out->recs, s->of->layout ? "layout_id" : "edit_id", s->of->id);
        question_put(out->recs, "question", &l.q[k]);
        json_close_object(out->recs);
    }
    out->n = l.n;
    *more = l.n < ((ask_job *)ctx)->most;
    if (!l.n) out->code = read ? "rejected" : refused ? "refused" : NULL;
    stage_state state = l.n ? STAGE_OK : STAGE_VOID;
    questions_free(&l);
    vm_free(q);
    return state;
}

static char *config_of(const ask_job *j, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", j->c ? complete_id(j->c) : "none");
    json_begin_object(&w, "prompts");
    json_put_str(&w, "global", prompt_hash(j->global)), json_put_str(&w, "local", prompt_hash(j->local)),
        json_put_str(&w, "layout", prompt_hash(j->layout));
    json_close_object(&w);
    preset_put(&j->how, &w, "decoding");
    json_put_int(&w, "questions", j->most);
    json_put_bool(&w, "schema", !arg_flag(j->a, "no-schema"));
    json_put_int(&w, "seed", arg_int(j->a, "seed"));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

typedef struct {
    ask_job *j;
    const llm_stage *def;
    stage_unit *u;
} asking;

/* Of one shard all three stages, so that what is kept of it has been asked and judged. */
static vm_status ask_part(void *ctx, stage *s, tally *counts, vm_error *e) {
    asking *x = ctx;
    if (!llm_stage_run(s, x->j->c, x->def, x->u, x->j->scopes.n, counts, e) && !ask_judge(x->j, s, e))
        ask_keep_beside(x->j, s, e);
    return e->status;
}

vm_status ask_llm(ask_job *j, bool show, vm_error *e) {
    const llm_stage def = { .ask = ask, .take = take, .ctx = j, .how = &j->how, .a = j->a };
    int64_t n = j->scopes.n;
    asking x = { j, &def, vm_calloc((size_t)n + 1, sizeof(stage_unit)) };
    if (!x.u) return vm_nomem(e, (size_t)n * sizeof *x.u, "scopes");
    for (int64_t i = 0; i < n; i++) {
        ask_scope *s = &j->scopes.s[i];
        x.u[i] = (stage_unit){ .key = s->key, .shard = s->of->image, .input = s->input, .item = s };
    }
    char *config = show ? NULL : config_of(j, e);
    if (show) llm_stage_show(j->c, &def, x.u, n, e);
    else if (config) j->partial |= stage_parts("ask_llm", j->run, config, j->a, ask_part, &x, e) == VM_EPARTIAL;
    for (int k = Q01; k < Q_CODES && config && !e->status && arg_flag(j->a, "explain"); k++)
        vm_info("Q%02d  %s", k, ask_code_rule[k]);
    vm_free(config), vm_free(x.u);
    return e->status;
}

/* --- reading them again ------------------------------------------------------------------------------------------- */
typedef struct {
    ask_job *j;
    keymap scope;
    const stage *part;
    ask_each_fn each;
    void *ctx;
    question q;
} reading;

static vm_status record(void *ctx, const char *key, json_value rec, vm_error *e) {
    reading *r = ctx;
    const char *why;
    int64_t i = keymap_find(&r->scope, key, strlen(key));
    if (i < 0) return VM_OK; /* of an edit or layout that is none any more */
    if (!stage_mine(r->part, r->j->scopes.s[i].of->image)) return VM_OK;
    if (!question_from_json(&r->q, json_get(rec, "question"), ASK_IDENTITY, &why))
        return json_fail(rec, e, "%s: no question: its %s", key, why);
    return r->each(r->ctx, &r->j->scopes.s[i], &r->q, e);
}

vm_status ask_each(ask_job *j, const stage *part, ask_each_fn each, void *ctx, vm_error *e) {
    reading *r = vm_calloc(1, sizeof *r);
    if (!r) return vm_nomem(e, sizeof *r, "questions");
    r->j = j, r->part = part, r->each = each, r->ctx = ctx;
    for (int64_t i = 0; i < j->scopes.n && !e->status; i++)
        if (keymap_put_text(&r->scope, j->scopes.s[i].key) != i)
            vm_fail(e, VM_EINPUT, "%s: there twice, expected ids that differ", j->scopes.s[i].key);
    if (!e->status) stage_records(j->run, "ask_llm", record, r, e);
    keymap_free(&r->scope);
    vm_free(r);
    return e->status;
}
