/* ask_stage.h - `vismin ask` at work. Up to three stages of the run directory, one after the other:
 *   ask_llm    questions by a language model: a unit for each scope of an edit or layout, its records
 *                {"unit", "edit_id" or "layout_id", "question": {...}}
 *   ask_judge  does the model answer them from the text as expected, with the choices in two orders: a unit for each
 *              question, its record {"question", "right", "keep"}
 *   ask        what is kept: template questions, then those of the model that passed both; records
 *                {"edit_id", "image_id", "prompt", "global": [questions], "local": [questions]}
 *                {"layout_id", "caption", "category", "global": [questions], "objects": [{"name", "questions": [...]}]}
 * Scopes of an edit: global (edited caption), local (edited phrase, not the input phrase). Of a layout: global, and
 * local for each thing. */
#ifndef VM_ASK_STAGE_H
#define VM_ASK_STAGE_H
#include "pipeline/ask_question.h"
#include "pipeline/stage_llm.h"
#include "pipeline/text_items.h"

enum { ASK_HEADS = LAYOUT_OBJECTS + 1 };

/* What questions are asked about. */
typedef struct {
    const text_item *of;
    char *key;              /* "EDIT:global", "EDIT:local", "LAYOUT:global", "LAYOUT:a cup" */
    char *name;             /* of the thing; NULL in edits and global scopes */
    char *text;             /* what is true there: the caption, or the phrase */
    char *not_text; /* what is not: the caption before, the phrase before, the other thing; NULL = nothing known */
    char *things;           /* of a global scope of a layout */
    char *input;            /* all of it */
    char (*head)[64];       /* nouns that it is about */
    int heads, object;      /* object: its number in the layout, -1 */
    questions asked;        /* by the model; filled by ask_of_model */
} ask_scope;

typedef struct {
    ask_scope *s; /* of an item one after the other */
    int64_t n, cap;
} ask_scopes;

typedef struct {
    const vm_args *a;
    const char *run;
    text_items list;
    ask_scopes scopes;
    preset how, judge_how;
    completer *c;
    prompt *global, *local, *layout, *judge;
    int64_t most;  /* questions of a scope by the model; 0 = none are asked for */
    bool partial;  /* units of one of the stages are in error */
} ask_job;

/* ask_scope.c */
vm_status ask_scopes_make(ask_job *j, vm_error *e);
void ask_scopes_free(ask_scopes *l);
/* The heads of a scope, ended by NULL. */
void ask_scope_nouns(const ask_scope *s, const char *nouns[ASK_HEADS]);

/* ask_llm.c: all three stages of every shard that this process works on. show: only prints what would be asked. */
vm_status ask_open_prompts(ask_job *j, vm_error *e);
vm_status ask_llm(ask_job *j, bool show, vm_error *e);
/* The questions of ask_llm in the shard of `part`, in the order of their keys. */
typedef vm_status (*ask_each_fn)(void *ctx, ask_scope *s, const question *q, vm_error *e);
vm_status ask_each(ask_job *j, const stage *part, ask_each_fn each, void *ctx, vm_error *e);
/* ask_judge.c: the second stage for that shard; after it the scopes of the shard have the questions that passed. */
vm_status ask_judge(ask_job *j, const stage *part, vm_error *e);
/* The key of a question in ask_judge; vm_free. */
char *ask_question_key(const char *scope, const question *q);
/* ask.c: the third. */
vm_status ask_keep_beside(ask_job *j, const stage *part, vm_error *e);
#endif
