/* complete.c - see complete.h: which place an answer comes from, and what is the same for all. */
#include "pipeline/complete_parts.h"

#include <string.h>

#include "pipeline/run.h"

const char *const complete_end_name[] = { "stop", "cut", "loop", "refused", "failed", "interrupted", "too_long" };
enum { BYTES_PER_TOKEN = 3 }; /* of English and JSON; fewer than usual, so that a prompt is rather cut too early */

vm_status complete_open(completer **out, const vm_args *a, vm_error *e) {
    const char *where = arg_str(a, "llm");
    *out = NULL;
    if (!strcmp(where, "none")) return VM_OK;
    if (!strncmp(where, "native:", 7)) return complete_open_native(out, where + 7, a, e);
    if (!strncmp(where, "replay:", 7)) return complete_open_replay(out, where + 7, a, e);
    if (!strncmp(where, "http://", 7) || !strncmp(where, "https://", 8)) return complete_open_http(out, where, a, e);
    if (!strncmp(where, "http:", 5)) return complete_open_http(out, where + 5, a, e);
    return vm_fail(e, VM_EUSAGE, "--llm %s: expected native:DIR, http:URL, replay:FILE or none", where);
}

void complete_close(completer *c) {
    if (!c) return;
    vm_free(c->id);
    c->kind->close(c);
}

const char *complete_id(const completer *c) { return c->id; }

bool complete_fits(completer *c, const char *prompt, int64_t max_new) {
    if (!c->context) return true;
    vm_error e = { 0 };
    int64_t n = c->kind->count ? c->kind->count(c, prompt, &e) : (int64_t)strlen(prompt) / BYTES_PER_TOKEN;
    return !e.status && n + max_new <= c->context;
}

vm_status complete_shown(char **text, completer *c, const char *prompt, vm_error *e) {
    *text = NULL;
    if (c && c->kind->shown) return c->kind->shown(text, c, prompt, e);
    return (*text = vm_strdup(prompt)) ? VM_OK : vm_nomem(e, strlen(prompt), "a prompt");
}

vm_status complete(completer *c, completion *list, int64_t n, vm_error *e) {
    return n ? c->kind->run(c, list, n, e) : VM_OK;
}
void complete_stop(completer *c) { c->stop = true; }
int complete_spans(const completer *c) { return c->kind->choices; }
bool complete_groups(const completer *c) { return c->kind->groups; }
bool complete_stopping(const completer *c) { return c->stop || run_stopping(); }

int complete_turns(chat_message m[COMPLETE_TURNS], char *copy) {
    int n = 0;
    for (char *p = copy; p && n < COMPLETE_TURNS; n++) {
        char *stop = strchr(p, COMPLETE_TURN[0]);
        m[n] = (chat_message){ n % 2 ? "assistant" : "user", p };
        if (stop) *stop++ = 0;
        p = stop;
    }
    return n;
}

/* --- loops -------------------------------------------------------------------------------------------------------- */
bool loop_step(loop_watch *w, int32_t id) {
    if (!vm_grow(&w->id, &w->cap, w->n + 1, sizeof *w->id) || !vm_grow(&w->run, &w->run_cap, w->n + 1, sizeof *w->run))
        return false;
    bool loop = false;
    for (int64_t p = 0; p < w->n; p++) {
        w->run[p] = w->id[w->n - 1 - p] == id ? w->run[p] + 1 : 0;
        loop |= w->run[p] >= LOOP_TURNS * (p + 1) + LOOP_GRAM - 1;
    }
    w->run[w->n] = 0;
    w->id[w->n++] = id;
    return loop;
}

void loop_free(loop_watch *w) {
    vm_free(w->id), vm_free(w->run);
    *w = (loop_watch){ 0 };
}

/* Words stand for tokens where there are none. */
static void watch_words(completion *x) {
    loop_watch w = { 0 };
    for (char *p = x->text; *p && x->end != COMPLETE_LOOP;) {
        p += strspn(p, " \t\r\n");
        size_t n = strcspn(p, " \t\r\n");
        uint32_t h = 2166136261u; /* FNV-1a */
        for (size_t k = 0; k < n; k++) h = (h ^ (uint8_t)p[k]) * 16777619u;
        p += n;
        if (n && loop_step(&w, (int32_t)h)) x->end = COMPLETE_LOOP, *p = 0;
    }
    loop_free(&w);
}

/* <think> ... </think> before the answer. */
static void drop_thoughts(char *text) {
    char *from = text + strspn(text, " \t\r\n"), *end = strstr(from, "</think>");
    if (strncmp(from, "<think>", 7) || !end) return;
    end += strlen("</think>");
    memmove(text, end, strlen(end) + 1);
}

void complete_finish(completion *x) {
    if (x->text) drop_thoughts(x->text);
    char *stop = x->text && x->how.stop ? strstr(x->text, x->how.stop) : NULL;
    if (stop) *stop = 0, x->end = COMPLETE_STOP;
    if (x->text && (x->end == COMPLETE_STOP || x->end == COMPLETE_CUT)) watch_words(x);
    if (x->done) x->done(x);
}
