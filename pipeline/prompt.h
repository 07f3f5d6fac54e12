/* prompt.h - few-shot prompts from two files: STAGE.CATEGORY.txt, a template, and STAGE.CATEGORY.demos.jsonl, its
 * demonstrations. Both are part of the program (pipeline/prompts/), a folder given with --prompt-dir has them first.
 *
 * A template is text with places {name}, and {name:json} for the value as a JSON string; other braces are braces. At
 * {demos} (which stands alone on its line) the demonstrations come. What stands below it is the question; a
 * demonstration looks like it, with its own fields, and its answer on the next line, where the model's answer is to
 * come too:
 *
 *     Change one object of a caption ...                 the file NAME.demos.jsonl:
 *     {demos}                                            {"caption":"A dog on a
 *                                                        sofa.","answer":[{"SelectedPhrase":"dog",...}]}
 *     Caption: {caption:json}
 *     Edits:
 *
 * A template without {demos} has none and needs no second file: a model that was trained on the task brings its own.
 * Its text is the prompt as it is, without the line feed at the end of the file.
 *
 * Demonstrations are drawn from the seed into a few fixed sets; a unit takes one by its key and try. So whatever asks
 * with the same set begins with the same text, which a model computes once. */
#ifndef VM_PROMPT_H
#define VM_PROMPT_H
#include "io/json.h"

enum { PROMPT_SETS = 16, PROMPT_FIELDS = 8 };
typedef struct prompt prompt;

typedef struct {
    const char *name, *value;
} prompt_field;

typedef struct {
    const char *stage, *category; /* the names of the files; category NULL: STAGE.txt */
    const char *dir;              /* --prompt-dir or NULL */
    const char *fields;           /* the places that the stage fills, separated by blanks */
    int shots;                    /* demonstrations of a set, at most as many as there are */
    uint64_t seed;                /* of the sets */
    /* Is this a demonstration as the stage wants one? Sets e (json_fail) when it breaks the stage's own rules. It gets
     * the whole object. NULL = any. */
    vm_status (*check)(json_value demo, void *ctx, vm_error *e);
    void *ctx;
    /* Demonstrations with the same label here are drawn in turn, so that each set has all kinds: a member's name, or
     * NULL. */
    const char *balance;
} prompt_options;

/* VM_EINPUT with file and line: no such template, a place that nobody fills, a demonstration that is none. */
vm_status prompt_open(prompt **out, const prompt_options *o, vm_error *e);
void prompt_free(prompt *p); /* accepts NULL */
const char *prompt_hash(const prompt *p); /* 64 digits: template and demonstrations */
int prompt_shots(const prompt *p);        /* demonstrations of a set; 0 = none */
int64_t prompt_demos(const prompt *p);    /* all that there are, */
json_value prompt_demo(const prompt *p, int64_t i); /* and number i */
int prompt_set(const prompt *p, const char *key, int t); /* of the unit's try t: 0 ... PROMPT_SETS - 1 */

/* The text with the last `shots` demonstrations of the set, counted from the question; vm_free. turn: NULL, or what
 * stands between the turns when each demonstration is a question and its answer in a conversation of their own. */
vm_status prompt_text(char **text, const prompt *p, int set, int shots, const char *turn, const prompt_field *f, int n,
                      vm_error *e);
/* The same with demonstrations of the caller's choice, first to last. */
vm_status prompt_text_of(char **text, const prompt *p, const int64_t *demo, int shots, const char *turn,
                         const prompt_field *f, int n, vm_error *e);
#endif
