/* test_linear.c - vm_linear in floats against double loops: types, epilogues, residuals in place and not, weights that
 * change, backward passes in bf16, deterministic graphs. Runs at every processor level. */
#include "tests/optest.h"

static double act(double x, vm_unary_kind k) {
    switch (k) {
    case VM_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case VM_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case VM_EXP: return exp(x);
    default: return x;
    }
}
static double bf16(double x) { return (double)vm_bf16_to_f32(vm_f32_to_bf16((float)x)); }

/* y = act(x w^T + b) + r in the numbers that the kernel sees: x and w rounded to t */
static double *reference(int64_t M, int64_t N, int64_t K, const double *x, const double *w, const double *b,
                         const double *r, vm_unary_kind k, vm_type t) {
    double *y = vm_alloc((size_t)(M * N) * sizeof *y + 1);
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double s = 0;
            for (int64_t c = 0; c < K; c++)
                s += t == VM_BF16 ? bf16(x[i * K + c]) * bf16(w[j * K + c]) : x[i * K + c] * w[j * K + c];
            y[i * N + j] = act(s + (b ? b[j] : 0), k) + (r ? r[i * N + j] : 0);
        }
    return y;
}

/* training: 0 inference, 1 training, 2 deterministic inference. weight: an input, or a parameter stored as wt. */
static void check(vm_type dtype, int training, bool param, vm_type wt, vm_type out, vm_unary_kind k, bool bias,
                  bool residual, int64_t M, int64_t N, int64_t K) {
    op_case c = op_begin(dtype);
    c.g->training = training == 1, c.g->deterministic = training == 2;
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1), w = op_input(&c, wt, 2, (int64_t[]){ N, K }, -1, 1);
    vm_val b = op_input(&c, VM_F32, 1, &N, -1, 1), r = op_input(&c, VM_F32, 2, (int64_t[]){ M, N }, -1, 1);
    vm_param *p = NULL;
    if (param) {
        p = vm_param_new(vm_backend_cpu(), "w", wt, 2, (int64_t[]){ N, K }, NULL);
        w = vm_weight(c.g, p);
    }
    if (residual) r = vm_scale(c.g, r, 1, 0); /* one reader: may stand in place */
    vm_val y = vm_linear(c.g, x, w, bias ? b : 0, k, residual ? r : 0, out);
    vm_output(c.g, "y", y);
    double tol = c.g->v[y].type == VM_BF16 || (dtype == VM_BF16 && k != VM_NONE) ? 2 * OP_TOL_BF16 : OP_TOL_F32;
    for (int version = 0; version < 2; version++) {
        if (param) {
            for (int64_t i = 0; version && i < N * K; i++) op_put(&c, 1, i, -c.x[1][i]);
            memcpy(p->data, c.raw[1], (size_t)(N * K) * vm_type_size(wt));
            vm_param_touch(p);
        }
        double *want = reference(M, N, K, c.x[0], c.x[1], bias ? c.x[2] : NULL, residual ? c.x[3] : NULL, k, dtype);
        c.level = -1;
        OP_LEVELS(&c) op_near(&c, "linear", y, want, N, tol);
        vm_free(want);
        if (!param) break;
    }
    op_end(&c);
    vm_param_free(p);
}

TEST(types) {
    const vm_type t[] = { VM_F32, VM_BF16 };
    for (int d = 0; d < (vm_cpu_has_bf16() ? 2 : 1); d++)
        for (int mode = 0; mode < 3; mode++)
            for (int w = 0; w < 2; w++)
                for (int param = 0; param < 2; param++) {
                    check(t[d], mode, param, t[w], VM_F32, VM_NONE, true, false, 5, 17, 33);
                    check(t[d], mode, param, t[w], t[d], VM_QUICK_GELU, true, false, 5, 17, 33);
                    check(t[d], mode, param, t[w], VM_F32, VM_NONE, true, true, 5, 17, 33);
                    check(t[d], mode, param, t[w], VM_F32, VM_GELU, false, true, 5, 17, 33);
                    check(t[d], mode, param, t[w], VM_F32, VM_EXP, true, false, 5, 17,
                          33); /* no epilogue of a product */
                }
}
TEST(sizes) {
    for (int mode = 0; mode < 3; mode++) {
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, true, true, 1, 1, 1);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, true, true, 131, 67, 128);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_GELU, true, false, 3, 1037, 5);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_GELU, true, false, 3, 7, 0);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, false, true, 3, 7, 0);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, true, false, 0, 7, 5);
    }
}
TEST(f16_weights) { check(VM_F32, 0, true, VM_F16, VM_F32, VM_NONE, true, false, 3, 8, 16); }

TEST(residual_stands_in_place) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 8 }, -1, 1),
           w = op_input(&c, VM_F32, 2, (int64_t[]){ 8, 8 }, -1, 1);
    vm_val r = vm_scale(c.g, x, 2, 0), y = vm_linear(c.g, x, w, 0, VM_NONE, r, VM_F32),
           z = vm_linear(c.g, y, w, 0, VM_NONE, y, VM_F32);
    vm_output(c.g, "z", z);
    EXPECT(!vm_plan(c.g));
    EXPECT(vm_data(c.g, r) == vm_data(c.g, y)); /* nothing else reads r */
    EXPECT(vm_data(c.g, y) != vm_data(c.g, z)); /* the product reads y while z is written */
    op_end(&c);
}

/* A graph without training packs weights; forward and backward product of a square weight are packed apart. */
TEST(gradient_through_packed_weights) {
    enum { K = 32 };
    vm_param *p = vm_param_new(vm_backend_cpu(), "w", VM_F32, 2, (int64_t[]){ K, K }, NULL);
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, K }, -1, 1),
           y = vm_linear(c.g, x, vm_weight(c.g, p), 0, VM_NONE, 0, VM_F32);
    p->trainable = false;
    for (int i = 0; i < K * K; i++) ((float *)p->data)[i] = (float)test_uniform(&c.state);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "y", y), vm_output(c.g, "dx", dx);
    double wy[2 * K] = { 0 }, wdx[2 * K] = { 0 };
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) {
                double w = (double)((float *)p->data)[i * K + j];
                wy[r * K + i] += c.x[0][r * K + j] * w, wdx[r * K + j] += w;
            }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, wy, K, OP_TOL_F32);
        op_near(&c, "dx", dx, wdx, K, OP_TOL_F32);
    }
    EXPECT(!p->grad);
    op_end(&c);
    vm_param_free(p);
}

/* dx, dw, db of bf16 products against double: dy is rounded to bf16, sums are f32 */
TEST(backward_in_bf16) {
    enum { M = 37, K = 24, N = 40 };
    if (!vm_cpu_has_bf16()) return;
    for (int d = 0; d < 2; d++) {
        vm_param *p = vm_param_new(vm_backend_cpu(), "w", VM_F32, 2, (int64_t[]){ N, K }, NULL),
                 *b = vm_param_new(vm_backend_cpu(), "b", VM_F32, 1, (int64_t[]){ N }, NULL);
        op_case c = op_begin(VM_BF16);
        c.g->training = true, c.g->deterministic = d;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1),
               seed = op_input(&c, VM_F32, 2, (int64_t[]){ M, N }, -1, 1);
        for (int i = 0; i < N * K; i++) ((float *)p->data)[i] = (float)test_uniform(&c.state);
        vm_val y = vm_linear(c.g, x, vm_weight(c.g, p), vm_weight(c.g, b), VM_NONE, 0, VM_F32);
        vm_backward(c.g, 1, &y, &seed, 3, (vm_val[]){ x, vm_weight(c.g, p), vm_weight(c.g, b) });
        vm_val dx = vm_grad(c.g, x), dw = vm_grad(c.g, vm_weight(c.g, p)), db = vm_grad(c.g, vm_weight(c.g, b));
        vm_output(c.g, "dx", dx), vm_output(c.g, "dw", dw), vm_output(c.g, "db", db);
        double wdx[M * K] = { 0 }, wdw[N * K] = { 0 }, wdb[N] = { 0 };
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                double dy = c.x[1][m * N + n];
                wdb[n] += dy;
                for (int k = 0; k < K; k++) {
                    wdx[m * K + k] += bf16(dy) * bf16((double)((float *)p->data)[n * K + k]);
                    wdw[n * K + k] += bf16(dy) * bf16(c.x[0][m * K + k]);
                }
            }
        if (op_run(&c)) {
            op_near(&c, "dx", dx, wdx, K, OP_TOL_BF16); /* leaves in x's type as read: bf16 */
            op_near(&c, "dw", dw, wdw, K, OP_TOL_F32);
            op_near(&c, "db", db, wdb, N, OP_TOL_F32);
        }
        op_end(&c);
        vm_param_free(p), vm_param_free(b);
    }
}

TEST(does_not_depend_on_threads) { /* deterministic graphs: forward and gradients to the bit */
    enum { M = 130, K = 40, N = 70 };
    void *bits[3] = { NULL };
    for (int threads = 1; threads <= 3; threads++) {
        vm_threads(threads);
        vm_param *p = vm_param_new(vm_backend_cpu(), "w", VM_F32, 2, (int64_t[]){ N, K }, NULL);
        op_case c = op_begin(VM_F32);
        c.g->training = c.g->deterministic = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1);
        for (int i = 0; i < N * K; i++) ((float *)p->data)[i] = (float)test_uniform(&c.state);
        vm_val y = vm_linear(c.g, x, vm_weight(c.g, p), 0, VM_GELU, 0, VM_F32);
        vm_backward(c.g, 1, &y, NULL, 2, (vm_val[]){ x, vm_weight(c.g, p) });
        vm_val v[] = { y, vm_grad(c.g, x), vm_grad(c.g, vm_weight(c.g, p)) };
        const char *const names[] = { "y", "dx", "dw" };
        for (int k = 0; k < 3; k++) vm_output(c.g, names[k], v[k]);
        if (op_run(&c))
            for (int k = 0; k < 3; k++) op_same(&c, v[k], &bits[k]);
        op_end(&c);
        vm_param_free(p);
    }
    vm_threads(0);
    for (int k = 0; k < 3; k++) vm_free(bits[k]);
}

int main(void) {
    RUN(types);
    RUN(sizes);
    RUN(f16_weights);
    RUN(residual_stands_in_place);
    RUN(gradient_through_packed_weights);
    RUN(backward_in_bf16);
    RUN(does_not_depend_on_threads);
    return test_end();
}
