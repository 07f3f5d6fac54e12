/* test_optim.c - AdamW, the moving average and the norm of gradients in floats against loops in double: sizes around those that
 * kernels work in, parameters with and without decay and gradient, versions. */
#include "tests/optest.h"

enum { PARAMS = 7 };
static const int64_t sizes[PARAMS] = { 1, 7, 4096, 16384, 16385, 50001, 9 };

static void send(vm_backend *be, void *to, const double *x, int64_t n) {
    vm_error e = { 0 };
    float *f = vm_alloc((size_t)n * sizeof *f);
    for (int64_t i = 0; i < n; i++) f[i] = (float)x[i];
    EXPECT(!be->upload(be, to, f, (size_t)n * sizeof *f, &e) && !be->wait(be, &e));
    vm_free(f);
}
static void near(vm_backend *be, const void *got, const double *want, int64_t n, double tol) {
    vm_error e = { 0 };
    float *f = vm_alloc((size_t)n * sizeof *f);
    EXPECT(!be->download(be, f, got, (size_t)n * sizeof *f, &e));
    for (int64_t i = 0; i < n; i++) EXPECT_NEAR((double)f[i], want[i], tol * (fabs(want[i]) + 0.01));
    vm_free(f);
}

TEST(steps) {
    vm_backend *be = op_backend();
    vm_param *p[PARAMS];
    double *w[PARAMS], *d[PARAMS], *m[PARAMS], *v[PARAMS], *average[PARAMS];
    uint64_t s = 3;
    vm_error e = { 0 };
    for (int k = 0; k < PARAMS; k++) {
        int64_t n = sizes[k];
        p[k] = vm_param_new(be, "p", VM_F32, 1, &n, NULL);
        if (k != 2) p[k]->grad = be->alloc(be, (size_t)n * sizeof(float)); /* one has no gradient */
        p[k]->decay = k % 2, p[k]->lr_scale = k == 4 ? 0.25f : 1;
        double **all[] = { &w[k], &d[k], &m[k], &v[k], &average[k] };
        for (int j = 0; j < VM_LEN(all); j++) *all[j] = vm_calloc((size_t)n, sizeof(double));
        for (int64_t i = 0; i < n; i++) average[k][i] = w[k][i] = (double)(float)test_uniform(&s);
        send(be, p[k]->data, w[k], n);
    }
    vm_graph *norm = vm_graph_new(be, VM_F32), *update = vm_graph_new(be, VM_F32);
    vm_output(norm, "sqnorm", vm_grad_sqnorm(norm, PARAMS, p));
    vm_output(norm, "none", vm_grad_sqnorm(norm, 0, p));
    vm_val hyper = vm_input(update, "hyper", VM_F32, 1, (int64_t[]){ 4 }), decay = vm_input(update, "decay", VM_F32, 1, (int64_t[]){ 1 });
    const vm_adam adam = { 0.9f, 0.98f, 1e-6f, 0.1f };
    for (int k = 0; k < PARAMS; k++) vm_adamw(update, p[k], hyper, adam), vm_average(update, p[k], decay);
    EXPECT(!vm_plan(norm) && !vm_plan(update));
    for (int step = 1; step <= 4; step++) {
        double sq = 0, b1 = (double)adam.beta1, b2 = (double)adam.beta2;
        float got[2] = { NAN, NAN }, h[4] = { 0.01f, (float)(1 - pow(b1, step)), (float)(1 - pow(b2, step)), 0.25f }, a = 0.9f;
        uint64_t version = p[0]->version;
        for (int k = 0; k < PARAMS; k++) {
            for (int64_t i = 0; i < sizes[k] && p[k]->grad; i++) {
                d[k][i] = (double)(float)(test_uniform(&s) * (k + 1)), sq += d[k][i] * d[k][i];
            }
            if (p[k]->grad) send(be, p[k]->grad, d[k], sizes[k]);
        }
        EXPECT(!vm_run(norm) && !vm_get(norm, "sqnorm", &got[0]) && !vm_get(norm, "none", &got[1]));
        EXPECT_NEAR((double)got[0], sq, 1e-6 * sq);
        EXPECT(got[1] == 0);
        EXPECT(!vm_set(update, "hyper", h) && !vm_set(update, "decay", &a) && !vm_run(update) && !be->wait(be, &e));
        EXPECT(p[0]->version > version);
        for (int k = 0; k < PARAMS; k++) {
            double lr = (double)h[0] * (double)p[k]->lr_scale;
            for (int64_t i = 0; i < sizes[k]; i++) {
                double x = d[k][i] * (double)h[3];
                if (p[k]->grad) {
                    m[k][i] = b1 * m[k][i] + (1 - b1) * x, v[k][i] = b2 * v[k][i] + (1 - b2) * x * x;
                    w[k][i] -= lr * (p[k]->decay ? (double)adam.weight_decay : 0) * w[k][i];
                    w[k][i] -= lr * (m[k][i] / (double)h[1]) / (sqrt(v[k][i] / (double)h[2]) + (double)adam.eps);
                }
                average[k][i] = (double)a * average[k][i] + (1 - (double)a) * w[k][i];
            }
            near(be, p[k]->data, w[k], sizes[k], 2e-5);
            near(be, p[k]->m, m[k], sizes[k], 1e-5);
            near(be, p[k]->v, v[k], sizes[k], 1e-5);
            near(be, p[k]->average, average[k], sizes[k], 1e-5);
        }
    }
    vm_graph_free(norm), vm_graph_free(update);
    for (int k = 0; k < PARAMS; k++) {
        vm_param_free(p[k]);
        vm_free(w[k]), vm_free(d[k]), vm_free(m[k]), vm_free(v[k]), vm_free(average[k]);
    }
}

int main(void) {
    RUN(steps);
    return test_end();
}
