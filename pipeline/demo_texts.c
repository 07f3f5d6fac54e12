/* demo_texts.c - see demo_texts.h. */
#include "pipeline/demo_texts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/keymap.h"
#include "io/log.h"
#include "pipeline/demo_call.h"
#include "pipeline/run.h"
#include "pipeline/stage_lines.h"

extern const vm_command cmd_captions, cmd_instruct, cmd_vet, cmd_ask;

enum { TEXT = 240, SHOWN = 12 };
typedef struct {
    char caption[TEXT], change[TEXT], edited[TEXT], verdict[TEXT], question[TEXT];
    bool accepted;
} row;

struct demo_texts {
    keymap id; /* of the edits: the number of the row */
    row *row;
    int64_t n, cap;
    int64_t captions, rejected, twice, accepted, questions; /* rejected: by a rule; twice: proposed before */
    double seconds;
};

/* --- running ----------------------------------------------------------------------------------------------------- */
static vm_status run_stages(demo_texts *t, const char *dir, const char *weights, int64_t seed, vm_error *e) {
    char n[24], s[24];
    char *model = vm_asprintf("native:%s/llm", weights), *prompts = vm_asprintf("%s/llm/prompts", weights),
         *list = path_join(dir, "captions.jsonl"), *stats = path_join(dir, "instruct.json");
    snprintf(n, sizeof n, "%" PRId64, t->captions), snprintf(s, sizeof s, "%" PRId64, seed);
    if (!model || !prompts || !list || !stats) vm_nomem(e, 256, "a path");
    else if (!demo_call(&cmd_captions, (const char *[]){ "--world", n, "--out", list, "--quiet", NULL }, e) &&
             !demo_call(&cmd_instruct,
                   (const char *[]){ dir, "--llm", model, "--prompt-dir", prompts, "--categories", "all", "--edits",
                                     "2", "--tries", "1", "--stats-json", stats, "--seed", s, NULL },
                   e) &&
             !demo_call(&cmd_vet, (const char *[]){ dir, "--llm", model, "--prompt-dir", prompts, "--seed", s, NULL }, e))
        demo_call(
            &cmd_ask,
            (const char *[]){ dir, "--llm-questions", "3", "--llm", model, "--prompt-dir", prompts, "--seed", s, NULL },
            e);
    vm_free(model), vm_free(prompts), vm_free(list), vm_free(stats);
    return e->status;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */
static const char *text(json_value v, const char *key, vm_error *e) { return json_str(v, key, "", e); }

static row *find(demo_texts *t, json_value rec, vm_error *e) {
    const char *id = text(rec, "edit_id", e);
    int64_t i = keymap_find(&t->id, id, strlen(id));
    return i < 0 ? NULL : &t->row[i];
}

static vm_status add_edit(void *ctx, const char *key, json_value rec, vm_error *e) {
    demo_texts *t = ctx;
    if (keymap_put_text(&t->id, text(rec, "edit_id", e)) != t->n ||
        !vm_grow(&t->row, &t->cap, t->n + 1, sizeof *t->row))
        return e->status ? e->status : vm_nomem(e, 64, "edits");
    row *r = &t->row[t->n++];
    *r = (row){ 0 };
    snprintf(r->caption, TEXT, "%s", text(rec, "caption", e)),
        snprintf(r->edited, TEXT, "%s", text(rec, "edited_caption", e));
    snprintf(r->change, TEXT, "%s \xe2\x86\x92 %s (%s)", text(rec, "input_phrase", e), text(rec, "edited_phrase", e),
             text(rec, "category", e));
    return e->status;
}

static vm_status add_verdict(void *ctx, const char *key, json_value rec, vm_error *e) {
    demo_texts *t = ctx;
    row *r = find(t, rec, e);
    const char *verdict = text(rec, "verdict", e);
    if (!r) return e->status;
    r->accepted = !strcmp(verdict, "accept");
    t->accepted += r->accepted;
    snprintf(r->verdict, TEXT, "%s: %s", verdict, text(rec, "reason", e));
    return e->status;
}

/* The last global question is the model's own, when it asked one. */
static vm_status add_questions(void *ctx, const char *key, json_value rec, vm_error *e) {
    demo_texts *t = ctx;
    row *r = find(t, rec, e);
    json_value global = json_get(rec, "global");
    int64_t n = json_len(global);
    t->questions += n + json_len(json_get(rec, "local"));
    if (!r || !n) return e->status;
    json_value q = json_at(global, n - 1), choices = json_get(q, "choices");
    const char *answer = json_as_str(json_at(choices, json_int(q, "answer_index", 0, 0, json_len(choices) - 1, e)), e);
    if (!e->status) snprintf(r->question, TEXT, "%s %s", text(q, "question", e), answer);
    return e->status;
}

/* What the rules of edit.h did not let pass. */
static vm_status read_rejected(demo_texts *t, const char *dir, vm_error *e) {
    char *path = path_join(dir, "instruct.json");
    json_doc *d = path ? json_open(path, e) : NULL;
    if (!path) vm_nomem(e, 256, "a path");
    for (json_iter it = json_each(json_get(json_root(d), "rejected")); !e->status && json_next(&it);)
        *(strcmp(it.key, "V12") ? &t->rejected : &t->twice) += json_as_int(it.value, 0, INT64_MAX, e);
    json_free(d);
    vm_free(path);
    return e->status;
}

vm_status demo_texts_run(demo_texts **out, const char *dir, const char *weights, int64_t captions, int64_t seed,
                         vm_error *e) {
    demo_texts *t = *out = vm_calloc(1, sizeof *t);
    double began = run_seconds();
    if (!t) return vm_nomem(e, sizeof *t, "the texts");
    t->captions = captions;
    if (dir_remove(dir, e) || dir_make(dir, e) || run_stages(t, dir, weights, seed, e) ||
        stage_records(dir, "instruct", add_edit, t, e) || stage_records(dir, "vet", add_verdict, t, e) ||
        stage_records(dir, "ask", add_questions, t, e))
        return e->status;
    t->seconds = run_seconds() - began;
    return read_rejected(t, dir, e);
}

void demo_texts_free(demo_texts *t) {
    if (!t) return;
    keymap_free(&t->id);
    vm_free(t->row), vm_free(t);
}

/* --- showing ----------------------------------------------------------------------------------------------------- */
static double pass_share(const demo_texts *t) {
    return 100 * (double)t->n / (double)VM_MAX(t->n + t->rejected, (int64_t)1);
}

void demo_texts_print(const demo_texts *t) {
    printf("%" PRId64 " captions -> %" PRId64 " edit instructions (%.1f %% of the different ones proposed pass all "
                                              "rules) -> %" PRId64 " accepted -> %" PRId64 " questions, in %.1f s\n",
           t->captions, t->n, pass_share(t), t->accepted, t->questions, t->seconds);
}

void demo_texts_page(page *p, const demo_texts *t) {
    static const char *const columns[] = { "caption", "edit", "edited caption", "verdict",
                                           "a question and its answer" };
    const char *cell[SHOWN * VM_LEN(columns)];
    char captions[24], edits[24], pass[24], accepted[24], questions[24];
    int n = 0;
    snprintf(captions, sizeof captions, "%" PRId64, t->captions), snprintf(edits, sizeof edits, "%" PRId64, t->n);
    snprintf(pass, sizeof pass, "%.1f %%", pass_share(t)), snprintf(accepted, sizeof accepted, "%" PRId64, t->accepted);
    snprintf(questions, sizeof questions, "%" PRId64, t->questions);
    page_section(p, "texts", "Captions become checked instructions");
    page_text(p,
              "The small language model of weights/tiny/llm proposes minimal edits of held-out captions (instruct), "
              "each answer held to a schema as it is "
              "written. Rules check them: the phrase stands in the caption, nothing else changes, the category fits. "
              "The model then judges them from the "
              "texts alone (vet, nine votes each) and asks questions about the picture to be made (ask), which join "
              "those of the program's templates. "
              "%" PRId64 " of its proposals broke a rule and %" PRId64 " came twice.",
              t->rejected, t->twice);
    page_facts(p, 5,
               (page_fact[]){ { "captions", captions },
                              { "edit instructions", edits },
                              { "of the proposals pass all rules", pass },
                              { "accepted by the model", accepted },
                              { "questions", questions } });
    for (int64_t i = 0; i < t->n && n < SHOWN; i += VM_MAX(t->n / SHOWN, (int64_t)1), n++) {
        const row *r = &t->row[i];
        const char *const of[] = { r->caption, r->change, r->edited, r->verdict, r->question };
        memcpy(&cell[n * VM_LEN(columns)], of, sizeof of);
    }
    page_table(p, VM_LEN(columns), columns, n, cell);
}
