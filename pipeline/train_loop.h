/* train_loop.h - the loop of a training, whatever it trains: steps, checkpoints, validation, logs, what goes wrong,
 * going on.
 *
 * Data, weights, moments and the logs of a run are at any moment such that the same command line goes on with the same
 * bits: a checkpoint is a directory that appears whole, batches are a function of (seed, step), and the logs are cut
 * back to the checkpoint. What is trained is a train_task: train_clip_task.c, train_lm_task.c. */
#ifndef VM_TRAIN_LOOP_H
#define VM_TRAIN_LOOP_H
#include "kernels/comm.h"
#include "models/optimizer.h"
#include "pipeline/command.h"
#include "pipeline/train_log.h"

typedef struct {
    double loss, grad_norm; /* before the step */
    bool skipped;           /* non-finite loss or gradient, or beyond the limits: nothing was changed */
} train_step;

/* Numbers that a task carries from step to step beside weights and moments. */
typedef struct {
    const char *name;
    double *x;
    int64_t n, most;
} train_tensor;

typedef struct train_task train_task;
struct train_task {
    const weight_set *w;
    const char *digest; /* SHA-256 of the data; "" = made on the fly */
    int64_t samples;    /* of a step, for the rate; a task may set it with every batch */
    train_tensor kept;  /* n 0 = none */
    /* Batches from this step on are asked for next, one after the other. */
    vm_status (*start)(train_task *t, int64_t step, vm_error *e);
    /* *waited: seconds until it was there. */
    vm_status (*batch)(train_task *t, int64_t step, double *waited, vm_error *e);
    /* One step with it; nothing is changed when loss or norm of the gradient are larger than the limits or not finite.
     */
    vm_status (*step)(train_task *t, double lr, double most_loss, double most_norm, train_step *out, vm_error *e);
    int64_t (*updates)(const train_task *t);
    void (*log)(train_task *t, train_log *l);               /* members of a line about the last step */
    void (*text)(const train_task *t, char *out, size_t n); /* the same for people: "  scale 14.2" */
    void (*evidence)(const train_task *t,
                     json_writer *w); /* members about a step that went wrong; its "samples" among them */
    vm_status (*validate)(train_task *t, double *rank,
                          vm_error *e); /* *rank: smaller is better, NaN = not measured; NULL = no validation */
    void (*log_validation)(const train_task *t, train_log *l);
    vm_status (*save)(train_task *t, const char *dir, vm_error *e); /* model, moments; sets what `kept` points to */
    vm_status (*load)(train_task *t, const char *dir, int64_t updates, vm_error *e);
    void (*loaded)(train_task *t); /* `kept` was read; may be NULL */
};

typedef struct {
    const char *out, *command; /* run directory; what made it (resume refuses another) */
    const vm_args *args;       /* recorded in checkpoints; NULL = nothing is */
    lr_schedule schedule;      /* its total is steps */
    vm_comm *comm;             /* processes that share the batches; only rank 0 writes; NULL = one process */
    int64_t steps, log_every, save_every, val_every; /* steps between validations; 0 = at the end only */
    int keep_last;                                   /* checkpoints */
    bool resume;
    bool resume_forced; /* go on although options or data are others */
    bool wait_for_room; /* on a full disk; else training goes on without the checkpoint */
    bool keep_best;     /* the checkpoint of the best validation stays */
    double skip_z;      /* spikes are skipped (train_guard.h); 0 = off */
} train_options;

/* Trains; writes OUT/checkpoints, and what train_log.h says. VM_ESTOP after a signal, with a checkpoint; VM_EMODEL when
 * there are no finite numbers to be had; VM_EIO when the last checkpoint cannot be written. */
vm_status train_loop_run(train_task *t, const train_options *o, vm_error *e);

/* --- options that all trainings have (train_common.c) --- */
/* The place of the option's value in the list (NULL-ended); VM_EUSAGE names them all. */
int train_one_of(const vm_args *a, const char *option, const char *const *known, vm_error *e);
/* Run directory, steps, schedule, checkpoints, what to do on errors. */
vm_status train_read_common(train_options *o, const vm_args *a, vm_error *e);
/* The folder that --init or --scratch names; "world" of --scratch stays that word: a configuration of the command's own. */
const char *train_begins(const vm_args *a, vm_error *e);
/* "8" or "8,16": --lora, --lora-targets, --adapter. */
struct lora_options;
vm_status train_read_lora(struct lora_options *l, const char **adapter, const vm_args *a, vm_error *e);

/* What a run will take, against what the machine has. of: what the activations are for, " for the largest piece", or ""; others: bytes of
 * what does not learn, named so; less: what takes less, for the warning. */
void train_say_memory(const optimizer_bytes *own, size_t activations, const char *of, size_t others, const char *named, const char *less);

/* Rows of the option table. */
#define TRAIN_DRY_RUN_OPT { "dry-run", OPT_FLAG, NULL, NULL, "open data and model, say what memory a step takes, and end", 0, 0 }
#define TRAIN_COMMON_OPTS(LR, WARMUP)                                                                                  \
    { "steps", OPT_INT, "0", "N", "steps of the whole run", 0, 1e9 },                                                  \
    { "epochs", OPT_FLOAT, NULL, "X", "instead of --steps: passes over the data", 0, 1e6 },                            \
    { "lr", OPT_FLOAT, LR, "X", "peak learning rate", 0, 10 },                                                         \
    { "schedule", OPT_STR, "cosine", "NAME",                                                                           \
      "after the warm-up: cosine or linear to 0; const; const-cooldown: falls in the last --cooldown steps", 0, 0 },      \
    { "cooldown", OPT_INT, "0", "N", "const-cooldown: steps of the fall", 1, 1e9 },                                    \
    { "cooldown-power", OPT_FLOAT, "1", "X", "const-cooldown: shape of the fall; 1 = straight", 0.01, 100 },           \
    { "cooldown-end", OPT_FLOAT, "0", "X", "const-cooldown: learning rate at the end", 0, 10 },                        \
    { "warmup", OPT_INT, WARMUP, "N", "steps of linear warm-up", 0, 1e9 },                                             \
    { "log-every", OPT_INT, "10", "N", "steps between log lines", 1, 1e9 },                                            \
    { "save-every", OPT_INT, "500", "N", "steps between checkpoints; 0 = at the end only", 0, 1e9 },                   \
    { "keep-last", OPT_INT, "2", "N", "checkpoints kept", 1, 1000 },                                                   \
    { "val-every", OPT_INT, "0", "N", "steps between validations; 0 = at the end only", 0, 1e9 },                      \
    { "skip-z", OPT_FLOAT, "0", "Z",                                                                                   \
      "skip steps whose loss or gradient is Z standard deviations above the last 128; 0 = off", 0, 1e6 },              \
    { "on-enospc", OPT_STR, "continue", "DO",                                                                          \
      "when a checkpoint finds the disk full: continue, and try at the next; pause: wait for room", 0, 0 },            \
    { "resume", OPT_STR, "auto", "WHEN",                                                                               \
      "auto: go on from the newest checkpoint; force: also with other options; never: refuse to", 0, 0 },              \
    { "save-dtype", OPT_STR, "f32", "TYPE", "type of the exported weights: f32, f16, bf16", 0, 0 }
/* Gradient checkpointing. */
#define TRAIN_RECOMPUTE_OPT                                                                                            \
    { "recompute", OPT_FLAG, NULL, NULL,                                                                               \
      "keep only the inputs of layers and compute the rest again in the backward pass (gradient checkpointing): the "   \
      "same result in less memory and more time", 0, 0 }
/* AdamW; the order of the numbers as it stands. */
#define TRAIN_ADAM_OPTS(WD, BETA2, EPS, CLIP)                                                                          \
    { "wd", OPT_FLOAT, WD, "X", "decoupled weight decay of matrices", 0, 10 },                                         \
    { "beta1", OPT_FLOAT, "0.9", "X", "AdamW", 0, 1 },                                                                 \
    { "beta2", OPT_FLOAT, BETA2, "X", "AdamW", 0, 1 },                                                                 \
    { "eps", OPT_FLOAT, EPS, "X", "AdamW", 0, 1 },                                                                     \
    { "clip-norm", OPT_FLOAT, CLIP, "X", "largest L2 norm of all gradients; 0 = off", 0, 1e9 }
optimizer_config train_read_adam(const vm_args *a); /* without ema */

#endif
