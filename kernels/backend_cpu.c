/* backend_cpu.c - the CPU device: memory, the loop over nodes, processor level, threads, and the look into a run. */
#include <errno.h>
#include <inttypes.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/graph.h"

/* --- processor ----------------------------------------------------------------------------------------------------- */
static int forced = -1;

static int best_level(void) {
#if defined(__x86_64__) && !defined(VM_F64_BUILD) && !defined(VM_EMU)
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
    return v4 ? 2 : v3 ? 1 : 0;
#else
    return 0;
#endif
}

int vm_cpu_level(void) {
    int best = best_level();
    return forced >= 0 && forced < best ? forced : best;
}
void vm_cpu_force(int level) { forced = level; }

bool vm_cpu_has_bf16(void) {
#if defined(__x86_64__) && !defined(VM_F64_BUILD)
    return vm_cpu_level() == 2 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

bool vm_cpu_has_vnni(void) {
#if defined(__x86_64__) && !defined(VM_F64_BUILD)
    return vm_cpu_level() == 2 && __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

bool vm_has_bf16(const vm_backend *be) { return be->device == VM_CUDA_DEV || vm_cpu_has_bf16(); }

/* The affinity mask, cut by the cgroup's quota: more threads than that only wait for each other. */
static int allowed_cpus(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        double quota, period;
        if (fscanf(f, "%lf %lf", &quota, &period) == 2 && period > 0) n = VM_MIN(n, VM_MAX(1, (int)(quota / period + 0.5)));
        fclose(f);
    }
    return VM_MAX(n, 1);
}

void vm_threads(int n) { omp_set_num_threads(n > 0 ? n : allowed_cpus()); }
int vm_num_threads(void) { return omp_get_max_threads(); }

/* --- memory -------------------------------------------------------------------------------------------------------- */
/* calloc'ed pages come from the system as zeros, untouched pages cost nothing */
static void *cpu_alloc(vm_backend *be, size_t bytes) { return vm_calloc(1, VM_MAX(bytes, (size_t)1)); }
static void *cpu_room(vm_backend *be, size_t bytes) {
    void *p = cpu_alloc(be, bytes);
#if defined(VM_F64_BUILD) || defined(__SANITIZE_ADDRESS__)
    if (p) memset(p, 0xff, bytes); /* NaN: what nobody wrote must not pass for a zero */
#endif
    return p;
}
static void cpu_free(vm_backend *be, void *p) { vm_free(p); }

static vm_status cpu_copy(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    if (bytes) memmove(dst, src, bytes);
    return VM_OK;
}

/* --- run ----------------------------------------------------------------------------------------------------------- */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vm_status run_node(vm_graph *g, vm_node *n, int level) {
    for (int k = 0; k < n->n_out; k++) { /* a sum that could not stand in place starts as a copy of the old one */
        vm_val old = n->acc[k];
        if (!old || g->v[old].kind == VM_GRAD || g->v[old].data == g->v[n->out[k]].data) continue;
        memcpy(g->v[n->out[k]].data, g->v[old].data, (size_t)vm_count(g, old) * vm_type_size(g->v[old].type));
    }
    vm_kernel f = n->op->cpu[VM_MIN(level, VM_LEVELS - 1)];
    if (!f) return vm_fail(&g->err, VM_EDEVICE, "op %s has no CPU kernel", n->op->name);
    vm_status st = f(g, n);
    if (st && !g->err.status) vm_fail(&g->err, st, "%s: op %s failed", n->label ? n->label : "graph", n->op->name);
    if (!g->err.status && n->op->ran) n->op->ran(g, n);
    return g->err.status;
}

static vm_status cpu_run(vm_backend *be, vm_graph *g) {
    int level = vm_cpu_level();
    if (g->profile && g->n_trace < g->n_n) {
        vm_free(g->trace);
        g->trace = vm_calloc((size_t)g->n_n, 2 * sizeof *g->trace);
        g->n_trace = g->trace ? g->n_n : 0;
    }
    for (int64_t i = 0; i < g->n_n; i++) {
        vm_node *n = &g->n[i];
        if (n->dead || n->op->view) continue;
        if (!g->profile || !g->trace) {
            if (run_node(g, n, level)) return g->err.status;
            continue;
        }
        double t0 = now();
        if (run_node(g, n, level)) return g->err.status;
        double t1 = now();
        n->t_sum += t1 - t0, n->t_n++;
        g->trace[2 * i] = t0, g->trace[2 * i + 1] = t1;
    }
    return VM_OK;
}

static vm_status cpu_wait(vm_backend *be, vm_error *e) { return VM_OK; }

vm_backend *vm_backend_cpu(void) {
    static vm_backend cpu = { .name = "cpu", .device = VM_CPU_DEV, .alloc = cpu_alloc, .room = cpu_room, .free = cpu_free,
                              .upload = cpu_copy, .download = cpu_copy, .copy = cpu_copy, .run = cpu_run, .wait = cpu_wait };
    return &cpu;
}
