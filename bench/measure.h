/* measure.h - what the benchmark programs share: their command line, and the rows of JSON that they print.
 *
 *   PROGRAM [--threads N] [--seconds S] [--dtype f32|bf16] [--profile] [ROW...]        all rows when none is named */
#ifndef VM_MEASURE_H
#define VM_MEASURE_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/graph.h"

static double budget = 8;
static int threads = 1, n_rows;
static const char *rows[16], *only_dtype;
static bool profile;

static inline void bench_begin(int argc, char **argv) {
    for (int k = 1; k < argc; k++) {
        if (!strcmp(argv[k], "--threads") && k + 1 < argc) threads = atoi(argv[++k]);
        else if (!strcmp(argv[k], "--seconds") && k + 1 < argc) budget = atof(argv[++k]);
        else if (!strcmp(argv[k], "--dtype") && k + 1 < argc) only_dtype = argv[++k];
        else if (!strcmp(argv[k], "--profile")) profile = true;
        else if (n_rows < 16) rows[n_rows++] = argv[k];
    }
    vm_threads(threads);
}

static inline bool wanted(const char *row) {
    for (int k = 0; k < n_rows; k++)
        if (!strcmp(rows[k], row)) return true;
    return n_rows == 0;
}
/* f32 always, bf16 where the processor has it; one of them when it was named. */
static inline bool wanted_dtype(vm_type t) {
    return (t == VM_F32 || (t == VM_BF16 && vm_cpu_has_bf16())) &&
           (!only_dtype || !strcmp(only_dtype, vm_type_name(t)));
}

static inline double seconds(clockid_t c) {
    struct timespec t;
    clock_gettime(c, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void die(const vm_error *e) {
    fprintf(stderr, "bench: %s\n", e->msg);
    exit(1);
}

/* GFLOP of one run, and GB that it must move at least. */
static inline double graph_gflop(const vm_graph *g, double *gbytes) {
    double flops = 0, bytes = 0;
    for (int64_t i = 0; i < g->n_n; i++) {
        double f, b;
        if (g->n[i].dead) continue;
        vm_node_cost(g, &g->n[i], &f, &b);
        flops += f, bytes += b;
    }
    if (gbytes) *gbytes = bytes * 1e-9;
    return flops * 1e-9;
}

/* A line of /proc/self/status in MB. */
static inline double status_mb(const char *what) {
    char line[128];
    long kb = 0;
    size_t n = strlen(what);
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, what, n) && sscanf(line + n, ": %ld", &kb) == 1) break;
    if (f) fclose(f);
    return (double)kb / 1024;
}
/* Most memory so far. getrusage would count what the parent had at the fork. */
static inline double peak_mb(void) { return status_mb("VmHWM"); }

/* Least CPU time of repeats within the budget, at least three. */
static inline void measure(const char *section, const char *name, vm_type t, double gflop, int64_t items,
                           void (*work)(void *), void *ctx) {
    double best = 1e30, wall = 1e30, start = seconds(CLOCK_MONOTONIC);
    work(ctx);
    for (int r = 0; r < 3 || (r < 200 && seconds(CLOCK_MONOTONIC) - start < budget); r++) {
        double c = seconds(CLOCK_PROCESS_CPUTIME_ID), w = seconds(CLOCK_MONOTONIC);
        work(ctx);
        c = seconds(CLOCK_PROCESS_CPUTIME_ID) - c, w = seconds(CLOCK_MONOTONIC) - w;
        best = c < best ? c : best, wall = w < wall ? w : wall;
    }
    printf("{\"program\":\"vismin\",\"section\":\"%s\",\"name\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,\"cpu_s\":%.6f,"
           "\"wall_s\":%.6f,"
           "\"per_s\":%.3f,\"gflops\":%.1f,\"peak_rss_mb\":%.0f}\n",
           section, name, vm_type_name(t), threads, best, wall, (double)items / wall, gflop / wall,
           peak_mb());
    fflush(stdout);
}

#endif
