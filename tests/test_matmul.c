/* test_matmul.c - vm_matmul in floats against double loops, every layout and type, at every processor level, or on a device with
 * each of its tiles. */
#include "kernels/gpu_gemm.h"
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
            out == VM_BF16 ? OP_TOL_BF16 : out == VM_F16 ? OP_TOL_F16 : 3 * OP_TOL_F32); /* sums may cancel */
    vm_free(want);
    op_end(&c);
}

TEST(layouts) {
    vm_type types[3];
    int n = op_products(types);
    for (int k = 0; k < 8; k++)
        for (int j = 0; j < 2 * n - 1; j++) {
            vm_type t = types[(j + 1) / 2], out = j && j % 2 == 0 ? t : VM_F32;
            check(t, out, 3, k & 1, k & 2, k & 4, 3, 5, 7, 19);
            check(t, out, 3, k & 1, k & 2, k & 4, 1, 70, 3, 64);
            check(t, out, 3, k & 1, k & 2, k & 4, 2, 1, 1, 1);
            if (!(k & 1)) check(t, out, 2, false, k & 2, k & 4, 3, 5, 7, 19);
        }
}
/* Every tile, in one part and in three, ragged in each direction, rows at odd addresses. */
TEST(tiles) {
    static const int64_t sizes[][3] = { { 1, 1, 8 },     { 1, 65, 72 },   { 15, 63, 17 },  { 16, 64, 136 },  { 17, 15, 63 },  { 63, 17, 64 },
                                        { 64, 65, 127 }, { 65, 16, 129 }, { 72, 136, 80 }, { 127, 129, 15 }, { 128, 128, 16 }, { 129, 127, 9 } };
    vm_type t[3];
    int n = op_products(t), turn = 0;
    for (int k = 0; k < VM_LEN(sizes); k++)
        for (int tile = GPU_BIG; tile <= (op_on_device() ? GPU_SMALL : GPU_BIG); tile++)
            for (int j = 0; j < n; j++)
                for (int layout = 0; layout < 4; layout++, turn++) {
                    const int64_t *s = sizes[k];
                    vm_gpu_force(tile, turn % 3 ? 1 : 3);
                    check(t[j], turn % 2 ? t[j] : VM_F32, 3, layout & 1, layout & 2, false, s[0] * s[1] < 2000 ? 2 : 1, s[0], s[1], s[2]);
                }
    vm_gpu_force(-1, 0);
}
/* Operands inside of larger tensors, at odd offsets, with NaN on all sides; the result added onto another. */
TEST(views) {
    vm_type t[3];
    int n = op_products(t);
    for (int j = 0; j < n; j++)
        for (int layout = 0; layout < 4; layout++)
            for (int odd = 0; odd < 2; odd++) {
                const int64_t M = 20, N = 24, K = odd ? 37 : 40;
                const bool ta = layout & 1, tb = layout & 2;
                op_case c = op_begin(t[j]);
                int64_t a1 = ta ? K : M, a2 = ta ? M : K, b1 = tb ? N : K, b2 = tb ? K : N;
                vm_val a = op_input(&c, t[j], 2, (int64_t[]){ a1 + 3, a2 }, -1, 1), b = op_input(&c, t[j], 2, (int64_t[]){ b1 + 3, b2 }, -1, 1);
                for (int64_t i = 0; i < (a1 + 3) * a2; i++)
                    if (i < a2 || i >= (a1 + 1) * a2) op_put(&c, 0, i, NAN);
                for (int64_t i = 0; i < (b1 + 3) * b2; i++)
                    if (i < b2 || i >= (b1 + 1) * b2) op_put(&c, 1, i, NAN);
                vm_val va = vm_slice(c.g, a, 0, 1, a1), vb = vm_slice(c.g, b, 0, 1, b1), y = vm_matmul(c.g, va, vb, ta, tb, 2, VM_F32);
                vm_output(c.g, "y", y);
                double *want = vm_calloc((size_t)(M * N), sizeof *want);
                for (int64_t i = 0; i < M; i++)
                    for (int64_t k = 0; k < K; k++)
                        for (int64_t q = 0; q < N; q++)
                            want[i * N + q] += 2 * c.x[0][a2 + (ta ? k * M + i : i * K + k)] * c.x[1][b2 + (tb ? q * K + k : k * N + q)];
                OP_LEVELS(&c) op_near(&c, "matmul of views", y, want, N, 3 * OP_TOL_F32);
                vm_free(want);
                op_end(&c);
            }
}
/* Gradients of all layouts, added onto earlier ones: the sum of two products has the gradient of one, twice. */
TEST(gradients) {
    enum { B = 2, M = 17, N = 20, K = 24 };
    vm_type t[3];
    int n = op_products(t);
    for (int j = 0; j < n; j++)
        for (int layout = 0; layout < 4; layout++) {
            const bool ta = layout & 1, tb = layout & 2;
            op_case c = op_begin(t[j]);
            c.g->training = true;
            vm_val a = op_input(&c, t[j], 3, ta ? (int64_t[]){ B, K, M } : (int64_t[]){ B, M, K }, -1, 1),
                   b = op_input(&c, t[j], 3, tb ? (int64_t[]){ B, N, K } : (int64_t[]){ B, K, N }, -1, 1),
                   seed = op_input(&c, VM_F32, 3, (int64_t[]){ B, M, N }, -1, 1);
            vm_val outs[] = { vm_matmul(c.g, a, b, ta, tb, 0.5f, VM_F32), vm_matmul(c.g, a, b, ta, tb, 0.5f, VM_F32) };
            vm_backward(c.g, 2, outs, (vm_val[]){ seed, seed }, 2, (vm_val[]){ a, b });
            vm_val da = vm_grad(c.g, a), db = vm_grad(c.g, b);
            vm_output(c.g, "da", da), vm_output(c.g, "db", db);
            double wa[B * M * K] = { 0 }, wb[B * K * N] = { 0 };
            for (int z = 0; z < B; z++)
                for (int m = 0; m < M; m++)
                    for (int k = 0; k < K; k++)
                        for (int q = 0; q < N; q++) {
                            int at = z * M * K + (ta ? k * M + m : m * K + k), bt = z * K * N + (tb ? q * K + k : k * N + q);
                            double d = op_round(t[j], c.x[2][(z * M + m) * N + q]);
                            wa[at] += d * c.x[1][bt], wb[bt] += d * c.x[0][at];
                        }
            double tol = t[j] == VM_F32 ? OP_TOL_F32 : 2 * (t[j] == VM_F16 ? OP_TOL_F16 : OP_TOL_BF16);
            OP_LEVELS(&c) op_near(&c, "da", da, wa, B * M * K, tol), op_near(&c, "db", db, wb, B * K * N, tol);
            op_end(&c);
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
    EXPECT_STR(refused(VM_F16, VM_F16, VM_F32, 3, false),
               "matmul: f16 x f16 -> f32 is not possible on this device; use --dtype bf16 or f32");
    EXPECT_STR(refused(VM_I32, VM_F32, VM_F32, 3, false), "matmul: input 0 is i32[2,3,4], a float tensor is needed");
}

int main(void) {
    RUN(layouts);
    RUN(tiles);
    RUN(views);
    RUN(gradients);
    RUN(empty);
    RUN(misuse);
    return test_end();
}
