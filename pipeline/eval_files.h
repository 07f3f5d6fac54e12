/* eval_files.h - results of an evaluation as files of a folder and as a table for people; and read back.
 *
 *   results.json     counts, scores, intervals, model, options
 *   predictions.csv  pairs: category,id,T0_I0,T0_I1,T1_I0,T1_I1 - the benchmark's submission, with the category
 *                    choices: category,id,gold,S0,S1,... - the score of each option
 *   table.md, table.csv
 *   skipped.jsonl    what was not scored, and why
 *   samples.jsonl    one line per item (pipeline/eval_run.c writes it while it works)
 *   report/          the page of the scores and the worst items (pipeline/report_eval.h) */
#ifndef VM_EVAL_FILES_H
#define VM_EVAL_FILES_H
#include <stdio.h>

#include "io/json.h"
#include "pipeline/eval_run.h"

/* What results.json says beside the scores. */
typedef struct {
    const char *data, *command;
    char started[24];   /* 2024-05-01T12:00:00Z */
    double wall_s;
    const eval_options *options;
    const eval_source *source;
} eval_facts;
void eval_facts_start(eval_facts *f); /* sets started */

vm_status eval_write_files(const eval_result *r, const eval_model *m, const eval_facts *f, const char *dir,
                           vm_error *e);
void eval_put_json(json_writer *w, const eval_result *r, const eval_model *m, const eval_facts *f); /* results.json */
/* predictions.csv and skipped.jsonl only. */
vm_status eval_write_predictions(const eval_result *r, const char *dir, vm_error *e);

/* Parts of results.json: the members "model"; "version", "command", "started", "wall_s". */
void eval_put_model(json_writer *w, const eval_model *m);
void eval_put_facts(json_writer *w, const eval_facts *f);
/* skipped.jsonl: the faults of the set, then n more. */
void eval_write_skipped(const eval_set *s, int64_t n, const eval_fault *fault, const char *dir, vm_error *e);

/* --- tables: pipeline/eval_table.c --- */
void eval_print_table(FILE *out, const eval_result *r);
vm_status eval_write_tables(const eval_result *r, const char *dir, vm_error *e); /* table.md, table.csv */
typedef struct {
    const char *name; /* of the split or tag; "mean of ...", "all ..." */
    const eval_tally *t; /* NULL for means */
    estimate of[EVAL_METRICS];
} eval_row;
/* One row per split, the mean over splits, all items together: r->n_splits + 2 of them; vm_free. */
eval_row *eval_rows(const eval_result *r, vm_error *e);
/* Means over splits: of all metrics, of the last one (group); NaN when the rule has one metric only. */
double eval_mean_of_all(const eval_result *r, const eval_row *mean);

/* --- scores as text: pipeline/eval_scores.c --- */
/* The members "scores" (and "logits" and "p" where the model has a scale) of a line of samples.jsonl. */
void eval_put_scores(json_writer *w, const eval_result *r, const eval_item *x);
/* The scores of such a line into r->s; false when they are not those of the item's form. null is NaN. */
bool eval_get_scores(eval_result *r, const eval_item *x, json_value line);
/* The scores of items of r->set that a file has: predictions.csv (columns id or idx, category or split, and T0_I0 ... or
 * S0 ...) or samples.jsonl (ends in .jsonl). Items get `scored`; *found: how many; *others (may be NULL): lines for
 * records that are not in the set. A file without categories needs ids that are unique. */
vm_status eval_read_scores(eval_result *r, const char *path, int64_t *found, int64_t *others, vm_error *e);

/* The scores of a folder that eval_write_files and eval_run have filled: those of predictions.csv, with captions and
 * pictures from samples.jsonl. The result owns its set. */
vm_status eval_read_files(eval_result **out, const char *dir, vm_error *e);
#endif
