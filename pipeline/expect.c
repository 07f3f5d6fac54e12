/* expect.c - see expect.h. Only rows are here whose digits are shares of whole numbers of items of the data set, so that
 * they can have been computed on all of it. Sources: the tables of VisMin (arXiv 2407.16772 and its project page), and
 * for SugarCrepe the numbers of its authors for the weights of OpenAI. */
#include "pipeline/expect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "pipeline/run.h"

static const char *const pairs[] = { "object", "attribute", "relation", "counting", NULL };
static const char *const one[] = { "default", NULL };
static const char *const crepes[] = { "replace_obj", "replace_att", "replace_rel", "swap_obj",
                                      "swap_att", "add_obj", "add_att", NULL };
static const char *const tig[] = { "text", "image", "group", NULL };
static const char *const accuracy[] = { "accuracy", NULL };

/* value[split][metric] */
static const struct {
    const char *key, *dataset, *what;
    const char *const *split, *const *metric;
    double value[12];
} published[] = {
    { "clip-b32", "vismin", "CLIP ViT-B/32", pairs, tig,
      { 79.62, 77.89, 67.53, 72.11, 65.99, 55.10, 8.20, 4.34, 0.48, 31.24, 20.71, 10.53 } },
    { "clip-b16", "vismin", "CLIP ViT-B/16", pairs, tig,
      { 86.53, 79.10, 71.68, 70.75, 65.31, 52.38, 8.84, 3.22, 0.80, 34.30, 22.58, 13.58 } },
    { "clip-l14", "vismin", "CLIP ViT-L/14", pairs, tig,
      { 87.56, 83.59, 78.07, 74.49, 69.73, 57.82, 9.16, 4.66, 1.45, 37.01, 30.56, 18.17 } },
    { "siglip-b16", "vismin", "SigLIP ViT-B/16", pairs, tig,
      { 90.50, 88.95, 83.25, 86.05, 79.25, 73.13, 11.58, 6.43, 1.77, 60.95, 47.03, 38.37 } },
    { "siglip-l16", "vismin", "SigLIP ViT-L/16", pairs, tig,
      { 93.44, 88.43, 84.46, 84.35, 78.23, 68.37, 10.29, 4.82, 1.29, 61.80, 57.05, 44.14 } },
    { "blip", "vismin", "BLIP", pairs, tig,
      { 92.40, 92.57, 87.05, 88.44, 86.73, 78.57, 11.25, 4.98, 2.09, 52.97, 46.01, 33.28 } },
    { "coca", "vismin", "CoCa", pairs, tig,
      { 84.97, 81.52, 73.58, 78.57, 66.33, 57.82, 11.25, 5.95, 1.77, 60.10, 35.82, 28.52 } },
    { "vismin-clip", "vismin", "VisMin-CLIP ViT-L/14", pairs, tig,
      { 91.54, 91.19, 86.36, 85.03, 83.67, 75.85, 11.90, 3.38, 1.29, 82.34, 79.97, 72.33 } },
    { "clip-l14", "winoground", "CLIP ViT-L/14", one, tig, { 27.5, 11.0, 8.5 } },
    { "negclip", "winoground", "NegCLIP", one, tig, { 25.25, 12.0, 7.0 } },
    { "countercurate-clip", "winoground", "CounterCurate-CLIP", one, tig, { 28.0, 13.25, 9.0 } },
    { "spec-clip", "winoground", "SPEC-CLIP", one, tig, { 22.5, 7.75, 4.75 } },
    { "vismin-clip", "winoground", "VisMin-CLIP ViT-L/14", one, tig, { 32.75, 14.75, 9.75 } },
    { "clip-b32", "sugarcrepe", "CLIP ViT-B/32", crepes, accuracy,
      { 90.92, 80.08, 69.20, 61.38, 63.96, 77.20, 68.79 } },
};

const char *expect_list(int i, const char **dataset, const char **what) {
    if (i >= VM_LEN(published)) return NULL;
    *dataset = published[i].dataset, *what = published[i].what;
    return published[i].key;
}

static vm_status add(expectation *x, const char *split, const char *metric, double value, vm_error *e) {
    int64_t s = keymap_put_text(&x->text, split), m = keymap_put_text(&x->text, metric);
    if (s < 0 || m < 0 || !vm_grow(&x->row, &x->cap, x->n + 1, sizeof *x->row))
        return vm_nomem(e, sizeof *x->row, "expected values");
    x->row[x->n++] = (expected){ keymap_at(&x->text, s, NULL), keymap_at(&x->text, m, NULL), value };
    return VM_OK;
}

static vm_status read_table(expectation *x, const char *path, const char *dataset, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    int64_t split, metric, value, of;
    if (csv_open(&t, path, 0, CSV_HEADER, e)) return e->status;
    split = csv_need_column(t, "split", e), metric = csv_need_column(t, "metric", e);
    value = csv_need_column(t, "value", e), of = csv_column(t, "dataset");
    while (!e->status && csv_next(t, &row, e) > 0) {
        char *end;
        double v = strtod(row.field[value], &end);
        if (of >= 0 && strcmp(row.field[of], dataset)) continue;
        if (end == row.field[value] || *end || !isfinite(v))
            vm_fail(e, VM_EINPUT, "%s:%lld: value %s: expected a number, in %%", path, (long long)row.line,
                    row.field[value]);
        else add(x, row.field[split], row.field[metric], v, e);
    }
    csv_close(t);
    if (!e->status && !x->n) vm_fail(e, VM_EINPUT, "%s: no values for the data set %s", path, dataset);
    return e->status;
}

vm_status expect_open(expectation *x, const char *key_or_file, const char *dataset, vm_error *e) {
    const char *known[VM_LEN(published)];
    int n = 0;
    *x = (expectation){ 0 };
    for (int k = 0; k < VM_LEN(published); k++) {
        if (strcmp(published[k].dataset, dataset)) continue;
        known[n++] = published[k].key;
        if (strcmp(published[k].key, key_or_file)) continue;
        const double *v = published[k].value;
        for (int s = 0; published[k].split[s]; s++)
            for (int m = 0; published[k].metric[m]; m++)
                if (add(x, published[k].split[s], published[k].metric[m], *v++, e)) return e->status;
        return VM_OK;
    }
    if (file_exists(key_or_file)) return read_table(x, key_or_file, dataset, e);
    const char *near = args_nearest(key_or_file, known, n);
    return vm_fail(e, VM_EUSAGE, "--expect %s: no such file, and nothing published for %s is called so%s%s%s; --expect list "
                   "names all",
                   key_or_file, dataset, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

void expect_free(expectation *x) {
    vm_free(x->row);
    keymap_free(&x->text);
    *x = (expectation){ 0 };
}

double expect_value(const eval_result *r, const char *split, const char *metric, vm_error *e) {
    estimate x = { NAN, NAN, NAN };
    int64_t k = keymap_find(&r->set->splits, split, strlen(split));
    for (int m = 0; m < r->rule->n; m++) {
        if (strcmp(r->rule->metric[m], metric)) continue;
        if (k >= 0) x = eval_share(r, &r->tally[k], m);
        else if (!strcmp(split, "all")) x = eval_share(r, &r->all, m);
        else if (!strcmp(split, "mean")) eval_difference(r, NULL, m, NULL, 0, NULL, &x, e);
    }
    return 100 * x.value;
}
