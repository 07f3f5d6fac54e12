/* grad_detect.c - gradients of the losses of detection: focal loss, boxes against their targets, generalised IoU of pairs. */
#include "tests/gradcheck.h"

static double alpha, gamma_;
static bool weights, centre;
static vm_box_kind kind;

static int build_focal(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_focal(g, in[0], in[1], weights ? in[3] : 0, in[2], (float)alpha, (float)gamma_);
    return 1;
}
static void focal(int64_t R, int64_t C, double hard) { /* hard: targets 0 and 1 only */
    for (int k = 0; k < 4; k++) {
        alpha = k == 1 ? -1 : 0.25, gamma_ = k == 0 ? 2 : k == 1 ? 0 : k == 2 ? 1.5 : 1, weights = k & 1;
        gradcheck(build_focal, 4, (gc_in[]){ { "x", .nd = 2, .ne = { R, C }, .lo = -4, .hi = 4 },
                                             { "y", .nd = 2, .ne = { R, C }, .lo = hard, .hi = 1, .fixed = true },
                                             { "norm", .nd = 1, .ne = { 1 }, .lo = 2, .hi = 3, .fixed = true },
                                             { "w", .nd = 2, .ne = { R, C }, .fixed = true } });
    }
}
TEST(focal) {
    focal(3, 7, 0);
    focal(3, 7, 1 - 1e-12);
    focal(1, 1, 0);
    focal(40, 250, 0);
    focal(0, 3, 0);
}

static int build_loss(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_box_loss(g, in[0], in[1], in[2], in[3], kind);
    return 1;
}
TEST(box_loss) {
    static const int32_t match[] = { 4, 0, -1, 2, 2, -7 };
    for (kind = VM_BOX_L1; kind <= VM_BOX_GIOU; kind++)
        for (int param = 0; param < 2; param++) {
            gradcheck(build_loss, 4, (gc_in[]){ { "boxes", .nd = 3, .ne = { 2, 5, 4 }, .lo = 0.2, .hi = 0.7, .param = param },
                                                { "target", .nd = 3, .ne = { 2, 3, 4 }, .lo = 0.1, .hi = 0.6, .fixed = true },
                                                { "match", .nd = 2, .ne = { 2, 3 }, .ids = match },
                                                { "norm", .nd = 1, .ne = { 1 }, .lo = 2, .hi = 3, .fixed = true } });
            gradcheck(build_loss, 4, (gc_in[]){ { "boxes", .nd = 3, .ne = { 2, 5, 4 }, .lo = 0.2, .hi = 0.7, .param = param },
                                                { "target", .nd = 3, .ne = { 2, 0, 4 }, .fixed = true },
                                                { "match", .nd = 2, .ne = { 2, 0 }, .ids = match },
                                                { "norm", .nd = 1, .ne = { 1 }, .lo = 2, .hi = 3, .fixed = true } });
        }
}

static int build_giou(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_giou(g, in[0], in[1], centre);
    return 1;
}
static int build_corners(vm_graph *g, const vm_val *in, vm_val *out) { /* (x0, y0) and what is behind the other corner */
    vm_val box[2];
    for (int k = 0; k < 2; k++) box[k] = vm_concat(g, 2, (vm_val[]){ in[2 * k], vm_binary(g, in[2 * k], in[2 * k + 1], VM_ADD) }, 2);
    out[0] = vm_giou(g, box[0], box[1], false);
    return 1;
}
TEST(giou) {
    centre = true;
    gradcheck(build_giou, 2, (gc_in[]){ { "a", .nd = 3, .ne = { 2, 3, 4 }, .lo = 0.1, .hi = 0.9 },
                                        { "b", .nd = 3, .ne = { 2, 5, 4 }, .lo = 0.1, .hi = 0.9 } });
    gradcheck(build_giou, 2, (gc_in[]){ { "a", .nd = 3, .ne = { 1, 40, 4 }, .lo = 0.05, .hi = 0.3, .param = true },
                                        { "b", .nd = 3, .ne = { 1, 1, 4 }, .lo = 0.05, .hi = 0.3, .param = true } });
    gradcheck(build_giou, 2, (gc_in[]){ { "a", .nd = 3, .ne = { 1, 0, 4 } }, { "b", .nd = 3, .ne = { 1, 2, 4 } } });
    gradcheck(build_corners, 4, (gc_in[]){ { "a0", .nd = 3, .ne = { 2, 3, 2 } }, { "a1", .nd = 3, .ne = { 2, 3, 2 }, .lo = 0.3, .hi = 1 },
                                           { "b0", .nd = 3, .ne = { 2, 2, 2 } }, { "b1", .nd = 3, .ne = { 2, 2, 2 }, .lo = 0.3, .hi = 1 } });
}
int main(void) {
    RUN(focal);
    RUN(box_loss);
    RUN(giou);
    return test_end();
}
