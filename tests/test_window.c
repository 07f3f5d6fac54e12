/* test_window.c - windows, patch merging, padding and cropping: every element where it belongs, zeros elsewhere,
 * sums of gradients; masks and indices of windowed attention against their definitions. */
#include "tests/optest.h"

/* dx of the second use of x: kernels add */
static void compare(op_case *c, vm_val x, vm_val y, const double *want, const double *dx, bool twice) {
    bool again = op_on_device(); /* a second run, which the device captures, and a third, which replays it */
    OP_LEVELS(c) {
        for (int k = 0; again && k < 2; k++) op_run(c);
        op_near(c, "y", y, want, VM_MAX(vm_cols(c->g, y), 1), 0);
        op_near(c, twice ? "dx + r" : "dx", vm_grad(c->g, x), dx, VM_MAX(vm_cols(c->g, x), 1),
                twice ? (c->g->v[x].type == VM_F32 ? 1e-6 : 0x1p-8) : 0);
    }
}

/* from[i]: the element of x that stands at place i of the result, -1 = a zero. build: the op. */
typedef vm_val (*builder)(vm_graph *g, vm_val x, const void *how);
static void moved(builder build, const void *how, vm_type t, int nd, const int64_t *ne, const int64_t *from,
                  int64_t n) {
    for (int twice = 0; twice < 2; twice++) {
        op_case c = op_begin(VM_BF16);
        vm_val x = op_input(&c, t, nd, ne, -1, 1), y = build(c.g, x, how);
        if (!y) MISMATCH("%s\n", c.g->err.msg);
        if (!y) return;
        vm_value v = c.g->v[y];
        EXPECT(vm_count(c.g, y) == n);
        vm_val r = op_input(&c, t, v.nd, v.ne, -1, 1), q = op_input(&c, t, nd, ne, -1, 1);
        vm_val outs[] = { x, y }, seeds[] = { q, r };
        vm_backward(c.g, 1 + twice, outs + !twice, seeds + !twice, 1, &x);
        vm_output(c.g, "y", y), vm_output(c.g, "dx", vm_grad(c.g, x));
        int64_t N = vm_count(c.g, x);
        double *want = vm_calloc((size_t)n + 1, 8), *dx = vm_calloc((size_t)N + 1, 8);
        for (int64_t i = 0; twice && i < N; i++) dx[i] = c.x[2][i];
        for (int64_t i = 0; i < n; i++)
            if (from[i] >= 0) want[i] = c.x[0][from[i]], dx[from[i]] += c.x[1][i];
        compare(&c, x, y, want, dx, twice);
        vm_free(want), vm_free(dx);
        op_end(&c);
    }
}

/* --- windows ------------------------------------------------------------------------------------------------------ */
typedef struct { int64_t B, H, W, C; int size, shift; } shape;
static vm_val window(vm_graph *g, vm_val x, const void *how) {
    const shape *s = how;
    return vm_window(g, x, s->size, s->shift);
}
static vm_val unwindow(vm_graph *g, vm_val x, const void *how) {
    const shape *s = how;
    return vm_unwindow(g, x, s->B, s->H, s->W, s->size, s->shift);
}
static vm_val merge(vm_graph *g, vm_val x, const void *how) { return vm_patch_merge(g, x); }

/* As Swin does it, step by step: pad, roll, cut. */
static void check(shape s, vm_type t) {
    int64_t n = s.size, HP = (s.H + n - 1) / n * n, WP = (s.W + n - 1) / n * n, T = s.B * HP * WP * s.C,
            N = s.B * s.H * s.W * s.C, k = 0;
    int64_t *to = vm_alloc((size_t)T * 8 + 1), *back = vm_calloc((size_t)N + 1, 8);
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t h = 0; h < HP / n; h++)
            for (int64_t w = 0; w < WP / n; w++)
                for (int64_t u = 0; u < n; u++)
                    for (int64_t v = 0; v < n; v++)
                        for (int64_t i = 0; i < s.C; i++, k++) {
                            int64_t r = (h * n + u + s.shift) % HP, q = (w * n + v + s.shift) % WP;
                            to[k] = r < s.H && q < s.W ? ((b * s.H + r) * s.W + q) * s.C + i : -1;
                            if (to[k] >= 0) back[to[k]] = k;
                        }
    moved(window, &s, t, 4, (int64_t[]){ s.B, s.H, s.W, s.C }, to, T);
    moved(unwindow, &s, t, 3, (int64_t[]){ s.B * vm_window_count(s.H, s.W, s.size), n * n, s.C }, back, N);
    vm_free(to), vm_free(back);
}
TEST(windows) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int k = 0; k < 3; k++) {
        check((shape){ 2, 14, 21, 8, 7, 0 }, t[k]), check((shape){ 1, 14, 14, 24, 7, 3 }, t[k]);
        check((shape){ 2, 9, 11, 5, 4, 2 }, t[k]); /* padding on both sides, columns no vector divides */
        check((shape){ 1, 3, 5, 16, 7, 3 }, t[k]); /* smaller than a window */
        check((shape){ 1, 1, 1, 1, 1, 0 }, t[k]), check((shape){ 1, 5, 4, 1032, 2, 1 }, t[k]);
    }
    check((shape){ 0, 4, 4, 3, 2, 1 }, VM_F32), check((shape){ 1, 4, 4, 0, 2, 1 }, VM_F32),
        check((shape){ 1, 0, 4, 3, 2, 0 }, VM_F32);
}
TEST(patch_merge) {
    const int64_t sizes[][4] = { { 2, 4, 6, 8 }, { 1, 5, 3, 6 }, { 1, 1, 1, 3 } };
    for (int k = 0; k < VM_LEN(sizes); k++) {
        int64_t B = sizes[k][0], H = sizes[k][1], W = sizes[k][2], C = sizes[k][3], oh = (H + 1) / 2, ow = (W + 1) / 2;
        int64_t n = B * oh * ow * 4 * C, *from = vm_alloc((size_t)n * 8);
        for (int64_t i = 0; i < n; i++) {
            int64_t part = i / C % 4; /* pixels (0,0) (1,0) (0,1) (1,1) */
            int64_t q = i / C / 4 % ow * 2 + part / 2, r = i / C / 4 / ow % oh * 2 + part % 2;
            from[i] = r < H && q < W ? ((i / C / 4 / ow / oh * H + r) * W + q) * C + i % C : -1;
        }
        moved(merge, NULL, k == 1 ? VM_BF16 : VM_F32, 4, sizes[k], from, n);
        vm_free(from);
    }
}

/* --- padding ------------------------------------------------------------------------------------------------------ */
typedef struct { int64_t before[VM_AXES], after[VM_AXES]; } box;
static vm_val pad(vm_graph *g, vm_val x, const void *how) {
    return vm_pad(g, x, ((const box *)how)->before, ((const box *)how)->after);
}
static vm_val crop(vm_graph *g, vm_val x, const void *how) {
    return vm_crop(g, x, ((const box *)how)->before, ((const box *)how)->after);
}

static void padded(int nd, const int64_t *ne, box b, vm_type t) {
    int64_t all[VM_AXES], n = 1, N = 1;
    for (int k = 0; k < nd; k++) all[k] = ne[k] + b.before[k] + b.after[k], n *= ne[k], N *= all[k];
    int64_t *to = vm_alloc((size_t)N * 8 + 1), *back = vm_alloc((size_t)n * 8 + 1);
    for (int64_t i = 0; i < N; i++) {
        int64_t left = i, at = 0, step = 1;
        for (int k = nd - 1; k >= 0; left /= all[k], step *= ne[k--]) {
            int64_t j = left % all[k] - b.before[k];
            at = at < 0 || j < 0 || j >= ne[k] ? -1 : at + j * step;
        }
        to[i] = at;
        if (at >= 0) back[at] = i;
    }
    moved(pad, &b, t, nd, ne, to, N), moved(crop, &b, t, nd, all, back, n);
    vm_free(to), vm_free(back);
}
TEST(pad_and_crop) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int k = 0; k < 3; k++) {
        padded(4, (int64_t[]){ 2, 5, 6, 8 }, (box){ { 0 }, { 0, 1, 1 } }, t[k]); /* of the encoder of a VAE */
        padded(4, (int64_t[]){ 2, 3, 4, 5 }, (box){ { 1, 0, 2, 3 }, { 0, 2, 1, 1 } }, t[k]);
        padded(1, (int64_t[]){ 7 }, (box){ { 3 }, { 2 } }, t[k]);
        padded(6, (int64_t[]){ 2, 1, 2, 3, 2, 16 }, (box){ { 0, 1, 0, 1 }, { 1, 0, 0, 2 } }, t[k]);
        padded(3, (int64_t[]){ 3, 2, 2057 }, (box){ { 0, 1 }, { 1 } }, t[k]);
        padded(2, (int64_t[]){ 3, 8 }, (box){ { 0, 8 }, { 0, 16 } }, t[k]);
        padded(2, (int64_t[]){ 3, 8 }, (box){ { 0, 3 }, { 0, 5 } }, t[k]); /* at no vector's place */
    }
    padded(3, (int64_t[]){ 2, 0, 3 }, (box){ { 0, 1 }, { 0, 1 } }, VM_F32),
        padded(3, (int64_t[]){ 0, 2, 3 }, (box){ { 0, 1 }, { 0 } }, VM_F32);
    padded(2, (int64_t[]){ 2, 3 }, (box){ { 0 }, { 0 } }, VM_F32);
}

/* --- constants of windowed attention ------------------------------------------------------------------------------ */
TEST(mask) { /* by the ids that Swin gives to the regions of the rolled grid */
    enum { N = 4, S = 2, H = 6, W = 9, HP = 8, WP = 12, T = N * N };
    int64_t nW = vm_window_count(H, W, N);
    EXPECT(nW == 6);
    float *m = vm_alloc((size_t)(nW * T * T) * sizeof *m);
    vm_window_mask(m, H, W, N, S);
    int id[HP][WP], open = 0;
    for (int r = 0; r < HP; r++)
        for (int q = 0; q < WP; q++) {
            int row = r < HP - N ? 0 : r < HP - S ? 1 : 2, column = q < WP - N ? 0 : q < WP - S ? 1 : 2;
            id[r][q] = 3 * row + column;
        }
    for (int w = 0; w < nW; w++)
        for (int i = 0; i < T; i++)
            for (int j = 0; j < T; j++) {
                int r = w / 3 * N, q = w % 3 * N;
                bool same = id[r + i / N][q + i % N] == id[r + j / N][q + j % N];
                EXPECT(m[(w * T + i) * T + j] == (same ? 0.0f : -100.0f));
                open += same;
            }
    EXPECT(open < nW * T * T && m[0] == 0);
    vm_window_mask(m, H, W, N, 0);
    for (int i = 0; i < nW * T * T; i++) EXPECT(m[i] == 0);
    vm_free(m);
}
TEST(relative) {
    int32_t ids[9 * 9];
    vm_window_relative(ids, 3);
    EXPECT(ids[0] == 12 && ids[8] == 0 && ids[8 * 9] == 24 && ids[1] == 11 && ids[3] == 7 && ids[3 * 9] == 17);
}

TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 4, (int64_t[]){ 1, 4, 4, 2 }, 0, 1),
           v = op_input(&c, VM_F32, 3, (int64_t[]){ 4, 4, 2 }, 0, 1);
    WRONG(vm_window(c.g, x, 2, 2), "window: windows of 2, shifted by 2");
    WRONG(vm_window(c.g, v, 2, 0), "window: x [4,4,2], pictures (B,H,W,C) are needed");
    WRONG(vm_unwindow(c.g, v, 1, 5, 4, 2, 0), "unwindow: [4,4,2] for 1 pictures of 5 x 4 in windows of 2");
    WRONG(vm_unwindow(c.g, v, 1, -1, 4, 2, 0), "unwindow: 1 pictures of -1 x 4");
    WRONG(vm_pad(c.g, v, (int64_t[]){ 0, -1, 0 }, (int64_t[]){ 0, 0, 0 }),
          "pad: -1 before and 0 after axis 1 of [4,4,2]");
    WRONG(vm_crop(c.g, v, (int64_t[]){ 0, 0, 2 }, (int64_t[]){ 0, 0, 1 }),
          "crop: 2 before and 1 after axis 2 of [4,4,2]");
    op_end(&c);
}
int main(void) {
    RUN(windows);
    RUN(patch_merge);
    RUN(pad_and_crop);
    RUN(mask);
    RUN(relative);
    RUN(errors);
    return test_end();
}
