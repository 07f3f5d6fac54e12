/* grad_rows.c - gradients of embedding (repeated ids) and pick. */
#include "tests/gradcheck.h"

static int build_embedding(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_embedding(g, in[0], in[1]);
    return 1;
}
static int build_pick(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_pick(g, in[0], in[1]);
    return 1;
}
TEST(embedding) {
    static const int32_t ids[] = { 3, 0, 3, 3, 6, 0 };
    for (int param = 0; param < 2; param++) {
        gradcheck(build_embedding, 2, (gc_in[]){ { "table", .nd = 2, .ne = { 7, 5 }, .param = param }, { "ids",
            .nd = 2, .ne = { 2, 3 }, .ids = ids } });
        gradcheck(build_embedding, 2, (gc_in[]){ { "table", .nd = 2, .ne = { 7, 131 }, .param = param }, { "ids",
            .nd = 1, .ne = { 6 }, .ids = ids } });
        gradcheck(build_embedding, 2, (gc_in[]){ { "table", .nd = 2, .ne = { 7, 3 }, .param = param }, { "ids",
            .nd = 2, .ne = { 0, 3 }, .ids = ids } });
    }
}
TEST(pick) {
    static const int32_t idx[] = { 4, 0, 2 };
    gradcheck(build_pick, 2, (gc_in[]){ { "x", .nd = 3, .ne = { 3, 5, 4 } }, { "idx", .nd = 1, .ne = { 3 },
        .ids = idx } });
    gradcheck(build_pick, 2, (gc_in[]){ { "w", .nd = 3, .ne = { 3, 5, 1031 }, .param = true }, { "idx", .nd = 1,
        .ne = { 3 }, .ids = idx } });
    gradcheck(build_pick, 2, (gc_in[]){ { "x", .nd = 3, .ne = { 0, 5, 4 } }, { "idx", .nd = 1, .ne = { 0 },
        .ids = idx } });
}
int main(void) {
    RUN(embedding);
    RUN(pick);
    return test_end();
}
