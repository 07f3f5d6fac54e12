/* serve_http.c - see serve_http.h.
 *
 * A call is held by its connection and by whoever answers it; the last one to let go frees it. While an answer is
 * awaited its connection is suspended: it costs nothing, and libmicrohttpd does not look at it, so that http_gone asks
 * the socket itself. */
#include "pipeline/serve_http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/json.h"
#include "pipeline/text_out.h"

/* UNREAD: bytes of a stream that its client leaves lying */
enum { CONNECTIONS = 256, IDLE_S = 30, HEADERS = 16 << 10, CLOSING_MS = 3000, UNREAD = 8 << 20 };

struct http_server {
    struct MHD_Daemon *d;
    http_options o;
    int port;
    bool loopback;
    pthread_mutex_t lock;
    int64_t calls; /* that are not over */
    int door;      /* the socket that listened, once closed for new connections */
};

struct http_call {
    http_server *s;
    struct MHD_Connection *conn;
    pthread_mutex_t lock;
    int holders, fd;
    char *method, *path;
    text_out body;
    size_t most;
    /* the body is there; an answer was queued before; suspended; the connection is done with it */
    bool whole, refused, asleep, over;
    bool streams, ended, answered;
    int status;
    text_out out;    /* the answer, or what of the stream is not sent */
    size_t sent;
    char *more;
    void *own;
};

/* --- calls -------------------------------------------------------------------------------------------------------- */
static void let_go(http_call *c) {
    pthread_mutex_lock(&c->lock);
    bool last = --c->holders == 0;
    pthread_mutex_unlock(&c->lock);
    if (!last) return;
    pthread_mutex_destroy(&c->lock);
    vm_free(c->method), vm_free(c->path), vm_free(c->body.s), vm_free(c->out.s), vm_free(c->more);
    vm_free(c);
}

static http_call *call_new(http_server *s, struct MHD_Connection *conn, const char *method, const char *path) {
    http_call *c = vm_calloc(1, sizeof *c);
    if (!c) return NULL;
    *c = (http_call){
        .s = s, .conn = conn, .holders = 1, .method = vm_strdup(method), .path = vm_strdup(path), .most = s->o.most_body
    };
    pthread_mutex_init(&c->lock, NULL);
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    c->fd = fd ? fd->connect_fd : -1;
    if (c->method && c->path) return c;
    let_go(c);
    return NULL;
}

const char *http_method(const http_call *c) { return c->method; }
const char *http_path(const http_call *c) { return c->path; }
const char *http_body(const http_call *c, size_t *n) {
    *n = (size_t)c->body.n;
    return c->body.s ? c->body.s : "";
}
void http_set(http_call *c, void *own) { c->own = own; }
void *http_own(const http_call *c) { return c->own; }

/* With the lock held: the connection goes on where it waited. */
static void wake(http_call *c) {
    if (!c->asleep || c->over) return;
    c->asleep = false;
    MHD_resume_connection(c->conn);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */
void http_answer(http_call *c, int status, const char *json, const char *more) {
    pthread_mutex_lock(&c->lock);
    c->status = status, c->answered = true;
    text_put(&c->out, json), text_put(&c->out, "\n");
    c->more = more ? vm_strdup(more) : NULL;
    wake(c);
    pthread_mutex_unlock(&c->lock);
    let_go(c);
}

static const char *error_type(int status) {
    if (status == 401) return "authentication_error";
    if (status == 429) return "rate_limit_error";
    return status >= 500 ? "server_error" : "invalid_request_error";
}

char *http_error_json(int status, const char *param, const char *code, const char *message) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_begin_object(&w, "error");
    json_put_str(&w, "message", message), json_put_str(&w, "type", error_type(status)),
        json_put_str(&w, "param", param), json_put_str(&w, "code", code);
    json_close_object(&w), json_close_object(&w);
    return json_take(&w, NULL, NULL);
}

void http_fail(http_call *c, int status, const char *param, const char *code, const char *more, const char *fmt, ...) {
    char words[1100];
    va_list a;
    va_start(a, fmt);
    vsnprintf(words, sizeof words, fmt, a);
    va_end(a);
    char *json = http_error_json(status, param, code, words);
    static const char none[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\"}}";
    http_answer(c, status, json ? json : none, more);
    vm_free(json);
}

void http_stream(http_call *c) {
    pthread_mutex_lock(&c->lock);
    c->streams = c->answered = true, c->status = 200;
    wake(c);
    pthread_mutex_unlock(&c->lock);
}

void http_event(http_call *c, const char *json) {
    pthread_mutex_lock(&c->lock);
    if (c->sent) memmove(c->out.s, c->out.s + c->sent, (size_t)(c->out.n -= (int64_t)c->sent)), c->sent = 0;
    text_put(&c->out, "data: "), text_put(&c->out, json), text_put(&c->out, "\n\n");
    wake(c);
    pthread_mutex_unlock(&c->lock);
}

void http_end(http_call *c) {
    http_event(c, "[DONE]");
    pthread_mutex_lock(&c->lock);
    c->ended = true;
    wake(c);
    pthread_mutex_unlock(&c->lock);
    let_go(c);
}

bool http_gone(http_call *c) {
    pthread_mutex_lock(&c->lock);
    bool gone = c->over || c->out.failed || (c->streams && (size_t)c->out.n - c->sent > UNREAD);
    if (!gone && c->asleep && c->fd >= 0) {
        struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };
        gone = poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
    }
    pthread_mutex_unlock(&c->lock);
    return gone;
}

/* --- connections -------------------------------------------------------------------------------------------------- */
/* More of a stream for the socket. */
static ssize_t read_more(void *ctx, uint64_t pos, char *buf, size_t most) {
    http_call *c = ctx;
    ssize_t n = 0;
    pthread_mutex_lock(&c->lock);
    size_t have = (size_t)c->out.n - c->sent;
    if (c->out.failed) n = MHD_CONTENT_READER_END_WITH_ERROR;
    else if (have) {
        n = (ssize_t)VM_MIN(have, most);
        memcpy(buf, c->out.s + c->sent, (size_t)n);
        c->sent += (size_t)n;
    } else if (c->ended) n = MHD_CONTENT_READER_END_OF_STREAM;
    else c->asleep = true, MHD_suspend_connection(c->conn);
    pthread_mutex_unlock(&c->lock);
    return n;
}

static enum MHD_Result send_answer(http_call *c) {
    struct MHD_Response *r;
    pthread_mutex_lock(&c->lock);
    if (c->streams) {
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10, read_more, c, NULL);
        if (r)
            MHD_add_response_header(r, "Content-Type", "text/event-stream"),
                MHD_add_response_header(r, "Cache-Control", "no-cache");
    } else {
        r = c->out.failed ? NULL : MHD_create_response_from_buffer((size_t)c->out.n, c->out.s, MHD_RESPMEM_MUST_COPY);
        if (r) MHD_add_response_header(r, "Content-Type", "application/json");
    }
    char *value = c->more ? strchr(c->more, ':') : NULL;
    if (r && value) {
        *value = 0;
        MHD_add_response_header(r, c->more, value + 2);
    }
    if (r) MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (r && c->refused) MHD_add_response_header(r, "Connection", "close");
    int status = c->status;
    pthread_mutex_unlock(&c->lock);
    enum MHD_Result sent = r ? MHD_queue_response(c->conn, (unsigned)status, r) : MHD_NO;
    if (r) MHD_destroy_response(r);
    return sent;
}

static const char *header(http_call *c, const char *name) {
    return MHD_lookup_connection_value(c->conn, MHD_HEADER_KIND, name);
}

/* As long as the key, whatever is given: the time says nothing about how much of it is right. */
static bool same_key(const char *given, const char *key) {
    size_t n = strlen(given), k = strlen(key);
    unsigned char differ = n != k;
    for (size_t i = 0; i < k; i++) differ |= (unsigned char)(key[i] ^ given[n ? i % n : 0]);
    return !differ;
}

/* The name without the port. */
static bool is_here(const http_server *s, const char *host) {
    static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    for (int k = 0; k < VM_LEN(names); k++)
        if (strlen(names[k]) == n && !strncasecmp(names[k], host, n)) return true;
    return strlen(s->o.host) == n && !strncmp(s->o.host, host, n);
}

static bool is_name(const char *s, const char *name) { return s && !strcasecmp(s, name); }
static enum MHD_Result count_length(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value) {
    *(int *)ctx += is_name(key, "Content-Length");
    return MHD_YES;
}

/* Before the body is read: whether the request may be here at all. */
static void check(http_call *c) {
    const http_server *s = c->s;
    const char *host = header(c, "Host"), *auth = header(c, "Authorization"), *origin = header(c, "Origin"),
               *length = header(c, "Content-Length");
    const char *site = header(c, "Sec-Fetch-Site");
    int lengths = 0;
    MHD_get_connection_values(c->conn, MHD_HEADER_KIND, count_length, &lengths);
    c->refused = true, c->holders++;
    if (lengths > 1 || header(c, "Transfer-Encoding"))
        http_fail(c, 400, NULL, NULL, NULL, "a body needs one Content-Length");
    else if (s->loopback && host && !is_here(s, host))
        http_fail(c, 421, NULL, NULL, NULL, "this server is for requests to localhost; found Host: %.100s", host);
    else if (s->loopback &&
             ((origin && (strncmp(origin, "http://", 7) || !is_here(s, origin + 7))) || is_name(site, "cross-site")))
        http_fail(c, 403, NULL, NULL, NULL, "this server does not answer pages of other origins");
    else if (s->o.key && strcmp(c->path, "/health") &&
             (!auth || strncasecmp(auth, "Bearer ", 7) || !same_key(auth + 7, s->o.key)))
        http_fail(c, 401, NULL, "invalid_api_key", "WWW-Authenticate: Bearer", "%s",
                  auth ? "the API key is not the one of this server"
                       : "an API key is needed: Authorization: Bearer KEY");
    else if (length && strtoull(length, NULL, 10) > c->most)
        http_fail(c, 413, NULL, NULL, NULL, "a body of %.20s bytes, at most %zu are possible", length, c->most);
    else c->refused = false, c->holders--;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **own) {
    http_server *s = ctx;
    http_call *c = *own;
    if (!c) {
        if (!(c = *own = call_new(s, conn, method, url))) return MHD_NO;
        pthread_mutex_lock(&s->lock), s->calls++, pthread_mutex_unlock(&s->lock);
        check(c);
        return c->refused ? send_answer(c) : MHD_YES;
    }
    if (*bytes) { /* more of the body; the length was checked */
        if ((size_t)c->body.n + *bytes <= c->most) text_add(&c->body, data, *bytes);
        *bytes = 0;
        return c->body.failed ? MHD_NO : MHD_YES;
    }
    if (c->whole) return send_answer(c); /* woken up */
    c->whole = c->asleep = true, c->holders++;
    MHD_suspend_connection(conn); /* before anybody can wake it */
    s->o.handle(c, s->o.ctx);
    return MHD_YES;
}

static void on_over(void *ctx, struct MHD_Connection *conn, void **own, enum MHD_RequestTerminationCode why) {
    http_server *s = ctx;
    http_call *c = *own;
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    c->over = true;
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_lock(&s->lock), s->calls--, pthread_mutex_unlock(&s->lock);
    let_go(c);
    *own = NULL;
}

/* --- life --------------------------------------------------------------------------------------------------------- */
typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} address;

static vm_status read_address(const char *host, int port, address *a, bool *loopback, vm_error *e) {
    *a = (address){ 0 };
    if (!strcmp(host, "localhost")) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET, a->v4.sin_port = htons((uint16_t)port);
        *loopback = ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    } else if (inet_pton(AF_INET6, host, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6, a->v6.sin6_port = htons((uint16_t)port);
        *loopback = IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
    } else
        return vm_fail(e, VM_EUSAGE, "--host %s: expected an address: 127.0.0.1, ::1, 0.0.0.0 (all of IPv4), ...",
                       host);
    return VM_OK;
}

vm_status http_start(http_server **out, const http_options *o, vm_error *e) {
    http_server *s = *out = vm_calloc(1, sizeof *s);
    address a;
    if (!s) return vm_nomem(e, sizeof *s, "a server");
    s->o = *o, s->door = -1;
    pthread_mutex_init(&s->lock, NULL);
    if (!read_address(o->host, o->port, &a, &s->loopback, e) && !s->loopback && !o->key)
        vm_fail(e, VM_EUSAGE,
                "--host %s: beyond this machine only with a key; name the environment variable that holds it by "
                "--api-key-env",
                o->host);
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (a.any.sa_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    if (!e->status) {
        s->d = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_SOCK_ADDR, &a.any,
                                MHD_OPTION_NOTIFY_COMPLETED, on_over, s, MHD_OPTION_CONNECTION_LIMIT,
                                (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(2 * HEADERS), MHD_OPTION_END);
        if (!s->d)
            vm_fail(e, VM_EIO, "%s port %d: cannot listen there (%m); is another server running? give --port", o->host,
                    o->port);
    }
    if (e->status) {
        http_stop(s);
        *out = NULL;
        return e->status;
    }
    const union MHD_DaemonInfo *port = MHD_get_daemon_info(s->d, MHD_DAEMON_INFO_BIND_PORT);
    s->port = port ? port->port : o->port;
    return VM_OK;
}

int http_port(const http_server *s) { return s->port; }

void http_close_door(http_server *s) {
    if (s->door < 0) s->door = MHD_quiesce_daemon(s->d);
}

void http_stop(http_server *s) {
    if (!s) return;
    if (s->d) {
        http_close_door(s);
        for (int ms = 0; ms < CLOSING_MS; ms += 10) { /* answers that are on their way */
            pthread_mutex_lock(&s->lock);
            bool busy = s->calls > 0;
            pthread_mutex_unlock(&s->lock);
            if (!busy) break;
            poll(NULL, 0, 10);
        }
        MHD_stop_daemon(s->d);
        if (s->door >= 0) shutdown(s->door, SHUT_RDWR), close(s->door);
    }
    pthread_mutex_destroy(&s->lock);
    vm_free(s);
}
