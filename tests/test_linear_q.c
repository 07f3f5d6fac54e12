/* test_linear_q.c - products with quantised weights against loops in double over the numbers that the codes stand for: few rows and
 * many, every kind, blocks inside and across rows, zeros, double quantisation, biases, residuals, 16-bit types, ragged sizes. */
#include "kernels/gpu_gemm.h"
#include "tests/optest.h"
#include "tests/quant_parts.h"

typedef struct {
    vm_quant_kind kind;
    int64_t M, N, K;
    int block;
    bool with;             /* zeros (INT4), nested scales (NF4) */
    bool bias, residual;
    bool deterministic;
    vm_type x, y;
} shape;

static void linear_q_case(shape s) {
    op_case c = op_begin(s.x == VM_F32 ? VM_F32 : s.x);
    c.g->training = true, c.g->deterministic = s.deterministic;
    bool nested = s.kind == VM_NF4 && s.with, zeros = s.kind == VM_INT4 && s.with, little = s.x != VM_F32;
    int64_t M = s.M, N = s.N, K = s.K, ns = vm_quant_scales(s.kind, N, K, s.block), per = s.kind == VM_INT8 ? 1 : 2;
    vm_val x = op_input(&c, s.x, 2, (int64_t[]){ M, K }, -1, 1), codes = op_input(&c, VM_U8, 2, (int64_t[]){ N, K / per }, 0, 256);
    vm_val scales = nested ? op_input(&c, VM_U8, 1, &ns, 0, 256) : op_input(&c, VM_F32, 1, &ns, 0.01, 0.1);
    vm_val zero = op_input(&c, VM_F32, 1, &ns, 0, 16), b = op_input(&c, VM_F32, 1, &N, -1, 1);
    vm_val top = op_input(&c, VM_F32, 1, (int64_t[]){ vm_nested_len(ns) }, 0.01, 0.1);
    vm_val r = op_input(&c, s.y, 2, (int64_t[]){ M, N }, -1, 1), dy = op_input(&c, s.y, 2, (int64_t[]){ M, N }, -1, 1);
    vm_quant q = { s.kind, s.block, zeros ? zero : 0, nested ? top : 0 };
    vm_val y = vm_linear_q(c.g, x, codes, scales, s.bias ? b : 0, q, s.residual ? r : 0, s.y);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &dy, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *scale = vm_alloc((size_t)ns * sizeof *scale + 1), *want = vm_calloc((size_t)(M * N) + 1, sizeof *want);
    double *back = vm_calloc((size_t)(M * K) + 1, sizeof *back), *w = vm_calloc((size_t)(N * K) + 1, sizeof *w);
    for (int64_t i = 0; i < ns; i++) {
        const double *t = c.x[5];
        scale[i] = nested ? t[1 + (int64_t)c.x[2][i]] * t[257 + i / 256] + t[0] : c.x[2][i];
    }
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) w[n * K + k] = quant_number(s.kind, s.block, K, false, c.raw[1], scale, zeros ? c.x[3] : NULL, n, k);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double sum = s.bias ? c.x[4][n] : 0;
            for (int64_t k = 0; k < K; k++) sum += c.x[0][m * K + k] * w[n * K + k], back[m * K + k] += c.x[7][m * N + n] * w[n * K + k];
            want[m * N + n] = sum + (s.residual ? c.x[6][m * N + n] : 0);
        }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(N, (int64_t)1), little ? 0x1p-7 : 2e-5);
        op_near(&c, "dx", dx, back, VM_MAX(K, (int64_t)1), little ? 0x1p-7 : 2e-5);
    }
    vm_free(scale), vm_free(want), vm_free(back), vm_free(w);
    op_end(&c);
}

static const struct { int64_t N, K; int block; } SIZES[][6] = {
    { { 37, 200, 0 }, { 5, 128, 0 }, { 1, 1, 0 }, { 19, 333, 64 }, { 7, 96, 32 }, { 18, 40, 5 } },                     /* INT8 */
    { { 37, 256, 64 }, { 5, 200, 32 }, { 1, 2, 4 }, { 19, 136, 128 }, { 7, 96, 8 }, { 18, 50, 12 } },                   /* INT4 */
    { { 37, 256, 64 }, { 5, 320, 64 }, { 1, 2, 64 }, { 19, 104, 64 }, { 130, 96, 16 }, { 18, 512, 256 } },              /* NF4 */
};
TEST(few_and_many_rows) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int i = 0; i < 6; i++)
            for (int64_t M = 1; M <= 9; M++)
                linear_q_case((shape){ (vm_quant_kind)kind, M, SIZES[kind][i].N, SIZES[kind][i].K, SIZES[kind][i].block, (M + i) & 1, M & 1, M & 2,
                                       .x = VM_F32, .y = VM_F32 });
}
TEST(types) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int64_t M = 3; M <= 21; M += 18)
            for (int with = 0; with < 2; with++) {
                shape s = { (vm_quant_kind)kind, M, 70, 192, 64, with, true, with, .x = VM_BF16, .y = VM_BF16 };
                linear_q_case(s);
                s.y = VM_F32, s.residual = !with;
                linear_q_case(s);
                s.x = VM_F16;
                linear_q_case(s);
                s.y = VM_F16;
                linear_q_case(s);
                s.x = s.y = VM_F32, s.deterministic = true;
                linear_q_case(s);
            }
}
/* Over the edges of the tiles of either device; long rows; nothing at all. */
TEST(sizes) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++) {
        linear_q_case((shape){ (vm_quant_kind)kind, 65, 129, 320, 64, true, true, true, .x = VM_F32, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 64, 64, 64, 64, false, false, false, .x = VM_BF16, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 130, 66, 200, 8, true, false, true, .x = VM_BF16, .y = VM_BF16 });
        linear_q_case((shape){ (vm_quant_kind)kind, 2, 3, 9000, 8, true, true, false, .x = VM_F32, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 2, 5, 9216, 64, true, true, false, .x = VM_F32, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 0, 5, 64, 64, true, true, false, .x = VM_F32, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 3, 0, 64, 64, true, true, false, .x = VM_F32, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 3, 5, 0, 64, true, true, true, .x = VM_F32, .y = VM_F32 });
        linear_q_case((shape){ (vm_quant_kind)kind, 12, 5, 0, 64, true, true, true, .x = VM_F32, .y = VM_F32 });
    }
}

/* On a device: weights with rows enough for several per warp, each tile, parts of K. */
TEST(tiles_of_the_device) {
    if (!op_on_device()) return;
    for (int kind = VM_INT8; kind <= VM_NF4; kind++) {
        for (int64_t M = 1; M <= 5; M += 4)
            linear_q_case((shape){ (vm_quant_kind)kind, M, 4230, 64, 64, true, true, true, .x = VM_BF16, .y = VM_F32 });
        for (int tile = GPU_BIG; tile <= GPU_SMALL; tile++) {
            vm_gpu_force(tile, tile == GPU_BIG ? 1 : 3);
            for (int t = tile == GPU_BIG ? VM_BF16 : VM_F32; t <= VM_F16; t++) {
                linear_q_case((shape){ (vm_quant_kind)kind, 131, 136, 136, 8, true, true, true, .x = (vm_type)t, .y = (vm_type)t });
                linear_q_case((shape){ (vm_quant_kind)kind, 12, 129, 192, 64, true, true, false, .x = (vm_type)t, .y = VM_F32 });
            }
        }
        vm_gpu_force(-1, 0);
    }
}

/* Deterministic: a row's bits do not depend on which others there are. */
TEST(rows_alone_and_together) {
    float first[40];
    for (int64_t M = 1; M <= 20; M += 19) {
        op_case c = op_begin(VM_F32);
        c.g->deterministic = true;
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

TEST(refusals) {
    static const struct { vm_quant_kind kind; int block; int64_t scales; const char *words; } bad[] = {
        { VM_NF4, 0, 4, "blocks of 0 weights" }, { VM_INT4, 64, 4, "input 2 is [4], 8 entries are needed" },
        { VM_NF4, -1, 4, "blocks of -1 weights" } };
    for (int i = 0; i < VM_LEN(bad); i++) {
        op_case c = op_begin(VM_F32);
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 96 }, -1, 1), codes = op_input(&c, VM_U8, 2, (int64_t[]){ 4, 48 }, 0, 256);
        vm_val s = op_input(&c, VM_F32, 1, &bad[i].scales, 0, 1);
        EXPECT(!vm_linear_q(c.g, x, codes, s, 0, (vm_quant){ bad[i].kind, bad[i].block, 0, 0 }, 0, VM_F32));
        EXPECT_HAS(c.g->err.msg, bad[i].words);
        op_end(&c);
    }
}

int main(void) {
    RUN(few_and_many_rows);
    RUN(types);
    RUN(sizes);
    RUN(tiles_of_the_device);
    RUN(rows_alone_and_together);
    RUN(refusals);
    return test_end();
}
