/* test_norm.c - layernorm, rmsnorm, l2norm and their gradients against double-precision loops. */
#include "tests/optest.h"

typedef struct {
    int64_t R, C;
    const double *x, *w, *b, *r; /* r: dy */
    double *y, *dx, *dw, *db;
} norm_ref;

static void reference(norm_ref *q, bool centre, double eps) {
    for (int64_t c = 0; c < q->C; c++) q->dw[c] = q->db[c] = 0;
    for (int64_t row = 0; row < q->R; row++) {
        const double *x = q->x + row * q->C, *dy = q->r + row * q->C;
        double mean = 0, var = 0, sg = 0, sgh = 0;
        for (int64_t c = 0; centre && c < q->C; c++) mean += x[c] / (double)q->C;
        for (int64_t c = 0; c < q->C; c++) var += (x[c] - mean) * (x[c] - mean) / (double)q->C;
        double r = 1 / sqrt(var + eps);
        for (int64_t c = 0; c < q->C; c++) {
            double h = (x[c] - mean) * r;
            q->y[row * q->C + c] = h * q->w[c] + (centre ? q->b[c] : 0);
            sg += dy[c] * q->w[c] / (double)q->C, sgh += dy[c] * q->w[c] * h / (double)q->C;
            q->dw[c] += dy[c] * h, q->db[c] += dy[c];
        }
        for (int64_t c = 0; c < q->C; c++)
            q->dx[row * q->C + c] = r * (dy[c] * q->w[c] - (centre ? sg : 0) - (x[c] - mean) * r * sgh);
    }
}

static double *room(int64_t n) { return vm_alloc((size_t)n * sizeof(double) + 1); }

/* x, dy: types of the activations; offset: mean of x, large against its spread. The second of two equal outputs has its
 * gradients added to those of the first. view: x begins at an odd place */
static void affine_case_of(bool centre, int64_t R, int64_t C, vm_type tx, vm_type ty, vm_type td, double offset, vm_type tw, bool view) {
    op_case c = op_begin(VM_BF16);
    vm_val x = (view ? op_view : op_input)(&c, tx, 2, (int64_t[]){ R, C }, offset - 2, offset + 2);
    vm_val w = op_input(&c, tw, 1, &C, 0.5, 1.5), b = op_input(&c, tw, 1, &C, -1, 1);
    vm_val r = op_input(&c, td, 2, (int64_t[]){ R, C }, -1, 1), wrt[] = { x, w, b }, ys[2];
    for (int k = 0; k < 2; k++) ys[k] = centre ? vm_layernorm(c.g, x, w, b, 1e-5f, ty) : vm_rmsnorm(c.g, x, w, 1e-5f, ty);
    vm_val y = ys[0];
    vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, centre ? 3 : 2, wrt);
    vm_output(c.g, "y", y);
    vm_val dx = vm_grad(c.g, x), dw = vm_grad(c.g, w), db = vm_grad(c.g, b);
    vm_output(c.g, "dx", dx), vm_output(c.g, "dw", dw);
    if (centre) vm_output(c.g, "db", db);
    for (int64_t i = 0; i < R * C; i++) c.x[3][i] *= 2;
    norm_ref q = { R, C, c.x[0] + view, c.x[1], c.x[2], c.x[3], room(R * C), room(R * C), room(C), room(C) };
    reference(&q, centre, (double)1e-5f);
    void *bits[2] = { 0 };
    OP_LEVELS(&c) {
        double rounding = 1e-7 * fabs(offset); /* x itself has that many bits */
        op_near(&c, "y", y, q.y, C, op_tol(ty) + rounding);
        if (C > 2) op_near(&c, "dx", dx, q.dx, C, 2 * op_tol(tx) + rounding);
        for (int64_t i = 0; C <= 2 && i < R * C; i++) /* dx is 0 but for eps: terms of size 1/sqrt(eps) cancel */
            EXPECT_NEAR(op_get(&c, dx, i), q.dx[i], 316 * 4e-6);
        op_near(&c, "dw", dw, q.dw, C, 2 * op_tol(tw) + rounding);
        if (centre) op_near(&c, "db", db, q.db, C, 2 * op_tol(tw));
    }
    for (int t = 1; t <= op_thread_counts(); t++) {
        vm_threads(t);
        op_run(&c);
        op_same(&c, dx, &bits[0]);
        op_same(&c, dw, &bits[1]);
    }
    vm_threads(0);
    for (int k = 0; k < 2; k++) vm_free(bits[k]);
    vm_free(q.y), vm_free(q.dx), vm_free(q.dw), vm_free(q.db);
    op_end(&c);
}

static void affine_case(bool centre, int64_t R, int64_t C, vm_type tx, vm_type ty, vm_type td, double offset) {
    affine_case_of(centre, R, C, tx, ty, td, offset, VM_F32, false);
}

TEST(layernorm) {
    affine_case(true, op_rows(203, 37), 768, VM_F32, VM_F32, VM_F32, 0);
    affine_case(true, op_rows(203, 37), 768, VM_F32, VM_BF16, VM_BF16, 0);
    affine_case(true, op_rows(97, 21), 513, VM_BF16, VM_BF16, VM_BF16, 0);
    affine_case(true, 5, 3079, VM_BF16, VM_F32, VM_F32, 0.5);
    affine_case(true, 1, 1, VM_F32, VM_F32, VM_F32, 0);
    affine_case(true, 17, 2, VM_F32, VM_F32, VM_F32, 0);
    affine_case(true, 0, 8, VM_F32, VM_F32, VM_F32, 0);
}
/* rows of a warp, of a block, longer ones; in vectors or not */
TEST(every_size) {
    static const int64_t C[] = { 1, 7, 8, 31, 32, 33, 256, 264, 1016, 1023, 1024, 1025, 1032, 8192, 8193, 8200 };
    for (int k = 0; k < VM_LEN(C); k++) {
        vm_type t = (vm_type)(k % 3), u = (vm_type)((k + 1) % 3);
        affine_case(true, 3, C[k], VM_F32, VM_F32, VM_F32, 0);
        affine_case_of(k % 2, 3, C[k], t, u, (vm_type)((k + 2) % 3), 0, u, false);
        affine_case_of(k % 2, 2, C[k], t, t, VM_F32, 0, VM_F32, true);
    }
    affine_case(false, 1100, 8, VM_F16, VM_F32, VM_BF16, 0); /* many chunks of rows */
    affine_case(true, 1100, 16, VM_F32, VM_F32, VM_F32, 0);
}
TEST(no_weight) {
    for (int64_t C = 24; C <= 25; C++) {
        op_case c = op_begin(VM_BF16);
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 9, C }, -2, 2), r = op_input(&c, VM_F32, 2, (int64_t[]){ 9, C }, -1, 1);
        vm_val y = vm_layernorm(c.g, x, 0, 0, 1e-5f, VM_F32), z = vm_rmsnorm(c.g, x, 0, 1e-5f, VM_F32);
        vm_backward(c.g, 2, (vm_val[]){ y, z }, (vm_val[]){ r, r }, 1, &x);
        vm_output(c.g, "y", y), vm_output(c.g, "z", z), vm_output(c.g, "dx", vm_grad(c.g, x));
        double one[25], nil[25] = { 0 };
        for (int64_t i = 0; i < C; i++) one[i] = 1;
        norm_ref q[2];
        for (int k = 0; k < 2; k++) {
            q[k] = (norm_ref){ 9, C, c.x[0], one, nil, c.x[1], room(9 * C), room(9 * C), room(C), room(C) };
            reference(&q[k], k == 0, (double)1e-5f);
        }
        for (int64_t i = 0; i < 9 * C; i++) q[0].dx[i] += q[1].dx[i];
        OP_LEVELS(&c) {
            op_near(&c, "layernorm", y, q[0].y, C, OP_TOL_F32);
            op_near(&c, "rmsnorm", z, q[1].y, C, OP_TOL_F32);
            op_near(&c, "dx", vm_grad(c.g, x), q[0].dx, C, OP_TOL_F32);
        }
        for (int k = 0; k < 2; k++) vm_free(q[k].y), vm_free(q[k].dx), vm_free(q[k].dw), vm_free(q[k].db);
        op_end(&c);
    }
}
TEST(layernorm_far_from_zero) { affine_case(true, 33, 259, VM_F32, VM_F32, VM_F32, 1000); }
TEST(rmsnorm) {
    affine_case(false, op_rows(203, 37), 768, VM_F32, VM_F32, VM_F32, 0);
    affine_case(false, 31, 1025, VM_BF16, VM_BF16, VM_BF16, 0);
    affine_case(false, 1, 1, VM_F32, VM_BF16, VM_F32, 1);
    affine_case(false, 0, 8, VM_F32, VM_F32, VM_F32, 0);
}

static void l2_case(int64_t R, int64_t C, vm_type tx, double eps) {
    op_case c = op_begin(VM_BF16);
    bool view = R == 7;
    vm_val x = (view ? op_view : op_input)(&c, tx, 2, (int64_t[]){ R, C }, -1, 1), r = op_input(&c, VM_F32, 2, (int64_t[]){ R, C }, -1, 1);
    vm_val y = vm_l2norm(c.g, x, (float)eps);
    vm_backward(c.g, 2, (vm_val[]){ y, vm_l2norm(c.g, x, (float)eps) }, (vm_val[]){ r, r }, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "y", y), vm_output(c.g, "dx", dx);
    double *want = room(R * C), *dwant = room(R * C);
    for (int64_t row = 0; row < R; row++) {
        double sq = 0, dot = 0;
        for (int64_t i = row * C; i < (row + 1) * C; i++) sq += c.x[0][i + view] * c.x[0][i + view];
        double norm = fmax(sqrt(sq), eps);
        for (int64_t i = row * C; i < (row + 1) * C; i++) want[i] = c.x[0][i + view] / norm, dot += want[i] * c.x[1][i];
        if (sqrt(sq) <= eps) dot = 0;
        for (int64_t i = row * C; i < (row + 1) * C; i++) dwant[i] = 2 * (c.x[1][i] - want[i] * dot) / norm;
    }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, C, OP_TOL_F32);
        op_near(&c, "dx", dx, dwant, C, 2 * op_tol(tx));
    }
    vm_free(want), vm_free(dwant);
    op_end(&c);
}

TEST(l2norm) {
    l2_case(131, 512, VM_F32, 0);
    l2_case(7, 1027, VM_BF16, 1e-12);
    l2_case(7, 1024, VM_F16, 1e-12);
    static const int64_t C[] = { 2, 8, 31, 33, 256, 1023, 1025, 8193 };
    for (int k = 0; k < VM_LEN(C); k++) l2_case(3, C[k], (vm_type)(k % 3), 1e-6);
    l2_case(3, 5, VM_F32, 100); /* shorter than eps */
    l2_case(0, 5, VM_F32, 0);
}

TEST(wrong_shapes) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 3, 8 }, 0, 1), w = op_input(&c, VM_F32, 1, (int64_t[]){ 4 }, 0, 1);
    EXPECT(!vm_layernorm(c.g, x, w, 0, 1e-5f, VM_F32));
    EXPECT_HAS(c.g->err.msg, "layernorm: input 1 is [4], 8 entries are needed");
    op_end(&c);
}

int main(void) {
    RUN(layernorm);
    RUN(every_size);
    RUN(no_weight);
    RUN(layernorm_far_from_zero);
    RUN(rmsnorm);
    RUN(l2norm);
    RUN(wrong_shapes);
    return test_end();
}
