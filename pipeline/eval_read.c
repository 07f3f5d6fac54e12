/* eval_read.c - a folder of results back into scores. See eval_files.h. */
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "io/journal.h"
#include "pipeline/eval_files.h"

static const char *const score_columns[4] = { "T0_I0", "T0_I1", "T1_I0", "T1_I1" };

/* Every pair of the journal becomes an item. */
static vm_status read_samples(eval_set *set, const char *path, vm_error *e) {
    journal_reader *r = NULL;
    journal_line line;
    if (journal_reader_open(&r, path, e)) return e->status;
    for (int rc; !e->status && (rc = journal_next(r, &line, e)) > 0;) {
        json_doc *d = line.number > 1 ? json_parse(line.text, line.bytes, path, 0, e) : NULL;
        json_value v = json_root(d), captions = json_get(v, "captions"), images = json_get(v, "images");
        if (d) {
            const char *id = json_str(v, "id", "", e), *split = json_str(v, "split", "", e), *text[2], *image[2];
            for (int k = 0; k < 2; k++)
                text[k] = json_as_str(json_at(captions, k), e), image[k] = json_as_str(json_at(images, k), e);
            int s = e->status ? -1 : eval_set_split(set, split);
            if (s >= 0 && eval_set_find(set, split, id) < 0) eval_set_add_pair(set, s, id, text, image, path, e);
        }
        json_free(d);
    }
    journal_reader_close(r);
    return e->status;
}

static vm_status read_predictions(eval_result *r, const char *path, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    int64_t split, id, at[4];
    if (csv_open(&t, path, ',', CSV_HEADER, e)) return e->status;
    split = csv_need_column(t, "category", e), id = csv_need_column(t, "id", e);
    for (int k = 0; k < 4; k++) at[k] = csv_need_column(t, score_columns[k], e);
    while (!e->status && csv_next(t, &row, e) > 0) {
        int64_t i = eval_set_find(r->set, row.field[split], row.field[id]);
        if (i < 0) {
            vm_fail(e, VM_EINPUT, "%s:%lld: %s %s is not in samples.jsonl; run eval again", path, (long long)row.line,
                    row.field[split], row.field[id]);
            break;
        }
        for (int k = 0; k < 4; k++) r->score[i].s[k] = strtof(row.field[at[k]], NULL);
        r->score[i].scored = true;
    }
    csv_close(t);
    return e->status;
}

/* Items without a line in predictions.csv belong to another run; results.json counts what this one could not score. */
static void set_skipped(eval_result *r, json_value results) {
    vm_error ignored = { 0 };
    json_value splits = json_get(results, "split_results");
    eval_result_tally(r);
    for (int k = 0; k < r->n_splits; k++)
        r->tally[k].n_skipped = json_int(json_get(splits, eval_split_name(r->set, k)), "n_skipped", 0, 0, INT64_MAX,
                                         &ignored);
}

vm_status eval_read_files(eval_result **out, const char *dir, vm_error *e) {
    char *results = path_join(dir, "results.json"), *samples = path_join(dir, "samples.jsonl"),
         *predictions = path_join(dir, "predictions.csv");
    json_doc *d = NULL;
    eval_result *r = NULL;
    eval_set *set = NULL;
    *out = NULL;
    if (!results || !samples || !predictions) {
        vm_nomem(e, 256, "a path");
        goto done;
    }
    if (!file_exists(results)) {
        vm_fail(e, VM_EINPUT, "%s: no results.json here; give the folder that `vismin eval` filled, OUT/DATASET/MODEL",
                dir);
        goto done;
    }
    if (!(d = json_open(results, e)) || !(set = eval_set_new("vismin", 0, true, e))) goto done;
    json_value name = json_need(json_need(json_root(d), "model", JSON_OBJECT, e), "name", JSON_STRING, e);
    /* splits in the order of the results, those without any pair too */
    for (json_iter it = json_each(json_get(json_root(d), "split_results")); json_next(&it);)
        eval_set_split(set, it.key);
    if (e->status || read_samples(set, samples, e) || !(r = eval_result_new(set, json_as_str(name, e), e))) goto done;
    if (!read_predictions(r, predictions, e)) set_skipped(r, json_root(d));
done:
    json_free(d);
    vm_free(results), vm_free(samples), vm_free(predictions);
    if (r) r->own_set = set;
    else eval_set_free(set);
    if (e->status) eval_result_free(r);
    else *out = r;
    return e->status;
}
