/* compare.c - `vismin compare`: two results of one benchmark item by item, or one against published values. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/csv.h"
#include "io/log.h"
#include "pipeline/command.h"
#include "pipeline/eval_files.h"
#include "pipeline/expect.h"

/* Of the items of one split that both have scored. */
typedef struct {
    const char *name;
    int64_t n, right_a, right_b, only_a, only_b; /* of one metric */
    double sum_a, sum_b;                         /* of what items count */
    estimate difference;                         /* B minus A */
} row;

typedef struct {
    eval_result *a, *b;
    row *rows;           /* [metric][split of A, all] */
    int n;               /* splits */
    estimate mean[EVAL_METRICS];
    int64_t common, missing_b, missing_a; /* items that both have; that only A, only B has */
    int64_t n_changed, cap_changed;
    int64_t *changed;    /* items of A that count differently in B */
} comparison;

static row *row_of(const comparison *c, int metric, int split) { return &c->rows[metric * (c->n + 1) + split]; }

/* The item of the other result that item i of r is, with the same captions, if both have scored it; else -1. */
static int64_t twin(const eval_result *r, int64_t i, const eval_result *other) {
    const eval_item *x = &r->set->item[i];
    if (!r->score[i].scored) return -1;
    int64_t j = eval_set_find(other->set, eval_split_name(r->set, x->split), x->id);
    const eval_item *y = j >= 0 ? &other->set->item[j] : NULL;
    bool same = y && other->score[j].scored && y->n_captions == x->n_captions && y->n_images == x->n_images;
    for (int k = 0; same && k < x->n_captions; k++)
        same = !strcmp(eval_caption(r->set, x, k), eval_caption(other->set, y, k));
    return same ? j : -1;
}

static vm_status check(const comparison *c, vm_error *e) {
    const eval_result *a = c->a, *b = c->b;
    if (strcmp(a->set->name, b->set->name))
        return vm_fail(e, VM_EUSAGE, "compare: %s is of the data set %s and %s of %s", a->model, a->set->name, b->model,
                       b->set->name);
    if (strcmp(a->rule->name, b->rule->name))
        return vm_fail(e, VM_EUSAGE, "compare: %s is judged by %s and %s by %s; run eval with the same --metric", a->model,
                       a->rule->name, b->model, b->rule->name);
    if (!c->common)
        return vm_fail(e, VM_EINPUT, "compare: %s and %s have no item in common", a->model, b->model);
    return VM_OK;
}

static void count_item(comparison *c, int64_t i, int64_t j) {
    const eval_item *x = &c->a->set->item[i];
    for (int m = 0; m < c->a->rule->n; m++) {
        float a = c->a->score[i].credit[m], b = c->b->score[j].credit[m];
        for (int k = 0; k < 2; k++) {
            row *r = row_of(c, m, k ? c->n : x->split);
            r->n++, r->sum_a += a, r->sum_b += b;
            r->only_a += a >= 1 && b < 1, r->only_b += b >= 1 && a < 1;
        }
    }
}

static bool same_outcome(const comparison *c, int64_t i, int64_t j) {
    for (int m = 0; m < c->a->rule->n; m++)
        if (c->a->score[i].credit[m] != c->b->score[j].credit[m]) return false;
    return true;
}

static vm_status compare(comparison *c, uint64_t seed, vm_error *e) {
    const eval_result *a = c->a, *b = c->b;
    c->n = a->n_splits;
    c->rows = vm_calloc((size_t)(a->rule->n * (c->n + 1)), sizeof *c->rows);
    estimate *each = vm_alloc(((size_t)b->n_splits + 1) * sizeof *each);
    if (!c->rows || !each) vm_nomem(e, sizeof *c->rows, "a comparison");
    for (int64_t i = 0; i < a->set->n && !e->status; i++) {
        int64_t j = twin(a, i, b);
        if (j < 0) {
            c->missing_b += a->score[i].scored;
            continue;
        }
        c->common++;
        if (strcmp(a->rule->name, b->rule->name)) continue;
        count_item(c, i, j);
        if (same_outcome(c, i, j)) continue;
        if (vm_grow(&c->changed, &c->cap_changed, c->n_changed + 1, sizeof *c->changed)) c->changed[c->n_changed++] = i;
        else vm_nomem(e, 64, "a list of items");
    }
    for (int64_t j = 0; j < b->set->n; j++) c->missing_a += b->score[j].scored && twin(b, j, a) < 0;
    if (!e->status) check(c, e);
    for (int m = 0; m < a->rule->n && !e->status; m++) {
        if (eval_difference(b, a, m, NULL, seed, each, &c->mean[m], e)) break;
        for (int k = 0; k <= c->n; k++) {
            row *r = row_of(c, m, k);
            r->name = k < c->n ? eval_split_name(a->set, k) : "all items";
            r->difference = (estimate){ (r->sum_b - r->sum_a) / (double)r->n, NAN, NAN };
            int64_t s = k < c->n ? keymap_find(&b->set->splits, r->name, strlen(r->name)) : -1;
            if (s >= 0 && r->n) r->difference = each[s];
        }
    }
    vm_free(each);
    return e->status;
}

/* --- output ------------------------------------------------------------------------------------------------------- */
static void put_number(json_writer *w, const char *key, double share) { json_put_num(w, key, round(1e12 * share) / 1e10); }

static void put_difference(json_writer *w, const estimate *x) {
    put_number(w, "difference", x->value);
    json_begin_array(w, "ci95");
    put_number(w, NULL, x->low);
    put_number(w, NULL, x->high);
    json_close_array(w);
}

static void put_row(json_writer *w, const char *key, const row *r) {
    json_begin_object(w, key);
    json_put_int(w, "n", r->n);
    put_number(w, "a", r->sum_a / (double)r->n);
    put_number(w, "b", r->sum_b / (double)r->n);
    put_difference(w, &r->difference);
    json_put_int(w, "only_a", r->only_a);
    json_put_int(w, "only_b", r->only_b);
    json_put_num(w, "mcnemar_p", mcnemar(r->only_a, r->only_b));
    json_close_object(w);
}

static void put_outcome(json_writer *w, const char *key, const eval_result *r, int64_t i) {
    json_begin_object(w, key);
    for (int m = 0; m < r->rule->n; m++) json_put_f32(w, r->rule->metric[m], r->score[i].credit[m]);
    json_close_object(w);
}

static void put_json(json_writer *w, const comparison *c) {
    const eval_result *a = c->a;
    json_begin_object(w, NULL);
    json_put_int(w, "schema", 1);
    json_put_str(w, "dataset", a->set->name);
    json_put_str(w, "a", a->model);
    json_put_str(w, "b", c->b->model);
    json_put_int(w, "n", c->common);
    json_put_int(w, "n_only_in_a", c->missing_b);
    json_put_int(w, "n_only_in_b", c->missing_a);
    json_begin_object(w, "splits");
    for (int k = 0; k < c->n; k++) {
        json_begin_object(w, eval_split_name(a->set, k));
        for (int m = 0; m < a->rule->n; m++) put_row(w, a->rule->metric[m], row_of(c, m, k));
        json_close_object(w);
    }
    json_close_object(w);
    json_begin_object(w, "mean_of_splits");
    for (int m = 0; m < a->rule->n; m++) {
        json_begin_object(w, a->rule->metric[m]);
        put_difference(w, &c->mean[m]);
        json_close_object(w);
    }
    json_close_object(w);
    json_begin_object(w, "all_items");
    for (int m = 0; m < a->rule->n; m++) put_row(w, a->rule->metric[m], row_of(c, m, c->n));
    json_close_object(w);
    json_begin_array(w, "changed");
    for (int64_t k = 0; k < c->n_changed; k++) {
        int64_t i = c->changed[k];
        json_begin_object(w, NULL);
        json_put_str(w, "split", eval_split_name(a->set, a->set->item[i].split));
        json_put_str(w, "id", a->set->item[i].id);
        put_outcome(w, "a", a, i), put_outcome(w, "b", c->b, twin(a, i, c->b));
        json_close_object(w);
    }
    json_close_array(w);
    json_close_object(w);
    json_newline(w);
}

static void print_difference(const estimate *x) {
    char cell[64];
    if (isnan(x->value)) snprintf(cell, sizeof cell, "-");
    else if (isnan(x->low)) snprintf(cell, sizeof cell, "%+.2f", 100 * x->value);
    else snprintf(cell, sizeof cell, "%+.2f [%+.1f, %+.1f]", 100 * x->value, 100 * x->low, 100 * x->high);
    printf("  %-24s", cell);
}

static void print_row(const char *metric, const row *r) {
    printf("%-20s %-9s %7" PRId64, r->name, metric, r->n);
    if (r->n) printf("  %6.2f  %6.2f", 100 * r->sum_a / (double)r->n, 100 * r->sum_b / (double)r->n);
    else printf("  %6s  %6s", "-", "-");
    print_difference(&r->difference);
    printf("  %6" PRId64 "  %6" PRId64 "  %7.2g\n", r->only_a, r->only_b, mcnemar(r->only_a, r->only_b));
}

static void print_outcome(const eval_result *r, int64_t i) {
    for (int m = 0; m < r->rule->n; m++)
        printf("%s%s %s", m ? ", " : "", r->rule->metric[m], r->score[i].credit[m] >= 1 ? "right" : "wrong");
}

static void print_text(const comparison *c, int64_t show) {
    const eval_result *a = c->a;
    printf("%s: %" PRId64 " items that both have scored\nA  %s\nB  %s\n", a->set->name, c->common, a->model, c->b->model);
    if (c->missing_a || c->missing_b)
        printf("left out: %" PRId64 " items that only A has, %" PRId64 " that only B has\n", c->missing_b, c->missing_a);
    printf("\n%-20s %-9s %7s  %6s  %6s  %-24s  %6s  %6s  %7s\n", "split", "metric", "items", "A", "B",
           "B - A [95 % interval]", "only A", "only B", "p");
    for (int k = 0; k < c->n; k++)
        for (int m = 0; m < a->rule->n; m++) print_row(a->rule->metric[m], row_of(c, m, k));
    for (int m = 0; m < a->rule->n; m++) {
        printf("%-20s %-9s %7s  %6s  %6s", "mean of splits", a->rule->metric[m], "", "", "");
        print_difference(&c->mean[m]);
        printf("\n");
    }
    for (int m = 0; m < a->rule->n; m++) print_row(a->rule->metric[m], row_of(c, m, c->n));
    printf("\nonly A, only B: items that only one of them gets right; p: McNemar's exact test of these. Intervals: paired\n"
           "bootstrap over items within splits, %d resamples.\n", (int)BOOTSTRAP_RESAMPLES);
    printf("%s%" PRId64 " items changed\n", "\n", c->n_changed);
    for (int64_t k = 0; k < VM_MIN(show, c->n_changed); k++) {
        int64_t i = c->changed[k];
        printf("  %s %s: ", eval_split_name(a->set, a->set->item[i].split), a->set->item[i].id);
        print_outcome(a, i);
        printf(" -> ");
        print_outcome(c->b, twin(a, i, c->b));
        printf("\n");
    }
    if (show < c->n_changed && show)
        printf("  ... and %" PRId64 " more; --json lists all\n", c->n_changed - show);
}

/* --- published values --------------------------------------------------------------------------------------------- */
static vm_status check_expected(const eval_result *r, const vm_args *a, int64_t *off, vm_error *e) {
    double tolerance = arg_float(a, "tolerance");
    expectation x;
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    bool json = arg_flag(a, "json");
    if (expect_open(&x, arg_str(a, "expect"), r->set->name, e)) return e->status;
    if (json) json_begin_object(&w, NULL), json_put_str(&w, "dataset", r->set->name), json_put_str(&w, "model", r->model),
            json_put_num(&w, "tolerance", tolerance), json_begin_array(&w, "values");
    else
        printf("%s on %s against %s, %% within %g points\n\n%-20s %-10s %8s  %8s  %10s\n", r->model, r->set->name,
               arg_str(a, "expect"), tolerance, "split", "metric", "expected", "got", "difference");
    for (int64_t k = 0; k < x.n && !e->status; k++) {
        const expected *p = &x.row[k];
        double got = expect_value(r, p->split, p->metric, e);
        bool near = fabs(got - p->value) <= tolerance + 1e-9; /* false for NaN */
        *off += !near;
        if (!json) {
            printf("%-20s %-10s %8.2f", p->split, p->metric, p->value);
            if (isnan(got)) printf("  %8s  %10s  not in the results\n", "-", "-");
            else printf("  %8.2f  %+10.2f%s\n", got, got - p->value, near ? "" : "  off");
            continue;
        }
        json_begin_object(&w, NULL);
        json_put_str(&w, "split", p->split), json_put_str(&w, "metric", p->metric);
        json_put_num(&w, "expected", p->value), json_put_num(&w, "got", got);
        json_put_bool(&w, "within", near);
        json_close_object(&w);
    }
    if (json) json_close_array(&w), json_put_int(&w, "n_off", *off), json_close_object(&w), json_newline(&w), json_end(&w, e);
    else printf("\n%" PRId64 " of %" PRId64 " values agree\n", x.n - *off, x.n);
    expect_free(&x);
    return e->status;
}

static vm_status list_published(void) {
    const char *dataset, *what, *key;
    for (int k = 0; (key = expect_list(k, &dataset, &what)); k++) printf("%-20s %-12s %s\n", key, dataset, what);
    return VM_OK;
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *expect = arg_str(a, "expect");
    comparison c = { 0 };
    int64_t off = 0;
    if (expect && !strcmp(expect, "list")) return list_published();
    if (arg_npos(a) != (expect ? 1 : 2))
        return vm_fail(e, VM_EUSAGE, "compare: %s; see `vismin compare --help`",
                       expect ? "--expect takes one folder of results" : "two folders of results are needed");
    if (eval_read_files(&c.a, arg_pos(a, 0), e)) goto done;
    if (expect) {
        check_expected(c.a, a, &off, e);
    } else if (!eval_read_files(&c.b, arg_pos(a, 1), e) && !compare(&c, (uint64_t)arg_int(a, "seed"), e)) {
        if (arg_flag(a, "json")) {
            json_writer w = json_to_stream(stdout, JSON_PRETTY);
            put_json(&w, &c);
            json_end(&w, e);
        } else print_text(&c, arg_int(a, "show"));
    }
done:
    eval_result_free(c.a), eval_result_free(c.b);
    vm_free(c.rows), vm_free(c.changed);
    return e->status ? e->status : off ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "show", OPT_INT, "10", "N", "name the first N items that changed", 0, 1e9 },
    { "expect", OPT_STR, NULL, "NAME|FILE", "one folder against published values: a name of --expect list, or a table", 0, 0 },
    { "tolerance", OPT_FLOAT, "1", "POINTS", "of --expect: exit code 1 when a value is further away", 0, 100 },
    { 0 },
};

const vm_command cmd_compare = {
    .name = "compare",
    .summary = "two results item by item, or one against published values",
    .usage = "A B | A --expect NAME|FILE",
    .about = "A and B are folders that `vismin eval` filled, OUT/DATASET/MODEL. Differences are those on the items that both "
             "have\n"
             "scored, with paired intervals and McNemar's exact test. A table for --expect has the columns split, metric, value "
             "(in %)\n"
             "and perhaps dataset; splits are those of the results, mean or all.\n\n"
             "  vismin compare results/vismin/ViT-L-14 results/vismin/vismin-clip\n"
             "  vismin compare results/vismin/ViT-L-14 --expect clip-l14 --tolerance 0.5",
    .opts = opts,
    .min_pos = 0,
    .max_pos = 2,
    .run = run,
};
