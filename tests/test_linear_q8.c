/* test_linear_q8.c - products with quantised weights whose x is rounded to 8 bits, against loops in double over the same rounded numbers:
 * every kind, blocks of lanes, of registers and of rows, zeros, double quantisation, ragged sizes, 1 to 33 rows; the same bits at every
 * processor level; and where no rounding is allowed. */
#include "tests/optest.h"
#include "tests/quant_parts.h"

typedef struct {
    vm_quant_kind kind;
    int64_t M, N, K;
    int block;
    bool with; /* zeros (INT4), nested scales (NF4) */
    bool bias, residual;
    vm_type x, y;
    bool plain; /* expected to stay unrounded */
} shape;

static const char *op_of(const vm_graph *g, vm_val y) { return g->n[g->v[y].node].op->name; }

static void run_case(shape s) {
    op_case c = op_begin(s.x);
    c.g->rounded = true;
    bool nested = s.kind == VM_NF4 && s.with, zeros = s.kind == VM_INT4 && s.with, little = s.y != VM_F32;
    int64_t M = s.M, N = s.N, K = s.K, ns = vm_quant_scales(s.kind, N, K, s.block), per = s.kind == VM_INT8 ? 1 : 2;
    vm_val x = op_input(&c, s.x, 2, (int64_t[]){ M, K }, -1, 1), codes = op_input(&c, VM_U8, 2, (int64_t[]){ N, K / per }, 0, 256);
    vm_val scales = nested ? op_input(&c, VM_U8, 1, &ns, 0, 256) : op_input(&c, VM_F32, 1, &ns, 0.01, 0.1);
    vm_val zero = op_input(&c, VM_F32, 1, &ns, 0, 16), b = op_input(&c, VM_F32, 1, &N, -1, 1);
    vm_val top = op_input(&c, VM_F32, 1, (int64_t[]){ vm_nested_len(ns) }, 0.01, 0.1), r = op_input(&c, s.y, 2, (int64_t[]){ M, N }, -1, 1);
    vm_val y = vm_linear_q(c.g, x, codes, scales, s.bias ? b : 0, (vm_quant){ s.kind, s.block, zeros ? zero : 0, nested ? top : 0 }, s.residual ? r : 0, s.y);
    vm_output(c.g, "y", y);
    if (!y) MISMATCH("%s\n", c.g->err.msg);
    EXPECT(!strcmp(op_of(c.g, y), s.plain ? "linear_q" : "linear_q8"));
    double *want = vm_calloc((size_t)(M * N) + 1, sizeof *want), *xr = vm_calloc((size_t)(M * K) + 1, sizeof *xr);
    double *scale = vm_alloc((size_t)ns * sizeof *scale + 1);
    for (int64_t i = 0; i < ns; i++) scale[i] = nested ? c.x[5][1 + (int64_t)c.x[2][i]] * c.x[5][257 + i / 256] + c.x[5][0] : c.x[2][i];
    for (int64_t m = 0; m < M; m++) {
        if (s.plain) memcpy(xr + m * K, c.x[0] + m * K, (size_t)K * sizeof *xr);
        else quant_rounded(c.x[0] + m * K, K, xr + m * K);
        for (int64_t n = 0; n < N; n++) {
            double sum = s.bias ? c.x[4][n] : 0;
            for (int64_t k = 0; k < K; k++) sum += xr[m * K + k] * quant_number(s.kind, s.block, K, !s.plain, c.raw[1], scale, zeros ? c.x[3] : NULL, n, k);
            want[m * N + n] = sum + (s.residual ? c.x[6][m * N + n] : 0);
        }
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(N, (int64_t)1), little ? OP_TOL_BF16 : 1e-5);
        if (!s.plain) op_same(&c, y, &bits);
    }
    vm_free(bits), vm_free(want), vm_free(xr), vm_free(scale);
    op_end(&c);
}

static const struct { int64_t N, K; int block; } SIZES[][7] = {
    { { 37, 200, 0 }, { 5, 128, 0 }, { 1, 1, 0 }, { 19, 336, 64 }, { 7, 96, 32 }, { 18, 100, 16 }, { 33, 333, 4 } },      /* INT8 */
    { { 37, 256, 64 }, { 5, 200, 32 }, { 1, 2, 4 }, { 19, 384, 128 }, { 7, 96, 8 }, { 18, 50, 64 }, { 33, 600, 256 } },   /* INT4 */
    { { 37, 256, 64 }, { 5, 320, 64 }, { 1, 64, 64 }, { 19, 96, 32 }, { 130, 96, 16 }, { 18, 512, 256 }, { 33, 88, 8 } }, /* NF4 */
};
TEST(kinds_blocks_rows) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int i = 0; i < 7; i++)
            for (int64_t M = 1; M <= 9; M++)
                run_case((shape){ (vm_quant_kind)kind, M, SIZES[kind][i].N, SIZES[kind][i].K, SIZES[kind][i].block, (M + i) & 1, M & 1, M & 2,
                                  .x = VM_F32, .y = VM_F32 });
}
/* Longer than the columns and scales that are taken at a time; more rows than share a pass; 16 bits; nothing. */
TEST(sizes_and_types) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int with = 0; with < 2; with++) {
            vm_quant_kind k = (vm_quant_kind)kind;
            run_case((shape){ k, 1, 3, 13056, 16, with, true, true, .x = VM_F32, .y = VM_F32 });
            run_case((shape){ k, 12, 3, 13056, 16, with, true, true, .x = VM_F32, .y = VM_F32 });
            run_case((shape){ k, 13, 35, 13056, kind == VM_INT8 ? 0 : 32, with, true, true, .x = VM_F32, .y = VM_F32 });
            run_case((shape){ k, 7, 18, 5632, 64, with, false, true, .x = VM_BF16, .y = VM_F32 });
            run_case((shape){ k, 24, 66, kind == VM_NF4 ? 1152 : 1000, kind == VM_INT8 ? 192 : 384, with, true, false, .x = VM_BF16, .y = VM_BF16 });
            run_case((shape){ k, 19, 70, 192, 64, with, true, with, .x = VM_BF16, .y = VM_BF16 });
            run_case((shape){ k, 32, 20, 2176, 128, with, true, true, .x = VM_F16, .y = VM_F32 });
            run_case((shape){ k, 0, 5, 64, 64, with, true, false, .x = VM_F32, .y = VM_F32 });
            run_case((shape){ k, 2, 0, 64, 64, with, true, false, .x = VM_F32, .y = VM_F32 });
            run_case((shape){ k, 2, 5, 0, 64, with, true, true, .x = VM_F32, .y = VM_F32 });
        }
}
/* More rows than ops.h states, blocks across lanes and across rows. */
TEST(unrounded) {
    run_case((shape){ VM_INT4, 33, 5, 64, 64, .x = VM_F32, .y = VM_F32, .plain = true });
    run_case((shape){ VM_INT4, 3, 5, 60, 12, .x = VM_F32, .y = VM_F32, .plain = true });
    run_case((shape){ VM_INT8, 3, 5, 60, 5, .x = VM_F32, .y = VM_F32, .plain = true });
    run_case((shape){ VM_NF4, 2, 1, 64, 128, .x = VM_F32, .y = VM_F32, .plain = true });
}

/* One row's numbers are infinite, not a number, or so small that they count as 0. */
TEST(numbers_at_the_edge) {
    static const double odd[] = { (double)NAN, (double)INFINITY, -(double)INFINITY, 1e-38, 1e-25 };
    for (int i = 0; i < VM_LEN(odd); i++) {
        op_case c = op_begin(VM_F32);
        c.g->rounded = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 96 }, 0, 1), codes = op_input(&c, VM_U8, 2, (int64_t[]){ 3, 96 }, 0, 256);
        vm_val s = op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0.1, 1), y = vm_linear_q(c.g, x, codes, s, 0, (vm_quant){ VM_INT8, 0, 0, 0 }, 0, VM_F32);
        vm_output(c.g, "y", y);
        for (int k = 0; k < 96; k++) op_put(&c, 0, k, k == 40 ? odd[i] : 0);
        OP_LEVELS(&c) for (int n = 0; n < 3; n++) {
            EXPECT(i < 3 ? isnan(op_get(&c, y, n)) : (op_get(&c, y, n) == 0) == (i == 3));
            EXPECT(isfinite(op_get(&c, y, 3 + n)));
        }
        op_end(&c);
    }
}

/* A row's bits do not depend on which others there are, nor on threads; */
TEST(whichever_others) {
    void *first = NULL;
    for (int other = 0; other < 3; other++) {
        op_case c = op_begin(VM_F32);
        c.g->rounded = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 9, 320 }, -1, 1), codes = op_input(&c, VM_U8, 2, (int64_t[]){ 500, 160 }, 0, 256);
        vm_val scales = op_input(&c, VM_F32, 1, (int64_t[]){ 5000 }, 0.1, 1), zeros = op_input(&c, VM_F32, 1, (int64_t[]){ 5000 }, 5, 10);
        vm_val y = vm_slice(c.g, vm_linear_q(c.g, x, codes, scales, 0, (vm_quant){ VM_INT4, 32, zeros, 0 }, 0, VM_F32), 0, 6, 1);
        vm_output(c.g, "y", y);
        for (int i = 0; i < 9 * 320; i++)
            if (i / 320 != 6) op_put(&c, 0, i, c.x[0][i] * (1 + other));
        vm_threads(1 + other);
        if (op_run(&c)) op_same(&c, y, &first);
        op_end(&c);
    }
    vm_threads(0);
    vm_free(first);
}
/* deterministic: on how many either. */
TEST(rows_alone_and_together) {
    float first[40];
    for (int64_t M = 1; M <= 60; M += M == 1 ? 12 : 47) {
        op_case c = op_begin(VM_F32);
        c.g->rounded = true, c.g->deterministic = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, 256 }, -1, 1);
        c.state = 77;
        vm_val codes = op_input(&c, VM_U8, 2, (int64_t[]){ 40, 128 }, 0, 256), scales = op_input(&c, VM_F32, 1, (int64_t[]){ 160 }, 0.1, 1);
        vm_val y = vm_linear_q(c.g, x, codes, scales, 0, (vm_quant){ VM_NF4, 64, 0, 0 }, 0, VM_F32);
        vm_output(c.g, "y", y);
        op_run(&c);
        for (int i = 0; i < 40; i++) {
            if (M == 1) first[i] = (float)op_get(&c, y, i);
            else EXPECT(first[i] == (float)op_get(&c, y, i));
        }
        op_end(&c);
    }
}

TEST(no_gradient) {
    op_case c = op_begin(VM_F32);
    c.g->rounded = c.g->training = true;
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 64 }, -1, 1), codes = op_input(&c, VM_U8, 2, (int64_t[]){ 4, 64 }, 0, 256);
    vm_val s = op_input(&c, VM_F32, 1, (int64_t[]){ 4 }, 0, 1), y = vm_linear_q(c.g, x, codes, s, 0, (vm_quant){ VM_INT8, 0, 0, 0 }, 0, VM_F32);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    EXPECT_HAS(c.g->err.msg, "linear_q8");
    op_end(&c);
}

/* What the processor rounds stays as it is on a device. */
TEST(devices_do_not_round) {
    run_case((shape){ VM_INT4, 3, 5, 64, 64, .x = VM_F32, .y = VM_F32, .plain = true });
    run_case((shape){ VM_INT8, 2, 7, 96, 96, .x = VM_F32, .y = VM_F32, .plain = true });
}

int main(void) {
    if (op_on_device()) {
        RUN(devices_do_not_round);
        return test_end();
    }
    RUN(kinds_blocks_rows);
    RUN(sizes_and_types);
    RUN(unrounded);
    RUN(numbers_at_the_edge);
    RUN(whichever_others);
    RUN(rows_alone_and_together);
    RUN(no_gradient);
    return test_end();
}
