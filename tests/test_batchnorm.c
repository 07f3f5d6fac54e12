/* test_batchnorm.c - batch normalisation in floats against double loops at every processor level: types, ReLU,
 * residual, statistics of values far from 0, running statistics, folding into the product before it, threads. */
#include "tests/optest.h"

/* y from given statistics; with mean NULL from those of x, which go to m and v (biased). */
static double *reference(int64_t R, int64_t C, const double *x, const double *w, const double *b, const double *mean,
                         const double *var, const double *res, bool relu, double *m, double *v) {
    double *y = vm_calloc((size_t)(R * C) + 1, sizeof *y);
    for (int64_t c = 0; c < C; c++) {
        m[c] = v[c] = 0;
        for (int64_t r = 0; r < R; r++) m[c] += x[r * C + c] / (double)R;
        for (int64_t r = 0; r < R; r++) v[c] += (x[r * C + c] - m[c]) * (x[r * C + c] - m[c]) / (double)R;
        for (int64_t r = 0; r < R; r++) {
            double s = sqrt((mean ? var[c] : v[c]) + 1e-5);
            double z = (x[r * C + c] - (mean ? mean[c] : m[c])) / s * w[c] + b[c] + (res ? res[r * C + c] : 0);
            y[r * C + c] = relu && z < 0 ? 0 : z;
        }
    }
    return y;
}

static void check(bool batch, bool relu, bool residual, vm_type tx, vm_type out, int64_t R, int64_t C, double lo,
                  double hi) {
    op_case c = op_begin(VM_BF16);
    vm_val x = op_input(&c, tx, 2, (int64_t[]){ R, C }, lo, hi), w = op_input(&c, VM_F32, 1, &C, -1, 1),
           b = op_input(&c, VM_F32, 1, &C, -1, 1);
    vm_val mean = op_input(&c, VM_F32, 1, &C, lo, hi), var = op_input(&c, VM_F32, 1, &C, 0.1, 2),
           res = op_input(&c, tx, 2, (int64_t[]){ R, C }, -1, 1);
    vm_val stats[2] = { 0 }, r = residual ? res : 0;
    vm_unary_kind act = relu ? VM_RELU : VM_NONE;
    vm_val y = batch ? vm_batchnorm_batch(c.g, x, w, b, r, 1e-5f, act, out, stats)
                     : vm_batchnorm(c.g, x, w, b, mean, var, r, 1e-5f, act, out);
    vm_output(c.g, "y", y);
    if (batch) vm_output(c.g, "mean", stats[0]), vm_output(c.g, "var", stats[1]);
    double *m = vm_calloc((size_t)C + 1, sizeof *m), *v = vm_calloc((size_t)C + 1, sizeof *v);
    double *want =
        reference(R, C, c.x[0], c.x[1], c.x[2], batch ? NULL : c.x[3], c.x[4], residual ? c.x[5] : NULL, relu, m, v);
    /* values far from 0 keep fewer digits of their deviation */
    double tol = op_tol(out) * fmax(1, fabs(lo));
    OP_LEVELS(&c) {
        op_near(&c, "batchnorm", y, want, VM_MAX(R * C, 1), tol);
        if (batch)
            op_near(&c, "mean", stats[0], m, VM_MAX(C, 1), OP_TOL_F32),
                op_near(&c, "var", stats[1], v, VM_MAX(C, 1), OP_TOL_F32 * fmax(1, fabs(lo) / 10));
    }
    vm_free(m), vm_free(v), vm_free(want);
    op_end(&c);
}
TEST(values) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int batch = 0; batch < 2; batch++)
        for (int how = 0; how < 12; how++) {
            check(batch, how & 1, how & 2, t[how >> 2], t[how >> 2], 37, 19, -1, 1);
            check(batch, how & 1, how & 2, VM_F32, t[how >> 2], op_rows(3000, 300), 70, -1, 3);
        }
    for (int batch = 0; batch < 2; batch++) {
        check(batch, true, true, VM_F32, VM_F32, 5, 2049, -1, 1); /* three pieces of columns */
        check(batch, false, false, VM_F32, VM_F32, 2, 1, -1, 1);
        check(batch, true, true, VM_F32, VM_F32, 4, 0, -1, 1);
        check(batch, false, false, VM_F32, VM_F32, op_rows(5000, 2000), 7, 1000, 1001); /* deviations of a large mean */
    }
    check(false, true, true, VM_F32, VM_F32, 1, 5, -1, 1);
    check(false, true, true, VM_F32, VM_F32, 0, 5, -1, 1);
}

/* Gradients of two equal outputs, so that the second is added to the first. */
static void gradients(bool batch, bool relu, bool residual, vm_type t, int64_t R, int64_t C, bool view) {
    op_case c = op_begin(VM_BF16);
    int64_t ne[] = { R, C };
    vm_val x = (view ? op_view : op_input)(&c, t, 2, ne, -1, 2), w = op_input(&c, VM_F32, 1, &C, 0.5, 1.5),
           b = op_input(&c, VM_F32, 1, &C, -0.5, 0.5), mean = op_input(&c, VM_F32, 1, &C, 0, 1), var = op_input(&c, VM_F32, 1, &C, 0.5, 2),
           res = op_input(&c, t, 2, ne, -1, 1), r = op_input(&c, VM_F32, 2, ne, -1, 1), ys[2], stats[2];
    for (int k = 0; k < 2; k++)
        ys[k] = batch ? vm_batchnorm_batch(c.g, x, w, b, residual ? res : 0, 1e-5f, relu ? VM_RELU : VM_NONE, VM_F32, stats)
                      : vm_batchnorm(c.g, x, w, b, mean, var, residual ? res : 0, 1e-5f, relu ? VM_RELU : VM_NONE, VM_F32);
    vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, residual ? 4 : 3, (vm_val[]){ x, w, b, res });
    vm_val d[] = { vm_grad(c.g, x), vm_grad(c.g, w), vm_grad(c.g, b), residual ? vm_grad(c.g, res) : 0 };
    const char *const names[] = { "dx", "dw", "db", "dres" };
    double *want[4], *m = vm_calloc((size_t)C + 1, sizeof *m), *v = vm_calloc((size_t)C + 1, sizeof *v), *xs = c.x[0] + view;
    double *y = reference(R, C, xs, c.x[1], c.x[2], batch ? NULL : c.x[3], c.x[4], residual ? c.x[5] : NULL, relu, m, v);
    for (int k = 0; k < 4; k++) {
        want[k] = vm_calloc((size_t)(k % 3 ? C : R * C) + 1, sizeof **want);
        if (d[k]) vm_output(c.g, names[k], d[k]);
    }
    for (int64_t col = 0; col < C; col++) {
        double mu = batch ? m[col] : c.x[3][col], s = 1 / sqrt((batch ? v[col] : c.x[4][col]) + 1e-5), M = (double)R;
        for (int64_t i = col; i < R * C; i += C) {
            want[3][i] = relu && y[i] <= 0 ? 0 : 2 * c.x[6][i];
            want[1][col] += want[3][i] * (xs[i] - mu) * s, want[2][col] += want[3][i];
        }
        for (int64_t i = col; i < R * C; i += C)
            want[0][i] = c.x[1][col] * s * (want[3][i] - (batch ? (want[2][col] + (xs[i] - mu) * s * want[1][col]) / M : 0));
    }
    OP_LEVELS(&c)
        for (int k = 0; k < 4; k++)
            if (d[k]) op_near(&c, names[k], d[k], want[k], VM_MAX(k % 3 ? C : R * C, 1), k % 3 ? OP_TOL_F32 : 2 * op_tol(t));
    for (int k = 0; k < 4; k++) vm_free(want[k]);
    vm_free(m), vm_free(v), vm_free(y);
    op_end(&c);
}
TEST(backward) {
    for (int how = 0; how < 8; how++)
        for (int t = VM_F32; t <= VM_F16; t++) {
            gradients(how & 1, how & 2, how & 4, (vm_type)t, 61, 24, false);
            gradients(how & 1, how & 2, how & 4, (vm_type)t, 7, 33, true);
            gradients(how & 1, how & 2, how & 4, VM_F32, 2 + how, 1 + 15 * t, false);
        }
    gradients(true, true, true, VM_F32, 3000, 40, false); /* many chunks */
    gradients(false, true, false, VM_BF16, 900, 129, false);
    gradients(false, true, true, VM_F32, 0, 5, false);
    gradients(true, true, true, VM_F32, 4, 0, false);
    gradients(true, false, false, VM_F32, 3, 1032, false);
}

static void read_param(const vm_param *p, float *to) {
    vm_error e = { 0 };
    EXPECT(!vm_param_read(p, to, &e));
}

TEST(running_statistics) {
    enum { R = 6, C = 3 };
    vm_param *p[3];
    for (int k = 0; k < 3; k++)
        p[k] = vm_param_new(op_backend(), "p", VM_F32, 1, (int64_t[]){ k < 2 ? C : 1 }, NULL);
    op_case c = op_begin(VM_F32);
    c.g->training = true;
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ R, C }, -1, 1),
           w = op_input(&c, VM_F32, 1, (int64_t[]){ C }, -1, 1), stats[2];
    vm_checkpoint_begin(c.g); /* the normalisation may be computed twice, its statistics count once */
    vm_val y = vm_sum(c.g, vm_batchnorm_batch(c.g, x, w, w, 0, 1e-5f, VM_NONE, VM_F32, stats));
    vm_checkpoint_end(c.g);
    vm_running_stats(c.g, stats, R, p[0], p[1], p[2], 0.25f);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    vm_output(c.g, "dx", vm_grad(c.g, x));
    double m[C], v[C], rm[C] = { 0 }, rv[C] = { 0 };
    float got[3][C];
    vm_free(reference(R, C, c.x[0], c.x[1], c.x[1], NULL, NULL, NULL, false, m, v));
    for (int step = 1; step <= 3; step++) {
        uint64_t before = p[0]->version;
        EXPECT(op_run(&c));
        EXPECT(p[0]->version > before);
        for (int k = 0; k < 3; k++) read_param(p[k], got[k]);
        EXPECT(got[2][0] == (float)step);
        for (int k = 0; k < C; k++) {
            rm[k] += 0.25 * (m[k] - rm[k]), rv[k] += 0.25 * (v[k] * R / (R - 1) - rv[k]);
            EXPECT_NEAR((double)got[0][k], rm[k], 1e-6);
            EXPECT_NEAR((double)got[1][k], rv[k], 1e-6);
        }
    }
    op_put(&c, 0, 0, NAN); /* one value is enough to leave all as it is */
    EXPECT(op_run(&c));
    for (int k = 0; k < 3; k++) read_param(p[k], got[k]);
    for (int k = 0; k < C; k++) EXPECT_NEAR((double)got[0][k], rm[k], 1e-6);
    EXPECT(got[2][0] == 3);
    op_end(&c);
    for (int k = 0; k < 3; k++) vm_param_free(p[k]);
}

TEST(folding){ /* conv + norm = conv with the folded weight, also after a source has changed */
    enum { N = 5, K = 4 * 9 };
    const int64_t wn[] = { N, K }, n1[] = { N };
    const vm_conv k3 = { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } };
    vm_param *w = vm_param_new(op_backend(), "w", VM_F32, 2, wn, NULL), *p[4];
    vm_folded f = { vm_param_shell(op_backend(), "fw", VM_F32, 2, wn, NULL),
                    vm_param_shell(op_backend(), "fb", VM_F32, 1, n1, NULL),
                    { 0 } };
    uint64_t s = 3;
    float values[5][N * K]; /* of norm[0..3], w */
    vm_error e = { 0 };
    for (int k = 0; k < 4; k++) p[k] = vm_param_new(op_backend(), "p", VM_F32, 1, n1, NULL);
    for (int i = 0; i < N * K; i++) values[4][i] = (float)test_uniform(&s);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < N; i++) values[k][i] = (float)(1.5 + test_uniform(&s));
    for (int k = 0; k < 5; k++) EXPECT(!vm_param_write(k < 4 ? p[k] : w, values[k], &e));
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 2, 4, 3, 4 }, -1, 1);
    vm_batchnorm_fold(c.g, w, p, 1e-5f, &f);
    vm_val y = vm_conv2d(c.g, x, vm_weight(c.g, f.w), vm_weight(c.g, f.b), k3, VM_NONE, 0, VM_F32);
    vm_val z =
        vm_batchnorm(c.g, vm_conv2d(c.g, x, vm_weight(c.g, w), 0, k3, VM_NONE, 0, VM_F32), vm_weight(c.g, p[0]),
                     vm_weight(c.g, p[1]), vm_weight(c.g, p[2]), vm_weight(c.g, p[3]), 0, 1e-5f, VM_NONE, VM_F32);
    vm_output(c.g, "y", y), vm_output(c.g, "z", z);
    for (int step = 0; step < 4; step++) {
        int changed = step == 2 ? 4 : step;
        if (step) values[changed][1] *= 1.5f;
        if (step) EXPECT(!vm_param_write(changed < 4 ? p[changed] : w, values[changed], &e));
        double want[2 * 12 * N];
        c.level = -1;
        OP_LEVELS(&c) {
            for (int i = 0; i < VM_LEN(want); i++) want[i] = op_get(&c, z, i);
            op_near(&c, "folded", y, want, N, OP_TOL_F32);
        }
        uint64_t version = f.w->version;
        EXPECT(op_run(&c) && f.w->version == version); /* nothing changed, nothing made anew */
    }
    op_end(&c);
    for (int k = 0; k < 4; k++) vm_param_free(p[k]);
    vm_param_free(w), vm_param_free(f.w), vm_param_free(f.b);
}

TEST(folded_numbers) {
    enum { N = 7, K = 33 };
    vm_param *p[5]; /* weight, bias, mean, variance; product */
    vm_folded f = { vm_param_shell(op_backend(), "fw", VM_F32, 2, (int64_t[]){ N, K }, NULL),
                    vm_param_shell(op_backend(), "fb", VM_F32, 1, (int64_t[]){ N }, NULL),
                    { 0 } };
    float value[5][N * K], w[N * K], b[N];
    uint64_t s = 3;
    vm_error e = { 0 };
    op_case c = op_begin(VM_F32);
    for (int k = 0; k < 5; k++) {
        p[k] = vm_param_new(op_backend(), "p", VM_F32, k < 4 ? 1 : 2, (int64_t[]){ N, K }, NULL);
        for (int i = 0; i < N * K; i++) value[k][i] = (float)(1.5 + test_uniform(&s));
        EXPECT(!vm_param_write(p[k], value[k], &e));
    }
    vm_batchnorm_fold(c.g, p[4], p, 1e-5f, &f);
    for (int run = 0; run < 4; run++) {
        uint64_t before = f.w->version;
        if (run == 2) value[3][1] = 4;
        if (run == 2) EXPECT(!vm_param_write(p[3], value[3], &e));
        EXPECT(op_run(&c));
        EXPECT((f.w->version != before) == (run % 2 == 0)); /* new where a source was */
        read_param(f.w, w), read_param(f.b, b);
        for (int i = 0; i < N * K; i++) {
            double scale = (double)value[0][i / K] / sqrt((double)value[3][i / K] + 1e-5);
            EXPECT_NEAR((double)w[i], (double)value[4][i] * scale, 1e-6);
            EXPECT_NEAR((double)b[i / K], (double)value[1][i / K] - (double)value[2][i / K] * scale, 1e-5);
        }
    }
    op_end(&c);
    for (int k = 0; k < 5; k++) vm_param_free(p[k]);
    vm_param_free(f.w), vm_param_free(f.b);
}

TEST(does_not_depend_on_threads) {
    void *bits[4] = { NULL };
    for (int threads = 1; threads <= 3; threads++) {
        int64_t C = 40;
        vm_threads(threads);
        op_case c = op_begin(VM_F32);
        c.g->training = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 3001, C }, -1, 1), w = op_input(&c, VM_F32, 1, &C, -1, 1),
               b = op_input(&c, VM_F32, 1, &C, -1, 1), stats[2];
        vm_val y = vm_batchnorm_batch(c.g, x, w, b, 0, 1e-5f, VM_RELU, VM_F32, stats),
               l = vm_sum(c.g, vm_unary(c.g, y, VM_SQUARE, VM_F32));
        vm_backward(c.g, 1, &l, NULL, 3, (vm_val[]){ x, w, b });
        vm_val v[] = { y, vm_grad(c.g, x), vm_grad(c.g, w), vm_grad(c.g, b) };
        const char *const names[] = { "y", "dx", "dw", "db" };
        for (int k = 0; k < 4; k++) vm_output(c.g, names[k], v[k]);
        if (op_run(&c))
            for (int k = 0; k < 4; k++) op_same(&c, v[k], &bits[k]);
        op_end(&c);
    }
    vm_threads(0);
    for (int k = 0; k < 4; k++) vm_free(bits[k]);
}
#define REFUSED(call, text)                                                                                          \
    do {                                                                                                           \
        vm_error_clear(&c.g->err);                                                                                 \
        call;                                                                                                      \
        EXPECT_HAS(c.g->err.msg, text);                                                                            \
    } while (0)
TEST(errors) {
    op_case c = op_begin(VM_F32);
    int64_t C = 3, other = 4;
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, C }, 0, 1),
           one = op_input(&c, VM_F32, 2, (int64_t[]){ 1, C }, 0, 1);
    vm_val w = op_input(&c, VM_F32, 1, &C, 0, 1), bad = op_input(&c, VM_F32, 1, &other, 0, 1), stats[2];
    vm_param *p = vm_param_new(vm_backend_cpu(), "mean", VM_F32, 1, &C, NULL),
             *n = vm_param_new(vm_backend_cpu(), "n", VM_F32, 1, (int64_t[]){ 1 }, NULL);
    REFUSED(vm_batchnorm(c.g, x, w, bad, w, w, 0, 0, VM_NONE, VM_F32), "batchnorm: input 2 is [4], 3 entries are needed");
    REFUSED(vm_batchnorm(c.g, x, w, w, 0, w, 0, 0, VM_NONE, VM_F32), "batchnorm: input 3 is missing");
    REFUSED(vm_batchnorm(c.g, x, w, w, w, w, one, 0, VM_NONE, VM_F32), "batchnorm: residual [1,3] for an output [2,3]");
    REFUSED(vm_batchnorm(c.g, x, w, w, w, w, 0, 0, VM_GELU, VM_F32),
          "batchnorm: ReLU is the only activation that can follow");
    REFUSED(vm_batchnorm_batch(c.g, one, w, w, 0, 0, VM_NONE, VM_F32, stats),
          "batchnorm: statistics of a batch need 2 values per channel, x is [1,3]");
    vm_error_clear(&c.g->err);
    EXPECT(vm_batchnorm_batch(c.g, x, w, w, 0, 0, VM_NONE, VM_F32, stats));
    p->borrowed = true;
    REFUSED(vm_running_stats(c.g, stats, 2, p, p, n, 0.1f),
          "running_stats: mean is mapped from a file; load weights for writing");
    p->borrowed = false;
    REFUSED(vm_running_stats(c.g, stats, 2, n, p, n, 0.1f), "running_stats: input 2 is [1], 3 entries are needed");
    vm_error_clear(&c.g->err);
    vm_val y = vm_batchnorm(c.g, x, w, w, vm_scale(c.g, w, 2, 0), w, 0, 1e-5f, VM_NONE, VM_F32);
    REFUSED(vm_backward(c.g, 1, &y, NULL, 1, &w), "batchnorm: given statistics are constants and have no gradient");
    op_end(&c);
    vm_param_free(p), vm_param_free(n);
}

int main(void) {
    RUN(values);
    RUN(backward);
    RUN(running_statistics);
    RUN(folding);
    RUN(folded_numbers);
    RUN(does_not_depend_on_threads);
    RUN(errors);
    return test_end();
}
