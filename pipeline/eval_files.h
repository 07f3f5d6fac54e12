/* eval_files.h - results of an evaluation as files of a folder and as a table for people; and read back.
 *
 *   results.json     counts, scores, intervals, model, options
 *   predictions.csv  category,id,T0_I0,T0_I1,T1_I0,T1_I1: the benchmark's submission, with the category
 *   table.md, table.csv
 *   skipped.jsonl    what was not scored, and why
 *   samples.jsonl    one line per pair (pipeline/eval_run.c writes it while it works) */
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
    int64_t batch;
    const eval_options *options;
} eval_facts;

vm_status eval_write_files(const eval_result *r, const eval_model *m, const eval_facts *f, const char *dir,
                           vm_error *e);
void eval_put_json(json_writer *w, const eval_result *r, const eval_model *m, const eval_facts *f); /* results.json */
void eval_print_table(FILE *out, const eval_result *r, const eval_model *m);

/* The scores of a folder that eval_write_files and eval_run have filled: those of predictions.csv, with captions and
 * pictures from samples.jsonl. The result owns its set. */
vm_status eval_read_files(eval_result **out, const char *dir, vm_error *e);
#endif
