/* run.h - what commands share: device and dtype options, stopping on signals, notes to stderr. */
#ifndef VM_RUN_H
#define VM_RUN_H
#include "kernels/ops.h"
#include "pipeline/command.h"

#define VM_VERSION "0.1.0"

/* Installs the signal handlers and the log sink. SIGINT, SIGTERM, SIGUSR1, SIGHUP set a flag; a second one ends the process. */
void run_start(const vm_args *a);
bool run_stopping(void);     /* a signal asked to stop: finish the record, save, return VM_ESTOP */
int run_stop_code(void);     /* 130 after SIGINT, else 143 */

vm_backend *run_backend(const vm_args *a, vm_error *e);
void run_end(void);          /* after a command that went well: what --check found */
/* --dtype: auto is bf16 where the processor has it when fast_default, else f32. */
vm_status run_dtype(const vm_args *a, bool fast_default, vm_type *out, vm_error *e);

/* --activation, as towers_options has it; VM_NONE when it is not given. */
vm_status run_activation(const vm_args *a, vm_unary_kind *out, vm_error *e);
#define RUN_ACTIVATION \
    { "activation", OPT_STR, NULL, "NAME", "quick_gelu or gelu, of a model whose files do not state it", 0, 0 }

const char *args_nearest(const char *name, const char *const *known, int n); /* NULL when none is near */
double run_seconds(void);    /* monotonic */
size_t run_memory(void);     /* bytes that the process may use: the machine's, or its cgroup's limit; 0 = unknown */

#endif
