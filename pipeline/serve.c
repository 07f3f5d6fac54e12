/* serve.c - `vismin serve`: a language model behind OpenAI's HTTP interface. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/serve_parts.h"

/* Tokens of the cache: what all slots could need, but at most a quarter of the memory, and one whole text. */
static int64_t cache_tokens(const vm_args *a, const text_model *x, int64_t context, int64_t slots) {
    const llm_config *c = &x->m->c;
    int64_t given = arg_int(a, "cache-tokens"), one = context + LLM_PAGE, wanted = (slots + 1) * one;
    size_t token = (size_t)(2 * c->layers * c->NKV * c->HS) * vm_type_size(x->dtype), memory = run_memory();
    if (given) return VM_MAX(given, one);
    if (memory) wanted = VM_MIN(wanted, (int64_t)(memory / 4 / token));
    return VM_MAX(wanted, one);
}

/* The name for clients: --name, else the last part of the model argument. */
static char *name_of(const vm_args *a) {
    const char *given = arg_str(a, "name"), *path = arg_pos(a, 0);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    char *whole = vm_strndup(path, n), *name = given ? vm_strdup(given) : whole ? vm_strdup(path_base(whole)) : NULL;
    vm_free(whole);
    return name;
}

static vm_status read_key(const vm_args *a, const char **key, vm_error *e) {
    const char *var = arg_str(a, "api-key-env");
    *key = var ? getenv(var) : NULL;
    if (var && (!*key || !**key))
        return vm_fail(e, VM_EUSAGE, "--api-key-env %s: this environment variable is not set", var);
    return VM_OK;
}

static vm_status run(const vm_args *a, vm_error *e) {
    text_model x = { 0 };
    const char *key = NULL, *host = arg_str(a, "host");
    http_server *door = NULL;
    serve_loop *loop = NULL;
    char *name = name_of(a);
    if (!name) vm_nomem(e, 256, "a name");
    if (!e->status && !read_key(a, &key, e) && !text_model_open(&x, a, arg_model(a, arg_pos(a, 0), e), e)) {
        int64_t limit = arg_int(a, "context"),
                context = limit ? VM_MIN(limit, x.m->c.context) : VM_MIN(x.m->c.context, (int64_t)4096),
                slots = arg_int(a, "batch");
        serve_options o = { .x = &x,
                            .model = name,
                            .slots = (int)slots,
                            .context = context,
                            .cache = cache_tokens(a, &x, context, slots),
                            .most_waiting = arg_int(a, "queue"),
                            .most_seconds = arg_float(a, "time-limit"),
                            .grace = arg_float(a, "grace"),
                            .deterministic = arg_flag(a, "deterministic") };
        http_options h = { .host = host,
                           .port = (int)arg_int(a, "port"),
                           .key = key,
                           .most_body = (size_t)arg_int(a, "max-body") << 10,
                           .handle = serve_handle };
        if (!serve_loop_new(&loop, &o, e)) h.ctx = loop, http_start(&door, &h, e);
        if (!e->status) {
            bool v6 = strchr(host, ':') != NULL;
            printf("http://%s%s%s:%d\n", v6 ? "[" : "", host, v6 ? "]" : "", http_port(door));
            fflush(stdout);
            vm_info("%s with %" PRId64 " tokens of context, %d texts at a time, %" PRId64 " tokens of cache%s", name,
                    context, o.slots, o.cache,
                    x.chat ? ""
                           : "; this model states no layout of conversations, so that messages need --chat-template");
            serve_loop_run(loop, door);
            const llm_counts *c = serve_loop_counts(loop);
            http_stop(door);
            vm_info("closed: %" PRId64 " prompt tokens (%" PRId64 " shared), %" PRId64 " generated", c->prompt,
                    c->shared, c->made);
        }
    }
    serve_loop_free(loop);
    text_model_close(&x);
    vm_free(name);
    return e->status;
}

static const vm_opt opts[] = {
    { "host", OPT_STR, "127.0.0.1", "ADDRESS", "address to listen at; beyond this machine only with a key", 0, 0 },
    { "port", OPT_INT, "8000", "N", "0 = any free one; the first line of stdout names it", 0, 65535 },
    { "api-key-env", OPT_STR, NULL, "VAR",
      "environment variable with the key that requests carry (Authorization: Bearer KEY)", 0, 0 },
    { "name", OPT_STR, NULL, "NAME", "the model's name for clients (default: that of its folder)", 0, 0 },
    TEXT_MODEL_OPTS,
    { "context", OPT_INT, "0", "N", "tokens of prompt and answer together; 0 = the model's, at most 4096", 0, 1 << 24 },
    { "cache-tokens", OPT_INT, "0", "N",
      "tokens that the cache has room for; 0 = what --batch texts need, within a quarter of the memory", 0, 1 << 30 },
    { "batch", OPT_INT, "8", "N", "texts that are worked on together", 1, LLM_SLOTS },
    { "queue", OPT_INT, "64", "N", "requests that may wait; 429 beyond", 0, 1 << 20 },
    { "max-body", OPT_INT, "4096", "KIB", "size of a request at most", 1, 1 << 20 },
    { "time-limit", OPT_FLOAT, "600", "S", "of a request, waiting included", 0.1, 1e6 },
    { "grace", OPT_FLOAT, "30", "S", "for the answers that are on their way when the server is told to end", 0, 1e6 },
    { 0 },
};

const vm_command cmd_serve = {
    .name = "serve",
    .summary = "a language model behind OpenAI's HTTP interface",
    .usage = "MODEL_DIR [--port N]",
    .about = "Answers POST /v1/completions and /v1/chat/completions (whole and streamed; n, stop, seed, logprobs, "
             "response_format json_object and\n"
             "json_schema, grammar), GET /v1/models and /health. Requests are worked on together; what their prompts "
             "begin with is computed once.\n"
             "SIGINT or SIGTERM: no new requests, those that are there are finished. With --deterministic an answer "
             "does not depend on the others.\n\n"
             "  vismin serve mistral-7b/ --port 8080\n"
             "  curl http://127.0.0.1:8080/v1/chat/completions -d "
             "'{\"messages\":[{\"role\":\"user\",\"content\":\"Name three fruits.\"}]}'",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
