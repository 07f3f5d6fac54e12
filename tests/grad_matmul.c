/* grad_matmul.c - gradients of vm_matmul in every layout, and of products whose operands meet more than once. */
#include "tests/gradcheck.h"

#define LAYOUT(name, ta, tb)                                                  \
    static int build_##name(vm_graph *g, const vm_val *in, vm_val *out) {     \
        out[0] = vm_matmul(g, in[0], in[1], ta, tb, 1.7f, VM_F32);            \
        return 1;                                                             \
    }
LAYOUT(nn, false, false) LAYOUT(nt, false, true) LAYOUT(tn, true, false) LAYOUT(tt, true, true)

typedef struct { gc_build build; bool ta, tb; } layout;
static const layout layouts[] = {
    { build_nn, false, false }, { build_nt, false, true }, { build_tn, true, false }, { build_tt, true, true }
};

static void each_layout(int nd, const int64_t *lead, int64_t M, int64_t N, int64_t K, bool weight) {
    for (int k = 0; k < VM_LEN(layouts); k++) {
        gc_in in[2] = { { "a", .nd = nd }, { "b", .nd = nd, .param = weight } };
        for (int i = 0; i < nd - 2; i++) in[0].ne[i] = in[1].ne[i] = lead[i];
        in[0].ne[nd - 2] = layouts[k].ta ? K : M, in[0].ne[nd - 1] = layouts[k].ta ? M : K;
        in[1].ne[nd - 2] = layouts[k].tb ? N : K, in[1].ne[nd - 1] = layouts[k].tb ? K : N;
        gradcheck(layouts[k].build, 2, in);
    }
}

TEST(matrices) {
    each_layout(2, NULL, 3, 4, 5, false);
    each_layout(2, NULL, 3, 4, 5, true);
    each_layout(2, NULL, 1, 1, 1, false);
    each_layout(2, NULL, 7, 1, 2, true);
}
TEST(batches) {
    each_layout(3, (int64_t[]){ 3 }, 2, 3, 5, false);
    each_layout(3, (int64_t[]){ 1 }, 2, 3, 5, true);
    each_layout(4, (int64_t[]){ 2, 3 }, 3, 1, 2, false);
}
TEST(empty) {
    each_layout(2, NULL, 0, 3, 4, true);
    each_layout(2, NULL, 2, 0, 4, true);
    each_layout(2, NULL, 2, 3, 0, true);
    each_layout(3, (int64_t[]){ 0 }, 2, 3, 4, true);
}
TEST(one_b_for_all) {
    gradcheck(build_nn, 2,
              (gc_in[]){ { "a", .nd = 4, .ne = { 2, 3, 2, 5 } }, { "b", .nd = 2, .ne = { 5, 3 }, .param = true } });
    gradcheck(build_nt, 2, (gc_in[]){ { "a", .nd = 3, .ne = { 2, 3, 5 } }, { "b", .nd = 2, .ne = { 4, 5 } } });
}

/* a against itself: both gradients fall on one value */
static int build_gram(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_matmul(g, in[0], in[0], false, true, 1, VM_F32);
    out[1] = vm_matmul(g, in[0], in[0], true, false, 2, VM_F32);
    return 2;
}
static int build_power(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val x = in[0];
    for (int k = 0; k < 3; k++) x = vm_matmul(g, x, in[0], k == 1, false, 1, VM_F32);
    out[0] = x;
    return 1;
}
static int build_both_sides(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val s = vm_binary(g, vm_matmul(g, in[0], in[1], false, true, 1, VM_F32), in[2], VM_MUL);
    vm_val t = vm_binary(g, vm_matmul(g, in[1], in[0], false, true, 1, VM_F32), in[2], VM_MUL);
    out[0] = vm_cross_entropy(g, s, in[3]), out[1] = vm_cross_entropy(g, t, in[3]);
    return 2;
}
TEST(used_several_times) {
    for (int p = 0; p < 2; p++) {
        gradcheck(build_gram, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 4 }, .param = p } });
        gradcheck(build_gram, 1, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 3, 4 }, .param = p } });
        gradcheck(build_power, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 3 }, .param = p } });
    }
    gradcheck(build_both_sides, 4,
              (gc_in[]){ { "a", .nd = 2, .ne = { 3, 4 } },
                         { "b", .nd = 2, .ne = { 3, 4 } },
                         { "scale", .nd = 1, .ne = { 1 }, .param = true, .lo = 1, .hi = 3 },
                         { "target", .nd = 1, .ne = { 3 }, .ids = (const int32_t[]){ 0, 1, 2 } } });
}

int main(void) {
    RUN(matrices);
    RUN(batches);
    RUN(empty);
    RUN(one_b_for_all);
    RUN(used_several_times);
    return test_end();
}
