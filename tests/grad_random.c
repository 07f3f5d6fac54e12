/* grad_random.c - dropout's gradient uses the mask of the forward pass. */
#include "tests/gradcheck.h"

static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val noise = vm_randn(g, VM_F32, g->v[in[0]].nd, g->v[in[0]].ne);
    out[0] = vm_dropout(g, vm_binary(g, in[0], noise, VM_MUL), 0.3f);
    out[1] = vm_dropout(g, in[0], 0);
    return 2;
}
TEST(dropout) {
    gradcheck(build, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 7, 13 } } });
    gradcheck(build, 1, (gc_in[]){ { "w", .nd = 1, .ne = { 2100 }, .param = true } });
    gradcheck(build, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 3 } } });
}
int main(void) {
    RUN(dropout);
    return test_end();
}
