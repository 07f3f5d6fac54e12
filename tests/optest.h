/* optest.h - float kernels against double-precision loops: builds a graph with random inputs and runs it at every
 * processor level.
 *
 *   op_case c = op_begin(VM_F32);
 *   vm_val x = op_input(&c, VM_BF16, 2, (int64_t[]){ 3, 5 }, -1, 1);     (c.x[0] keeps the values, rounded to the type)
 *   vm_val y = vm_scale(c.g, x, 2, 0);
 *   OP_LEVELS(&c) { op_near(&c, "scale", y, want, rows, tol); }
 *   op_end(&c);
 *
 * Outputs are compared row by row, relative to the largest wanted magnitude of the row.
 *
 * With VISMIN_TEST_DEVICE=emu or cuda:N the same cases run once, on that device, every buffer in memory of its own so that no
 * kernel's overrun lands in a neighbour. Results are read through op_get, op_bits, op_same and op_near, parameters made on
 * op_backend() and read and written through vm_param_read and vm_param_write. A case that is about the processor only asks
 * op_on_device(). */
#ifndef VM_OPTEST_H
#define VM_OPTEST_H
#include <stdlib.h>

#include "kernels/cpu.h"
#include "kernels/ops.h"
#include "tests/test.h"

enum { OP_MAX = 8, OP_COPIES = 64 };

/* f32: a few roundings, and sums of thousands of terms in f32 */
#define OP_TOL_F32 1e-5
/* bf16 keeps 8 bits of mantissa: rounding errs by 2^-9 of the value, two roundings by twice that */
#define OP_TOL_BF16 0x1p-8
#define OP_TOL_F16 0x1p-11 /* 11 bits */
static inline double op_tol(vm_type t) { return t == VM_F32 ? OP_TOL_F32 : OP_TOL_BF16; }

typedef struct {
    vm_graph *g;
    uint64_t state;
    int n_x, level;
    vm_val v[OP_MAX];
    double *x[OP_MAX];
    void *raw[OP_MAX];
    struct op_copy { vm_val v; void *bits; } *copy; /* values of the last run, downloaded when first asked for */
} op_case;

static inline const char *op_device(void) {
    const char *d = getenv("VISMIN_TEST_DEVICE");
#ifdef VM_EMU
    if (!d) d = "emu";
#endif
    return d && strcmp(d, "cpu") ? d : NULL;
}
static inline bool op_on_device(void) { return op_device() != NULL; }
static inline vm_backend *op_backend(void) {
    vm_error e = { 0 };
    vm_backend *be = op_on_device() ? vm_backend_open(op_device(), &e) : vm_backend_cpu();
    if (be) return be;
    MISMATCH("%s\n", e.msg);
    exit(1);
}

/* Rows for a processor, where threads share them only when there are many; emulated ones take longer and need fewer. */
static inline int64_t op_rows(int64_t n, int64_t on_device) { return op_on_device() ? on_device : n; }
/* Runs with 1, 2, ... threads; a device has one number of them, and what it replays is another run. */
static inline int op_thread_counts(void) { return op_on_device() ? 2 : 3; }

static inline op_case op_begin(vm_type dtype) {
    op_case c = { .g = vm_graph_new(op_backend(), dtype), .state = 9, .level = -1 };
    c.g->seed = 5, c.g->apart = op_on_device();
    c.copy = vm_calloc(OP_COPIES, sizeof *c.copy);
    return c;
}

static inline void op_drop_copies(op_case *c) {
    for (int k = 0; k < OP_COPIES; k++) vm_free(c->copy[k].bits), c->copy[k].bits = NULL;
}

/* The bits of v, an output, after a run; valid until the next. */
static inline const void *op_bits(const op_case *c, vm_val v) {
    if (c->g->be->device == VM_CPU_DEV) return vm_data(c->g, v);
    int k = 0;
    while (k < OP_COPIES - 1 && c->copy[k].bits && c->copy[k].v != v) k++;
    if (!c->copy[k].bits || c->copy[k].v != v) {
        size_t bytes = (size_t)vm_count(c->g, v) * vm_type_size(c->g->v[v].type);
        vm_free(c->copy[k].bits);
        c->copy[k].v = v, c->copy[k].bits = vm_alloc(bytes + 1);
        if (c->g->be->download(c->g->be, c->copy[k].bits, vm_data(c->g, v), bytes, &c->g->err)) MISMATCH("%s\n", c->g->err.msg);
    }
    return c->copy[k].bits;
}

/* Stores v as type t at place i of p; returns the value as stored. */
static inline double op_store(void *p, vm_type t, int64_t i, double v) {
    if (t == VM_F32) return ((float *)p)[i] = (float)v;
    if (t == VM_I32) return ((int32_t *)p)[i] = (int32_t)v;
    if (t == VM_U8) return ((uint8_t *)p)[i] = (uint8_t)v;
    uint16_t h = ((uint16_t *)p)[i] = t == VM_BF16 ? vm_f32_to_bf16((float)v) : vm_f32_to_f16((float)v);
    return (double)(t == VM_BF16 ? vm_bf16_to_f32(h) : vm_f16_to_f32(h));
}
static inline double op_load(const void *p, vm_type t, int64_t i) {
    if (t == VM_F32) return (double)((const float *)p)[i];
    if (t == VM_I32) return ((const int32_t *)p)[i];
    if (t == VM_U8) return ((const uint8_t *)p)[i];
    uint16_t h = ((const uint16_t *)p)[i];
    return (double)(t == VM_BF16 ? vm_bf16_to_f32(h) : vm_f16_to_f32(h));
}

/* v rounded to type t */
static inline double op_round(vm_type t, double v) {
    uint32_t p;
    return op_store(&p, t, 0, v);
}
/* Types of products on the device of the tests: f32 first; bf16 where the processor has it; f16 on devices. */
static inline int op_products(vm_type t[3]) {
    t[0] = VM_F32, t[1] = VM_BF16, t[2] = VM_F16;
    return op_on_device() ? 3 : vm_cpu_has_bf16() ? 2 : 1;
}

/* An input with values uniform in [lo,hi). */
static inline vm_val op_input(op_case *c, vm_type t, int nd, const int64_t *ne, double lo, double hi) {
    char name[16];
    int k = c->n_x++;
    snprintf(name, sizeof name, "x%d", k);
    vm_val v = c->v[k] = vm_input(c->g, name, t, nd, ne);
    size_t n = (size_t)vm_count(c->g, v);
    c->x[k] = vm_alloc(n * sizeof(double) + 1);
    c->raw[k] = vm_alloc(n * vm_type_size(t) + 1);
    for (size_t i = 0; i < n; i++)
        c->x[k][i] = op_store(c->raw[k], t, (int64_t)i, lo + (hi - lo) * (0.5 + 0.5 * test_uniform(&c->state)));
    return v;
}
/* The same as a view of an input that begins at its element 1: no kernel may take its rows for aligned ones. Its values are
 * c->x[k] + 1. */
static inline vm_val op_view(op_case *c, vm_type t, int nd, const int64_t *ne, double lo, double hi) {
    int64_t n = 1;
    for (int k = 0; k < nd; k++) n *= ne[k];
    return vm_reshape(c->g, vm_slice(c->g, op_input(c, t, 1, (int64_t[]){ n + 1 }, lo, hi), 0, 1, n), nd, ne);
}
/* Changes one entry of input k. */
static inline void op_put(op_case *c, int k, int64_t i, double v) {
    c->x[k][i] = op_store(c->raw[k], c->g->v[c->v[k]].type, i, v);
}

static inline bool op_run(op_case *c) {
    op_drop_copies(c);
    for (int k = 0; k < c->n_x; k++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", k);
        if (vm_set(c->g, name, c->raw[k])) break;
    }
    if (c->g->err.status || vm_run(c->g) || vm_wait(c->g)) MISMATCH("%s\n", c->g->err.msg);
    return !c->g->err.status;
}

/* Next processor level, run there; false after the last. A device has one. */
static inline bool op_next(op_case *c) {
    vm_cpu_force(-1);
    if (++c->level > (op_on_device() ? 0 : vm_cpu_level())) return false;
    if (op_on_device()) return op_run(c);
    vm_cpu_force(c->level);
    return op_run(c);
}
#define OP_LEVELS(c) while (op_next(c))

/* Element i of v after a run; v must be an output. */
static inline double op_get(const op_case *c, vm_val v, int64_t i) { return op_load(op_bits(c, v), c->g->v[v].type, i); }

/* The bits of v are those of `bits` from now on: first call copies. Finds what depends on thread count. */
static inline void op_same(const op_case *c, vm_val v, void **bits) {
    size_t bytes = (size_t)vm_count(c->g, v) * vm_type_size(c->g->v[v].type);
    if (!*bits) memcpy(*bits = vm_alloc(bytes + 1), op_bits(c, v), bytes);
    EXPECT(!memcmp(*bits, op_bits(c, v), bytes));
}

/* Every row of C elements of v agrees with want within tol of the row's largest magnitude. */
static inline void op_near(const op_case *c, const char *what, vm_val v, const double *want, int64_t C, double tol) {
    int64_t n = vm_count(c->g, v);
    for (int64_t r = 0; r < n; r += C) {
        double scale = 0;
        for (int64_t i = r; i < r + C; i++)
            if (isfinite(want[i])) scale = fmax(scale, fabs(want[i]));
        for (int64_t i = r; i < r + C; i++) {
            double got = op_get(c, v, i);
            test_checks++;
            if (!(fabs(got - want[i]) <= tol * scale) && got != want[i] && !(isnan(got) && isnan(want[i])))
                MISMATCH("%s at level %d: [%lld] = %.9g, want %.9g (row scale %.3g)\n", what, c->level, (long long)i,
                    got,
                         want[i], scale);
        }
    }
}

static inline void op_end(op_case *c) {
    for (int k = 0; k < c->n_x; k++) vm_free(c->x[k]), vm_free(c->raw[k]);
    op_drop_copies(c);
    vm_free(c->copy);
    vm_graph_free(c->g);
    vm_cpu_force(-1);
}

/* A call that must be refused in the graph of the op_case c: no value, and an error that has the text. */
#define WRONG(call, text)                                                                                          \
    do {                                                                                                           \
        vm_error_clear(&c.g->err);                                                                                 \
        EXPECT((call) == 0);                                                                                       \
        EXPECT_HAS(c.g->err.msg, text);                                                                            \
    } while (0)

#endif
