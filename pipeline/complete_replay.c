/* complete_replay.c - answers from a file of JSON Lines:
 *   {"key": "...", "try": 0, "sample": 0, "text": "...", "finish": "stop", "delay_ms": 3}
 * key names the unit; without "try" or "sample" a line answers all of them. Lines without key are given one after the
 * other to requests that no key answers, in the order of the requests (which a resumed run does not repeat: use keys
 * there). A request without line gets an empty answer. delay_ms: waits so long, as a model would. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/hash.h"
#include "io/json_lines.h"
#include "pipeline/complete_parts.h"

typedef struct {
    char *key, *text;            /* key NULL: for whoever comes */
    int64_t t, sample, delay_ms; /* t, sample: -1 = any */
    int64_t at;                  /* place in the file */
    complete_end end;
} canned;

typedef struct {
    completer base;
    canned *line;
    int64_t n, cap, next;
} replay;

static void replay_close(completer *c) {
    replay *r = (replay *)c;
    for (int64_t i = 0; i < r->n; i++) vm_free(r->line[i].key), vm_free(r->line[i].text);
    vm_free(r->line);
    vm_free(r);
}

static vm_status read_line(canned *x, json_value v, vm_error *e) {
    const char *key = json_str(v, "key", NULL, e), *text = json_as_str(json_need(v, "text", JSON_STRING, e), e),
               *finish = json_str(v, "finish", "stop", e);
    *x = (canned){ .t = json_int(v, "try", -1, 0, 1 << 20, e),
                   .sample = json_int(v, "sample", -1, 0, 1 << 20, e),
                   .delay_ms = json_int(v, "delay_ms", 0, 0, 600000, e) };
    int k = 0;
    while (k < COMPLETE_INTERRUPTED && strcmp(finish, complete_end_name[k])) k++;
    if (!e->status && k == COMPLETE_INTERRUPTED)
        return json_fail(json_get(v, "finish"), e, "found \"%s\", expected stop, cut, loop, refused or failed", finish);
    x->end = (complete_end)k;
    if (!e->status && (!(x->text = vm_strdup(text)) || (key && !(x->key = vm_strdup(key)))))
        vm_nomem(e, strlen(text), "an answer");
    return e->status;
}

/* By key, lines of the file with the same key in their order. Those without key first. */
static int by_key(const void *a, const void *b) {
    const canned *x = a, *y = b;
    int c = !x->key || !y->key ? (x->key != NULL) - (y->key != NULL) : strcmp(x->key, y->key);
    return c ? c : (x->at > y->at) - (x->at < y->at);
}

static const canned *find(const replay *r, const completion *x) {
    int64_t lo = 0, hi = r->n;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (!r->line[mid].key || strcmp(r->line[mid].key, x->key) < 0) lo = mid + 1;
        else hi = mid;
    }
    for (; lo < r->n && !strcmp(r->line[lo].key, x->key); lo++)
        if ((r->line[lo].t < 0 || r->line[lo].t == x->t) && (r->line[lo].sample < 0 || r->line[lo].sample == x->sample))
            return &r->line[lo];
    return NULL;
}

static vm_status replay_run(completer *c, completion *list, int64_t n, vm_error *e) {
    replay *r = (replay *)c;
    for (int64_t i = 0; i < n; i++) list[i].end = COMPLETE_INTERRUPTED;
    for (int64_t i = 0; i < n && !e->status && !complete_stopping(c); i++) {
        completion *x = &list[i];
        const canned *line = find(r, x);
        if (!line && r->next < r->n && !r->line[r->next].key) line = &r->line[r->next++];
        for (int64_t ms = 0; line && ms < line->delay_ms && !complete_stopping(c); ms++) usleep(1000);
        if (complete_stopping(c)) break;
        x->end = line ? line->end : COMPLETE_STOP;
        x->in = x->out = x->cached = -1, x->ms = 0;
        if (!(x->text = vm_strdup(line ? line->text : ""))) return vm_nomem(e, 64, "an answer");
        complete_finish(x);
    }
    return e->status;
}

static const completer_kind kind = { .close = replay_close, .run = replay_run };

vm_status complete_open_replay(completer **out, const char *file, const vm_args *a, vm_error *e) {
    char hash[65];
    json_lines *lines = NULL;
    json_doc *d;
    replay *r = vm_calloc(1, sizeof *r);
    if (!r) return vm_nomem(e, sizeof *r, "answers");
    r->base.kind = &kind, r->base.context = arg_int(a, "llm-context");
    if (!json_lines_open(&lines, file, 0, e)) {
        while (!e->status && json_lines_next(lines, &d, e) > 0) {
            if (!vm_grow(&r->line, &r->cap, r->n + 1, sizeof *r->line)) vm_nomem(e, sizeof *r->line, file);
            else read_line(&r->line[r->n], json_root(d), e), r->line[r->n].at = r->n, r->n++;
            json_free(d);
        }
        json_lines_close(lines);
    }
    if (r->n) qsort(r->line, (size_t)r->n, sizeof *r->line, by_key);
    if (!e->status && !sha256_file(hash, file, e) && !(r->base.id = vm_asprintf("replay:%.16s", hash)))
        vm_nomem(e, 64, "a name");
    if (e->status) complete_close(&r->base);
    else *out = &r->base;
    return e->status;
}
