/* models.h - models of published shapes with random weights, for the benchmark programs: a folder with a configuration and, where the peers'
 * script (bench/peers) made them for both programs, the numbers in model files. */
#ifndef VM_BENCH_MODELS_H
#define VM_BENCH_MODELS_H
#include <unistd.h>

#include "bench/measure.h"
#include "io/file.h"
#include "kernels/peak.h"

/* $BENCH_MODELS/name, or a new folder with this config.json alone. Its path, which the caller frees; *fresh: it has no numbers. */
static inline char *bench_folder(const char *name, const char *config, bool *fresh) {
    vm_error e = { 0 };
    const char *all = getenv("BENCH_MODELS");
    char *dir = all ? vm_asprintf("%s/%s", all, name) : vm_strdup("/tmp/vismin-bench.XXXXXX");
    *fresh = !all;
    if (!dir || (!all && !mkdtemp(dir))) vm_fail(&e, VM_EINPUT, "no folder for %s", name);
    char *path = all || e.status ? NULL : vm_asprintf("%s/config.json", dir);
    FILE *f = path ? fopen(path, "w") : NULL;
    if (path && (!f || fputs(config, f) < 0 || fclose(f))) vm_fail(&e, VM_EINPUT, "%s: cannot be written", path);
    vm_free(path);
    if (e.status) die(&e);
    return dir;
}
/* A file of a folder of ours. */
static inline void bench_remove(const char *dir, const char *file) {
    char *path = vm_asprintf("%s/%s", dir, file);
    if (path) unlink(path);
    vm_free(path);
}
static inline void bench_folder_free(char *dir, bool fresh) {
    if (fresh) bench_remove(dir, "config.json"), rmdir(dir);
    vm_free(dir);
}

/* Per op, against what this processor reaches at most in the same minute; to stderr. */
static inline void bench_profile(vm_graph *g, const char *name, void (*work)(void *), void *ctx) {
    double flops = vm_peak_flops(g->dtype), read = vm_peak_read();
    g->profile = true;
    for (int k = 0; k < 2; k++) work(ctx);
    g->profile = false;
    fprintf(stderr, "%s %s: ceilings %.0f GFLOP/s, %.1f GB/s\n", name, vm_type_name(g->dtype), flops * 1e-9, read * 1e-9);
    vm_profile(g, stderr, flops, read);
}
#endif
