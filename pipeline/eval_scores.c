/* eval_scores.c - scores of items as members of a JSON line and as rows of a table. See eval_files.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "io/journal.h"
#include "pipeline/eval_files.h"

static const char *const pair_name[4] = { "c0_i0", "c0_i1", "c1_i0", "c1_i1" }; /* s[2 c + i] */
static const char *const pair_column[4] = { "T0_I0", "T0_I1", "T1_I0", "T1_I1" };

/* --- samples.jsonl ------------------------------------------------------------------------------------------------ */
static void put_numbers(json_writer *w, const char *key, const eval_item *x, const float *s) {
    bool pair = x->kind == EVAL_PAIR;
    if (pair) json_begin_object(w, key);
    else json_begin_array(w, key);
    for (int k = 0; k < eval_n_scores(x); k++) json_put_f32(w, pair ? pair_name[k] : NULL, s[k]);
    if (pair) json_close_object(w);
    else json_close_array(w);
}

/* Softmax over the options of a choice. */
static void softmax(float *p, const float *s, int n, float scale) {
    double most = -INFINITY, sum = 0;
    for (int k = 0; k < n; k++) most = fmax(most, (double)s[k]);
    for (int k = 0; k < n; k++) sum += exp((double)scale * ((double)s[k] - most));
    for (int k = 0; k < n; k++) p[k] = (float)(exp((double)scale * ((double)s[k] - most)) / sum);
}

void eval_put_scores(json_writer *w, const eval_result *r, const eval_item *x) {
    const float *s = eval_scores(r, x);
    int n = eval_n_scores(x);
    put_numbers(w, "scores", x, s);
    float sharp = r->temperature > 0 ? 1 / r->temperature : r->scale, *t = sharp > 0 ? vm_alloc((size_t)n * sizeof *t) : NULL;
    if (sharp > 0 && !t) w->status = vm_nomem(&w->err, (size_t)n * sizeof *t, "scores");
    if (!t) return;
    for (int k = 0; k < n; k++) t[k] = r->scale * s[k] + r->bias;
    if (r->scale > 0) put_numbers(w, "logits", x, t);
    softmax(t, s, n, sharp);
    if (x->kind == EVAL_CHOICE) put_numbers(w, "p", x, t);
    vm_free(t);
}

bool eval_get_scores(eval_result *r, const eval_item *x, json_value line) {
    json_value scores = json_get(line, "scores");
    vm_error bad = { 0 };
    int n = eval_n_scores(x);
    if (json_len(scores) != n) return false;
    for (int k = 0; k < n; k++) {
        json_value v = x->kind == EVAL_PAIR ? json_get(scores, pair_name[k]) : json_at(scores, k);
        r->s[x->at + k] = v.kind == JSON_NULL ? NAN : (float)json_as_num(v, &bad);
    }
    return !bad.status;
}

static vm_status read_lines(eval_result *r, const char *path, int64_t *found, int64_t *others, vm_error *e) {
    journal_reader *j = NULL;
    journal_line line;
    if (!file_exists(path)) return vm_fail(e, VM_EINPUT, "%s: no such file", path);
    if (journal_reader_open(&j, path, e)) return e->status;
    while (!e->status && journal_next(j, &line, e) > 0) {
        json_doc *d = line.number > 1 ? json_parse(line.text, line.bytes, path, 0, e) : NULL;
        const char *id = d ? json_as_str(json_need(json_root(d), "id", JSON_STRING, e), e) : NULL,
                   *split = d ? json_as_str(json_need(json_root(d), "split", JSON_STRING, e), e) : NULL;
        int64_t i = d && !e->status ? eval_set_find(r->set, split, id) : -1;
        if (d && !e->status && i < 0) ++*others;
        if (i >= 0 && !eval_get_scores(r, &r->set->item[i], json_root(d)))
            vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": the scores of %s %s do not fit its %d captions and %d pictures", path,
                    line.number, split, id, r->set->item[i].n_captions, r->set->item[i].n_images);
        else if (i >= 0)
            *found += !r->score[i].scored, r->score[i].scored = true,
                r->score[i].truncated = json_bool(json_root(d), "truncated", false, e);
        json_free(d);
    }
    journal_reader_close(j);
    return e->status;
}

/* --- predictions.csv ---------------------------------------------------------------------------------------------- */
typedef struct {
    eval_result *r;
    const char *path;
    csv_reader *t;
    int64_t id, split; /* columns; split -1 = none */
    int64_t *score;    /* columns */
    int n;
} table;

static int64_t column(const table *t, const char *a, const char *b) {
    int64_t k = csv_column(t->t, a);
    return k < 0 ? csv_column(t->t, b) : k;
}

static vm_status find_columns(table *t, vm_error *e) {
    bool pair = t->r->set->kind == EVAL_PAIR;
    int most = 0;
    for (int64_t i = 0; i < t->r->set->n; i++) most = VM_MAX(most, eval_n_scores(&t->r->set->item[i]));
    if (!(t->score = vm_alloc((size_t)most * sizeof *t->score + 1))) return vm_nomem(e, 64, "columns");
    t->split = column(t, "category", "split"), t->id = column(t, "id", "idx");
    if (t->id < 0) return csv_need_column(t->t, "id", e), e->status;
    for (int k = 0; k < most && !e->status; k++) {
        char name[24];
        snprintf(name, sizeof name, "S%d", k);
        t->score[t->n++] = csv_need_column(t->t, pair ? pair_column[k] : name, e);
    }
    return e->status;
}

/* The item of a row, -1 when it is not in the set. Without categories it must have the only item of that id. */
static int64_t item_of(const table *t, const csv_row *row, vm_error *e) {
    const eval_set *set = t->r->set;
    const char *id = row->field[t->id];
    int64_t found = -1;
    if (t->split >= 0) return eval_set_find(set, row->field[t->split], id);
    for (int k = 0; k < t->r->n_splits; k++) {
        int64_t i = eval_set_find(set, eval_split_name(set, k), id);
        if (i >= 0 && found >= 0)
            vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": id %s is in %s and in %s; a column category has to say which",
                    t->path, row->line, id, eval_split_name(set, set->item[found].split), eval_split_name(set, k));
        if (i >= 0) found = i;
    }
    return found;
}

static vm_status read_row(table *t, const csv_row *row, int64_t *found, int64_t *others, vm_error *e) {
    int64_t i = item_of(t, row, e);
    if (i < 0 || e->status) return ++*others, e->status;
    const eval_item *x = &t->r->set->item[i];
    for (int k = 0; k < eval_n_scores(x); k++) {
        const char *text = row->field[t->score[k]];
        char *end;
        t->r->s[x->at + k] = strtof(text, &end);
        if (end == text || *end)
            return vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": column %s: found \"%s\", expected a number", t->path, row->line,
                           csv_column_name(t->t, t->score[k]), text);
    }
    if (t->r->score[i].scored)
        return vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": %s %s stands twice", t->path, row->line,
                       eval_split_name(t->r->set, x->split), x->id);
    ++*found, t->r->score[i].scored = true;
    return VM_OK;
}

vm_status eval_read_scores(eval_result *r, const char *path, int64_t *found, int64_t *others, vm_error *e) {
    size_t n = strlen(path);
    int64_t ignored = 0;
    csv_row row;
    table t = { .r = r, .path = path };
    if (!others) others = &ignored;
    *found = *others = 0;
    if (n > 6 && !strcmp(path + n - 6, ".jsonl")) return read_lines(r, path, found, others, e);
    if (!csv_open(&t.t, path, 0, CSV_HEADER, e) && !find_columns(&t, e))
        while (!e->status && csv_next(t.t, &row, e) > 0) read_row(&t, &row, found, others, e);
    csv_close(t.t);
    vm_free(t.score);
    return e->status;
}
