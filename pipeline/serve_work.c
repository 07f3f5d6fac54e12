/* serve_work.c - the loop of `vismin serve`: calls come in from the threads of the server, join the batch between steps
 * (llm_queue.h), and are answered as their tokens come. All that touches the model, the tokenizer and grammars happens
 * in the one thread of serve_loop_run. */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/serve_parts.h"

struct serve_loop {
    serve_options o;
    llm_engine *en;
    llm_queue *q;
    pthread_mutex_t lock;   /* of what follows, up to `live` */
    pthread_cond_t came;
    serve_call *first, *last; /* calls that came in */
    int64_t calls;          /* that are not over */
    uint64_t number;
    double mean;            /* seconds of a call, lately */
    bool closing;
    serve_call *live;       /* the loop's own: calls in the queue */
};

/* --- the end of a call -------------------------------------------------------------------------------------------- */
static void call_free(serve_call *c) {
    for (int k = 0; k < c->n_choices && c->choice; k++)
        vm_free(c->choice[k].r.out), vm_free(c->choice[k].a.text.s), vm_free(c->choice[k].score),
            constraint_free(c->choice[k].r.limit);
    for (int k = 0; k < c->r.n_prompts && c->ids; k++) tok_ids_free(&c->ids[k]);
    vm_free(c->choice), vm_free(c->ids);
    serve_request_free(&c->r);
    vm_free(c);
}

/* Counts and frees a call that was answered. */
static void over(serve_call *c) {
    serve_loop *s = c->loop;
    pthread_mutex_lock(&s->lock);
    double took = run_seconds() - c->from;
    s->calls--;
    s->mean += (took - s->mean) * (s->mean > 0 ? 0.1 : 1);
    pthread_mutex_unlock(&s->lock);
    call_free(c);
}

static void refuse(serve_call *c, const vm_error *e) {
    bool input = e->status == VM_EINPUT, there = !c->r.param || strcmp(c->r.param, "model");
    const char *code = !there                                         ? "model_not_found"
                       : c->r.param && !strcmp(c->r.param, "context") ? "context_length_exceeded"
                                                                      : NULL;
    const char *param = code && there ? NULL : c->r.param;
    http_fail(c->c, !input ? 500 : there ? 400 : 404, param, code, NULL, "%s", e->msg);
}

static void send(serve_choice *k, const char *text, size_t n, bool first, const char *why) {
    serve_call *c = k->of;
    char *json = serve_chunk(k, text, n, first, why, &c->error);
    if (json) http_event(c->c, json);
    vm_free(json);
}

/* All answers are there, or it cannot be finished. */
static void complete_call(serve_call *c) {
    serve_call **at = &c->loop->live;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    bool cut = false;
    for (int k = 0; k < c->n_choices; k++) cut |= c->choice[k].r.finish == LLM_INTERRUPTED;
    int status = c->error.status ? 500 : c->late ? 504 : cut ? 503 : 200;
    const char *words = c->error.status ? c->error.msg
                        : c->late       ? "the time limit of a request is over"
                                        : "the server is being closed";
    char *json = status != 200  ? http_error_json(status, NULL, NULL, words)
                 : !c->r.stream ? serve_whole(c, &c->error)
                 : c->r.usage   ? serve_usage_chunk(c, &c->error)
                                : NULL;
    if (c->r.stream) {
        if (json) http_event(c->c, json);
        http_end(c->c);
    } else if (json) http_answer(c->c, status, json, NULL);
    else http_fail(c->c, 500, NULL, NULL, NULL, "%s", c->error.msg);
    vm_free(json);
    over(c);
}

/* --- answers on their way ----------------------------------------------------------------------------------------- */
static bool on_token(llm_request *r, int32_t id) {
    serve_choice *k = r->ctx;
    serve_call *c = k->of;
    const char *part;
    if (c->r.top >= 0) serve_score_token(k, id, r->scores, c->x->m->c.vocab);
    bool ends = answer_add(&k->a, id);
    size_t n = c->r.stream && !ends ? answer_part(&k->a, false, &part) : 0;
    if (n) send(k, part, n, false, NULL);
    return ends;
}

static void on_done(llm_request *r) {
    serve_choice *k = r->ctx;
    serve_call *c = k->of;
    const char *part;
    k->over = true;
    answer_end(&k->a);
    if (r->finish == LLM_FAILED && !c->error.status) c->error = r->error;
    if (k->a.text.failed) vm_nomem(&c->error, (size_t)k->a.text.n, "an answer");
    if (c->r.stream && !c->error.status && r->finish != LLM_INTERRUPTED) {
        size_t n = answer_part(&k->a, true, &part);
        if (n) send(k, part, n, false, NULL);
        send(k, "", 0, false, serve_finish_name(k));
    }
    constraint_free(r->limit);
    r->limit = NULL;
    if (--c->left == 0) complete_call(c);
}

/* Takes what is not over out of the queue, which ends the call. */
static void drop(serve_call *c) {
    serve_loop *s = c->loop;
    c->left++; /* it stays until all are gone through */
    for (int k = 0; k < c->n_choices; k++)
        if (!c->choice[k].over) llm_queue_drop(s->q, &c->choice[k].r);
    if (--c->left == 0) complete_call(c);
}

/* --- the beginning of a call -------------------------------------------------------------------------------------- */
static vm_status read_prompt(serve_loop *s, serve_call *c, int k, vm_error *e) {
    char *text = NULL;
    if (!c->r.chat) text_model_ids(s->o.x, c->r.prompt[k], &c->ids[k], e);
    else if (text_model_lay_out(s->o.x, c->r.message, c->r.n_messages, &text, &c->ids[k], e)) c->r.param = "messages";
    vm_free(text);
    if (!e->status && c->ids[k].n >= s->o.context) {
        c->r.param = "context";
        vm_fail(e, VM_EINPUT, "the prompt has %" PRId64 " tokens; with an answer at most %" PRId64 " are possible",
                c->ids[k].n, s->o.context);
    }
    return e->status;
}

static vm_status make_choice(serve_loop *s, serve_call *c, int i, vm_error *e) {
    serve_choice *k = &c->choice[i];
    const tok_ids *ids = &c->ids[i / c->r.n];
    int64_t room = s->o.context - ids->n;
    *k = (serve_choice){ .of = c, .index = i, .a = { .x = s->o.x, .stops = c->r.stop, .n_stops = c->r.n_stops } };
    k->r = (llm_request){ .ids = ids->id,
                          .n = ids->n,
                          .most = c->r.most ? VM_MIN(c->r.most, room) : room,
                          .how = c->r.how,
                          .scored = c->r.top >= 0,
                          .token = on_token,
                          .done = on_done,
                          .ctx = k };
    k->r.how.stream = (uint64_t)i;
    if (c->r.form.text && text_form_begin(s->o.x, &c->r.form, k->r.most, &k->r.limit, e)) c->r.param = c->r.form.name;
    return e->status;
}

static void begin_call(serve_loop *s, serve_call *c) {
    vm_error e = { 0 };
    c->n_choices = c->left = c->r.n * c->r.n_prompts;
    c->choice = vm_calloc((size_t)c->n_choices, sizeof *c->choice),
    c->ids = vm_calloc((size_t)c->r.n_prompts, sizeof *c->ids);
    if (!c->choice || !c->ids) vm_nomem(&e, (size_t)c->n_choices * sizeof *c->choice, "a request");
    for (int k = 0; k < c->r.n_prompts && !e.status; k++) read_prompt(s, c, k, &e);
    for (int i = 0; i < c->n_choices && !e.status; i++) make_choice(s, c, i, &e);
    if (e.status) {
        refuse(c, &e);
        over(c);
        return;
    }
    c->next = s->live, s->live = c;
    if (c->r.stream) http_stream(c->c);
    for (int i = 0; i < c->n_choices; i++) {
        if (c->r.stream && c->r.chat) send(&c->choice[i], "", 0, true, NULL);
        llm_queue_add(s->q, &c->choice[i].r);
    }
}

/* --- what comes in ------------------------------------------------------------------------------------------------ */
static void answer_models(serve_loop *s, http_call *c, bool list) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    if (list) {
        json_put_str(&w, "object", "list");
        json_begin_array(&w, "data");
        json_begin_object(&w, NULL);
    }
    json_put_str(&w, "id", s->o.model), json_put_str(&w, "object", "model"), json_put_int(&w, "created", 0),
        json_put_str(&w, "owned_by", "vismin");
    json_put_int(&w, "max_model_len", s->o.context);
    if (list) json_close_object(&w), json_close_array(&w);
    json_close_object(&w);
    char *json = json_take(&w, NULL, NULL);
    if (json) http_answer(c, 200, json, NULL);
    else http_fail(c, 500, NULL, NULL, NULL, "out of memory");
    vm_free(json);
}

/* A call that is let in; it is counted. */
static void let_in(serve_loop *s, http_call *h, bool chat) {
    vm_error e = { 0 };
    uint64_t any = 0;
    size_t n;
    const char *body = http_body(h, &n);
    serve_call *c = vm_calloc(1, sizeof *c);
    pthread_mutex_lock(&s->lock);
    uint64_t number = s->number++;
    pthread_mutex_unlock(&s->lock);
    if (!c) {
        pthread_mutex_lock(&s->lock), s->calls--, pthread_mutex_unlock(&s->lock);
        http_fail(h, 500, NULL, NULL, NULL, "out of memory");
        return;
    }
    c->c = h, c->loop = s, c->model = s->o.model, c->x = s->o.x, c->from = run_seconds(),
    c->until = c->from + s->o.most_seconds, c->created = (int64_t)time(NULL);
    if (getrandom(&any, sizeof any, 0) != sizeof any) any = 0;
    snprintf(c->id, sizeof c->id, "%s-%08x%016" PRIx64, chat ? "chatcmpl" : "cmpl", (unsigned)number, any);
    if (serve_parse(&c->r, body, n, chat, s->o.model, &e)) {
        refuse(c, &e);
        over(c);
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (s->last) s->last->next = c;
    else s->first = c;
    s->last = c;
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
}

void serve_handle(http_call *c, void *loop) {
    serve_loop *s = loop;
    const char *path = http_path(c), *method = http_method(c);
    bool chat = !strcmp(path, "/v1/chat/completions"), completions = !strcmp(path, "/v1/completions"),
         models = !strncmp(path, "/v1/models", 10);
    bool get = !strcmp(method, "GET") || !strcmp(method, "HEAD"), health = !strcmp(path, "/health");
    if ((chat || completions) && strcmp(method, "POST"))
        http_fail(c, 405, NULL, NULL, "Allow: POST", "%s is for POST", path);
    else if ((models || health) && !get) http_fail(c, 405, NULL, NULL, "Allow: GET", "%s is for GET", path);
    else if (chat || completions) {
        char wait[40];
        pthread_mutex_lock(&s->lock);
        int64_t calls = s->calls;
        bool closing = s->closing, full = calls >= s->o.slots + s->o.most_waiting;
        int seconds = (int)VM_MIN(VM_MAX(ceil(s->mean * (double)s->o.most_waiting / s->o.slots), 1.0), 60.0);
        if (!closing && !full) s->calls++;
        pthread_mutex_unlock(&s->lock);
        snprintf(wait, sizeof wait, "Retry-After: %d", seconds);
        if (closing) http_fail(c, 503, NULL, NULL, NULL, "the server is being closed");
        else if (full)
            http_fail(c, 429, NULL, "queue_full", wait, "%" PRId64 " requests are there already; try again later",
                      calls);
        else let_in(s, c, chat);
    } else if (health) {
        char json[160];
        pthread_mutex_lock(&s->lock);
        int status = s->closing ? 503 : 200;
        snprintf(json, sizeof json, "{\"status\":\"%s\",\"requests\":%" PRId64 ",\"slots\":%d}",
                 s->closing ? "closing" : "ok", s->calls, s->o.slots);
        pthread_mutex_unlock(&s->lock);
        http_answer(c, status, json, NULL);
    } else if (!strcmp(path, "/v1/models") || (models && path[10] == '/' && !strcmp(path + 11, s->o.model)))
        answer_models(s, c, !path[10]);
    else
        http_fail(c, 404, NULL, models ? "model_not_found" : NULL, NULL,
                  "%.200s is not here; there are /v1/completions, /v1/chat/completions, /v1/models and /health", path);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */
/* What came in; waits for it while there is nothing to do. A signal is seen within a tenth of a second. */
static serve_call *take_calls(serve_loop *s) {
    pthread_mutex_lock(&s->lock);
    if (!s->first && !llm_queue_busy(s->q) && !run_stopping()) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 100000000;
        t.tv_sec += t.tv_nsec / 1000000000, t.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&s->came, &s->lock, &t);
    }
    serve_call *first = s->first;
    s->first = s->last = NULL;
    s->closing |= run_stopping();
    pthread_mutex_unlock(&s->lock);
    return first;
}

static void check_calls(serve_loop *s, bool all) {
    double now = run_seconds();
    for (serve_call *c = s->live, *next; c; c = next) {
        next = c->next;
        c->late |= now > c->until;
        c->gone = http_gone(c->c);
        if (all || c->late || c->gone || c->error.status) drop(c);
    }
}

void serve_loop_run(serve_loop *s, http_server *door) {
    double end = 0;
    for (;;) {
        for (serve_call *c = take_calls(s), *next; c; c = next) {
            next = c->next;
            begin_call(s, c);
        }
        if (s->closing && end == 0) {
            http_close_door(door);
            end = run_seconds() + s->o.grace;
            if (s->live)
                vm_info("closing: the answers that are on their way are finished first; a second signal ends at once");
        }
        if (s->closing && run_seconds() > end) check_calls(s, true);
        if (s->closing && !s->live && !s->first) break;
        if (llm_queue_busy(s->q)) llm_queue_step(s->q);
        check_calls(s, false);
    }
}

const llm_counts *serve_loop_counts(const serve_loop *s) { return llm_queue_counts(s->q); }

vm_status serve_loop_new(serve_loop **out, const serve_options *o, vm_error *e) {
    serve_loop *s = *out = vm_calloc(1, sizeof *s);
    if (!s) return vm_nomem(e, sizeof *s, "a server");
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL), pthread_cond_init(&s->came, NULL);
    llm_engine_options eo = {
        .tokens = o->cache, .longest = o->context, .cache = o->x->dtype, .deterministic = o->deterministic,
        .rounded = o->x->rounded
    };
    if (!llm_engine_new(&s->en, o->x->m, o->x->dtype, &eo, e)) llm_queue_new(&s->q, s->en, o->x->m, o->slots, e);
    if (!e->status) return VM_OK;
    serve_loop_free(s);
    *out = NULL;
    return e->status;
}

void serve_loop_free(serve_loop *s) {
    if (!s) return;
    llm_queue_free(s->q);
    llm_engine_free(s->en);
    pthread_mutex_destroy(&s->lock), pthread_cond_destroy(&s->came);
    vm_free(s);
}
