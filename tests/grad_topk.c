/* grad_topk.c - gradients of topk (values that keep their order under the differences) and of rows taken by index. */
#include "tests/gradcheck.h"

static int64_t k;
static int build_topk(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_val indices;
    out[0] = vm_topk(g, in[0], k, &indices);
    return 1;
}
static int build_gather(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_gather_rows(g, in[0], in[1]);
    return 1;
}
TEST(topk) {
    for (k = 0; k <= 7; k += k < 2 ? 1 : 5) gradcheck(build_topk, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 3, 7 } } });
    k = 3;
    gradcheck(build_topk, 1, (gc_in[]){ { "w", .nd = 3, .ne = { 2, 3, 300 }, .param = true } });
    gradcheck(build_topk, 1, (gc_in[]){ { "x", .nd = 1, .ne = { 5 } } });
    gradcheck(build_topk, 1, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 5 } } });
}
TEST(gather_rows) {
    static const int32_t idx[] = { 4, 0, 2, 4, 4, 1 };
    for (int param = 0; param < 2; param++) {
        gradcheck(build_gather, 2, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 5, 7 }, .param = param },
                                              { "idx", .nd = 2, .ne = { 2, 3 }, .ids = idx } });
        gradcheck(build_gather, 2, (gc_in[]){ { "x", .nd = 2, .ne = { 5, 131 }, .param = param },
                                              { "idx", .nd = 2, .ne = { 2, 3 }, .ids = idx } });
        gradcheck(build_gather, 2, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 5, 7 }, .param = param },
                                              { "idx", .nd = 2, .ne = { 2, 0 }, .ids = idx } });
        gradcheck(build_gather, 2, (gc_in[]){ { "x", .nd = 2, .ne = { 5, 1 }, .param = param },
                                              { "idx", .nd = 0, .ids = idx } });
    }
}
int main(void) {
    RUN(topk);
    RUN(gather_rows);
    return test_end();
}
