/* ask_judge.c - does the model answer its questions from the text as expected? Each is asked twice, the second time
 * with the choices the other way round; what it does not get right both times is dropped. The stage ask_judge; see
 * ask_stage.h. */
#include <stdio.h>
#include <string.h>

#include "io/hash.h"
#include "io/json_loose.h"
#include "io/keymap.h"
#include "pipeline/answer.h"
#include "pipeline/ask_stage.h"
#include "pipeline/run.h"
#include "pipeline/stage_lines.h"
#include "pipeline/text_out.h"

char *ask_question_key(const char *scope, const question *q) {
    char hex[65];
    sha256_parts(hex, 2, (const char *[]){ q->question, q->choice[q->answer] });
    return vm_asprintf("%s:%.12s", scope, hex);
}

typedef struct {
    const ask_scope *scope;
    char *json, *key, *input; /* the question; there may be very many */
    char *text, *choices;     /* of the try that is asked */
} item;

typedef struct {
    ask_job *j;
    item *item;
    int64_t n, cap;
    question q; /* the one that is looked at */
} judging;

static vm_status parse(judging *g, const item *x, vm_error *e) {
    const char *why = "";
    json_doc *d = json_parse(x->json, strlen(x->json), x->key, 0, e);
    if (d && !question_from_json(&g->q, json_root(d), ASK_IDENTITY, &why))
        json_fail(json_root(d), e, "no question: its %s", why);
    json_free(d);
    return e->status;
}

static vm_status add(void *ctx, ask_scope *s, const question *q, vm_error *e) {
    judging *g = ctx;
    if (!vm_grow(&g->item, &g->cap, g->n + 1, sizeof *g->item)) return vm_nomem(e, sizeof *g->item, "questions");
    item *x = &g->item[g->n++];
    json_writer w = json_to_memory(JSON_COMPACT);
    question_put(&w, NULL, q);
    *x = (item){ .scope = s, .key = ask_question_key(s->key, q), .json = json_take(&w, NULL, e) };
    if (!e->status) x->input = vm_asprintf("%s\n%s", s->text, x->json);
    return e->status || (x->key && x->input) ? e->status : vm_nomem(e, 512, "questions");
}

/* Choice number k of try t: an order drawn from the question, then the same backwards. */
static int choice_at(const item *x, const question *q, int t, int k) {
    int n = q->n, shift = (int)(sha256_seed(0, 1, (const char *[]){ x->key }) % (uint64_t)n);
    return ((t & 1 ? n - 1 - k : k) + shift) % n;
}

static vm_status ask(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e) {
    judging *g = ctx;
    item *x = u->item;
    const question *q = &g->q;
    text_out o = { 0 };
    if (parse(g, x, e)) return e->status;
    for (int k = 0; k < q->n; k++) {
        text_put(&o, k ? "  " : ""), text_add(&o, &"ABCDE"[k], 1), text_put(&o, ") ");
        text_put(&o, q->choice[choice_at(x, q, t, k)]);
    }
    vm_free(x->choices), vm_free(x->text);
    x->choices = text_take(&o, e), x->text = vm_strdup(q->question);
    *ask = (llm_ask){
        .prompt = g->j->judge,
        .fields = 3,
        .field = { { "text", x->scope->text }, { "question", x->text }, { "choices", x->choices } },
        .schema = vm_asprintf("{\"type\":\"object\",\"properties\":{\"answer\":{\"type\":\"string\",\"enum\":[%.*s]}},"
                              "\"required\":[\"answer\"],\"additionalProperties\":false}",
                              4 * q->n - 1, "\"A\",\"B\",\"C\",\"D\",\"E\"")
    };
    return x->choices && x->text && ask->schema ? e->status : vm_nomem(e, 512, "a question");
}

/* {"answer": "B"}, or an answer in words; -1 = neither. */
static int read_letter(const char *text, int n, vm_error *e) {
    json_loose s = json_loose_start(text, strlen(text));
    json_doc *d;
    char number[32];
    int letter = -1;
    while (letter < 0 && json_loose_next(&s, '{', &d, e)) {
        const char *a = json_loose_text(json_loose_get(json_root(d), "answer"), number);
        if (a) letter = answer_letter(a, n);
        json_free(d);
    }
    return s.found ? letter : answer_letter(text, n);
}

static stage_state take(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e) {
    judging *g = ctx;
    const item *x = u->item;
    const question *q = &g->q;
    if (parse(g, x, e)) return STAGE_VOID;
    int64_t right = json_int(json_at(had, 0), "right", 0, 0, 2, e);
    int letter = read_letter(c[0].text, q->n, e);
    bool good = letter >= 0 && choice_at(x, q, t, letter) == q->answer;
    right += good;
    json_begin_object(out->recs, NULL);
    json_put_str(out->recs, "question", q->question), json_put_int(out->recs, "right", right),
        json_put_bool(out->recs, "keep", right == 2);
    json_close_object(out->recs);
    out->n = 1;
    *more = good && t == 0;
    if (letter >= 0 && !good) tally_add(&out->why, "inconsistent", 1);
    if (letter < 0 && llm_refuses(c[0].text)) out->code = "refused";
    return letter < 0 ? STAGE_VOID : STAGE_OK;
}

static char *config_of(const ask_job *j, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", j->c ? complete_id(j->c) : "none");
    json_put_str(&w, "prompt", prompt_hash(j->judge));
    preset_put(&j->judge_how, &w, "decoding");
    json_put_bool(&w, "schema", !arg_flag(j->a, "no-schema"));
    json_put_int(&w, "seed", arg_int(j->a, "seed"));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

/* --- what passed -------------------------------------------------------------------------------------------------- */
typedef struct {
    ask_job *j;
    keymap kept;
} passing;

static vm_status add_kept(void *ctx, const char *key, json_value rec, vm_error *e) {
    passing *p = ctx;
    if (json_bool(rec, "keep", false, e) && keymap_put_text(&p->kept, key) < 0) vm_nomem(e, 64, "questions");
    return e->status;
}

static vm_status pass(void *ctx, ask_scope *s, const question *q, vm_error *e) {
    passing *p = ctx;
    const char *nouns[ASK_HEADS];
    char *key = ask_question_key(s->key, q);
    if (!key) return vm_nomem(e, 64, "questions");
    ask_scope_nouns(s, nouns);
    if (keymap_find(&p->kept, key, strlen(key)) >= 0 && s->asked.n < p->j->most) questions_add(&s->asked, q, nouns, e);
    vm_free(key);
    return e->status;
}

static vm_status take_passed(ask_job *j, const stage *part, vm_error *e) {
    passing p = { .j = j };
    if (!stage_records(j->run, "ask_judge", add_kept, &p, e)) ask_each(j, part, pass, &p, e);
    keymap_free(&p.kept);
    return e->status;
}

/* --- the stage ---------------------------------------------------------------------------------------------------- */
static vm_status judge(void *ctx, stage *s, tally *counts, vm_error *e) {
    judging *g = ctx;
    const llm_stage def = { .ask = ask, .take = take, .ctx = g, .how = &g->j->judge_how, .a = g->j->a };
    stage_unit *u = vm_calloc((size_t)g->n + 1, sizeof *u);
    if (!u) return vm_nomem(e, (size_t)g->n * sizeof *u, "questions");
    for (int64_t i = 0; i < g->n; i++)
        u[i] = (stage_unit){
            .key = g->item[i].key, .shard = g->item[i].scope->of->image, .input = g->item[i].input, .item = &g->item[i]
        };
    llm_stage_run(s, g->j->c, &def, u, g->n, counts, e);
    vm_free(u);
    return e->status;
}

vm_status ask_judge(ask_job *j, const stage *part, vm_error *e) {
    judging *g = vm_calloc(1, sizeof *g);
    if (!g) return vm_nomem(e, sizeof *g, "questions");
    g->j = j;
    char *config = ask_each(j, part, add, g, e) ? NULL : config_of(j, e);
    if (config) j->partial |= stage_beside(part, "ask_judge", config, judge, g, e) == VM_EPARTIAL;
    for (int64_t i = 0; i < g->n; i++) {
        item *x = &g->item[i];
        vm_free(x->json), vm_free(x->key), vm_free(x->input), vm_free(x->text), vm_free(x->choices);
    }
    vm_free(g->item), vm_free(g), vm_free(config);
    return e->status ? e->status : take_passed(j, part, e);
}
