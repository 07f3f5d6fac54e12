/* grad_groupnorm.c - gradients of group normalisation, with SiLU behind it (a node of its own: the graph trains). */
#include "tests/gradcheck.h"

static int groups;
static vm_unary_kind act;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_groupnorm(g, in[0], in[1], in[2], groups, 1e-5f, act, VM_F32);
    return 1;
}
static void sized(int64_t B, int64_t H, int64_t W, int64_t C, int G, bool fixed) {
    groups = G;
    gradcheck(build, 3, (gc_in[]){ { "x", .nd = 4, .ne = { B, H, W, C } },
                                   { "w", .nd = 1, .ne = { C }, .param = true, .fixed = fixed },
                                   { "b", .nd = 1, .ne = { C }, .param = true, .fixed = fixed } });
}
static void all(void) {
    sized(2, 3, 2, 6, 3, false);
    sized(1, 5, 3, 4, 4, false); /* a channel of its own */
    sized(2, 2, 2, 5, 1, false); /* all of a picture */
    sized(1, 1, 1, 8, 2, false);
    sized(3, 2, 3, 4, 2, true);
}
TEST(groupnorm) { act = VM_NONE, all(); }
TEST(silu) { act = VM_SILU, all(); }
TEST(pieces) { /* several chunks of pixels; groups within, beyond and across a piece of channels */
    act = VM_NONE;
    sized(1, 40, 40, 12, 4, false);
    sized(1, 9, 11, 1029, 343, false);
    sized(1, 3, 2, 2100, 2, false);
}
TEST(empty) {
    act = VM_SILU;
    sized(0, 2, 2, 4, 2, false), sized(2, 0, 3, 4, 2, false), sized(1, 2, 2, 0, 1, false);
}
TEST(tokens) {
    groups = 3, act = VM_NONE;
    gradcheck(build, 3, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 4, 6 } },
                                   { "w", .nd = 1, .ne = { 6 }, .param = true },
                                   { "b", .nd = 1, .ne = { 6 }, .param = true } });
}

int main(void) {
    RUN(groupnorm);
    RUN(silu);
    RUN(pieces);
    RUN(empty);
    RUN(tokens);
    return test_end();
}
