/* train_guard.h - what a training does about steps that go wrong.
 *
 * A step without finite numbers changes nothing. Up to three in a row are skipped; after that the newest checkpoint is
 * loaded again, the learning rate is halved from there on, and the batches of those steps are passed over when their
 * turn comes. The fourth time the run ends. With skip_z, a step whose loss or gradient norm lies more than skip_z
 * standard deviations above the mean of the last 128 steps is skipped as well. All of it is part of the checkpoint. */
#ifndef VM_TRAIN_GUARD_H
#define VM_TRAIN_GUARD_H
#include "pipeline/train_loop.h"

enum { GUARD_WINDOW = 128, GUARD_ROW = 3, GUARD_REWINDS = 3, GUARD_PASSED = (GUARD_ROW + 1) * GUARD_REWINDS };

typedef struct {
    double skip_z;               /* 0 = off */
    double lr_factor;            /* 1, halved with every rewind */
    double passed[GUARD_PASSED]; /* steps whose batches are not used again */
    int64_t n_passed, rewinds, in_row;
    double loss[GUARD_WINDOW], norm[GUARD_WINDOW]; /* the newest n_window ones, oldest first */
    int64_t n_window;
} train_guard;

train_guard train_guard_new(double skip_z);
bool train_guard_passes(const train_guard *g, int64_t step);
/* Largest loss and gradient norm of a step that is taken; INFINITY while the window is not full. */
void train_guard_limits(const train_guard *g, double *loss, double *norm);
typedef enum { GUARD_GOOD, GUARD_SKIPPED, GUARD_REWIND } guard_verdict;
/* Takes note of the step. GUARD_REWIND: too many in a row; they are in `passed` now, the rate is halved. VM_EMODEL when
 * that was so often enough. */
guard_verdict train_guard_see(train_guard *g, int64_t step, const train_step *s, const char *out, vm_error *e);
/* Weights that hold no finite numbers: as GUARD_REWIND for the last step. */
vm_status train_guard_spoilt(train_guard *g, int64_t step, const char *out, vm_error *e);

/* DIR/nonfinite-STEP.json (.rankR.json of other ranks than the first): loss, what the task has to say, the samples of the batch, and of
 * every parameter and its gradient the largest magnitude and how many numbers are not finite. A file that cannot be written is
 * warned of. */
void train_guard_dump(const char *dir, int rank, int64_t step, const train_step *s, const train_task *t);
/* The first parameter or moment with a number that is not finite; NULL = all are. */
const char *train_guard_check(const weight_set *w);
#endif
