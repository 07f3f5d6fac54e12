/* test_complete_http.c - answers from a server of the test's own, which is busy, down, slow, broken, choosy. */
#include <signal.h>
#include <time.h>

#include "pipeline/complete_parts.h"
#include "tests/http.h"
#include "tests/test.h"

#define GOOD                                                                                                           \
    "{\"choices\":[{\"message\":{\"content\":\"[1]\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,"    \
    "\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":5}}}"
static enum {
    FINE,
    BUSY,
    BROKEN,
    CUT,
    WRONG,
    REFUSES,
    FILTERS,
    LENGTH,
    NO_SCHEMA,
    NO_OBJECT,
    NO_TOP_K,
    DENIED,
    TOO_LONG,
    DOWN,
    SLOW,
    THINKS,
    ECHO
} mode;
static int failures; /* that many first answers are bad */
static char seen[1 << 16], key_seen[200];
static http_server server;

static http_answer text(int status, const char *body) {
    return (http_answer){ .status = status, .body = body, .bytes = strlen(body) };
}

static http_answer answer(http_server *s, const http_request *r) {
    static char echo[4096];
    snprintf(key_seen, sizeof key_seen, "%s", r->authorization);
    if (!strcmp(r->path, "/v1/models"))
        return text(200, "{\"data\":[{\"id\":\"the-model\",\"max_model_len\":90},{\"id\":\"other\"}]}");
    if (strcmp(r->path, "/v1/chat/completions")) return text(404, "no");
    snprintf(seen, sizeof seen, "%s", r->body);
    bool bad = failures-- > 0;
    if (mode == BUSY && bad) {
        http_answer a = text(429, "slow down");
        a.retry_after = 1;
        return a;
    }
    if (mode == BROKEN && bad) return text(500, "oops");
    if (mode == DOWN) return text(503, "down");
    if (mode == CUT && bad) return (http_answer){ .status = 200, .body = GOOD, .bytes = sizeof GOOD - 1, .cut = 20 };
    if (mode == WRONG && bad) return text(200, "{\"choices\":[{\"mess");
    if (mode == REFUSES)
        return text(200, "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"I would rather "
                         "not.\"},\"finish_reason\":\"stop\"}]}");
    if (mode == FILTERS)
        return text(200, "{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"content_filter\"}]}");
    if (mode == LENGTH)
        return text(200, "{\"choices\":[{\"message\":{\"content\":\"[1,\"},\"finish_reason\":\"length\"}]}");
    if ((mode == NO_SCHEMA || mode == NO_OBJECT) && strstr(r->body, "json_schema"))
        return text(400, "{\"error\":\"response_format json_schema is not supported\"}");
    if (mode == NO_OBJECT && strstr(r->body, "response_format")) return text(422, "{\"error\":\"no response_format\"}");
    if (mode == NO_TOP_K && strstr(r->body, "top_k")) return text(400, "Unrecognized request argument supplied: top_k");
    if (mode == DENIED) return text(401, "who are you");
    if (mode == TOO_LONG) return text(400, "This model's maximum context length is 10 tokens");
    if (mode == THINKS)
        return text(
            200,
            "{\"choices\":[{\"message\":{\"content\":\"<think>hm {1}</think>\\n[2]\"},\"finish_reason\":\"stop\"}]}");
    if (mode == SLOW && bad) {
        http_answer a = text(200, GOOD);
        a.delay_ms = 1300;
        return a;
    }
    if (mode == ECHO) {
        const char *from = strstr(r->body, "number ");
        snprintf(echo, sizeof echo, "{\"choices\":[{\"message\":{\"content\":\"%d\"},\"finish_reason\":\"stop\"}]}",
                 from ? atoi(from + 7) : -1);
        return text(200, echo);
    }
    return text(200, GOOD);
}

static const vm_opt opts[] = { COMPLETE_OPTS, { 0 } };
static const vm_command command = { .name = "test", .usage = "", .opts = opts };

static completer *open_at(int port, const char *more, const char *value, vm_error *e) {
    char url[64];
    bool done;
    vm_args *a;
    completer *c = NULL;
    *e = (vm_error){ 0 };
    snprintf(url, sizeof url, "http:http://127.0.0.1:%d", port);
    char *argv[] = { "--llm", url, "--llm-backoff", "1", "--llm-flight", "4", (char *)more, (char *)value };
    if (args_parse(&a, &command, more ? 8 : 6, argv, &done, e)) return NULL;
    complete_open(&c, a, e);
    args_free(a);
    return c;
}

static vm_status ask_with(completion *x, const char *more, const char *value, vm_error *e) {
    completer *c = open_at(server.port, more, value, e);
    *x = (completion){ .key = "k",
                       .prompt = "say \"it\"\n",
                       .schema = "{\"type\":\"array\"}",
                       .seed = UINT64_MAX,
                       .how = { .max_new = 5, .temperature = .5, .top_k = 9, .stop = "END" } };
    if (c) complete(c, x, 1, e);
    complete_close(c);
    return e->status;
}

/* One request in a mode; how it ends and its text. */
static const char *ask(int m, int bad) {
    static char out[1200];
    completion x;
    vm_error e;
    mode = m, failures = bad, server.requests = 0;
    if (ask_with(&x, NULL, NULL, &e)) snprintf(out, sizeof out, "error %d: %s", e.status, e.msg);
    else snprintf(out, sizeof out, "%s: %s", complete_end_name[x.end], x.text ? x.text : "(none)");
    vm_free(x.text);
    return out;
}

TEST(asks_and_reads) {
    completion x;
    vm_error e;
    setenv("TEST_LLM_KEY", "secret", 1);
    mode = FINE;
    EXPECT(!ask_with(&x, "--llm-key-env", "TEST_LLM_KEY", &e));
    EXPECT_STR(x.text, "[1]");
    EXPECT(x.in == 7 && x.out == 3 && x.cached == 5 && x.end == COMPLETE_STOP);
    EXPECT_STR(key_seen, "Bearer secret");
    EXPECT_STR(seen, "{\"model\":\"the-model\",\"messages\":[{\"role\":\"user\",\"content\":\"say "
                     "\\\"it\\\"\\n\"}],\"max_tokens\":5,\"temperature\":0.5,\"top_k\":9,\"seed\":2147483647,"
                     "\"stop\":\"END\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":"
                     "\"answer\",\"strict\":true,\"schema\":{\"type\":\"array\"}}}}");
    vm_free(x.text);
    completer *talk = open_at(server.port, NULL, NULL, &e);
    completion turns = { .key = "k", .prompt = "q" COMPLETE_TURN "a" COMPLETE_TURN "q2", .how = { .max_new = 5 } };
    EXPECT(talk && !complete(talk, &turns, 1, &e));
    EXPECT_HAS(seen, "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"},"
                     "{\"role\":\"user\",\"content\":\"q2\"}]");
    vm_free(turns.text);
    complete_close(talk);
    EXPECT(ask_with(&x, "--llm-key-env", "NOT_SET_AT_ALL", &e) == VM_EUSAGE);
    completer *c = open_at(server.port, NULL, NULL, &e);
    EXPECT(c && complete_fits(c, "a prompt of forty-five bytes, fifteen tokens", 70) &&
           !complete_fits(c, "a prompt of forty-five bytes, fifteen tokens", 80));
    complete_close(c);
    EXPECT(!ask_with(&x, "--llm-model", "named", &e) && !strncmp(seen, "{\"model\":\"named\"", 16));
    vm_free(x.text);
}

TEST(again_and_again) {
    EXPECT_STR(ask(BROKEN, 3), "stop: [1]");
    EXPECT(server.requests == 5);
    EXPECT_STR(ask(CUT, 2), "stop: [1]");
    EXPECT_STR(ask(WRONG, 2), "stop: [1]");
    EXPECT(!strncmp(ask(BROKEN, 10), "failed: HTTP 500: oops", 22) && server.requests == 11);
}

TEST(waits_as_told) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    EXPECT_STR(ask(BUSY, 1), "stop: [1]");
    clock_gettime(CLOCK_MONOTONIC, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    EXPECT(s > .99 && s < 3);
}

TEST(how_answers_end) {
    EXPECT_STR(ask(REFUSES, 0), "refused: I would rather not.");
    EXPECT_STR(ask(FILTERS, 0), "refused: ");
    EXPECT_STR(ask(LENGTH, 0), "cut: [1,");
    EXPECT_STR(ask(THINKS, 0), "stop: \n[2]");
}

TEST(choosy_servers) {
    EXPECT_STR(ask(NO_SCHEMA, 0), "stop: [1]");
    EXPECT(strstr(seen, "\"response_format\":{\"type\":\"json_object\"}"));
    EXPECT_STR(ask(NO_OBJECT, 0), "stop: [1]");
    EXPECT(!strstr(seen, "response_format"));
    EXPECT_STR(ask(NO_TOP_K, 0), "stop: [1]");
    EXPECT(!strstr(seen, "top_k") && strstr(seen, "json_schema"));
    EXPECT_HAS(ask(TOO_LONG, 0), "too_long: HTTP 400: This model's maximum context length");
    EXPECT_HAS(ask(DENIED, 0), "error 3:");
    EXPECT_HAS(ask(DENIED, 0), "--llm-key-env names the variable that holds the key");
}

TEST(slow_answers) {
    completion x;
    vm_error e;
    mode = SLOW, failures = 1;
    EXPECT(!ask_with(&x, "--llm-timeout", "1", &e));
    EXPECT_STR(x.text, "[1]");
    vm_free(x.text);
}

TEST(gives_up) {
    vm_error e;
    completion x[3] = { { .key = "a", .prompt = "p" }, { .key = "b", .prompt = "p" }, { .key = "c", .prompt = "p" } };
    mode = FINE;
    completer *c = open_at(server.port, "--llm-flight", "1", &e);
    mode = DOWN, server.requests = 0;
    EXPECT(c && complete(c, x, 3, &e) == VM_EIO);
    EXPECT_HAS(e.msg, "20 failures in a row, the last one: HTTP 503: down");
    EXPECT(server.requests == 20 && x[0].end == COMPLETE_FAILED && x[2].end == COMPLETE_INTERRUPTED);
    for (int k = 0; k < 3; k++) vm_free(x[k].text);
    complete_close(c);
    c = open_at(1, NULL, NULL, &e); /* nobody listens there */
    EXPECT(!c && e.status == VM_EIO);
    EXPECT_HAS(e.msg, "is the server running?");
}

static int done_calls;
static void on_done(completion *x) {
    int *want = x->ctx;
    EXPECT(x->text && atoi(x->text) == *want);
    done_calls++;
}

TEST(many_in_flight) {
    enum { N = 40 };
    completion x[N];
    char prompt[N][32];
    int number[N];
    vm_error e;
    mode = ECHO;
    completer *c = open_at(server.port, NULL, NULL, &e);
    for (int k = 0; k < N; k++) {
        number[k] = k;
        snprintf(prompt[k], sizeof prompt[k], "number %d", k);
        x[k] = (completion){ .key = "k", .prompt = prompt[k], .done = on_done, .ctx = &number[k] };
    }
    EXPECT(c && !complete(c, x, N, &e) && done_calls == N);
    for (int k = 0; k < N; k++) vm_free(x[k].text);
    complete_close(c);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    unsetenv("http_proxy");
    unsetenv("HTTP_PROXY");
    unsetenv("all_proxy");
    unsetenv("ALL_PROXY");
    if (!http_start(&server, answer)) return 1;
    RUN(asks_and_reads);
    RUN(again_and_again);
    RUN(waits_as_told);
    RUN(how_answers_end);
    RUN(choosy_servers);
    RUN(slow_answers);
    RUN(gives_up);
    RUN(many_in_flight);
    http_stop(&server);
    return test_end();
}
