/* grad_lora.c - gradients of layers with a low-rank addition: of the whole weight, of parts with a gap between, before an
 * activation, with a residual. */
#include "models/nn.h"
#include "tests/gradcheck.h"

static bool parts, act, dora;
static nn_lora lora;
static vm_param *norms;

/* x (2,3,4), w (6,4), b (6), residual (2,3,6), a (2,4), b (rows,2), and for parts one more pair; with magnitudes (6) and norms (6, constants: any
 * numbers will do) */
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_param *w = g->v[in[1]].param;
    lora = (nn_lora){ .scale = 1.5f, .n = parts ? 2 : 1 };
    lora.part[0] = (nn_lora_part){ g->v[in[4]].param, g->v[in[5]].param, 0, parts ? 2 : 6, NULL, NULL };
    if (parts) lora.part[1] = (nn_lora_part){ g->v[in[6]].param, g->v[in[7]].param, 4, 2, NULL, NULL };
    if (dora) lora.part[0].m = g->v[in[6]].param, lora.part[0].n = norms;
    w->lora = &lora;
    out[0] = nn_linear(g, in[0], w, g->v[in[2]].param, act ? VM_GELU : VM_NONE, in[3], VM_F32);
    return 1;
}
static void check(bool p, bool a) {
    parts = p, act = a;
    gradcheck(build, p ? 8 : 6, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 3, 4 } },
                                           { "w", .nd = 2, .ne = { 6, 4 }, .param = true },
                                           { "b", .nd = 1, .ne = { 6 }, .param = true },
                                           { "residual", .nd = 3, .ne = { 2, 3, 6 } },
                                           { "lora a", .nd = 2, .ne = { 2, 4 }, .param = true },
                                           { "lora b", .nd = 2, .ne = { p ? 2 : 6, 2 }, .param = true },
                                           { "lora a 2", .nd = 2, .ne = { 2, 4 }, .param = true },
                                           { "lora b 2", .nd = 2, .ne = { 2, 2 }, .param = true } });
}

TEST(whole) { check(false, false); }
TEST(parts_of_rows) { check(true, false); }
TEST(before_an_activation) {
    check(false, true);
    check(true, true);
}

TEST(magnitudes) {
    vm_error e = { 0 };
    dora = true;
    norms = vm_param_new(vm_backend_cpu(), "norms", VM_F32, 1, (int64_t[]){ 6 }, &e);
    norms->trainable = false;
    for (int i = 0; i < 6; i++) ((vm_real *)norms->data)[i] = (vm_real)(0.5 + 0.3 * i);
    for (int k = 0; k < 2; k++) {
        parts = false, act = k;
        gradcheck(build, 7, (gc_in[]){ { "x", .nd = 3, .ne = { 2, 3, 4 } },
                                       { "w", .nd = 2, .ne = { 6, 4 }, .param = true },
                                       { "b", .nd = 1, .ne = { 6 }, .param = true },
                                       { "residual", .nd = 3, .ne = { 2, 3, 6 } },
                                       { "lora a", .nd = 2, .ne = { 2, 4 }, .param = true },
                                       { "lora b", .nd = 2, .ne = { 6, 2 }, .param = true },
                                       { "magnitude", .nd = 1, .ne = { 6 }, .param = true } });
    }
    vm_param_free(norms);
    dora = false;
}

int main(void) {
    RUN(whole);
    RUN(magnitudes);
    RUN(parts_of_rows);
    RUN(before_an_activation);
    return test_end();
}
