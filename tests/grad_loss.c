/* grad_loss.c - gradients of the training losses: pairs, hard negatives as further columns, hidden columns, twins, CE-CLIP's
 * two terms in all their readings, all together. Tiles of the contrastive op are two rows here. */
#include "models/loss.h"
#include "tests/gradcheck.h"

static int pairs, columns, kind; /* rows that are pairs; columns of changes; reading */
static bool hidden, invalid, no_img, free_theta;

static int build_nce(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = loss_info_nce(g, in[0], in[1], in[2], pairs, hidden ? in[3] : 0, 0);
    return 1;
}
static int build_sigmoid(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = loss_sigmoid(g, in[0], in[1], in[2], vm_reshape(g, in[5], 1, (int64_t[]){ 1 }), hidden ? in[3] : 0, (loss_mean)kind);
    return 1;
}
static int build_twins(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = loss_twins(g, in[0], in[1], in[2], 2, pairs, columns, invalid ? in[4] : 0);
    return 1;
}
static int build_imc(vm_graph *g, const vm_val *in, vm_val *out) {
    int64_t n = vm_dim(g, in[1], 0) - pairs;
    vm_val txt = vm_slice(g, in[1], 0, 0, pairs), neg = vm_slice(g, in[1], 0, pairs, n);
    out[0] = loss_imc(g, in[0], txt, neg, in[2], hidden ? vm_slice(g, in[3], 0, 0, n) : 0, (loss_imc_kind)kind);
    return 1;
}
static int build_rank(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val txt = vm_slice(g, in[1], 0, 0, pairs), neg = vm_slice(g, in[1], 0, pairs, pairs * columns);
    rank_loss r = loss_rank(g, in[0], txt, neg, in[2], in[5], invalid ? in[4] : 0, pairs, columns);
    out[0] = r.loss, out[1] = r.g, out[2] = r.d;
    return 3;
}
static int build_all(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val scale = vm_unary(g, in[2], VM_EXP, VM_F32), img = vm_l2norm(g, in[0], 0), txt = vm_l2norm(g, in[1], 0);
    vm_val i = vm_slice(g, img, 0, 0, pairs), t = vm_slice(g, txt, 0, 0, pairs), neg = vm_slice(g, txt, 0, pairs, pairs * columns);
    vm_val nce = loss_info_nce(g, img, txt, scale, pairs, 0, 0), twins = loss_twins(g, img, txt, scale, 2, pairs, columns, 0);
    vm_val imc = loss_imc(g, i, t, neg, scale, 0, LOSS_IMC_POSITIVE);
    out[0] = vm_binary(g, vm_binary(g, nce, vm_scale(g, twins, 0.7f, 0), VM_ADD), vm_scale(g, imc, 0.3f, 0), VM_ADD);
    return 1;
}

static void sized(gc_build build, int64_t n_img, int64_t n_txt, int64_t E, int n_pairs, int K) {
    static const int32_t hide[12] = { 0, 1, 2, -1, 1, 5, -1, 7, 8, -1, 10, 11 }; /* as many as the largest n_txt */
    pairs = n_pairs, columns = K;
    int64_t cells = VM_MAX(1, n_pairs);
    gradcheck(build, 6, (gc_in[]){ { "img", .nd = 2, .ne = { n_img, E }, .fixed = no_img },
                                   { "txt", .nd = 2, .ne = { n_txt, E } },
                                   { "scale", .nd = 1, .ne = { 1 }, .param = true, .lo = 0.5, .hi = 2 },
                                   { "hide", .nd = 1, .ne = { n_txt }, .ids = hide },
                                   { "valid", .nd = 2, .ne = { VM_MAX(K, 1), cells }, .fixed = true, .lo = 0.2, .hi = 1 },
                                   { "theta", .nd = 2, .ne = { VM_MAX(K, 1), cells }, .fixed = !free_theta, .lo = 0, .hi = 2 } });
}

TEST(info_nce) {
    sized(build_nce, 4, 4, 5, 4, 0);
    sized(build_nce, 1, 1, 3, 1, 0);
    sized(build_nce, 7, 7, 2, 7, 0);
}
TEST(hard_negatives) {
    sized(build_nce, 5, 7, 4, 3, 0); /* 2 further pictures, 4 further captions */
    sized(build_nce, 3, 6, 4, 3, 0);
    hidden = true;
    sized(build_nce, 5, 9, 4, 5, 0); /* a filler among the pairs, equal captions in rows 1 and 4, fillers behind */
    hidden = false;
}
TEST(twins) {
    sized(build_twins, 4, 4, 5, 2, 1);
    sized(build_twins, 5, 5, 3, 3, 1); /* the third original has no change */
    sized(build_twins, 6, 6, 3, 2, 2);
    invalid = true;
    sized(build_twins, 6, 6, 3, 2, 2); /* weights other than 0 and 1 are weights */
    invalid = false;
}
TEST(imc) {
    for (kind = LOSS_IMC_POSITIVE; kind <= LOSS_IMC_REF_2023; kind++, no_img = kind == LOSS_IMC_REF_HEAD) sized(build_imc, 3, 9, 4, 3, 2);
    kind = LOSS_IMC_POSITIVE, hidden = true;
    sized(build_imc, 3, 9, 4, 3, 2);
    hidden = false;
}
TEST(rank) {
    for (int k = 0; k < 2; k++) {
        invalid = k;
        sized(build_rank, 3, 12, 4, 3, 3);
        sized(build_rank, 2, 4, 5, 2, 1);
    }
    invalid = false;
}
TEST(sigmoid) { /* the bias is the first of theta's numbers */
    free_theta = true;
    for (kind = LOSS_PER_ROW; kind <= LOSS_PER_CELL; kind++)
        for (int k = 0; k < 2; k++) {
            hidden = k;
            sized(build_sigmoid, 5, 5, 3, 1, 0);
            sized(build_sigmoid, 2, 2, 4, 1, 0);
        }
    kind = 0, hidden = free_theta = false;
}
TEST(together) {
    sized(build_all, 6, 6, 4, 2, 2);
    sized(build_all, 4, 4, 4, 2, 1);
}

int main(void) {
    RUN(info_nce);
    RUN(hard_negatives);
    RUN(twins);
    RUN(imc);
    RUN(rank);
    RUN(sigmoid);
    RUN(together);
    return test_end();
}
