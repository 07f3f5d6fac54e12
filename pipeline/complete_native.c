/* complete_native.c - answers from a model directory on our engine. Requests whose prompts begin alike go into one
 * batch (llm_batch.h), which computes what they share once. */
#include <string.h>

#include "io/chat.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/keymap.h"
#include "io/log.h"
#include "io/tokenizer.h"
#include "models/llm_batch.h"
#include "pipeline/complete_parts.h"
#include "pipeline/run.h"
#include "pipeline/text_out.h"

/* What a schema has become. */
typedef struct {
    grammar *g;
    constraint_form *form;
} limit;
enum { FORMS = 512 }; /* that are kept: schemas with the phrases of a caption differ from unit to unit */

typedef struct {
    completer base;
    llm *m;
    tok *t;
    const chat_layout *chat; /* NULL: prompts are texts as they are */
    llm_engine *en;
    token_trie *trie; /* NULL until a schema comes */
    keymap schemas;   /* their texts; number i is form[i]'s */
    limit *form;
    int64_t n_forms, cap_forms;
    vm_type dtype;
    int slots;
    int64_t longest; /* tokens of one sequence that the engine was made for */
    bool deterministic;
} native;

/* One request on its way. */
typedef struct {
    native *c;
    completion *x;
    tok_ids ids;
    tok_stream st;
    text_out text;
    loop_watch loop;
    bool looped;
    double from;
    int64_t shared; /* tokens of the prompt that the whole batch begins with */
} asked;

static void forget_schemas(native *c) {
    for (int64_t i = 0; i < c->n_forms; i++) constraint_form_free(c->form[i].form), grammar_free(c->form[i].g);
    c->n_forms = 0;
    keymap_free(&c->schemas);
}

static void native_close(completer *base) {
    native *c = (native *)base;
    forget_schemas(c);
    vm_free(c->form);
    token_trie_free(c->trie);
    llm_engine_free(c->en);
    llm_free(c->m);
    tok_free(c->t);
    vm_free(c);
}

static vm_status native_shown(char **text, completer *base, const char *prompt, vm_error *e) {
    const native *c = (native *)base;
    if (c->chat) return chat_text(text, c->chat, &(chat_message){ "user", prompt }, 1, e);
    return (*text = vm_strdup(prompt)) ? VM_OK : vm_nomem(e, strlen(prompt), "a prompt");
}

/* What is spelled like a mark of the conversation in a prompt (a caption may hold it) is text. */
static vm_status ids_of(native *c, const char *prompt, tok_ids *ids, vm_error *e) {
    char *text = NULL;
    tok_span said[2] = { { 0, strlen(prompt) } };
    int64_t n = 1;
    bool bos_inside = c->chat && chat_has_bos(c->chat);
    if (c->chat) chat_text_said(&text, said, &n, c->chat, &(chat_message){ "user", prompt }, 1, e);
    else native_shown(&text, &c->base, prompt, e);
    if (!e->status) tok_encode_plain(c->t, text, strlen(text), bos_inside ? TOK_NO_SPECIAL : 0, 0, said, n, ids, e);
    if (!e->status && !ids->n && !tok_ids_add(ids, VM_MAX(c->m->c.bos, 0))) vm_nomem(e, 8, "a prompt");
    vm_free(text);
    return e->status;
}

static int64_t native_count(completer *base, const char *prompt, vm_error *e) {
    tok_ids ids = { 0 };
    ids_of((native *)base, prompt, &ids, e);
    int64_t n = ids.n;
    tok_ids_free(&ids);
    return n;
}

/* The place at the start of a text that obeys the schema. */
static vm_status limit_of(native *c, const char *schema, constraint **out, vm_error *e) {
    int64_t i = keymap_find(&c->schemas, schema, strlen(schema));
    if (!c->trie && token_trie_new(&c->trie, c->t, c->m->c.vocab, e)) return e->status;
    if (i < 0) {
        limit x = { 0 };
        if (grammar_from_schema(&x.g, schema, strlen(schema), "schema", e) ||
            constraint_form_new(&x.form, x.g, c->trie, e) ||
            !vm_grow(&c->form, &c->cap_forms, c->n_forms + 1, sizeof *c->form) ||
            (i = keymap_put_text(&c->schemas, schema)) < 0) {
            constraint_form_free(x.form), grammar_free(x.g);
            return e->status ? e->status : vm_nomem(e, strlen(schema), "a schema");
        }
        c->form[c->n_forms++] = x;
    }
    return constraint_new(out, c->form[i].form, e);
}

/* --- one answer --------------------------------------------------------------------------------------------------- */
static bool on_token(llm_request *r, int32_t id) {
    asked *q = r->ctx;
    vm_error e = { 0 };
    const char *part = "";
    size_t n = 0;
    if (tok_decode_next(q->c->t, &q->st, id, false, &part, &n, &e)) return true;
    text_add(&q->text, part, n);
    q->looped = loop_step(&q->loop, id);
    return q->looped || q->text.failed || q->c->base.stop ||
           (q->x->how.stop && q->text.s && strstr(q->text.s, q->x->how.stop));
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
    const char *part = "";
    size_t n = 0;
    if (!tok_decode_next(q->c->t, &q->st, -1, false, &part, &n, &e))
        text_add(&q->text, part, n); /* what was held back */
    x->end = q->looped ? COMPLETE_LOOP : ends[r->finish];
    x->in = r->n, x->out = r->n_out, x->cached = q->shared;
    x->ms = 1e3 * (run_seconds() - q->from);
    x->text = text_take(&q->text, &e);
    loop_free(&q->loop);
    if (x->end != COMPLETE_INTERRUPTED && x->text) complete_finish(x);
}

/* --- batches ------------------------------------------------------------------------------------------------------ */
static int64_t common(const tok_ids *a, const tok_ids *b) {
    int64_t k = 0, n = VM_MIN(a->n, b->n);
    while (k < n && a->id[k] == b->id[k]) k++;
    return k;
}

/* Requests of one batch: as long as the next one shares half of its prompt with the first. */
static int64_t alike(const asked *q, int64_t n) {
    int64_t k = 1;
    while (k < n && 2 * common(&q[0].ids, &q[k].ids) >= VM_MIN(q[0].ids.n, q[k].ids.n)) k++;
    return k;
}

static vm_status make_engine(native *c, int64_t longest, vm_error *e) {
    if (c->en && longest <= c->longest) return VM_OK;
    llm_engine_free(c->en);
    c->en = NULL, c->longest = longest;
    llm_engine_options o = { .longest = longest,
                             .cache = c->dtype,
                             .deterministic = c->deterministic,
                             .tokens = (c->slots + 1) * (longest + LLM_PAGE) };
    return llm_engine_new(&c->en, c->m, c->dtype, &o, e);
}

static vm_status run_alike(native *c, asked *q, int64_t n, vm_error *e) {
    llm_request *r = vm_calloc((size_t)n, sizeof *r);
    if (!r) return vm_nomem(e, (size_t)n * sizeof *r, "requests");
    int64_t longest = 0, shared = n > 1 ? q[0].ids.n : 0;
    for (int64_t i = 1; i < n; i++) shared = VM_MIN(shared, common(&q[0].ids, &q[i].ids));
    if (c->n_forms > FORMS) forget_schemas(c); /* no text is under way here */
    for (int64_t i = 0; i < n && !e->status; i++) {
        const decoding *how = &q[i].x->how;
        r[i] = (llm_request){
            .ids = q[i].ids.id, .n = q[i].ids.n, .most = how->max_new, .token = on_token, .done = on_done, .ctx = &q[i]
        };
        r[i].how = (llm_sampling){ .temperature = (float)how->temperature,
                                   .top_k = how->top_k,
                                   .top_p = (float)how->top_p,
                                   .min_p = (float)how->min_p,
                                   .seed = q[i].x->seed };
        if (q[i].x->schema) limit_of(c, q[i].x->schema, &r[i].limit, e);
        longest = VM_MAX(longest, r[i].n + r[i].most);
        q[i].shared = shared;
    }
    llm_counts counts = { 0 };
    if (!e->status && !make_engine(c, VM_MIN(longest, c->base.context), e))
        llm_batch(c->en, c->m, n, r, c->slots, run_stopping, &counts, e);
    vm_debug("%lld prompt tokens (%lld shared), %lld generated", (long long)counts.prompt, (long long)counts.shared,
             (long long)counts.made);
    for (int64_t i = 0; i < n; i++) vm_free(r[i].out), constraint_free(r[i].limit);
    vm_free(r);
    return e->status;
}

static vm_status native_run(completer *base, completion *list, int64_t n, vm_error *e) {
    native *c = (native *)base;
    asked *q = vm_calloc((size_t)n, sizeof *q);
    if (!q) return vm_nomem(e, (size_t)n * sizeof *q, "requests");
    for (int64_t i = 0; i < n && !e->status; i++) {
        q[i] = (asked){ .c = c, .x = &list[i], .from = run_seconds() };
        list[i].end = COMPLETE_INTERRUPTED;
        ids_of(c, list[i].prompt, &q[i].ids, e);
    }
    for (int64_t i = 0, k; i < n && !e->status && !complete_stopping(base); i += k) {
        k = alike(q + i, n - i);
        run_alike(c, q + i, k, e);
    }
    for (int64_t i = 0; i < n; i++) tok_ids_free(&q[i].ids), vm_free(q[i].text.s), loop_free(&q[i].loop);
    vm_free(q);
    return e->status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
enum { WHOLE_BYTES = 64 << 20, BEGIN_BYTES = 1 << 20 };

/* Names, sizes and contents of the model's files; of those above 64 MiB the first one. */
static vm_status identify(native *c, const char *dir, vm_error *e) {
    char **names, hex[65];
    int64_t n;
    sha256 s;
    uint8_t digest[32];
    if (dir_list(&names, &n, dir, e)) return e->status;
    sha256_start(&s);
    for (int64_t i = 0; i < n && !e->status; i++) {
        const char *dot = strrchr(names[i], '.');
        if (!dot ||
            (strcmp(dot, ".safetensors") && strcmp(dot, ".json") && strcmp(dot, ".model") && strcmp(dot, ".gguf")))
            continue;
        char *path = path_join(dir, names[i]);
        file_map m = { 0 };
        if (!path) vm_nomem(e, 256, "a path");
        else if (!file_map_open(&m, path, e)) {
            sha256_add(&s, names[i], strlen(names[i]) + 1);
            sha256_add(&s, &m.bytes, sizeof m.bytes);
            sha256_add(&s, m.data, m.bytes <= WHOLE_BYTES ? m.bytes : (size_t)BEGIN_BYTES);
        }
        file_map_close(&m);
        vm_free(path);
    }
    vm_free(names);
    sha256_end(&s, digest);
    hex_text(hex, digest, 32);
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') len--;
    char *name = vm_strndup(dir, len);
    if (name)
        c->base.id = vm_asprintf("native:%s %.16s %s", path_base(name), hex, c->chat ? chat_name(c->chat) : "none");
    vm_free(name);
    return !e->status && !c->base.id ? vm_nomem(e, 256, "a name") : e->status;
}

static const completer_kind kind = { .close = native_close,
                                     .run = native_run,
                                     .count = native_count,
                                     .shown = native_shown,
                                     .groups = true,
                                     .choices = 100000 };

vm_status complete_open_native(completer **out, const char *given, const vm_args *a, vm_error *e) {
    const char *dir = arg_model(a, given, e), *layout = arg_str(a, "chat-template");
    vm_backend *be = dir ? run_backend(a, e) : NULL;
    native *c = vm_calloc(1, sizeof *c);
    if (!c) return vm_nomem(e, sizeof *c, "a model");
    c->base.kind = &kind, c->slots = (int)arg_int(a, "llm-batch"), c->deterministic = arg_flag(a, "deterministic");
    if (be && !run_dtype(a, true, &c->dtype, e)) {
        if (!strcmp(layout, "auto")) chat_of(&c->chat, dir, e);
        else if (strcmp(layout, "none")) c->chat = chat_by_name(layout, e);
    }
    if (!e->status && !llm_open(&c->m, be, dir, false, e) && !tok_open(&c->t, dir, e) && !identify(c, dir, e)) {
        if (c->m->unused) vm_warn("%s", c->m->unused);
        if (arg_str(a, "adapter")) llm_adapt(c->m, NULL, arg_str(a, "adapter"), e);
        const char *stop = c->chat ? chat_stop(c->chat) : NULL;
        int32_t id = stop ? tok_find(c->t, stop, strlen(stop)) : -1;
        if (id >= 0 && c->m->c.stops < LLM_STOPS) c->m->c.stop[c->m->c.stops++] = id;
        int64_t most = arg_int(a, "llm-context");
        c->base.context = most ? VM_MIN(most, c->m->c.context) : c->m->c.context;
    }
    if (e->status) complete_close(&c->base);
    else *out = &c->base;
    return e->status;
}
