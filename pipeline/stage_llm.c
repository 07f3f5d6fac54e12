/* stage_llm.c - see stage_llm.h. */
#include "pipeline/stage_llm.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/hash.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/run.h"

enum { BLOCK = 512, SHOWN = 3, SHOWN_BYTES = 300, LINE_BYTES = 1500 /* of a journal, about */ };

/* A unit on its way. */
typedef struct {
    const stage_unit *u;
    struct driver *d;
    int t, set;
    bool final; /* nothing more is to be asked in this run */
    const prompt *prompt;
    char *text, *schema, *recs; /* recs: JSON array of all tries so far; NULL = none */
    tally why;
    int64_t in, out;
    double ms;
    completion *answer; /* samples of them */
    int left;           /* answers that are not there yet */
} pending;

typedef struct driver {
    stage *s;
    completer *c;
    const llm_stage *d;
    tally *counts;
    progress *bar;
    bool *window; /* void or not, of the last answers */
    int64_t window_n, seen, voids;
    char shown[SHOWN][SHOWN_BYTES + 1];
    int n_shown;
    vm_error *e; /* of the callbacks too */
} driver;

bool llm_refuses(const char *text) {
    static const char *const begins[] = { "I'm sorry",
                                          "I am sorry",
                                          "Sorry,",
                                          "I cannot",
                                          "I can't",
                                          "I can\xe2\x80\x99t",
                                          "I\xe2\x80\x99m sorry",
                                          "I'm unable",
                                          "I am unable",
                                          "As an AI",
                                          "I won't",
                                          "I must decline" };
    text += strspn(text, " \t\r\n\"");
    for (int k = 0; k < VM_LEN(begins); k++)
        if (!strncasecmp(text, begins[k], strlen(begins[k]))) return true;
    return false;
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */
/* The text of a try with as many demonstrations as the model has room for; *text NULL: not even without any. */
static vm_status fit(char **text, completer *c, const llm_ask *ask, int set, const preset *how, vm_error *e) {
    const char *turn = how->turns ? COMPLETE_TURN : NULL;
    int shots = ask->demo ? ask->shots : prompt_shots(ask->prompt);
    for (;; shots--) {
        const int64_t *last = ask->demo ? ask->demo + (ask->shots - shots)
                                        : NULL; /* those farthest from the question go first */
        if (last) prompt_text_of(text, ask->prompt, last, shots, turn, ask->field, ask->fields, e);
        else prompt_text(text, ask->prompt, set, shots, turn, ask->field, ask->fields, e);
        if (e->status || !c || complete_fits(c, *text, how->how.max_new)) return e->status;
        vm_free(*text);
        *text = NULL;
        if (!shots) return VM_OK;
    }
}

static vm_status prepare(driver *d, pending *p, vm_error *e) {
    llm_ask ask = { 0 };
    if (d->d->ask(d->d->ctx, p->u, p->t, &ask, e)) return vm_free(ask.schema), e->status;
    p->prompt = ask.prompt, p->set = prompt_set(ask.prompt, p->u->key, p->t);
    vm_free(p->schema), vm_free(p->text);
    p->text = NULL, p->schema = ask.schema;
    if (arg_flag(d->d->a, "no-schema")) vm_free(p->schema), p->schema = NULL;
    return fit(&p->text, d->c, &ask, p->set, d->d->how, e);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */
static vm_status write_line(pending *p, stage_state state, bool more, const char *code, vm_error *e) {
    driver *d = p->d;
    stage_line l = { .key = p->u->key,
                     .input = p->u->input,
                     .state = state,
                     .more = more,
                     .t = p->t,
                     .code = code,
                     .recs = p->recs,
                     .why = &p->why,
                     .in = p->in,
                     .out = p->out,
                     .ms = p->ms };
    p->final = !more;
    if (!more) progress_add(d->bar, 1);
    if (!more) tally_add(d->counts, state == STAGE_OK ? "ok" : state == STAGE_VOID ? "void" : "error", 1);
    return stage_put(d->s, &l, e);
}

/* Too many void answers among the last first ones (later tries are those of the difficult units): what they look like
 * is the best hint at the cause. */
static void watch_voids(driver *d, bool is_void, const char *text) {
    int64_t at = d->seen++ % d->window_n;
    if (d->seen > d->window_n) d->voids -= d->window[at];
    d->window[at] = is_void, d->voids += is_void;
    if (is_void) snprintf(d->shown[d->n_shown++ % SHOWN], SHOWN_BYTES + 1, "%s", text ? text : "");
    double limit = arg_float(d->d->a, "void-limit");
    if (d->seen < d->window_n || (double)d->voids <= limit * (double)d->window_n || d->e->status) return;
    for (int k = 0; k < VM_MIN(d->n_shown, SHOWN); k++)
        vm_warn("void answer: %s", d->shown[k][0] ? d->shown[k] : "(empty)");
    vm_fail(d->e, VM_EINPUT,
            "%s: %lld of the last %lld answers were void, the limit is %.0f %%; a wrong --chat-template or a model too "
            "small for the task is the usual "
            "cause, --show-prompt shows what the model gets",
            stage_name(d->s), (long long)d->voids, (long long)d->window_n, 100 * limit);
}

static const char *worst_end(const pending *p) {
    for (int k = 0; k < p->d->d->how->samples; k++)
        if (p->answer[k].end != COMPLETE_STOP) return complete_end_name[p->answer[k].end];
    return "garbage";
}

static void take_answers(pending *p) {
    driver *d = p->d;
    vm_error *e = d->e;
    int n = d->d->how->samples;
    const completion *failed = NULL;
    bool too_long = false;
    for (int k = 0; k < n; k++) {
        const completion *x = &p->answer[k];
        p->in += VM_MAX(x->in, 0), p->out += VM_MAX(x->out, 0), p->ms = VM_MAX(p->ms, x->ms);
        tally_add(d->counts, "tokens_in", VM_MAX(x->in, 0)), tally_add(d->counts, "tokens_out", VM_MAX(x->out, 0));
        tally_add(d->counts, "tokens_cached", VM_MAX(x->cached, 0)), tally_add(d->counts, complete_end_name[x->end], 1);
        if (x->end == COMPLETE_FAILED) failed = x;
        too_long |= x->end == COMPLETE_TOO_LONG;
    }
    if (too_long) {
        write_line(p, STAGE_VOID, false, "too_long", e);
        return;
    }
    if (failed) {
        vm_warn("%s: %s", p->u->key, failed->text);
        write_line(p, STAGE_ERROR, false, "failed", e);
        return;
    }
    json_doc *had = p->recs ? json_parse(p->recs, strlen(p->recs), p->u->key, 0, e) : NULL;
    json_writer w = json_to_memory(JSON_COMPACT);
    llm_taken out = { .recs = &w, .why = p->why };
    bool more = false;
    json_begin_array(&w, NULL);
    stage_state state = e->status ? STAGE_VOID
                                  : d->d->take(d->d->ctx, p->u, p->t, p->answer, n, json_root(had), &out, &more, e);
    json_close_array(&w);
    json_free(had);
    char *recs = json_take(&w, NULL, e);
    if (e->status) {
        vm_free(recs);
        return;
    }
    vm_free(p->recs);
    p->recs = recs, p->why = out.why;
    const char *code = state == STAGE_OK ? NULL : out.code ? out.code : worst_end(p);
    if (state != STAGE_OK) stage_reject(d->s, p->u->key, p->t, code, p->answer[0].text, e);
    more = (more || state == STAGE_VOID) && p->t + 1 < d->d->how->tries;
    if (!e->status) write_line(p, state, more, code, e);
    if (p->t == 0) watch_voids(d, state != STAGE_OK, p->answer[0].text);
}

static void on_done(completion *x) {
    pending *p = x->ctx;
    if (--p->left == 0 && !p->d->e->status) take_answers(p);
    if (p->d->e->status) complete_stop(p->d->c);
}

/* --- tries -------------------------------------------------------------------------------------------------------- */
static int by_set(const void *a, const void *b) {
    const pending *x = *(pending *const *)a, *y = *(pending *const *)b;
    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    if (x->set != y->set) return x->set - y->set;
    return (x->u > y->u) - (x->u < y->u);
}

static void ask_one(pending *p, completion *at) {
    driver *d = p->d;
    p->answer = at, p->left = d->d->how->samples;
    for (int k = 0; k < p->left; k++) {
        char number[64];
        snprintf(number, sizeof number, "%d %d", p->t, k);
        uint64_t seed = sha256_seed((uint64_t)arg_int(d->d->a, "seed"), 3,
                                    (const char *[]){ stage_name(d->s), p->u->key, number });
        at[k] = (completion){ .key = p->u->key,
                              .t = p->t,
                              .sample = k,
                              .prompt = p->text,
                              .schema = p->schema,
                              .seed = seed,
                              .done = on_done,
                              .ctx = p,
                              .how = preset_draw(d->d->how, sha256_seed(seed, 0, NULL)) };
    }
}

/* One try of all units of the block that want one. *asked: how many did. */
static vm_status round_of(driver *d, pending *p, int64_t n, int64_t *asked, vm_error *e) {
    pending **list = vm_alloc((size_t)n * sizeof *list);
    int64_t N = 0, samples = d->d->how->samples;
    if (!list) return vm_nomem(e, (size_t)n * sizeof *list, "units");
    for (int64_t i = 0; i < n && !e->status; i++) {
        if (p[i].final || prepare(d, &p[i], e)) continue;
        if (p[i].text) list[N++] = &p[i];
        else write_line(&p[i], STAGE_VOID, false, "too_long", e);
    }
    if (complete_groups(d->c) && N) qsort(list, (size_t)N, sizeof *list, by_set);
    completion *c = vm_calloc((size_t)(N * samples) + 1, sizeof *c);
    if (!c) vm_nomem(e, (size_t)(N * samples) * sizeof *c, "requests");
    for (int64_t i = 0; i < N && !e->status; i++) ask_one(list[i], c + i * samples);
    if (!e->status) {
        vm_error own = { 0 };
        complete(d->c, c, N * samples, &own);
        if (own.status && !e->status) *e = own; /* a callback's error came first */
    }
    for (int64_t i = 0; i < N * samples && c; i++) vm_free(c[i].text);
    for (int64_t i = 0; i < n; i++) p[i].t += !p[i].final;
    vm_free(c), vm_free(list);
    *asked = N;
    return e->status;
}

static void pending_free(pending *p) { vm_free(p->text), vm_free(p->schema), vm_free(p->recs); }

/* Goes on behind the last try that the journal has. */
static vm_status take_up(driver *d, pending *p, const stage_unit *u, vm_error *e) {
    stage_past past = stage_find(d->s, u);
    *p = (pending){ .u = u, .d = d };
    if (!past.more || past.state == STAGE_ERROR) return VM_OK;
    json_doc *line = json_parse(past.line, strlen(past.line), u->key, 0, e);
    json_value v = json_root(line), usage = json_get(v, "usage");
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, json_get(v, "recs"));
    p->recs = json_take(&w, NULL, e);
    p->t = past.t + 1;
    p->in = json_int(usage, "in", 0, -1, INT64_MAX, e), p->out = json_int(usage, "out", 0, -1, INT64_MAX, e);
    tally_read(&p->why, json_get(v, "why"));
    json_free(line);
    return e->status;
}

static vm_status run_block(driver *d, pending *p, int64_t n, vm_error *e) {
    for (int64_t asked = 1; asked && !e->status && !run_stopping();) round_of(d, p, n, &asked, e);
    return e->status;
}

static int64_t count_open(const stage *s, const stage_unit *u, int64_t n, int64_t *mine) {
    int64_t open = 0;
    *mine = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!stage_mine(s, u[i].shard)) continue;
        ++*mine;
        open += !stage_done(s, &u[i]);
    }
    return open;
}

vm_status llm_stage_run(stage *s, completer *c, const llm_stage *def, const stage_unit *u, int64_t n, tally *counts,
                        vm_error *e) {
    driver d = { .s = s, .c = c, .d = def, .counts = counts, .e = e, .window_n = arg_int(def->a, "void-window") };
    int64_t mine, open = count_open(s, u, n, &mine), at = 0;
    if (!open) return VM_OK;
    if (!c)
        return vm_fail(e, VM_EUSAGE,
                       "%s: %lld units are to be asked and --llm is none; give native:DIR, http:URL or replay:FILE",
                       stage_name(s), (long long)open);
    pending *block = vm_calloc(BLOCK, sizeof *block);
    d.window = vm_calloc((size_t)d.window_n, sizeof *d.window);
    if (!block || !d.window) vm_nomem(e, BLOCK * sizeof *block, "units");
    if (!e->status) stage_room(s, open * LINE_BYTES, e);
    d.bar = progress_start(stage_name(s), mine, "units");
    progress_skip(d.bar, mine - open);
    while (at < n && !e->status && !run_stopping()) {
        int64_t k = 0;
        for (; at < n && k < BLOCK && !e->status; at++)
            if (stage_mine(s, u[at].shard) && !stage_done(s, &u[at]) && !take_up(&d, &block[k], &u[at], e)) k++;
        if (!e->status) run_block(&d, block, k, e);
        for (int64_t i = 0; i < k; i++) pending_free(&block[i]);
    }
    progress_end(d.bar);
    vm_free(block), vm_free(d.window);
    if (!e->status && run_stopping())
        vm_fail(e, VM_ESTOP, "%s: stopped; the same command goes on where it was", stage_name(s));
    return e->status;
}

/* --- looking on --------------------------------------------------------------------------------------------------- */
vm_status llm_stage_show(completer *c, const llm_stage *def, const stage_unit *u, int64_t n, vm_error *e) {
    const prompt *seen[64];
    int n_seen = 0;
    int64_t bytes = 0, too_long = 0;
    for (int64_t i = 0; i < n && !e->status && !run_stopping(); i++) {
        llm_ask ask = { 0 };
        char *text = NULL, *shown = NULL;
        bool known = false;
        if (!def->ask(def->ctx, &u[i], 0, &ask, e))
            fit(&text, c, &ask, prompt_set(ask.prompt, u[i].key, 0), def->how, e);
        if (text) bytes += (int64_t)strlen(text);
        else too_long++;
        for (int k = 0; k < n_seen; k++) known |= seen[k] == ask.prompt;
        if (!known && n_seen < VM_LEN(seen)) seen[n_seen++] = ask.prompt;
        if (!known && arg_flag(def->a, "show-prompt") && text && !complete_shown(&shown, c, text, e))
            printf("%s\n", shown);
        vm_free(ask.schema), vm_free(text), vm_free(shown);
    }
    if (!e->status && arg_flag(def->a, "dry-run"))
        printf("%lld units, %lld prompts of about %lld tokens each, %d answers to each, up to %d tries; %lld do not "
               "fit the context\n",
               (long long)n, (long long)(n - too_long), (long long)(n > too_long ? bytes / (n - too_long) / 4 : 0),
               def->how->samples, def->how->tries, (long long)too_long);
    return e->status;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */
typedef struct {
    completer *c;
    const llm_stage *def;
    const stage_unit *u;
    int64_t n;
} asking;

static vm_status ask_all(void *ctx, stage *s, tally *counts, vm_error *e) {
    const asking *x = ctx;
    return llm_stage_run(s, x->c, x->def, x->u, x->n, counts, e);
}

vm_status llm_stage_all(const char *name, const char *run, const char *config, completer *c, const llm_stage *def,
                        const stage_unit *u, int64_t n, vm_error *e) {
    asking x = { c, def, u, n };
    if (llm_stage_only_shows(def->a)) return llm_stage_show(c, def, u, n, e);
    return stage_parts(name, run, config, def->a, ask_all, &x, e);
}
