/* http.h - a small HTTP server of one's own for tests: a thread on a free port of the loopback, one answer per request. */
#ifndef VM_TEST_HTTP_H
#define VM_TEST_HTTP_H
#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    char path[400], authorization[200];
    long from; /* of "Range: bytes=N-", or -1 */
    const char *body; /* of a POST, else "" */
} http_request;

typedef struct {
    int status;           /* 200; 206 with a range */
    const char *body;
    size_t bytes;
    size_t cut;           /* the connection ends after so many bytes of the body; 0 = not */
    char location[500];   /* of redirects */
    int retry_after;      /* seconds; 0 = not said */
    int delay_ms;         /* before the answer */
} http_answer;

typedef struct http_server http_server;
struct http_server {
    int fd, port;
    pthread_t thread;
    http_answer (*answer)(http_server *s, const http_request *r);
    int requests;
    void *ctx;
};

enum { HTTP_REQUEST = 1 << 20 };

/* Reads head and body; the body's place, or NULL. */
static char *http_read(int c, char *text) {
    size_t n = 0, want = HTTP_REQUEST;
    char *body = NULL;
    while (n + 1 < HTTP_REQUEST && n < want) {
        ssize_t k = read(c, text + n, HTTP_REQUEST - 1 - n);
        if (k <= 0) return NULL;
        text[n += (size_t)k] = 0;
        if (body || !(body = strstr(text, "\r\n\r\n"))) continue;
        body += 4;
        char *length = strcasestr(text, "\r\nContent-Length: ");
        want = (size_t)(body - text) + (length && length < body ? (size_t)atol(length + 18) : 0);
    }
    return body;
}

static void http_serve_one(http_server *s, int c, char *text) { /* text: room for a request */
    char method[8];
    http_request r = { .from = -1, .body = http_read(c, text) };
    if (!r.body || sscanf(text, "%7s %399s", method, r.path) != 2) return;
    for (char *line = text; line < r.body && (line = strstr(line, "\r\n")) && line[2] != '\r';) {
        line += 2;
        if (!strncasecmp(line, "Range: bytes=", 13)) r.from = atol(line + 13);
        if (!strncasecmp(line, "Authorization: ", 15)) snprintf(r.authorization, sizeof r.authorization, "%.*s", (int)strcspn(line + 15, "\r"), line + 15);
    }
    s->requests++;
    http_answer a = s->answer(s, &r);
    if (a.delay_ms) usleep(1000u * (unsigned)a.delay_ms);
    char head[800];
    size_t skip = a.status == 206 ? (size_t)r.from : 0, left = a.bytes > skip ? a.bytes - skip : 0;
    int h = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n", a.status, left);
    if (a.location[0]) h += snprintf(head + h, sizeof head - (size_t)h, "Location: %s\r\n", a.location);
    if (a.retry_after) h += snprintf(head + h, sizeof head - (size_t)h, "Retry-After: %d\r\n", a.retry_after);
    if (a.status == 206) h += snprintf(head + h, sizeof head - (size_t)h, "Content-Range: bytes %zu-%zu/%zu\r\n", skip, a.bytes - 1, a.bytes);
    h += snprintf(head + h, sizeof head - (size_t)h, "\r\n");
    if (write(c, head, (size_t)h) != h) return;
    size_t send = a.cut && a.cut < left ? a.cut : left;
    for (size_t at = 0; at < send;) {
        ssize_t k = write(c, a.body + skip + at, send - at);
        if (k <= 0) return;
        at += (size_t)k;
    }
}

static void *http_loop(void *ctx) {
    http_server *s = ctx;
    char *text = malloc(HTTP_REQUEST);
    for (int c; text && (c = accept(s->fd, NULL, NULL)) >= 0;) {
        http_serve_one(s, c, text);
        shutdown(c, SHUT_WR);
        close(c);
    }
    free(text);
    return NULL;
}

static bool http_start(http_server *s, http_answer (*answer)(http_server *, const http_request *)) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    s->answer = answer;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, len) || listen(s->fd, 8) || getsockname(s->fd, (struct sockaddr *)&at, &len)) return false;
    s->port = ntohs(at.sin_port);
    return !pthread_create(&s->thread, NULL, http_loop, s);
}

static void http_stop(http_server *s) {
    shutdown(s->fd, SHUT_RDWR);
    close(s->fd);
    pthread_join(s->thread, NULL);
}
#endif
