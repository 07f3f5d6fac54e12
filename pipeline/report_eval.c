/* report_eval.c - the tables of a report. See report_eval.h. */
#include "pipeline/report_eval.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/json.h"

static const eval_rule *rule_of(const report_eval *r) { return r->model[0]->rule; }

static void put_models(page *p, const report_eval *r, int skip, const char *corner) {
    const eval_rule *rule = rule_of(r);
    page_html(p, "<div class=\"wide\"><table><thead><tr><th rowspan=\"2\">%s</th>", corner);
    for (int k = 0; k < r->n; k++) {
        if (k == skip) continue;
        page_html(p, "<th class=\"m\" colspan=\"%d\"><span class=\"dot d%d\"></span>", rule->n, k % PLOT_SERIES);
        page_escaped(p, r->model[k]->model);
        page_html(p, "</th>");
    }
    page_html(p, "</tr><tr>");
    for (int k = 0; k < r->n; k++)
        for (int m = 0; m < rule->n && k != skip; m++)
            page_html(p, "<th%s>%s</th>", m ? "" : " class=\"b\"", rule->metric[m]);
    page_html(p, "</tr></thead><tbody>\n");
}

/* The first metric of a model has a border, group is bold. */
static const char *cell_class(int metric) { return metric == 0 ? "b" : metric == PAIR_GROUP ? "g" : ""; }

static void put_share(page *p, const estimate *x, int metric) {
    page_html(p, "<td class=\"%s\">", cell_class(metric));
    if (isnan(x->value)) page_html(p, "–</td>");
    else page_html(p, "%.1f<small>%.1f–%.1f</small></td>", 100 * x->value, 100 * x->low, 100 * x->high);
}

/* "+3.0" and its interval; coloured when 0 is outside of it. */
static void put_difference(page *p, const estimate *x, int metric) {
    const char *sign = x->low > 0 ? "up" : x->high < 0 ? "down" : "zero";
    page_html(p, "<td class=\"%s\">", cell_class(metric));
    if (isnan(x->value)) page_html(p, "–</td>");
    else
        page_html(p, "<span class=\"%s\">%+.1f</span><small>%+.1f … %+.1f</small></td>", sign, 100 * x->value,
                  100 * x->low, 100 * x->high);
}

/* The split of that name in a result, or -1. */
static int split_in(const eval_result *r, const char *name) {
    return (int)keymap_find(&r->set->splits, name, strlen(name));
}

static bool has_relation(const eval_result *r) { return r->n_splits > 1 && split_in(r, "relation") >= 0; }

/* "100 pairs", "97 of 100 items"; the most skipped of all models. */
static void put_row_name(page *p, const report_eval *r, int k) {
    const char *name = eval_split_name(r->model[0]->set, k);
    int64_t skipped = 0, n = r->model[0]->tally[k].n;
    for (int m = 0; m < r->n; m++) {
        int s = split_in(r->model[m], name);
        if (s >= 0) skipped = VM_MAX(skipped, r->model[m]->tally[s].n_skipped), n = VM_MIN(n, r->model[m]->tally[s].n);
    }
    page_html(p, "<tr><th>");
    page_escaped(p, name);
    const char *what = r->model[0]->set->kind == EVAL_PAIR ? "pairs" : "items";
    if (skipped) page_html(p, "<small>%" PRId64 " of %" PRId64 " %s</small></th>", n, n + skipped, what);
    else page_html(p, "<small>%" PRId64 " %s</small></th>", n, what);
}

static vm_status put_means(page *p, const report_eval *r, const char *name, const char *leave_out, vm_error *e) {
    page_html(p, "<tr class=\"sum\"><th>%s</th>", name);
    for (int k = 0; k < r->n; k++)
        for (int m = 0; m < rule_of(r)->n; m++) {
            estimate x;
            if (eval_difference(r->model[k], NULL, m, leave_out, r->seed, NULL, &x, e)) return e->status;
            put_share(p, &x, m);
        }
    page_html(p, "</tr>\n");
    return VM_OK;
}

/* Bars of the last metric: the group score, or accuracy. */
static vm_status put_bars(page *p, const report_eval *r, vm_error *e) {
    int last = rule_of(r)->n - 1, K = r->model[0]->n_splits, cells = K * r->n;
    double *value = vm_alloc((size_t)(3 * cells) * sizeof *value + 1), *low = value + cells, *high = low + cells;
    const char **group = vm_alloc((size_t)K * sizeof *group + 1),
               **series = vm_alloc((size_t)r->n * sizeof *series + 1);
    if (!value || !group || !series) vm_nomem(e, (size_t)cells * sizeof *value, "a plot");
    for (int k = 0; k < K && !e->status; k++) {
        group[k] = eval_split_name(r->model[0]->set, k);
        for (int m = 0; m < r->n; m++) {
            int s = split_in(r->model[m], group[k]);
            estimate x = s < 0 ? (estimate){ NAN, NAN, NAN } : eval_share(r->model[m], &r->model[m]->tally[s], last);
            value[k * r->n + m] = 100 * x.value, low[k * r->n + m] = 100 * x.low, high[k * r->n + m] = 100 * x.high;
            series[m] = r->model[m]->model;
        }
    }
    if (!e->status)
        page_bars(p, &(plot_bars){ .title = last == PAIR_GROUP ? "Group score, % of pairs, with 95 % intervals"
                                                               : "Accuracy, % of items, with 95 % intervals",
                                   .group = group, .n_groups = K, .series = series, .n_series = r->n,
                                   .value = value, .low = low, .high = high, .y_max = 100, .level_name = "chance",
                                   .level = 100 * eval_chance(&r->model[0]->all, last) });
    vm_free(value), vm_free(group), vm_free(series);
    return e->status;
}

vm_status report_scores(page *p, const report_eval *r, vm_error *e) {
    put_models(p, r, -1, r->model[0]->set->kind == EVAL_PAIR ? "% of pairs" : "% of items");
    for (int k = 0; k < r->model[0]->n_splits; k++) {
        put_row_name(p, r, k);
        for (int m = 0; m < r->n; m++) {
            int s = split_in(r->model[m], eval_split_name(r->model[0]->set, k));
            for (int t = 0; t < rule_of(r)->n; t++) {
                estimate x = s < 0 ? (estimate){ NAN, NAN, NAN } : eval_share(r->model[m], &r->model[m]->tally[s], t);
                put_share(p, &x, t);
            }
        }
        page_html(p, "</tr>\n");
    }
    if (put_means(p, r, "mean of categories", NULL, e)) return e->status;
    if (has_relation(r->model[0]) && put_means(p, r, "mean without relation", "relation", e)) return e->status;
    page_html(p, "<tr class=\"chance\"><th>chance</th>");
    for (int k = 0; k < r->n; k++)
        for (int m = 0; m < rule_of(r)->n; m++)
            page_html(p, "<td%s>%.1f</td>", m ? "" : " class=\"b\"", 100 * eval_chance(&r->model[0]->all, m));
    page_html(p, "</tr></tbody></table></div>\n");
    return put_bars(p, r, e);
}

vm_status report_differences(page *p, const report_eval *r, vm_error *e) {
    if (r->control < 0 || r->n < 2) return VM_OK;
    const eval_result *first = r->model[0], *control = r->model[r->control];
    int K = first->n_splits, cells = 0;
    for (int k = 0; k < r->n; k++) cells = VM_MAX(cells, r->model[k]->n_splits);
    estimate *each = vm_alloc((size_t)(r->n * rule_of(r)->n * (cells + 2)) * sizeof *each);
    if (!each) return vm_nomem(e, (size_t)cells * sizeof *each, "a table");
    int row = cells + 2; /* of each: [model][metric][split..., mean, mean without relation] */
    for (int k = 0; k < r->n; k++)
        for (int m = 0; m < rule_of(r)->n && k != r->control; m++) {
            estimate *x = each + (k * rule_of(r)->n + m) * row;
            if (eval_difference(r->model[k], control, m, NULL, r->seed, x, &x[cells], e) ||
                eval_difference(r->model[k], control, m, "relation", r->seed, NULL, &x[cells + 1], e))
                goto done;
        }
    put_models(p, r, r->control, "points");
    for (int line = 0; line < K + 2; line++) {
        if (line == K + 1 && !has_relation(first)) continue;
        if (line < K) put_row_name(p, r, line);
        else page_html(p, "<tr class=\"sum\"><th>%s</th>", line == K ? "mean of categories" : "mean without relation");
        for (int k = 0; k < r->n; k++) {
            int s = line < K ? split_in(r->model[k], eval_split_name(first->set, line)) : cells + line - K;
            for (int m = 0; m < rule_of(r)->n && k != r->control; m++)
                put_difference(p, s < 0 ? &(estimate){ NAN, NAN, NAN } : &each[(k * rule_of(r)->n + m) * row + s], m);
        }
        page_html(p, "</tr>\n");
    }
    page_html(p, "</tbody></table></div>\n");
    page_text(p,
              "Differences are points of percentage from %s on the same items. Intervals: paired bootstrap over items "
              "within categories, %d "
              "resamples, 95 %%; coloured where 0 lies outside. They hold for these trained models: how much another "
              "training run would differ is not in them.",
              control->model, (int)BOOTSTRAP_RESAMPLES);
done:
    vm_free(each);
    return e->status;
}

void report_meaning(page *p, eval_kind kind) {
    if (kind == EVAL_CHOICE) {
        page_text(p, "A choice has one right option of K: captions for a picture, or pictures for a caption. It is right when "
                     "the right option scores higher than all others; a tie counts as wrong unless the evaluation says "
                     "otherwise. Random scores reach 1/K.");
        return;
    }
    page_text(p, "A pair has two pictures and two captions that differ in one thing. Text: each picture scores its own "
                 "caption higher than the other one. Image: "
                 "each caption scores its own picture higher. Group: both at once. A tie counts as wrong.");
    page_text(p, "Independent random scores reach 25 %% text, 25 %% image and 16.7 %% group. Chance is not the floor: "
                 "a model that does not see the change gives both "
                 "captions nearly the same score on both pictures, prefers one caption whatever the picture, and falls "
                 "below chance, down to 0.");
    page_note(p, "Relation is where contrastive models fail, here as in the published results: the two captions of a "
                 "pair hold the same words, and the "
                 "text and image towers meet only in one vector each. Scores near 0 are no error of the evaluation. "
                 "The mean is therefore given with "
                 "and without relation.");
}

vm_status report_read_curve(const char *path, const char *x, const char *y, double **xs, double **ys, int64_t *n,
                            vm_error *e) {
    char *text = NULL;
    size_t bytes;
    int64_t cap_x = 0, cap_y = 0;
    *xs = *ys = NULL, *n = 0;
    if (file_read(&text, &bytes, path, 0, e)) return e->status;
    for (char *line = text, *end; line && *line && !e->status; line = end ? end + 1 : NULL) {
        vm_error bad = { 0 };
        end = strchr(line, '\n');
        json_doc *d = json_parse(line, end ? (size_t)(end - line) : strlen(line), path, 0,
                                 &bad); /* the last line may be half */
        json_value at = json_get(json_root(d), x), value = json_get(json_root(d), y);
        if (json_has(at) && json_has(value)) {
            if (!vm_grow(xs, &cap_x, *n + 1, sizeof **xs) || !vm_grow(ys, &cap_y, *n + 1, sizeof **ys))
                vm_nomem(e, 64, "a curve");
            else (*xs)[*n] = json_as_num(at, &bad), (*ys)[*n] = json_as_num(value, &bad), *n += !bad.status;
        }
        json_free(d);
    }
    vm_free(text);
    return e->status;
}

vm_status report_worst(const eval_result *r, const char *dir, int shown, vm_error *e) {
    report_eval v = { .model = &r, .n = 1, .control = -1, .shown = shown, .order = GALLERY_WORST };
    char *title = vm_asprintf("%s on %s", r->model, r->set->name);
    page *p = title ? page_begin(dir, title, "Scores, and the items on which the model is worst.", e) : NULL;
    if (!title) vm_nomem(e, 64, "a title");
    if (p) {
        page_section(p, "scores", "Scores");
        report_scores(p, &v, e);
        page_section(p, "worst", "The worst items");
        if (!e->status) report_gallery(p, &v, e);
        page_section(p, "meaning", "What the numbers mean");
        report_meaning(p, r->set->kind);
        if (e->status) page_abort(p);
        else page_end(p, e);
    }
    vm_free(title);
    return e->status;
}
