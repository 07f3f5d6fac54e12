/* test_gpu_blas.c - products by cuBLASLt against double loops: every way of storing, ends, sums, batches, addresses of a view. Emulated
 * builds take the stand-in of tests/fake, a real device (VISMIN_TEST_DEVICE) the library itself where it is installed. */
#include <libgen.h>

#include "kernels/gpu_choice.h"
#include "tests/optest.h"

#ifdef VM_EMU
#include "tests/emu/cudart.h"
static void stand_in_works(int on) { emuMemoryOpen(on); }
#else
static void stand_in_works(int on) {}
#endif

static vm_backend *be;

static void *device_copy(const void *x, size_t bytes, size_t shift) {
    vm_error e = { 0 };
    char *p = be->alloc(be, bytes + 64);
    EXPECT(p && !be->upload(be, p + shift, x, bytes, &e));
    return p;
}

typedef struct {
    vm_type t, c;
    int64_t batch, M, N, K;
    bool ta, tb, bias, add;
    vm_unary_kind act;
    float alpha;
    size_t shift; /* bytes by which A stands off an aligned address */
} how;

static double end_of(double x, vm_unary_kind act) {
    return act == VM_RELU ? fmax(x, 0) : act == VM_GELU_TANH ? 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) : x;
}

static void product(how h) {
    const int64_t n[4] = { h.batch * h.M * h.K, h.batch * h.K * h.N, h.batch * h.M * h.N, h.N };
    const vm_type t[4] = { h.t, h.t, h.c, VM_F32 };
    void *raw[4], *on[4];
    double *x[4];
    uint64_t s = 4;
    vm_error e = { 0 };
    for (int k = 0; k < 4; k++) {
        raw[k] = vm_alloc((size_t)n[k] * 4), x[k] = vm_alloc((size_t)n[k] * sizeof(double));
        for (int64_t i = 0; i < n[k]; i++) x[k][i] = op_store(raw[k], t[k], i, test_uniform(&s));
        on[k] = device_copy(raw[k], (size_t)n[k] * vm_type_size(t[k]), k ? 0 : h.shift);
    }
    EXPECT(!be->wait(be, &e)); /* the stand-in computes at the call */
    vm_graph *g = vm_graph_new(be, h.t);
    vm_gpu_product p = { .batch = h.batch, .M = h.M, .N = h.N, .K = h.K, .ta = h.ta, .tb = h.tb, .sa = h.M * h.K, .sb = h.K * h.N, .sc = h.M * h.N,
                         .type = h.t, .c_type = h.c, .a = (char *)on[0] + h.shift, .b = on[1], .bias = h.bias ? on[3] : NULL, .c = on[2], .alpha = h.alpha,
                         .act = h.act, .add = h.add };
    EXPECT(vm_gpu_blas_can(&p));
    stand_in_works(1);
    if (vm_gpu_blas_run(g, &p)) MISMATCH("%s\n", g->err.msg);
    stand_in_works(0);
    EXPECT(!be->download(be, raw[2], on[2], (size_t)n[2] * vm_type_size(h.c), &e));
    for (int64_t z = 0; z < h.batch; z++)
        for (int64_t i = 0; i < h.M; i++)
            for (int64_t j = 0; j < h.N; j++) {
                double sum = 0;
                for (int64_t k = 0; k < h.K; k++)
                    sum += x[0][z * p.sa + (h.ta ? k * h.M + i : i * h.K + k)] * x[1][z * p.sb + (h.tb ? j * h.K + k : k * h.N + j)];
                int64_t o = z * p.sc + i * h.N + j;
                double want = end_of((double)h.alpha * sum + (h.bias ? x[3][j] : 0) + (h.add ? x[2][o] : 0), h.act);
                EXPECT_NEAR(op_load(raw[2], h.c, o), want, 2 * op_tol(h.c) * (1 + fabs(want)));
            }
    for (int k = 0; k < 4; k++) be->free(be, on[k]), vm_free(raw[k]), vm_free(x[k]);
    vm_graph_free(g);
}

TEST(products) {
    for (int ways = 0; ways < 4; ways++) {
        const bool ta = ways & 1, tb = ways >> 1;
        product((how){ VM_F32, VM_F32, 1, 5, 7, 9, ta, tb, .alpha = 1 });
        product((how){ VM_F32, VM_F32, 3, 4, 8, 16, ta, tb, .alpha = 0.5f, .add = true });
        product((how){ VM_BF16, VM_BF16, 1, 24, 16, 8, ta, tb, .alpha = 1 });
        product((how){ VM_BF16, VM_F32, 2, 8, 24, 16, ta, tb, .alpha = 2, .bias = true, .add = true });
        product((how){ VM_F16, VM_F16, 1, 8, 8, 32, ta, tb, .alpha = 1 });
    }
    product((how){ VM_F32, VM_F32, 1, 6, 8, 10, false, true, .bias = true, .act = VM_RELU, .alpha = 1 });
    product((how){ VM_F32, VM_F32, 1, 6, 8, 10, false, true, .bias = true, .act = VM_GELU_TANH, .alpha = 1 });
    product((how){ VM_F32, VM_F32, 1, 6, 8, 10, false, true, .act = VM_RELU, .alpha = 1 });
    product((how){ VM_F32, VM_F32, 1, 6, 8, 12, false, true, .alpha = 1, .shift = 16 });
}

TEST(what_the_library_has_not) {
    const vm_gpu_product good = { .batch = 1, .M = 2, .N = 2, .K = 2, .type = VM_BF16, .c_type = VM_BF16 };
    vm_gpu_product p = good;
    EXPECT(vm_gpu_blas_can(&p));
    p.act = VM_QUICK_GELU;
    EXPECT(!vm_gpu_blas_can(&p));
    p = good, p.act = VM_RELU, p.add = true; /* its sum comes before the activation */
    EXPECT(!vm_gpu_blas_can(&p));
    p = good, p.bias = (const float *)&p; /* of bf16 only */
    EXPECT(!vm_gpu_blas_can(&p));
    p = good, p.K = 0;
    EXPECT(!vm_gpu_blas_can(&p));
}

TEST(no_library) {
    vm_error e = { 0 };
    EXPECT(vm_gpu_blas_open("/nowhere/libcublasLt.so", &e) == VM_EDEVICE);
    EXPECT(e.msg[0]);
}

int main(int argc, char **argv) {
    vm_error e = { 0 };
    RUN(no_library);
#ifdef VM_EMU
    char fake[600];
    be = vm_backend_open("emu", &e);
    snprintf(fake, sizeof fake, "%s/fake_cublaslt.so", dirname(argv[0]));
    if (be && vm_gpu_blas_open(fake, &e)) be = NULL;
    test_bad_total += !be;
#else
    be = op_on_device() ? op_backend() : NULL;
    if (be && vm_gpu_blas_open(NULL, &e)) be = NULL;
#endif
    if (e.status) fprintf(stderr, "%s\n", e.msg);
    if (be) {
        RUN(products);
        RUN(what_the_library_has_not);
    }
    return test_end();
}
