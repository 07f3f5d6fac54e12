/* test_math.c - accuracy of the vectorisable functions of cpu.h against the C library in double, over a dense sweep of
 * all floats; conversions of bf16 and f16 over every value. */
#include "kernels/cpu.h"
#include "tests/test.h"

static float from_bits(uint32_t u) {
    union { uint32_t u; float f; } x = { u };
    return x.f;
}
/* distance of neighbouring floats at v */
static double ulp(double v) {
    float f = fabsf((float)v);
    if (f < 1.17549435e-38f) f = 1.17549435e-38f;
    return (double)nextafterf(f, INFINITY) - (double)f;
}
/* every 1009th float (a prime: all mantissas and exponents come up) */
#define SWEEP(x)                                               \
    for (uint64_t u_ = 0; u_ < 0x100000000u; u_ += 1009)       \
        for (float x = from_bits((uint32_t)u_), *p_ = &x; p_; p_ = NULL)

TEST(exp_2_ulp) {
    double worst = 0;
    SWEEP(x) if (x > -87.3f && x < 88.72f) worst = fmax(worst, fabs((double)vm_exp(x) - exp((double)x))
        / ulp(exp((double)x)));
    EXPECT_NEAR(worst, 0, 2);
    EXPECT(vm_exp(0) == 1 && vm_exp(-100) == 0 && vm_exp(-INFINITY) == 0 && vm_exp(100) == INFINITY);
    EXPECT(vm_exp(INFINITY) == INFINITY && isnan(vm_exp(NAN)));
}
TEST(tanh_absolute) {
    double worst = 0, relative = 0;
    SWEEP(x) {
        if (isnan(x)) continue;
        double want = tanh((double)x), err = fabs((double)vm_tanh(x) - want);
        worst = fmax(worst, err);
        if (want != 0) relative = fmax(relative, err / ulp(want));
    }
    EXPECT_NEAR(worst, 0, 3e-7);
    EXPECT_NEAR(relative, 0, 8);
    EXPECT(vm_tanh(INFINITY) == 1 && vm_tanh(-INFINITY) == -1 && isnan(vm_tanh(NAN)));
}
TEST(log_2_ulp) {
    double worst = 0;
    SWEEP(x) if (x > 0 && x < INFINITY) {
        double want = log((double)x);
        worst = fmax(worst, fabs((double)vm_log(x) - want) / ulp(want));
    }
    EXPECT_NEAR(worst, 0, 2);
    EXPECT(vm_log(1) == 0 && vm_log(0) == -INFINITY && vm_log(INFINITY) == INFINITY);
    EXPECT(isnan(vm_log(-1)) && isnan(vm_log(NAN)) && isnan(vm_log(-INFINITY)));
}

TEST(normal_absolute) {
    double worst = 0, worst_gelu = 0, worst_phi = 0;
    SWEEP(x) {
        if (!(fabsf(x) < 100)) continue;
        float phi;
        double cdf = 0.5 * erfc(-(double)x * M_SQRT1_2), got = (double)vm_normal(x, &phi);
        worst = fmax(worst, fabs(got - cdf));
        worst_gelu = fmax(worst_gelu, fabs((got - cdf) * (double)x) / fmax(1, fabs((double)x)));
        worst_phi = fmax(worst_phi, fabs((double)phi - exp(-0.5 * (double)x * (double)x) / sqrt(2 * M_PI)));
    }
    EXPECT_NEAR(worst, 0, 3e-7);
    EXPECT_NEAR(worst_gelu, 0, 2e-7);
    EXPECT_NEAR(worst_phi, 0, 1e-7);
}

/* Nearest of a 16-bit format by search: the value, ties to the even code. */
static float widen(bool f16, uint16_t h) { return f16 ? vm_f16_to_f32(h) : vm_bf16_to_f32(h); }
static uint16_t narrow(bool f16, float f) { return f16 ? vm_f32_to_f16(f) : vm_f32_to_bf16(f); }

TEST(half_formats) {
    for (int f16 = 0; f16 < 2; f16++) {
        uint16_t inf = f16 ? 0x7c00 : 0x7f80;
        for (uint32_t h = 0; h < inf; h++) {
            float f = widen(f16, (uint16_t)h), next = widen(f16, (uint16_t)(h + 1));
            EXPECT(narrow(f16, f) == h && narrow(f16, -f) == (h | 0x8000));
            if (h + 1 == inf) break;
            float mid = (float)(((double)f + (double)next) / 2); /* exact: a half format plus one bit */
            EXPECT(narrow(f16, mid) == ((h & 1) ? h + 1 : h));
            if (f != 0) EXPECT(narrow(f16, nextafterf(mid, 0)) == h);
            EXPECT(narrow(f16, nextafterf(mid, INFINITY)) == h + 1);
        }
        EXPECT(narrow(f16, INFINITY) == inf && narrow(f16, -INFINITY) == (inf | 0x8000));
        EXPECT(isnan(widen(f16, narrow(f16, NAN))) && isinf(widen(f16, inf)));
    }
    EXPECT(vm_f16_to_f32(0x0001) == 0x1p-24f && vm_f16_to_f32(0x7bff) == 65504 && vm_f16_to_f32(0x3555)
        == 0.333251953125f);
    EXPECT(vm_f32_to_f16(65519.996f) == 0x7bff && vm_f32_to_f16(65520) == 0x7c00);
    EXPECT(vm_bf16_to_f32(0x3eab) == 0.333984375f && vm_f32_to_bf16(3.4e38f) == 0x7f80);
}

int main(void) {
    RUN(exp_2_ulp);
    RUN(tanh_absolute);
    RUN(log_2_ulp);
    RUN(normal_absolute);
    RUN(half_formats);
    return test_end();
}
