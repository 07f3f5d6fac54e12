/* grad_patch.c - gradients of patches, with and without remainder pixels. */
#include "tests/gradcheck.h"

static int P;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_patchify(g, in[0], P, VM_F32);
    return 1;
}
TEST(patchify) {
    for (P = 1; P <= 3; P++) {
        gradcheck(build, 1, (gc_in[]){ { "pixels", .nd = 4, .ne = { 2, 6, 9, 3 } } });
        gradcheck(build, 1, (gc_in[]){ { "pixels", .nd = 4, .ne = { 1, 7, 5, 5 }, .param = true } });
        gradcheck(build, 1, (gc_in[]){ { "pixels", .nd = 4, .ne = { 0, 4, 4, 3 } } });
    }
}
int main(void) {
    RUN(patchify);
    return test_end();
}
