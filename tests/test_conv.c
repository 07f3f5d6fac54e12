/* test_conv.c - vm_conv2d in floats against double loops, forward and backward: types, kernels, strides, padding,
 * dilation, groups, epilogues, weights that change, deterministic graphs. Runs at every processor level, or on a device with
 * each of its tiles. */
#include "kernels/gpu_gemm.h"
#include "tests/optest.h"

static double act(double x, vm_unary_kind k) {
    return k == VM_RELU ? fmax(x, 0) : k == VM_SILU ? x / (1 + exp(-x)) : k == VM_SOFTPLUS ? log1p(exp(x)) : x;
}
static double tol16(vm_type t) { return t == VM_F16 ? OP_TOL_F16 : OP_TOL_BF16; }
static vm_param *new_param(vm_type t, int64_t N, int64_t K) { return vm_param_new(op_backend(), "w", t, 2, (int64_t[]){ N, K }, NULL); }
static void fill(op_case *c, vm_param *p) {
    float *x = vm_alloc((size_t)vm_param_count(p) * sizeof *x);
    for (int64_t i = 0; i < vm_param_count(p); i++) x[i] = (float)test_uniform(&c->state);
    EXPECT(!vm_param_write(p, x, &c->g->err));
    vm_free(x);
}

typedef struct {
    int64_t B, H, W, C, N;
    vm_conv k;
    int64_t OH, OW; /* filled in */
} sizes;

static void fill_in(sizes *s) {
    for (int j = 0; j < 2; j++) s->k.stride[j] += !s->k.stride[j], s->k.dilation[j] += !s->k.dilation[j];
    s->k.groups += !s->k.groups;
    s->OH = (s->H + s->k.pad[0] + s->k.pad[2] - (s->k.KH - 1) * s->k.dilation[0] - 1) / s->k.stride[0] + 1;
    s->OW = (s->W + s->k.pad[1] + s->k.pad[3] - (s->k.KW - 1) * s->k.dilation[1] - 1) / s->k.stride[1] + 1;
}

/* Visits every product: y += x w, and with dy: dx += dy w, dw += dy x. */
static void loops(const sizes *s, const double *x, const double *w, double *y, const double *dy, double *dx,
                  double *dw) {
    int64_t Cg = s->C / s->k.groups, Ng = s->N / s->k.groups;
    for (int64_t b = 0; b < s->B; b++)
        for (int64_t i = 0; i < s->OH; i++)
            for (int64_t j = 0; j < s->OW; j++)
                for (int64_t n = 0; n < s->N; n++)
                    for (int64_t t = 0; t < Cg * s->k.KH * s->k.KW; t++) {
                        int64_t v = t % s->k.KW, u = t / s->k.KW % s->k.KH, c = n / Ng * Cg + t / s->k.KW / s->k.KH;
                        int64_t r = i * s->k.stride[0] - s->k.pad[0] + u * s->k.dilation[0];
                        int64_t q = j * s->k.stride[1] - s->k.pad[1] + v * s->k.dilation[1];
                        if (r < 0 || r >= s->H || q < 0 || q >= s->W) continue;
                        int64_t iy = ((b * s->OH + i) * s->OW + j) * s->N + n,
                                ix = ((b * s->H + r) * s->W + q) * s->C + c;
                        int64_t iw = n * Cg * s->k.KH * s->k.KW + t;
                        y[iy] += x[ix] * w[iw];
                        if (dy) dx[ix] += dy[iy] * w[iw], dw[iw] += dy[iy] * x[ix];
                    }
}
static double *zeros(int64_t n) { return vm_calloc((size_t)n + 1, sizeof(double)); }

typedef struct {
    vm_type t, wt, out;  /* of the graph, of the stored weight, of y */
    int mode;            /* 0 inference, 1 training, 2 deterministic inference, 3 deterministic training */
    bool param, bias, residual, again; /* w a parameter; x, w used twice */
    vm_unary_kind act;
} how;

/* y, and where y is linear dx, dw, db, against the loops. */
static void check(how h, sizes s) {
    fill_in(&s);
    op_case c = op_begin(h.t);
    c.g->training = h.mode & 1, c.g->deterministic = h.mode > 1;
    int64_t K = s.C / s.k.groups * s.k.KH * s.k.KW, ny = s.B * s.OH * s.OW * s.N, nx = s.B * s.H * s.W * s.C,
            nw = s.N * K;
    const int64_t ye[] = { s.B, s.OH, s.OW, s.N };
    vm_val x = op_input(&c, h.t, 4, (int64_t[]){ s.B, s.H, s.W, s.C }, -1, 1),
           w = op_input(&c, h.wt, 2, (int64_t[]){ s.N, K }, -1, 1);
    vm_val b = op_input(&c, VM_F32, 1, &s.N, -1, 1), r = op_input(&c, VM_F32, 4, ye, -1, 1),
           seed = op_input(&c, VM_F32, 4, ye, -1, 1);
    vm_param *p = NULL;
    if (h.param) w = vm_weight(c.g, p = new_param(h.wt, s.N, K));
    if (h.residual) r = vm_cast(c.g, vm_scale(c.g, r, 1, 0), h.out); /* one reader: may stand in place */
    vm_val y = vm_conv2d(c.g, x, w, h.bias ? b : 0, s.k, h.act, h.residual ? r : 0, h.out), dx = 0, dw = 0, db = 0;
    vm_output(c.g, "y", y);
    bool back = h.act == VM_NONE && c.g->v[y].type == VM_F32;
    if (back) {
        vm_val outs[] = { y, x, w }, seeds[] = { seed, x, w };
        p ? p->trainable = true : 0;
        vm_backward(c.g, h.again ? 3 : 1, outs, seeds, 3, (vm_val[]){ x, w, b });
        dx = vm_grad(c.g, x), dw = vm_grad(c.g, w), db = h.bias ? vm_grad(c.g, b) : 0;
        vm_output(c.g, "dx", dx), vm_output(c.g, "dw", dw);
        if (db) vm_output(c.g, "db", db);
    }
    double tol = c.g->v[y].type != VM_F32 || (h.t != VM_F32 && h.act != VM_NONE) ? 2 * tol16(h.t) : OP_TOL_F32;
    const int versions = !p ? 1 : h.act == VM_RELU ? 3 : 2; /* on a device run, captured, replayed with new weights */
    for (int version = 0; version < versions; version++) {
        for (int64_t i = 0; version && version == versions - 1 && i < nw; i++) op_put(&c, 1, i, -c.x[1][i]);
        if (p && (!version || version == versions - 1)) EXPECT(!vm_param_write(p, c.raw[1], &c.g->err));
        double *wy = zeros(ny), *wdx = zeros(nx), *wdw = zeros(nw), *wdb = zeros(s.N), *rw = zeros(nw), *rd = zeros(ny);
        for (int64_t i = 0; i < nw; i++) rw[i] = op_round(h.t, c.x[1][i]);
        for (int64_t i = 0; i < ny; i++)
            rd[i] = op_round(h.t, c.x[4][i]), wdb[i % s.N] += c.x[4][i];
        loops(&s, c.x[0], rw, wy, rd, wdx, wdw);
        for (int64_t i = 0; i < ny; i++)
            wy[i] = act(wy[i] + (h.bias ? c.x[2][i % s.N] : 0), h.act) + (h.residual ? op_round(h.out, c.x[3][i]) : 0);
        for (int64_t i = 0; h.again && i < nx; i++) wdx[i] += c.x[0][i];
        for (int64_t i = 0; h.again && i < nw; i++) wdw[i] += c.x[1][i];
        c.level = -1;
        OP_LEVELS(&c) {
            op_near(&c, "y", y, wy, s.N, tol);
            if (!back) continue;
            op_near(&c, "dx", dx, wdx, VM_MAX(nx, 1), h.t != VM_F32 ? 2 * tol16(h.t) : OP_TOL_F32);
            op_near(&c, "dw", dw, wdw, VM_MAX(nw, 1), h.wt != VM_F32 ? tol16(h.wt) : OP_TOL_F32);
            if (db) op_near(&c, "db", db, wdb, s.N, OP_TOL_F32);
        }
        vm_free(wy), vm_free(wdx), vm_free(wdw), vm_free(wdb), vm_free(rw), vm_free(rd);
    }
    op_end(&c);
    vm_param_free(p);
}

static const sizes same3 = { 2, 7, 5, 16, 24, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } }, 0, 0 };

TEST(types) {
    vm_type t[3];
    int n = op_products(t);
    for (int d = 0; d < n; d++)
        for (int mode = 0; mode < 4; mode++)
            for (int param = 0; param < 2; param++) {
                check((how){ t[d], VM_F32, VM_F32, mode, param, true, false, false, VM_NONE }, same3);
                check((how){ t[d], VM_F32, VM_F32, mode, param, true, true, true, VM_NONE }, same3);
                check((how){ t[d], VM_F32, t[d], mode, param, true, false, false, VM_RELU }, same3);
                check((how){ t[d], VM_F32, t[d], mode, param, true, true, false, VM_NONE }, same3);
                check((how){ t[d], VM_F32, VM_F32, mode, param, false, true, false, VM_SILU }, same3);
                check((how){ t[d], VM_F32, VM_F32, mode, param, true, false, false, VM_SOFTPLUS },
                      same3); /* no epilogue */
            }
    check((how){ .t = VM_F32, .wt = VM_BF16, .out = VM_F32, .param = true, .bias = true }, same3);
    check((how){ .t = VM_F32, .wt = VM_F16, .out = VM_F32, .param = true, .act = VM_RELU }, same3);
}
TEST(kernels) {
    for (int mode = 0; mode < 4; mode += op_on_device() ? 3 : 1) {
        how h = { VM_F32, VM_F32, VM_F32, mode, true, true, false, mode & 1, VM_NONE };
        const sizes s[] = {
            { 2, 5, 4, 3, 8, { .KH = 1, .KW = 1 }, 0, 0 },
            { 2, 5, 6, 16, 8, { .KH = 1, .KW = 1, .stride = { 2, 2 } }, 0, 0 },
            { 1, 9, 8, 3, 16, { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } }, 0, 0 },
            { 1,
              8,
              8,
              32,
              16,
              { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 0, 0, 1, 1 } },
              0,
              0 }, /* as VAEs reduce */
            { 2, 15, 13, 3, 16, { .KH = 7, .KW = 7, .stride = { 2, 2 }, .pad = { 3, 3, 3, 3 } }, 0, 0 },
            { 1, 4, 3, 1, 1, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } }, 0, 0 },
            { 1, 1, 1, 7, 5, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } }, 0, 0 },
            { 3, 7, 11, 17, 13, { .KH = 5, .KW = 2, .stride = { 1, 3 }, .pad = { 0, 1, 2, 3 } }, 0, 0 },
            { 1, 9, 9, 16, 16, { .KH = 3, .KW = 3, .dilation = { 2, 3 }, .pad = { 2, 3, 2, 3 } }, 0, 0 },
            { 1, 7, 8, 5, 6, { .KH = 2, .KW = 2, .stride = { 3, 3 } }, 0, 0 },    /* pixels that nothing reads */
            { 1, 2, 1, 4, 4, { .KH = 2, .KW = 2, .pad = { 3, 3, 0, 0 } }, 0, 0 }, /* outputs of padding alone */
            { 2, 6, 5, 32, 32, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 }, .groups = 32 }, 0, 0 },
            { 1, 6, 5, 7, 7, { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 }, .groups = 7 }, 0, 0 },
            { 1, 5, 6, 12, 18, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 }, .groups = 6 }, 0, 0 },
            { 19,
              4,
              4,
              16,
              16,
              { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } },
              0,
              0 }, /* more images than groups of them */
            { 0, 4, 4, 16, 16, { .KH = 3, .KW = 3 }, 0, 0 },
            { 2, 4, 4, 0, 3, { .KH = 3, .KW = 3 }, 0, 0 },
            { 2, 4, 4, 3, 0, { .KH = 3, .KW = 3 }, 0, 0 },
        };
        for (int k = 0; k < VM_LEN(s); k++) check(h, s[k]);
        h.residual = true, h.again = true;
        for (int k = 0; k < VM_LEN(s); k += 2) check(h, s[k]);
    }
}
/* On a device: both tiles, in one part and in three, every type, chunks of channels and single ones. */
TEST(tiles) {
    static const sizes all[] = {
        { 2, 9, 8, 16, 24, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } }, 0, 0 },
        { 1, 9, 8, 24, 72, { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 0, 0, 1, 1 } }, 0, 0 }, /* as VAEs reduce */
        { 1, 15, 14, 3, 130, { .KH = 7, .KW = 7, .stride = { 2, 2 }, .pad = { 3, 3, 3, 3 } }, 0, 0 },
        { 1, 14, 11, 8, 16, { .KH = 3, .KW = 3, .dilation = { 2, 2 }, .pad = { 2, 1, 2, 3 } }, 0, 0 },
        { 2, 7, 9, 32, 48, { .KH = 3, .KW = 2, .stride = { 2, 3 }, .dilation = { 2, 1 }, .pad = { 2, 0, 1, 1 }, .groups = 2 }, 0, 0 },
        { 1, 8, 7, 24, 30, { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 }, .groups = 3 }, 0, 0 },
        { 1, 32, 33, 3, 24, { .KH = 16, .KW = 16, .stride = { 16, 16 } }, 0, 0 },
        { 2, 6, 5, 40, 40, { .KH = 3, .KW = 3, .stride = { 2, 1 }, .pad = { 1, 1, 1, 1 }, .groups = 40 }, 0, 0 },
        { 1, 12, 11, 64, 136, { .KH = 1, .KW = 1, .stride = { 2, 2 } }, 0, 0 },
    };
    vm_type t[3];
    int n = op_products(t), turn = 0;
    for (int k = 0; k < VM_LEN(all); k++)
        for (int tile = GPU_BIG; tile <= (op_on_device() ? GPU_SMALL : GPU_BIG); tile++)
            for (int j = 0; j < n && (tile == GPU_BIG || all[k].C > 3); j++, turn++) { /* single channels have one tile */
                vm_gpu_force(tile, turn % 2 ? 3 : 1);
                check((how){ t[j], VM_F32, VM_F32, turn % 2, turn % 3 > 0, true, turn % 2, turn % 2, VM_NONE }, all[k]);
            }
    vm_gpu_force(-1, 0);
}
TEST(does_not_depend_on_threads_or_batch){ /* deterministic graphs: forward and gradients to the bit */
    enum { H = 9, C = 24 };
    const vm_conv k = { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } };
    const int64_t images = op_on_device() ? 5 : 37;
    void *bits[3] = { NULL };
    float first[H * H * C];
    for (int threads = 1; threads <= 3; threads++) {
        vm_threads(threads);
        vm_param *p = new_param(VM_F32, C, C * 9);
        op_case c = op_begin(VM_F32);
        c.g->training = c.g->deterministic = true;
        vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ images, H, H, C }, -1, 1);
        fill(&c, p);
        vm_val y = vm_conv2d(c.g, x, vm_weight(c.g, p), 0, k, VM_GELU, 0, VM_F32);
        vm_val one = vm_conv2d(c.g, vm_slice(c.g, x, 0, 0, 1), vm_weight(c.g, p), 0, k, VM_GELU, 0, VM_F32);
        vm_backward(c.g, 1, &y, NULL, 2, (vm_val[]){ x, vm_weight(c.g, p) });
        vm_val v[] = { y, vm_grad(c.g, x), vm_grad(c.g, vm_weight(c.g, p)) };
        const char *const names[] = { "y", "dx", "dw" };
        for (int j = 0; j < 3; j++) vm_output(c.g, names[j], v[j]);
        vm_output(c.g, "one", one);
        if (op_run(&c)) {
            for (int j = 0; j < 3; j++) op_same(&c, v[j], &bits[j]);
            memcpy(first, op_bits(&c, y), sizeof first);
            EXPECT(!memcmp(first, op_bits(&c, one), sizeof first));
        }
        op_end(&c);
        vm_param_free(p);
    }
    vm_threads(0);
    for (int j = 0; j < 3; j++) vm_free(bits[j]);
}
TEST(memory_that_runs_out){ /* every allocation of a first run fails once */
    for (int64_t fail = 0; fail < 200; fail++) {
        vm_param *p = new_param(VM_F32, 24, 144);
        op_case c = op_begin(VM_F32);
        vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 4, 4, 16 }, -1, 1);
        vm_output(c.g, "y", vm_conv2d(c.g, x, vm_weight(c.g, p), 0, same3.k, VM_RELU, 0, VM_F32));
        EXPECT(!vm_plan(c.g) && !vm_set(c.g, "x0", c.raw[0]));
        vm_mem_fail_after(fail);
        vm_status st = vm_run(c.g);
        vm_mem_fail_after(-1);
        EXPECT(st == VM_OK || st == VM_EDEVICE);
        if (st) EXPECT_HAS(c.g->err.msg, "out of memory");
        EXPECT(!vm_run(c.g));
        op_end(&c);
        vm_param_free(p);
        if (!st) return;
    }
    EXPECT(false);
}
TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 4, 4, 6 }, 0, 1),
           w = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 54 }, 0, 1);
    vm_val b = op_input(&c, VM_F32, 1, (int64_t[]){ 5 }, 0, 1),
           ids = op_input(&c, VM_I32, 4, (int64_t[]){ 1, 4, 4, 6 }, 0, 1);
    vm_val flat = vm_reshape(c.g, x, 2, (int64_t[]){ 16, 6 });
    const vm_conv k3 = { .KH = 3, .KW = 3 };
    WRONG(vm_conv2d(c.g, x, w, 0, (vm_conv){ .KH = 0, .KW = 3 }, VM_NONE, 0, VM_F32),
          "conv2d: kernel, stride, dilation and groups are 1 to");
    WRONG(vm_conv2d(c.g, x, w, 0, (vm_conv){ .KH = 3, .KW = 3, .pad = { -1 } }, VM_NONE, 0, VM_F32),
          "padding 0 to as many");
    WRONG(vm_conv2d(c.g, x, w, 0, (vm_conv){ .KH = 3, .KW = 2 }, VM_NONE, 0, VM_F32),
          "conv2d: x [1,4,4,6] does not fit weight [4,54] with a kernel of 3 x 2 in 1 groups");
    WRONG(vm_conv2d(c.g, x, w, 0, (vm_conv){ .KH = 3, .KW = 3, .groups = 4 }, VM_NONE, 0, VM_F32), "in 4 groups");
    WRONG(vm_conv2d(c.g, flat, w, 0, k3, VM_NONE, 0, VM_F32), "conv2d: x [16,6], pictures (B,H,W,C) are needed");
    WRONG(vm_conv2d(c.g, x, w, b, k3, VM_NONE, 0, VM_F32), "conv2d: bias [5] for 4 outputs");
    WRONG(vm_conv2d(c.g, x, w, 0, k3, VM_NONE, x, VM_F32), "conv2d: residual [1,4,4,6] for an output [1,2,2,4]");
    WRONG(vm_conv2d(c.g, x, w, 0, (vm_conv){ .KH = 3, .KW = 3, .dilation = { 2, 1 } }, VM_NONE, 0, VM_F32),
          "conv2d: a kernel of 3 x 3 does not fit into x [1,4,4,6]");
    WRONG(vm_conv2d(c.g, ids, w, 0, k3, VM_NONE, 0, VM_F32), "conv2d: i32 x f32 -> f32 is not possible");
    WRONG(vm_conv2d(c.g, x, w, 0, k3, VM_NONE, 0, VM_BF16), "conv2d: f32 x f32 -> bf16 is not possible");
    vm_error_clear(&c.g->err);
    vm_val y = vm_conv2d(c.g, x, w, 0, k3, VM_RELU, 0, VM_F32);
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    EXPECT_HAS(c.g->err.msg, "conv2d: a fused activation has no gradient; build the graph with g->training");
    op_end(&c);
}

int main(void) {
    RUN(types);
    RUN(kernels);
    RUN(tiles);
    RUN(does_not_depend_on_threads_or_batch);
    RUN(memory_that_runs_out);
    RUN(errors);
    return test_end();
}
