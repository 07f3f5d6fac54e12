/* eval_files.c - results.json, predictions.csv, skipped.jsonl. See eval_files.h. */
#include "pipeline/eval_files.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "io/csv.h"
#include "pipeline/run.h"

void eval_facts_start(eval_facts *f) {
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(f->started, sizeof f->started, "%Y-%m-%dT%H:%M:%SZ", &t);
}

/* --- results.json ------------------------------------------------------------------------------------------------- */
static double percent(double share) { return round(1e12 * share) / 1e10; } /* NaN: null */

static void put_shares(json_writer *w, const eval_rule *rule, const estimate *of) {
    for (int m = 0; m < rule->n; m++) json_put_num(w, rule->metric[m], percent(of[m].value));
    json_begin_object(w, "ci95");
    for (int m = 0; m < rule->n; m++) {
        json_begin_array(w, rule->metric[m]);
        json_put_num(w, NULL, percent(of[m].low));
        json_put_num(w, NULL, percent(of[m].high));
        json_close_array(w);
    }
    json_close_object(w);
}

static void put_tally(json_writer *w, const char *name, const eval_result *r, const eval_tally *t,
                      const estimate *of) {
    json_begin_object(w, name);
    json_put_int(w, "n", t->n);
    json_put_int(w, "n_scored", t->n_scored);
    json_put_int(w, "n_skipped", t->n_skipped);
    json_put_int(w, "n_invalid", t->n_invalid);
    json_put_int(w, "n_degenerate", t->n_degenerate);
    json_put_int(w, "n_truncated", t->n_truncated);
    json_put_int(w, "n_empty_caption", t->n_empty);
    json_put_int(w, "ties", t->ties);
    json_begin_object(w, "correct");
    for (int m = 0; m < r->rule->n; m++) json_put_num(w, r->rule->metric[m], t->correct[m]);
    json_close_object(w);
    put_shares(w, r->rule, of);
}

static void put_tags(json_writer *w, const eval_result *r, int split) {
    estimate of[EVAL_METRICS];
    bool any = false;
    for (int64_t k = 0; k < r->n_tags; k++) {
        const eval_tally *t = &r->tag[k];
        if (t->split != split) continue;
        if (!any) json_begin_object(w, "tags");
        any = true;
        for (int m = 0; m < r->rule->n; m++) of[m] = eval_share(r, t, m);
        put_tally(w, eval_tag_name(r->set, t->tag), r, t, of);
        json_close_object(w);
    }
    if (!any) return;
    json_close_object(w);
    json_begin_object(w, "mean_of_tags");
    for (int m = 0; m < r->rule->n; m++)
        json_put_num(w, r->rule->metric[m], percent(eval_mean_of_tags(r, split, m)));
    json_close_object(w);
}

static void put_averages(json_writer *w, const eval_result *r, const eval_row *rows) {
    const eval_row *mean = &rows[r->n_splits], *all = mean + 1;
    json_begin_object(w, "average");
    json_begin_object(w, "micro"); /* over items */
    put_shares(w, r->rule, all->of);
    json_close_object(w);
    json_begin_object(w, "macro"); /* over splits */
    put_shares(w, r->rule, mean->of);
    json_close_object(w);
    if (r->rule->n > 1) { /* the two numbers that published tables call AVG */
        json_put_num(w, "mean_of_text_image_group", percent(eval_mean_of_all(r, mean)));
        json_put_num(w, "mean_of_group", percent(mean->of[PAIR_GROUP].value));
    }
    json_close_object(w);
}

static void put_extras(json_writer *w, const eval_extras *x) {
    json_begin_array(w, "extra");
    for (int64_t k = 0; k < x->n; k++) {
        json_begin_object(w, NULL);
        json_put_str(w, "scope", x->row[k].scope);
        json_put_str(w, "name", x->row[k].name);
        json_put_num(w, "value", x->row[k].v.value);
        json_begin_array(w, "ci95");
        json_put_num(w, NULL, x->row[k].v.low);
        json_put_num(w, NULL, x->row[k].v.high);
        json_close_array(w);
        json_put_int(w, "n", x->row[k].n);
        json_close_object(w);
    }
    json_close_array(w);
}

void eval_put_model(json_writer *w, const eval_model *m) {
    json_begin_object(w, "model");
    json_put_str(w, "name", m->name);
    json_put_str(w, "weights_sha256", m->weights_sha256[0] ? m->weights_sha256 : NULL);
    json_put_str(w, "precision", m->precision);
    json_put_str(w, "activation", m->activation);
    if (m->head) json_put_str(w, "head", m->head);
    if (m->image_size) json_put_int(w, "image_size", m->image_size);
    if (m->logit_scale > 0) json_put_f32(w, "logit_scale", m->logit_scale);
    if (m->logit_scale > 0) json_put_f32(w, "logit_bias", m->logit_bias);
    json_close_object(w);
}

void eval_put_facts(json_writer *w, const eval_facts *f) {
    json_put_str(w, "version", VM_VERSION);
    json_put_str(w, "command", f->command);
    json_put_str(w, "started", f->started);
    json_put_num(w, "wall_s", f->wall_s);
}

static void put_list(json_writer *w, const char *key, const char *const *text, int n) {
    if (!n) return;
    json_begin_array(w, key);
    for (int k = 0; k < n; k++) json_put_str(w, NULL, text[k]);
    json_close_array(w);
}

static void put_options(json_writer *w, const eval_result *r, const eval_model *m, const eval_facts *f) {
    static const char *const on_error[] = {
        [EVAL_SKIP_MEDIA] = NULL, [EVAL_SKIP] = "skip", [EVAL_FAIL] = "fail", [EVAL_WRONG] = "wrong"
    };
    const eval_options *o = f->options;
    const char *template = o->template ? o->template : r->rule->template;
    json_begin_object(w, "options");
    json_put_str(w, "data", f->data);
    if (r->set->limit > 0) json_put_num(w, "limit", r->set->limit);
    put_list(w, "split", f->source->splits, f->source->n_splits);
    put_list(w, "option", f->source->variants, f->source->n_variants);
    json_put_int(w, "seed", (int64_t)m->seed);
    json_put_str(w, "metric", r->rule->name);
    json_put_str(w, "ties", r->rule->kind == EVAL_PAIR ? "wrong" : tie_rule_name[r->ties]);
    json_put_str(w, "template", template);
    if (r->temperature > 0) json_put_f32(w, "temperature", r->temperature);
    json_put_str(w, "on_error", on_error[r->set->on_error]);
    json_put_bool(w, "allow_truncated", o->allow_truncated);
    json_put_bool(w, "exif_rotate", o->exif_rotate);
    json_put_str(w, "alpha", image_alpha_name[o->alpha]);
    json_close_object(w);
}

void eval_put_json(json_writer *w, const eval_result *r, const eval_model *m, const eval_facts *f) {
    vm_error memory = { 0 };
    eval_row *rows = eval_rows(r, &memory);
    if (!rows) {
        w->status = vm_nomem(&w->err, sizeof *rows, "a table");
        return;
    }
    json_begin_object(w, NULL);
    json_put_int(w, "schema", 1);
    json_put_str(w, "dataset", r->set->name);
    json_put_str(w, "kind", r->rule->kind == EVAL_PAIR ? "pair" : "choice");
    json_put_bool(w, "partial", r->set->limit > 0);
    json_put_int(w, "n", r->all.n);
    json_put_int(w, "n_skipped", r->all.n_skipped);
    json_put_int(w, "n_repeated", r->set->n_twice);
    json_begin_object(w, "split_results");
    for (int k = 0; k < r->n_splits; k++) {
        put_tally(w, rows[k].name, r, &r->tally[k], rows[k].of);
        put_tags(w, r, k);
        json_close_object(w);
    }
    json_close_object(w);
    put_averages(w, r, rows);
    json_begin_object(w, "chance");
    for (int k = 0; k < r->rule->n; k++) json_put_num(w, r->rule->metric[k], percent(eval_chance(&r->all, k)));
    json_close_object(w);
    put_extras(w, &r->extras);
    eval_put_model(w, m);
    put_options(w, r, m, f);
    eval_put_facts(w, f);
    json_close_object(w);
    json_newline(w);
    vm_free(rows);
}

/* --- the files ---------------------------------------------------------------------------------------------------- */
static void write_results(const eval_result *r, const eval_model *m, const eval_facts *f, const char *dir,
                          vm_error *e) {
    vm_out *o = vm_out_in(dir, "results.json", e);
    if (!o) return;
    json_writer w = json_to_out(o, JSON_PRETTY);
    eval_put_json(&w, r, m, f);
    json_end(&w, e);
    vm_out_finish(o, e);
}

/* Columns: category, id, the right option of choices, scores. Choices with fewer options than others end in empty ones. */
static void write_scores(const eval_result *r, const char *dir, vm_error *e) {
    static const char *const pair_column[] = { "T0_I0", "T0_I1", "T1_I0", "T1_I1" };
    bool pair = r->set->kind == EVAL_PAIR;
    int most = 0, front = pair ? 2 : 3;
    for (int64_t i = 0; i < r->set->n; i++) most = VM_MAX(most, eval_n_scores(&r->set->item[i]));
    char(*text)[24] = vm_alloc((size_t)most * sizeof *text + 1), gold[16];
    const char **field = vm_alloc((size_t)(front + most) * sizeof *field);
    vm_out *o = text && field ? vm_out_in(dir, "predictions.csv", e) : NULL;
    if (!text || !field) vm_nomem(e, (size_t)most * sizeof *text, "a row");
    for (int64_t i = -1; o && i < r->set->n && !e->status; i++) {
        const eval_item *x = i < 0 ? NULL : &r->set->item[i];
        if (x && !r->score[i].scored) continue;
        snprintf(gold, sizeof gold, "%d", x ? x->gold : 0);
        field[0] = x ? eval_split_name(r->set, x->split) : "category", field[1] = x ? x->id : "id";
        if (!pair) field[2] = x ? gold : "gold";
        for (int k = 0; k < most; k++) {
            field[front + k] = text[k];
            if (!x && pair) snprintf(text[k], sizeof text[k], "%s", pair_column[k]);
            else if (!x) snprintf(text[k], sizeof text[k], "S%d", k);
            else if (k >= eval_n_scores(x)) text[k][0] = 0;
            else {
                float s = eval_scores(r, x)[k];
                snprintf(text[k], sizeof text[k], "%.9g", isnan(s) ? NAN : s); /* never -nan */
            }
        }
        csv_write_row(o, ',', field, front + most, e);
    }
    vm_out_finish(o, e);
    vm_free(text), vm_free(field);
}

void eval_write_skipped(const eval_set *s, int64_t n, const eval_fault *fault, const char *dir, vm_error *e) {
    vm_out *o = vm_out_in(dir, "skipped.jsonl", e);
    if (!o) return;
    json_writer w = json_to_out(o, JSON_COMPACT);
    for (int64_t i = 0; i < s->n_faults + n; i++) {
        const eval_fault *f = i < s->n_faults ? &s->fault[i] : &fault[i - s->n_faults];
        json_begin_object(&w, NULL);
        json_put_str(&w, "split", f->split < 0 ? NULL : eval_split_name(s, f->split));
        json_put_str(&w, "id", f->id);
        json_put_str(&w, "reason", f->why);
        json_close_object(&w);
        json_newline(&w);
    }
    json_end(&w, e);
    vm_out_finish(o, e);
}

vm_status eval_write_predictions(const eval_result *r, const char *dir, vm_error *e) {
    write_scores(r, dir, e);
    if (!e->status) eval_write_skipped(r->set, r->n_faults, r->fault, dir, e);
    return e->status;
}

vm_status eval_write_files(const eval_result *r, const eval_model *m, const eval_facts *f, const char *dir,
                           vm_error *e) {
    eval_write_predictions(r, dir, e);
    if (!e->status) eval_write_tables(r, dir, e);
    if (!e->status) write_results(r, m, f, dir, e); /* the last one: it says that the others are whole */
    return e->status;
}
