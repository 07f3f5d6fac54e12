/* serve_http.h - an HTTP server for requests with small bodies whose answers come late, at once or in parts
 * (libmicrohttpd).
 *
 * One thread of its own reads requests and calls `handle` when one is whole. The answer may come from any thread, any
 * time later: at once (http_answer), or as server-sent events (http_stream, http_event, http_end). A call is answered
 * exactly once and must not be touched behind that, but for http_gone before.
 *
 * Safe by default: bound to loopback, there only for requests whose Host is this machine (a web page of another name
 * cannot reach it by pointing its name here) and that no page of another origin sends; elsewhere only with a key.
 * Sizes, times and connections are limited. */
#ifndef VM_SERVE_HTTP_H
#define VM_SERVE_HTTP_H
#include "kernels/base.h"

typedef struct http_server http_server;
typedef struct http_call http_call;
typedef struct {
    const char *host;  /* an address, IPv4 or IPv6 */
    int port;          /* 0 = any free one */
    const char *key;   /* bearer token that every path but /health needs; NULL = none */
    size_t most_body;  /* bytes */
    void (*handle)(http_call *c, void *ctx);
    void *ctx;
} http_options;

/* VM_EUSAGE: no address, or one beyond loopback without a key; VM_EIO: the port is taken. */
vm_status http_start(http_server **out, const http_options *o, vm_error *e);
int http_port(const http_server *s);
void http_close_door(http_server *s); /* no new connections, what is there goes on */
void http_stop(http_server *s);       /* accepts NULL; calls that are not answered are cut off */

const char *http_method(const http_call *c);
const char *http_path(const http_call *c); /* without the query */
const char *http_body(const http_call *c, size_t *n); /* terminated */
void http_set(http_call *c, void *own);    /* a pointer of the caller's */
void *http_own(const http_call *c);

/* JSON. more: a further header "Name: value", or NULL. */
void http_answer(http_call *c, int status, const char *json, const char *more);
/* {"error": {"message", "type", "param", "code"}} as OpenAI has it, the type by the status; param, code and more may be
 * NULL. */
void http_fail(http_call *c, int status, const char *param, const char *code, const char *more, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
char *http_error_json(int status, const char *param, const char *code, const char *message); /* vm_free; NULL: memory */
void http_stream(http_call *c);                      /* 200, text/event-stream */
void http_event(http_call *c, const char *json);     /* data: JSON */
void http_end(http_call *c);                         /* data: [DONE], and no more */
bool http_gone(http_call *c);                        /* the client has gone away, or does not read its stream */
#endif
