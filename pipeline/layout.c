/* layout.c - `vismin layout`: pictures planned as captions with boxes; enumerated from tables, or written by a language
 * model. */
#include <stdio.h>
#include <string.h>

#include "io/hash.h"
#include "io/log.h"
#include "pipeline/embedded.h"
#include "pipeline/layout_run.h"
#include "pipeline/layout_stage.h"
#include "pipeline/run.h"

static const char *const modes[] = { "enumerate", "bootstrap", "from-caption" };

/* --- tables ------------------------------------------------------------------------------------------------------- */
static vm_status open_world(layout_job *j, vm_error *e) {
    const char *own[2] = { arg_str(j->a, "objects"), arg_str(j->a, "scenes") }, *const table[2] = { "objects.csv",
                                                                                                    "scenes.csv" };
    char *text[3] = { 0 }, *name[2] = { 0 };
    size_t bytes;
    for (int k = 0; k < 2 && !e->status; k++)
        if (!embedded_read(&text[k], &bytes, &name[k], arg_str(j->a, "prompt-dir"), table[k], e) && k == 1 && own[1]) {
            vm_free(text[1]);
            text[1] = NULL;
            file_read(&text[1], NULL, own[1], 0, e);
        }
    if (!e->status) layout_world_new(&j->world, text[0], name[0], text[1], own[1] ? own[1] : name[1], e);
    if (!e->status && own[0] && !file_read(&text[2], NULL, own[0], 0, e))
        layout_world_add(j->world, text[2], own[0], e);
    if (!e->status) sha256_parts(j->world_hash, 3, (const char *[]){ text[0], text[1], text[2] ? text[2] : "" });
    for (int k = 0; k < 3; k++) vm_free(text[k]);
    vm_free(name[0]), vm_free(name[1]);
    return e->status;
}

/* --- enumeration -------------------------------------------------------------------------------------------------- */
static vm_status put_layout(layout_job *j, stage *s, layout_kind kind, int64_t i, const char *key, tally *counts,
                            vm_error *e) {
    layout l;
    vm_error none = { 0 };
    stage_line line = { .key = key, .input = "", .state = STAGE_OK, .in = -1, .out = -1 };
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_array(&w, NULL);
    if (layout_world_make(j->world, kind, &j->rules, (uint64_t)arg_int(j->a, "seed"), i, &l, &none)) {
        line.state = STAGE_VOID, line.code = "no_room";
        if (!tally_of(counts, "void")) vm_warn("%s: %s", key, none.msg);
    } else layout_put_record(&w, &l, NULL, e);
    json_close_array(&w);
    char *recs = json_take(&w, NULL, e);
    line.recs = recs;
    tally_add(counts, line.state == STAGE_OK ? "ok" : "void", 1);
    if (!e->status) stage_put(s, &line, e);
    vm_free(recs);
    return e->status;
}

static vm_status enumerate(layout_job *j, stage *s, tally *counts, vm_error *e) {
    for (int k = 0; k < LAYOUT_KINDS; k++) {
        int64_t n;
        if (!j->want[k]) continue;
        if (layout_world_count(j->world, (layout_kind)k, j->rules.per_pair, &n, e)) return e->status;
        if (n < j->quota) vm_info("%s: the tables have %lld layouts", layout_kind_name[k], (long long)n);
        for (int64_t i = 0; i < VM_MIN(n, j->quota); i++) {
            char key[48];
            snprintf(key, sizeof key, "%s:%08lld", layout_kind_name[k], (long long)i);
            stage_unit u = { .key = key, .shard = key, .input = "" };
            if (run_stopping()) return vm_fail(e, VM_ESTOP, "layout: stopped; the same command goes on");
            if (!stage_mine(s, key) || stage_done(s, &u)) continue;
            if (put_layout(j, s, (layout_kind)k, i, key, counts, e)) return e->status;
        }
    }
    return VM_OK;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static char *config_of(const layout_job *j, vm_error *e) {
    static const char *const names[LAYOUT_PROMPTS] = { "relation", "counting", "caption" };
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "mode", modes[j->mode]);
    if (j->mode != LAYOUT_FROM_CAPTION) json_put_str(&w, "tables", j->world_hash);
    if (j->mode != LAYOUT_ENUMERATE) {
        json_put_str(&w, "model", j->c ? complete_id(j->c) : "none");
        json_begin_object(&w, "prompts");
        for (int k = 0; k < LAYOUT_PROMPTS; k++)
            if (j->prompt[k]) json_put_str(&w, names[k], prompt_hash(j->prompt[k]));
        json_close_object(&w);
        preset_put(&j->how, &w, "decoding");
        json_put_bool(&w, "schema", !arg_flag(j->a, "no-schema"));
    }
    layout_rules_put(&w, "rules", &j->rules);
    json_put_int(&w, "seed", arg_int(j->a, "seed"));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status options(layout_job *j, vm_error *e) {
    const char *mode = arg_str(j->a, "mode"), *kind = arg_str(j->a, "category"), *const *rule;
    int k = 0, n = arg_list(j->a, "rule", &rule);
    while (k < VM_LEN(modes) && strcmp(modes[k], mode)) k++;
    if (k == VM_LEN(modes))
        return vm_fail(e, VM_EUSAGE, "--mode %s: expected enumerate, bootstrap or from-caption", mode);
    j->mode = (layout_mode)k;
    for (k = 0; k < LAYOUT_KINDS; k++) j->want[k] = !strcmp(kind, "both") || !strcmp(kind, layout_kind_name[k]);
    if (!j->want[0] && !j->want[1])
        return vm_fail(e, VM_EUSAGE, "--category %s: expected relation, counting or both", kind);
    for (k = 0; k < n; k++)
        if (layout_rule_set(&j->rules, rule[k], e)) return e->status;
    j->quota = arg_int(j->a, "quota");
    j->units = arg_given(j->a, "units") ? arg_int(j->a, "units") : 10 * j->quota;
    return VM_OK;
}

static vm_status work_on(void *ctx, stage *s, tally *counts, vm_error *e) {
    layout_job *j = ctx;
    return j->mode == LAYOUT_ENUMERATE ? enumerate(j, s, counts, e) : layout_ask(j, s, counts, e);
}

static vm_status work(layout_job *j, vm_error *e) {
    tally counts = { 0 };
    if (j->mode != LAYOUT_ENUMERATE && llm_stage_only_shows(j->a)) return layout_ask(j, NULL, &counts, e);
    char *config = config_of(j, e);
    vm_status st = config ? stage_parts("layout", j->run, config, j->a, work_on, j, e) : e->status;
    for (int k = L01; k < L_CODES && !e->status && arg_flag(j->a, "explain"); k++)
        vm_info("L%02d  %s", k, layout_code_rule[k]);
    vm_free(config);
    return st;
}

static vm_status run(const vm_args *a, vm_error *e) {
    layout_job j = { .a = a, .run = arg_pos(a, 0), .rules = layout_rules_default };
    vm_status st = VM_OK;
    if (!options(&j, e) && !open_world(&j, e)) {
        bool asks = j.mode != LAYOUT_ENUMERATE;
        if (asks && !preset_read(&j.how, "layout", a, e) && !layout_open_prompts(&j, e)) complete_open(&j.c, a, e);
        if (!e->status) st = work(&j, e);
    }
    complete_close(j.c);
    for (int k = 0; k < LAYOUT_PROMPTS; k++) prompt_free(j.prompt[k]);
    preset_free(&j.how);
    layout_world_free(j.world);
    return e->status ? e->status : st;
}

static const vm_opt opts[] = {
    { "mode", OPT_STR, "enumerate", "HOW", "enumerate (tables, no model), bootstrap (a model invents) or from-caption",
      0, 0 },
    { "category", OPT_STR, "both", "WHICH", "relation, counting or both", 0, 0 },
    { "quota", OPT_INT, "1000", "N", "how many layouts of each category; not of from-caption", 1, 1e9 },
    { "units", OPT_INT, NULL, "N", "bootstrap: prompts of each category at most (default: 10 times the quota)", 1,
      1e9 },
    { "captions", OPT_STR, NULL, "FILE", "from-caption: of `vismin captions` (default: RUN/captions.jsonl)", 0, 0 },
    { "objects", OPT_STR, NULL, "FILE",
      "further things: CSV with name, size_class, contexts; aspect, stackable, countable, article, plural", 0, 0 },
    { "scenes", OPT_STR, NULL, "FILE", "other scenes: CSV with place, background, contexts", 0, 0 },
    { "rule", OPT_LIST, NULL, "NAME=N", "change a rule (an unknown name lists them): min_area=20, per_pair=50, ...", 0,
      0 },
    STAGE_OPTS,
    LLM_OPTS,
    { 0 },
};

const vm_command cmd_layout = {
    .name = "layout",
    .summary = "plans of pictures, a caption with a box for each thing: spatial relations and counts",
    .usage = "RUN [--mode enumerate|bootstrap|from-caption] [options]",
    .about = "RUN/layout gets one line for each unit of work; the same command goes on after any interruption. Every "
             "layout passes the rules L01 to L14\n"
             "(--explain counts what they reject): boxes on the canvas of 512 x 512, standing as the caption says, as "
             "many as it says, each thing named\n"
             "once, a caption whose two things can change places.\n\n"
             "  enumerate     every pair of things, relation and wording of the tables, in an order that the seed "
             "decides; no model, a thousand a second\n"
             "  bootstrap     a language model invents; it is given a relation or a number, and things to choose from, "
             "so that all come up\n"
             "  from-caption  a language model places the things of captions that have a relation or a number\n\n"
             "  vismin layout run --quota 5000\n"
             "  vismin layout run --mode bootstrap --category relation --llm native:mistral-7b-instruct\n"
             "  vismin layout run --mode from-caption --captions captions.jsonl --llm http:http://127.0.0.1:8000",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
