/* generate.c - `vismin generate`: a language model on prompts: one that streams to the terminal, or a file of them in one batch. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/chat.h"
#include "io/file.h"
#include "io/log.h"
#include "io/tokenizer.h"
#include "models/llm_batch.h"
#include "pipeline/run.h"

typedef struct {
    const vm_args *a;
    tok *t;
    llm *m;
    const chat_layout *chat; /* NULL: prompts are texts as they are */
    const char *const *stops;
    int n_stops;
    bool stream;
} job;

/* One prompt and what becomes of it. */
typedef struct {
    const job *j;
    char *id, *text;  /* id: of the line, as JSON; NULL = its number */
    tok_ids ids;
    tok_stream st;
    char *made;
    int64_t made_n, made_cap;
} prompt;

static void prompt_free(prompt *p) {
    vm_free(p->id), vm_free(p->text), vm_free(p->made);
    tok_ids_free(&p->ids);
}

/* --- prompts ------------------------------------------------------------------------------------------------------------ */
static vm_status tokens_of(const job *j, prompt *p, vm_error *e) {
    bool bos_inside = j->chat && chat_has_bos(j->chat);
    if (tok_encode(j->t, p->text, strlen(p->text), bos_inside ? TOK_NO_SPECIAL : 0, 0, &p->ids, e)) return e->status;
    if (!p->ids.n && !tok_ids_add(&p->ids, VM_MAX(j->m->c.bos, 0))) return vm_nomem(e, 8, "a prompt");
    return VM_OK;
}

static vm_status lay_out(const job *j, prompt *p, const chat_message *m, int n, vm_error *e) {
    if (j->chat) return chat_text(&p->text, j->chat, m, n, e);
    return (p->text = vm_strdup(m[n - 1].text)) ? VM_OK : vm_nomem(e, strlen(m[n - 1].text), "a prompt");
}

/* A text, with --system before it. */
static vm_status add_text(const job *j, prompt *p, const char *text, vm_error *e) {
    const char *system = arg_str(j->a, "system");
    chat_message m[2] = { { "system", system }, { "user", text } };
    p->j = j;
    return lay_out(j, p, system ? m : m + 1, system ? 2 : 1, e) ? e->status : tokens_of(j, p, e);
}

enum { MESSAGES = 256 };
static vm_status add_messages(const job *j, prompt *p, json_value list, vm_error *e) {
    chat_message m[MESSAGES];
    int n = 0;
    p->j = j;
    if (!j->chat) return json_fail(list, e, "messages need the layout of a conversation, which this model states none of; give --chat-template");
    if (json_len(list) < 1 || json_len(list) > MESSAGES) return json_fail(list, e, "%lld messages, 1 to %d are possible", (long long)json_len(list), MESSAGES);
    for (json_iter it = json_each(list); json_next(&it); n++)
        m[n] = (chat_message){ json_as_str(json_need(it.value, "role", JSON_STRING, e), e), json_as_str(json_need(it.value, "content", JSON_STRING, e), e) };
    return e->status || lay_out(j, p, m, n, e) ? e->status : tokens_of(j, p, e);
}

/* {"id": ..., "prompt": "..."} or {"id": ..., "messages": [{"role", "content"}]} */
static vm_status add_line(const job *j, prompt *p, const char *line, size_t n, const char *where, vm_error *e) {
    json_doc *d = json_parse(line, n, where, 0, e);
    json_value root = json_root(d), messages = json_get(root, "messages"), id = json_get(root, "id");
    if (!d) return e->status;
    if (id.kind == JSON_STRING) p->id = vm_strdup(json_as_str(id, e));
    else if (json_has(id)) p->id = vm_asprintf("%" PRId64, json_as_int(id, INT64_MIN, INT64_MAX, e));
    if (json_has(messages)) add_messages(j, p, messages, e);
    else {
        const char *text = json_as_str(json_need(root, "prompt", JSON_STRING, e), e);
        if (!e->status) add_text(j, p, text, e);
    }
    json_free(d);
    return e->status;
}

static vm_status read_prompts(const job *j, prompt **list, int64_t *n, vm_error *e) {
    const char *file = arg_str(j->a, "prompts"), *one = arg_str(j->a, "prompt");
    char *text = NULL;
    size_t bytes;
    int64_t cap = 0, line = 1;
    if (one) {
        if (!vm_grow(list, &cap, 1, sizeof **list)) return vm_nomem(e, 64, "prompts");
        (*list)[(*n)++] = (prompt){ 0 };
        return add_text(j, *list, one, e);
    }
    if (file_read(&text, &bytes, file, 0, e)) return e->status;
    for (char *p = text, *end = text + bytes; p < end && !e->status; line++) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *where = vm_asprintf("%s:%" PRId64, file, line);
        if (!stop) stop = end;
        bool blank = strspn(p, " \t\r") >= (size_t)(stop - p);
        if (!where || (!blank && !vm_grow(list, &cap, *n + 1, sizeof **list))) vm_nomem(e, 64, "prompts");
        else if (!blank) {
            (*list)[*n] = (prompt){ 0 };
            add_line(j, &(*list)[(*n)++], p, (size_t)(stop - p), where, e);
        }
        vm_free(where);
        p = stop + 1;
    }
    vm_free(text);
    if (!e->status && !*n) vm_fail(e, VM_EINPUT, "%s: no prompts, expected JSON lines with \"prompt\" or \"messages\"", file);
    return e->status;
}

/* --- texts -------------------------------------------------------------------------------------------------------------- */
static bool add_part(prompt *p, const char *s, size_t n) {
    if (!vm_grow(&p->made, &p->made_cap, p->made_n + (int64_t)n + 1, 1)) return false;
    memcpy(p->made + p->made_n, s, n);
    p->made_n += (int64_t)n;
    p->made[p->made_n] = 0;
    return true;
}

/* A stop text, where one begins; NULL = none. */
static char *find_stop(const job *j, const char *text) {
    char *first = NULL;
    for (int k = 0; k < j->n_stops; k++) {
        char *at = strstr(text, j->stops[k]);
        if (at && (!first || at < first)) first = at;
    }
    return first;
}

static bool take(llm_request *r, int32_t id) {
    prompt *p = r->ctx;
    vm_error e = { 0 };
    const char *part = "";
    size_t n = 0;
    int64_t before = p->made_n;
    if (tok_decode_next(p->j->t, &p->st, id, false, &part, &n, &e) || !add_part(p, part, n)) return true;
    char *stop = find_stop(p->j, p->made);
    if (stop) p->made_n = stop - p->made, *stop = 0;
    if (p->j->stream && p->made_n > before) fwrite(p->made + before, 1, (size_t)(p->made_n - before), stdout), fflush(stdout);
    return stop != NULL;
}

static const char *const finish_name[] = { "stop", "length", "context", "interrupted" };

static vm_status put_line(const prompt *p, int64_t number, int64_t sample, const llm_request *r, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, number);
    json_begin_object(&w, NULL);
    json_put_str(&w, "id", p->id ? p->id : text);
    if (sample >= 0) json_put_int(&w, "sample", sample);
    json_put_str(&w, "text", p->made ? p->made : "");
    json_put_int(&w, "prompt_tokens", r->n), json_put_int(&w, "tokens", r->n_out);
    json_put_str(&w, "finish", finish_name[r->finish]);
    json_close_object(&w);
    char *line = json_take(&w, NULL, e);
    if (line) printf("%s\n", line);
    vm_free(line);
    return e->status;
}

/* --- the command -------------------------------------------------------------------------------------------------------- */
static vm_status open_all(job *j, vm_type *dtype, vm_error *e) {
    const char *dir = arg_model(j->a, arg_pos(j->a, 0), e), *layout = arg_str(j->a, "chat-template");
    vm_backend *be = dir ? run_backend(j->a, e) : NULL;
    if (!be || run_dtype(j->a, true, dtype, e)) return e->status;
    if (!strcmp(layout, "auto")) chat_of(&j->chat, dir, e);
    else if (strcmp(layout, "none")) j->chat = chat_by_name(layout, e);
    if (!e->status && arg_str(j->a, "system") && !j->chat) vm_fail(e, VM_EUSAGE, "generate: --system needs the layout of a conversation; give --chat-template");
    if (e->status || llm_open(&j->m, be, dir, false, e) || tok_open(&j->t, dir, e)) return e->status;
    if (j->m->unused) vm_warn("%s", j->m->unused);
    if (arg_str(j->a, "adapter") && llm_adapt(j->m, NULL, arg_str(j->a, "adapter"), e)) return e->status;
    const char *stop = j->chat ? chat_stop(j->chat) : NULL;
    int32_t id = stop ? tok_find(j->t, stop, strlen(stop)) : -1;
    if (id >= 0 && j->m->c.stops < LLM_STOPS) j->m->c.stop[j->m->c.stops++] = id;
    return VM_OK;
}

static vm_status generate(job *j, vm_type dtype, prompt *p, int64_t n, vm_error *e) {
    const vm_args *a = j->a;
    int64_t copies = arg_int(a, "n"), longest = 0, N = n * copies;
    llm_request *r = vm_calloc((size_t)N + 1, sizeof *r);
    prompt *each = vm_calloc((size_t)N + 1, sizeof *each); /* the texts of each sample */
    llm_engine *en = NULL;
    llm_counts counts = { 0 };
    if (!r || !each) vm_nomem(e, (size_t)N * sizeof *r, "prompts");
    llm_sampling how = { .temperature = (float)arg_float(a, "temperature"), .top_k = arg_int(a, "top-k"), .top_p = (float)arg_float(a, "top-p"),
                         .min_p = (float)arg_float(a, "min-p"), .repetition = (float)arg_float(a, "repetition-penalty"),
                         .presence = (float)arg_float(a, "presence-penalty"), .frequency = (float)arg_float(a, "frequency-penalty"),
                         .seed = (uint64_t)arg_int(a, "seed") };
    for (int64_t i = 0; i < N && !e->status; i++) {
        const prompt *from = &p[i / copies];
        each[i].j = j;
        r[i] = (llm_request){ .ids = from->ids.id, .n = from->ids.n, .most = arg_int(a, "max-new"), .how = how, .token = take, .ctx = &each[i] };
        r[i].how.stream = (uint64_t)i;
        longest = VM_MAX(longest, r[i].n + r[i].most);
    }
    int slots = (int)VM_MIN(VM_MIN(arg_int(a, "batch"), N), (int64_t)LLM_SLOTS);
    llm_engine_options o = { .longest = longest, .cache = dtype, .deterministic = arg_flag(a, "deterministic"),
                             .tokens = (slots + 1) * (VM_MIN(longest, j->m->c.context) + LLM_PAGE) };
    if (!e->status && !llm_engine_new(&en, j->m, dtype, &o, e)) llm_batch(en, j->m, N, r, slots, run_stopping, &counts, e);
    for (int64_t i = 0; i < N && !e->status; i++) {
        const char *part;
        size_t len;
        bool stopped = each[i].made && find_stop(j, each[i].made);
        if (!stopped && !tok_decode_next(j->t, &each[i].st, -1, false, &part, &len, e) && len) { /* what was held back */
            if (!add_part(&each[i], part, len)) vm_nomem(e, len, "a text");
            else if (j->stream) printf("%s", part);
        }
        each[i].id = p[i / copies].id;
        if (j->stream) printf("\n");
        else if (!e->status) put_line(&each[i], i / copies, copies > 1 ? i % copies : -1, &r[i], e);
        each[i].id = NULL;
        if (r[i].finish == LLM_FULL) vm_warn("prompt %" PRId64 ": the model's context of %" PRId64 " tokens is full", i / copies, j->m->c.context);
    }
    if (!e->status && counts.made)
        vm_info("%" PRId64 " prompt tokens (%" PRId64 " shared) at %.1f a second, %" PRId64 " tokens generated at %.1f a second", counts.prompt, counts.shared,
                (double)counts.prompt / VM_MAX(counts.prompt_s, 1e-9), counts.made, (double)counts.made / VM_MAX(counts.made_s, 1e-9));
    for (int64_t i = 0; i < N && r && each; i++) vm_free(r[i].out), prompt_free(&each[i]);
    llm_engine_free(en);
    vm_free(r), vm_free(each);
    return e->status ? e->status : run_stopping() ? VM_ESTOP : VM_OK;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    prompt *p = NULL;
    int64_t n = 0;
    vm_type dtype;
    vm_status st = VM_OK;
    if (!arg_str(a, "prompt") == !arg_str(a, "prompts")) return vm_fail(e, VM_EUSAGE, "generate: --prompt TEXT or --prompts FILE is needed");
    j.n_stops = arg_list(a, "stop", &j.stops);
    j.stream = arg_str(a, "prompt") && arg_int(a, "n") == 1 && !arg_flag(a, "json");
    if (!open_all(&j, &dtype, e) && !read_prompts(&j, &p, &n, e)) {
        if (arg_flag(a, "show-prompt")) {
            for (int64_t i = 0; i < n; i++) printf("%s\n", p[i].text);
        } else {
            st = generate(&j, dtype, p, n, e);
        }
    }
    for (int64_t i = 0; i < n; i++) prompt_free(&p[i]);
    vm_free(p);
    llm_free(j.m);
    tok_free(j.t);
    return e->status ? e->status : st;
}

static const vm_opt opts[] = {
    { "prompt", OPT_STR, NULL, "TEXT", "one prompt; the answer streams to stdout", 0, 0 },
    { "prompts", OPT_STR, NULL, "FILE", "JSON lines with \"prompt\" or \"messages\", and perhaps \"id\"; answers are JSON lines in the same order", 0, 0 },
    { "adapter", OPT_STR, NULL, "DIR", "a PEFT adapter (LoRA) of the model, applied as it runs", 0, 0 },
    { "system", OPT_STR, NULL, "TEXT", "a system text before each prompt", 0, 0 },
    { "chat-template", OPT_STR, "auto", "NAME", "layout of a conversation: auto (the model's own), none, or mistral, mixtral, llama2, llama3, vicuna, chatml, phi3, gemma, raw", 0, 0 },
    { "show-prompt", OPT_FLAG, NULL, NULL, "print the texts that the model would get, and end", 0, 0 },
    { "max-new", OPT_INT, "256", "N", "tokens of an answer at most", 1, 1 << 20 },
    { "n", OPT_INT, "1", "N", "answers for each prompt", 1, 1024 },
    { "batch", OPT_INT, "16", "N", "texts that are worked on together", 1, LLM_SLOTS },
    { "temperature", OPT_FLOAT, "0.8", "X", "0 = the most likely token", 0, 100 },
    { "top-k", OPT_INT, "40", "K", "draw from the K most likely tokens; 0 = all", 0, 1 << 24 },
    { "top-p", OPT_FLOAT, "1", "P", "draw from the fewest tokens that reach P together", 0, 1 },
    { "min-p", OPT_FLOAT, "0", "P", "draw from tokens with at least P times the largest probability", 0, 1 },
    { "repetition-penalty", OPT_FLOAT, "1", "X", "logits of tokens that the answer has are divided by X (1 = off)", 0.01, 100 },
    { "presence-penalty", OPT_FLOAT, "0", "X", "taken off the logits of tokens that the answer has", -100, 100 },
    { "frequency-penalty", OPT_FLOAT, "0", "X", "taken off for each time that it has them", -100, 100 },
    { "stop", OPT_LIST, NULL, "TEXT", "ends an answer before TEXT (repeatable)", 0, 0 },
    { 0 },
};

const vm_command cmd_generate = {
    .name = "generate",
    .summary = "text from a language model: one prompt, or a file of them in one batch",
    .usage = "MODEL_DIR --prompt TEXT | --prompts FILE",
    .about = "MODEL_DIR is a folder of Llama, Mistral, Mixtral, Qwen2, Phi-3 or Gemma weights. What all prompts of a file begin with is computed once.\n"
             "An answer depends on its prompt, its number and --seed alone.\n\n"
             "  vismin generate vicuna-7b/ --prompt \"Name three fruits.\" --max-new 64\n"
             "  vismin generate mistral-7b/ --prompts prompts.jsonl --n 2 --temperature 0.9 --top-k 100 > answers.jsonl",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
