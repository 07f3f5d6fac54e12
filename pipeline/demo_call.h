/* demo_call.h - stages of `vismin demo` run as their commands do, with command lines that anybody can repeat. */
#ifndef VM_DEMO_CALL_H
#define VM_DEMO_CALL_H
#include "pipeline/command.h"

/* The command with these words, NULL behind the last. Some records in error are no error. */
static inline vm_status demo_call(const vm_command *c, const char *const *word, vm_error *e) {
    enum { MOST = 48 };
    char *argv[MOST];
    int n = 0;
    vm_args *a = NULL;
    bool done;
    for (; word[n] && n < MOST; n++) argv[n] = (char *)(uintptr_t)word[n];
    vm_status st = args_parse(&a, c, n, argv, &done, e);
    if (!st) st = c->run(a, e);
    args_free(a);
    return st == VM_EPARTIAL ? VM_OK : st;
}
#endif
