/* stage_llm.h - a stage that asks a language model: units in blocks, tries with other demonstrations, answers to lines
 * of the journal as soon as they are there, a limit for answers that nothing can be made of. */
#ifndef VM_STAGE_LLM_H
#define VM_STAGE_LLM_H
#include "pipeline/complete.h"
#include "pipeline/preset.h"
#include "pipeline/prompt.h"
#include "pipeline/stage.h"

/* What a stage asks for one try of a unit. */
typedef struct {
    const prompt *prompt;
    prompt_field field[PROMPT_FIELDS]; /* values live until take() of this try, */
    int fields;
    char *schema;          /* vm_free'd by the driver; NULL = any text */
    const int64_t *demo;   /* demonstrations of the stage's own choice, first to last; NULL: a set of the prompt */
    int shots;             /* of demo */
} llm_ask;

/* What a stage makes of the answers. */
typedef struct {
    json_writer *recs;     /* in an array: records, those that the unit had before (had) as well */
    int64_t n;             /* how many were written */
    tally why;             /* what was rejected; begins with that of the tries before */
    const char *code;      /* why nothing came of it: "garbage", "refused", ... */
} llm_taken;

typedef struct {
    /* The prompt of unit u's try t. */
    vm_status (*ask)(void *ctx, const stage_unit *u, int t, llm_ask *ask, vm_error *e);
    /* Answers c (n of them) to it. had: the records of earlier tries (an array or missing). Returns STAGE_OK or
     * STAGE_VOID; *more asks for another try. */
    stage_state (*take)(void *ctx, const stage_unit *u, int t, const completion *c, int n, json_value had,
                        llm_taken *out, bool *more, vm_error *e);
    void *ctx;
    const preset *how;
    const vm_args *a;      /* of LLM_OPTS */
} llm_stage;

/* All units of the shard that are not done. counts: of this run, for stage_close. VM_ESTOP when stopped, VM_EINPUT when
 * too many answers were void (three of them are shown), VM_EUSAGE when c is NULL and there is something to ask. */
vm_status llm_stage_run(stage *s, completer *c, const llm_stage *d, const stage_unit *u, int64_t n, tally *counts,
                        vm_error *e);
/* --show-prompt or --dry-run is given: nothing is to be asked and no run directory to be made. The first prints the
 * first prompt of each template, the second how many prompts of how many tokens there would be at the first try. c may
 * be NULL. */
static inline bool llm_stage_only_shows(const vm_args *a) {
    return arg_flag(a, "show-prompt") || arg_flag(a, "dry-run");
}
vm_status llm_stage_show(completer *c, const llm_stage *d, const stage_unit *u, int64_t n, vm_error *e);
/* All of a stage that only asks: shows, or opens it with this configuration, asks and closes it. With --shard any/N
 * that is done for each of the N parts that no other worker has, one after the other. */
vm_status llm_stage_all(const char *name, const char *run, const char *config, completer *c, const llm_stage *d,
                        const stage_unit *u, int64_t n, vm_error *e);
/* An answer in words that declines to answer. */
bool llm_refuses(const char *text);

#define LLM_OPTS                                                                                                       \
    COMPLETE_OPTS, PRESET_OPTS,                                                                                        \
        { "show-prompt", OPT_FLAG, NULL, NULL, "print the first prompt as the model would get it, and end", 0, 0 },    \
        { "dry-run", OPT_FLAG, NULL, NULL, "count units, prompts and tokens, and end", 0, 0 },                         \
        { "void-limit", OPT_FLOAT, "0.5", "X",                                                                         \
          "stop when more than this part of the last first answers was void", 0, 1 },                                  \
        { "void-window", OPT_INT, "200", "N", "how many answers that looks at", 1, 100000 }
#endif
