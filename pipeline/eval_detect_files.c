/* eval_detect_files.c - what `vismin eval detect` says and writes. Shares are percentages, in files with two decimals or more. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/csv.h"
#include "pipeline/eval_detect.h"
#include "pipeline/metrics.h"

static double percent(double share) { return round(1e12 * share) / 1e10; } /* NaN: null */

/* The shares of box_counts.h, with what they are called. */
typedef struct {
    const char *name, *what;
    int64_t hits, n;
} share;
enum { SHARES = 8 };
static void shares_of(const box_counts *c, share s[SHARES]) {
    const share all[SHARES] = {
        { "recall", "annotations found", c->hits, c->truths },
        { "precision", "boxes that are right", c->hits, c->boxes },
        { "pointing", "best box right, of phrases with one annotation", c->pointed, c->alone },
        { "absent_silent", "no box, of absent phrases", c->silent, c->absent },
        { "counting", "number right, of all phrases asked", c->right, c->counted },
        { "counting_present", "number right, of phrases with annotations", c->present_right, c->present },
        { "counting_steady", "number the same from .25 to .45", c->steady, c->counted },
        { "counting_steady_right", "number right, of these", c->steady_right, c->steady },
    };
    memcpy(s, all, sizeof all);
}

static const char *const score_name[] = { "AP",   "AP50", "AP75",  "AP_small", "AP_medium", "AP_large",
                                          "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large" };
enum { SCORES = VM_LEN(score_name) };
static void scores_of(const box_scores *s, double x[SCORES]) {
    const double all[SCORES] = { s->ap[0], s->ap50, s->ap75, s->ap[1], s->ap[2], s->ap[3], s->ar[0], s->ar[1], s->ar[2], s->ar_size[1], s->ar_size[2], s->ar_size[3] };
    memcpy(x, all, sizeof all);
}

/* --- results.json ------------------------------------------------------------------------------------------------- */
static void put_interval(json_writer *w, const char *key, estimate x) {
    json_begin_array(w, key);
    json_put_num(w, NULL, percent(x.low)), json_put_num(w, NULL, percent(x.high));
    json_close_array(w);
}

static void put_scores(json_writer *w, const char *key, const box_scores *s, const box_intervals *sure) {
    double x[SCORES];
    scores_of(s, x);
    json_begin_object(w, key);
    for (int k = 0; k < SCORES; k++) json_put_num(w, score_name[k], percent(x[k]));
    json_begin_object(w, "ci95");
    put_interval(w, "AP", sure->ap), put_interval(w, "AP50", sure->ap50), put_interval(w, "AP75", sure->ap75);
    json_close_object(w), json_close_object(w);
}

static void put_counts(json_writer *w, const eval_detect *x) {
    share s[SHARES];
    shares_of(&x->counts, s);
    json_begin_object(w, "used");
    json_put_num(w, "threshold", x->threshold), json_put_num(w, "nms", x->nms);
    for (int k = 0; k < SHARES; k++) {
        const estimate y = share_estimate((double)s[k].hits, s[k].n);
        json_begin_object(w, s[k].name);
        json_put_num(w, "value", percent(y.value)), json_put_int(w, "n", s[k].n);
        put_interval(w, "ci95", y);
        json_close_object(w);
    }
    json_put_num(w, "counting_mean_error", x->counts.counted ? (double)x->counts.off / (double)x->counts.counted : NAN);
    json_close_object(w);
}

static int64_t pictures(const eval_detect *x) {
    int64_t n = 0;
    for (int64_t i = 0; i < x->set.n_images; i++) n += !x->set.image[i].left_out;
    return n;
}

void eval_detect_put(json_writer *w, const eval_detect *x, const vm_args *a, const eval_facts *f) {
    json_begin_object(w, NULL);
    json_put_int(w, "schema", 1), json_put_str(w, "task", "detect"), json_put_bool(w, "partial", arg_int(a, "limit") > 0);
    json_put_int(w, "n_pictures", pictures(x)), json_put_int(w, "n_skipped", x->faults.n);
    json_put_int(w, "n_phrases", x->set.n_categories), json_put_int(w, "n_annotations", x->set.n_truths), json_put_int(w, "n_found", x->n);
    put_scores(w, "mean_of_phrases", &x->phrases, &x->sure[0]), put_scores(w, "pooled", &x->pooled, &x->sure[1]);
    put_counts(w, x);
    eval_put_model(w, &x->m);
    json_begin_object(w, "options");
    json_put_str(w, "data", f->data);
    if (arg_int(a, "limit")) json_put_int(w, "limit", arg_int(a, "limit"));
    json_put_int(w, "resamples", arg_int(a, "resamples")), json_put_int(w, "seed", arg_int(a, "seed"));
    if (x->ran) json_put_num(w, "min_score", arg_float(a, "min-score")), json_put_int(w, "max_boxes", arg_int(a, "max-boxes"));
    if (x->ran) json_put_num(w, "max_area", arg_float(a, "max-area"));
    json_close_object(w);
    eval_put_facts(w, f);
    json_close_object(w);
    json_newline(w);
}

/* --- tables ------------------------------------------------------------------------------------------------------- */
static const char *number(char text[32], double x) {
    if (isnan(x)) return "-";
    snprintf(text, 32, "%.2f", 100 * x);
    return text;
}

void eval_detect_print(const eval_detect *x, const char *data) {
    const box_scores *const row[] = { &x->phrases, &x->pooled };
    static const char *const title[] = { "mean of phrases", "all phrases in one" };
    char text[32];
    share s[SHARES];
    printf("%s on %s: %" PRId64 " pictures, %" PRId64 " phrases, %" PRId64 " annotations, %" PRId64 " boxes found\n\n%-20s", x->m.name, data, pictures(x),
           x->set.n_categories, x->set.n_truths, x->n, "%");
    for (int k = 0; k < SCORES; k++) printf(" %9s", score_name[k]);
    for (int r = 0; r < 2; r++) {
        double v[SCORES];
        scores_of(row[r], v);
        printf("\n%-20s", title[r]);
        for (int k = 0; k < SCORES; k++) printf(" %9s", number(text, v[k]));
    }
    for (int r = 0; r < 2 && !isnan(x->sure[0].ap.low); r++) {
        const box_intervals *i = &x->sure[r];
        printf("%s95 %% intervals, %s: AP [%.1f, %.1f], AP50 [%.1f, %.1f], AP75 [%.1f, %.1f]", r ? "\n" : "\n\n", title[r], 100 * i->ap.low, 100 * i->ap.high, 100 * i->ap50.low,
               100 * i->ap50.high, 100 * i->ap75.low, 100 * i->ap75.high);
    }
    printf("\n\nboxes with a score above %g, without those that a better one overlaps by more than %g: %% [95 %% interval]\n", x->threshold, x->nms);
    shares_of(&x->counts, s);
    for (int k = 0; k < SHARES; k++) {
        const estimate y = share_estimate((double)s[k].hits, s[k].n);
        printf("%-48s %8" PRId64 "  ", s[k].what, s[k].n);
        if (s[k].n) printf("%6.2f [%.1f, %.1f]\n", 100 * y.value, 100 * y.low, 100 * y.high);
        else printf("     -\n");
    }
}

/* A row of table.md and table.csv. */
static void put_row(vm_out *md, vm_out *csv, const char *const *field, int n, vm_error *e) {
    csv_write_row(csv, ',', field, n, e);
    for (int c = 0; c < n; c++) vm_out_printf(md, e, "| %s ", field[c]);
    vm_out_text(md, "|\n", e);
}

static void write_table(const eval_detect *x, const char *dir, vm_error *e) {
    const box_scores *const row[] = { &x->phrases, &x->pooled };
    static const char *const title[] = { "mean_of_phrases", "pooled" };
    vm_out *md = vm_out_in(dir, "table.md", e), *csv = md ? vm_out_in(dir, "table.csv", e) : NULL;
    const char *field[SCORES + 1] = { "boxes" };
    for (int k = 0; k < SCORES; k++) field[k + 1] = score_name[k];
    if (csv) put_row(md, csv, field, SCORES + 1, e), vm_out_text(md, "|---|", e);
    for (int k = 0; k < SCORES && csv; k++) vm_out_text(md, k + 1 < SCORES ? "---:|" : "---:|\n", e);
    for (int r = 0; r < 2 && csv; r++) {
        char text[SCORES][32];
        double v[SCORES];
        scores_of(row[r], v);
        field[0] = title[r];
        for (int k = 0; k < SCORES; k++) field[k + 1] = number(text[k], v[k]);
        put_row(md, csv, field, SCORES + 1, e);
    }
    if (csv) vm_out_text(md, "\n| 95 % interval | AP | AP50 | AP75 |\n|---|---:|---:|---:|\n", e);
    for (int r = 0; r < 2 && csv; r++) {
        const estimate sure[] = { x->sure[r].ap, x->sure[r].ap50, x->sure[r].ap75 };
        vm_out_printf(md, e, "| %s |", title[r]);
        for (int k = 0; k < VM_LEN(sure); k++) {
            char low[32], high[32];
            vm_out_printf(md, e, " %s to %s |", number(low, sure[k].low), number(high, sure[k].high));
        }
        vm_out_text(md, "\n", e);
    }
    share s[SHARES];
    shares_of(&x->counts, s);
    if (csv) vm_out_printf(md, e, "\n| score above %g | n | %% | low | high |\n|---|---:|---:|---:|---:|\n", x->threshold);
    for (int k = 0; k < SHARES && csv; k++) {
        const estimate y = share_estimate((double)s[k].hits, s[k].n);
        char v[3][32];
        vm_out_printf(md, e, "| %s | %" PRId64 " | %s | %s | %s |\n", s[k].what, s[k].n, number(v[0], y.value), number(v[1], y.low), number(v[2], y.high));
    }
    vm_out_finish(csv, e), vm_out_finish(md, e);
}

/* phrases.csv: what became of every phrase. */
static void write_phrases(const eval_detect *x, const char *dir, vm_error *e) {
    static const char *const header[] = { "id", "phrase", "annotations", "AP", "AP50", "recall", "precision", "asked_absent", "false_alarms", "counted", "counted_right" };
    vm_out *o = vm_out_in(dir, "phrases.csv", e);
    if (o) csv_write_row(o, ',', header, VM_LEN(header), e);
    for (int64_t k = 0; k < x->set.n_categories && o && !e->status; k++) {
        const box_counts *c = &x->each_count[k];
        const int64_t n[] = { x->set.category[k].id, c->truths, c->absent, c->absent - c->silent, c->counted, c->right };
        char text[6][24], share_text[4][32];
        for (int i = 0; i < 6; i++) snprintf(text[i], sizeof text[i], "%" PRId64, n[i]);
        csv_write_row(o, ',',
                      (const char *const[]){ text[0], x->set.category[k].name, text[1], number(share_text[0], x->each[k].ap[0]), number(share_text[1], x->each[k].ap50),
                                             number(share_text[2], c->truths ? (double)c->hits / (double)c->truths : NAN),
                                             number(share_text[3], c->boxes ? (double)c->hits / (double)c->boxes : NAN), text[2], text[3], text[4], text[5] },
                      VM_LEN(header), e);
    }
    vm_out_finish(o, e);
}

static void write_skipped(const eval_detect *x, const char *dir, vm_error *e) {
    vm_out *o = vm_out_in(dir, "skipped.jsonl", e);
    json_writer w = json_to_out(o, JSON_COMPACT);
    for (int64_t k = 0; k < x->faults.n && o; k++) {
        json_begin_object(&w, NULL);
        json_put_str(&w, "why", keymap_at(&x->faults, k, NULL));
        json_close_object(&w), json_newline(&w);
    }
    if (o) json_end(&w, e);
    vm_out_finish(o, e);
}

vm_status eval_detect_write(const eval_detect *x, const vm_args *a, const eval_facts *f, const char *dir, vm_error *e) {
    write_table(x, dir, e);
    if (!e->status) write_phrases(x, dir, e);
    if (!e->status) write_skipped(x, dir, e);
    char *path = x->ran && !e->status ? path_join(dir, "detections.json") : NULL;
    if (path) boxes_write_found(&x->set, x->found, x->n, path, e);
    vm_free(path);
    if (e->status) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY); /* the last one: it says that the others are whole */
    eval_detect_put(&w, x, a, f);
    return json_save(&w, dir, "results.json", e);
}
