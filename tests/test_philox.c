/* test_philox.c - kernels/philox.h: the published vectors of Philox 4x32-10, and what is made of the bits. */
#include "kernels/philox.h"
#include "tests/test.h"

TEST(published_vectors) { /* Random123, kat_vectors */
    static const struct {
        uint64_t index, stream, key;
        uint32_t out[4];
    } kat[] = {
        { 0, 0, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { UINT64_MAX, UINT64_MAX, UINT64_MAX, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { 0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int k = 0; k < 3; k++) {
        uint32_t out[4];
        vm_philox(kat[k].key, kat[k].stream, kat[k].index, out);
        EXPECT(!memcmp(out, kat[k].out, sizeof out));
    }
}

TEST(reads_block_after_block) {
    vm_rng r = vm_rng_at(7, 9);
    for (uint64_t index = 0; index < 3; index++) {
        uint32_t want[4];
        vm_philox(7, 9, index, want);
        for (int k = 0; k < 4; k++) EXPECT(vm_rng_u32(&r) == want[k]);
    }
}

TEST(units_stay_below_one) {
    EXPECT(vm_unit_f32(0) == 0 && vm_unit_f64(0, 0) == 0);
    EXPECT(vm_unit_f32(UINT32_MAX) == 1 - 0x1p-24f);
    EXPECT(vm_unit_f64(UINT32_MAX, UINT32_MAX) == 1 - 0x1p-53);
}

TEST(below_is_even) {
    vm_rng r = vm_rng_at(1, 2);
    int count[7] = { 0 };
    for (int k = 0; k < 70000; k++) {
        uint32_t v = vm_rng_below(&r, 7);
        EXPECT(v < 7);
        if (v < 7) count[v]++;
    }
    for (int k = 0; k < 7; k++) EXPECT_NEAR(count[k], 10000, 400);
    EXPECT(vm_rng_below(&r, 1) == 0);
}

TEST(normals_have_their_moments) {
    vm_rng r = vm_rng_at(3, 4);
    double sum = 0, square = 0, fourth = 0, product = 0, n = 100000;
    for (int k = 0; k < (int)n; k++) {
        uint32_t x[4];
        double z[2];
        for (int j = 0; j < 4; j++) x[j] = vm_rng_u32(&r);
        vm_normal2(x, z);
        sum += z[0], square += z[0] * z[0], fourth += z[0] * z[0] * z[0] * z[0], product += z[0] * z[1];
    }
    EXPECT_NEAR(sum / n, 0, .015);
    EXPECT_NEAR(square / n, 1, .02);
    EXPECT_NEAR(fourth / n, 3, .15);
    EXPECT_NEAR(product / n, 0, .015);
    uint32_t edge[4] = { UINT32_MAX, UINT32_MAX, 0, 0 };
    double z[2];
    vm_normal2(edge, z);
    EXPECT(isfinite(z[0]) && isfinite(z[1]));
}

TEST(permutations) {
    enum { MOST = 5000 };
    static int seen[MOST], at[720];
    const uint64_t lengths[] = { 1, 2, 3, 63, 64, 65, 1000, 4096, 4097 };
    for (int k = 0; k < (int)(sizeof lengths / sizeof *lengths); k++) {
        uint64_t n = lengths[k];
        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = vm_shuffled(7, 3, i, n);
            EXPECT(j < n);
            if (j < n) seen[j]++;
        }
        for (uint64_t i = 0; i < n; i++) EXPECT(seen[i] == 1);
    }
    EXPECT(vm_shuffled(7, 3, 5, 1000) == vm_shuffled(7, 3, 5, 1000));
    int same_key = 0, same_stream = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        same_key += vm_shuffled(7, 3, i, 1000) == vm_shuffled(8, 3, i, 1000);
        same_stream += vm_shuffled(7, 3, i, 1000) == vm_shuffled(7, 4, i, 1000);
    }
    EXPECT(same_key < 10 && same_stream < 10); /* 1 is expected */
    for (uint64_t stream = 0; stream < 7200; stream++) { /* each of the orders of six things as often */
        int order = 0;
        for (int i = 0; i < 5; i++) {
            int rank = (int)vm_shuffled(1, stream, (uint64_t)i, 6);
            for (int j = 0; j < i; j++) rank -= vm_shuffled(1, stream, (uint64_t)j, 6) < vm_shuffled(1, stream, (uint64_t)i, 6);
            order = order * (6 - i) + rank;
        }
        at[order]++;
    }
    double chi = 0;
    for (int k = 0; k < 720; k++) chi += (at[k] - 10.0) * (at[k] - 10.0) / 10.0;
    EXPECT_NEAR(chi, 719, 5 * sqrt(2 * 719.0));
}

int main(void) {
    RUN(published_vectors);
    RUN(reads_block_after_block);
    RUN(units_stay_below_one);
    RUN(below_is_even);
    RUN(normals_have_their_moments);
    RUN(permutations);
    return test_end();
}
