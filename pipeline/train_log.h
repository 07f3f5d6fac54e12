/* train_log.h - what a training says about itself as it goes: OUT/log.jsonl (one object a line), OUT/tensorboard/
 * (event files), OUT/report/index.html (curves). All of them fit the checkpoint that a run goes on from: what is of
 * later steps is cut off when they are opened. They never end a training: what cannot be written is warned of once and
 * left out. */
#ifndef VM_TRAIN_LOG_H
#define VM_TRAIN_LOG_H
#include "kernels/base.h"

typedef struct train_log train_log;

/* For going on behind `step`. VM_EIO when the folder takes no files at all. */
vm_status train_log_open(train_log **out, const char *dir, int64_t step, vm_error *e);
void train_log_close(train_log *l); /* accepts NULL */

/* One line: begin, its members in their order, end. Names with "val_" or "bench_" before them are of the validation. */
void train_log_begin(train_log *l, int64_t step);
void train_log_num(train_log *l, const char *name, double v); /* not finite: null, and no point of a curve */
void train_log_nums(train_log *l, const char *name, int n, const double *v);
void train_log_flag(train_log *l, const char *name, bool v);
void train_log_end(train_log *l);

/* The newest value under a name; NaN when there is none. */
double train_log_last(const train_log *l, const char *name);
/* Curves of all that was logged so far, also before this process. */
void train_log_report(train_log *l, const char *title, const char *subtitle);
#endif
