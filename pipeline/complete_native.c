/* complete_native.c - answers from a model directory on our engine. All requests stand in one queue (llm_queue.h),
 * which computes once what neighbours begin with; the form of an answer is built when the answer gets its place. */
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/keymap.h"
#include "io/log.h"
#include "models/llm_batch.h"
#include "pipeline/complete_parts.h"
#include "pipeline/run.h"
#include "pipeline/text_model.h"

typedef struct {
    completer base;
    text_model x;
    llm_engine *en;
    int slots;
    int64_t longest; /* tokens of one sequence that the engine was made for */
    bool deterministic;
} native;

/* One request on its way. */
typedef struct {
    native *c;
    completion *x;
    text_form *form; /* of its schema; NULL = any text */
    tok_ids ids;
    answer text;
    loop_watch loop;
    bool looped;
    double from;
} asked;

static void native_close(completer *base) {
    native *c = (native *)base;
    llm_engine_free(c->en);
    text_model_close(&c->x);
    vm_free(c);
}

static vm_status native_shown(char **text, completer *base, const char *prompt, vm_error *e) {
    const native *c = (native *)base;
    chat_message m[COMPLETE_TURNS];
    char *copy = vm_strdup(prompt);
    if (!copy) return vm_nomem(e, strlen(prompt), "a prompt");
    chat_text(text, c->x.chat, m, complete_turns(m, copy), e);
    vm_free(copy);
    return e->status;
}

static vm_status ids_of(const native *c, const char *prompt, tok_ids *ids, vm_error *e) {
    chat_message m[COMPLETE_TURNS];
    char *text = NULL, *copy = vm_strdup(prompt);
    if (!copy) return vm_nomem(e, strlen(prompt), "a prompt");
    text_model_lay_out(&c->x, m, complete_turns(m, copy), &text, ids, e);
    vm_free(text), vm_free(copy);
    return e->status;
}

static int64_t native_count(completer *base, const char *prompt, vm_error *e) {
    tok_ids ids = { 0 };
    ids_of((native *)base, prompt, &ids, e);
    int64_t n = ids.n;
    tok_ids_free(&ids);
    return n;
}

/* --- one answer --------------------------------------------------------------------------------------------------- */
static vm_status on_start(llm_request *r, vm_error *e) {
    asked *q = r->ctx;
    q->from = run_seconds();
    return q->form ? text_form_begin(&q->c->x, q->form, r->most, &r->limit, e) : VM_OK;
}

static bool on_token(llm_request *r, int32_t id) {
    asked *q = r->ctx;
    bool ends = answer_add(&q->text, id);
    q->looped = !ends && loop_step(&q->loop, id);
    return ends || q->looped || q->c->base.stop;
}

static void on_done(llm_request *r) {
    static const complete_end ends[] = { [LLM_STOPPED] = COMPLETE_STOP,
                                         [LLM_LENGTH] = COMPLETE_CUT,
                                         [LLM_FULL] = COMPLETE_CUT,
                                         [LLM_INTERRUPTED] = COMPLETE_INTERRUPTED,
                                         [LLM_FAILED] = COMPLETE_INTERRUPTED };
    asked *q = r->ctx;
    completion *x = q->x;
    vm_error e = { 0 };
    answer_end(&q->text);
    x->end = q->looped ? COMPLETE_LOOP : ends[r->finish];
    x->in = r->n, x->out = r->n_out, x->cached = r->shared;
    x->ms = 1e3 * (run_seconds() - q->from);
    x->text = text_take(&q->text.text, &e);
    loop_free(&q->loop);
    constraint_free(r->limit);
    r->limit = NULL;
    if (q->form && --q->form->wanted == 0) text_form_give_up(q->form);
    if (x->end != COMPLETE_INTERRUPTED && x->text) complete_finish(x);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */
static vm_status make_engine(native *c, int64_t longest, vm_error *e) {
    if (c->en && longest <= c->longest) return VM_OK;
    llm_engine_free(c->en);
    c->en = NULL, c->longest = longest;
    llm_engine_options o = { .longest = longest,
                             .cache = c->x.dtype,
                             .deterministic = c->deterministic,
                             .rounded = c->x.rounded,
                             .tokens = (c->slots + 1) * (longest + LLM_PAGE) };
    return llm_engine_new(&c->en, c->x.m, c->x.dtype, &o, e);
}

/* Each schema once, with the number of its requests. form: room for n. */
static vm_status find_forms(asked *q, int64_t n, text_form *form, int64_t *forms, vm_error *e) {
    keymap known = { 0 };
    for (int64_t i = 0; i < n && !e->status; i++) {
        const char *schema = q[i].x->schema;
        if (!schema) continue;
        int64_t before = known.n, k = keymap_put_text(&known, schema);
        if (k == before)
            form[(*forms)++] = (text_form){ .schema = true, .text = vm_strdup(schema), .name = vm_strdup("schema") };
        if (k < 0 || !form[k].text || !form[k].name) vm_nomem(e, strlen(schema), "a schema");
        else q[i].form = &form[k], form[k].wanted++;
    }
    keymap_free(&known);
    return e->status;
}

static vm_status run_all(native *c, asked *q, llm_request *r, int64_t n, vm_error *e) {
    int64_t longest = 0;
    for (int64_t i = 0; i < n && !e->status; i++) {
        const decoding *how = &q[i].x->how;
        if (ids_of(c, q[i].x->prompt, &q[i].ids, e)) break;
        r[i] = (llm_request){ .ids = q[i].ids.id,
                              .n = q[i].ids.n,
                              .most = how->max_new,
                              .start = on_start,
                              .token = on_token,
                              .done = on_done,
                              .ctx = &q[i],
                              .how = { .temperature = (float)how->temperature,
                                       .top_k = how->top_k,
                                       .top_p = (float)how->top_p,
                                       .min_p = (float)how->min_p,
                                       .seed = q[i].x->seed } };
        longest = VM_MAX(longest, r[i].n + r[i].most);
    }
    llm_counts counts = { 0 };
    if (!e->status && !make_engine(c, VM_MIN(longest, c->base.context), e))
        llm_batch(c->en, c->x.m, n, r, c->slots, run_stopping, &counts, e);
    vm_debug("%lld prompt tokens (%lld shared), %lld generated", (long long)counts.prompt, (long long)counts.shared,
             (long long)counts.made);
    return e->status;
}

static vm_status native_run(completer *base, completion *list, int64_t n, vm_error *e) {
    native *c = (native *)base;
    asked *q = vm_calloc((size_t)n, sizeof *q);
    llm_request *r = vm_calloc((size_t)n, sizeof *r);
    text_form *form = vm_calloc((size_t)n, sizeof *form);
    int64_t forms = 0;
    if (!q || !r || !form) vm_nomem(e, (size_t)n * sizeof *q, "requests");
    for (int64_t i = 0; i < n && !e->status; i++) {
        q[i] = (asked){ .c = c,
                        .x = &list[i],
                        .text = { .x = &c->x, .stops = &list[i].how.stop, .n_stops = list[i].how.stop != NULL } };
        list[i].end = COMPLETE_INTERRUPTED;
    }
    if (!e->status && !find_forms(q, n, form, &forms, e)) run_all(c, q, r, n, e);
    for (int64_t i = 0; i < n && q && r; i++) {
        tok_ids_free(&q[i].ids);
        vm_free(q[i].text.text.s), vm_free(r[i].out);
        loop_free(&q[i].loop);
    }
    for (int64_t i = 0; i < forms; i++) text_form_free(&form[i]);
    vm_free(q), vm_free(r), vm_free(form);
    return e->status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
enum { WHOLE_BYTES = 64 << 20, BEGIN_BYTES = 1 << 20 };

static bool is_model_file(const char *name) {
    static const char *const endings[] = { ".safetensors", ".json", ".model", ".gguf" };
    const char *dot = strrchr(name, '.');
    for (int k = 0; k < VM_LEN(endings) && dot; k++)
        if (!strcmp(dot, endings[k])) return true;
    return false;
}

/* Names, sizes and contents of the files of a model or an adapter; of those above 64 MiB the first one. */
static vm_status add_files(sha256 *s, const char *dir, vm_error *e) {
    char **names;
    int64_t n;
    if (dir_list(&names, &n, dir, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *path = is_model_file(names[i]) ? path_join(dir, names[i]) : NULL;
        file_map m = { 0 };
        if (path && !file_map_open(&m, path, e)) {
            sha256_add(s, names[i], strlen(names[i]) + 1);
            sha256_add(s, &m.bytes, sizeof m.bytes);
            sha256_add(s, m.data, m.bytes <= WHOLE_BYTES ? m.bytes : (size_t)BEGIN_BYTES);
        }
        file_map_close(&m);
        vm_free(path);
    }
    vm_free(names);
    return e->status;
}

static vm_status identify(native *c, const char *dir, const char *adapter, vm_error *e) {
    char hex[65];
    sha256 s;
    uint8_t digest[32];
    size_t len = strlen(dir);
    sha256_start(&s);
    if (add_files(&s, dir, e) || (adapter && add_files(&s, adapter, e))) return e->status;
    sha256_end(&s, digest);
    hex_text(hex, digest, 32);
    while (len > 1 && dir[len - 1] == '/') len--;
    char *name = vm_strndup(dir, len);
    if (name)
        c->base.id = vm_asprintf("native:%s %.16s %s %s%s%s", path_base(name), hex, chat_name(c->x.chat),
                                 c->x.dtype == VM_BF16 ? "bf16" : "f32", c->x.rounded ? " act8" : "",
                                 c->deterministic ? " deterministic" : "");
    vm_free(name);
    return c->base.id ? VM_OK : vm_nomem(e, 256, "a name");
}

static const completer_kind kind = { .close = native_close,
                                     .run = native_run,
                                     .count = native_count,
                                     .shown = native_shown,
                                     .groups = true,
                                     .choices = 100000 };

vm_status complete_open_native(completer **out, const char *given, const vm_args *a, vm_error *e) {
    const char *dir = arg_model(a, given, e);
    native *c = vm_calloc(1, sizeof *c);
    if (!c) return vm_nomem(e, sizeof *c, "a model");
    c->base.kind = &kind, c->slots = (int)arg_int(a, "llm-batch"), c->deterministic = arg_flag(a, "deterministic");
    if (dir && !text_model_open(&c->x, a, dir, e)) {
        int64_t most = arg_int(a, "llm-context");
        c->base.context = most ? VM_MIN(most, c->x.m->c.context) : c->x.m->c.context;
        /* without a layout of its own: the prompt alone, in which marks of the tokenizer are text too */
        if (!c->x.chat && arg_flag(a, "turns"))
            vm_fail(e, VM_EUSAGE, "--turns: %s states no layout of a conversation; give --chat-template", dir);
        if (!c->x.chat) c->x.chat = chat_by_name("raw", e);
        if (!e->status) identify(c, dir, arg_str(a, "adapter"), e);
    }
    if (e->status) complete_close(&c->base);
    else *out = &c->base;
    return e->status;
}
