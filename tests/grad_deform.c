/* grad_deform.c - gradients of deformable attention: values, locations, weights; points on every side of the maps. (None of these
 * random points lies within a difference's step of a cell's border, where the function has a kink.) */
#include "tests/gradcheck.h"

static int L;
static int64_t levels[5][2];
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_deform_attention(g, in[0], in[1], in[2], L, (const int64_t(*)[2])levels, VM_F32);
    return 1;
}

/* Maps of sizes hw; B, Q, NH, P, HS */
static void check(int n, const int64_t hw[][2], int64_t B, int64_t Q, int64_t NH, int64_t P, int64_t HS, bool param) {
    int64_t S = 0;
    L = n;
    for (int l = 0; l < n; l++) levels[l][0] = hw[l][0], levels[l][1] = hw[l][1], S += hw[l][0] * hw[l][1];
    gradcheck(build, 3, (gc_in[]){ { "value", .nd = 3, .ne = { B, S, NH * HS }, .param = param },
                                   { "loc", .nd = 6, .ne = { B, Q, NH, n, P, 2 }, .lo = -0.4, .hi = 1.4, .param = param },
                                   { "weight", .nd = 4, .ne = { B, Q, NH, n * P }, .param = param } });
}
TEST(deform_attention) {
    check(2, (int64_t[][2]){ { 3, 4 }, { 2, 2 } }, 2, 3, 2, 2, 3, false);
    check(2, (int64_t[][2]){ { 3, 4 }, { 2, 2 } }, 2, 3, 2, 2, 3, true);
    check(1, (int64_t[][2]){ { 1, 1 } }, 1, 5, 1, 1, 1, false);
    check(5, (int64_t[][2]){ { 2, 1 }, { 1, 3 }, { 2, 2 }, { 1, 1 }, { 3, 1 } }, 1, 2, 1, 1, 70, false);
    check(1, (int64_t[][2]){ { 2, 3 } }, 1, 0, 2, 2, 2, false);
    check(2, (int64_t[][2]){ { 0, 3 }, { 2, 2 } }, 1, 2, 1, 1, 2, false);
}
int main(void) {
    RUN(deform_attention);
    return test_end();
}
