/* test_groupnorm.c - group normalisation, its SiLU and its gradients against double loops: chunks of pixels, groups
 * beyond a piece of channels, means far from zero. */
#include "tests/optest.h"

static double tol(vm_type t) { return t == VM_F16 ? 0x1p-10 : op_tol(t); }
static double *room(int64_t n) { return vm_calloc((size_t)n + 1, sizeof(double)); }

typedef struct {
    int64_t B, P, C, G;
    const double *x, *w, *b, *r; /* r: dy */
    double *y, *dx, *dw, *db;
} ref;

static void reference(ref *q, double eps, bool silu) {
    int64_t D = q->C / q->G, n = q->P * D;
    for (int64_t k = 0; k < q->B * q->G; k++) {
        int64_t at = k / q->G * q->P * q->C + k % q->G * D;
        double mean = 0, var = 0, sg = 0, sgh = 0;
#define EACH for (int64_t p = 0; p < q->P; p++) for (int64_t d = 0; d < D; d++)
#define I (at + p * q->C + d)
#define CH (k % q->G * D + d)
        EACH mean += q->x[I] / (double)n;
        EACH var += (q->x[I] - mean) * (q->x[I] - mean) / (double)n;
        double r = 1 / sqrt(var + eps);
        EACH {
            double h = (q->x[I] - mean) * r, z = h * q->w[CH] + q->b[CH];
            q->y[I] = silu ? z / (1 + exp(-z)) : z;
            sg += q->r[I] * q->w[CH] / (double)n, sgh += q->r[I] * q->w[CH] * h / (double)n;
            q->dw[CH] += q->r[I] * h, q->db[CH] += q->r[I];
        }
        EACH q->dx[I] = r * (q->r[I] * q->w[CH] - sg - (q->x[I] - mean) * r * sgh);
    }
}

typedef struct {
    int64_t B, H, W, C;
    int G;
    vm_type tx, ty, td, tw;
    double offset;
} shape;

/* twice: x, w and b have a second use, so that kernels add onto its gradient */
static void check(shape s, bool silu, bool twice) {
    op_case c = op_begin(VM_BF16);
    int64_t P = s.H * s.W, N = s.B * P * s.C;
    const int64_t ne[] = { s.B, s.H, s.W, s.C };
    vm_val x = op_input(&c, s.tx, 4, ne, s.offset - 2, s.offset + 2);
    vm_val w = op_input(&c, s.tw, 1, &s.C, 0.5, 1.5), b = op_input(&c, s.tw, 1, &s.C, -1, 1);
    vm_val r = op_input(&c, s.td, 4, ne, -1, 1), wrt[] = { x, w, b };
    vm_val y = vm_groupnorm(c.g, x, w, b, s.G, 1e-5f, silu ? VM_SILU : VM_NONE, s.ty);
    vm_output(c.g, "y", y);
    vm_val dx = 0, dw = 0, db = 0;
    if (!silu) {
        vm_val q = op_input(&c, s.tx, 4, ne, -1, 1), qw = op_input(&c, s.tw, 1, &s.C, -1, 1);
        vm_val qb = op_input(&c, s.tw, 1, &s.C, -1, 1), outs[] = { x, w, b, y }, seeds[] = { q, qw, qb, r };
        vm_backward(c.g, twice ? 4 : 1, twice ? outs : outs + 3, twice ? seeds : seeds + 3, 3, wrt);
        vm_output(c.g, "dx", dx = vm_grad(c.g, x)), vm_output(c.g, "dw", dw = vm_grad(c.g, w));
        vm_output(c.g, "db", db = vm_grad(c.g, b));
    }
    ref q = { s.B, P, s.C, s.G, c.x[0], c.x[1], c.x[2], c.x[3], room(N), room(N), room(s.C), room(s.C) };
    reference(&q, (double)1e-5f, silu);
    for (int64_t i = 0; twice && i < N; i++) q.dx[i] += c.x[4][i];
    for (int64_t i = 0; twice && i < s.C; i++) q.dw[i] += c.x[5][i], q.db[i] += c.x[6][i];
    double rounding = 2e-7 * fabs(s.offset); /* x itself has that many bits */
    void *bits[3] = { 0 };
    OP_LEVELS(&c) {
        op_near(&c, silu ? "y (silu)" : "y", y, q.y, VM_MAX(s.C, 1), tol(s.ty) + rounding);
        if (silu) continue;
        if (P * s.C / s.G > 2) op_near(&c, "dx", dx, q.dx, VM_MAX(s.C, 1), (1 + twice) * tol(s.tx) + rounding);
        op_near(&c, "dw", dw, q.dw, s.C, OP_TOL_F32 + rounding);
        op_near(&c, "db", db, q.db, s.C, OP_TOL_F32);
    }
    for (int t = 1; t <= 3; t++) {
        vm_threads(t);
        op_run(&c);
        op_same(&c, y, &bits[0]);
        if (!silu) op_same(&c, dx, &bits[1]), op_same(&c, dw, &bits[2]);
    }
    vm_threads(0);
    for (int k = 0; k < 3; k++) vm_free(bits[k]);
    vm_free(q.y), vm_free(q.dx), vm_free(q.dw), vm_free(q.db);
    op_end(&c);
}
static void both(shape s) { check(s, false, false), check(s, false, true), check(s, true, false); }

TEST(sizes) {
    both((shape){ 2, 9, 7, 64, 32, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 1, 5, 5, 40, 4, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 1, 3, 11, 21, 7, VM_F32, VM_F32, VM_F32, VM_F32, 0 });   /* columns that no vector divides */
    both((shape){ 3, 1, 1, 32, 4, VM_F32, VM_F32, VM_F32, VM_F32, 0 });    /* one pixel */
    both((shape){ 2, 17, 1, 8, 8, VM_F32, VM_F32, VM_F32, VM_F32, 0 });    /* a group per channel */
    both((shape){ 2, 4, 3, 24, 1, VM_F32, VM_F32, VM_F32, VM_F32, 0 });    /* one group */
    both((shape){ 1, 1, 1, 2, 1, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
}
TEST(types) {
    const vm_type h[] = { VM_BF16, VM_F16 };
    for (int k = 0; k < 2; k++) {
        both((shape){ 2, 6, 5, 48, 6, h[k], h[k], h[k], VM_F32, 0 });
        both((shape){ 1, 7, 5, 30, 5, h[k], VM_F32, VM_F32, h[k], 0 });
        both((shape){ 1, 4, 4, 64, 32, VM_F32, h[k], h[k], VM_F32, 0 });
    }
}
TEST(chunks) { /* of pixels: several; groups that fill more than a piece of channels, and that lie across its edge */
    both((shape){ 1, 33, 31, 40, 20, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 2, 67, 64, 8, 2, VM_BF16, VM_BF16, VM_BF16, VM_F32, 0 });
    both((shape){ 1, 66, 65, 64, 4, VM_F32, VM_F32, VM_F32, VM_F32, 0 }); /* more than a warp joins at once */
    both((shape){ 1, 3, 5, 2560, 32, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 1, 3, 2, 2063, 1, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 1, 2, 3, 4104, 2, VM_BF16, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 1, 5, 2, 1032, 344, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
}
TEST(far_from_zero) {
    both((shape){ 1, 24, 24, 64, 8, VM_F32, VM_F32, VM_F32, VM_F32, 1000 });
    both((shape){ 1, 3, 3, 21, 3, VM_F32, VM_F32, VM_F32, VM_F32, -300 });
}
TEST(empty) {
    both((shape){ 0, 3, 3, 8, 2, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 2, 0, 3, 8, 2, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
    both((shape){ 2, 3, 3, 0, 2, VM_F32, VM_F32, VM_F32, VM_F32, 0 });
}
TEST(constant_group) { /* variance 0: y is b, but for the mean's last bits times 1/sqrt(eps) */
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 5, 7, 16 }, 0, 1),
           w = op_input(&c, VM_F32, 1, (int64_t[]){ 16 }, 1, 2),
           b = op_input(&c, VM_F32, 1, (int64_t[]){ 16 }, -1, 1);
    for (int64_t i = 0; i < 5 * 7 * 16; i++) op_put(&c, 0, i, 0.1 + (double)(i % 16 / 4));
    vm_val y = vm_groupnorm(c.g, x, w, b, 4, 1e-6f, VM_NONE, VM_F32);
    vm_output(c.g, "y", y);
    OP_LEVELS(&c)
        for (int64_t i = 0; i < 5 * 7 * 16; i++) EXPECT_NEAR(op_get(&c, y, i), c.x[2][i % 16], 4e-3);
    op_end(&c);
}
TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 2, 2, 6 }, 0, 1),
           w = op_input(&c, VM_F32, 1, (int64_t[]){ 6 }, 0, 1),
           v = op_input(&c, VM_F32, 1, (int64_t[]){ 4 }, 0, 1);
    WRONG(vm_groupnorm(c.g, x, w, w, 4, 1e-5f, VM_NONE, VM_F32), "groupnorm: 4 groups of 6 channels");
    WRONG(vm_groupnorm(c.g, x, w, v, 2, 1e-5f, VM_NONE, VM_F32), "groupnorm: input 2 is [4], 6 entries are needed");
    WRONG(vm_groupnorm(c.g, x, w, 0, 2, 1e-5f, VM_NONE, VM_F32), "groupnorm: input 2 is missing");
    WRONG(vm_groupnorm(c.g, x, w, w, 2, 1e-5f, VM_RELU, VM_F32), "SiLU is the only activation");
    WRONG(vm_groupnorm(c.g, w, w, w, 2, 1e-5f, VM_NONE, VM_F32), "groupnorm: x [6], pictures (B,...,C) are needed");
    vm_error_clear(&c.g->err);
    vm_val y = vm_groupnorm(c.g, x, w, w, 2, 1e-5f, VM_SILU, VM_F32);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    EXPECT_HAS(c.g->err.msg, "a fused activation has no gradient");
    op_end(&c);
}

/* Where nothing reads x later and y has its type, y stands where x stood; else, and where x is given from outside, it does not. */
TEST(stands_in_place) {
    enum { H = 6, W = 5, C = 8 };
    const int64_t ne[] = { 2, H, W, C }, N = 2 * H * W * C, n = C;
    if (op_backend()->device != VM_CPU_DEV) return;
    for (int k = 0; k < 6; k++) { /* 0 and 1: in place; 2: read again later; 3: an input; 4: another type; 5: a planner that shares nothing */
        op_case c = op_begin(VM_BF16);
        c.g->separate = k == 5;
        vm_type t = k == 1 ? VM_BF16 : VM_F32;
        vm_val in = op_input(&c, t, 4, ne, -2, 2), w = op_input(&c, VM_F32, 1, &n, 0.5, 1.5), b = op_input(&c, VM_F32, 1, &n, -1, 1);
        vm_val x = k == 3 ? in : vm_cast(c.g, vm_scale(c.g, in, 1, 0), t); /* the same numbers */
        vm_val y = vm_groupnorm(c.g, x, w, b, 2, 1e-5f, VM_SILU, k == 4 ? VM_BF16 : t);
        vm_output(c.g, "y", y);
        if (k == 2) vm_output(c.g, "sum", vm_mean(c.g, x));
        double *want = room(4 * N + 2 * C);
        ref q = { 2, H * W, C, 2, c.x[0], c.x[1], c.x[2], want + N, want, want + 2 * N, want + 4 * N, want + 4 * N + C };
        reference(&q, (double)1e-5f, true);
        OP_LEVELS(&c) {
            op_near(&c, "y", y, want, C, tol(c.g->v[y].type));
            EXPECT((vm_data(c.g, x) == vm_data(c.g, y)) == (k < 2));
        }
        vm_free(want);
        op_end(&c);
    }
}

int main(void) {
    RUN(sizes);
    RUN(types);
    RUN(chunks);
    RUN(far_from_zero);
    RUN(empty);
    RUN(constant_group);
    RUN(stands_in_place);
    RUN(errors);
    return test_end();
}
