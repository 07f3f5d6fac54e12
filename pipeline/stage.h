/* stage.h - one stage of a run directory (run_dir.h) at work: which units are done, journals, shards, locks, what is
 * said at the end.
 *
 * A unit is what one line of the journal is about (a caption and a category, an edit, a layout). Its line:
 *   {"k": key, "h": tag + input hash, "t": try, "st": "ok" | "void" | "error", "code": why not ok, "more": true,
 *     "recs": [records],
 *    "why": {rule: count}, "usage": {"in": tokens, "out": tokens}, "ms": time, "crc": "..."}
 * The last line of a key counts. "more": another try is to come. Lines of a try hold all that the tries before it gave
 * as well. A unit in error is taken up again by the next run, others are final. */
#ifndef VM_STAGE_H
#define VM_STAGE_H
#include "pipeline/run_dir.h"
#include "pipeline/tally.h"

typedef enum { STAGE_NEW, STAGE_OK, STAGE_VOID, STAGE_ERROR } stage_state;

typedef struct {
    const char *key;   /* unique in the stage */
    const char *shard; /* units with the same text belong to the same shard: the image */
    const char *input; /* what the result depends on beside the configuration and the key */
    void *item;        /* the stage's own */
} stage_unit;

typedef struct {
    stage_state state;
    bool more;         /* not final */
    int t;             /* the last try */
    const char *line;  /* whole line as JSON where more is set, else NULL; valid until the stage is closed */
} stage_past;

typedef struct {
    const char *key, *input;
    stage_state state;
    bool more;
    int t;
    const char *code;  /* NULL when ok */
    const char *recs;  /* JSON array; NULL = [] */
    const tally *why;  /* NULL = {} */
    int64_t in, out;   /* tokens; -1 = not known */
    double ms;
} stage_line;

typedef struct stage stage;
/* run: the run directory. config: see run_dir.h. Takes --shard, --wait, --new-run, --resume, --no-lock of a. VM_ELOCKED: another
 * process works on the shard. */
vm_status stage_open(stage **out, const char *name, const char *run, const char *config, const vm_args *a, vm_error *e);
/* The same for part `part` of `parts`, whatever --shard says. */
vm_status stage_open_part(stage **out, const char *name, const char *run, const char *config, const vm_args *a,
                          int64_t part, int64_t parts, vm_error *e);
/* What is done with an open stage; counts are for stage_close. */
typedef vm_status (*stage_work)(void *ctx, stage *s, tally *counts, vm_error *e);
/* Opens the stage, works and closes it. With --shard any/N that is done for each of the N parts that no other worker
 * has, one after the other. */
vm_status stage_parts(const char *name, const char *run, const char *config, const vm_args *a, stage_work work,
                      void *ctx, vm_error *e);
/* The same of another stage, for the part that s is at work on. */
vm_status stage_beside(const stage *s, const char *name, const char *config, stage_work work, void *ctx, vm_error *e);
int64_t stage_shards(const stage *s); /* N: how many parts there are */
const char *stage_name(const stage *s);
bool stage_mine(const stage *s, const char *shard);     /* does this text belong to the shard? */
stage_past stage_find(const stage *s, const stage_unit *u);
/* Is there nothing to do for it in this run? */
bool stage_done(const stage *s, const stage_unit *u);
vm_status stage_put(stage *s, const stage_line *l, vm_error *e);
/* An answer that nothing was made of, for people: at most 64 MiB of them are kept. */
vm_status stage_reject(stage *s, const char *key, int t, const char *code, const char *text, vm_error *e);
/* VM_EIO when the disk has no room for about so many bytes. */
vm_status stage_room(const stage *s, int64_t bytes, vm_error *e);
/* Syncs, unlocks and frees. finished: every unit of the shard was looked at; then the .done file and --stats-json are
 * written (to stdout too with --json), what became of the units is said, and the status is VM_EPARTIAL when some are in
 * error. `extra` (may be NULL) is added to the counts of --stats-json. Accepts NULL. */
vm_status stage_close(stage *s, bool finished, const tally *extra, vm_error *e);

#define STAGE_OPTS                                                                                                     \
    RUN_DIR_OPTS,                                                                                                      \
        { "shard", OPT_STR, "0/1", "I/N",                                                                              \
          "work on part I of N (from 0), by a hash of the image; any/N: on each that nobody else works on", 0, 0 },    \
        { "wait", OPT_FLAG, NULL, NULL, "wait for the process that works on this shard", 0, 0 },                       \
        { "strict", OPT_FLAG, NULL, NULL, "a malformed line of the input ends the run", 0, 0 },                        \
        { "explain", OPT_FLAG, NULL, NULL, "print how many records each rule has rejected", 0, 0 },                    \
        { "stats-json", OPT_STR, NULL, "FILE", "write counts of units, rules and tokens", 0, 0 }
#endif
