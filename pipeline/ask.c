/* ask.c - `vismin ask`: questions whose answers show whether a picture is what it should be. See ask_stage.h. */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/ask_stage.h"
#include "pipeline/run.h"

enum { TEMPLATES = 4 }; /* stay in any case: among them is one that is answered with no */

/* Templates of a scope, then the model's. */
static vm_status questions_of(questions *l, const ask_job *j, const ask_scope *s, questions *edit_global,
                              questions *edit_local, const layout *x, vm_error *e) {
    const char *nouns[ASK_HEADS];
    if (s->of->layout) {
        if (s->object < 0) ask_of_layout(l, x, e);
        else ask_of_object(l, x, s->object, e);
    } else {
        questions *t = strcmp(strrchr(s->key, ':'), ":local") ? edit_global : edit_local;
        *l = *t, *t = (questions){ 0 };
    }
    ask_scope_nouns(s, nouns);
    int room = (int)VM_MIN(VM_MIN(j->most, (int64_t)s->asked.n), ASK_SCOPE - TEMPLATES);
    if (l->n > ASK_SCOPE - room) l->n = ASK_SCOPE - room; /* the last templates repeat the first in other words */
    for (int i = 0; i < room && !e->status; i++) questions_add(l, &s->asked.q[i], nouns, e);
    return e->status;
}

static vm_status put_edit(json_writer *w, const ask_job *j, const ask_scope *s, vm_error *e) {
    const text_item *x = s->of;
    questions template[2] = { { 0 }, { 0 } };
    ask_edit about = { x->caption, x->edited_caption, x->input_phrase, x->edited_phrase, x->region, x->category };
    ask_of_edit(&template[0], &template[1], &about, e);
    json_begin_object(w, NULL);
    json_put_str(w, "edit_id", x->id), json_put_str(w, "image_id", x->image);
    char *text = vm_asprintf("%s. Not %s. %s", s[1].text, x->input_phrase, x->edited_caption);
    if (!text) vm_nomem(e, 256, "questions");
    else json_put_str(w, "prompt", text);
    for (int k = 0; k < 2 && !e->status; k++) {
        questions l = { 0 };
        questions_of(&l, j, &s[k], &template[0], &template[1], NULL, e);
        questions_put(w, k ? "local" : "global", &l);
        questions_free(&l);
    }
    json_close_object(w);
    vm_free(text);
    questions_free(&template[0]), questions_free(&template[1]);
    return e->status;
}

static vm_status put_layout(json_writer *w, const ask_job *j, const ask_scope *s, int n, vm_error *e) {
    layout x;
    if (text_item_layout(&x, s->of, e)) return e->status;
    json_begin_object(w, NULL);
    json_put_str(w, "layout_id", s->of->id), json_put_str(w, "caption", x.caption),
        json_put_str(w, "category", x.category);
    for (int k = 0; k < n && !e->status; k++) {
        questions l = { 0 };
        questions_of(&l, j, &s[k], NULL, NULL, &x, e);
        if (k == 1) json_begin_array(w, "objects");
        if (k) json_begin_object(w, NULL), json_put_str(w, "name", s[k].name);
        questions_put(w, k ? "questions" : "global", &l);
        if (k) json_close_object(w);
        questions_free(&l);
    }
    if (n > 1) json_close_array(w);
    json_close_object(w);
    return e->status;
}

/* All scopes of one edit or layout. The unit depends on what the model asked, too. */
static vm_status put_item(stage *st, const ask_job *j, const ask_scope *s, int n, tally *counts, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT), in = json_to_memory(JSON_COMPACT);
    json_begin_array(&in, NULL);
    for (int k = 0; k < n; k++) json_put_str(&in, NULL, s[k].input), questions_put(&in, NULL, &s[k].asked);
    json_close_array(&in);
    char *input = json_take(&in, NULL, e), *recs = NULL;
    stage_unit u = { .key = s->of->id, .shard = s->of->image, .input = input };
    json_begin_array(&w, NULL);
    if (!e->status && !stage_done(st, &u)) {
        if (s->of->layout) put_layout(&w, j, s, n, e);
        else put_edit(&w, j, s, e);
        json_close_array(&w);
        recs = json_take(&w, NULL, e);
        if (!e->status)
            stage_put(st,
                      &(stage_line){
                          .key = u.key, .input = input, .state = STAGE_OK, .recs = recs, .in = -1, .out = -1 },
                      e);
        tally_add(counts, "ok", 1);
    } else vm_free(json_take(&w, NULL, NULL));
    vm_free(recs), vm_free(input);
    return e->status;
}

static vm_status keep(void *ctx, stage *s, tally *counts, vm_error *e) {
    const ask_job *j = ctx;
    for (int64_t i = 0, n; i < j->scopes.n && !e->status; i += n) {
        const ask_scope *x = &j->scopes.s[i];
        for (n = 1; i + n < j->scopes.n && x[n].of == x->of;) n++;
        if (run_stopping()) vm_fail(e, VM_ESTOP, "ask: stopped; the same command goes on");
        else if (stage_mine(s, x->of->image)) put_item(s, j, x, (int)n, counts, e);
    }
    return e->status;
}

static void config_of(const ask_job *j, char config[64]) {
    snprintf(config, 64, "{\"questions\":%lld}", (long long)j->most);
}

vm_status ask_keep_beside(ask_job *j, const stage *part, vm_error *e) {
    char config[64];
    config_of(j, config);
    j->partial |= stage_beside(part, "ask", config, keep, j, e) == VM_EPARTIAL;
    return e->status;
}

static vm_status work(ask_job *j, vm_error *e) {
    bool show = llm_stage_only_shows(j->a);
    char config[64];
    config_of(j, config);
    if (!j->most && !show) return stage_parts("ask", j->run, config, j->a, keep, j, e);
    if (ask_open_prompts(j, e) || complete_open(&j->c, j->a, e)) return e->status;
    if (!show && !j->c)
        return vm_fail(e, VM_EUSAGE, "--llm-questions %lld: give a model with --llm", (long long)j->most);
    return ask_llm(j, show, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    ask_job j = { .a = a, .run = arg_pos(a, 0), .most = arg_int(a, "llm-questions") };
    vm_status st = VM_OK;
    if (!preset_read(&j.how, "ask", a, e) && !preset_read(&j.judge_how, "judge", a, e) &&
        !text_items_read(&j.list, j.run, a, e) && !ask_scopes_make(&j, e)) {
        j.judge_how.samples = 1, j.judge_how.tries = 2; /* the two orders of the choices */
        st = work(&j, e);
    }
    complete_close(j.c);
    prompt_free(j.global), prompt_free(j.local), prompt_free(j.layout), prompt_free(j.judge);
    preset_free(&j.how), preset_free(&j.judge_how);
    ask_scopes_free(&j.scopes);
    text_items_free(&j.list);
    return e->status ? e->status : st ? st : j.partial ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    TEXT_ITEMS_OPTS,
    { "llm-questions", OPT_INT, "0", "N",
      "questions by the model in each scope, beside at least 4 of the program's templates", 0, 4 },
    STAGE_OPTS,
    LLM_OPTS,
    { 0 },
};

const vm_command cmd_ask = {
    .name = "ask",
    .summary = "questions with known answers about the pictures to be made: by templates, and by a language model",
    .usage = "RUN [--llm-questions N --llm native:DIR | http:URL | replay:FILE] [options]",
    .about =
        "Of every accepted edit: global questions about the whole picture after it, local ones about a crop of what "
        "changed (the new thing is there, the\n"
        "old one is not). Of every layout: where things are and how many, and what the crop of each thing shows. "
        "RUN/ask gets a line for each, at most 8\n"
        "questions a scope, with at least one that is answered with no. Without --llm-questions no model is needed.\n\n"
        "A model's questions pass the rules Q01 to Q07 (RUN/ask_llm); then it must answer them itself, from the text "
        "alone, with the choices in two\n"
        "orders (RUN/ask_judge). What it does not get right twice is dropped.\n\n"
        "  vismin ask run\n"
        "  vismin ask run --llm-questions 4 --llm native:mistral-7b-instruct",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
