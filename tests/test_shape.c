/* test_shape.c - reshape, slice, concat, permute: every element at its place, for every element size; casts. */
#include "tests/optest.h"

static const vm_type types[] = { VM_F32, VM_BF16, VM_I32, VM_U8 };

TEST(permute_every_order) {
    static const int64_t sizes[][4] = { { 2, 3, 5, 7 }, { 1, 37, 1, 70 }, { 33, 1, 65, 2 }, { 3, 40, 34, 1 }, { 2, 0,
        3, 4 } };
    int order[4];
    for (int s = 0; s < VM_LEN(sizes); s++)
        for (int t = 0; t < VM_LEN(types); t++)
            for (int p = 0; p < 256; p++) {
                unsigned seen = 0;
                for (int k = 0; k < 4; k++) order[k] = p >> 2 * k & 3, seen |= 1u << order[k];
                if (seen != 15) continue;
                op_case c = op_begin(VM_BF16);
                const int64_t *ne = sizes[s];
                vm_val x = op_input(&c, types[t], 4, ne, 0, 200), y = vm_permute(c.g, x, order);
                vm_output(c.g, "y", y);
                int64_t stride[4] = { ne[1] * ne[2] * ne[3], ne[2] * ne[3], ne[3], 1 }, i = 0;
                int64_t n[4] = { ne[order[0]], ne[order[1]], ne[order[2]], ne[order[3]] };
                OP_LEVELS(&c) {
                    i = 0;
                    for (int64_t a = 0; a < n[0]; a++)
                        for (int64_t b = 0; b < n[1]; b++)
                            for (int64_t d = 0; d < n[2]; d++)
                                for (int64_t e = 0; e < n[3]; e++)
                                    EXPECT(op_get(&c, y, i++) == c.x[0][a * stride[order[0]] + b * stride[order[1]] +
                                                                        d * stride[order[2]] + e * stride[order[3]]]);
                }
                EXPECT(i == vm_count(c.g, x));
                op_end(&c);
            }
}

TEST(permute_large) { /* several tiles and bands, and threads */
    op_case c = op_begin(VM_F32);
    enum { A = 3, B = 301, C = 203 };
    vm_val x = op_input(&c, VM_F32, 3, (int64_t[]){ A, B, C }, -1, 1), y = vm_permute(c.g, x, (int[]){ 0, 2, 1 });
    vm_output(c.g, "y", y);
    OP_LEVELS(&c)
        for (int a = 0; a < A; a++)
            for (int i = 0; i < B * C; i++) EXPECT(op_get(&c, y, a * B * C + i % C * B + i / C)
                == c.x[0][a * B * C + i]);
    op_end(&c);
}

TEST(slice_and_concat) {
    for (int axis = 0; axis < 3; axis++)
        for (int t = 0; t < VM_LEN(types); t++) {
            op_case c = op_begin(VM_BF16);
            int64_t ne[3] = { 4, 5, 6 };
            vm_val x = op_input(&c, types[t], 3, ne, 0, 200);
            vm_val parts[] = { vm_slice(c.g, x, axis, 0, 1), vm_slice(c.g, x, axis - 3, 1, 0), vm_slice(c.g, x, axis,
                1, ne[axis] - 1) };
            vm_val y = vm_concat(c.g, 3, parts, axis), swapped = vm_concat(c.g, 2, (vm_val[]){ parts[2], parts[0] },
                axis - 3);
            vm_output(c.g, "y", y), vm_output(c.g, "swapped", swapped), vm_output(c.g, "part", parts[2]);
            int64_t inner = axis == 0 ? 30 : axis == 1 ? 6 : 1, N = ne[axis];
            EXPECT(c.g->v[y].ne[axis] == N);
            EXPECT(c.g->n[c.g->v[parts[2]].node].op->view == (axis == 0));
            OP_LEVELS(&c)
                for (int64_t i = 0; i < 120; i++) {
                    int64_t k = i / inner % N, outer = i / inner / N;
                    EXPECT(op_get(&c, y, i) == c.x[0][i]);
                    EXPECT(op_get(&c, swapped, i) == c.x[0][(outer * N + (k + 1) % N) * inner + i % inner]);
                    if (k) EXPECT(op_get(&c, parts[2], (outer * (N - 1) + k - 1) * inner + i % inner) == c.x[0][i]);
                }
            op_end(&c);
        }
}

/* y = concat of slices of x with scrambled middle; gradients of x, which several slices add to, against what they took */
static void parts_case(vm_type t, int64_t outer, int64_t N, int64_t inner, int64_t cut, bool view) {
    op_case c = op_begin(VM_BF16);
    vm_val x = (view ? op_view : op_input)(&c, t, 3, (int64_t[]){ outer, N, inner }, -1, 1);
    vm_val parts[] = { vm_slice(c.g, x, 1, cut, N - cut), vm_slice(c.g, x, 1, 0, cut), vm_slice(c.g, x, 1, cut / 2, N - cut) };
    vm_val y = vm_concat(c.g, 3, parts, 1);
    int64_t M = 2 * N - cut, n = outer * N * inner;
    vm_val r = op_input(&c, t, 3, (int64_t[]){ outer, M, inner }, -1, 1);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 1, &y, &r, 1, &x);
    vm_val dx = vm_grad(c.g, x);
    vm_output(c.g, "dx", dx);
    double *want = vm_alloc((size_t)(outer * M * inner) * sizeof *want + 1), *back = vm_calloc((size_t)n + 1, sizeof *back);
    for (int64_t i = 0; i < outer * M * inner; i++) {
        int64_t j = i / inner % M, from = j < N - cut ? cut + j : j < N ? j - (N - cut) : cut / 2 + j - N;
        int64_t at = (i / inner / M * N + from) * inner + i % inner;
        want[i] = c.x[0][at + view], back[at] += c.x[1][i];
    }
    OP_LEVELS(&c) {
        op_near(&c, "parts", y, want, VM_MAX(inner, 1), 0);
        op_near(&c, "their gradient", dx, back, VM_MAX(n, 1), 2 * op_tol(t));
    }
    vm_free(want), vm_free(back);
    op_end(&c);
}
TEST(slices_and_their_gradients) {
    static const int64_t s[][4] = { { 3, 5, 7, 2 },  { 2, 16, 8, 8 },  { 2, 31, 1, 5 }, { 5, 2, 64, 1 }, { 2, 24, 1, 8 },
                                    { 1, 9, 33, 4 }, { 7, 3, 1025, 1 }, { 0, 3, 4, 1 },  { 3, 4, 0, 2 },  { 2, 6, 4, 2 } };
    for (int k = 0; k < VM_LEN(s); k++)
        for (int t = VM_F32; t <= VM_F16; t++)
            for (int view = 0; view < 2; view++) parts_case((vm_type)t, s[k][0], s[k][1], s[k][2], s[k][3], view);
}

TEST(permuted_gradient) { /* of a value that is used twice */
    for (int t = VM_F32; t <= VM_F16; t++)
        for (int64_t n = 31; n <= 33; n++) {
            op_case c = op_begin(VM_BF16);
            vm_val x = op_view(&c, (vm_type)t, 3, (int64_t[]){ 2, n, 65 }, -1, 1), y = vm_permute(c.g, x, (int[]){ 2, 0, 1 });
            vm_val r = op_input(&c, (vm_type)t, 3, (int64_t[]){ 65, 2, n }, -1, 1), ys[] = { y, vm_permute(c.g, x, (int[]){ 2, 0, 1 }) };
            vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, 1, &x);
            vm_output(c.g, "dx", vm_grad(c.g, x));
            OP_LEVELS(&c)
                for (int64_t i = 0; i < 2 * n * 65; i++)
                    EXPECT(op_get(&c, vm_grad(c.g, x), i) == 2 * c.x[1][i % 65 * 2 * n + i / 65 / n * n + i / 65 % n]);
            op_end(&c);
        }
}

TEST(reshape_is_a_view) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 6 }, -1, 1), h = vm_scale(c.g, x, 1, 0);
    vm_val y = vm_reshape(c.g, h, 3, (int64_t[]){ 2, 3, 4 }), z = vm_slice(c.g, vm_reshape(c.g, y, 1,
        (int64_t[]){ 24 }), 0, 5, 7);
    vm_output(c.g, "y", y), vm_output(c.g, "z", z);
    OP_LEVELS(&c) {
        EXPECT(vm_data(c.g, y) == vm_data(c.g, h));
        for (int i = 0; i < 24; i++) EXPECT(op_get(&c, y, i) == c.x[0][i]);
        for (int i = 0; i < 7; i++) EXPECT(op_get(&c, z, i) == c.x[0][5 + i]);
    }
    op_end(&c);
}

TEST(detach) { /* a view; x times it has the gradient of x alone */
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 4, 6 }, -1, 1), h = vm_scale(c.g, x, 3, 0), still = vm_detach(c.g, h);
    vm_val y = vm_sum(c.g, vm_binary(c.g, h, still, VM_MUL));
    vm_backward(c.g, 1, &y, NULL, 1, &x);
    vm_output(c.g, "still", still), vm_output(c.g, "dx", vm_grad(c.g, x));
    OP_LEVELS(&c) {
        EXPECT(vm_data(c.g, still) == vm_data(c.g, h));
        for (int i = 0; i < 24; i++) EXPECT(fabs(op_get(&c, vm_grad(c.g, x), i) - 9 * c.x[0][i]) < 1e-5);
    }
    op_end(&c);
}

TEST(cast) {
    for (int from = VM_F32; from <= VM_F16; from++)
        for (int to = VM_F32; to <= VM_F16; to++) {
            op_case c = op_begin(VM_BF16);
            enum { N = 5003 };
            vm_val x = op_input(&c, (vm_type)from, 1, (int64_t[]){ N }, -3, 3), y = vm_cast(c.g, x, (vm_type)to);
            const double special[] = { 0, -0.0, INFINITY, -INFINITY, NAN, 65504, 65520, 3e38, 1e-45, 5.9e-8, 2.9e-8, -6.1e-5, 1.00048828125 };
            for (int i = 0; i < VM_LEN(special); i++) op_put(&c, 0, i, special[i]);
            vm_output(c.g, "y", y);
            uint16_t room[2];
            OP_LEVELS(&c)
                for (int i = 0; i < N; i++) {
                    double want = op_store(to == VM_F32 ? (void *)&(float){ 0 } : room, (vm_type)to, 0, c.x[0][i]), got = op_get(&c, y, i);
                    EXPECT((got == want && !signbit(got) == !signbit(want)) || (isnan(got) && isnan(want)));
                }
            op_end(&c);
        }
}

static void refuses(vm_val (*build)(vm_graph *g, vm_val x), const char *words) {
    op_case c = op_begin(VM_F32);
    EXPECT(!build(c.g, op_input(&c, VM_F32, 2, (int64_t[]){ 3, 4 }, 0, 1)));
    EXPECT_HAS(c.g->err.msg, words);
    op_end(&c);
}
static vm_val bad_reshape(vm_graph *g, vm_val x) { return vm_reshape(g, x, 1, (int64_t[]){ 11 }); }
static vm_val bad_slice(vm_graph *g, vm_val x) { return vm_slice(g, x, 1, 3, 2); }
static vm_val bad_slice_far(vm_graph *g, vm_val x) { return vm_slice(g, x, 1, INT64_MAX, 2); }
static vm_val bad_permute(vm_graph *g, vm_val x) { return vm_permute(g, x, (int[]){ 1, 1 }); }
static vm_val bad_concat(vm_graph *g, vm_val x) { return vm_concat(g, 2, (vm_val[]){ x, vm_cast(g, x, VM_BF16) }, 0); }
TEST(wrong_shapes) {
    refuses(bad_reshape, "reshape: [3,4] does not have 11 elements");
    refuses(bad_slice, "slice: 2 entries from 3 of axis 1 of [3,4]");
    refuses(bad_slice_far, "slice: 2 entries from 9223372036854775807");
    refuses(bad_permute, "permute: an axis is named twice");
    refuses(bad_concat, "concat: [3,4] bf16 does not fit [3,4] f32 on axis 0");
}

int main(void) {
    RUN(permute_every_order);
    RUN(permute_large);
    RUN(slice_and_concat);
    RUN(slices_and_their_gradients);
    RUN(permuted_gradient);
    RUN(reshape_is_a_view);
    RUN(detach);
    RUN(cast);
    RUN(wrong_shapes);
    return test_end();
}
