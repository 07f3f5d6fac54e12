/* eval.c - `vismin eval`: a model on a benchmark. Results go to OUT/DATASET/MODEL/ and as a table to stdout. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_command.h"
#include "pipeline/report_eval.h"
#include "pipeline/run.h"

/* Says what was not scored or is odd. */
static void say_faults(const eval_result *r, const char *dir) {
    const eval_tally *t = &r->all;
    eval_say_faults(r->set, r->n_faults, r->fault, r->set->n + r->set->n_faults, dir);
    if (t->n_invalid) vm_warn("%" PRId64 " items have scores that are not numbers; they count as wrong", t->n_invalid);
    if (t->n_truncated) vm_warn("%" PRId64 " items have a caption that is longer than the model takes", t->n_truncated);
    if (t->n_empty) vm_warn("%" PRId64 " items have an empty caption", t->n_empty);
    if (r->set->n_twice)
        vm_warn("%" PRId64 " records have an id that was there already; they count once", r->set->n_twice);
}

static eval_model *open_model(const vm_args *a, vm_error *e) {
    eval_model *m = eval_open_model(a, e);
    const char *head = arg_str(a, "head");
    if (m && head && eval_model_choose(m, head, arg_str(a, "name") != NULL, e)) eval_model_free(m), m = NULL;
    return m;
}

static vm_status show(const vm_args *a, const eval_result *r, const eval_model *m, const eval_facts *f, vm_error *e) {
    if (!arg_flag(a, "json")) return eval_print_table(stdout, r), VM_OK;
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    eval_put_json(&w, r, m, f);
    return json_end(&w, e);
}

/* --- options ------------------------------------------------------------------------------------------------------ */
static vm_status get_options(const vm_args *a, eval_options *o, vm_error *e) {
    *o = (eval_options){ .batch = arg_int(a, "batch"), .fresh = arg_flag(a, "fresh"), .metric = arg_str(a, "metric"),
                         .template = arg_str(a, "template"), .temperature = (float)arg_float(a, "temperature") };
    o->ties = (tie_rule)eval_word(a, "ties", tie_rule_name, VM_LEN(tie_rule_name), e);
    return eval_picture_options(a, o, e);
}

static vm_status get_source(const vm_args *a, eval_source *s, vm_error *e) {
    static const char *const policies[] = { "skip", "fail", "wrong" }, *const dups[] = { "first", "last" };
    static const eval_on_error policy_of[] = { EVAL_SKIP, EVAL_FAIL, EVAL_WRONG };
    *s = (eval_source){ .data = arg_str(a, "data"), .seed = (uint64_t)arg_int(a, "seed"), .limit = arg_float(a, "limit"),
                        .places = eval_places(a) };
    s->n_splits = arg_list(a, "split", &s->splits), s->n_variants = arg_list(a, "option", &s->variants);
    if (!s->data) return vm_fail(e, VM_EUSAGE, "eval: --data PATH is needed");
    if (s->limit >= 1 && s->limit != floor(s->limit))
        return vm_fail(e, VM_EUSAGE, "eval: --limit %g: expected a whole number, or a share below 1", s->limit);
    if (arg_str(a, "on-error")) s->on_error = policy_of[eval_word(a, "on-error", policies, VM_LEN(policies), e)];
    if (arg_str(a, "dup")) s->dup = eval_word(a, "dup", dups, VM_LEN(dups), e) ? EVAL_DUP_LAST : EVAL_DUP_FIRST;
    return e->status;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static void list_datasets(void) {
    for (int k = 0; eval_datasets[k]; k++) {
        const eval_dataset *d = eval_datasets[k];
        printf("%-20s %s\n", d->name, d->summary);
        for (int v = 0; d->variants && d->variants[v]; v++) printf("%-20s --option %s\n", "", d->variants[v]);
        if (d->counts) printf("%-20s records: %.*s\n", "", (int)strcspn(d->counts, "\n"), d->counts);
    }
}

static void show_items(const eval_set *s, int64_t n) {
    for (int64_t i = 0; i < VM_MIN(n, s->n); i++) {
        const eval_item *x = &s->item[i];
        bool captions_choose = x->kind == EVAL_CHOICE && x->n_captions > 1, images_choose = x->kind == EVAL_CHOICE && x->n_images > 1;
        printf("%s %s%s%s%s%s\n", eval_split_name(s, x->split), x->id, x->tag < 0 ? "" : ", ",
               x->tag < 0 ? "" : eval_tag_name(s, x->tag), x->group ? ", in " : "", x->group ? x->group : "");
        for (int k = 0; k < x->n_captions; k++)
            printf("  caption %d%s  %s\n", k, captions_choose && k == x->gold ? " (right)" : "", eval_caption(s, x, k));
        for (int k = 0; k < x->n_images; k++) {
            eval_picture p = eval_image(s, x, k);
            printf("  image %d%s  %s", k, images_choose && k == x->gold ? " (right)" : "", p.path);
            if (p.boxed) printf(" [%d %d %d %d]", p.box[0], p.box[1], p.box[2], p.box[3]);
            printf("\n");
        }
    }
    printf("\n");
}

/* DIR/report/index.html: the scores, and the worst items with their pictures. */
static vm_status write_worst(const eval_result *r, int shown, const char *dir, vm_error *e) {
    char *folder = shown && !r->set->no_media ? path_join(dir, "report") : NULL; /* pictures of scores: are names only */
    if (folder) report_worst(r, folder, shown, e);
    else if (shown && !r->set->no_media) vm_nomem(e, 256, "a path");
    vm_free(folder);
    return e->status;
}

static vm_status finish(const vm_args *a, eval_result *r, const eval_dataset *d, const eval_model *m,
                        const eval_facts *f, const char *dir, vm_error *e) {
    if (arg_flag(a, "predict-only")) return eval_write_predictions(r, dir, e);
    if (eval_result_extras(r, d, e) || (dir && (write_worst(r, (int)arg_int(a, "worst"), dir, e) || eval_write_files(r, m, f, dir, e))))
        return e->status;
    return show(a, r, m, f, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    eval_options o;
    eval_source source;
    eval_facts f = { .command = arg_line(a), .options = &o, .source = &source };
    double from = run_seconds();
    eval_set *set = NULL;
    eval_model *m = NULL;
    eval_result *r = NULL;
    embed_cache *cache = NULL;
    char *dir = NULL, *journal = NULL, *real = NULL;
    bool partial = false;
    if (arg_flag(a, "list")) return list_datasets(), VM_OK;
    if (!arg_npos(a)) return vm_fail(e, VM_EUSAGE, "eval: MODEL is needed; see `vismin eval --help`");
    if (arg_flag(a, "predict-only") && !arg_str(a, "out"))
        return vm_fail(e, VM_EUSAGE, "eval: --predict-only needs --out DIR for the predictions");
    const eval_dataset *d = eval_find_dataset(arg_str(a, "dataset"), e);
    if (!d || get_options(a, &o, e) || get_source(a, &source, e)) return e->status;
    eval_facts_start(&f);
    real = realpath(source.data, NULL);
    f.data = real ? real : source.data;
    source.no_media = !strncmp(arg_pos(a, 0), "scores:", 7); /* they are re-judged without pictures */
    if (eval_load(&set, d, &source, e)) goto done;
    if (arg_int(a, "show")) show_items(set, arg_int(a, "show"));
    if (!(m = open_model(a, e)) || (!(dir = eval_make_folder(a, d->name, m, e)) && e->status) || e->status) goto done;
    if (dir && !(journal = path_join(dir, "samples.jsonl"))) {
        vm_nomem(e, 256, "a path");
        goto done;
    }
    o.journal = journal;
    if (eval_model_cache(m, arg_str(a, "embed-cache"), &cache, e)) goto done;
    o.cache = cache;
    if (eval_run(&r, set, m, &o, e)) goto done;
    f.wall_s = run_seconds() - from;
    if (finish(a, r, d, m, &f, dir, e)) goto done;
    say_faults(r, dir);
    partial = r->set->n_faults + r->n_faults > arg_int(a, "max-skip") || r->all.n_invalid > arg_int(a, "max-invalid");
done:
    embed_cache_close(cache);
    eval_result_free(r);
    eval_model_free(m);
    eval_set_free(set);
    vm_free(dir), vm_free(journal);
    free(real);
    return e->status ? e->status : partial ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "list", OPT_FLAG, NULL, NULL, "name the data sets, what --data must hold, and their options", 0, 0 },
    { "dataset", OPT_STR, "vismin", "NAME", "the benchmark", 0, 0 },
    { "data", OPT_STR, NULL, "PATH", "its annotations, a folder or file (--list says which)", 0, 0 },
    { "split", OPT_LIST, NULL, "NAME", "only this split (repeatable)", 0, 0 },
    { "option", OPT_LIST, NULL, "KEY=VALUE", "an option of the data set (repeatable)", 0, 0 },
    EVAL_PLACE_OPTS,
    { "out", OPT_STR, NULL, "DIR", "write results to DIR/DATASET/MODEL/; what is there already is not computed again",
      0, 0 },
    EVAL_MODEL_OPTS,
    { "head", OPT_STR, NULL, "HEAD",
      "of a model with two (BLIP): itc, the cosine of text and picture (the default), or itm, which reads both together", 0,
      0 },
    { "metric", OPT_STR, NULL, "NAME", "of pairs: vismin (text, image, group; the default) or mmvp", 0, 0 },
    { "ties", OPT_STR, "wrong", "RULE", "equal best scores of a choice count as wrong, as half, or (first) as right", 0, 0 },
    { "template", OPT_STR, NULL, "TEXT", "text with {} for the caption (mmvp: \"a photo of {}\")", 0, 0 },
    { "temperature", OPT_FLOAT, "0", "T", "of the probabilities of options in samples.jsonl; 0 = the model's", 0, 1e6 },
    { "batch", OPT_INT, "64", "N", "items worked on together; no score depends on it", 1, 4096 },
    { "limit", OPT_FLOAT, "0", "N", "only the first N records of each split, or a share below 1; 0 = all", 0, 1e9 },
    { "show", OPT_INT, "0", "N", "print the first N items as they were understood", 0, 1e9 },
    { "worst", OPT_INT, "6", "N", "items of each split that DIR/DATASET/MODEL/report/index.html shows, the most wrong first; 0 = no page", 0, 1000 },
    { "predict-only", OPT_FLAG, NULL, NULL, "write samples.jsonl and predictions.csv, judge nothing", 0, 0 },
    { "fresh", OPT_FLAG, NULL, NULL, "forget the scores that DIR/DATASET/MODEL has", 0, 0 },
    { "on-error", OPT_STR, NULL, "POLICY",
      "records that cannot be scored: skip, fail, wrong (unset: skip missing pictures, fail on the rest)", 0, 0 },
    { "dup", OPT_STR, NULL, "WHICH", "of different records with one id: first or last; unset: an error", 0, 0 },
    { "max-skip", OPT_INT, "0", "N", "exit code 1 when more records are not scored", 0, 1e9 },
    { "max-invalid", OPT_INT, "0", "N", "exit code 1 when more items have scores that are not numbers", 0, 1e9 },
    EVAL_PICTURE_OPTS,
    { 0 },
};

const vm_command cmd_eval = {
    .name = "eval",
    .summary = "score a model on a benchmark of minimal changes",
    .usage = "MODEL --dataset NAME --data PATH [--out DIR]",
    .about =
        "MODEL is the directory of a model with two towers (CLIP, SigLIP, BLIP), or its name in the cache; or random, oracle or\n"
        "constant, which look at nothing and test data and scoring; or scores:FILE, the predictions.csv or samples.jsonl of an\n"
        "earlier run (or of another program), which is judged without pictures.\n"
        "A pair has two captions and two pictures. text: each picture prefers its caption; image: each caption prefers "
        "its\n"
        "picture; group: both; equal scores are wrong. A choice has one right option of K. Records that cannot be scored are\n"
        "counted and listed, and the exit code is 1.\n\n"
        "  vismin eval models/ViT-B-32 --data vismin-bench/ --out results/\n"
        "  vismin eval models/ViT-B-32 --data train.json --map /coco=/data/coco --images /data --json\n\n"
        "An interrupted run goes on where it was: every score is kept in DIR/DATASET/MODEL/samples.jsonl.",
    .opts = opts,
    .min_pos = 0,
    .max_pos = 1,
    .run = run,
};
