/* test_quant.c - quantisers: round trips within half a step, the NF4 vector and the dynamic map as published, ragged blocks, zeros. */
#include "kernels/dequant.h"
#include "tests/test.h"

static uint64_t state = 12;
static float gauss(void) { return (float)(test_uniform(&state) + test_uniform(&state) + test_uniform(&state)); }

/* w through its codes: all errors within `half` steps of its scale (NF4: of its scale) */
static void round_trip(vm_quant_kind kind, int64_t N, int64_t K, int64_t block, bool with, double half) {
    int64_t n = vm_quant_scales(kind, N, K, block), bytes = (N * K + 1) / (kind == VM_INT8 ? 1 : 2);
    float *w = vm_calloc((size_t)(N * K) + 1, sizeof *w), *s = vm_calloc((size_t)n + 1, sizeof *s), *z = vm_calloc((size_t)n + 1, sizeof *z);
    float *top = vm_calloc((size_t)vm_nested_len(n), sizeof *top), *y = vm_calloc((size_t)(N * K) + 1, sizeof *y);
    uint8_t *c = vm_calloc((size_t)bytes + 1, 1), *c2 = vm_calloc((size_t)n + 1, 1);
    for (int64_t i = 0; i < N * K; i++) w[i] = i / 7 % 5 == 4 ? 0 : gauss();
    c[bytes] = 0xa5;
    if (kind == VM_INT8) vm_quantize_int8(w, N, K, block, c, s);
    if (kind == VM_INT4) vm_quantize_int4(w, N, K, block, c, s, with ? z : NULL);
    if (kind == VM_NF4) vm_quantize_nf4(w, N * K, block, c, s);
    EXPECT(c[bytes] == 0xa5);
    if (kind == VM_NF4 && with) vm_quantize_scales(s, n, c2, top);
    vm_quant_weight q = vm_quant_weight_of(kind, N, K, block, c, kind == VM_NF4 && with ? (void *)c2 : (void *)s,
                                           kind == VM_INT4 && with ? z : NULL, kind == VM_NF4 && with ? top : NULL);
    vm_quant_pairs pairs;
    vm_quant_pairs_make(&pairs, kind);
    for (int64_t r = 0; r < N; r++) {
        vm_dequantize(&q, &pairs, r, 0, K, y + r * K);
        for (int64_t k = 0; k < K; k++) { /* any part of a row gives the same */
            float part[3];
            int64_t m = VM_MIN((int64_t)3, K - k);
            vm_dequantize(&q, &pairs, r, k, m, part);
            for (int64_t i = 0; i < m; i++) EXPECT(part[i] == y[r * K + k + i]);
        }
    }
    int64_t G = block ? (K + block - 1) / block : 1;
    for (int64_t i = 0; i < N * K; i++) {
        int64_t b = kind == VM_NF4 ? i / block : i / K * G + (block ? i % K / block : 0);
        double slack = kind == VM_NF4 && with ? 0.04 * fabs((double)s[b]) + 0.02 : 1e-6;
        EXPECT_NEAR((double)y[i], (double)w[i], half * (double)s[b] + slack);
    }
    vm_free(w), vm_free(s), vm_free(z), vm_free(top), vm_free(y), vm_free(c), vm_free(c2);
}
TEST(round_trips) {
    for (int with = 0; with < 2; with++) {
        round_trip(VM_INT8, 5, 33, with ? 16 : 0, with, 0.5);
        round_trip(VM_INT8, 1, 1, 0, with, 0.5);
        round_trip(VM_INT4, 6, 96, 32, with, with ? 1 : 0.5); /* a zero that is rounded moves the ends */
        round_trip(VM_INT4, 3, 50, 16, with, with ? 1 : 0.5);
        round_trip(VM_NF4, 4, 128, 64, with, 0.152); /* the widest gap of the table is 0.3038 */
        round_trip(VM_NF4, 7, 50, 64, with, 0.152);
        round_trip(VM_NF4, 300, 64, 64, with, 0.152); /* more than one block of scales */
        round_trip(VM_NF4, 0, 64, 64, with, 0.152);
    }
}

/* Midpoints belong to the lower code; every code of the table is its own; a block of zeros has code 7. */
TEST(nf4_as_published) {
    float w[64] = { 0 }, s[1], t[15];
    uint8_t c[32];
    vm_quantize_nf4(w, 64, 64, c, s);
    for (int i = 0; i < 32; i++) EXPECT(c[i] == 0x77);
    EXPECT(s[0] == 0);
    for (int i = 0; i < 16; i++) w[i] = vm_nf4[i];
    vm_quantize_nf4(w, 16, 64, c, s);
    for (int i = 0; i < 16; i++) EXPECT((i % 2 ? c[i / 2] & 15 : c[i / 2] >> 4) == i);
    static const double published[15] = { -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544,
        -0.23460740596055984, -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
        0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011 };
    w[0] = 1;
    for (int i = 0; i < 15; i++) {
        t[i] = (vm_nf4[i] + vm_nf4[i + 1]) / 2;
        EXPECT_NEAR((double)t[i], published[i], 4e-8);
        w[1 + i] = t[i], w[17 + i] = nextafterf(t[i], 2), w[33 + i] = nextafterf(t[i], -2);
    }
    vm_quantize_nf4(w, 64, 64, c, s);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 15; i++) {
            int at = 1 + 16 * k + i;
            EXPECT((at % 2 ? c[at / 2] & 15 : c[at / 2] >> 4) == i + (k == 1));
        }
}

TEST(dynamic_map) {
    float m[256];
    vm_dynamic_map(m);
    for (int i = 1; i < 256; i++) EXPECT(m[i] > m[i - 1]);
    EXPECT(m[127] == 0 && m[255] == 1);
    for (int i = 0; i < 127; i++) EXPECT(m[i] == -m[254 - i]);
    EXPECT_NEAR((double)m[0], -0.99296874, 1e-8);
    EXPECT_NEAR((double)m[128], 0.55e-6, 1e-12);                             /* e = 0: the middle of [0.1,1] */
    EXPECT_NEAR((double)m[129], 0.325e-5, 1e-12);
    EXPECT_NEAR((double)m[130], 0.775e-5, 1e-12); /* e = 1 */
    EXPECT_NEAR((double)m[254], 0.1 + 0.9 * 63.5 / 64, 1e-7);
}

int main(void) {
    RUN(round_trips);
    RUN(nf4_as_published);
    RUN(dynamic_map);
    return test_end();
}
