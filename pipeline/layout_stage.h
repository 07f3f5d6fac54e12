/* layout_stage.h - `vismin layout` at work: what its ways of making layouts share. */
#ifndef VM_LAYOUT_STAGE_H
#define VM_LAYOUT_STAGE_H
#include "pipeline/layout_enum.h"
#include "pipeline/stage_llm.h"

typedef enum { LAYOUT_ENUMERATE, LAYOUT_BOOTSTRAP, LAYOUT_FROM_CAPTION } layout_mode;
enum { LAYOUT_PROMPTS = 3 }; /* layout.relation, layout.counting (LAYOUT_KINDS of them), layout.caption */

typedef struct {
    const vm_args *a;
    const char *run;
    layout_mode mode;
    bool want[LAYOUT_KINDS];
    layout_rules rules;
    layout_world *world;
    char world_hash[65];  /* of its tables */
    int64_t quota, units; /* layouts of each kind, in all shards; prompts at most */
    preset how;
    completer *c;
    prompt *prompt[LAYOUT_PROMPTS]; /* those that the mode uses */
} layout_job;

/* layout_llm.c: prompts, whose demonstrations pass the job's rules. */
vm_status layout_open_prompts(layout_job *j, vm_error *e);
/* Asks until there are enough layouts of each kind (bootstrap), or about every caption. s NULL: only shows. */
vm_status layout_ask(layout_job *j, stage *s, tally *counts, vm_error *e);
#endif
