/* command.h - what a command is: one file in pipeline/ defines one vm_command, pipeline/main.c lists them.
 *
 * The option table feeds the parser, --help and the "did you mean" of unknown options. Common options (--help, --json,
 * --quiet, --threads N, --device, --check, --dtype, --seed, --deterministic) are parsed for every command. */
#ifndef VM_COMMAND_H
#define VM_COMMAND_H
#include "io/json.h"
#include "kernels/base.h"

typedef enum { OPT_FLAG, OPT_STR, OPT_INT, OPT_FLOAT, OPT_LIST } opt_kind; /* OPT_LIST: repeatable string */

typedef struct {
    const char *name;  /* without the dashes; NULL ends a table */
    opt_kind kind;
    const char *dflt;  /* default as text, shown in --help; NULL = unset */
    const char *arg;   /* what stands after it in --help: FILE, N, ... ; NULL for flags */
    const char *help;  /* one line */
    double min, max;   /* range of numbers; both 0 = unchecked */
} vm_opt;

typedef struct vm_args vm_args; /* parsed command line */

typedef struct vm_command {
    const char *name;
    const char *summary;          /* one line in `vismin --help` */
    const char *usage;            /* what stands after the name: "MODEL_DIR IMAGE... [options]" */
    const char *about;            /* a paragraph or more with examples for `vismin NAME --help` */
    const vm_opt *opts;           /* may be NULL */
    int min_pos, max_pos;         /* positional arguments; max -1 = any number */
    vm_status (*run)(const vm_args *a, vm_error *e);
} vm_command;

/* Accessors; the name must be in the command's table (or a common option), else the program says so and aborts in tests. */
const char *arg_str(const vm_args *a, const char *name);   /* NULL when unset and without default */
int64_t arg_int(const vm_args *a, const char *name);       /* 0 when unset and without default */
double arg_float(const vm_args *a, const char *name);
bool arg_flag(const vm_args *a, const char *name);
bool arg_given(const vm_args *a, const char *name);        /* on the command line, not by arg_default */
int arg_list(const vm_args *a, const char *name, const char *const **items); /* repeatable option; count */
int arg_npos(const vm_args *a);
const char *arg_pos(const vm_args *a, int i);              /* NULL beyond the last */
/* A model argument: a path stays what it is, org/name[@revision] becomes its folder in the cache (io/hub.h), valid as long as a. NULL
 * when given is NULL, and with e set when the cache has no such model. */
const char *arg_model(const vm_args *a, const char *given, vm_error *e);
const char *arg_line(const vm_args *a);                    /* the whole command line, quoted, for manifests */

/* A value for an option that is not on the command line (a preset's): as if given, but arg_given stays false. */
vm_status arg_default(const vm_args *a, const char *name, const char *text, vm_error *e);
/* All options of the command as they stand, defaults and presets included, as an object under `key`. */
void arg_put_all(const vm_args *a, json_writer *w, const char *key);

/* Parses argv for c. On --help prints and sets *done. Errors are VM_EUSAGE with the nearest known name. */
vm_status args_parse(vm_args **out, const vm_command *c, int argc, char **argv, bool *done, vm_error *e);
void args_free(vm_args *a);

#endif
