/* grad_loss.c - gradients of the training losses: pairs, hard negatives as further columns, twins, all together. */
#include "models/loss.h"
#include "tests/gradcheck.h"

static int pairs; /* rows that are pairs */

static int build_nce(vm_graph *g, const vm_val *in, vm_val *out) {
    contrastive c = loss_info_nce(g, in[0], in[1], in[2], pairs, in[3]);
    out[0] = c.loss, out[1] = c.i2t, out[2] = c.t2i;
    return 3;
}
static int build_twins(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = loss_twins(g, in[0], in[1], in[2], 2, pairs);
    return 1;
}
static int build_both(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val scale = vm_unary(g, in[2], VM_EXP, VM_F32), img = vm_l2norm(g, in[0], 0), txt = vm_l2norm(g, in[1], 0);
    vm_val nce = loss_info_nce(g, img, txt, scale, pairs, in[3]).loss, twins = loss_twins(g, img, txt, scale, 2, pairs);
    out[0] = vm_binary(g, nce, vm_scale(g, twins, 0.7f, 0), VM_ADD);
    return 1;
}

static void sized(gc_build build, int64_t n_img, int64_t n_txt, int64_t E, int n_pairs) {
    static const int32_t target[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    pairs = n_pairs;
    gradcheck(build, 4, (gc_in[]){ { "img", .nd = 2, .ne = { n_img, E } },
                                   { "txt", .nd = 2, .ne = { n_txt, E } },
                                   { "scale", .nd = 1, .ne = { 1 }, .param = true, .lo = 0.5, .hi = 2 },
                                   { "target", .nd = 1, .ne = { n_pairs }, .ids = target } });
}

TEST(info_nce) {
    sized(build_nce, 4, 4, 5, 4);
    sized(build_nce, 1, 1, 3, 1);
}
TEST(hard_negatives) {
    sized(build_nce, 5, 7, 4, 3); /* 2 further pictures, 4 further captions */
    sized(build_nce, 3, 6, 4, 3);
}
TEST(twins) {
    sized(build_twins, 4, 4, 5, 2);
    sized(build_twins, 5, 5, 3, 3); /* the third original has no edit */
}
TEST(together) {
    sized(build_both, 5, 5, 4, 3);
    sized(build_both, 4, 4, 4, 2);
}

int main(void) {
    RUN(info_nce);
    RUN(hard_negatives);
    RUN(twins);
    RUN(together);
    return test_end();
}
