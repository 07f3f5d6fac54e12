/* eval_read.c - a folder of results back into scores. See eval_files.h. */
#include <math.h>
#include <string.h>

#include "io/journal.h"
#include "pipeline/eval_files.h"

enum { OPTIONS = 4096 }; /* more are no journal of ours */

/* An item of the journal as a loader would have given it. */
typedef struct {
    const char **text; /* captions and images */
    int32_t (*box)[4];
} sample;

static void read_record(const sample *x, json_value v, eval_record *r, const char **split, vm_error *e) {
    json_value captions = json_get(v, "captions"), images = json_get(v, "images"), boxes = json_get(v, "boxes");
    int64_t n_captions = json_len(captions), n_images = json_len(images);
    *split = json_as_str(json_need(v, "split", JSON_STRING, e), e);
    *r = (eval_record){ .id = json_as_str(json_need(v, "id", JSON_STRING, e), e), .tag = json_str(v, "tag", NULL, e),
                        .group = json_str(v, "judged_with", NULL, e), .n_captions = (int)n_captions,
                        .n_images = (int)n_images, .gold = (int)json_int(v, "gold", 0, 0, OPTIONS, e),
                        .captions = x->text, .images = x->text + n_captions,
                        .boxes = json_has(boxes) ? (const int32_t(*)[4])x->box : NULL };
    if (n_captions + n_images > OPTIONS) {
        json_fail(v, e, "%lld captions and pictures, at most %d are read", (long long)(n_captions + n_images), OPTIONS);
        return;
    }
    for (int64_t k = 0; k < n_captions; k++) x->text[k] = json_as_str(json_at(captions, k), e);
    for (int64_t k = 0; k < n_images; k++) {
        int64_t box[4] = { 0 };
        x->text[n_captions + k] = json_as_str(json_at(images, k), e);
        if (json_at(boxes, k).kind == JSON_ARRAY) json_as_ints(json_at(boxes, k), box, 4, e);
        for (int i = 0; i < 4; i++) x->box[k][i] = (int32_t)box[i];
    }
}

/* Every line of the journal becomes an item. */
static vm_status read_samples(eval_set *set, const char *path, vm_error *e) {
    sample x = { vm_alloc(OPTIONS * sizeof *x.text), vm_alloc(OPTIONS * sizeof *x.box) };
    journal_reader *r = NULL;
    journal_line line;
    if (!x.text || !x.box) vm_nomem(e, OPTIONS * sizeof *x.box, "an item");
    else journal_reader_open(&r, path, e);
    for (int rc; !e->status && (rc = journal_next(r, &line, e)) > 0;) {
        json_doc *d = line.number > 1 ? json_parse(line.text, line.bytes, path, 0, e) : NULL;
        if (d) {
            const char *split;
            eval_record record;
            read_record(&x, json_root(d), &record, &split, e);
            int s = e->status ? -1 : eval_set_split(set, split);
            /* the last line of an item counts, as in the journal */
            if (s >= 0)
                eval_set_add(set, s, json_has(json_get(json_root(d), "gold")) ? EVAL_CHOICE : EVAL_PAIR, &record, path,
                             e);
        }
        json_free(d);
    }
    journal_reader_close(r);
    vm_free(x.text), vm_free(x.box);
    return e->status;
}

static vm_status read_predictions(eval_result *r, const char *path, vm_error *e) {
    int64_t found, others;
    if (!eval_read_scores(r, path, &found, &others, e) && others)
        vm_fail(e, VM_EINPUT, "%s: %lld of its records are not in samples.jsonl; run eval again", path,
                (long long)others);
    return e->status;
}

/* What results.json says of a run beside its items. Items without a line in predictions.csv belong to another run. */
static void set_counts(eval_tally *t, json_value of) {
    vm_error ignored = { 0 };
    t->n_skipped = json_int(of, "n_skipped", 0, 0, INT64_MAX, &ignored);
    t->n = json_int(of, "n", t->n_scored, t->n_scored, INT64_MAX, &ignored);
    t->n_truncated = json_int(of, "n_truncated", 0, 0, INT64_MAX, &ignored);
}

static vm_status read_rules(eval_result *r, json_value options, vm_error *e) {
    const char *ties = json_str(options, "ties", tie_rule_name[0], e);
    for (int k = 0; k < VM_LEN(tie_rule_name); k++)
        if (!strcmp(ties, tie_rule_name[k])) r->ties = (tie_rule)k;
    return e->status;
}

static vm_status read_extras(eval_result *r, json_value list, vm_error *e) {
    for (json_iter it = json_each(list); json_next(&it) && !e->status;) {
        json_value ci = json_get(it.value, "ci95"), value = json_get(it.value, "value");
        estimate v = { json_has(value) ? json_as_num(value, e) : NAN,
                       json_has(json_at(ci, 0)) ? json_as_num(json_at(ci, 0), e) : NAN,
                       json_has(json_at(ci, 1)) ? json_as_num(json_at(ci, 1), e) : NAN };
        eval_extra_add(&r->extras, json_str(it.value, "scope", "", e), json_str(it.value, "name", "", e), v,
                       json_int(it.value, "n", 0, 0, INT64_MAX, e), e);
    }
    return e->status;
}

static vm_status read_result(eval_result **out, eval_set *set, json_value results, const char *predictions,
                             vm_error *e) {
    json_value name = json_need(json_need(results, "model", JSON_OBJECT, e), "name", JSON_STRING, e),
               splits = json_get(results, "split_results"), options = json_get(results, "options");
    const eval_rule *rule = eval_find_rule(set->kind, json_str(options, "metric", NULL, e), e);
    eval_result *r = e->status ? NULL : eval_result_new(set, rule, json_as_str(name, e), e);
    *out = r;
    if (!r || read_rules(r, options, e) || read_predictions(r, predictions, e) || eval_result_tally(r, e) ||
        read_extras(r, json_get(results, "extra"), e))
        return e->status;
    for (int k = 0; k < r->n_splits; k++) {
        json_value split = json_get(splits, eval_split_name(set, k));
        set_counts(&r->tally[k], split);
        for (int64_t t = 0; t < r->n_tags; t++)
            if (r->tag[t].split == k)
                set_counts(&r->tag[t], json_get(json_get(split, "tags"), eval_tag_name(set, r->tag[t].tag)));
    }
    set_counts(&r->all, results);
    return VM_OK;
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
    if (!(d = json_open(results, e)) ||
        !(set = eval_set_new(json_as_str(json_need(json_root(d), "dataset", JSON_STRING, e), e), e)))
        goto done;
    set->dup = EVAL_DUP_LAST;
    set->kind = strcmp(json_str(json_root(d), "kind", "pair", e), "pair") ? EVAL_CHOICE : EVAL_PAIR;
    /* splits in the order of the results, those without any item too */
    for (json_iter it = json_each(json_get(json_root(d), "split_results")); json_next(&it);)
        eval_set_split(set, it.key);
    if (!e->status && !read_samples(set, samples, e)) read_result(&r, set, json_root(d), predictions, e);
done:
    json_free(d);
    vm_free(results), vm_free(samples), vm_free(predictions);
    if (r) r->own_set = set;
    else eval_set_free(set);
    if (e->status) eval_result_free(r);
    else *out = r;
    return e->status;
}
