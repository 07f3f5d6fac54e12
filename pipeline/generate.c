/* generate.c - `vismin generate`: a language model on prompts: one that streams to the terminal, or a file of them in
 * one batch. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "models/llm_batch.h"
#include "pipeline/run.h"
#include "pipeline/text_model.h"

typedef struct {
    const vm_args *a;
    text_model x;
    const char *const *stops;
    int n_stops;
    bool stream;
    /* forms of answers: what --schema and --grammar say, and lines */
    text_form *forms;
    int64_t n_forms, forms_cap;
} job;

/* One prompt and what becomes of it. */
typedef struct {
    const job *j;
    char *id, *text;  /* id: of the line, as JSON; NULL = its number */
    tok_ids ids;
    int64_t form;     /* of the answer; -1 = any text */
} prompt;

static void prompt_free(prompt *p) {
    vm_free(p->id), vm_free(p->text);
    tok_ids_free(&p->ids);
}

/* --- forms -------------------------------------------------------------------------------------------------------- */
/* The number of the form that this text is; equal ones are one. It is tried at once, so that what is wrong is said
 * before any work. */
static int64_t add_form(job *j, const char *text, bool schema, const char *name, vm_error *e) {
    constraint *c = NULL;
    for (int64_t i = 0; i < j->n_forms; i++)
        if (j->forms[i].schema == schema && !strcmp(j->forms[i].text, text)) return i;
    if (!vm_grow(&j->forms, &j->forms_cap, j->n_forms + 1, sizeof *j->forms))
        return vm_nomem(e, sizeof *j->forms, "a grammar"), -1;
    text_form *f = &j->forms[j->n_forms++];
    *f = (text_form){ .schema = schema, .text = vm_strdup(text), .name = vm_strdup(name) };
    if (!f->text || !f->name) vm_nomem(e, strlen(text), "a grammar");
    else text_form_begin(&j->x, f, arg_int(j->a, "max-new"), &c, e);
    constraint_free(c);
    text_form_give_up(f);
    return e->status ? -1 : j->n_forms - 1;
}

/* --schema or --grammar: a file, or the text itself when there is no such file. */
static int64_t given_form(job *j, vm_error *e) {
    const char *schema = arg_str(j->a, "schema"), *given = schema ? schema : arg_str(j->a, "grammar");
    char *text = NULL;
    int64_t f = -1;
    if (!given) return -1;
    if (schema && arg_str(j->a, "grammar"))
        return vm_fail(e, VM_EUSAGE, "generate: --schema and --grammar are two forms of one answer; give one"), -1;
    if (!file_exists(given) && !strstr(given, schema ? "{" : "::=")) vm_fail(e, VM_EINPUT, "%s: no such file, and no %s itself", given, schema ? "JSON schema" : "grammar");
    else if (!file_exists(given)) f = add_form(j, given, schema != NULL, schema ? "--schema" : "--grammar", e);
    else if (!file_read(&text, NULL, given, 0, e)) f = add_form(j, text, schema != NULL, given, e);
    vm_free(text);
    return f;
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */
/* A text, with --system before it. */
static vm_status add_text(const job *j, prompt *p, const char *text, vm_error *e) {
    const char *system = arg_str(j->a, "system");
    chat_message m[2] = { { "system", system }, { "user", text } };
    return text_model_lay_out(&j->x, system ? m : m + 1, system ? 2 : 1, &p->text, &p->ids, e);
}

enum { MESSAGES = 256 };
static vm_status add_messages(const job *j, prompt *p, json_value list, vm_error *e) {
    chat_message m[MESSAGES];
    int n = 0;
    if (!j->x.chat)
        return json_fail(
            list, e,
            "messages need the layout of a conversation, which this model states none of; give --chat-template");
    if (json_len(list) < 1 || json_len(list) > MESSAGES)
        return json_fail(list, e, "%lld messages, 1 to %d are possible", (long long)json_len(list), MESSAGES);
    for (json_iter it = json_each(list); json_next(&it); n++)
        m[n] = (chat_message){ json_as_str(json_need(it.value, "role", JSON_STRING, e), e),
                               json_as_str(json_need(it.value, "content", JSON_STRING, e), e) };
    return e->status ? e->status : text_model_lay_out(&j->x, m, n, &p->text, &p->ids, e);
}

/* {"id": ..., "prompt": "..."} or {"id": ..., "messages": [{"role", "content"}]}; perhaps "schema": {...} */
static vm_status add_line(job *j, prompt *p, const char *line, size_t n, const char *where, vm_error *e) {
    json_doc *d = json_parse(line, n, where, 0, e);
    json_value root = json_root(d), messages = json_get(root, "messages"), id = json_get(root, "id"),
               schema = json_get(root, "schema");
    if (!d) return e->status;
    if (id.kind == JSON_STRING) p->id = vm_strdup(json_as_str(id, e));
    else if (json_has(id)) p->id = vm_asprintf("%" PRId64, json_as_int(id, INT64_MIN, INT64_MAX, e));
    if (json_has(schema)) {
        json_writer w = json_to_memory(JSON_COMPACT);
        json_put_value(&w, NULL, schema);
        char *text = json_take(&w, NULL, e);
        if (text) p->form = add_form(j, text, true, where, e);
        vm_free(text);
    }
    if (json_has(messages)) add_messages(j, p, messages, e);
    else {
        const char *text = json_as_str(json_need(root, "prompt", JSON_STRING, e), e);
        if (!e->status) add_text(j, p, text, e);
    }
    json_free(d);
    return e->status;
}

static vm_status read_prompts(job *j, prompt **list, int64_t *n, vm_error *e) {
    const char *file = arg_str(j->a, "prompts"), *one = arg_str(j->a, "prompt");
    char *text = NULL;
    size_t bytes;
    int64_t cap = 0, line = 1, f = given_form(j, e);
    if (e->status) return e->status;
    if (one) {
        if (!vm_grow(list, &cap, 1, sizeof **list)) return vm_nomem(e, 64, "prompts");
        (*list)[(*n)++] = (prompt){ .j = j, .form = f };
        return add_text(j, *list, one, e);
    }
    if (file_read(&text, &bytes, file, 0, e)) return e->status;
    for (char *p = text, *end = text + bytes; p < end && !e->status; line++) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *where = vm_asprintf("%s:%" PRId64, file, line);
        if (!stop) stop = end;
        bool blank = strspn(p, " \t\r") >= (size_t)(stop - p);
        if (!where || (!blank && !vm_grow(list, &cap, *n + 1, sizeof **list))) vm_nomem(e, 64, "prompts");
        else if (!blank) {
            (*list)[*n] = (prompt){ .j = j, .form = f };
            add_line(j, &(*list)[(*n)++], p, (size_t)(stop - p), where, e);
        }
        vm_free(where);
        p = stop + 1;
    }
    vm_free(text);
    if (!e->status && !*n)
        vm_fail(e, VM_EINPUT, "%s: no prompts, expected JSON lines with \"prompt\" or \"messages\"", file);
    return e->status;
}

/* --- texts -------------------------------------------------------------------------------------------------------- */
/* The answer of one request. */
typedef struct {
    answer a;
    job *j;
    text_form *f; /* NULL = any text */
    bool stream;
} sample;

static vm_status start(llm_request *r, vm_error *e) {
    sample *s = r->ctx;
    return s->f ? text_form_begin(&s->j->x, s->f, r->most, &r->limit, e) : VM_OK;
}

static void show(sample *s, bool last) {
    const char *part;
    size_t n = answer_part(&s->a, last, &part);
    if (!s->stream || !n) return;
    fwrite(part, 1, n, stdout);
    fflush(stdout);
}

static bool take(llm_request *r, int32_t id) {
    sample *s = r->ctx;
    bool ends = answer_add(&s->a, id);
    show(s, ends);
    return ends;
}

static void finish(llm_request *r) {
    sample *s = r->ctx;
    answer_end(&s->a);
    show(s, true);
    constraint_free(r->limit);
    r->limit = NULL;
    if (s->f && --s->f->wanted == 0) text_form_give_up(s->f);
}

static const char *const finish_name[] = { "stop", "length", "context", "interrupted", "error" };

static vm_status put_line(const prompt *p, const char *made, int64_t number, int64_t copy, const llm_request *r,
                          vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, number);
    json_begin_object(&w, NULL);
    json_put_str(&w, "id", p->id ? p->id : text);
    if (copy >= 0) json_put_int(&w, "sample", copy);
    json_put_str(&w, "text", made ? made : "");
    json_put_int(&w, "prompt_tokens", r->n), json_put_int(&w, "tokens", r->n_out);
    json_put_str(&w, "finish", finish_name[r->finish]);
    json_close_object(&w);
    char *line = json_take(&w, NULL, e);
    if (line) printf("%s\n", line);
    vm_free(line);
    return e->status;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static vm_status open_all(job *j, vm_error *e) {
    if (text_model_open(&j->x, j->a, arg_model(j->a, arg_pos(j->a, 0), e), e)) return e->status;
    if (arg_str(j->a, "system") && !j->x.chat)
        return vm_fail(e, VM_EUSAGE, "generate: --system needs the layout of a conversation; give --chat-template");
    return VM_OK;
}

/* The request of one sample. */
static void ask(job *j, const prompt *p, sample *s, uint64_t stream, llm_request *r) {
    const vm_args *a = j->a;
    *s = (sample){ .a = { .x = &j->x, .stops = j->stops, .n_stops = j->n_stops }, .j = j, .stream = j->stream };
    *r = (llm_request){ .ids = p->ids.id,
                        .n = p->ids.n,
                        .most = arg_int(a, "max-new"),
                        .start = start,
                        .token = take,
                        .done = finish,
                        .ctx = s };
    r->how = (llm_sampling){ .temperature = (float)arg_float(a, "temperature"),
                             .top_k = arg_int(a, "top-k"),
                             .top_p = (float)arg_float(a, "top-p"),
                             .min_p = (float)arg_float(a, "min-p"),
                             .repetition = (float)arg_float(a, "repetition-penalty"),
                             .presence = (float)arg_float(a, "presence-penalty"),
                             .frequency = (float)arg_float(a, "frequency-penalty"),
                             .seed = (uint64_t)arg_int(a, "seed"),
                             .stream = stream };
    if (p->form >= 0) s->f = &j->forms[p->form], s->f->wanted++;
}

static vm_status generate(job *j, prompt *p, int64_t n, vm_error *e) {
    const vm_args *a = j->a;
    const llm *m = j->x.m;
    int64_t copies = arg_int(a, "n"), longest = 0, N = n * copies;
    llm_request *r = vm_calloc((size_t)N + 1, sizeof *r);
    sample *each = vm_calloc((size_t)N + 1, sizeof *each);
    llm_engine *en = NULL;
    llm_counts counts = { 0 };
    if (!r || !each) vm_nomem(e, (size_t)N * sizeof *r, "prompts");
    for (int64_t i = 0; i < N && !e->status; i++) {
        ask(j, &p[i / copies], &each[i], (uint64_t)i, &r[i]);
        longest = VM_MAX(longest, r[i].n + r[i].most);
    }
    int slots = (int)VM_MIN(VM_MIN(arg_int(a, "batch"), N), (int64_t)LLM_SLOTS);
    llm_engine_options o = { .longest = longest, .cache = j->x.dtype, .deterministic = arg_flag(a, "deterministic"),
                             .rounded = j->x.rounded,
                             .tokens = (slots + 1) * (VM_MIN(longest, m->c.context) + LLM_PAGE) };
    if (!e->status && !llm_engine_new(&en, m, j->x.dtype, &o, e))
        llm_batch(en, m, N, r, slots, run_stopping, &counts, e);
    for (int64_t i = 0; i < N && !e->status; i++) {
        if (each[i].a.text.failed) vm_nomem(e, (size_t)each[i].a.text.n, "a text");
        else if (j->stream) printf("\n");
        else put_line(&p[i / copies], each[i].a.text.s, i / copies, copies > 1 ? i % copies : -1, &r[i], e);
        if (r[i].finish == LLM_FULL)
            vm_warn("prompt %" PRId64 ": the model's context of %" PRId64 " tokens is full", i / copies, m->c.context);
    }
    if (!e->status && counts.made)
        vm_info("%" PRId64 " prompt tokens (%" PRId64 " shared) at %.1f a second, %" PRId64
                " tokens generated at %.1f a second",
                counts.prompt, counts.shared, (double)counts.prompt / VM_MAX(counts.prompt_s, 1e-9), counts.made,
                (double)counts.made / VM_MAX(counts.made_s, 1e-9));
    for (int64_t i = 0; i < N && r && each; i++) vm_free(r[i].out), vm_free(each[i].a.text.s);
    llm_engine_free(en);
    vm_free(r), vm_free(each);
    return e->status ? e->status : run_stopping() ? VM_ESTOP : VM_OK;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    prompt *p = NULL;
    int64_t n = 0;
    vm_status st = VM_OK;
    if (!arg_str(a, "prompt") == !arg_str(a, "prompts"))
        return vm_fail(e, VM_EUSAGE, "generate: --prompt TEXT or --prompts FILE is needed");
    j.n_stops = arg_list(a, "stop", &j.stops);
    j.stream = arg_str(a, "prompt") && arg_int(a, "n") == 1 && !arg_flag(a, "json");
    if (!open_all(&j, e) && !read_prompts(&j, &p, &n, e)) {
        if (arg_flag(a, "show-prompt")) {
            for (int64_t i = 0; i < n; i++) printf("%s\n", p[i].text);
        } else {
            st = generate(&j, p, n, e);
        }
    }
    for (int64_t i = 0; i < n; i++) prompt_free(&p[i]);
    for (int64_t i = 0; i < j.n_forms; i++) text_form_free(&j.forms[i]);
    vm_free(p), vm_free(j.forms);
    text_model_close(&j.x);
    return e->status ? e->status : st;
}

static const vm_opt opts[] = {
    { "prompt", OPT_STR, NULL, "TEXT", "one prompt; the answer streams to stdout", 0, 0 },
    { "prompts", OPT_STR, NULL, "FILE",
      "JSON lines with \"prompt\" or \"messages\", and perhaps \"id\" and \"schema\"; answers are JSON lines in the "
      "same order",
      0, 0 },
    { "system", OPT_STR, NULL, "TEXT", "a system text before each prompt", 0, 0 },
    TEXT_MODEL_OPTS,
    { "show-prompt", OPT_FLAG, NULL, NULL, "print the texts that the model would get, and end", 0, 0 },
    { "max-new", OPT_INT, "256", "N", "tokens of an answer at most", 1, 1 << 20 },
    { "n", OPT_INT, "1", "N", "answers for each prompt", 1, 1024 },
    { "batch", OPT_INT, "16", "N", "texts that are worked on together", 1, LLM_SLOTS },
    { "temperature", OPT_FLOAT, "0.8", "X", "0 = the most likely token", 0, 100 },
    { "top-k", OPT_INT, "40", "K", "draw from the K most likely tokens; 0 = all", 0, 1 << 24 },
    { "top-p", OPT_FLOAT, "1", "P", "draw from the fewest tokens that reach P together", 0, 1 },
    { "min-p", OPT_FLOAT, "0", "P", "draw from tokens with at least P times the largest probability", 0, 1 },
    { "repetition-penalty", OPT_FLOAT, "1", "X", "logits of tokens that the answer has are divided by X (1 = off)",
      0.01, 100 },
    { "presence-penalty", OPT_FLOAT, "0", "X", "taken off the logits of tokens that the answer has", -100, 100 },
    { "frequency-penalty", OPT_FLOAT, "0", "X", "taken off for each time that it has them", -100, 100 },
    { "schema", OPT_STR, NULL, "FILE|TEXT", "a JSON schema that answers obey", 0, 0 },
    { "grammar", OPT_STR, NULL, "FILE|TEXT", "a grammar that answers obey (root ::= ...)", 0, 0 },
    { "stop", OPT_LIST, NULL, "TEXT", "ends an answer before TEXT (repeatable)", 0, 0 },
    { 0 },
};

const vm_command cmd_generate = {
    .name = "generate",
    .summary = "text from a language model: one prompt, or a file of them in one batch",
    .usage = "MODEL_DIR --prompt TEXT | --prompts FILE",
    .about =
        "MODEL_DIR is a folder of Llama, Mistral, Mixtral, Qwen2, Phi-3 or Gemma weights. What all prompts of a file "
        "begin with is computed once.\n"
        "With --deterministic an answer depends on its prompt, its number and --seed alone; without it, the last bits of the\n"
        "probabilities, too, on how many texts are worked on at once.\n\n"
        "  vismin generate vicuna-7b/ --prompt \"Name three fruits.\" --max-new 64\n"
        "  vismin generate mistral-7b/ --prompts prompts.jsonl --n 2 --temperature 0.9 --top-k 100 > answers.jsonl",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
