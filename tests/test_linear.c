/* test_linear.c - vm_linear in floats against double loops: types, epilogues, residuals in place and not, weights that
 * change, backward passes in 16 bits, deterministic graphs. Runs at every processor level, or on a device with each of its tiles. */
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/gpu_gemm.h"
#include "tests/optest.h"

static double act(double x, vm_unary_kind k) {
    switch (k) {
    case VM_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case VM_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case VM_EXP: return exp(x);
    default: return x;
    }
}
static double tol16(vm_type t) { return t == VM_F16 ? OP_TOL_F16 : OP_TOL_BF16; }
static vm_param *new_param(const char *name, vm_type t, int nd, const int64_t *ne) { return vm_param_new(op_backend(), name, t, nd, ne, NULL); }
/* Random values into an f32 parameter; they are returned. */
static float *fill(op_case *c, vm_param *p) {
    float *x = vm_alloc((size_t)vm_param_count(p) * sizeof *x);
    for (int64_t i = 0; i < vm_param_count(p); i++) x[i] = (float)test_uniform(&c->state);
    EXPECT(!vm_param_write(p, x, &c->g->err));
    return x;
}

/* y = act(x w^T + b) + r in the numbers that the kernel sees: x and w rounded to t */
static double *reference(int64_t M, int64_t N, int64_t K, const double *x, const double *w, const double *b,
                         const double *r, vm_unary_kind k, vm_type t) {
    double *y = vm_alloc((size_t)(M * N) * sizeof *y + 1);
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double s = 0;
            for (int64_t c = 0; c < K; c++)
                s += op_round(t, x[i * K + c]) * op_round(t, w[j * K + c]);
            y[i * N + j] = act(s + (b ? b[j] : 0), k) + (r ? r[i * N + j] : 0);
        }
    return y;
}

/* training: 0 inference, 1 training, 2 deterministic inference. weight: an input, or a parameter stored as wt. */
static void check(vm_type dtype, int training, bool param, vm_type wt, vm_type out, vm_unary_kind k, bool bias,
                  bool residual, int64_t M, int64_t N, int64_t K) {
    op_case c = op_begin(dtype);
    c.g->training = training == 1, c.g->deterministic = training == 2;
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1), w = op_input(&c, wt, 2, (int64_t[]){ N, K }, -1, 1);
    vm_val b = op_input(&c, VM_F32, 1, &N, -1, 1), r = op_input(&c, VM_F32, 2, (int64_t[]){ M, N }, -1, 1);
    vm_param *p = NULL;
    if (param) {
        p = new_param("w", wt, 2, (int64_t[]){ N, K });
        w = vm_weight(c.g, p);
    }
    if (residual) r = vm_scale(c.g, r, 1, 0); /* one reader: may stand in place */
    vm_val y = vm_linear(c.g, x, w, bias ? b : 0, k, residual ? r : 0, out);
    vm_output(c.g, "y", y);
    double tol = c.g->v[y].type != VM_F32 || (dtype != VM_F32 && k != VM_NONE) ? 2 * tol16(dtype) : OP_TOL_F32;
    if (k == VM_EXP && dtype != VM_F32) tol *= 2; /* of a sum of 4 */
    for (int version = 0; version < 3; version++) { /* on a device: run, captured, replayed with new weights */
        if (param && version != 1) {
            for (int64_t i = 0; version == 2 && i < N * K; i++) op_put(&c, 1, i, -c.x[1][i]);
            EXPECT(!vm_param_write(p, c.raw[1], &c.g->err));
        }
        double *want = reference(M, N, K, c.x[0], c.x[1], bias ? c.x[2] : NULL, residual ? c.x[3] : NULL, k, dtype);
        c.level = -1;
        OP_LEVELS(&c) op_near(&c, "linear", y, want, N, tol);
        vm_free(want);
        if (!param) break;
    }
    op_end(&c);
    vm_param_free(p);
}

TEST(types) {
    vm_type t[3];
    int n = op_products(t);
    for (int d = 0; d < n; d++)
        for (int mode = 0; mode < 3; mode++)
            for (int w = 0; w < (d == 2 ? 3 : 2); w++)
                for (int param = 0; param < 2; param++) {
                    check(t[d], mode, param, t[w], VM_F32, VM_NONE, true, false, 5, 17, 33);
                    check(t[d], mode, param, t[w], t[d], VM_QUICK_GELU, true, false, 5, 17, 33);
                    check(t[d], mode, param, t[w], VM_F32, VM_NONE, true, true, 5, 17, 33);
                    check(t[d], mode, param, t[w], VM_F32, VM_GELU, false, true, 5, 17, 33);
                    check(t[d], mode, param, t[w], VM_F32, VM_EXP, true, false, 5, 17,
                          33); /* no epilogue of a product */
                }
}
TEST(sizes) {
    for (int mode = 0; mode < 3; mode++) {
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, true, true, 1, 1, 1);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, true, true, 131, 67, 128);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_GELU, true, false, 3, 1037, 5);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_GELU, true, false, 3, 7, 0);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, false, true, 3, 7, 0);
        check(VM_F32, mode, true, VM_F32, VM_F32, VM_NONE, true, false, 0, 7, 5);
    }
}
TEST(f16_weights) { check(VM_F32, 0, true, VM_F16, VM_F32, VM_NONE, true, false, 3, 8, 16); }

/* Weights of inference in 16 bits: read as they are by a few rows, in tiles of the type of x by more. */
static void stays(vm_type dtype, vm_type wt, bool deterministic, int64_t M, int64_t N, int64_t K) {
    op_case c = op_begin(dtype);
    c.g->deterministic = deterministic;
    vm_param *p = new_param("w", wt, 2, (int64_t[]){ N, K });
    vm_val x = op_input(&c, dtype, 2, (int64_t[]){ M, K }, -1, 1), w = op_input(&c, wt, 2, (int64_t[]){ N, K }, -1, 1);
    vm_val b = op_input(&c, VM_F32, 1, &N, -1, 1), y = vm_linear(c.g, x, vm_weight(c.g, p), b, VM_QUICK_GELU, 0, VM_F32);
    vm_val r = vm_linear(c.g, x, vm_weight(c.g, p), 0, VM_NONE, vm_scale(c.g, y, 1, 0), VM_F32);
    (void)w;
    vm_output(c.g, "y", y), vm_output(c.g, "r", r);
    EXPECT(!vm_param_write(p, c.raw[1], &c.g->err));
    bool rounded = !deterministic && M > 8 && dtype != VM_F32;
    double *wx = vm_alloc((size_t)(N * K) * sizeof *wx + 1);
    for (int64_t i = 0; i < N * K; i++) wx[i] = rounded ? op_round(dtype, c.x[1][i]) : c.x[1][i];
    double *want = reference(M, N, K, c.x[0], wx, c.x[2], NULL, VM_QUICK_GELU, VM_F32), *more = reference(M, N, K, c.x[0], wx, NULL, want, VM_NONE, VM_F32);
    OP_LEVELS(&c) op_near(&c, "stays", y, want, N, OP_TOL_F32), op_near(&c, "onto", r, more, N, OP_TOL_F32);
    vm_free(wx), vm_free(want), vm_free(more);
    op_end(&c);
    vm_param_free(p);
}
TEST(weights_that_stay_in_16_bits) {
    if (op_on_device()) return;
    for (int d = VM_F32; d <= (vm_cpu_has_bf16() ? VM_BF16 : VM_F32); d++)
        for (int w = VM_BF16; w <= VM_F16; w++) {
            for (int64_t M = 1; M <= 9; M++) stays((vm_type)d, (vm_type)w, false, M, 37, 70);
            stays((vm_type)d, (vm_type)w, false, 8, 21, 2100); /* several turns over the columns */
            for (int64_t M = 10; M <= 17; M += 2 + M % 3) stays((vm_type)d, (vm_type)w, false, M, 50, 1999);
            stays((vm_type)d, (vm_type)w, false, 33, 100, 129);
            stays((vm_type)d, (vm_type)w, false, 33, 300, 5000); /* several tiles */
            stays((vm_type)d, (vm_type)w, true, 19, 40, 129);
            stays((vm_type)d, (vm_type)w, false, 3, 5, 0);
            stays((vm_type)d, (vm_type)w, false, 0, 5, 7);
        }
}
/* A row's bits depend neither on the rows beside it nor on the threads. */
TEST(rows_alone_and_together_in_16_bits) {
    if (op_on_device()) return;
    float first[90];
    vm_param *p = new_param("w", VM_BF16, 2, (int64_t[]){ 90, 3000 });
    for (int64_t M = 1; M <= 20; M++) {
        op_case c = op_begin(VM_F32);
        c.g->deterministic = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, 3000 }, -1, 1), y = vm_linear(c.g, x, vm_weight(c.g, p), 0, VM_NONE, 0, VM_F32);
        uint16_t *h = p->data;
        for (int64_t i = 0; M == 1 && i < vm_param_count(p); i++) h[i] = vm_f32_to_bf16((float)test_uniform(&c.state));
        vm_output(c.g, "y", y);
        vm_threads((int)(M % 2) + 1);
        op_run(&c);
        for (int i = 0; i < 90; i++) {
            if (M == 1) first[i] = (float)op_get(&c, y, i);
            else EXPECT(first[i] == (float)op_get(&c, y, i));
        }
        op_end(&c);
    }
    vm_threads(0);
    vm_param_free(p);
}

/* Every tile and split, ragged in each direction: the result, and the gradients, which go through the other layouts. */
static void check_all(vm_type t, int64_t M, int64_t N, int64_t K) {
    vm_param *p = new_param("w", VM_F32, 2, (int64_t[]){ N, K }), *b = new_param("b", VM_F32, 1, &N);
    op_case c = op_begin(t);
    c.g->training = true;
    vm_val x = op_input(&c, t, 2, (int64_t[]){ M, K }, -1, 1), seed = op_input(&c, t, 2, (int64_t[]){ M, N }, -1, 1),
           old = op_input(&c, VM_F32, 2, (int64_t[]){ M, N }, -1, 1);
    float *w = fill(&c, p), *bias = fill(&c, b);
    vm_val y = vm_linear(c.g, x, vm_weight(c.g, p), vm_weight(c.g, b), VM_NONE, vm_scale(c.g, old, 2, 0), VM_F32);
    vm_backward(c.g, 2, (vm_val[]){ y, y }, (vm_val[]){ vm_cast(c.g, seed, VM_F32), vm_cast(c.g, seed, VM_F32) }, 3,
                (vm_val[]){ x, vm_weight(c.g, p), vm_weight(c.g, b) });
    vm_val dx = vm_grad(c.g, x), dw = vm_grad(c.g, vm_weight(c.g, p)), db = vm_grad(c.g, vm_weight(c.g, b));
    vm_output(c.g, "y", y), vm_output(c.g, "dx", dx), vm_output(c.g, "dw", dw), vm_output(c.g, "db", db);
    double *wy = vm_calloc((size_t)(M * N) + 1, 8), *wdx = vm_calloc((size_t)(M * K) + 1, 8), *wdw = vm_calloc((size_t)(N * K) + 1, 8),
           *wdb = vm_calloc((size_t)N + 1, 8);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double dy = op_round(t, 2 * c.x[1][m * N + n]), *to = wy + m * N + n;
            wdb[n] += 2 * c.x[1][m * N + n], *to = (double)bias[n] + 2 * c.x[2][m * N + n];
            for (int64_t k = 0; k < K; k++) {
                double u = op_round(t, (double)w[n * K + k]), v = c.x[0][m * K + k];
                *to += u * v, wdx[m * K + k] += dy * u, wdw[n * K + k] += dy * v;
            }
        }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, wy, VM_MAX(N, 1), 2 * OP_TOL_F32);
        op_near(&c, "dx", dx, wdx, VM_MAX(M * K, 1), t == VM_F32 ? OP_TOL_F32 : tol16(t));
        op_near(&c, "dw", dw, wdw, VM_MAX(N * K, 1), OP_TOL_F32);
        op_near(&c, "db", db, wdb, VM_MAX(N, 1), OP_TOL_F32);
    }
    for (int64_t i = 0; i < N * K; i++) wdw[i] *= 2;
    for (int64_t i = 0; i < N; i++) wdb[i] *= 2;
    c.g->accumulate = true; /* another run adds to the gradients of parameters */
    if (op_run(&c)) op_near(&c, "dw twice", dw, wdw, VM_MAX(N * K, 1), OP_TOL_F32), op_near(&c, "db twice", db, wdb, VM_MAX(N, 1), OP_TOL_F32);
    vm_free(wy), vm_free(wdx), vm_free(wdw), vm_free(wdb), vm_free(w), vm_free(bias);
    op_end(&c);
    vm_param_free(p), vm_param_free(b);
}
TEST(tiles) {
    static const int64_t sizes[][3] = { { 1, 64, 65 },    { 3, 72, 200 },   { 15, 17, 16 },  { 16, 65, 72 },  { 17, 16, 15 },  { 63, 40, 64 },  { 64, 63, 33 },
                                        { 65, 64, 63 },   { 72, 136, 40 },  { 127, 15, 129 }, { 128, 128, 8 }, { 129, 127, 9 }, { 0, 5, 9 },     { 9, 5, 0 } };
    vm_type t[3];
    int n = op_products(t), turn = 0;
    for (int k = 0; k < VM_LEN(sizes); k++)
        for (int tile = GPU_BIG; tile <= (op_on_device() ? GPU_SMALL : GPU_BIG); tile++)
            for (int j = 0; j < n; j++) {
                vm_gpu_force(tile, turn++ % 2 ? 3 : 1);
                check_all(t[j], sizes[k][0], sizes[k][1], sizes[k][2]);
            }
    vm_gpu_force(-1, 0);
    check_all(VM_F32, 300, 4, 3); /* as planned: in parts */
}
/* Deterministic graphs: the bits of a row depend neither on the number of rows nor on the tile. */
TEST(rows_keep_their_bits) {
    enum { N = 72, K = 136 };
    vm_type t[3];
    int n = op_products(t);
    for (int j = 0; j < n; j++) {
        void *first = NULL;
        for (int64_t M = 1; M <= 130; M = M == 1 ? 16 : M == 16 ? 33 : M + 97) {
            vm_gpu_force(M == 130 ? GPU_BIG : GPU_SMALL, 0);
            op_case c = op_begin(t[j]);
            c.g->deterministic = true;
            c.state = 1;
            vm_val x = op_input(&c, t[j], 2, (int64_t[]){ M, K }, -1, 1);
            c.state = 77;
            vm_val w = op_input(&c, t[j], 2, (int64_t[]){ N, K }, -1, 1), y = vm_linear(c.g, x, w, 0, VM_NONE, 0, VM_F32);
            vm_output(c.g, "y", y);
            if (op_run(&c)) {
                if (!first) memcpy(first = vm_alloc(N * 4), op_bits(&c, y), N * 4);
                EXPECT(!memcmp(first, op_bits(&c, y), N * 4));
            }
            op_end(&c);
        }
        vm_free(first);
    }
    vm_gpu_force(-1, 0);
}

TEST(residual_stands_in_place) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 8 }, -1, 1),
           w = op_input(&c, VM_F32, 2, (int64_t[]){ 8, 8 }, -1, 1);
    vm_val r = vm_scale(c.g, x, 2, 0), y = vm_linear(c.g, x, w, 0, VM_NONE, r, VM_F32),
           z = vm_linear(c.g, y, w, 0, VM_NONE, y, VM_F32);
    vm_output(c.g, "z", z);
    c.g->apart = false;
    EXPECT(!vm_plan(c.g));
    EXPECT(vm_data(c.g, r) == vm_data(c.g, y)); /* nothing else reads r */
    EXPECT(vm_data(c.g, y) != vm_data(c.g, z)); /* the product reads y while z is written */
    op_end(&c);
}

/* A graph without training packs weights; forward and backward product of a square weight are packed apart. */
TEST(gradient_through_packed_weights) {
    enum { K = 32 };
    vm_param *p = new_param("w", VM_F32, 2, (int64_t[]){ K, K });
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 2, K }, -1, 1),
           y = vm_linear(c.g, x, vm_weight(c.g, p), 0, VM_NONE, 0, VM_F32);
    p->trainable = false;
    float *w0 = fill(&c, p);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "y", y), vm_output(c.g, "dx", dx);
    double wy[2 * K] = { 0 }, wdx[2 * K] = { 0 };
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) {
                double w = (double)w0[i * K + j];
                wy[r * K + i] += c.x[0][r * K + j] * w, wdx[r * K + j] += w;
            }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, wy, K, OP_TOL_F32);
        op_near(&c, "dx", dx, wdx, K, OP_TOL_F32);
    }
    EXPECT(!p->grad);
    vm_free(w0);
    op_end(&c);
    vm_param_free(p);
}

/* dx, dw, db of 16-bit products against double: dy is rounded, sums are f32 */
TEST(backward_in_16_bits) {
    enum { M = 37, K = 24, N = 40 };
    vm_type types[3];
    int n_types = op_products(types);
    for (int d = 0; d < 2 * (n_types - 1); d++) {
        const vm_type t = types[1 + d / 2];
        vm_param *p = new_param("w", VM_F32, 2, (int64_t[]){ N, K }), *b = new_param("b", VM_F32, 1, (int64_t[]){ N });
        op_case c = op_begin(t);
        c.g->training = true, c.g->deterministic = d % 2;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1),
               seed = op_input(&c, VM_F32, 2, (int64_t[]){ M, N }, -1, 1);
        float *w = fill(&c, p);
        vm_val y = vm_linear(c.g, x, vm_weight(c.g, p), vm_weight(c.g, b), VM_NONE, 0, VM_F32);
        vm_backward(c.g, 1, &y, &seed, 3, (vm_val[]){ x, vm_weight(c.g, p), vm_weight(c.g, b) });
        vm_val dx = vm_grad(c.g, x), dw = vm_grad(c.g, vm_weight(c.g, p)), db = vm_grad(c.g, vm_weight(c.g, b));
        vm_output(c.g, "dx", dx), vm_output(c.g, "dw", dw), vm_output(c.g, "db", db);
        double wdx[M * K] = { 0 }, wdw[N * K] = { 0 }, wdb[N] = { 0 };
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                double dy = c.x[1][m * N + n];
                wdb[n] += dy;
                for (int k = 0; k < K; k++) {
                    wdx[m * K + k] += op_round(t, dy) * op_round(t, (double)w[n * K + k]);
                    wdw[n * K + k] += op_round(t, dy) * op_round(t, c.x[0][m * K + k]);
                }
            }
        if (op_run(&c)) {
            op_near(&c, "dx", dx, wdx, K, tol16(t)); /* leaves in x's type as read */
            op_near(&c, "dw", dw, wdw, K, OP_TOL_F32);
            op_near(&c, "db", db, wdb, N, OP_TOL_F32);
        }
        vm_free(w);
        op_end(&c);
        vm_param_free(p), vm_param_free(b);
    }
}

/* A weight in a mapped file is packed, and its pages go; what was changed in memory alone is then what the file has again. Memory that only looks
 * like that stays. */
TEST(pages_of_packed_weights_are_given_back) {
    enum { N = 64, K = 256, M = 3 };
    const size_t bytes = (size_t)N * K * sizeof(float);
    float file[N * K], x[M * K], y[M * N];
    char path[] = "/tmp/vismin-linear.XXXXXX";
    int fd = mkstemp(path);
    if (op_backend()->device != VM_CPU_DEV) {
        close(fd), unlink(path);
        return;
    }
    for (int i = 0; i < N * K; i++) file[i] = (float)(i % 7) - 3;
    for (int i = 0; i < M * K; i++) x[i] = (float)(i % 5);
    EXPECT(write(fd, file, bytes) == (ssize_t)bytes);
    for (int mapped = 0; mapped < 2; mapped++) {
        vm_error e = { 0 };
        const int64_t ne[] = { N, K };
        vm_param *p = vm_param_shell(op_backend(), "w", VM_F32, 2, ne, &e);
        float *w = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        EXPECT(w != MAP_FAILED);
        w[K + 5] = 100;
        p->data = w, p->borrowed = true, p->mapped = mapped;
        vm_graph *g = vm_graph_new(op_backend(), VM_F32);
        vm_output(g, "y", vm_linear(g, vm_input(g, "x", VM_F32, 2, (int64_t[]){ M, K }), vm_weight(g, p), 0, VM_NONE, 0, VM_F32));
        for (int run = 0; run < 2; run++) { /* the second reads what the first packed */
            double want = 0;
            EXPECT(!vm_set(g, "x", x) && !vm_run(g) && !vm_get(g, "y", y));
            for (int k = 0; k < K; k++) want += (double)(k == 5 ? 100 : file[K + k]) * (double)x[k];
            EXPECT_NEAR(y[1], want, 1e-3);
        }
        EXPECT_NEAR(w[K + 5], mapped ? file[K + 5] : 100, 0);
        vm_graph_free(g);
        vm_param_free(p);
        munmap(w, bytes);
    }
    close(fd), unlink(path);
}

/* Numbers at an origin: products pack them from there and keep no other copy; what reads a weight as it stands fetches it. */
typedef struct {
    vm_origin o;
    const float *w;
    int *reads;
    bool *broken;
} far_away;
static vm_status read_far(const vm_origin *o, int64_t first, int64_t n, void *out, vm_error *e) {
    const far_away *f = (const far_away *)o;
    if (*f->broken) return vm_fail(e, VM_EIO, "the file is gone");
    memcpy(out, f->w + first, (size_t)n * sizeof *f->w);
    return ++*f->reads, VM_OK;
}

TEST(weights_are_packed_from_their_origin) {
    enum { N = 48, K = 40, M = 5 };
    float w[N * K], x[M * K], y[2][M * N], z[2];
    int reads = 0;
    bool broken = false;
    if (op_backend()->device != VM_CPU_DEV) return;
    for (int i = 0; i < N * K; i++) w[i] = (float)(i % 13) / 7 - 1;
    for (int i = 0; i < M * K; i++) x[i] = (float)(i % 5) - 2;
    for (int way = 0; way < 8; way++) { /* f32 and bf16; a product alone, a part of the weight, deterministic, to be learnt */
        vm_error e = { 0 };
        const int64_t ne[] = { N, K };
        const bool product_alone = way / 2 == 0;
        vm_param *there = vm_param_new(op_backend(), "w", VM_F32, 2, ne, &e), *far = vm_param_shell(op_backend(), "w", VM_F32, 2, ne, &e);
        far_away *f = vm_calloc(1, sizeof *f);
        *f = (far_away){ { read_far }, w, &reads, &broken };
        EXPECT(!vm_param_write(there, w, &e));
        far->origin = &f->o, reads = 0, broken = true;
        for (int k = 0; k < 2; k++) {
            vm_graph *g = vm_graph_new(op_backend(), way % 2 ? VM_BF16 : VM_F32);
            g->deterministic = way / 2 == 2, g->training = way / 2 == 3;
            vm_val v = vm_weight(g, k ? far : there);
            vm_output(g, "y", vm_linear(g, vm_input(g, "x", VM_F32, 2, (int64_t[]){ M, K }), v, 0, VM_NONE, 0, VM_F32));
            if (way / 2 == 1) vm_output(g, "z", vm_scale(g, vm_reshape(g, vm_slice(g, vm_slice(g, v, 0, 3, 1), 1, 5, 2), 1, (int64_t[]){ 2 }), 2, 0));
            if (k) {
                EXPECT((vm_set(g, "x", x) || vm_run(g)) && g->err.status == VM_EIO);
                EXPECT_STR(g->err.msg, "the file is gone");
                EXPECT(!far->data);
                broken = false, vm_error_clear(&g->err);
            }
            for (int run = 0; run < 2; run++) EXPECT(!vm_set(g, "x", x) && !vm_run(g) && !vm_get(g, "y", y[k]));
            if (way / 2 == 1) EXPECT(!vm_get(g, "z", z) && z[0] == 2 * w[3 * K + 5] && z[1] == 2 * w[3 * K + 6]);
            vm_graph_free(g);
        }
        EXPECT(reads == 1 && (far->data == NULL) == product_alone && !memcmp(y[0], y[1], sizeof y[0]));
        vm_param_free(there), vm_param_free(far);
    }
}

TEST(does_not_depend_on_threads) { /* deterministic graphs: forward and gradients to the bit */
    enum { M = 130, K = 40, N = 70 };
    void *bits[3] = { NULL };
    for (int threads = 1; threads <= 3; threads++) {
        vm_threads(threads);
        vm_param *p = new_param("w", VM_F32, 2, (int64_t[]){ N, K });
        op_case c = op_begin(VM_F32);
        c.g->training = c.g->deterministic = true;
        vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ M, K }, -1, 1);
        vm_free(fill(&c, p));
        vm_val y = vm_linear(c.g, x, vm_weight(c.g, p), 0, VM_GELU, 0, VM_F32);
        vm_backward(c.g, 1, &y, NULL, 2, (vm_val[]){ x, vm_weight(c.g, p) });
        vm_val v[] = { y, vm_grad(c.g, x), vm_grad(c.g, vm_weight(c.g, p)) };
        const char *const names[] = { "y", "dx", "dw" };
        for (int k = 0; k < 3; k++) vm_output(c.g, names[k], v[k]);
        if (op_run(&c))
            for (int k = 0; k < 3; k++) op_same(&c, v[k], &bits[k]);
        op_end(&c);
        vm_param_free(p);
    }
    vm_threads(0);
    for (int k = 0; k < 3; k++) vm_free(bits[k]);
}

int main(void) {
    RUN(types);
    RUN(sizes);
    RUN(f16_weights);
    RUN(weights_that_stay_in_16_bits);
    RUN(rows_alone_and_together_in_16_bits);
    RUN(tiles);
    RUN(rows_keep_their_bits);
    RUN(residual_stands_in_place);
    RUN(gradient_through_packed_weights);
    RUN(backward_in_16_bits);
    RUN(pages_of_packed_weights_are_given_back);
    RUN(weights_are_packed_from_their_origin);
    RUN(does_not_depend_on_threads);
    return test_end();
}
