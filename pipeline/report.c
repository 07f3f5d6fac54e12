/* report.c - `vismin report`: results of `vismin eval`, and training logs, as a page for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/command.h"
#include "pipeline/eval_files.h"
#include "pipeline/report_eval.h"

enum { MODELS = 16, DEPTH = 2 }; /* OUT/DATASET/MODEL */

typedef struct {
    eval_result *model[MODELS];
    int n;
} results;

/* Reads dir, or every folder of results up to two levels below it. */
static vm_status collect(results *r, const char *dir, int depth, vm_error *e) {
    char *file = path_join(dir, "results.json"), **names = NULL;
    int64_t n = 0;
    bool here = file && file_exists(file);
    vm_free(file);
    if (here) {
        if (r->n == MODELS) return vm_fail(e, VM_EUSAGE, "report: more than %d models", (int)MODELS);
        if (!eval_read_files(&r->model[r->n], dir, e)) r->n++;
        return e->status;
    }
    if (depth == 0 || dir_list(&names, &n, dir, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *sub = path_join(dir, names[i]);
        if (sub && file_is_dir(sub)) collect(r, sub, depth - 1, e);
        vm_free(sub);
    }
    vm_free(names);
    return e->status;
}

/* The control becomes the first model; -1 when there is one model only. */
static vm_status set_control(results *r, const char *name, int *control, vm_error *e) {
    int at = 0;
    while (name && at < r->n && strcmp(r->model[at]->model, name)) at++;
    if (at == r->n)
        return vm_fail(e, VM_EUSAGE, "report: --control %s: no such model in the results; the first one is %s", name,
                       r->model[0]->model);
    eval_result *found = r->model[at];
    memmove(r->model + 1, r->model, (size_t)at * sizeof *r->model);
    r->model[0] = found;
    *control = r->n > 1 ? 0 : -1;
    return VM_OK;
}

/* NAME=FILE of --log: the curve of one member in all logs. */
static vm_status put_curve(page *p, int n, const char *const *logs, const char *member, const char *title,
                           vm_error *e) {
    plot_series *s = vm_calloc((size_t)n + 1, sizeof *s);
    char **names = vm_calloc((size_t)n + 1, sizeof *names);
    int64_t points = 0;
    if (!s || !names) vm_nomem(e, 64, "curves");
    for (int k = 0; k < n && !e->status; k++) {
        const char *equals = strchr(logs[k], '='), *path = equals ? equals + 1 : logs[k];
        double *x = NULL, *y = NULL;
        names[k] = equals ? vm_strndup(logs[k], (size_t)(equals - logs[k])) : vm_strdup(logs[k]);
        if (!names[k]) vm_nomem(e, 64, "curves");
        if (!e->status)
            report_read_curve(path, "step", member, &x, &y, &s[k].n, e), s[k].x = x, s[k].y = y, s[k].name = names[k];
        points += s[k].n;
    }
    if (!e->status && points) page_curves(p, &(plot_curves){ .title = title, .x_label = "step", .series = s, .n = n });
    for (int k = 0; k < n && s && names; k++)
        vm_free((void *)(uintptr_t)s[k].x), vm_free((void *)(uintptr_t)s[k].y), vm_free(names[k]);
    vm_free(s), vm_free(names);
    return e->status;
}

static vm_status check_same(const results *r, vm_error *e) {
    for (int k = 1; k < r->n; k++)
        if (r->model[k]->rule != r->model[0]->rule || strcmp(r->model[k]->set->name, r->model[0]->set->name))
            return vm_fail(e, VM_EUSAGE, "report: results of %s (%s) and of %s (%s) do not fit on one page; give one "
                                         "data set", r->model[0]->set->name, r->model[0]->rule->name,
                           r->model[k]->set->name, r->model[k]->rule->name);
    return VM_OK;
}

static void put_what(page *p, const results *r, const report_eval *v) {
    char models[16], items[32], skipped[32], categories[16];
    int64_t n = 0, not = 0;
    for (int k = 0; k < r->model[0]->n_splits; k++)
        n += r->model[0]->tally[k].n, not += r->model[0]->tally[k].n_skipped;
    snprintf(models, sizeof models, "%d", r->n), snprintf(items, sizeof items, "%" PRId64, n);
    snprintf(skipped, sizeof skipped, "%" PRId64, not ),
        snprintf(categories, sizeof categories, "%d", r->model[0]->n_splits);
    page_facts(p, 4,
               (page_fact[]){ { "models", models },
                              { r->model[0]->set->kind == EVAL_PAIR ? "pairs scored" : "items scored", items },
                              { "records not scored", skipped },
                              { "categories", categories } });
    if (v->control >= 0)
        page_text(p, "The control is %s: the model that the others have to be better than.",
                  r->model[v->control]->model);
}

static vm_status get_order(const vm_args *a, int models, gallery_order *order, vm_error *e) {
    const char *name = arg_str(a, "order");
    *order = (name ? !strcmp(name, "worst") : models == 1) ? GALLERY_WORST : GALLERY_DIFFERING;
    if (name && *order == GALLERY_DIFFERING && strcmp(name, "differing"))
        return vm_fail(e, VM_EUSAGE, "report: --order %s: expected differing or worst", name);
    return VM_OK;
}

static vm_status write_page(const vm_args *a, results *r, vm_error *e) {
    const char *const *logs;
    int n_logs = arg_list(a, "log", &logs);
    report_eval v = { .model = (const eval_result *const *)r->model,
                      .n = r->n,
                      .shown = (int)arg_int(a, "items"),
                      .seed = (uint64_t)arg_int(a, "seed") };
    if (set_control(r, arg_str(a, "control"), &v.control, e) || get_order(a, r->n, &v.order, e)) return e->status;
    page *p = page_begin(arg_str(a, "out"), arg_str(a, "title"),
                         "Pictures and captions that differ in one thing, and who can tell.", e);
    if (!p) return e->status;
    page_section(p, "what", "What was done");
    put_what(p, r, &v);
    page_section(p, "scores", "Scores");
    if (report_scores(p, &v, e)) goto fail;
    if (v.control >= 0) {
        page_section(p, "differences", "Against the control");
        if (report_differences(p, &v, e)) goto fail;
    }
    if (n_logs) {
        page_section(p, "training", "Training");
        if (put_curve(p, n_logs, logs, "loss", "Loss", e) || put_curve(p, n_logs, logs, "lr", "Learning rate", e))
            goto fail;
    }
    if (v.shown) {
        page_section(p, "items", v.model[0]->set->kind == EVAL_PAIR ? "Pairs" : "Choices");
        if (report_gallery(p, &v, e)) goto fail;
    }
    page_section(p, "meaning", "What the numbers mean");
    report_meaning(p, r->model[0]->set->kind);
    return page_end(p, e);
fail:
    page_abort(p);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    results r = { .n = 0 };
    for (int k = 0; k < arg_npos(a) && !e->status; k++) {
        int before = r.n;
        collect(&r, arg_pos(a, k), DEPTH, e);
        if (!e->status && r.n == before)
            vm_fail(e, VM_EINPUT,
                    "%s: no results.json here or two folders below; run `vismin eval MODEL --data DIR --out %s` first",
                    arg_pos(a, k), arg_pos(a, k));
    }
    if (!e->status && !check_same(&r, e) && !write_page(a, &r, e)) vm_info("%s/index.html", arg_str(a, "out"));
    for (int k = 0; k < r.n; k++) eval_result_free(r.model[k]);
    return e->status;
}

static const vm_opt opts[] = {
    { "out", OPT_STR, "report", "DIR", "folder of the page; DIR/index.html opens from the disk", 0, 0 },
    { "title", OPT_STR, "Minimal changes", "TEXT", "heading of the page", 0, 0 },
    { "control", OPT_STR, NULL, "NAME", "the model that differences are taken from (default: the first)", 0, 0 },
    { "log", OPT_LIST, NULL, "NAME=FILE", "a training log (log.jsonl) to draw (repeatable)", 0, 0 },
    { "items", OPT_INT, "6", "N", "pairs or choices of each category to show; 0 = none", 0, 1000 },
    { "order", OPT_STR, NULL, "WHICH", "which come first: differing (models do not agree on them) or worst (smallest margin of the first model; the default for one)", 0, 0 },
    { 0 },
};

const vm_command cmd_report = {
    .name = "report",
    .summary = "tables, curves and pictures of evaluations as a page",
    .usage = "RESULTS... [--out report] [--control NAME]",
    .about = "RESULTS are folders that `vismin eval --out` filled: OUT/DATASET/MODEL, or a folder above for all models "
             "in it.\n"
             "The page needs nothing from outside and no scripts.\n\n"
             "  vismin report results/ --control ViT-B-32 --log base=run/log.jsonl --out report",
    .opts = opts,
    .min_pos = 1,
    .max_pos = -1,
    .run = run,
};
