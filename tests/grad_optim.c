/* grad_optim.c - the optimizer in double precision: gradients summed over two plans, their norm, AdamW's formula. */
#include "kernels/ops.h"
#include "tests/test.h"

#ifndef VM_F64_BUILD
#error "needs MODE=f64"
#endif

enum { N = 5, K = 3 };

/* f = sum (x w^T + b)^2 over `rows` rows */
static vm_graph *model(int64_t rows, vm_param *w, vm_param *b) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    g->training = true;
    vm_val x = vm_input(g, "x", VM_F32, 2, (int64_t[]){ rows, K });
    vm_val y = vm_sum(
        g, vm_unary(g, vm_linear(g, x, vm_weight(g, w), vm_weight(g, b), VM_NONE, 0, VM_F32), VM_SQUARE, VM_F32));
    vm_output(g, "loss", y);
    vm_backward(g, 1, &y, NULL, 0, NULL);
    EXPECT(!vm_plan(g));
    return g;
}

static void reference(const double *x, int rows, const double *w, const double *b, double *dw, double *db) {
    memset(dw, 0, N * K * sizeof *dw), memset(db, 0, N * sizeof *db);
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < N; n++) {
            double y = b[n];
            for (int k = 0; k < K; k++) y += x[r * K + k] * w[n * K + k];
            db[n] += 2 * y;
            for (int k = 0; k < K; k++) dw[n * K + k] += 2 * y * x[r * K + k];
        }
}

TEST(steps_over_two_plans) {
    vm_backend *be = vm_backend_cpu();
    vm_param *p[2] = { vm_param_new(be, "w", VM_F32, 2, (int64_t[]){ N, K }, NULL),
                       vm_param_new(be, "b", VM_F32, 1, (int64_t[]){ N }, NULL) };
    double x[6 * K], w[N * K], b[N], dw[N * K], db[N], m[2][N * K] = { { 0 } }, v[2][N * K] = { { 0 } };
    uint64_t s = 3;
    for (int i = 0; i < N * K; i++) w[i] = ((double *)p[0]->data)[i] = test_uniform(&s);
    for (int i = 0; i < N; i++) b[i] = ((double *)p[1]->data)[i] = test_uniform(&s);
    p[1]->decay = false, p[1]->lr_scale = 0.5f;
    vm_graph *a4 = model(4, p[0], p[1]), *a2 = model(2, p[0], p[1]);
    vm_graph *norm = vm_graph_new(be, VM_F32), *update = vm_graph_new(be, VM_F32);
    vm_output(norm, "sqnorm", vm_grad_sqnorm(norm, 2, p));
    vm_val hyper = vm_input(update, "hyper", VM_F32, 1, (int64_t[]){ 4 });
    const vm_adam adam = { 0.9f, 0.98f, 1e-6f, 0.1f };
    for (int k = 0; k < 2; k++) vm_adamw(update, p[k], hyper, adam);
    for (int step = 1; step <= 5; step++) {
        for (int i = 0; i < 6 * K; i++) x[i] = test_uniform(&s);
        a4->accumulate = false, a2->accumulate = true;
        EXPECT(!vm_set(a4, "x", x) && !vm_run(a4));
        EXPECT(!vm_set(a2, "x", x + 4 * K) && !vm_run(a2));
        reference(x, 6, w, b, dw, db);
        double sq = 0, got = NAN;
        for (int i = 0; i < N * K; i++) {
            EXPECT_NEAR(p[0]->grad[i], dw[i], 1e-12);
            sq += dw[i] * dw[i];
        }
        for (int i = 0; i < N; i++) {
            EXPECT_NEAR(p[1]->grad[i], db[i], 1e-12);
            sq += db[i] * db[i];
        }
        EXPECT(!vm_run(norm) && !vm_get(norm, "sqnorm", &got));
        EXPECT_NEAR(got, sq, 1e-10 * sq);
        double h[4] = { 0.01, 1 - pow((double)adam.beta1, step), 1 - pow((double)adam.beta2, step), 0.25 };
        EXPECT(!vm_set(update, "hyper", h) && !vm_run(update));
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < (k ? N : N * K); i++) {
                double d = (k ? db[i] : dw[i]) * h[3], lr = h[0] * (k ? 0.5 : 1), *y = k ? &b[i] : &w[i];
                m[k][i] = (double)adam.beta1 * m[k][i] + (1 - (double)adam.beta1) * d;
                v[k][i] = (double)adam.beta2 * v[k][i] + (1 - (double)adam.beta2) * d * d;
                *y -= lr * (k ? 0 : (double)adam.weight_decay) * *y;
                *y -= lr * (m[k][i] / h[1]) / (sqrt(v[k][i] / h[2]) + (double)adam.eps);
                EXPECT_NEAR(((double *)p[k]->data)[i], *y, 1e-6 * lr); /* moments are kept in f32 */
                *y = ((double *)p[k]->data)[i];
            }
    }
    vm_graph_free(a4), vm_graph_free(a2), vm_graph_free(norm), vm_graph_free(update);
    vm_param_free(p[0]), vm_param_free(p[1]);
}

int main(void) {
    RUN(steps_over_two_plans);
    return test_end();
}
