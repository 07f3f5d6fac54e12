/* serve_api.c - requests in OpenAI's form: /v1/completions and /v1/chat/completions, with what llama.cpp and vLLM add
 * (top_k, min_p, repetition_penalty, grammar, json_schema). A field that would change the answer and is not understood
 * is an error. */
#include <string.h>
#include <sys/random.h>

#include "pipeline/serve_parts.h"

enum { MESSAGES = 1024, PROMPTS = 64, COPIES = 64, MOST_NEW = 1 << 24 };

static const char *const both[] = {
    "model", "stream", "stream_options", "n", "max_tokens", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "stop", "response_format",
    "json_schema", "grammar", "logprobs",
};
static const char *const of_chat[] = { "messages", "max_completion_tokens", "top_logprobs" };
static const char *const of_completions[] = { "prompt" };
/* Say nothing about the answer. */
static const char *const idle[] = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "cache_prompt",
    "reasoning_effort",
};
/* Understood where they ask for what is done anyway. */
static const struct {
    const char *name, *value;
} harmless[] = {
    { "echo", "false" }, { "suffix", "null" }, { "best_of", "1" }, { "logit_bias", "{}" }, { "tools", "[]" },
    { "tool_choice", "\"none\"" }, { "parallel_tool_calls", "true" }, { "modalities", "[\"text\"]" },
    { "ignore_eos", "false" }, { "add_generation_prompt", "true" },
};

static bool among(const char *name, const char *const *list, int n) {
    for (int k = 0; k < n; k++)
        if (!strcmp(list[k], name)) return true;
    return false;
}

static vm_status bad(serve_request *r, const char *param) {
    r->param = param;
    return VM_EINPUT;
}

static vm_status check_fields(serve_request *r, json_value root, vm_error *e) {
    for (json_iter it = json_each(root); json_next(&it) && !e->status;) {
        bool known =
            among(it.key, both, VM_LEN(both)) || among(it.key, idle, VM_LEN(idle)) ||
            (r->chat ? among(it.key, of_chat, VM_LEN(of_chat)) : among(it.key, of_completions, VM_LEN(of_completions)));
        for (int k = 0; k < VM_LEN(harmless) && !known; k++) {
            if (strcmp(harmless[k].name, it.key)) continue;
            json_writer w = json_to_memory(JSON_COMPACT);
            json_put_value(&w, NULL, it.value);
            char *s = json_take(&w, NULL, e);
            known = s && (!strcmp(s, harmless[k].value) || !strcmp(s, "null"));
            vm_free(s);
        }
        if (!known) json_fail(it.value, e, "this field is not supported here"), bad(r, it.key);
    }
    return e->status;
}

/* --- single values ------------------------------------------------------------------------------------------------ */
static int64_t whole(serve_request *r, json_value root, const char *key, int64_t dflt, int64_t min, int64_t max,
                     vm_error *e) {
    if (e->status) return dflt;
    int64_t v = json_int(root, key, dflt, min, max, e);
    if (e->status) bad(r, key);
    return v;
}
static float number(serve_request *r, json_value root, const char *key, double dflt, double min, double max,
                    vm_error *e) {
    if (e->status) return (float)dflt;
    double v = json_num(root, key, dflt, min, max, e);
    if (e->status) bad(r, key);
    return (float)v;
}
static bool flag(serve_request *r, json_value root, const char *key, vm_error *e) {
    if (e->status) return false;
    bool v = json_bool(root, key, false, e);
    if (e->status) bad(r, key);
    return v;
}

static vm_status read_sampling(serve_request *r, json_value root, vm_error *e) {
    uint64_t any = 0;
    if (getrandom(&any, sizeof any, 0) != sizeof any) any = (uint64_t)(uintptr_t)r;
    r->how.temperature = number(r, root, "temperature", 1, 0, 100, e);
    r->how.top_p = number(r, root, "top_p", 1, 0, 1, e);
    r->how.min_p = number(r, root, "min_p", 0, 0, 1, e);
    r->how.top_k = whole(r, root, "top_k", 0, -1, 1 << 24, e);
    r->how.top_k = VM_MAX(r->how.top_k, (int64_t)0); /* vLLM: -1 is all */
    r->how.repetition = number(r, root, "repetition_penalty", 1, 0.01, 100, e);
    r->how.presence = number(r, root, "presence_penalty", 0, -100, 100, e);
    r->how.frequency = number(r, root, "frequency_penalty", 0, -100, 100, e);
    r->how.seed = (uint64_t)whole(r, root, "seed", (int64_t)(any >> 1), INT64_MIN, INT64_MAX, e);
    r->n = (int)whole(r, root, "n", 1, 1, COPIES, e);
    r->most = whole(
        r, root, r->chat && json_has(json_get(root, "max_completion_tokens")) ? "max_completion_tokens" : "max_tokens",
        r->chat ? 0 : 16, 1, MOST_NEW, e);
    r->top = -1;
    if (!r->chat) r->top = (int)whole(r, root, "logprobs", -1, 0, SERVE_TOP, e);
    else if (flag(r, root, "logprobs", e)) r->top = (int)whole(r, root, "top_logprobs", 0, 0, SERVE_TOP, e);
    return e->status;
}

static vm_status read_stops(serve_request *r, json_value v, vm_error *e) {
    int64_t n = v.kind == JSON_ARRAY ? json_len(v) : json_has(v);
    if (n > SERVE_STOPS)
        return json_fail(v, e, "%lld texts, at most %d are possible", (long long)n, SERVE_STOPS), bad(r, "stop");
    for (int64_t i = 0; i < n && !e->status; i++) {
        const char *s = json_as_str(v.kind == JSON_ARRAY ? json_at(v, i) : v, e);
        if (*s) r->stop[r->n_stops++] = s;
    }
    return e->status ? bad(r, "stop") : VM_OK;
}

/* --- forms -------------------------------------------------------------------------------------------------------- */
static vm_status set_form(serve_request *r, const char *text, bool schema, const char *name, vm_error *e) {
    r->form = (text_form){ .text = vm_strdup(text), .name = vm_strdup(name), .schema = schema };
    return r->form.text && r->form.name ? VM_OK : vm_nomem(e, strlen(text), "a request");
}

static vm_status set_schema(serve_request *r, json_value schema, const char *param, vm_error *e) {
    if (schema.kind != JSON_OBJECT && schema.kind != JSON_BOOL)
        return json_fail(schema, e, "expected a JSON schema"), bad(r, param);
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, schema);
    char *s = json_take(&w, NULL, e);
    if (s) set_form(r, s, true, param, e);
    vm_free(s);
    return e->status;
}

/* response_format, json_schema or grammar: one of them. */
static vm_status read_form(serve_request *r, json_value root, vm_error *e) {
    json_value format = json_get(root, "response_format"), schema = json_get(root, "json_schema"),
               rules = json_get(root, "grammar");
    const char *type = json_has(format) ? json_as_str(json_need(format, "type", JSON_STRING, e), e) : "text";
    if (e->status) return bad(r, "response_format");
    if ((strcmp(type, "text") != 0) + json_has(schema) + json_has(rules) > 1)
        return vm_fail(e, VM_EINPUT,
                       "response_format, json_schema and grammar are forms of one answer; give one of them"),
               bad(r, "response_format");
    if (json_has(rules)) {
        const char *s = json_as_str(rules, e);
        return e->status ? bad(r, "grammar") : set_form(r, s, false, "grammar", e);
    }
    if (json_has(schema)) return set_schema(r, schema, "json_schema", e);
    if (!strcmp(type, "json_object")) return set_form(r, "{\"type\":\"object\"}", true, "response_format", e);
    if (!strcmp(type, "text")) return VM_OK;
    if (strcmp(type, "json_schema"))
        return json_fail(format, e, "type \"%s\" is none of text, json_object, json_schema", type),
               bad(r, "response_format");
    json_value inside = json_get(json_get(format, "json_schema"), "schema");
    return set_schema(r, json_has(inside) ? inside : json_get(format, "schema"), "response_format", e);
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */
static vm_status read_prompts(serve_request *r, json_value v, vm_error *e) {
    bool list = v.kind == JSON_ARRAY;
    int64_t n = list ? json_len(v) : 1;
    if (n < 1 || n > PROMPTS)
        return json_fail(v, e, "%lld prompts, 1 to %d are possible", (long long)n, PROMPTS), bad(r, "prompt");
    if (!(r->prompt = vm_calloc((size_t)n, sizeof *r->prompt))) return vm_nomem(e, 64, "a request");
    for (; r->n_prompts < n && !e->status; r->n_prompts++)
        r->prompt[r->n_prompts] = json_as_str(list ? json_at(v, r->n_prompts) : v, e);
    return e->status ? bad(r, "prompt") : VM_OK;
}

/* Text, or a list of {"type":"text","text"}. */
static const char *content(serve_request *r, json_value v, vm_error *e) {
    if (v.kind != JSON_ARRAY) return json_as_str(v, e);
    text_out all = { 0 };
    for (json_iter it = json_each(v); json_next(&it) && !e->status;) {
        const char *type = json_str(it.value, "type", "", e);
        if (e->status || strcmp(type, "text"))
            json_fail(it.value, e, "a part of type \"%s\"; only text is possible", type);
        else text_put(&all, json_as_str(json_need(it.value, "text", JSON_STRING, e), e));
    }
    char *s = text_take(&all, e), **more = s ? vm_realloc(r->owned, (size_t)(r->n_owned + 1) * sizeof *more) : NULL;
    if (!more) {
        vm_free(s);
        vm_nomem(e, 64, "a request");
        return "";
    }
    r->owned = more;
    return r->owned[r->n_owned++] = s;
}

static vm_status read_messages(serve_request *r, json_value v, vm_error *e) {
    int64_t n = json_len(v);
    if (v.kind != JSON_ARRAY || n < 1 || n > MESSAGES)
        return json_fail(v, e, "expected a list of 1 to %d messages", MESSAGES), bad(r, "messages");
    if (!(r->message = vm_calloc((size_t)n, sizeof *r->message))) return vm_nomem(e, 64, "a request");
    for (json_iter it = json_each(v); json_next(&it) && !e->status; r->n_messages++) {
        const char *role = json_as_str(json_need(it.value, "role", JSON_STRING, e), e);
        if (!strcmp(role, "developer")) role = "system";
        r->message[r->n_messages] = (chat_message){ role, content(r, json_get(it.value, "content"), e) };
    }
    if (!e->status && !strcmp(r->message[n - 1].role, "assistant"))
        json_fail(v, e, "the last message is the assistant's; the answer comes behind one of the user");
    r->n_prompts = 1;
    return e->status ? bad(r, "messages") : VM_OK;
}

vm_status serve_parse(serve_request *r, const char *body, size_t bytes, bool chat, const char *model, vm_error *e) {
    *r = (serve_request){ .chat = chat, .doc = json_parse(body, bytes, "request", 0, e) };
    json_value root = json_root(r->doc);
    if (!r->doc) return e->status;
    if (root.kind != JSON_OBJECT) return vm_fail(e, VM_EINPUT, "request: expected an object");
    const char *name = json_str(root, "model", model, e);
    if (e->status) return bad(r, "model");
    if (strcmp(name, model))
        return vm_fail(e, VM_EINPUT, "model \"%s\" is not here; this server has \"%s\"", name, model), bad(r, "model");
    if (check_fields(r, root, e) || read_sampling(r, root, e) || read_stops(r, json_get(root, "stop"), e) ||
        read_form(r, root, e))
        return e->status;
    r->stream = flag(r, root, "stream", e);
    r->usage = flag(r, json_get(root, "stream_options"), "include_usage", e);
    if (e->status) return e->status;
    if (chat ? read_messages(r, json_get(root, "messages"), e) : read_prompts(r, json_get(root, "prompt"), e))
        return e->status;
    if (r->n * r->n_prompts > SERVE_CHOICES)
        return vm_fail(e, VM_EINPUT, "%d answers, at most %d are possible", r->n * r->n_prompts, SERVE_CHOICES),
               bad(r, "n");
    return VM_OK;
}

void serve_request_free(serve_request *r) {
    for (int k = 0; k < r->n_owned; k++) vm_free(r->owned[k]);
    text_form_free(&r->form);
    vm_free(r->owned), vm_free(r->prompt), vm_free(r->message);
    json_free(r->doc);
    *r = (serve_request){ 0 };
}
