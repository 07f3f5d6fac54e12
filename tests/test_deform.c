/* test_deform.c - deformable attention against plain loops: forward and the three gradients, all types of values, points far outside,
 * on borders and at NaN, heads of ragged sizes, results that depend neither on threads nor on what lies outside the maps. */
#include "tests/optest.h"

typedef struct { int L; int64_t hw[5][2], B, Q, NH, P, HS; } shape;

static double at(const double *map, const shape *s, int64_t H, int64_t W, int64_t y, int64_t x) {
    return y < 0 || x < 0 || y >= H || x >= W ? 0 : map[(y * W + x) * s->NH * s->HS];
}

/* y, dvalue, dloc, dweight of c.x: value, loc, weight, dy */
static void reference(const shape *s, double *const *x, double *y, double *dv, double *dl, double *dw) {
    int64_t S = 0;
    for (int l = 0; l < s->L; l++) S += s->hw[l][0] * s->hw[l][1];
    for (int64_t r = 0; r < s->B * s->Q * s->NH; r++) {
        int64_t h = r % s->NH, b = r / s->NH / s->Q, begin = 0;
        for (int l = 0; l < s->L; begin += s->hw[l][0] * s->hw[l][1], l++)
            for (int64_t p = 0; p < s->P; p++) {
                int64_t k = (r * s->L + l) * s->P + p, H = s->hw[l][0], W = s->hw[l][1];
                double px = (double)((float)x[1][2 * k] * (float)W - 0.5f), py = (double)((float)x[1][2 * k + 1] * (float)H - 0.5f);
                if (!(px > -1 && py > -1 && px < (double)W && py < (double)H)) continue;
                int64_t x0 = (int64_t)floor(px), y0 = (int64_t)floor(py);
                double fx = px - (double)x0, fy = py - (double)y0, a = x[2][k];
                for (int64_t j = 0; j < s->HS; j++) {
                    int64_t first = ((b * S + begin) * s->NH + h) * s->HS + j;
                    const double *m = x[0] + first;
                    double v00 = at(m, s, H, W, y0, x0), v01 = at(m, s, H, W, y0, x0 + 1), v10 = at(m, s, H, W, y0 + 1, x0),
                           v11 = at(m, s, H, W, y0 + 1, x0 + 1), d = x[3][r * s->HS + j];
                    double bil = (1 - fy) * ((1 - fx) * v00 + fx * v01) + fy * ((1 - fx) * v10 + fx * v11);
                    y[r * s->HS + j] += a * bil, dw[k] += d * bil;
                    dl[2 * k] += (double)W * a * d * ((1 - fy) * (v01 - v00) + fy * (v11 - v10));
                    dl[2 * k + 1] += (double)H * a * d * ((1 - fx) * (v10 - v00) + fx * (v11 - v01));
                    for (int c = 0; c < 4; c++) {
                        int64_t yy = y0 + c / 2, xx = x0 + c % 2;
                        double w = (c / 2 ? fy : 1 - fy) * (c % 2 ? fx : 1 - fx);
                        if (yy >= 0 && xx >= 0 && yy < H && xx < W) dv[first + (yy * W + xx) * s->NH * s->HS] += a * w * d;
                    }
                }
            }
    }
}

static void deform_case(vm_type t, shape s, bool odd) {
    op_case c = op_begin(VM_F32);
    int64_t S = 0, C = s.NH * s.HS;
    for (int l = 0; l < s.L; l++) S += s.hw[l][0] * s.hw[l][1];
    vm_val v = op_input(&c, t, 3, (int64_t[]){ s.B, S, C }, -1, 1);
    vm_val loc = op_input(&c, VM_F32, 6, (int64_t[]){ s.B, s.Q, s.NH, s.L, s.P, 2 }, -0.3, 1.3);
    vm_val w = op_input(&c, VM_F32, 4, (int64_t[]){ s.B, s.Q, s.NH, s.L * s.P }, 0, 1);
    vm_val r = op_input(&c, t, 3, (int64_t[]){ s.B, s.Q, C }, -1, 1);
    vm_val y = vm_deform_attention(c.g, v, loc, w, s.L, (const int64_t(*)[2])s.hw, t);
    for (int64_t i = 0; i < vm_count(c.g, loc) && odd; i++) {
        double place[] = { NAN, INFINITY, -INFINITY, 1e30, 0, 1, 0.5, 0.25, -1, c.x[1][i] };
        op_put(&c, 1, i, place[test_rand(&c.state) % 10]);
    }
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 3, (vm_val[]){ v, loc, w });
    vm_val d[3] = { vm_grad(c.g, v), vm_grad(c.g, loc), vm_grad(c.g, w) };
    vm_output(c.g, "dv", d[0]), vm_output(c.g, "dl", d[1]), vm_output(c.g, "dw", d[2]);
    double *want[4];
    for (int k = 0; k < 4; k++) want[k] = vm_calloc((size_t)vm_count(c.g, k ? d[k - 1] : y) + 1, sizeof *want[k]);
    reference(&s, c.x, want[0], want[1], want[2], want[3]);
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want[0], C, op_tol(t));
        op_near(&c, "dvalue", d[0], want[1], VM_MAX(vm_count(c.g, v), (int64_t)1), OP_TOL_F32);
        op_near(&c, "dloc", d[1], want[2], VM_MAX(vm_count(c.g, loc), (int64_t)1), OP_TOL_F32);
        op_near(&c, "dweight", d[2], want[3], VM_MAX(vm_count(c.g, w), (int64_t)1), OP_TOL_F32);
    }
    void *bits = NULL;
    for (int n = 1; n <= 3; n++) {
        vm_threads(n);
        op_run(&c);
        op_same(&c, d[0], &bits);
    }
    vm_threads(0);
    vm_free(bits);
    for (int k = 0; k < 4; k++) vm_free(want[k]);
    op_end(&c);
}
TEST(deform_attention) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        deform_case((vm_type)t, (shape){ 3, { { 7, 5 }, { 4, 3 }, { 2, 2 } }, 2, 33, 3, 4, 32 }, false);
        deform_case((vm_type)t, (shape){ 3, { { 7, 5 }, { 4, 3 }, { 2, 2 } }, 2, 33, 3, 4, 32 }, true);
        deform_case((vm_type)t, (shape){ 1, { { 1, 1 } }, 1, 40, 1, 1, 1 }, false); /* many points on one cell */
        deform_case((vm_type)t, (shape){ 2, { { 1, 9 }, { 5, 1 } }, 1, 7, 2, 3, 5 }, true);
        deform_case((vm_type)t, (shape){ 1, { { 3, 3 } }, 1, 3, 2, 2, 131 }, false);
        deform_case((vm_type)t, (shape){ 5, { { 2, 2 }, { 1, 1 }, { 3, 1 }, { 1, 2 }, { 2, 1 } }, 1, 70, 1, 2, 8 }, false);
        deform_case((vm_type)t, (shape){ 2, { { 40, 30 }, { 3, 2 } }, 1, 150, 1, 2, 8 }, false); /* more cells than the threads of a block */
        deform_case((vm_type)t, (shape){ 2, { { 2, 2 }, { 1, 1 } }, 2, 0, 2, 2, 4 }, false);
        deform_case((vm_type)t, (shape){ 1, { { 0, 5 } }, 1, 3, 1, 1, 4 }, false);
    }
}

/* Only what a point touches counts: NaN in every other cell changes nothing. */
TEST(other_cells_do_not_count) {
    op_case c = op_begin(VM_F32);
    vm_val v = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 9, 4 }, -1, 1);
    vm_val loc = op_input(&c, VM_F32, 6, (int64_t[]){ 1, 1, 1, 1, 2, 2 }, 0, 1), w = op_input(&c, VM_F32, 4,
        (int64_t[]){ 1, 1, 1, 2 }, 0.5, 0.5);
    for (int i = 0; i < 36; i++)
        if (i / 4 != 0 && i / 4 != 8) op_put(&c, 0, i, NAN);
    for (int i = 0; i < 4; i++) op_put(&c, 1, i, i < 2 ? 0.1 : 0.9); /* above and left of the first cell, below and right of the last */
    vm_val y = vm_deform_attention(c.g, v, loc, w, 1, (const int64_t[][2]){ { 3, 3 } }, VM_F32);
    vm_output(c.g, "y", y);
    double want[4], f = 1 - 0.2, g = f * f; /* both points lie 0.2 of a cell beyond the centre of a corner cell */
    for (int j = 0; j < 4; j++) want[j] = 0.5 * g * (c.x[0][j] + c.x[0][32 + j]);
    OP_LEVELS(&c) op_near(&c, "y", y, want, 4, 1e-5);
    op_end(&c);
}

TEST(refusals) {
    op_case c = op_begin(VM_F32);
    vm_val v = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 9, 4 }, -1, 1), w = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 2, 2, 2 }, 0, 1);
    vm_val loc = op_input(&c, VM_F32, 6, (int64_t[]){ 1, 2, 2, 1, 2, 2 }, 0, 1);
    EXPECT(!vm_deform_attention(c.g, v, loc, w, 1, (const int64_t[][2]){ { 2, 3 } }, VM_F32));
    EXPECT_HAS(c.g->err.msg, "deform_attention: 1 maps of 6 cells for values [1,9,4] and locations [1,2,2,1,2,2]");
    op_end(&c);
    c = op_begin(VM_F32);
    v = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 9, 4 }, -1, 1);
    EXPECT(!vm_deform_attention(c.g, v, v, v, 6, (const int64_t[6][2]){ { 0 } }, VM_F32));
    EXPECT_HAS(c.g->err.msg, "6 maps, at most 5");
    op_end(&c);
}

int main(void) {
    RUN(deform_attention);
    RUN(other_cells_do_not_count);
    RUN(refusals);
    return test_end();
}
