/* eval_table.c - results as tables: for the terminal, table.md, table.csv. See eval_files.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/csv.h"
#include "pipeline/eval_files.h"

eval_row *eval_rows(const eval_result *r, vm_error *e) {
    int n = r->n_splits;
    eval_row *rows = vm_calloc((size_t)n + 2, sizeof *rows);
    if (!rows) return vm_nomem(e, sizeof *rows, "a table"), NULL;
    for (int k = 0; k < n; k++) rows[k].name = eval_split_name(r->set, k), rows[k].t = &r->tally[k];
    rows[n].name = "mean of splits", rows[n + 1].name = "all items", rows[n + 1].t = &r->all;
    for (int m = 0; m < r->rule->n && !e->status; m++) {
        for (int k = 0; k <= n + 1; k++)
            if (rows[k].t) rows[k].of[m] = eval_share(r, rows[k].t, m);
        eval_difference(r, NULL, m, NULL, 0, NULL, &rows[n].of[m], e);
    }
    if (!e->status) return rows;
    vm_free(rows);
    return NULL;
}

double eval_mean_of_all(const eval_result *r, const eval_row *mean) {
    double sum = 0;
    for (int m = 0; m < r->rule->n; m++) sum += mean->of[m].value;
    return r->rule->n > 1 ? sum / r->rule->n : NAN;
}

/* "579", "577/579" when some were not scored, "" for means. */
static void counts(char out[48], const eval_tally *t) {
    out[0] = 0;
    if (!t) return;
    if (t->n_skipped) snprintf(out, 48, "%" PRId64 "/%" PRId64, t->n_scored, t->n_scored + t->n_skipped);
    else snprintf(out, 48, "%" PRId64, t->n_scored);
}

static const char *percent(char buf[16], double share) {
    if (isnan(share)) snprintf(buf, 16, "-");
    else snprintf(buf, 16, "%.2f", 100 * share);
    return buf;
}

/* --- terminal ----------------------------------------------------------------------------------------------------- */
static void print_shares(FILE *out, const estimate *of, int n) {
    char cell[64];
    for (int k = 0; k < n; k++) {
        if (isnan(of[k].value)) snprintf(cell, sizeof cell, "-");
        else if (isnan(of[k].low)) snprintf(cell, sizeof cell, "%6.2f", 100 * of[k].value);
        else snprintf(cell, sizeof cell, "%6.2f [%.1f, %.1f]", 100 * of[k].value, 100 * of[k].low, 100 * of[k].high);
        fprintf(out, "  %-20s", cell);
    }
    fprintf(out, "\n");
}

static void print_tags(FILE *out, const eval_result *r, int split) {
    estimate of[EVAL_METRICS];
    char n[48];
    int found = 0;
    for (int64_t k = 0; k < r->n_tags; k++) {
        const eval_tally *t = &r->tag[k];
        if (t->split != split) continue;
        counts(n, t);
        fprintf(out, "  %-18s %9s", eval_tag_name(r->set, t->tag), n);
        for (int m = 0; m < r->rule->n; m++) of[m] = eval_share(r, t, m);
        print_shares(out, of, r->rule->n);
        found++;
    }
    if (found < 2) return;
    for (int m = 0; m < r->rule->n; m++) of[m] = (estimate){ eval_mean_of_tags(r, split, m), NAN, NAN };
    fprintf(out, "  %-18s %9s", "mean of these", "");
    print_shares(out, of, r->rule->n);
}

static void print_extras(FILE *out, const eval_result *r) {
    char n[32];
    if (r->extras.n) fprintf(out, "\nalso (numbers as they are, not percentages)\n");
    for (int64_t k = 0; k < r->extras.n; k++) {
        const eval_extra *x = &r->extras.row[k];
        snprintf(n, sizeof n, "%" PRId64, x->n);
        fprintf(out, "%-20s %9s  %-22s", x->scope, n, x->name);
        if (isnan(x->v.value)) fprintf(out, " -\n");
        else if (isnan(x->v.low)) fprintf(out, " %.4f\n", x->v.value);
        else fprintf(out, " %.4f [%.3f, %.3f]\n", x->v.value, x->v.low, x->v.high);
    }
}

void eval_print_table(FILE *out, const eval_result *r) {
    vm_error memory = { 0 };
    eval_row *rows = eval_rows(r, &memory);
    char value[16], n[48];
    int rules = r->rule->n;
    if (!rows) return;
    fprintf(out, "%s on %s, %% of items [95 %% interval]%s\n\n%-20s %9s", r->model, r->set->name,
            r->set->limit > 0 ? ", part of the data" : "", "split", "items");
    for (int k = 0; k < rules; k++) fprintf(out, "  %-20s", r->rule->metric[k]);
    fprintf(out, "\n");
    for (int i = 0; i < r->n_splits + 2; i++) {
        counts(n, rows[i].t);
        fprintf(out, "%-20s %9s", rows[i].name, n);
        print_shares(out, rows[i].of, rules);
        if (i < r->n_splits) print_tags(out, r, i);
    }
    fprintf(out, "%-20s %9s", "chance", "");
    for (int k = 0; k < rules; k++) fprintf(out, "  %6.2f%14s", 100 * eval_chance(&r->all, k), "");
    fprintf(out, "\n");
    if (rules > 1) {
        const eval_row *mean = &rows[r->n_splits];
        fprintf(out, "\nmean of text, image and group over the splits: %s", percent(value, eval_mean_of_all(r, mean)));
        fprintf(out, "; mean of group: %s\n", percent(value, mean->of[PAIR_GROUP].value));
    }
    print_extras(out, r);
    vm_free(rows);
}

/* --- files -------------------------------------------------------------------------------------------------------- */
typedef struct {
    const eval_result *r;
    vm_out *md, *csv;
} pages;

static void put_line(const pages *p, const char *name, const eval_tally *t, const double *value, vm_error *e) {
    const char *field[3 + EVAL_METRICS];
    char n[48], text[EVAL_METRICS][16];
    counts(n, t);
    field[0] = name, field[1] = t && t->tag >= 0 ? eval_tag_name(p->r->set, t->tag) : "", field[2] = n;
    for (int m = 0; m < p->r->rule->n; m++) field[3 + m] = percent(text[m], value[m]);
    csv_write_row(p->csv, ',', field, 3 + p->r->rule->n, e);
    for (int k = 0; k < 3 + p->r->rule->n; k++) {
        vm_out_text(p->md, "| ", e);
        for (const char *s = field[k]; *s; s++) {
            char c[3] = { *s == '|' ? '\\' : *s, *s == '|' ? '|' : 0, 0 };
            vm_out_text(p->md, c, e);
        }
        vm_out_text(p->md, " ", e);
    }
    vm_out_text(p->md, "|\n", e);
}

static void put_header(const pages *p, vm_error *e) {
    const char *field[3 + EVAL_METRICS] = { "split", "tag", "items" };
    vm_out_text(p->md, "| split | tag | items |", e);
    for (int m = 0; m < p->r->rule->n; m++) vm_out_printf(p->md, e, " %s |", field[3 + m] = p->r->rule->metric[m]);
    vm_out_text(p->md, "\n|---|---|---:|", e);
    for (int m = 0; m < p->r->rule->n; m++) vm_out_text(p->md, "---:|", e);
    vm_out_text(p->md, "\n", e);
    csv_write_row(p->csv, ',', field, 3 + p->r->rule->n, e);
}

static void put_lines(const pages *p, const eval_row *rows, vm_error *e) {
    const eval_result *r = p->r;
    double value[EVAL_METRICS];
    for (int i = 0; i < r->n_splits + 2; i++) {
        for (int m = 0; m < r->rule->n; m++) value[m] = rows[i].of[m].value;
        put_line(p, rows[i].name, rows[i].t, value, e);
        for (int64_t k = 0; k < r->n_tags && i < r->n_splits; k++) {
            if (r->tag[k].split != i) continue;
            for (int m = 0; m < r->rule->n; m++) value[m] = eval_share(r, &r->tag[k], m).value;
            put_line(p, rows[i].name, &r->tag[k], value, e);
        }
    }
    for (int m = 0; m < r->rule->n; m++) value[m] = eval_chance(&r->all, m);
    put_line(p, "chance", NULL, value, e);
}

static void put_extras(const pages *p, vm_error *e) {
    const eval_extras *x = &p->r->extras;
    if (x->n) vm_out_text(p->md, "\n| scope | also | items | value |\n|---|---|---:|---:|\n", e);
    for (int64_t k = 0; k < x->n; k++) {
        vm_out_printf(p->md, e, "| %s | %s | %" PRId64 " | ", x->row[k].scope, x->row[k].name, x->row[k].n);
        if (isnan(x->row[k].v.value)) vm_out_text(p->md, "- |\n", e);
        else vm_out_printf(p->md, e, "%.4f |\n", x->row[k].v.value);
    }
}

vm_status eval_write_tables(const eval_result *r, const char *dir, vm_error *e) {
    eval_row *rows = eval_rows(r, e);
    pages p = { .r = r };
    if (rows && (p.md = vm_out_in(dir, "table.md", e)) && (p.csv = vm_out_in(dir, "table.csv", e))) {
        put_header(&p, e);
        put_lines(&p, rows, e);
        put_extras(&p, e);
    }
    vm_out_finish(p.csv, e), vm_out_finish(p.md, e);
    vm_free(rows);
    return e->status;
}
