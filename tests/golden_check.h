/* golden_check.h - what `vismin forward` writes against a golden.safetensors: per case in.*, out.*, loss and grad.NAME; of large
 * gradients every stride-th element and gradstat.NAME = sums of g, |g|, the norm, sum of g[i] cos(0.37 i). The strings tol.NAME
 * are "rtol atol", those of stride.NAME the strides. */
#ifndef VM_TESTS_GOLDEN_CHECK_H
#define VM_TESTS_GOLDEN_CHECK_H
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "pipeline/command.h"
#include "tests/test.h"

extern const vm_command cmd_forward;

static const char *meta(const st_file *f, const char *prefix, const char *name) {
    char key[300];
    snprintf(key, sizeof key, "%s%s", prefix, name);
    return st_meta(f, key);
}
static float *numbers(const st_file *f, const st_tensor *t) {
    vm_error e = { 0 };
    float *x = vm_alloc((size_t)t->len * sizeof *x + 1);
    if (st_read_f32(f, t, 0, t->len, x, &e)) MISMATCH("%s\n", e.msg);
    return x;
}

static void near(const char *name, int64_t i, double got, double want, double tol) {
    test_checks++;
    if (got != want && !(fabs(got - want) <= tol)) /* infinities may be wanted */
        MISMATCH("%s[%lld] = %.9g, want %.9g within %.3g\n", name, (long long)i, got, want, tol);
}

static void compare(const st_file *golden, const st_file *out, const st_tensor *want) {
    double rtol, atol;
    const char *tol = meta(golden, "tol.", want->name), *stride = meta(golden, "stride.", want->name);
    const st_tensor *got = st_find(out, want->name);
    if (!tol || sscanf(tol, "%lf %lf", &rtol, &atol) != 2) return; /* an input, or sums */
    if (!got) {
        MISMATCH("%s is missing\n", want->name);
        return;
    }
    float *g = numbers(out, got), *w = numbers(golden, want);
    int64_t step = stride ? atoi(stride) : 1;
    EXPECT((got->len + step - 1) / step == want->len);
    for (int64_t i = 0; i < want->len && i * step < got->len; i++)
        near(want->name, i * step, (double)g[i * step], (double)w[i], atol + rtol * fabs((double)w[i]));
    if (stride) {
        char name[300];
        const char *slash = strchr(want->name, '/');
        snprintf(name, sizeof name, "%.*s/gradstat.%s", (int)(slash - want->name), want->name,
                 slash + 6); /* behind "/grad." */
        const st_tensor *stat = st_find(golden, name);
        double sum[4] = { 0 };
        for (int64_t i = 0; i < got->len; i++) {
            double x = (double)g[i];
            sum[0] += x, sum[1] += fabs(x), sum[2] += x * x, sum[3] += x * cos(0.37 * (double)i);
        }
        sum[2] = sqrt(sum[2]);
        float *s = stat ? numbers(golden, stat) : NULL;
        EXPECT(s != NULL);
        /* what the tolerance of the elements leaves to their sums */
        for (int k = 0; s && k < 4; k++)
            near(name, k, sum[k], (double)s[k],
                 (atol * (double)got->len + rtol * (double)s[1]) / (k == 2 ? sqrt((double)got->len) : 1));
        vm_free(s);
    }
    vm_free(g), vm_free(w);
}

/* On the device that VISMIN_TEST_DEVICE names, or on the processor. */
static void forward(const char *model, const char *in, const char *out, vm_error *e) {
    char *device = getenv("VISMIN_TEST_DEVICE");
    char *argv[] = { (char *)(uintptr_t)model, "--in", (char *)(uintptr_t)in, "--out", (char *)(uintptr_t)out, "--grad",
                     "--quiet", "--device", device ? device : "cpu" };
    vm_args *a = NULL;
    bool done;
    if (!args_parse(&a, &cmd_forward, VM_LEN(argv), argv, &done, e)) cmd_forward.run(a, e);
    args_free(a);
}

/* Strings CASE/out.NAME. */
static void compare_strings(const st_file *golden, const st_file *out) {
    for (int64_t i = 0; i < st_meta_len(golden); i++) {
        const char *want, *name = st_meta_at(golden, i, &want);
        if (strncmp(name, "tol.", 4) && strstr(name, "/out.")) EXPECT_STR(st_meta(out, name), want);
    }
}

/* Every tensor of MODEL/golden.safetensors that has a tolerance, and its strings; counts gradients and outputs. */
static void check_goldens(const char *model, const char *out, int *n_grads, int *n_outs) {
    char in[400];
    vm_error e = { 0 };
    st_file *golden = NULL, *got = NULL;
    snprintf(in, sizeof in, "%s/golden.safetensors", model);
    forward(model, in, out, &e);
    if (e.status || st_open(&golden, in, &e) || st_open(&got, out, &e)) MISMATCH("%s: %s\n", model, e.msg);
    for (int64_t i = 0; golden && got && i < st_len(golden); i++) {
        compare(golden, got, st_at(golden, i));
        *n_grads += strstr(st_at(golden, i)->name, "/grad.") != NULL;
        *n_outs += strstr(st_at(golden, i)->name, "/out.") != NULL;
    }
    if (golden && got) compare_strings(golden, got);
    st_close(golden), st_close(got);
}
#endif
