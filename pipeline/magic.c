/* magic.c - `vismin magic`: richer versions of the phrases that pictures are painted from, by a language model. */
#include <stdio.h>
#include <string.h>

#include "io/hash.h"
#include "io/json_loose.h"
#include "io/log.h"
#include "pipeline/embedded.h"
#include "pipeline/magic_rules.h"
#include "pipeline/run.h"
#include "pipeline/stage_llm.h"
#include "pipeline/text_items.h"

typedef struct {
    const text_item *of;
    char *key, *phrase, *caption, *input;
} item;

typedef struct {
    const vm_args *a;
    text_items list;
    preset how;
    completer *c;
    prompt *prompt;
    magic_kinds *kinds;
    char kinds_hash[65];
    tok *tok;      /* of the text encoder; NULL: its room is not looked at */
    item *item;
    stage_unit *unit;
    int64_t n, cap;
} job;

/* --- units -------------------------------------------------------------------------------------------------------- */
static vm_status add(job *j, const text_item *of, const char *phrase, const char *caption, vm_error *e) {
    if (!vm_grow(&j->item, &j->cap, j->n + 1, sizeof *j->item)) return vm_nomem(e, sizeof *j->item, "phrases");
    item *x = &j->item[j->n++];
    *x = (item){ .of = of,
                 .phrase = vm_strdup(phrase),
                 .caption = vm_strdup(caption),
                 .input = vm_asprintf("%s\n%s", phrase, caption) };
    x->key = of->layout ? vm_asprintf("%s:%s", of->id, phrase) : vm_strdup(of->id);
    return x->key && x->phrase && x->caption && x->input ? VM_OK : vm_nomem(e, 256, "phrases");
}

/* Each different name of a layout once. */
static vm_status add_layout(job *j, const text_item *of, vm_error *e) {
    layout l;
    if (text_item_layout(&l, of, e)) return e->status;
    for (int i = 0; i < l.n && !e->status; i++) {
        bool again = false;
        for (int k = 0; k < i; k++) again |= !strcmp(l.object[k].name, l.object[i].name);
        if (!again) add(j, of, l.object[i].name, l.caption, e);
    }
    return e->status;
}

static vm_status make_units(job *j, vm_error *e) {
    for (int64_t i = 0; i < j->list.n && !e->status; i++) {
        const text_item *x = &j->list.item[i];
        if (x->layout) add_layout(j, x, e);
        else add(j, x, x->edited_phrase, x->edited_caption, e);
    }
    if (!e->status && !(j->unit = vm_calloc((size_t)j->n + 1, sizeof *j->unit)))
        vm_nomem(e, (size_t)j->n * sizeof *j->unit, "phrases");
    for (int64_t i = 0; i < j->n && j->unit; i++)
        j->unit[i] = (stage_unit){
            .key = j->item[i].key, .shard = j->item[i].of->image, .input = j->item[i].input, .item = &j->item[i]
        };
    return e->status;
}

/* --- asking and taking -------------------------------------------------------------------------------------------- */
static vm_status check_demo(json_value demo, void *ctx, vm_error *e) {
    const char *phrase = json_as_str(json_need(demo, "phrase", JSON_STRING, e), e),
               *caption = json_as_str(json_need(demo, "caption", JSON_STRING, e), e);
    json_value list = json_need(json_get(demo, "answer"), "enhanced", JSON_ARRAY, e);
    const job *j = ctx;
    variants v = { 0 };
    for (json_iter it = json_each(list); json_next(&it) && !e->status;) {
        const char *text = json_as_str(it.value, e);
        magic_code c = e->status ? M_OK : magic_add(&v, text, phrase, caption, j->kinds);
        if (c) json_fail(it.value, e, "the demonstration breaks M%02d: %s", c, magic_code_rule[c]);
    }
    if (!e->status && !v.n) json_fail(list, e, "a demonstration needs at least one version");
    return e->status;
}

static vm_status ask(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e) {
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"enhanced\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":5,\"items\":"
        "{\"type\":\"string\",\"minLength\":3,\"maxLength\":80}}},\"required\":[\"enhanced\"],\"additionalProperties\":"
        "false}";
    job *j = ctx;
    const item *x = u->item;
    *ask = (llm_ask){ .prompt = j->prompt,
                      .field = { { "phrase", x->phrase }, { "caption", x->caption } },
                      .fields = 2,
                      .schema = vm_strdup(schema) };
    return ask->schema ? VM_OK : vm_nomem(e, sizeof schema, "a schema");
}

static void take_list(const job *j, variants *v, json_value list, const item *x, llm_taken *out) {
    char number[32], name[8];
    for (json_iter it = json_each(list); json_next(&it);) {
        const char *text = json_loose_text(it.value, number);
        magic_code c = text ? magic_add(v, text, x->phrase, x->caption, j->kinds) : M06;
        snprintf(name, sizeof name, "M%02d", (int)c);
        if (c) tally_add(&out->why, name, 1);
    }
}

/* {"enhanced": [...]} under one of its names, or the list alone. */
static bool read_answer(const job *j, variants *v, const char *text, const item *x, llm_taken *out, vm_error *e) {
    bool found = false;
    json_loose s = json_loose_start(text, strlen(text));
    for (json_doc *d; !found && json_loose_next(&s, '{', &d, e); json_free(d)) {
        json_value list = json_loose_get(json_root(d), "enhanced");
        if (list.kind != JSON_ARRAY) list = json_loose_get(json_root(d), "enhanced phrase");
        if ((found = list.kind == JSON_ARRAY)) take_list(j, v, list, x, out);
    }
    if (found || e->status) return found;
    s = json_loose_start(text, strlen(text));
    for (json_doc *d; !found && json_loose_next(&s, '[', &d, e); json_free(d))
        found = true, take_list(j, v, json_root(d), x, out);
    return found;
}

static void put_record(json_writer *w, const item *x, const variants *v, vm_error *e) {
    char *text = magic_prompt(v, x->phrase, x->caption);
    json_begin_object(w, NULL);
    if (x->of->layout) json_put_str(w, "layout_id", x->of->id), json_put_str(w, "name", x->phrase);
    else
        json_put_str(w, "edit_id", x->of->id), json_put_str(w, "image_id", x->of->image),
            json_put_str(w, "phrase", x->phrase);
    json_begin_array(w, "enhanced");
    for (int i = 0; i < v->n; i++) json_put_str(w, NULL, v->text[i]);
    json_close_array(w);
    if (text) json_put_str(w, "prompt", text);
    else vm_nomem(e, 256, "a prompt");
    json_close_object(w);
    vm_free(text);
}

static stage_state take(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e) {
    job *j = ctx;
    const item *x = u->item;
    variants v = { 0 };
    bool read = false, refused = true;
    int gone = 0;
    for (int k = 0; k < n && !e->status; k++) {
        refused &= c[k].end == COMPLETE_REFUSED || llm_refuses(c[k].text);
        read |= read_answer(j, &v, c[k].text, x, out, e);
    }
    if (!e->status && v.n && j->tok) magic_fit(&v, x->phrase, x->caption, j->tok, arg_int(j->a, "tokens"), &gone, e);
    if (gone) tally_add(&out->why, "no_room", gone);
    *more = false;
    if (v.n || gone) { /* without room the phrase stands by itself: that is final */
        put_record(out->recs, x, &v, e);
        out->n = 1;
        return STAGE_OK;
    }
    out->code = read ? "rejected" : refused ? "refused" : NULL;
    return STAGE_VOID;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static char *config_of(const job *j, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", j->c ? complete_id(j->c) : "none");
    json_put_str(&w, "prompt", prompt_hash(j->prompt));
    json_put_str(&w, "kinds", j->kinds_hash);
    preset_put(&j->how, &w, "decoding");
    json_put_int(&w, "tokens", j->tok ? arg_int(j->a, "tokens") : 0);
    json_put_bool(&w, "schema", !arg_flag(j->a, "no-schema"));
    json_put_int(&w, "seed", arg_int(j->a, "seed"));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status work(job *j, vm_error *e) {
    const llm_stage def = { .ask = ask, .take = take, .ctx = j, .how = &j->how, .a = j->a };
    char *config = config_of(j, e);
    vm_status st = config ? llm_stage_all("magic", arg_pos(j->a, 0), config, j->c, &def, j->unit, j->n, e) : e->status;
    for (int k = M01; k < M_CODES && !e->status && arg_flag(j->a, "explain"); k++)
        vm_info("M%02d  %s", k, magic_code_rule[k]);
    vm_free(config);
    return st;
}

static vm_status open_kinds(job *j, vm_error *e) {
    char *text, *name;
    size_t n;
    if (!embedded_read(&text, &n, &name, arg_str(j->a, "prompt-dir"), "kinds.csv", e))
        sha256_hex(j->kinds_hash, text, n), magic_kinds_new(&j->kinds, text, name, e);
    vm_free(text), vm_free(name);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    vm_status st = VM_OK;
    const char *model = arg_str(a, "tokenizer");
    if (model && (model = arg_model(a, model, e))) tok_open(&j.tok, model, e);
    if (!e->status && !open_kinds(&j, e) && !preset_read(&j.how, "magic", a, e) &&
        !prompt_open(&j.prompt,
                     &(prompt_options){ .stage = "magic",
                                        .dir = arg_str(a, "prompt-dir"),
                                        .fields = "phrase caption",
                                        .shots = j.how.shots,
                                        .seed = (uint64_t)arg_int(a, "seed"),
                                        .check = check_demo,
                                        .ctx = &j,
                                        .balance = "kind" },
                     e) &&
        !text_items_read(&j.list, arg_pos(a, 0), a, e) && !make_units(&j, e) && !complete_open(&j.c, a, e))
        st = work(&j, e);
    complete_close(j.c);
    prompt_free(j.prompt);
    preset_free(&j.how);
    tok_free(j.tok);
    magic_kinds_free(j.kinds);
    for (int64_t i = 0; i < j.n; i++)
        vm_free(j.item[i].key), vm_free(j.item[i].phrase), vm_free(j.item[i].caption), vm_free(j.item[i].input);
    vm_free(j.item), vm_free(j.unit);
    text_items_free(&j.list);
    return e->status ? e->status : st;
}

static const vm_opt opts[] = {
    TEXT_ITEMS_OPTS,
    { "tokenizer", OPT_STR, NULL, "MODEL",
      "folder of the text encoder: versions that its context has no room for are dropped", 0, 0 },
    { "tokens", OPT_INT, "77", "N", "that context, with its special tokens", 8, 1 << 20 },
    STAGE_OPTS,
    LLM_OPTS,
    { 0 },
};

const vm_command cmd_magic = {
    .name = "magic",
    .summary = "richer versions of the phrases to be painted, by a language model",
    .usage = "RUN --llm native:DIR | http:URL | replay:FILE [options]",
    .about = "For the new phrase of every accepted edit, and every thing of a layout: up to five versions that name "
             "the same thing more vividly. They pass the\n"
             "rules M01 to M06 (--explain counts what they reject) or are dropped. RUN/magic gets a line for each "
             "phrase; its member \"prompt\" is the text for\n"
             "a diffusion model: the phrase, three versions, the caption.\n\n"
             "  vismin magic run --llm native:mistral-7b-instruct --tokenizer stable-diffusion-2-inpainting/tokenizer\n"
             "  vismin magic run --llm http:http://127.0.0.1:8000 --of layouts",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
