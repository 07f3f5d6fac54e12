/* test_gemm.c - products of gemm.h against double loops: layouts, strides, batches, epilogues, packed weights, and the
 * promise of deterministic mode: the bits of a row depend neither on threads nor on the other rows. */
#include "kernels/cpu.h"
#include "kernels/gemm.h"
#include "tests/test.h"

static const vm_type types[] = { VM_F32, VM_BF16 };
static int n_types(void) { return vm_cpu_has_bf16() ? 2 : 1; }

static float get(const void *p, vm_type t, int64_t i) {
    return t == VM_F32 ? ((const float *)p)[i] : vm_bf16_to_f32(((const uint16_t *)p)[i]);
}
static void put(void *p, vm_type t, int64_t i, float v) {
    if (t == VM_F32) ((float *)p)[i] = v;
    else ((uint16_t *)p)[i] = vm_f32_to_bf16(v);
}
static void *filled(int64_t n, vm_type t, uint64_t seed) {
    void *p = vm_alloc((size_t)n * vm_type_size(t) + 1);
    for (int64_t i = 0; i < n; i++) put(p, t, i, (float)test_uniform(&seed));
    return p;
}

static double act(double x, vm_unary_kind k) {
    switch (k) {
    case VM_RELU: return x > 0 ? x : 0;
    case VM_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case VM_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case VM_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case VM_SILU: return x / (1 + exp(-x));
    case VM_SIGMOID: return 1 / (1 + exp(-x));
    case VM_TANH: return tanh(x);
    default: return x;
    }
}

/* Strides as gemm.h counts them when the fields are 0. */
static vm_gemm_shape whole(vm_gemm_shape s) {
    if (!s.lda) s.lda = s.ta ? s.M : s.K;
    if (!s.ldb) s.ldb = s.tb ? s.K : s.N;
    if (!s.ldc) s.ldc = s.N;
    return s;
}

static void check(vm_gemm_shape s0) {
    vm_gemm_shape s = whole(s0);
    int64_t rows_a = s.ta ? s.K : s.M, rows_b = s.tb ? s.N : s.K, last = s.batch - 1;
    int64_t na = last * s.sa + rows_a * s.lda, nb = last * s.sb + rows_b * s.ldb, nc = last * s.sc + s.M * s.ldc;
    void *a = filled(na, s.a, 1), *b = filled(nb, s.b, 2), *c = filled(nc, s.c, 3), *c0 = filled(nc, s.c, 3);
    float *bias = filled(s.N, VM_F32, 4);
    vm_error e = { 0 };
    vm_gemm *m = vm_gemm_new(&s0, &e);
    if (!m || vm_gemm_run(m, a, b, s.bias ? bias : NULL, c, &e)) MISMATCH("%s\n", e.msg);
    double tol = s.c == VM_F32 ? 1e-5 : 0x1p-8, scale = 1 + sqrt((double)s.K); /* sums of K products of size 1 */
    for (int64_t z = 0; z < s.batch; z++)
        for (int64_t i = 0; i < s.M; i++)
            for (int64_t j = 0; j < s.ldc; j++) {
                int64_t at = z * s.sc + i * s.ldc + j;
                double y = 0, old = (double)get(c0, s.c, at);
                for (int64_t k = 0; k < s.K && j < s.N; k++)
                    y += (double)get(a, s.a, z * s.sa + (s.ta ? k * s.lda + i : i * s.lda + k)) *
                         (double)get(b, s.b, z * s.sb + (s.tb ? j * s.ldb + k : k * s.ldb + j));
                y = act((double)s.alpha * y + (s.bias && j < s.N ? (double)bias[j] : 0), s.act) + (s.add ? old : 0);
                if (j >= s.N) y = old; /* between the rows nothing is written */
                test_checks++;
                if (!(fabs((double)get(c, s.c, at) - y) <= tol * scale))
                    MISMATCH("[%d][%d,%d] of %dx%dx%d (ta %d tb %d det %d): %g, want %g\n", (int)z, (int)i, (int)j,
                             (int)s.M, (int)s.N, (int)s.K, s.ta, s.tb, s.deterministic, (double)get(c, s.c, at), y);
            }
    vm_gemm_free(m);
    vm_free(a), vm_free(b), vm_free(c), vm_free(c0), vm_free(bias);
}

static void each_layout(vm_gemm_shape s) {
    for (int k = 0; k < 8; k++) {
        s.ta = k & 1, s.tb = k & 2, s.deterministic = k & 4;
        for (int t = 0; t < n_types(); t++)
            for (int u = 0; u < n_types(); u++) {
                s.a = s.b = types[t], s.c = types[u];
                if (t == 0 && u == 1) continue;
                check(s);
            }
    }
}

TEST(layouts) {
    each_layout((vm_gemm_shape){ .batch = 1, .M = 7, .N = 13, .K = 17, .alpha = 1 });
    each_layout((vm_gemm_shape){ .batch = 1, .M = 1, .N = 1, .K = 1, .alpha = 1 });
    each_layout((vm_gemm_shape){ .batch = 1, .M = 65, .N = 33, .K = 64, .alpha = 0.5f });
    each_layout((vm_gemm_shape){ .batch = 1, .M = 3, .N = 700, .K = 5, .alpha = 1 });
    each_layout((vm_gemm_shape){ .batch = 1, .M = 130, .N = 1030, .K = 3, .alpha = 1, .add = true });
}
TEST(strides) {
    check(
        (vm_gemm_shape){ .batch = 1, .M = 5, .N = 6, .K = 7, .lda = 11, .ldb = 9, .ldc = 10, .alpha = 1, .add = true });
    for (int d = 0; d < 2; d++) {
        check((vm_gemm_shape){ .batch = 1,
                               .M = 70,
                               .N = 600,
                               .K = 7,
                               .lda = 11,
                               .ldb = 640,
                               .ldc = 620,
                               .alpha = 1,
                               .bias = true,
                               .deterministic = d });
        check((vm_gemm_shape){ .batch = 1,
                               .M = 70,
                               .N = 9,
                               .K = 7,
                               .ta = true,
                               .tb = true,
                               .lda = 71,
                               .ldb = 12,
                               .ldc = 10,
                               .alpha = 1,
                               .deterministic = d });
    }
}
TEST(one_row_of_many) { /* a row or a column alone, its elements far apart; also as what remains behind whole chunks */
    static const int size[][2] = { { 1, 9 }, { 9, 1 }, { 65, 5 }, { 3, 513 } };
    for (int i = 0; i < VM_LEN(size); i++)
        for (int k = 0; k < 16; k++) {
            vm_gemm_shape s = { .batch = 1, .M = size[i][0], .N = size[i][1], .K = 19, .alpha = 1 };
            s.ta = k & 1, s.tb = k & 2, s.deterministic = k & 4, s.add = k & 8;
            s.lda = (s.ta ? s.M : s.K) + 2, s.ldb = (s.tb ? s.K : s.N) + 3, s.ldc = s.N + 1;
            check(s);
        }
}
TEST(batches) {
    for (int k = 0; k < 8; k++) {
        vm_gemm_shape s = {
            .batch = 3, .M = 66, .N = 5, .K = 4, .ta = k & 1, .tb = k & 2, .deterministic = k & 4, .alpha = 2
        };
        s.sa = s.M * s.K, s.sb = s.K * s.N, s.sc = s.M * s.N;
        check(s);
        s.sb = 0; /* one B for all */
        check(s);
        s.sa += 3, s.sc += 2, s.sb = 50, s.add = true;
        check(s);
    }
}
TEST(epilogues) {
    for (int k = VM_NONE; k <= VM_TANH; k++)
        for (int m = 0; m < 8; m++)
            check((vm_gemm_shape){ .batch = 1,
                                   .M = 5,
                                   .N = 19,
                                   .K = 8,
                                   .alpha = 1,
                                   .act = (vm_unary_kind)k,
                                   .bias = m & 1,
                                   .add = m & 2,
                                   .deterministic = m & 4 });
}
TEST(sums_over_nothing) {
    for (int m = 0; m < 8; m++)
        for (int t = 0; t < n_types(); t++)
            check((vm_gemm_shape){ .batch = 1,
                                   .M = 3,
                                   .N = 5,
                                   .K = 0,
                                   .a = types[t],
                                   .b = types[t],
                                   .c = types[t],
                                   .alpha = 1,
                                   .act = VM_SIGMOID,
                                   .bias = m & 1,
                                   .add = m & 2,
                                   .deterministic = m & 4 });
    check((vm_gemm_shape){ .batch = 1, .M = 0, .N = 5, .K = 3, .alpha = 1 });
    check((vm_gemm_shape){ .batch = 1, .M = 3, .N = 0, .K = 3, .alpha = 1 });
    check((vm_gemm_shape){ .batch = 0, .M = 3, .N = 2, .K = 3, .alpha = 1 });
}
TEST(refused) {
    vm_error e = { 0 };
    EXPECT(!vm_gemm_new(&(vm_gemm_shape){ .batch = 1, .M = 2, .N = 2, .K = 2, .alpha = 2, .bias = true }, &e));
    EXPECT_STR(e.msg, "a product f32 x f32 -> f32 with a bias and a factor is not possible");
    vm_error_clear(&e);
    EXPECT(!vm_gemm_new(&(vm_gemm_shape){ .batch = 1, .M = 2, .N = 2, .K = 2, .alpha = 1, .c = VM_BF16 }, &e));
    EXPECT_STR(e.msg, "a product f32 x f32 -> bf16 is not possible");
}

/* Runs rows r0.. of a (all of them M) as a product of their own. */
static void run_rows(vm_gemm_shape s, int threads, const void *a, const void *b, const float *bias, void *c) {
    vm_error e = { 0 };
    vm_threads(threads);
    vm_gemm *m = vm_gemm_new(&s, &e);
    if (!m || vm_gemm_run(m, a, b, s.bias ? bias : NULL, c, &e)) MISMATCH("%s\n", e.msg);
    vm_gemm_free(m);
    vm_threads(0);
}

TEST(rows_keep_their_bits) {
    const int64_t all = 203, N = 1300, K = 300;
    for (int t = 0; t < n_types(); t++)
        for (int tb = 0; tb < 2; tb++) {
            vm_gemm_shape s = { .batch = 1,
                                .M = all,
                                .N = N,
                                .K = K,
                                .tb = tb,
                                .a = types[t],
                                .b = types[t],
                                .c = types[t],
                                .alpha = 1,
                                .act = VM_GELU,
                                .bias = true,
                                .deterministic = true };
            size_t es = vm_type_size(types[t]);
            char *a = filled(all * K, types[t], 1), *b = filled(N * K, types[t], 2),
                 *c = vm_alloc((size_t)(all * N) * es), *d = vm_alloc((size_t)(all * N) * es);
            float *bias = filled(N, VM_F32, 4);
            run_rows(s, 1, a, b, bias, c);
            for (int threads = 2; threads <= 3; threads++) {
                run_rows(s, threads, a, b, bias, d);
                EXPECT(!memcmp(c, d, (size_t)(all * N) * es));
            }
            const int64_t at[] = { 0, 1, 63, 64, 100, 202 }, n[] = { 203, 1, 65, 64, 37, 1 };
            for (int k = 0; k < VM_LEN(at); k++) { /* the same rows among others, or alone */
                s.M = n[k];
                run_rows(s, 1 + k % 3, a + (size_t)(at[k] * K) * es, b, bias, d);
                EXPECT(!memcmp(c + (size_t)(at[k] * N) * es, d, (size_t)(n[k] * N) * es));
            }
            vm_free(a), vm_free(b), vm_free(c), vm_free(d), vm_free(bias);
        }
}
TEST(transposed_sums_keep_their_bits) { /* dW: rows are features, the sum runs over the batch */
    for (int64_t M = 20; M <= 148; M += 64) {
        vm_gemm_shape s = { .batch = 1, .M = M, .N = 600, .K = 333, .ta = true, .alpha = 1, .deterministic = true };
        float *a = filled(M * s.K, VM_F32, 1), *b = filled(s.N * s.K, VM_F32, 2), *c = vm_alloc((size_t)(M * s.N) * 4),
              *d = vm_alloc((size_t)(M * s.N) * 4);
        run_rows(s, 1, a, b, NULL, c);
        run_rows(s, 3, a, b, NULL, d);
        EXPECT(!memcmp(c, d, (size_t)(M * s.N) * 4));
        vm_free(a), vm_free(b), vm_free(c), vm_free(d);
    }
}

/* y = x W^T and dx = y W of one square weight: two layouts of equal shape, which must not be confused. */
TEST(packed_weights) {
    enum { K = 32, M = 3 };
    vm_backend *be = vm_backend_cpu();
    for (int t = 0; t < n_types(); t++)
        for (int w = 0; w < n_types(); w++) { /* products of type t, the weight stored as type w */
            vm_param *p = vm_param_new(be, "w", types[w], 2, (int64_t[]){ K, K }, NULL);
            void *a = filled(M * K, types[t], 1);
            float c[M * K];
            vm_gemm *m[2];
            vm_error e = { 0 };
            for (int tb = 0; tb < 2; tb++)
                m[tb] = vm_gemm_new(&(vm_gemm_shape){ .batch = 1,
                                                      .M = M,
                                                      .N = K,
                                                      .K = K,
                                                      .tb = tb,
                                                      .a = types[t],
                                                      .b = types[t],
                                                      .packed = true,
                                                      .alpha = 1 },
                                    &e);
            for (int version = 0; version < 2; version++) {
                uint64_t seed = 7 + (uint64_t)version;
                for (int i = 0; i < K * K; i++) put(p->data, types[w], i, (float)test_uniform(&seed));
                vm_param_touch(p);
                const void *first = vm_gemm_pack(m[1], p, &e);
                EXPECT(first && first == vm_gemm_pack(m[1], p, &e));
                for (int tb = 0; tb < 2; tb++) {
                    EXPECT(!vm_gemm_run(m[tb], a, vm_gemm_pack(m[tb], p, &e), NULL, c, &e));
                    for (int i = 0; i < M; i++)
                        for (int j = 0; j < K; j++) {
                            double y = 0;
                            for (int k = 0; k < K; k++) { /* the weight is rounded to the product's type on the way */
                                float x = get(p->data, types[w], tb ? j * K + k : k * K + j);
                                y += (double)get(a, types[t], i * K + k) *
                                     (double)(t ? vm_bf16_to_f32(vm_f32_to_bf16(x)) : x);
                            }
                            EXPECT_NEAR((double)c[i * K + j], y, 1e-4);
                        }
                }
            }
            vm_gemm_free(m[0]), vm_gemm_free(m[1]);
            vm_param_free(p), vm_free(a);
        }
}

int main(void) {
    RUN(layouts);
    RUN(strides);
    RUN(one_row_of_many);
    RUN(batches);
    RUN(epilogues);
    RUN(sums_over_nothing);
    RUN(refused);
    RUN(rows_keep_their_bits);
    RUN(transposed_sums_keep_their_bits);
    RUN(packed_weights);
    return test_end();
}
