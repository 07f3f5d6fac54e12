/* vet.c - `vismin vet`: a second look of a language model at every edit, from its two captions alone; a majority of
 * several verdicts decides. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/hash.h"
#include "io/json_loose.h"
#include "pipeline/bm25.h"
#include "pipeline/run.h"
#include "pipeline/stage_lines.h"
#include "pipeline/stage_llm.h"

enum { CATEGORIES = 2, SHOTS = 256, VIOLATIONS = 11 };
static const char *const category_name[CATEGORIES] = { "object", "attribute" };
static const char *const violation[VIOLATIONS] = { "unchanged", "category",    "several", "count",
                                                   "relation",  "size",        "added",   "similar",
                                                   "specific",  "implausible", "unclear" };

typedef struct {
    char *id, *image, *caption, *edited, *phrase, *edited_phrase, *input;
    int category;
} item;

typedef struct {
    const vm_args *a;
    preset how;
    completer *c;
    prompt *prompt[CATEGORIES];
    bm25 *about[CATEGORIES]; /* edited captions of the demonstrations; NULL where there are none */
    double accept_if;
    item *item;
    stage_unit *unit;
    int64_t n, cap;
    int64_t demo[SHOTS]; /* of the prompt that is being made */
} job;

/* --- what is to be checked ---------------------------------------------------------------------------------------- */
static char *text_of(json_value rec, const char *name, vm_error *e) {
    const char *s = json_as_str(json_need(rec, name, JSON_STRING, e), e);
    char *c = e->status ? NULL : vm_strdup(s);
    if (!e->status && !c) vm_nomem(e, strlen(s), "an edit");
    return c;
}

static vm_status add_edit(void *ctx, const char *key, json_value rec, vm_error *e) {
    job *j = ctx;
    const char *category = json_as_str(json_need(rec, "category", JSON_STRING, e), e);
    int k = 0;
    while (k < CATEGORIES && strncmp(category, category_name[k], strlen(category_name[k]))) k++;
    if (e->status || k == CATEGORIES) return e->status; /* of other stages */
    if (!vm_grow(&j->item, &j->cap, j->n + 1, sizeof *j->item)) return vm_nomem(e, sizeof *j->item, "edits");
    item *x = &j->item[j->n++];
    *x = (item){ .id = text_of(rec, "edit_id", e),
                 .image = text_of(rec, "image_id", e),
                 .caption = text_of(rec, "caption", e),
                 .edited = text_of(rec, "edited_caption", e),
                 .phrase = text_of(rec, "input_phrase", e),
                 .edited_phrase = text_of(rec, "edited_phrase", e),
                 .category = k };
    if (!e->status && !(x->input = vm_asprintf("%s\n%s\n%s", category_name[k], x->caption, x->edited)))
        vm_nomem(e, 256, "an edit");
    return e->status;
}

static vm_status read_edits(job *j, vm_error *e) {
    if (stage_records(arg_pos(j->a, 0), "instruct", add_edit, j, e)) return e->status;
    if (!j->n) return vm_fail(e, VM_EINPUT, "%s: no edits in it; make them with `vismin instruct`", arg_pos(j->a, 0));
    if (!(j->unit = vm_calloc((size_t)j->n, sizeof *j->unit)))
        return vm_nomem(e, (size_t)j->n * sizeof *j->unit, "edits");
    for (int64_t i = 0; i < j->n; i++)
        j->unit[i] = (stage_unit){
            .key = j->item[i].id, .shard = j->item[i].image, .input = j->item[i].input, .item = &j->item[i]
        };
    return VM_OK;
}

/* --- verdicts ----------------------------------------------------------------------------------------------------- */
typedef struct {
    int verdict; /* 1 accept, 0 reject, -1 none */
    char reason[256];
    bool violated[VIOLATIONS];
} opinion;

static bool same_word(const char *s, const char *word) {
    while (*s == ' ') s++;
    size_t n = strlen(word);
    return !strncasecmp(s, word, n) && !((s[n] | 32) >= 'a' && (s[n] | 32) <= 'z');
}

static opinion read_opinion(const char *text, vm_error *e) {
    opinion o = { .verdict = -1 };
    json_loose s = json_loose_start(text, strlen(text));
    json_doc *d;
    char number[32];
    while (o.verdict < 0 && json_loose_next(&s, '{', &d, e)) {
        json_value v = json_root(d), list = json_loose_get(v, "violated");
        const char *word = json_loose_text(json_loose_get(v, "verdict"), number),
                   *reason = json_loose_text(json_loose_get(v, "reason"), number);
        if (word) o.verdict = same_word(word, "accept") ? 1 : same_word(word, "reject") ? 0 : -1;
        snprintf(o.reason, sizeof o.reason, "%s", reason ? reason : "");
        for (json_iter it = json_each(list); json_next(&it);) {
            const char *name = json_loose_text(it.value, number);
            for (int k = 0; k < VIOLATIONS && name; k++) o.violated[k] |= same_word(name, violation[k]);
        }
        json_free(d);
    }
    return o;
}

static vm_status check_demo(json_value demo, void *ctx, vm_error *e) {
    size_t n;
    const char *label = json_as_str(json_need(demo, "verdict", JSON_STRING, e), e);
    json_as_str(json_need(demo, "caption", JSON_STRING, e), e),
        json_as_str(json_need(demo, "edited_caption", JSON_STRING, e), e);
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, json_get(demo, "answer"));
    char *answer = json_take(&w, &n, e);
    if (!e->status) {
        opinion o = read_opinion(answer, e);
        int broken = 0;
        for (int k = 0; k < VIOLATIONS; k++) broken += o.violated[k];
        bool right = o.verdict == !strcmp(label, "accept") && (o.verdict == 1) == (broken == 0) && o.reason[0] &&
                     json_len(json_get(json_get(demo, "answer"), "violated")) == broken;
        if (!e->status && !right)
            json_fail(json_get(demo, "answer"), e,
                      "no verdict with reason and violated rules that fits \"verdict\": \"%s\"", label);
    }
    vm_free(answer);
    return e->status;
}

static vm_status open_prompts(job *j, vm_error *e) {
    for (int k = 0; k < CATEGORIES && !e->status; k++) {
        prompt_open(&j->prompt[k],
                    &(prompt_options){ .stage = "vet",
                                       .category = category_name[k],
                                       .dir = arg_str(j->a, "prompt-dir"),
                                       .fields = "caption edited_caption phrase edited_phrase",
                                       .shots = j->how.shots,
                                       .seed = (uint64_t)arg_int(j->a, "seed"),
                                       .check = check_demo,
                                       .balance = "verdict" },
                    e);
        int64_t n = e->status ? 0 : prompt_demos(j->prompt[k]);
        const char **text = n ? vm_alloc((size_t)n * sizeof *text) : NULL;
        if (n && !text) vm_nomem(e, (size_t)n * sizeof *text, "demonstrations");
        for (int64_t i = 0; i < n && text; i++)
            text[i] = json_str(prompt_demo(j->prompt[k], i), "edited_caption", "", e);
        if (n && !e->status) bm25_new(&j->about[k], text, n, e);
        vm_free(text);
    }
    return e->status;
}

/* --- demonstrations of a case ------------------------------------------------------------------------------------- */
typedef struct {
    double score;
    int64_t at;
} rated;

static int by_score(const void *a, const void *b) {
    const rated *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : (x->at > y->at) - (x->at < y->at);
}

static uint64_t next(uint64_t *s) { return *s = *s * 6364136223846793005u + 1442695040888963407u, *s >> 33; }

/* k of the 3k/2 nearest of one verdict, drawn by the seed. */
static int draw_class(const job *j, int category, bool accept, const double *score, int k, uint64_t *seed,
                      int64_t *to) {
    rated near[SHOTS * 4];
    int n = 0;
    vm_error e = { 0 };
    for (int64_t i = 0; i < prompt_demos(j->prompt[category]) && n < VM_LEN(near); i++)
        if (!strcmp(json_str(prompt_demo(j->prompt[category], i), "verdict", "", &e), accept ? "accept" : "reject"))
            near[n++] = (rated){ score[i], i };
    qsort(near, (size_t)n, sizeof *near, by_score);
    n = VM_MIN(n, VM_MAX(3 * k / 2, 1)), k = VM_MIN(k, n);
    for (int i = 0; i < k; i++) {
        int pick = i + (int)(next(seed) % (uint64_t)(n - i));
        rated t = near[i];
        near[i] = near[pick], near[pick] = t;
        to[i] = near[i].at;
    }
    return k;
}

/* As many of both verdicts, near to the case. Order: accepted first, rejected first, or shuffled, with chances 0.4, 0.4
 * and 0.2, so that neither the last label nor the more frequent one leads. */
static int choose_demos(job *j, const item *x, int t, vm_error *e) {
    int k = x->category, shots = VM_MIN(j->how.shots, SHOTS);
    char number[16];
    double *score = j->about[k] ? vm_alloc((size_t)prompt_demos(j->prompt[k]) * sizeof *score) : NULL;
    if (!j->about[k] || !shots) return 0;
    if (!score) return vm_nomem(e, 1024, "demonstrations"), 0;
    snprintf(number, sizeof number, "%d", t);
    uint64_t seed = sha256_seed((uint64_t)arg_int(j->a, "seed"), 3,
                                (const char *[]){ "demonstrations", x->id, number });
    int n = 0, order = (int)(next(&seed) % 5);
    if (!bm25_score(j->about[k], x->edited, score, e)) {
        bool first = order < 2; /* accepted before rejected */
        n = draw_class(j, k, first, score, (shots + 1) / 2, &seed, j->demo);
        n += draw_class(j, k, !first, score, shots / 2, &seed, j->demo + n);
        for (int i = n - 1; i > 0 && order == 4; i--) {
            int pick = (int)(next(&seed) % (uint64_t)(i + 1));
            int64_t swap = j->demo[i];
            j->demo[i] = j->demo[pick], j->demo[pick] = swap;
        }
    }
    vm_free(score);
    return n;
}

static char *schema_of(vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    const char *const head =
        "{\"type\":\"object\",\"properties\":{\"reason\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200},"
        "\"verdict\":{\"type\":\"string\",\"enum\":[\"accept\",\"reject\"]},\"violated\":{\"type\":\"array\","
        "\"maxItems\":4,\"items\":{\"type\":\"string\",\"enum\":";
    json_begin_array(&w, NULL);
    for (int k = 0; k < VIOLATIONS; k++) json_put_str(&w, NULL, violation[k]);
    json_close_array(&w);
    char *list = json_take(&w, NULL, e);
    char *all = list ? vm_asprintf(
                           "%s%s}}},\"required\":[\"reason\",\"verdict\",\"violated\"],\"additionalProperties\":false}",
                           head, list)
                     : NULL;
    if (list && !all) vm_nomem(e, 1024, "a schema");
    vm_free(list);
    return all;
}

static vm_status ask(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e) {
    job *j = ctx;
    const item *x = u->item;
    int n = choose_demos(j, x, t, e);
    *ask = (llm_ask){ .prompt = j->prompt[x->category],
                      .fields = 4,
                      .demo = n ? j->demo : NULL,
                      .shots = n,
                      .field = { { "caption", x->caption },
                                 { "edited_caption", x->edited },
                                 { "phrase", x->phrase },
                                 { "edited_phrase", x->edited_phrase } } };
    ask->schema = e->status ? NULL : schema_of(e);
    return e->status;
}

/* --- votes -------------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t accept, reject, none;
    bool violated[VIOLATIONS];
    char reason[2][256]; /* the first one for reject, for accept */
} votes;

static void add_had(votes *v, json_value rec, vm_error *e) {
    json_value n = json_get(rec, "votes"), reasons = json_get(rec, "reasons");
    v->accept = json_int(n, "accept", 0, 0, 1 << 20, e), v->reject = json_int(n, "reject", 0, 0, 1 << 20, e),
    v->none = json_int(n, "void", 0, 0, 1 << 20, e);
    snprintf(v->reason[1], 256, "%s", json_str(reasons, "accept", "", e)),
        snprintf(v->reason[0], 256, "%s", json_str(reasons, "reject", "", e));
    for (json_iter it = json_each(json_get(rec, "violated")); json_next(&it);)
        for (int k = 0; k < VIOLATIONS; k++) v->violated[k] |= !strcmp(json_as_str(it.value, e), violation[k]);
}

static void put_verdict(const job *j, json_writer *w, const item *x, const votes *v, const char *verdict) {
    bool accepted = !strcmp(verdict, "accept");
    json_begin_object(w, NULL);
    json_put_str(w, "edit_id", x->id), json_put_str(w, "image_id", x->image),
        json_put_str(w, "category", category_name[x->category]);
    json_put_str(w, "verdict", verdict);
    json_put_str(w, "reason", v->reason[accepted]);
    json_begin_object(w, "votes");
    json_put_int(w, "accept", v->accept), json_put_int(w, "reject", v->reject), json_put_int(w, "void", v->none);
    json_close_object(w);
    json_begin_object(w, "reasons");
    json_put_str(w, "accept", v->reason[1]), json_put_str(w, "reject", v->reason[0]);
    json_close_object(w);
    json_begin_array(w, "violated");
    for (int k = 0; k < VIOLATIONS; k++)
        if (v->violated[k]) json_put_str(w, NULL, violation[k]);
    json_close_array(w);
    json_close_object(w);
}

static stage_state take(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e) {
    const job *j = ctx;
    const item *x = u->item;
    votes v = { 0 };
    int good = 0, refused = 0;
    if (json_len(had)) add_had(&v, json_at(had, 0), e);
    for (int k = 0; k < n && !e->status; k++) {
        opinion o = read_opinion(c[k].text, e);
        if (o.verdict < 0) v.none++, refused += c[k].end == COMPLETE_REFUSED || llm_refuses(c[k].text);
        else {
            good++, *(o.verdict ? &v.accept : &v.reject) += 1;
            if (!v.reason[o.verdict][0]) memcpy(v.reason[o.verdict], o.reason, sizeof o.reason);
            for (int i = 0; i < VIOLATIONS && !o.verdict; i++) v.violated[i] |= o.violated[i];
        }
    }
    int64_t left = (int64_t)(j->how.tries - 1 - t) * n, said = v.accept + v.reject, all = said + v.none;
    bool sure = said && (double)v.accept >= j->accept_if * (double)(said + left); /* whatever is still said, */
    bool never = said && (double)(v.accept + left) < j->accept_if * (double)(said + left) - 1e-9; /* both ways */
    bool undecided = 2 * v.none > all || !said;
    *more = left > 0 && (undecided || (!sure && !never));
    put_verdict(j, out->recs, x, &v,
                undecided                                                ? "undecided"
                : (double)v.accept >= j->accept_if * (double)said - 1e-9 ? "accept"
                                                                         : "reject");
    out->n = 1;
    if (*more ? good > 0 : !undecided) return STAGE_OK;
    out->code = refused == n ? "refused" : good || said ? "undecided" : NULL;
    return STAGE_VOID;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static char *config_of(const job *j, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", j->c ? complete_id(j->c) : "none");
    json_begin_object(&w, "prompts");
    for (int k = 0; k < CATEGORIES; k++) json_put_str(&w, category_name[k], prompt_hash(j->prompt[k]));
    json_close_object(&w);
    preset_put(&j->how, &w, "decoding");
    json_put_num(&w, "accept_if", j->accept_if);
    json_put_bool(&w, "schema", !arg_flag(j->a, "no-schema"));
    json_put_int(&w, "seed", arg_int(j->a, "seed"));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status work(job *j, vm_error *e) {
    const llm_stage def = { .ask = ask, .take = take, .ctx = j, .how = &j->how, .a = j->a };
    char *config = config_of(j, e);
    vm_status st = config ? llm_stage_all("vet", arg_pos(j->a, 0), config, j->c, &def, j->unit, j->n, e) : e->status;
    vm_free(config);
    return st;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a, .accept_if = arg_float(a, "accept-if") };
    vm_status st = VM_OK;
    if (!preset_read(&j.how, "vet", a, e) && !open_prompts(&j, e) && !read_edits(&j, e) && !complete_open(&j.c, a, e))
        st = work(&j, e);
    complete_close(j.c);
    for (int k = 0; k < CATEGORIES; k++) prompt_free(j.prompt[k]), bm25_free(j.about[k]);
    for (int64_t i = 0; i < j.n; i++) {
        item *x = &j.item[i];
        vm_free(x->id), vm_free(x->image), vm_free(x->caption), vm_free(x->edited), vm_free(x->phrase),
            vm_free(x->edited_phrase), vm_free(x->input);
    }
    preset_free(&j.how);
    vm_free(j.item), vm_free(j.unit);
    return e->status ? e->status : st;
}

static const vm_opt opts[] = {
    { "accept-if", OPT_FLOAT, "0.67", "X", "accept when this part of the verdicts does", 0, 1 },
    STAGE_OPTS,
    LLM_OPTS,
    { 0 },
};

const vm_command cmd_vet = {
    .name = "vet",
    .summary = "a language model checks the edits of `instruct`; the majority of its verdicts decides",
    .usage = "RUN --llm native:DIR | http:URL | replay:FILE [options]",
    .about = "Every edit of RUN/instruct is shown with demonstrations that are near to it, as many accepted as "
             "rejected, in up to --tries prompts with --samples\n"
             "answers each. An answer gives a reason, then a verdict. More void answers than verdicts: undecided, "
             "which is never accepted. RUN/vet gets a\n"
             "line for each edit with all counts.\n\n"
             "  vismin vet run --llm native:mistral-7b-instruct\n"
             "  vismin vet run --llm http:http://127.0.0.1:8000 --tries 1 --samples 3 --accept-if 1",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
