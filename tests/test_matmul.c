/* test_matmul.c - vm_matmul in floats against double loops, every layout and type, at every processor level. */
#include "tests/optest.h"

static void check(vm_type t, vm_type out, int nd_b, bool ta, bool tb, bool deterministic, int64_t B, int64_t M,
                  int64_t N, int64_t K) {
    op_case c = op_begin(t);
    c.g->deterministic = deterministic;
    vm_val a = op_input(&c, t, 3, ta ? (int64_t[]){ B, K, M } : (int64_t[]){ B, M, K }, -1, 1);
    int64_t bm[] = { B, tb ? N : K, tb ? K : N };
    vm_val b = op_input(&c, t, nd_b, bm + 3 - nd_b, -1, 1), y = vm_matmul(c.g, a, b, ta, tb, 0.5f, out);
    vm_output(c.g, "y", y);
    double *want = vm_calloc((size_t)(B * M * N) + 1, sizeof *want);
    for (int64_t z = 0; z < B; z++)
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++)
                for (int64_t k = 0; k < K; k++)
                    want[(z * M + i) * N + j] += 0.5 * c.x[0][z * M * K + (ta ? k * M + i : i * K + k)] *
                                                 c.x[1][(nd_b == 3 ? z * N * K : 0) + (tb ? j * K + k : k * N + j)];
    OP_LEVELS(&c)
    op_near(&c, "matmul", y, want, VM_MAX(N, (int64_t)1),
            out == VM_BF16 ? OP_TOL_BF16 : 3 * OP_TOL_F32); /* sums may cancel */
    vm_free(want);
    op_end(&c);
}

TEST(layouts) {
    for (int k = 0; k < 8; k++)
        for (int bf16 = 0; bf16 < (vm_cpu_has_bf16() ? 3 : 1); bf16++) {
            vm_type t = bf16 ? VM_BF16 : VM_F32, out = bf16 == 2 ? VM_BF16 : VM_F32;
            check(t, out, 3, k & 1, k & 2, k & 4, 3, 5, 7, 19);
            check(t, out, 3, k & 1, k & 2, k & 4, 1, 70, 3, 64);
            check(t, out, 3, k & 1, k & 2, k & 4, 2, 1, 1, 1);
            if (!(k & 1)) check(t, out, 2, false, k & 2, k & 4, 3, 5, 7, 19);
        }
}
TEST(empty) {
    check(VM_F32, VM_F32, 3, false, false, false, 2, 3, 4, 0); /* zeros */
    check(VM_F32, VM_F32, 3, false, false, false, 0, 3, 4, 5);
    check(VM_F32, VM_F32, 2, false, true, false, 2, 0, 4, 5);
    check(VM_F32, VM_F32, 2, false, true, false, 2, 3, 0, 5);
}
static const char *refused(vm_type ta, vm_type tb, vm_type out, int nd_b, bool trans_a) {
    static char text[1024];
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    vm_val a = vm_input(g, "a", ta, 3, (int64_t[]){ 2, 3, 4 }), b = vm_input(g, "b", tb, nd_b, (int64_t[]){ 4, 3, 5 });
    EXPECT(!vm_matmul(g, a, b, trans_a, false, 1, out));
    snprintf(text, sizeof text, "%s", g->err.msg);
    vm_graph_free(g);
    return text;
}
TEST(misuse) {
    EXPECT_STR(refused(VM_F32, VM_F32, VM_F32, 3, false), "matmul: [2,3,4] f32 does not fit [4,3,5] f32");
    EXPECT_STR(refused(VM_F32, VM_F32, VM_F32, 2, true), "matmul: [2,3,4]^T f32 does not fit [4,3] f32");
    EXPECT_STR(refused(VM_F32, VM_BF16, VM_F32, 3, false), "matmul: [2,3,4] f32 does not fit [4,3,5] bf16");
    EXPECT_STR(refused(VM_F32, VM_F32, VM_BF16, 3, false), "matmul: f32 x f32 -> bf16 is not possible");
    EXPECT_STR(refused(VM_I32, VM_F32, VM_F32, 3, false), "matmul: input 0 is i32[2,3,4], a float tensor is needed");
}

int main(void) {
    RUN(layouts);
    RUN(empty);
    RUN(misuse);
    return test_end();
}
