/* instruct.c - `vismin instruct`: captions to edit instructions, proposed by a language model and checked by the rules
 * of edit.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io/hash.h"
#include "io/words.h"
#include "pipeline/captions.h"
#include "pipeline/edit.h"
#include "pipeline/run.h"
#include "pipeline/stage_llm.h"

enum { CATEGORIES = 2 };
static const char *const category_name[CATEGORIES] = { "object", "attribute" };

typedef struct {
    const vm_args *a;
    captions list;
    preset how;
    completer *c;
    prompt *prompt[CATEGORIES]; /* NULL where the category is not wanted */
    double weight[CATEGORIES];
    bool all; /* one unit for each category instead of one that draws them */
    bool repair;
    int64_t enough;   /* edits of a unit */
    stage_unit *unit; /* item: its unit_item */
    struct unit_item *item;
    int64_t n;
    char *text; /* all keys */
} job;

typedef struct unit_item {
    const caption *c;
    int category; /* -1 = drawn for each try */
} unit_item;

/* --- categories --------------------------------------------------------------------------------------------------- */
/* "all", or NAME[:WEIGHT] joined by commas. */
static vm_status read_categories(job *j, vm_error *e) {
    const char *text = arg_str(j->a, "categories");
    if ((j->all = !strcmp(text, "all"))) return j->weight[0] = j->weight[1] = 1, VM_OK;
    double sum = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ":,");
        int k = 0;
        while (k < CATEGORIES && (strlen(category_name[k]) != n || memcmp(p, category_name[k], n))) k++;
        char *end = (char *)p + n;
        double w = *end == ':' ? strtod(p + n + 1, &end) : 1;
        if (k == CATEGORIES || (*end && *end != ',') || !(w >= 0)) break;
        j->weight[k] = w, sum += w;
        p = *end ? end + 1 : end;
        if (!*p) return sum > 0 ? VM_OK : vm_fail(e, VM_EUSAGE, "--categories %s: no weight above 0", text);
    }
    return vm_fail(e, VM_EUSAGE,
                   "--categories %s: expected all, or object and attribute with weights, like object:0.6,attribute:0.4",
                   text);
}

static bool is_vsr(const caption *c) { return c->source && !strcmp(c->source, "vsr"); }

/* Of a try: fixed, or drawn from the seed. Statements of VSR state relations and seldom attributes: objects only. */
static int category_of(const job *j, const stage_unit *u, int t) {
    const unit_item *x = u->item;
    char number[16];
    if (x->category >= 0) return x->category;
    if (is_vsr(x->c) && j->weight[0] > 0) return 0;
    snprintf(number, sizeof number, "%d", t);
    uint64_t seed = sha256_seed((uint64_t)arg_int(j->a, "seed"), 2, (const char *[]){ u->key, number });
    return (double)(seed >> 11) * 0x1p-53 * (j->weight[0] + j->weight[1]) < j->weight[0] ? 0 : 1;
}

/* --- demonstrations ----------------------------------------------------------------------------------------------- */
/* Every edit of a demonstration must pass the rules that answers have to pass. */
static vm_status check_demo(json_value demo, void *ctx, vm_error *e) {
    const char *want = ctx, *caption_text = json_as_str(json_need(demo, "caption", JSON_STRING, e), e);
    edits list = { 0 };
    tally why = { 0 };
    size_t n;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, json_get(demo, "answer"));
    char *answer = json_take(&w, &n, e);
    if (answer && !edit_parse(&list, answer, n, caption_text, want, &why, e)) {
        if (why.used || (!list.n && !list.none))
            json_fail(json_get(demo, "answer"), e, "no list of edits of this caption (%s)",
                      why.used ? why.name[0] : "none found");
        for (int k = 0; k < list.n && !e->status; k++) {
            const char *bad = edit_check(&list.e[k], caption_text, want, false);
            if (bad)
                json_fail(json_get(demo, "answer"), e, "the demonstration \"%s\" to \"%s\" breaks %s",
                          list.e[k].selected, list.e[k].edited, bad);
        }
    }
    edits_free(&list);
    vm_free(answer);
    return e->status;
}

static vm_status open_prompts(job *j, vm_error *e) {
    for (int k = 0; k < CATEGORIES && !e->status; k++)
        if (j->weight[k] > 0)
            prompt_open(&j->prompt[k],
                        &(prompt_options){ .stage = "instruct",
                                           .category = category_name[k],
                                           .dir = arg_str(j->a, "prompt-dir"),
                                           .fields = "caption",
                                           .shots = j->how.shots,
                                           .seed = (uint64_t)arg_int(j->a, "seed"),
                                           .check = check_demo,
                                           .ctx = (void *)category_name[k],
                                           .balance = "kind" },
                        e);
    return e->status;
}

/* --- units -------------------------------------------------------------------------------------------------------- */
static int same_key(const void *a, const void *b) {
    return strcmp(((const stage_unit *)a)->key, ((const stage_unit *)b)->key);
}

/* A caption that stands in the list twice is one unit. The order is that of the keys, whatever the list's. */
static void sort_units(job *j) {
    int64_t n = 0;
    qsort(j->unit, (size_t)j->n, sizeof *j->unit, same_key);
    for (int64_t i = 0; i < j->n; i++)
        if (!n || strcmp(j->unit[n - 1].key, j->unit[i].key)) j->unit[n++] = j->unit[i];
    j->n = n;
}

static vm_status make_units(job *j, vm_error *e) {
    int each = j->all ? CATEGORIES : 1;
    size_t room = 1;
    for (int64_t i = 0; i < j->list.n; i++) room += (size_t)each * (strlen(j->list.c[i].image_id) + 24);
    char *p = j->text = vm_alloc(room);
    j->unit = vm_calloc((size_t)(j->list.n * each) + 1, sizeof *j->unit),
    j->item = vm_calloc((size_t)(j->list.n * each) + 1, sizeof *j->item);
    if (!p || !j->unit || !j->item) return vm_nomem(e, room, "units");
    for (int64_t i = 0; i < j->list.n; i++) {
        const caption *c = &j->list.c[i];
        char hex[65];
        sha256_hex(hex, c->caption, strlen(c->caption));
        for (int k = 0; k < each; k++) {
            if (j->all && k == 1 && is_vsr(c)) continue;
            j->item[j->n] = (unit_item){ c, j->all ? k : -1 };
            j->unit[j->n] = (stage_unit){ .key = p, .shard = c->image_id, .input = c->caption, .item = &j->item[j->n] };
            p += snprintf(p, room - (size_t)(p - j->text), "%s:%.8s%s%s", c->image_id, hex, j->all ? ":" : "",
                          j->all ? category_name[k] : "") +
                 1;
            j->n++;
        }
    }
    sort_units(j);
    return VM_OK;
}

/* --- asking and taking -------------------------------------------------------------------------------------------- */
static vm_status ask(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e) {
    job *j = ctx;
    const unit_item *x = u->item;
    int k = category_of(j, u, t);
    *ask = (llm_ask){ .prompt = j->prompt[k], .field = { { "caption", x->c->caption } }, .fields = 1 };
    ask->schema = edit_schema(x->c->caption, category_name[k], j->c ? complete_spans(j->c) : 0, e);
    return e->status;
}

/* What is taken so far, for V12. */
typedef struct {
    char (*key)[2][17]; /* hashes of edited caption and edited phrase, put in order */
    int64_t n, cap;
} taken;

static bool is_new(taken *t, const char *edited_caption, const char *edited, vm_error *e) {
    char key[WORDS_MAX], hex[2][65];
    for (int k = 0; k < 2; k++) {
        phrase_key(key, k ? edited : edited_caption);
        sha256_hex(hex[k], key, strlen(key));
        hex[k][16] = 0;
    }
    for (int64_t i = 0; i < t->n; i++)
        if (!strcmp(t->key[i][0], hex[0]) || !strcmp(t->key[i][1], hex[1])) return false;
    if (!vm_grow(&t->key, &t->cap, t->n + 1, sizeof *t->key)) return vm_nomem(e, 64, "edits"), false;
    for (int k = 0; k < 2; k++) memcpy(t->key[t->n][k], hex[k], 17);
    t->n++;
    return true;
}

static stage_state take(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e) {
    job *j = ctx;
    const unit_item *x = u->item;
    const char *want = category_name[category_of(j, u, t)], *text = x->c->caption;
    taken seen = { 0 };
    bool none = false, proposed = false, refused = true;
    for (json_iter it = json_each(had); json_next(&it) && !e->status;) { /* older ones win */
        is_new(&seen, json_str(it.value, "edited_caption", "", e), json_str(it.value, "edited_phrase", "", e), e);
        json_put_value(out->recs, NULL, it.value);
        out->n++;
    }
    for (int k = 0; k < n && !e->status; k++) {
        edits list;
        refused &= c[k].end == COMPLETE_REFUSED || llm_refuses(c[k].text);
        if (edit_parse(&list, c[k].text, strlen(c[k].text), text, want, &out->why, e)) break;
        none |= list.none, proposed |= list.n > 0;
        for (int i = 0; i < list.n && !e->status; i++) {
            const char *bad = edit_check(&list.e[i], text, want, j->repair);
            if (!bad && !is_new(&seen, list.e[i].caption, list.e[i].edited, e)) bad = "V12";
            if (bad) tally_add(&out->why, bad, 1);
            else if (list.e[i].repaired) tally_add(&out->why, "repaired", 1);
            if (!bad && !e->status) edit_put(out->recs, x->c->image_id, x->c->file, text, &list.e[i]), out->n++;
        }
        edits_free(&list);
    }
    vm_free(seen.key);
    *more = out->n < (is_vsr(x->c) && !arg_given(j->a, "edits") ? 2 * j->enough : j->enough);
    if (out->n || none) return STAGE_OK;
    out->code = proposed ? "rejected" : refused ? "refused" : NULL;
    return STAGE_VOID;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static char *config_of(const job *j, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", j->c ? complete_id(j->c) : "none");
    json_begin_object(&w, "prompts");
    for (int k = 0; k < CATEGORIES; k++)
        if (j->prompt[k]) json_put_str(&w, category_name[k], prompt_hash(j->prompt[k]));
    json_close_object(&w);
    preset_put(&j->how, &w, "decoding");
    json_put_str(&w, "categories", arg_str(j->a, "categories"));
    json_put_int(&w, "edits", j->enough);
    json_put_bool(&w, "repair", j->repair), json_put_bool(&w, "schema", !arg_flag(j->a, "no-schema"));
    json_put_int(&w, "seed", arg_int(j->a, "seed"));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status read_captions(job *j, vm_error *e) {
    const char *given = arg_str(j->a, "captions");
    char *path = given ? vm_strdup(given) : path_join(arg_pos(j->a, 0), "captions.jsonl");
    if (!path) return vm_nomem(e, 256, "a path");
    j->list.strict = arg_flag(j->a, "strict");
    if (!given && !file_exists(path))
        vm_fail(e, VM_EINPUT,
                "%s: no captions there; write them with `vismin captions`, or name the file with --captions", path);
    else captions_read(&j->list, path, e);
    vm_free(path);
    return e->status;
}

static vm_status work(job *j, vm_error *e) {
    const llm_stage def = { .ask = ask, .take = take, .ctx = j, .how = &j->how, .a = j->a };
    char *config = config_of(j, e);
    vm_status st = config ? llm_stage_all("instruct", arg_pos(j->a, 0), config, j->c, &def, j->unit, j->n, e)
                          : e->status;
    vm_free(config);
    return st;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a, .repair = arg_flag(a, "repair"), .enough = arg_int(a, "edits") };
    vm_status st = VM_OK;
    if (!read_categories(&j, e) && !preset_read(&j.how, "instruct", a, e) && !open_prompts(&j, e) &&
        !read_captions(&j, e) && !make_units(&j, e) && !complete_open(&j.c, a, e))
        st = work(&j, e);
    bool bad = j.list.malformed > 0;
    complete_close(j.c);
    for (int k = 0; k < CATEGORIES; k++) prompt_free(j.prompt[k]);
    preset_free(&j.how);
    captions_free(&j.list);
    vm_free(j.unit), vm_free(j.item), vm_free(j.text);
    return e->status ? e->status : st ? st : bad ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "captions", OPT_STR, NULL, "FILE", "of `vismin captions` (default: RUN/captions.jsonl)", 0, 0 },
    { "categories", OPT_STR, "object:0.6,attribute:0.4", "WHICH",
      "drawn for each prompt by weight; all: prompts of every category for each caption", 0, 0 },
    { "edits", OPT_INT, "5", "N",
      "a caption with so many edits is not asked about again (of VSR twice as many unless given)", 1, 64 },
    { "repair", OPT_FLAG, NULL, NULL,
      "write edited captions anew that change more than the phrase, instead of rejecting them", 0, 0 },
    STAGE_OPTS,
    LLM_OPTS,
    { 0 },
};

const vm_command cmd_instruct = {
    .name = "instruct",
    .summary = "captions to edit instructions, by a language model; checked, resumable",
    .usage = "RUN --llm native:DIR | http:URL | replay:FILE [options]",
    .about = "RUN is a folder that holds everything of one data set; RUN/instruct gets one line for each finished "
             "caption, and the same command goes on\n"
             "after any interruption. Each proposal passes the rules V01 to V12 (--explain counts what they reject) or "
             "is dropped: the phrase stands in\n"
             "the caption, nothing but it changes, an object becomes another one, an attribute changes and its object "
             "stays, no number, size or\n"
             "relation changes, no synonyms. Prompts come from the program; --prompt-dir DIR has instruct.object.txt "
             "and the like first.\n\n"
             "  vismin captions --coco captions_val2017.json --out run/captions.jsonl\n"
             "  vismin instruct run --llm native:mistral-7b-instruct --shard 0/4\n"
             "  vismin instruct run --llm http:http://127.0.0.1:8000 --categories all --repair",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
