/* test_detect.c - losses of detection against plain loops: focal loss (hidden logits, large ones), boxes, generalised IoU. */
#include "tests/optest.h"

static double log1pexp(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

static void focal_case(vm_type t, int64_t R, int64_t C, double alpha, double gamma, bool weights, bool soft) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, t, 2, (int64_t[]){ R, C }, -8, 8), y = op_input(&c, VM_F32, 2, (int64_t[]){ R, C }, 0, 1);
    vm_val w = op_input(&c, VM_F32, 2, (int64_t[]){ R, C }, 0, 2), norm = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 3, 4);
    vm_val up = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 0.5, 2);
    for (int64_t i = 0; i < R * C; i++) {
        if (!soft) op_put(&c, 1, i, c.x[1][i] < 0.2);
        if (i % 5 == 2) op_put(&c, 2, i, 0), op_put(&c, 0, i, weights ? (i % 2 ? -INFINITY : NAN) : 60);
        if (i % 7 == 3) op_put(&c, 0, i, i % 2 ? -60 : 60);
    }
    vm_val l = vm_focal(c.g, x, y, weights ? w : 0, norm, (float)alpha, (float)gamma);
    vm_output(c.g, "l", l);
    vm_backward(c.g, 1, &l, &up, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double sum = 0, *want = vm_calloc((size_t)(R * C) + 1, sizeof *want);
    for (int64_t i = 0; i < R * C; i++) {
        double v = c.x[0][i], yi = c.x[1][i], wi = weights ? c.x[2][i] : 1, p = 1 / (1 + exp(-v)), q = 1 / (1 + exp(v));
        if (wi == 0) continue;
        double m = p * (1 - yi) + q * yi, ce = yi * log1pexp(-v) + (1 - yi) * log1pexp(v);
        double a = wi * (alpha < 0 ? 1 : alpha * yi + (1 - alpha) * (1 - yi));
        sum += a * pow(m, gamma) * ce;
        double slope = gamma > 0 && m > 0 ? gamma * pow(m, gamma - 1) * (2 * yi - 1) * p * q * ce : 0;
        want[i] = c.x[4][0] / c.x[3][0] * a * (pow(m, gamma) * (p - yi) - slope);
    }
    sum /= c.x[3][0];
    OP_LEVELS(&c) {
        EXPECT_NEAR(op_get(&c, l, 0), sum, 1e-5 * sum);
        op_near(&c, "gradient", dx, want, VM_MAX(C, (int64_t)1), op_tol(t));
    }
    vm_free(want);
    op_end(&c);
}
TEST(focal) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        focal_case((vm_type)t, 9, 33, 0.25, 2, true, false);
        focal_case((vm_type)t, 9, 33, 0.25, 2, false, false);
        focal_case((vm_type)t, 13, 1031, -1, 1.5, true, true);
        focal_case((vm_type)t, 1, 1, 0.9, 0, false, true);
        focal_case((vm_type)t, 3, 5, 0.25, 1, true, false);
        focal_case((vm_type)t, 90, 256, 0.25, 2, true, false);
        focal_case((vm_type)t, 0, 5, 0.25, 2, true, false);
    }
}

static double giou(const double *p, const double *q, bool centre) {
    double a[4], b[4];
    for (int k = 0; k < 4; k++) {
        double side = k < 2 ? -0.5 : 0.5;
        a[k] = centre ? p[k % 2] + side * p[2 + k % 2] : p[k], b[k] = centre ? q[k % 2] + side * q[2 + k % 2] : q[k];
    }
    double I = fmax(0, fmin(a[2], b[2]) - fmax(a[0], b[0])) * fmax(0, fmin(a[3], b[3]) - fmax(a[1], b[1]));
    double U = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - I;
    double C = (fmax(a[2], b[2]) - fmin(a[0], b[0])) * (fmax(a[3], b[3]) - fmin(a[1], b[1]));
    return I / U - (C - U) / C;
}

/* out[4] += up * d giou / d p by differences: exact enough where no edges of the boxes meet */
static void giou_slope(const double *p, const double *q, bool centre, double up, double *out) {
    for (int k = 0; k < 4; k++) {
        double h = 1e-6, a[4], b[4];
        memcpy(a, p, sizeof a), memcpy(b, p, sizeof b);
        a[k] += h, b[k] -= h;
        out[k] += up * (giou(a, q, centre) - giou(b, q, centre)) / (2 * h);
    }
}

static void loss_case(int64_t B, int64_t Q, int64_t T, vm_box_kind kind) {
    op_case c = op_begin(VM_F32);
    vm_val box = op_input(&c, VM_F32, 3, (int64_t[]){ B, Q, 4 }, 0.2, 0.7), target = op_input(&c, VM_F32, 3, (int64_t[]){ B, T, 4 }, 0.1, 0.6);
    vm_val match = op_input(&c, VM_I32, 2, (int64_t[]){ B, T }, -2, (double)Q), norm = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 3, 4);
    vm_val up = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 0.5, 2), l = vm_box_loss(c.g, box, target, match, norm, kind);
    vm_output(c.g, "l", l);
    vm_backward(c.g, 1, &l, &up, 1, &box);
    vm_val d = vm_grad(c.g, box);
    vm_output(c.g, "d", d);
    double sum = 0, *want = vm_calloc((size_t)(B * Q * 4) + 1, sizeof *want), scale = c.x[4][0] / c.x[3][0];
    for (int64_t i = 0; i < B * T; i++) {
        int64_t m = (int64_t)c.x[2][i];
        if (m < 0) continue;
        const double *p = c.x[0] + (i / T * Q + m) * 4, *t = c.x[1] + i * 4;
        double *to = want + (i / T * Q + m) * 4;
        if (kind == VM_BOX_GIOU) sum += 1 - giou(p, t, true), giou_slope(p, t, true, -scale, to);
        else
            for (int k = 0; k < 4; k++) sum += fabs(p[k] - t[k]), to[k] += p[k] > t[k] ? scale : -scale;
    }
    sum /= c.x[3][0];
    OP_LEVELS(&c) {
        EXPECT_NEAR(op_get(&c, l, 0), sum, 1e-5 * fmax(sum, 1e-3));
        op_near(&c, "gradient", d, want, VM_MAX(Q * 4, (int64_t)1), OP_TOL_F32);
    }
    vm_free(want);
    op_end(&c);
}
TEST(box_loss) {
    for (vm_box_kind kind = VM_BOX_L1; kind <= VM_BOX_GIOU; kind++) {
        loss_case(3, 37, 11, kind);
        loss_case(1, 1, 5, kind); /* all on one box */
        loss_case(2, 300, 290, kind);
        loss_case(2, 5, 0, kind);
        loss_case(0, 5, 3, kind);
    }
    op_case c = op_begin(VM_F32);
    vm_val box = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 3, 4 }, 0.2, 0.7), one = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 1, 1);
    vm_val match = op_input(&c, VM_I32, 2, (int64_t[]){ 1, 3 }, 0, 1);
    op_put(&c, 2, 1, 3);
    vm_output(c.g, "l", vm_box_loss(c.g, box, box, match, one, VM_BOX_L1));
    for (int k = 0; k < 3; k++) vm_set(c.g, (const char *[]){ "x0", "x1", "x2" }[k], c.raw[k]);
    EXPECT((vm_run(c.g) || vm_wait(c.g)) && c.g->err.status == VM_EINPUT);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? "op box_loss met the value 3" : "box_loss: target 1 is matched with box 3 of 3");
    op_end(&c);
}

static void giou_case(int64_t B, int64_t N, int64_t M, bool centre) {
    op_case c = op_begin(VM_F32);
    vm_val a = op_input(&c, VM_F32, 3, (int64_t[]){ B, N, 4 }, 0.1, 0.9), b = op_input(&c, VM_F32, 3, (int64_t[]){ B, M, 4 }, 0.1, 0.9);
    for (int k = 0; k < 2 && !centre; k++)
        for (int64_t i = 0; i < B * (k ? M : N) * 4; i++)
            if (i % 4 > 1) op_put(&c, k, i, c.x[k][i] + c.x[k][i - 2]);
    vm_val r = op_input(&c, VM_F32, 3, (int64_t[]){ B, N, M }, -1, 1), y = vm_giou(c.g, a, b, centre);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 2, (vm_val[]){ a, b });
    vm_val d[2] = { vm_grad(c.g, a), vm_grad(c.g, b) };
    vm_output(c.g, "da", d[0]), vm_output(c.g, "db", d[1]);
    double *want = vm_alloc((size_t)(B * N * M) * sizeof *want + 1), *da = vm_calloc((size_t)(B * N * 4) + 1, sizeof *da),
           *db = vm_calloc((size_t)(B * M * 4) + 1, sizeof *db);
    for (int64_t i = 0; i < B * N * M; i++) {
        const double *p = c.x[0] + i / M * 4, *q = c.x[1] + (i / M / N * M + i % M) * 4;
        want[i] = giou(p, q, centre);
        giou_slope(p, q, centre, c.x[2][i], da + i / M * 4);
        giou_slope(q, p, centre, c.x[2][i], db + (i / M / N * M + i % M) * 4);
    }
    OP_LEVELS(&c) {
        op_near(&c, "giou", y, want, VM_MAX(N * M, (int64_t)1), OP_TOL_F32);
        op_near(&c, "da", d[0], da, VM_MAX(N * 4, (int64_t)1), OP_TOL_F32);
        op_near(&c, "db", d[1], db, VM_MAX(M * 4, (int64_t)1), OP_TOL_F32);
    }
    vm_free(want), vm_free(da), vm_free(db);
    op_end(&c);
}
TEST(giou) {
    for (int centre = 0; centre < 2; centre++) {
        giou_case(2, 37, 13, centre);
        giou_case(1, 1, 1, centre);
        giou_case(3, 2, 257, centre);
        giou_case(2, 0, 3, centre);
        giou_case(2, 3, 0, centre);
    }
}

int main(void) {
    RUN(focal);
    RUN(box_loss);
    RUN(giou);
    return test_end();
}
