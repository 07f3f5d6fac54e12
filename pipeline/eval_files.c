/* eval_files.c - see eval_files.h. */
#include "pipeline/eval_files.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/csv.h"
#include "pipeline/run.h"

/* --- rows of the tables ------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    char pairs[48]; /* "579", "577/579" when some were not scored, "" for means */
    estimate of[PAIR_METRICS];
} row;

/* One row per split, then the mean over splits, then all pairs together. */
static int make_rows(const eval_result *r, row *rows) {
    int64_t n = 0, skipped = 0;
    for (int k = 0; k < r->n_splits; k++) {
        const eval_tally *t = &r->tally[k];
        row *x = &rows[k];
        x->name = eval_split_name(r->set, k);
        snprintf(x->pairs, sizeof x->pairs, t->n_skipped ? "%" PRId64 "/%" PRId64 : "%" PRId64, t->n,
                 t->n + t->n_skipped);
        for (int m = 0; m < PAIR_METRICS; m++) x->of[m] = eval_share(r, k, (pair_metric)m);
        n += t->n, skipped += t->n_skipped;
    }
    row *mean = &rows[r->n_splits], *all = mean + 1;
    mean->name = "mean of categories", mean->pairs[0] = 0;
    all->name = "all pairs";
    snprintf(all->pairs, sizeof all->pairs, skipped ? "%" PRId64 "/%" PRId64 : "%" PRId64, n, n + skipped);
    for (int m = 0; m < PAIR_METRICS; m++) {
        vm_error memory = { 0 };
        eval_difference(r, NULL, (pair_metric)m, NULL, 0, NULL, &mean->of[m], &memory);
        all->of[m] = eval_share(r, -1, (pair_metric)m);
    }
    return r->n_splits + 2;
}

static row *new_rows(const eval_result *r, int *n) {
    row *rows = vm_calloc((size_t)r->n_splits + 2, sizeof *rows);
    *n = rows ? make_rows(r, rows) : 0;
    return rows;
}

/* The mean of text, image and group over all categories, which some tables call AVG. */
static double mean_of_all(const row *mean) {
    return (mean->of[0].value + mean->of[1].value + mean->of[2].value) / PAIR_METRICS;
}

static const char *percent(char buf[16], double share) {
    if (isnan(share)) snprintf(buf, 16, "-");
    else snprintf(buf, 16, "%.2f", 100 * share);
    return buf;
}

void eval_print_table(FILE *out, const eval_result *r, const eval_model *m) {
    int n;
    row *rows = new_rows(r, &n);
    char value[16], cell[64];
    if (!rows) return;
    fprintf(out, "%s on %s, %% of pairs [95 %% interval]\n\n%-20s %9s", r->model, r->set->name, "category", "pairs");
    for (int k = 0; k < PAIR_METRICS; k++) fprintf(out, "  %-20s", pair_metric_name[k]);
    fprintf(out, "\n");
    for (int i = 0; i < n; i++) {
        fprintf(out, "%-20s %9s", rows[i].name, rows[i].pairs);
        for (int k = 0; k < PAIR_METRICS; k++) {
            const estimate *x = &rows[i].of[k];
            if (isnan(x->value)) snprintf(cell, sizeof cell, "-");
            else snprintf(cell, sizeof cell, "%6.2f [%.1f, %.1f]", 100 * x->value, 100 * x->low, 100 * x->high);
            fprintf(out, "  %-20s", cell);
        }
        fprintf(out, "\n");
    }
    fprintf(out, "%-20s %9s", "chance", "");
    for (int k = 0; k < PAIR_METRICS; k++) fprintf(out, "  %6.2f%14s", 100 * pair_chance[k], "");
    fprintf(out, "\n\nmean of text, image and group over the categories: %s\n",
            percent(value, mean_of_all(&rows[n - 2])));
    vm_free(rows);
}

/* --- results.json ------------------------------------------------------------------------------------------------- */
static void put_percent(json_writer *w, const char *key, double share) {
    json_put_num(w, key, round(1e12 * share) / 1e10);
} /* NaN: null */

static void put_shares(json_writer *w, const estimate of[PAIR_METRICS]) {
    for (int m = 0; m < PAIR_METRICS; m++) put_percent(w, pair_metric_name[m], of[m].value);
    json_begin_object(w, "ci95");
    for (int m = 0; m < PAIR_METRICS; m++) {
        json_begin_array(w, pair_metric_name[m]);
        put_percent(w, NULL, of[m].low);
        put_percent(w, NULL, of[m].high);
        json_close_array(w);
    }
    json_close_object(w);
}

static void put_split(json_writer *w, const row *x, const eval_tally *t) {
    json_begin_object(w, x->name);
    json_put_int(w, "n", t->n);
    json_put_int(w, "n_skipped", t->n_skipped);
    json_put_int(w, "n_invalid", t->n_invalid);
    json_put_int(w, "n_degenerate", t->n_degenerate);
    json_put_int(w, "ties", t->ties);
    json_begin_object(w, "correct");
    for (int m = 0; m < PAIR_METRICS; m++) json_put_int(w, pair_metric_name[m], t->correct[m]);
    json_close_object(w);
    put_shares(w, x->of);
    json_close_object(w);
}

static void put_model(json_writer *w, const eval_model *m) {
    json_begin_object(w, "model");
    json_put_str(w, "name", m->name);
    json_put_str(w, "weights_sha256", m->weights_sha256[0] ? m->weights_sha256 : NULL);
    json_put_str(w, "precision", m->precision);
    json_put_str(w, "activation", m->activation);
    if (m->image_size) json_put_int(w, "image_size", m->image_size);
    if (m->logit_scale > 0) json_put_f32(w, "logit_scale", m->logit_scale);
    json_close_object(w);
}

static void put_options(json_writer *w, const eval_result *r, const eval_model *m, const eval_facts *f) {
    json_begin_object(w, "options");
    json_put_str(w, "data", f->data);
    if (r->set->limit) json_put_int(w, "limit", r->set->limit);
    json_put_int(w, "seed", (int64_t)m->seed);
    json_put_bool(w, "allow_truncated", f->options->allow_truncated);
    json_put_bool(w, "exif_rotate", f->options->exif_rotate);
    json_close_object(w);
}

void eval_put_json(json_writer *w, const eval_result *r, const eval_model *m, const eval_facts *f) {
    int n;
    row *rows = new_rows(r, &n);
    int64_t skipped = 0, all_n = 0, faults = 0;
    if (!rows) {
        w->status = vm_nomem(&w->err, sizeof *rows, "a table");
        return;
    }
    for (int k = 0; k < r->n_splits; k++) skipped += r->tally[k].n_skipped, all_n += r->tally[k].n;
    for (int64_t i = 0; i < r->set->n_faults; i++) faults += r->set->fault[i].split < 0;
    json_begin_object(w, NULL);
    json_put_int(w, "schema", 1);
    json_put_str(w, "dataset", r->set->name);
    json_put_bool(w, "partial", r->set->limit > 0);
    json_put_int(w, "n", all_n);
    json_put_int(w, "n_skipped", skipped + faults);
    json_put_int(w, "n_repeated", r->set->n_twice);
    json_begin_object(w, "split_results");
    for (int k = 0; k < r->n_splits; k++) put_split(w, &rows[k], &r->tally[k]);
    json_close_object(w);
    json_begin_object(w, "average");
    json_begin_object(w, "macro"); /* over categories */
    put_shares(w, rows[n - 2].of);
    put_percent(w, "mean_of_all", mean_of_all(&rows[n - 2]));
    json_close_object(w);
    json_begin_object(w, "micro"); /* over pairs */
    put_shares(w, rows[n - 1].of);
    json_close_object(w);
    json_close_object(w);
    json_begin_object(w, "chance");
    for (int k = 0; k < PAIR_METRICS; k++) put_percent(w, pair_metric_name[k], pair_chance[k]);
    json_close_object(w);
    put_model(w, m);
    put_options(w, r, m, f);
    json_put_str(w, "version", VM_VERSION);
    json_put_str(w, "command", f->command);
    json_put_str(w, "started", f->started);
    json_put_num(w, "wall_s", f->wall_s);
    json_close_object(w);
    json_newline(w);
    vm_free(rows);
}

/* --- the files ---------------------------------------------------------------------------------------------------- */
static vm_out *create(const char *dir, const char *name, vm_error *e) {
    char *path = path_join(dir, name);
    vm_out *o = NULL;
    if (!path) vm_nomem(e, 256, "a path");
    else vm_out_open(&o, path, e);
    vm_free(path);
    return o;
}

static void finish(vm_out *o, vm_error *e) {
    if (!o) return;
    if (e->status) vm_out_abort(o);
    else vm_out_commit(o, e);
}

static void write_results(const eval_result *r, const eval_model *m, const eval_facts *f, const char *dir,
                          vm_error *e) {
    vm_out *o = create(dir, "results.json", e);
    if (!o) return;
    json_writer w = json_to_out(o, JSON_PRETTY);
    eval_put_json(&w, r, m, f);
    json_end(&w, e);
    finish(o, e);
}

static void write_predictions(const eval_result *r, const char *dir, vm_error *e) {
    static const char *const header[] = { "category", "id", "T0_I0", "T0_I1", "T1_I0", "T1_I1" };
    vm_out *o = create(dir, "predictions.csv", e);
    if (o) csv_write_row(o, ',', header, VM_LEN(header), e);
    for (int64_t i = 0; o && i < r->set->n && !e->status; i++) {
        char text[4][24];
        const eval_item *x = &r->set->item[i];
        if (!r->score[i].scored) continue;
        for (int k = 0; k < 4; k++)
            snprintf(text[k], sizeof text[k], "%.9g", isnan(r->score[i].s[k]) ? NAN : r->score[i].s[k]);
        csv_write_row(
            o, ',',
            (const char *const[]){ eval_split_name(r->set, x->split), x->id, text[0], text[1], text[2], text[3] }, 6,
            e);
    }
    finish(o, e);
}

static void write_skipped(const eval_result *r, const char *dir, vm_error *e) {
    vm_out *o = create(dir, "skipped.jsonl", e);
    if (!o) return;
    json_writer w = json_to_out(o, JSON_COMPACT);
    for (int64_t i = 0; i < r->set->n_faults + r->n_faults; i++) {
        const eval_fault *f = i < r->set->n_faults ? &r->set->fault[i] : &r->fault[i - r->set->n_faults];
        json_begin_object(&w, NULL);
        json_put_str(&w, "split", f->split < 0 ? NULL : eval_split_name(r->set, f->split));
        json_put_str(&w, "id", f->id);
        json_put_str(&w, "reason", f->why);
        json_close_object(&w);
        json_newline(&w);
    }
    json_end(&w, e);
    finish(o, e);
}

static void write_tables(const eval_result *r, const char *dir, vm_error *e) {
    static const char *const header[] = { "category", "pairs", "text", "image", "group" };
    char value[PAIR_METRICS][16];
    int n;
    row *rows = new_rows(r, &n);
    vm_out *md = create(dir, "table.md", e), *csv = md ? create(dir, "table.csv", e) : NULL;
    if (!rows) vm_nomem(e, sizeof *rows, "a table");
    if (csv && rows) {
        vm_out_text(md, "| category | pairs | text | image | group |\n|---|---:|---:|---:|---:|\n", e);
        csv_write_row(csv, ',', header, VM_LEN(header), e);
        for (int i = 0; i <= n; i++) {
            bool chance = i == n;
            for (int k = 0; k < PAIR_METRICS; k++) percent(value[k], chance ? pair_chance[k] : rows[i].of[k].value);
            const char *name = chance ? "chance" : rows[i].name, *pairs = chance ? "" : rows[i].pairs;
            vm_out_printf(md, e, "| %s | %s | %s | %s | %s |\n", name, pairs, value[0], value[1], value[2]);
            csv_write_row(csv, ',', (const char *const[]){ name, pairs, value[0], value[1], value[2] }, 5, e);
        }
    }
    finish(csv, e);
    finish(md, e);
    vm_free(rows);
}

vm_status eval_write_files(const eval_result *r, const eval_model *m, const eval_facts *f, const char *dir,
                           vm_error *e) {
    write_predictions(r, dir, e);
    if (!e->status) write_skipped(r, dir, e);
    if (!e->status) write_tables(r, dir, e);
    if (!e->status) write_results(r, m, f, dir, e); /* the last one: it says that the others are whole */
    return e->status;
}
