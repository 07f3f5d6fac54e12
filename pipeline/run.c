/* run.c - see run.h. */
#include "pipeline/run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/file.h"
#include "io/log.h"
#include "io/progress.h"

static volatile sig_atomic_t stopped;

static void on_signal(int sig) {
    if (stopped) _exit(sig == SIGINT ? 130 : 143); /* the second one: now; files are consistent at any moment */
    stopped = sig;
}

/* A mapped weight file was cut short by somebody: name it and go. Only async-signal-safe calls. */
static void on_bus_error(int sig, siginfo_t *info, void *context) {
    const char *file = file_of_address(info->si_addr), *said[] = { "vismin: ", file ? file : "memory", ": the file became shorter while it was in use\n" };
    for (int k = 0; k < VM_LEN(said); k++)
        if (write(2, said[k], strlen(said[k])) < 0) break;
    _exit(VM_EMODEL);
}

void run_start(const vm_args *a) {
    const int signals[] = { SIGINT, SIGTERM, SIGUSR1, SIGHUP };
    struct sigaction s = { .sa_handler = on_signal };
    log_set(log_to_stderr, NULL, arg_flag(a, "quiet") ? LOG_WARN : LOG_INFO);
    if (arg_flag(a, "quiet")) progress_set_mode(PROGRESS_NONE);
    for (int k = 0; k < VM_LEN(signals); k++) sigaction(signals[k], &s, NULL);
    struct sigaction bus = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };
    sigaction(SIGBUS, &bus, NULL);
}

bool run_stopping(void) { return stopped != 0; }
int run_stop_code(void) { return stopped == SIGINT ? 130 : 143; }

static vm_check checked;

vm_backend *run_backend(const vm_args *a, vm_error *e) {
    vm_backend *be = vm_backend_open(arg_str(a, "device"), e);
    if (!be || !arg_flag(a, "check")) return be;
    if (be->device == VM_CPU_DEV) {
        vm_fail(e, VM_EUSAGE, "--check compares a device with the processor, and --device is %s here; give --device cuda", be->name);
        return NULL;
    }
    be->check = &checked;
    return be;
}

void run_end(void) {
    if (!checked.ops) return;
    vm_info("check: %lld results of %lld ops agree with the processor; the largest difference is %.2g of what is allowed (%s)%s",
            (long long)checked.values, (long long)checked.ops, checked.worst, checked.worst_op[0] ? checked.worst_op : "none",
            checked.skipped ? "; ops that change state were not compared" : "");
}

vm_status run_dtype(const vm_args *a, bool fast_default, vm_type *out, vm_error *e) {
    const char *name = arg_str(a, "dtype");
    const vm_backend *be = run_backend(a, e);
    const bool bf16 = be && vm_has_bf16(be);
    if (!be) return e->status;
    *out = VM_F32;
    if (!strcmp(name, "auto")) *out = fast_default && bf16 ? VM_BF16 : VM_F32;
    else if (!strcmp(name, "bf16")) *out = VM_BF16;
    else if (strcmp(name, "f32")) return vm_fail(e, VM_EUSAGE, "--dtype %s: known are auto, f32, bf16", name);
    if (*out == VM_BF16 && !bf16)
        return vm_fail(e, VM_EDEVICE, "--dtype bf16: this processor has no bf16 products (avx512_bf16); use --dtype f32");
    return VM_OK;
}

vm_status run_activation(const vm_args *a, vm_unary_kind *out, vm_error *e) {
    const char *name = arg_str(a, "activation");
    *out = !name ? VM_NONE : !strcmp(name, "quick_gelu") ? VM_QUICK_GELU : VM_GELU;
    if (!name || *out == VM_QUICK_GELU || !strcmp(name, "gelu")) return VM_OK;
    return vm_fail(e, VM_EUSAGE, "--activation %s: expected quick_gelu or gelu", name);
}

double run_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t run_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t all = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0, limit;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "r");
    if (f && fscanf(f, "%zu", &limit) == 1 && (!all || limit < all)) all = limit;
    if (f) fclose(f);
    return all;
}
