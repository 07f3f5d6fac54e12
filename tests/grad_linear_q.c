/* grad_linear_q.c - gradients through a quantised weight: x, bias and residual, for each kind of code; grouped products of experts, in
 * numbers and in codes. */
#include "tests/gradcheck.h"

#include "kernels/quant.h"

static vm_quant quant;
static vm_param *codes, *scales, *zeros, *nested;

static vm_param *constant(vm_type t, int64_t n, int64_t m, const void *data) {
    vm_param *p = vm_param_new(vm_backend_cpu(), "q", t, m ? 2 : 1, (int64_t[]){ n, m }, NULL);
    p->trainable = false;
    for (int64_t i = 0; i < n * VM_MAX(m, (int64_t)1); i++)
        if (t == VM_U8) ((uint8_t *)p->data)[i] = ((const uint8_t *)data)[i];
        else ((vm_real *)p->data)[i] = (vm_real)((const float *)data)[i];
    return p;
}

static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_quant q = quant;
    if (zeros) q.zeros = vm_weight(g, zeros);
    if (nested) q.nested = vm_weight(g, nested);
    out[0] = vm_linear_q(g, in[0], vm_weight(g, codes), vm_weight(g, scales), in[1], q, in[2], VM_F32);
    return 1;
}

static void check(vm_quant_kind kind, int64_t M, int64_t N, int64_t K, int block, bool with) { /* zeros (INT4), nested (NF4) */
    int64_t n = vm_quant_scales(kind, N, K, block);
    float w[1024], s[1024], z[1024], top[600];
    uint8_t c[1024] = { 0 }, c2[1024];
    uint64_t r = 4;
    for (int64_t i = 0; i < N * K; i++) w[i] = (float)test_uniform(&r);
    if (kind == VM_INT8) vm_quantize_int8(w, N, K, block, c, s);
    if (kind == VM_INT4) vm_quantize_int4(w, N, K, block, c, s, with ? z : NULL);
    if (kind == VM_NF4) vm_quantize_nf4(w, N * K, block, c, s);
    quant = (vm_quant){ .kind = kind, .block = block };
    codes = constant(VM_U8, N, kind == VM_INT8 ? K : K / 2, c), zeros = nested = NULL;
    if (kind == VM_NF4 && with) {
        vm_quantize_scales(s, n, c2, top);
        scales = constant(VM_U8, n, 0, c2), nested = constant(VM_F32, vm_nested_len(n), 0, top);
    } else {
        scales = constant(VM_F32, n, 0, s);
    }
    if (kind == VM_INT4 && with) zeros = constant(VM_F32, n, 0, z);
    gradcheck(build, 3, (gc_in[]){ { "x", .nd = 2, .ne = { M, K } }, { "b", .nd = 1, .ne = { N }, .param = true },
                                   { "residual", .nd = 2, .ne = { M, N } } });
    vm_param_free(codes), vm_param_free(scales), vm_param_free(zeros), vm_param_free(nested);
}
TEST(linear_q) {
    for (int with = 0; with < 2; with++)
        for (int64_t M = 0; M <= 11; M += M < 2 ? 1 : 9) {
            check(VM_INT8, M, 5, 7, with ? 4 : 0, with);
            check(VM_INT4, M, 3, 10, 4, with);
            check(VM_NF4, M, 6, 8, 4, with);
            check(VM_NF4, M, 3, 10, 4, with); /* blocks cross rows */
            check(VM_NF4, M, 1, 2, 64, with);
        }
}

static int build_experts(vm_graph *g, const vm_val *in, vm_val *out) {
    out[0] = vm_experts(g, in[0], in[1], in[2], VM_F32);
    return 1;
}
TEST(experts) {
    static const int32_t offsets[] = { 0, 3, 3, 10, 11 }, none[] = { 0, 0, 0 };
    for (int param = 0; param < 2; param++) {
        gradcheck(build_experts, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 13, 5 } }, { "w", .nd = 3, .ne = { 4, 3, 5 }, .param = param },
                                               { "offsets", .nd = 1, .ne = { 5 }, .ids = offsets } });
        gradcheck(build_experts, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 2, 5 } }, { "w", .nd = 3, .ne = { 2, 1, 5 }, .param = param },
                                               { "offsets", .nd = 1, .ne = { 3 }, .ids = none } });
        gradcheck(build_experts, 3, (gc_in[]){ { "x", .nd = 2, .ne = { 0, 5 } }, { "w", .nd = 3, .ne = { 2, 1, 5 }, .param = param },
                                               { "offsets", .nd = 1, .ne = { 3 }, .ids = none } });
    }
}

static vm_param *order;
static int build_experts_q(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_quant q = quant;
    if (zeros) q.zeros = vm_weight(g, zeros);
    out[0] = vm_experts_q(g, in[0], vm_weight(g, codes), vm_weight(g, scales), in[1], order ? vm_weight(g, order) : 0, q, VM_F32);
    return 1;
}
/* Three experts: the second has no rows, the last row is nobody's. */
static void check_experts_q(vm_quant_kind kind, const int32_t *offsets, int64_t M, int64_t N, int64_t K, int block, bool with) { /* zeros, order */
    enum { E = 3 };
    const int64_t n = vm_quant_scales(kind, N, K, block), bytes = N * K / (kind == VM_INT8 ? 1 : 2);
    float w[256], s[E * 64], z[E * 64];
    uint8_t c[E * 256];
    uint64_t r = 4;
    for (int e = 0; e < E; e++) {
        for (int64_t i = 0; i < N * K; i++) w[i] = (float)test_uniform(&r);
        if (kind == VM_INT8) vm_quantize_int8(w, N, K, block, c + e * bytes, s + e * n);
        if (kind == VM_INT4) vm_quantize_int4(w, N, K, block, c + e * bytes, s + e * n, with ? z + e * n : NULL);
        if (kind == VM_NF4) vm_quantize_nf4(w, N * K, block, c + e * bytes, s + e * n);
    }
    quant = (vm_quant){ .kind = kind, .block = block };
    codes = constant(VM_U8, E * N, bytes / N, c), scales = constant(VM_F32, E * n, 0, s);
    codes->nd = 3, codes->ne[0] = E, codes->ne[1] = N, codes->ne[2] = bytes / N;
    zeros = kind == VM_INT4 && with ? constant(VM_F32, E * n, 0, z) : NULL, nested = order = NULL;
    if (with) {
        order = vm_param_new(vm_backend_cpu(), "order", VM_I32, 2, (int64_t[]){ E, K }, NULL);
        order->trainable = false;
        for (int64_t i = 0; i < E * K; i++) ((int32_t *)order->data)[i] = (int32_t)((i % K * 3 + i / K) % K); /* 3 divides no K here */
    }
    gradcheck(build_experts_q, 2, (gc_in[]){ { "x", .nd = 2, .ne = { M, K } }, { "offsets", .nd = 1, .ne = { E + 1 }, .ids = offsets } });
    vm_param_free(codes), vm_param_free(scales), vm_param_free(zeros), vm_param_free(order);
}
TEST(experts_q) {
    static const int32_t few[] = { 0, 2, 2, 5 }, many[] = { 0, 9, 9, 11 };
    for (int with = 0; with < 2; with++)
        for (int k = 0; k < 2; k++) {
            check_experts_q(VM_INT8, k ? many : few, k ? 12 : 6, 5, 7, with ? 4 : 0, with);
            check_experts_q(VM_INT4, k ? many : few, k ? 12 : 6, 3, 10, 4, with);
            check_experts_q(VM_NF4, k ? many : few, k ? 12 : 6, 6, 8, 4, with);
            check_experts_q(VM_NF4, k ? many : few, k ? 12 : 6, 3, 10, 4, with); /* blocks cross rows, and end inside one */
        }
}
int main(void) {
    RUN(linear_q);
    RUN(experts);
    RUN(experts_q);
    return test_end();
}
