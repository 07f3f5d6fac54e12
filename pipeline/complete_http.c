/* complete_http.c - answers from a server with OpenAI's interface (vLLM, llama.cpp, SGLang, `vismin serve`, hosted
 * ones):
 *   GET URL/models            names, when --llm-model gives none
 *   POST URL/chat/completions one user message; seed, response_format
 *
 * N requests in flight. Connection errors, cut or malformed answers and 408, 409, 429, 5xx are asked again up to ten
 * times, after a wait that doubles, with jitter, and never before Retry-After. Other 4xx end the run: every request
 * would get them. Twenty failures in a row end it too; those of requests that were under way together count as one, and
 * 429 counts as none, as the server is there.
 *
 * A server that refuses response_format json_schema gets json_object, then none; one that refuses top_k or min_p gets
 * them no more. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/log.h"
#include "pipeline/complete_parts.h"
#include "pipeline/run.h"
#include "pipeline/text_out.h"

enum {
    TRIES = 10,
    FAILURES = 20,
    FLIGHT = 256,
    LONGEST_WAIT = 60,
    ANSWER_BYTES = 16 << 20,
    CHOICES = 250 /* above, hosted servers limit their length too */
};
typedef enum { AS_SCHEMA, AS_OBJECT, AS_TEXT } answer_form;

typedef struct {
    completer base;
    CURLM *multi;
    struct curl_slist *headers;
    char *url, *model;
    int flight, timeout;
    double backoff; /* seconds */
    answer_form form;
    bool plain_sampling; /* no top_k, no min_p */
    int failures;        /* in a row */
    double failed_at;    /* when the last one that counts was seen */
    uint64_t jitter;
} http;

/* A request: waiting for its time, or with an easy handle under way. */
typedef struct {
    completion *x; /* NULL = free */
    CURL *easy;
    char *body;
    text_out got;
    int tries;
    double at, from, first; /* when it may begin; began; began for the first time */
    answer_form form;       /* of this body */
    bool sampling;          /* this body holds top_k or min_p */
    char words[CURL_ERROR_SIZE];
} call;

static void http_close(completer *base) {
    http *h = (http *)base;
    if (h->multi) curl_multi_cleanup(h->multi);
    curl_slist_free_all(h->headers);
    vm_free(h->url), vm_free(h->model);
    vm_free(h);
    curl_global_cleanup();
}

static size_t on_data(char *data, size_t one, size_t n, void *ctx) {
    text_out *o = ctx;
    n *= one;
    if (o->n + (int64_t)n > ANSWER_BYTES) return 0;
    text_add(o, data, n);
    return o->failed ? 0 : n;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */
static void put_format(json_writer *w, const completion *x, answer_form form) {
    if (!x->schema || form == AS_TEXT) return;
    json_begin_object(w, "response_format");
    json_put_str(w, "type", form == AS_SCHEMA ? "json_schema" : "json_object");
    if (form == AS_SCHEMA) {
        json_begin_object(w, "json_schema");
        json_put_str(w, "name", "answer"), json_put_bool(w, "strict", true);
        json_put_raw(w, "schema", x->schema, strlen(x->schema));
        json_close_object(w);
    }
    json_close_object(w);
}

static char *body_of(const http *h, call *k, vm_error *e) {
    const completion *x = k->x;
    chat_message m[COMPLETE_TURNS];
    char *copy = vm_strdup(x->prompt);
    if (!copy) return vm_nomem(e, strlen(x->prompt), "a prompt"), NULL;
    int turns = complete_turns(m, copy);
    json_writer w = json_to_memory(JSON_COMPACT);
    k->form = x->schema ? h->form : AS_TEXT, k->sampling = !h->plain_sampling && (x->how.top_k > 0 || x->how.min_p > 0);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", h->model);
    json_begin_array(&w, "messages");
    for (int i = 0; i < turns; i++) {
        json_begin_object(&w, NULL);
        json_put_str(&w, "role", m[i].role), json_put_str(&w, "content", m[i].text);
        json_close_object(&w);
    }
    json_close_array(&w);
    vm_free(copy);
    json_put_int(&w, "max_tokens", x->how.max_new), json_put_num(&w, "temperature", x->how.temperature);
    if (x->how.top_p > 0 && x->how.top_p < 1) json_put_num(&w, "top_p", x->how.top_p);
    if (k->sampling && x->how.top_k > 0) json_put_int(&w, "top_k", x->how.top_k);
    if (k->sampling && x->how.min_p > 0) json_put_num(&w, "min_p", x->how.min_p);
    json_put_int(&w, "seed", (int64_t)(x->seed >> 33)); /* 31 bits are what every server takes */
    if (x->how.stop) json_put_str(&w, "stop", x->how.stop);
    put_format(&w, x, k->form);
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static void set_up(const http *h, CURL *c, const char *url, text_out *to, char *words) {
    words[0] = 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "vismin/" VM_VERSION);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)h->timeout);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, words);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, to);
}

static vm_status begin(http *h, call *k, vm_error *e) {
    char *url = vm_asprintf("%s/chat/completions", h->url);
    vm_free(k->body);
    vm_free(k->got.s);
    k->got = (text_out){ 0 };
    k->body = body_of(h, k, e);
    k->easy = curl_easy_init();
    if (!e->status && (!url || !k->easy)) vm_nomem(e, 1024, "a request");
    if (!e->status) {
        set_up(h, k->easy, url, &k->got, k->words);
        curl_easy_setopt(k->easy, CURLOPT_POSTFIELDS, k->body);
        curl_easy_setopt(k->easy, CURLOPT_PRIVATE, k);
        k->from = run_seconds();
        if (!k->first) k->first = k->from;
        if (curl_multi_add_handle(h->multi, k->easy) != CURLM_OK) vm_nomem(e, 1024, "a request");
    }
    vm_free(url);
    return e->status;
}

static void end_transfer(http *h, call *k) {
    if (!k->easy) return;
    curl_multi_remove_handle(h->multi, k->easy);
    curl_easy_cleanup(k->easy);
    k->easy = NULL;
}

static void release(http *h, call *k) {
    end_transfer(h, k);
    vm_free(k->body), vm_free(k->got.s);
    *k = (call){ 0 };
}

/* --- answers ------------------------------------------------------------------------------------------------------ */
static void finish(http *h, call *k, complete_end end, const char *text, vm_error *e) {
    completion *x = k->x;
    x->end = end, x->ms = 1e3 * (run_seconds() - k->first);
    if (!(x->text = vm_strdup(text))) vm_nomem(e, strlen(text), "an answer");
    release(h, k);
    if (x->text) complete_finish(x);
}

/* {"choices": [{"message": {"content", "refusal"}, "finish_reason"}], "usage": {...}}; false: it is no such thing. */
static bool read_answer(http *h, call *k, vm_error *e) {
    vm_error own = { 0 };
    json_doc *d = json_parse(k->got.s ? k->got.s : "", (size_t)k->got.n, h->url, 0, &own);
    json_value choice = json_at(json_get(json_root(d), "choices"), 0), message = json_get(choice, "message"),
               usage = json_get(json_root(d), "usage");
    const char *text = json_str(message, "content", NULL, &own), *refusal = json_str(message, "refusal", NULL, &own);
    const char *why = json_str(choice, "finish_reason", "stop", &own);
    if (!own.status && !text && !refusal && strcmp(why, "content_filter")) vm_fail(&own, VM_EINPUT, "no content");
    if (!own.status) {
        k->x->in = json_int(usage, "prompt_tokens", -1, 0, INT64_MAX, &own),
        k->x->out = json_int(usage, "completion_tokens", -1, 0, INT64_MAX, &own);
        k->x->cached = json_int(json_get(usage, "prompt_tokens_details"), "cached_tokens", -1, 0, INT64_MAX, &own);
        bool refused = refusal || !strcmp(why, "content_filter");
        finish(h, k,
               refused                  ? COMPLETE_REFUSED
               : !strcmp(why, "length") ? COMPLETE_CUT
                                        : COMPLETE_STOP,
               refusal ? refusal
               : text  ? text
                       : "",
               e);
    }
    json_free(d);
    return !own.status;
}

/* What the server says about an error, on one line. */
static void server_words(const call *k, char out[240]) {
    size_t n = 0;
    for (const char *p = k->got.s ? k->got.s : ""; *p && n < 239; p++) out[n++] = (unsigned char)*p < 32 ? ' ' : *p;
    out[n] = 0;
}

static double next_wait(http *h, const call *k, double retry_after) {
    h->jitter = h->jitter * 6364136223846793005u + 1442695040888963407u;
    double wait = h->backoff;
    for (int i = 1; i < k->tries && wait < LONGEST_WAIT; i++) wait *= 2;
    wait = VM_MIN(wait, (double)LONGEST_WAIT) * (.5 + .5 * (double)(h->jitter >> 11) * 0x1p-53);
    return VM_MAX(wait, retry_after);
}

/* To be asked again, if there are tries left and the server has not failed for too long. */
static void again(http *h, call *k, bool counts, double retry_after, const char *why, vm_error *e) {
    char words[360];
    snprintf(words, sizeof words, "%.350s", why);
    if (counts && k->from >= h->failed_at) h->failures++, h->failed_at = run_seconds();
    if (h->failures >= FAILURES) {
        vm_fail(e, VM_EIO,
                "%s: %d failures in a row, the last one: %s; the same command goes on when the server is there", h->url,
                h->failures, words);
        return;
    }
    if (++k->tries >= TRIES) {
        finish(h, k, COMPLETE_FAILED, words, e);
        return;
    }
    double wait = next_wait(h, k, retry_after);
    vm_debug("%s: %s; again in %.2f s", h->url, words, wait);
    end_transfer(h, k);
    k->at = run_seconds() + wait;
}

/* The server takes a part of the body amiss: without it, at once. */
static bool adapt(http *h, call *k, const char *words) {
    bool about_sampling = strstr(words, "top_k") || strstr(words, "min_p");
    if (k->sampling && about_sampling) {
        if (!h->plain_sampling) vm_info("%s: takes no top_k and min_p", h->url);
        h->plain_sampling = true;
    } else if (k->form < AS_TEXT) {
        answer_form less = (answer_form)(k->form + 1);
        if (h->form < less)
            vm_info("%s: takes no response_format json_%s", h->url, k->form == AS_SCHEMA ? "schema" : "object");
        h->form = VM_MAX(h->form, less);
    } else return false;
    end_transfer(h, k);
    k->at = 0;
    return true;
}

static void settle(http *h, call *k, CURLcode rc, vm_error *e) {
    long status = 0;
    curl_off_t after = 0;
    char words[240], why[340];
    curl_easy_getinfo(k->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(k->easy, CURLINFO_RETRY_AFTER, &after);
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_PEER_FAILED_VERIFICATION) {
        vm_fail(e, VM_EINPUT, "%s: %s", h->url, k->words[0] ? k->words : curl_easy_strerror(rc));
        return;
    }
    if (rc != CURLE_OK) {
        again(h, k, true, 0, k->words[0] ? k->words : curl_easy_strerror(rc), e);
        return;
    }
    if (status == 200) {
        h->failures = 0;
        if (!read_answer(h, k, e)) again(h, k, true, 0, "the answer is no completion", e);
        return;
    }
    server_words(k, words);
    snprintf(why, sizeof why, "HTTP %ld: %s", status, words);
    if (status == 408 || status == 409 || status == 429 || status >= 500)
        again(h, k, status != 429, VM_MIN((double)after, 600.0), why, e);
    else if ((status == 400 || status == 422) && strstr(words, "context")) finish(h, k, COMPLETE_TOO_LONG, why, e);
    else if ((status != 400 && status != 422) || !adapt(h, k, words))
        vm_fail(e, VM_EINPUT, "%s: refused: %s%s", h->url, why,
                status == 401 || status == 403 ? "; --llm-key-env names the variable that holds the key" : "");
}

/* --- all of them -------------------------------------------------------------------------------------------------- */
/* Begins what may begin; milliseconds until the next one may. */
static int start_due(http *h, call *k, vm_error *e) {
    double now = run_seconds(), next = now + .2;
    for (int i = 0; i < h->flight && !e->status; i++) {
        if (!k[i].x || k[i].easy) continue;
        if (k[i].at <= now) begin(h, &k[i], e);
        else next = VM_MIN(next, k[i].at);
    }
    return (int)(1e3 * (next - now)) + 1;
}

static vm_status http_run(completer *base, completion *list, int64_t n, vm_error *e) {
    http *h = (http *)base;
    call *k = vm_calloc(FLIGHT, sizeof *k);
    if (!k) return vm_nomem(e, FLIGHT * sizeof *k, "requests");
    int64_t next = 0, busy = 1;
    for (int64_t i = 0; i < n; i++) list[i].end = COMPLETE_INTERRUPTED, list[i].in = list[i].out = list[i].cached = -1;
    while (busy && !e->status && !complete_stopping(base)) {
        for (int i = 0; i < h->flight && next < n; i++)
            if (!k[i].x) k[i].x = &list[next++];
        int wait = start_due(h, k, e), left;
        if (e->status) break;
        curl_multi_poll(h->multi, NULL, 0, wait, NULL);
        curl_multi_perform(h->multi, &left);
        for (CURLMsg *m; !e->status && (m = curl_multi_info_read(h->multi, &left));) {
            call *of = NULL;
            if (m->msg != CURLMSG_DONE) continue;
            CURLcode rc = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&of);
            settle(h, of, rc, e);
        }
        busy = n - next;
        for (int i = 0; i < h->flight; i++) busy += k[i].x != NULL;
    }
    for (int i = 0; i < FLIGHT; i++) release(h, &k[i]);
    vm_free(k);
    return e->status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
/* The first model of the server's list, unless one is named; its context where the list tells it (vLLM does). */
static vm_status ask_model(http *h, vm_error *e) {
    char *url = vm_asprintf("%s/models", h->url), words[CURL_ERROR_SIZE];
    text_out got = { 0 };
    CURL *c = curl_easy_init();
    long status = 0;
    if (!url || !c) vm_nomem(e, 1024, "a request");
    for (int t = 0; t < 3 && !e->status && status != 200; t++) {
        vm_free(got.s);
        got = (text_out){ 0 };
        set_up(h, c, url, &got, words);
        curl_easy_setopt(c, CURLOPT_TIMEOUT, 30L);
        CURLcode rc = curl_easy_perform(c);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        if (rc != CURLE_OK && t == 2 && !h->model)
            vm_fail(e, VM_EIO, "%s: %s; is the server running?", url, words[0] ? words : curl_easy_strerror(rc));
    }
    vm_error own = { 0 };
    json_doc *d = e->status ? NULL : json_parse(got.s ? got.s : "", (size_t)got.n, url ? url : "", 0, &own);
    for (json_iter it = json_each(json_get(json_root(d), "data")); json_next(&it) && !own.status;) {
        const char *id = json_str(it.value, "id", NULL, &own);
        if (!id || (h->model && strcmp(h->model, id))) continue;
        if (!h->model && !(h->model = vm_strdup(id))) vm_nomem(e, 64, "a name");
        if (!h->base.context) h->base.context = json_int(it.value, "max_model_len", 0, 0, 1 << 24, &own);
        break;
    }
    if (!e->status && !h->model) vm_fail(e, VM_EINPUT, "%s: names no model (HTTP %ld); give --llm-model", url, status);
    json_free(d);
    if (c) curl_easy_cleanup(c);
    vm_free(got.s), vm_free(url);
    return e->status;
}

static vm_status add_headers(http *h, const vm_args *a, vm_error *e) {
    const char *var = arg_str(a, "llm-key-env"), *key = var ? getenv(var) : NULL;
    char *line = NULL;
    if (var && (!key || !key[0])) return vm_fail(e, VM_EUSAGE, "--llm-key-env %s: this variable is not set", var);
    if (key && !(line = vm_asprintf("Authorization: Bearer %.*s", (int)strcspn(key, "\r\n"), key)))
        return vm_nomem(e, 256, "a header");
    h->headers = curl_slist_append(h->headers, "Content-Type: application/json");
    if (line) h->headers = curl_slist_append(h->headers, line);
    vm_free(line);
    return h->headers ? VM_OK : vm_nomem(e, 256, "headers");
}

/* Without the / at the end; a server without a path gets /v1. */
static char *base_url(const char *url) {
    size_t n = strlen(url);
    while (n && url[n - 1] == '/') n--;
    const char *host = strstr(url, "://");
    bool path = host && memchr(host + 3, '/', n - (size_t)(host + 3 - url));
    return vm_asprintf("%.*s%s", (int)n, url, path ? "" : "/v1");
}

static const completer_kind kind = { .close = http_close, .run = http_run, .groups = true, .choices = CHOICES };

vm_status complete_open_http(completer **out, const char *url, const vm_args *a, vm_error *e) {
    if (strncmp(url, "http://", 7) && strncmp(url, "https://", 8))
        return vm_fail(e, VM_EUSAGE, "--llm http:%s: expected http:http://HOST:PORT or https://HOST", url);
    const char *model = arg_str(a, "llm-model");
    http *h = vm_calloc(1, sizeof *h);
    if (!h) return vm_nomem(e, sizeof *h, "a connection");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    h->base.kind = &kind, h->base.context = arg_int(a, "llm-context");
    h->flight = (int)arg_int(a, "llm-flight"), h->timeout = (int)arg_int(a, "llm-timeout"),
    h->backoff = 1e-3 * (double)arg_int(a, "llm-backoff");
    h->jitter = (uint64_t)(run_seconds() * 1e9);
    if (!(h->multi = curl_multi_init()) || !(h->url = base_url(url))) vm_nomem(e, 256, "a connection");
    if (!e->status && model && !(h->model = vm_strdup(model))) vm_nomem(e, 256, "a name");
    if (!e->status && !add_headers(h, a, e) && !ask_model(h, e) && !(h->base.id = vm_asprintf("http:%s", h->model)))
        vm_nomem(e, 256, "a name");
    if (e->status) complete_close(&h->base);
    else *out = &h->base;
    return e->status;
}
