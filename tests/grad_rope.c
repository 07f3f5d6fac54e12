/* grad_rope.c - gradients of rotary embeddings and of sinusoids. */
#include "tests/gradcheck.h"

static int NH, turned;
static bool pairs;
static vm_rope_kind kind;
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_rope(g, in[0], vm_rope_table(g, in[1], &kind), NH, turned, pairs, VM_F32), 1;
}
static const int32_t pos[] = { 0, 1, 7, 100, 3, 131071 };

static void sized(int64_t B, int64_t T, int heads, int turn, int64_t HS, int columns) {
    NH = heads, turned = turn, kind = (vm_rope_kind){ .columns = columns, .base = 10000 };
    for (int k = 0; k < 2; k++) {
        pairs = k;
        gradcheck(build, 2, (gc_in[]){ { "x", .nd = 3, .ne = { B, T, heads * HS } },
                                       { "pos", .nd = 2, .ne = { B, T }, .ids = pos } });
        /* one table for all of the batch */
        gradcheck(build, 2, (gc_in[]){ { "x", .nd = 3, .ne = { B, T, heads * HS } },
                                       { "pos", .nd = 1, .ne = { T }, .ids = pos } });
    }
}
TEST(rope) {
    sized(2, 3, 2, 2, 4, 4);
    sized(1, 2, 3, 2, 6, 4);  /* columns and heads that pass */
    sized(1, 1, 1, 1, 2, 2);
    sized(1, 2, 12, 9, 130, 120); /* more columns than a piece */
    sized(0, 2, 2, 2, 4, 4), sized(2, 0, 2, 2, 4, 4), sized(1, 2, 2, 0, 4, 4);
}

static vm_sinusoid_kind sine;
static int build_sinusoid(vm_graph *g, const vm_val *in, vm_val *out) {
    return out[0] = vm_sinusoid(g, in[0], sine, VM_F32), 1;
}
TEST(sinusoid) {
    for (int k = 0; k < 3; k++)
        for (int C = 1; C < 8; C += 2) {
            sine = (vm_sinusoid_kind){ .C = C + k, .period = 20, .scale = 1.5, .layout = (vm_sinusoid_layout)k };
            gradcheck(build_sinusoid, 1, (gc_in[]){ { "t", .nd = 2, .ne = { 3, 2 } } });
            gradcheck(build_sinusoid, 1, (gc_in[]){ { "t", .nd = 1, .ne = { 0 } } });
        }
}
int main(void) {
    RUN(rope);
    RUN(sinusoid);
    return test_end();
}
