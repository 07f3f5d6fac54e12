/* test_experts_q.c - products of rows with the weight of their expert in 8 or 4 bits, against loops in double over the numbers that the codes
 * stand for: few rows and many, experts without rows, rows without an expert, every kind, blocks inside and across rows, zeros, double
 * quantisation, columns in another order, x rounded to 8 bits; gradients; the same bits alone and beside others. */
#include "tests/optest.h"
#include "tests/quant_parts.h"

typedef struct {
    vm_quant_kind kind;
    int64_t E, N, K;
    int block;
    bool with;          /* zeros (INT4), nested scales (NF4) */
    bool order;         /* columns of x stand in another order in the codes */
    bool rounded, deterministic;
    vm_type x, y;
    const int32_t *offsets;
    int64_t M;
} shape;

static void experts_q_case(shape s) {
    op_case c = op_begin(s.x);
    c.g->rounded = s.rounded, c.g->training = !s.rounded, c.g->deterministic = s.deterministic;
    const bool nested = s.kind == VM_NF4 && s.with, zeros = s.kind == VM_INT4 && s.with, little = s.x != VM_F32;
    const int64_t E = s.E, M = s.M, N = s.N, K = s.K, ns = vm_quant_scales(s.kind, N, K, s.block), top = vm_nested_len(ns), per = s.kind == VM_INT8 ? 1 : 2;
    vm_val x = op_input(&c, s.x, 2, (int64_t[]){ M, K }, -1, 1), codes = op_input(&c, VM_U8, 3, (int64_t[]){ E, N, K / per }, 0, 256);
    vm_val scales = nested ? op_input(&c, VM_U8, 1, (int64_t[]){ E * ns }, 0, 256) : op_input(&c, VM_F32, 1, (int64_t[]){ E * ns }, 0.01, 0.1);
    vm_val zero = op_input(&c, VM_F32, 1, (int64_t[]){ E * ns }, 0, 16), tops = op_input(&c, VM_F32, 1, (int64_t[]){ E * top }, 0.01, 0.1);
    vm_val order = op_input(&c, VM_I32, 2, (int64_t[]){ E, K }, 0, 1), o = op_input(&c, VM_I32, 1, (int64_t[]){ E + 1 }, 0, 1);
    vm_val dy = op_input(&c, s.y, 2, (int64_t[]){ M, N }, -1, 1);
    for (int64_t e = 0; e <= E; e++) op_put(&c, 6, e, s.offsets[e]);
    for (int64_t i = 0; i < E * K; i++) op_put(&c, 5, i, (double)((i % K * 7 + 3 * (i / K)) % K)); /* 7 divides no K here */
    vm_val y = vm_experts_q(c.g, x, codes, scales, o, s.order ? order : 0, (vm_quant){ s.kind, s.block, zeros ? zero : 0, nested ? tops : 0 }, s.y);
    if (!y) MISMATCH("%s\n", c.g->err.msg);
    EXPECT(!strcmp(c.g->n[c.g->v[y].node].op->name, s.rounded ? "experts_q8" : "experts_q"));
    vm_output(c.g, "y", y);
    vm_val dx = 0;
    if (!s.rounded) {
        vm_backward(c.g, 1, &y, &dy, 1, &x);
        dx = vm_grad(c.g, x);
        vm_output(c.g, "dx", dx);
    }
    double *scale = vm_alloc((size_t)ns * sizeof *scale + 1), *want = vm_calloc((size_t)(M * N) + 1, sizeof *want);
    double *back = vm_calloc((size_t)(M * K) + 1, sizeof *back), *moved = vm_calloc((size_t)K + 1, sizeof *moved);
    for (int64_t e = 0; e < E; e++) {
        const double *t = c.x[4] + e * top, *ord = c.x[5] + e * K;
        const uint8_t *code = (const uint8_t *)c.raw[1] + e * N * K / per;
        for (int64_t i = 0; i < ns; i++) scale[i] = nested ? t[1 + (int64_t)c.x[2][e * ns + i]] * t[257 + i / 256] + t[0] : c.x[2][e * ns + i];
        for (int64_t m = s.offsets[e]; m < s.offsets[e + 1]; m++) {
            for (int64_t k = 0; k < K; k++) moved[k] = c.x[0][m * K + (s.order ? (int64_t)ord[k] : k)];
            if (s.rounded) quant_rounded(moved, K, moved);
            for (int64_t n = 0; n < N; n++)
                for (int64_t k = 0; k < K; k++) {
                    double w = quant_number(s.kind, s.block, K, s.rounded, code, scale, zeros ? c.x[3] + e * ns : NULL, n, k);
                    want[m * N + n] += moved[k] * w, back[m * K + (s.order ? (int64_t)ord[k] : k)] += c.x[7][m * N + n] * w;
                }
        }
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(N, (int64_t)1), little ? 0x1p-7 : 2e-5);
        if (dx) op_near(&c, "dx", dx, back, VM_MAX(K, (int64_t)1), little ? 0x1p-7 : 2e-5);
        if (s.rounded) op_same(&c, y, &bits);
        memset((void *)(uintptr_t)vm_data(c.g, y), 0xff, (size_t)(M * N) * vm_type_size(s.y)); /* rows of nobody are zeros in the next run, too */
        if (dx) memset((void *)(uintptr_t)vm_data(c.g, dx), 0xff, (size_t)(M * K) * vm_type_size(s.x));
    }
    vm_free(bits), vm_free(scale), vm_free(want), vm_free(back), vm_free(moved);
    op_end(&c);
}

static const int32_t few[] = { 0, 3, 3, 11, 12 }, many[] = { 0, 40, 41, 41, 80 }, none[] = { 0, 0, 0, 0, 0 };
static const struct { int64_t N, K; int block; } SIZES[][4] = {
    { { 37, 200, 0 }, { 1, 1, 0 }, { 19, 320, 64 }, { 7, 96, 32 } },    /* INT8 */
    { { 37, 256, 64 }, { 5, 200, 32 }, { 1, 2, 4 }, { 7, 96, 8 } },     /* INT4 */
    { { 37, 256, 64 }, { 5, 104, 64 }, { 1, 2, 64 }, { 130, 96, 16 } }, /* NF4: the second one's blocks cross rows, and end inside one */
};
TEST(few_and_many_rows) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 8; k++) {
                const bool lot = k & 1;
                experts_q_case((shape){ (vm_quant_kind)kind, 4, SIZES[kind][i].N, SIZES[kind][i].K, SIZES[kind][i].block, .with = k & 2, .order = k & 4,
                                        .x = VM_F32, .y = VM_F32, .offsets = lot ? many : few, .M = lot ? 83 : 12 });
            }
}
TEST(types_and_sizes) {
    static const int32_t lots[] = { 0, 300, 330 };
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int with = 0; with < 2; with++) {
            vm_quant_kind k = (vm_quant_kind)kind;
            experts_q_case((shape){ k, 2, 33, 64, 32, with, with, .x = VM_F32, .y = VM_F32, .offsets = lots, .M = 330 });
            experts_q_case((shape){ k, 4, 18, 128, 64, with, !with, .x = VM_BF16, .y = VM_F32, .offsets = many, .M = 80 });
            experts_q_case((shape){ k, 4, 18, 128, 64, with, with, .x = VM_BF16, .y = VM_BF16, .offsets = few, .M = 20 });
            experts_q_case((shape){ k, 4, 18, 128, 64, with, with, .x = VM_F16, .y = VM_F32, .offsets = many, .M = 80 });
            experts_q_case((shape){ k, 4, 18, 64, 64, with, with, .deterministic = true, .x = VM_F32, .y = VM_F32, .offsets = many, .M = 80 });
            experts_q_case((shape){ k, 4, 5, 64, 64, with, with, .x = VM_F32, .y = VM_F32, .offsets = none, .M = 3 });
            experts_q_case((shape){ k, 4, 5, 64, 64, with, with, .x = VM_F32, .y = VM_F32, .offsets = none, .M = 0 });
            experts_q_case((shape){ k, 1, 1500, 600, 8, with, with, .x = VM_F32, .y = VM_F32, .offsets = (const int32_t[]){ 0, 11 }, .M = 11 }); /* several tiles */
        }
}
TEST(rounded) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int k = 0; k < 4; k++) {
            experts_q_case((shape){ (vm_quant_kind)kind, 4, 37, 256, 64, .with = k & 1, .order = k & 2, .rounded = true, .x = VM_F32, .y = VM_F32, .offsets = few, .M = 14 });
            experts_q_case((shape){ (vm_quant_kind)kind, 4, 18, 96, 32, .with = k & 1, .rounded = true, .deterministic = true, .x = VM_BF16, .y = VM_F32,
                                    .offsets = many, .M = 80 });
        }
}

TEST(what_cannot_be) {
    static const int32_t bad[][3] = { { 1, 2, 3 }, { 0, 3, 2 }, { 0, 2, 5 } };
    for (int k = 0; k <= VM_LEN(bad); k++) {
        op_case c = op_begin(VM_F32);
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 8 }, -1, 1), codes = op_input(&c, VM_U8, 3, (int64_t[]){ 2, 3, 8 }, 0, 256);
        vm_val s = op_input(&c, VM_F32, 1, (int64_t[]){ 6 }, 0.1, 1), o = op_input(&c, VM_I32, 1, (int64_t[]){ 3 }, 0, 1);
        vm_val order = op_input(&c, VM_I32, 2, (int64_t[]){ 2, 8 }, 0, 8);
        for (int e = 0; e < 3; e++) op_put(&c, 3, e, k < VM_LEN(bad) ? bad[k][e] : 2 * e);
        if (k == VM_LEN(bad)) op_put(&c, 4, 11, 8);
        vm_output(c.g, "y", vm_experts_q(c.g, x, codes, s, o, order, (vm_quant){ VM_INT8, 0, 0, 0 }, VM_F32));
        for (int i = 0; i < 5; i++) vm_set(c.g, (const char *[]){ "x0", "x1", "x2", "x3", "x4" }[i], c.raw[i]);
        EXPECT(vm_run(c.g) && c.g->err.status == VM_EINPUT);
        EXPECT_HAS(c.g->err.msg, k < VM_LEN(bad) ? "experts_q: offset" : "experts_q: column 8 in the order of expert 1, there are 8");
        op_end(&c);
    }
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 8 }, -1, 1), codes = op_input(&c, VM_U8, 3, (int64_t[]){ 2, 3, 8 }, 0, 256);
    vm_val s = op_input(&c, VM_F32, 1, (int64_t[]){ 3 }, 0.1, 1), o = op_input(&c, VM_I32, 1, (int64_t[]){ 3 }, 0, 1);
    EXPECT(!vm_experts_q(c.g, x, codes, s, o, 0, (vm_quant){ VM_INT8, 0, 0, 0 }, VM_F32)); /* scales of one expert alone */
    EXPECT_HAS(c.g->err.msg, "experts_q: input 2 is");
    op_end(&c);
}

int main(void) {
    if (op_on_device()) return test_end(); /* there are kernels for the processor alone */
    RUN(few_and_many_rows);
    RUN(types_and_sizes);
    RUN(rounded);
    RUN(what_cannot_be);
    return test_end();
}
