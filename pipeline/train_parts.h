/* train_parts.h - what the files of the training loop share: train_loop.c, train_state.c. */
#ifndef VM_TRAIN_PARTS_H
#define VM_TRAIN_PARTS_H
#include "pipeline/train_guard.h"
#include "pipeline/train_loop.h"

typedef struct {
    train_options o;
    train_task *task;
    vm_comm *comm;          /* rank 0 writes, says and validates */
    train_log *log;         /* NULL on other ranks */
    train_guard guard;
    int64_t step, first_step;
    double best;       /* what --keep-best goes by, smaller is better; NaN = nothing yet */
    int64_t best_step; /* -1 */
    bool val_due;      /* the validation of this step is still to be made */
    char run_id[17];
    double t0, t_log, waited;   /* waited: seconds for data since the last log line */
    int64_t at_log, saved_step; /* saved_step: of the newest checkpoint of this process, -1 */
    bool unsaved;               /* the last checkpoint could not be written */
} train_loop;

/* OUT/run.json: id, version and command of the run, made at its first start; l->run_id is read from it. */
vm_status train_run_begin(train_loop *l, vm_error *e);
/* checkpoint_writer: the whole state of a loop. */
vm_status train_state_write(const char *dir, const void *loop, vm_error *e);
/* The newest good checkpoint into the loop. *found false: there is none, nothing was changed. back: after steps that
 * went wrong in this process; what the guard has learnt is kept. VM_EINPUT when it is of a run with other options or
 * other data, which are named; with o.resume_forced a warning. */
vm_status train_state_read(train_loop *l, bool back, bool *found, vm_error *e);
/* Bytes of a checkpoint. */
int64_t train_state_bytes(const train_loop *l);
#endif
