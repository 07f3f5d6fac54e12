/* peak.c - see peak.h. Each measurement is repeated and the best counts: others may be using the machine. */
#include "kernels/peak.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>
#include <time.h>

#include "kernels/ops.h"

#define DECLARE(l)                                                                                  \
    double vm_peak_f32_##l(int64_t, volatile float *), vm_peak_bf16_##l(int64_t, volatile float *); \
    uint64_t vm_peak_sum_##l(const uint64_t *, int64_t);
typedef double (*flop_loop)(int64_t, volatile float *);
typedef uint64_t (*sum_loop)(const uint64_t *, int64_t);
#if defined(__x86_64__) && !defined(VM_F64_BUILD) && !defined(VM_EMU)
DECLARE(v2)
DECLARE(v3) DECLARE(v4) static const flop_loop f32_loops[] = { vm_peak_f32_v2, vm_peak_f32_v3, vm_peak_f32_v4 };
static const flop_loop bf16_loops[] = { vm_peak_bf16_v2, vm_peak_bf16_v3, vm_peak_bf16_v4 };
static const sum_loop sum_loops[] = { vm_peak_sum_v2, vm_peak_sum_v3, vm_peak_sum_v4 };
#else
DECLARE(base)
static const flop_loop f32_loops[] = { vm_peak_f32_base };
static const flop_loop bf16_loops[] = { vm_peak_bf16_base };
static const sum_loop sum_loops[] = { vm_peak_sum_base };
#endif

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double vm_peak_flops(vm_type t) {
    flop_loop loop = (t == VM_BF16 ? bf16_loops : f32_loops)[VM_MIN(vm_cpu_level(), VM_LEN(f32_loops) - 1)];
    double best = 0;
    if (t == VM_BF16 && !vm_cpu_has_bf16()) return 0;
    for (int r = 0; r < 8; r++) {
        double flops = 0, t0 = now();
#pragma omp parallel reduction(+ : flops)
        {
            volatile float sink = 0;
            flops += loop(1000000, &sink);
        }
        best = VM_MAX(best, flops / (now() - t0));
    }
    return best;
}

double vm_peak_read(void) {
    enum { WORDS = 1 << 25 }; /* 256 MB */
    uint64_t *p = vm_alloc(WORDS * sizeof *p), check = 0;
    sum_loop sum = sum_loops[VM_MIN(vm_cpu_level(), VM_LEN(sum_loops) - 1)];
    double best = 0;
    if (!p) return 0;
#pragma omp parallel for
    for (int64_t i = 0; i < WORDS; i++) p[i] = (uint64_t)i;
    for (int r = 0; r < 5; r++) {
        double t0 = now();
#pragma omp parallel reduction(+ : check)
        {
            int64_t n = omp_get_num_threads(), k = omp_get_thread_num();
            check += sum(p + WORDS / n * k, WORDS / n);
        }
        best = VM_MAX(best, (double)(WORDS * sizeof *p) / (now() - t0));
    }
    volatile uint64_t kept = check; /* the sums are asked for, so they are made */
    (void)kept;
    vm_free(p);
    return best;
}

/* --- devices ------------------------------------------------------------------------------------------------------------ */
/* Test builds: there is no speed to be measured, and large sizes take hours. */
static bool emulated(const vm_backend *be) { return !strcmp(be->name, "emu"); }

double vm_peak_flops_on(vm_backend *be, vm_type t) {
    enum { RUNS = 8 };
    const int64_t N = emulated(be) ? 64 : 8192;
    if (be->device == VM_CPU_DEV) return vm_peak_flops(t);
    vm_graph *g = vm_graph_new(be, t);
    double best = 0;
    if (!g) return 0;
    vm_val x = vm_input(g, "x", t, 2, (int64_t[]){ N, N }), w = vm_input(g, "w", t, 2, (int64_t[]){ N, N });
    vm_output(g, "y", vm_linear(g, x, w, 0, VM_NONE, 0, t));
    for (int r = 0; r < 4; r++) { /* the first loads, the second captures */
        double t0 = now();
        for (int k = 0; k < (r < 2 ? 1 : RUNS); k++)
            if (vm_run(g)) break;
        if (vm_wait(g)) break;
        if (r >= 2) best = VM_MAX(best, RUNS * 2 * (double)N * (double)N * (double)N / (now() - t0));
    }
    if (g->err.status) best = 0;
    vm_graph_free(g);
    return best;
}

double vm_peak_read_on(vm_backend *be) {
    enum { RUNS = 16 };
    const size_t bytes = (size_t)1 << (emulated(be) ? 16 : 28);
    if (be->device == VM_CPU_DEV) return vm_peak_read();
    char *p = be->room(be, 2 * bytes);
    vm_error e = { 0 };
    double best = 0;
    for (int r = 0; r < 3 && p; r++) {
        double t0 = now();
        for (int k = 0; k < RUNS; k++) be->copy(be, p + bytes, p, bytes, &e);
        if (be->wait(be, &e)) break;
        if (r) best = VM_MAX(best, RUNS * 2 * (double)bytes / (now() - t0));
    }
    be->free(be, p);
    return best;
}

const char *vm_level_name(int level) {
#ifdef __x86_64__
    static const char *const names[] = { "SSE4.2 (x86-64-v2)", "AVX2 and FMA (x86-64-v3)", "AVX-512 (x86-64-v4)" };
    return names[VM_MIN(level, 2)];
#else
    return "baseline of this processor family";
#endif
}

const char *vm_gemm_library(char buf[64]) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(buf, 64, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return buf;
}
