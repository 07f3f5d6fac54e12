/* test_experts_q.c - products of rows with the weight of their expert in 8 or 4 bits, against loops in double over the numbers that the codes
 * stand for: few rows and many, experts without rows, rows without an expert, every kind, blocks inside and across rows, zeros, double
 * quantisation, columns in another order, x rounded to 8 bits (on the processor alone); gradients, also onto others; the same bits alone and beside
 * others. Rows of nobody and the scales of experts without rows are NaN: nothing of them may get into a result. */
#include "tests/optest.h"
#include "tests/quant_parts.h"

typedef struct {
    vm_quant_kind kind;
    int64_t E, N, K;
    int block;
    bool with;          /* zeros (INT4), nested scales (NF4) */
    bool order;         /* columns of x stand in another order in the codes */
    bool rounded, deterministic;
    bool twice;         /* a second product of the same: its gradient is added onto that of the first */
    vm_type x, y;
    const int32_t *offsets;
    int64_t M;
} shape;

static void experts_q_case(shape s) {
    const bool rounds = s.rounded && !op_on_device();
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
    for (int64_t i = s.offsets[E] * K; i < M * K; i++) op_put(&c, 0, i, (double)NAN);
    for (int64_t i = s.offsets[E] * N; i < M * N; i++) op_put(&c, 7, i, (double)NAN);
    for (int64_t i = 0; i < E * ns && !nested; i++)
        if (s.offsets[i / ns] == s.offsets[i / ns + 1]) op_put(&c, 2, i, (double)NAN);
    for (int64_t i = 0; i < E * K; i++) op_put(&c, 5, i, (double)((i % K * 7 + 3 * (i / K)) % K)); /* 7 divides no K here */
    const vm_quant q = { s.kind, s.block, zeros ? zero : 0, nested ? tops : 0 };
    vm_val y = vm_experts_q(c.g, x, codes, scales, o, s.order ? order : 0, q, s.y);
    if (!y) MISMATCH("%s\n", c.g->err.msg);
    EXPECT(!strcmp(c.g->n[c.g->v[y].node].op->name, rounds ? "experts_q8" : "experts_q"));
    vm_output(c.g, "y", y);
    vm_val dx = 0;
    if (!s.rounded) {
        vm_val again = s.twice ? vm_experts_q(c.g, x, codes, scales, o, s.order ? order : 0, q, s.y) : 0;
        vm_backward(c.g, s.twice ? 2 : 1, (vm_val[]){ y, again }, (vm_val[]){ dy, dy }, 1, &x);
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
            if (rounds) quant_rounded(moved, K, moved);
            for (int64_t n = 0; n < N; n++)
                for (int64_t k = 0; k < K; k++) {
                    double w = quant_number(s.kind, s.block, K, rounds, code, scale, zeros ? c.x[3] + e * ns : NULL, n, k);
                    want[m * N + n] += moved[k] * w, back[m * K + (s.order ? (int64_t)ord[k] : k)] += (s.twice ? 2 : 1) * c.x[7][m * N + n] * w;
                }
        }
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, VM_MAX(N, (int64_t)1), little ? 0x1p-7 : 2e-5);
        if (dx) op_near(&c, "dx", dx, back, VM_MAX(K, (int64_t)1), little ? 0x1p-7 : 2e-5);
        if (s.rounded) op_same(&c, y, &bits);
        if (op_on_device()) continue; /* one run */
        memset((void *)(uintptr_t)vm_data(c.g, y), 0xff, (size_t)(M * N) * vm_type_size(s.y)); /* rows of nobody are zeros in the next run, too */
        if (dx) memset((void *)(uintptr_t)vm_data(c.g, dx), 0xff, (size_t)(M * K) * vm_type_size(s.x));
    }
    vm_free(bits), vm_free(scale), vm_free(want), vm_free(back), vm_free(moved);
    op_end(&c);
}

static const int32_t few[] = { 0, 3, 3, 11, 12 }, many[] = { 0, 40, 41, 41, 80 }, none[] = { 0, 0, 0, 0, 0 };
static const struct { int64_t N, K; int block; } SIZES[][5] = {
    { { 37, 200, 0 }, { 1, 1, 0 }, { 19, 320, 64 }, { 7, 96, 32 }, { 18, 45, 5 } },      /* INT8 */
    { { 37, 256, 64 }, { 5, 200, 32 }, { 1, 2, 4 }, { 7, 96, 8 }, { 18, 50, 12 } },      /* INT4 */
    { { 37, 256, 64 }, { 5, 104, 64 }, { 1, 2, 64 }, { 130, 96, 16 }, { 18, 50, 256 } }, /* NF4: of some the blocks cross rows, and end inside one */
};
TEST(few_and_many_rows) {
    for (int kind = VM_INT8; kind <= VM_NF4; kind++)
        for (int i = 0; i < VM_LEN(SIZES[0]); i++)
            for (int k = 0; k < 8; k++) {
                const bool lot = k & 1;
                experts_q_case((shape){ (vm_quant_kind)kind, 4, SIZES[kind][i].N, SIZES[kind][i].K, SIZES[kind][i].block, .with = k & 2, .order = k & 4,
                                        .twice = (k + i) % 3 == 0, .x = VM_F32, .y = VM_F32, .offsets = lot ? many : few, .M = lot ? 83 : 14 });
            }
}
/* Few rows of an expert on a device: one, up to 4, up to 8, beside experts with more, and rows of nobody; weights with several rows per warp, and
 * longer than x has room in shared memory. */
TEST(ways_of_the_device) {
    static const int32_t chunks[][5] = { { 0, 1, 1, 2, 2 }, { 0, 4, 5, 8, 9 }, { 0, 19, 24, 24, 32 }, { 0, 8, 17, 17, 19 }, { 0, 0, 0, 0, 65 } };
    static const int32_t tiles[] = { 0, 65, 130, 195, 260 }; /* as many tiles as there can be */
    if (!op_on_device()) return;
    for (int kind = VM_INT8; kind <= VM_NF4; kind++) {
        for (int k = 0; k < VM_LEN(chunks); k++)
            experts_q_case((shape){ (vm_quant_kind)kind, 4, 19, 1600, 32, .with = k & 1, .order = k & 2, .x = k & 1 ? VM_BF16 : VM_F32, .y = VM_F32,
                                    .offsets = chunks[k], .M = chunks[k][4] + 5 * k });
        experts_q_case((shape){ (vm_quant_kind)kind, 4, 2130, 32, 32, .with = true, .x = VM_F16, .y = VM_F32, .offsets = chunks[0], .M = 2 });
        experts_q_case((shape){ (vm_quant_kind)kind, 4, 1430, 64, 64, .with = true, .x = VM_BF16, .y = VM_BF16, .offsets = chunks[1], .M = 10 });
        experts_q_case((shape){ (vm_quant_kind)kind, 4, 5, 64, 64, .deterministic = true, .x = VM_F32, .y = VM_F32, .offsets = tiles, .M = 261 });
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
            experts_q_case((shape){ k, 4, 18, 128, 64, with, with, .deterministic = true, .x = VM_BF16, .y = VM_F32, .offsets = few, .M = 12 });
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

/* Deterministic: a row's bits do not depend on which others there are. */
TEST(rows_alone_and_together) {
    enum { E = 3, N = 40, K = 256 };
    static const int32_t offsets[2][E + 1] = { { 0, 0, 1, 1 }, { 0, 3, 20, 24 } };
    float first[N];
    for (int k = 0; k < 2; k++) {
        const int64_t M = offsets[k][E], row = offsets[k][1] + (k ? 9 : 0); /* of expert 1 */
        op_case c = op_begin(VM_F32);
        c.g->deterministic = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1), o = op_input(&c, VM_I32, 1, (int64_t[]){ E + 1 }, 0, 1);
        c.state = 77;
        vm_val codes = op_input(&c, VM_U8, 3, (int64_t[]){ E, N, K / 2 }, 0, 256), scales = op_input(&c, VM_F32, 1, (int64_t[]){ E * N * K / 64 }, 0.1, 1);
        for (int e = 0; e <= E; e++) op_put(&c, 1, e, offsets[k][e]);
        for (int i = 0; i < K; i++) op_put(&c, 0, row * K + i, sin(i));
        vm_val y = vm_experts_q(c.g, x, codes, scales, o, 0, (vm_quant){ VM_NF4, 64, 0, 0 }, VM_F32);
        vm_output(c.g, "y", y);
        op_run(&c);
        for (int i = 0; i < N; i++) {
            if (k) EXPECT(first[i] == (float)op_get(&c, y, row * N + i));
            else first[i] = (float)op_get(&c, y, i);
        }
        op_end(&c);
    }
}

TEST(what_cannot_be) {
    static const int32_t bad[][3] = { { 1, 2, 3 }, { 0, 3, 2 }, { 0, 2, 5 } }, met[] = { 1, 2, 5, 8 };
    for (int k = 0; k <= VM_LEN(bad); k++) {
        op_case c = op_begin(VM_F32);
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 8 }, -1, 1), codes = op_input(&c, VM_U8, 3, (int64_t[]){ 2, 3, 8 }, 0, 256);
        vm_val s = op_input(&c, VM_F32, 1, (int64_t[]){ 6 }, 0.1, 1), o = op_input(&c, VM_I32, 1, (int64_t[]){ 3 }, 0, 1);
        vm_val order = op_input(&c, VM_I32, 2, (int64_t[]){ 2, 8 }, 0, 8);
        for (int e = 0; e < 3; e++) op_put(&c, 3, e, k < VM_LEN(bad) ? bad[k][e] : 2 * e);
        if (k == VM_LEN(bad)) op_put(&c, 4, 11, 8);
        vm_output(c.g, "y", vm_experts_q(c.g, x, codes, s, o, order, (vm_quant){ VM_INT8, 0, 0, 0 }, VM_F32));
        for (int i = 0; i < 5; i++) vm_set(c.g, (const char *[]){ "x0", "x1", "x2", "x3", "x4" }[i], c.raw[i]);
        EXPECT((vm_run(c.g) || vm_wait(c.g)) && c.g->err.status == VM_EINPUT);
        char on_device[64];
        snprintf(on_device, sizeof on_device, "op experts_q met the value %d", (int)met[k]);
        EXPECT_HAS(c.g->err.msg, op_on_device() ? on_device : k < VM_LEN(bad) ? "experts_q: offset" : "experts_q: column 8 in the order of expert 1, there are 8");
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
    RUN(few_and_many_rows);
    RUN(ways_of_the_device);
    RUN(types_and_sizes);
    RUN(rounded);
    RUN(rows_alone_and_together);
    RUN(what_cannot_be);
    return test_end();
}
