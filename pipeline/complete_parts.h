/* complete_parts.h - what stands behind complete.h: one table of functions for each place that gives answers. */
#ifndef VM_COMPLETE_PARTS_H
#define VM_COMPLETE_PARTS_H
#include "io/chat.h"
#include "pipeline/complete.h"

typedef struct {
    void (*close)(completer *c);
    vm_status (*run)(completer *c, completion *list, int64_t n, vm_error *e);
    int64_t (*count)(completer *c, const char *prompt, vm_error *e); /* tokens as the model sees it; NULL: by length */
    vm_status (*shown)(char **text, completer *c, const char *prompt, vm_error *e); /* NULL: the prompt itself */
    bool groups; /* complete_groups */
    int choices; /* complete_spans */
} completer_kind;

/* Begins the struct of each kind. */
struct completer {
    const completer_kind *kind;
    char *id;
    int64_t context; /* 0 = no limit known */
    bool stop;       /* complete_stop */
};
/* Is nothing more to be asked? */
bool complete_stopping(const completer *c);

vm_status complete_open_native(completer **out, const char *dir, const vm_args *a, vm_error *e);
vm_status complete_open_http(completer **out, const char *url, const vm_args *a, vm_error *e);
vm_status complete_open_replay(completer **out, const char *file, const vm_args *a, vm_error *e);

/* The turns of a prompt, from the user's first one on; the last one is the user's too. copy is cut up, and m's texts
 * lie in it. */
enum { COMPLETE_TURNS = 1024 };
int complete_turns(chat_message m[COMPLETE_TURNS], char *copy);

/* Drops what a model thinks before its answer; ends the answer before its stop text; looks for loops of words when the
 * answer came whole; calls done. */
void complete_finish(completion *x);

/* A text that goes round in circles: the last three turns and twelve tokens more are the same. Feed it all tokens of
 * one text. All-zero begins. */
typedef struct {
    int32_t *id, *run; /* run[p]: how many of the last tokens equal those p+1 places before them */
    int64_t n, cap, run_cap;
} loop_watch;
enum { LOOP_GRAM = 12, LOOP_TURNS = 3 };
bool loop_step(loop_watch *w, int32_t id);
void loop_free(loop_watch *w);
#endif
