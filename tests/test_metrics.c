/* Scores of minimal pairs: the rules of the benchmark, intervals against published values, properties of the
 * bootstrap. */
#include "tests/test.h"

#include <string.h>

#include "kernels/philox.h"
#include "pipeline/metrics.h"

static void expect_pair(float s00, float s01, float s10, float s11, const char *right) {
    pair_outcome o = pair_judge((float[]){ s00, s01, s10, s11 });
    char got[4] = { "-T"[o.right[PAIR_TEXT]], "-I"[o.right[PAIR_IMAGE]], "-G"[o.right[PAIR_GROUP]], 0 };
    EXPECT_STR(got, right);
    EXPECT(!o.invalid);
}

TEST(pairs_strictly_greater) {
    expect_pair(.3f, .2f, .1f, .4f, "TIG");
    expect_pair(.3f, .3f, .1f, .4f, "T--");
    expect_pair(.3f, .2f, .3f, .4f, "-I-");
    expect_pair(.3f, .4f, .1f, .5f, "T--");
    expect_pair(.3f, .1f, .4f, .5f, "-I-");
    expect_pair(.2f, .2f, .2f, .2f, "---");
}

TEST(pairs_without_numbers_are_invalid_and_wrong) {
    const float odd[] = { NAN, INFINITY, -INFINITY };
    for (int k = 0; k < 12; k++) {
        float s[4] = { .3f, .2f, .1f, .4f };
        s[k % 4] = odd[k / 4];
        pair_outcome o = pair_judge(s);
        EXPECT(o.invalid && !o.right[PAIR_TEXT] && !o.right[PAIR_IMAGE] && !o.right[PAIR_GROUP] && !o.tie);
    }
}

TEST(pairs_count_ties) {
    EXPECT(pair_judge((float[]){ .3f, .3f, .1f, .4f }).tie);
    EXPECT(!pair_judge((float[]){ .3f, .2f, .2f, .3f }).tie); /* s01 and s10, s00 and s11 are never compared */
}

TEST(pairs_match_and_mmvp) {
    EXPECT(pair_judge((float[]){ .3f, .4f, .1f, .5f }).match);                                          /* .8 > .5 */
    EXPECT(!pair_judge((float[]){ .3f, .4f, .4f, .3f }).match && !pair_judge((float[]){ 1, 1, 1, 1 }).match);
    /* the image score, but equal scores choose the second image */
    EXPECT(pair_judge((float[]){ .3f, .2f, .4f, .4f }).mmvp && !pair_judge((float[]){ .3f, .3f, .1f, .4f }).mmvp);
    EXPECT(pair_judge((float[]){ .3f, .1f, .4f, .5f }).mmvp && !pair_judge((float[]){ .3f, .4f, .1f, .5f }).mmvp);
}

TEST(choices_and_ties) {
    const float best[] = { .1f, .5f, .3f }, tied[] = { .5f, .5f, .3f, .5f }, worse[] = { .6f, .5f, .5f };
    for (int t = TIES_WRONG; t <= TIES_FIRST; t++) {
        choice_outcome o = choice_judge(best, 3, 1, (tie_rule)t);
        EXPECT(o.credit == 1 && o.rank == 1 && !o.tie && !o.invalid);
        EXPECT_NEAR(o.margin, (double)best[1] - (double)best[2], 0);
        o = choice_judge(best, 3, 0, (tie_rule)t);
        EXPECT(o.credit == 0 && o.rank == 3);
        o = choice_judge(worse, 3, 2, (tie_rule)t); /* level with another one behind a better one */
        EXPECT(o.credit == 0 && o.tie);
    }
    static const double credit[] = { 0, 1.0 / 3, 1 }, rank[] = { 3, 2, 1 };
    for (int t = TIES_WRONG; t <= TIES_FIRST; t++) {
        choice_outcome o = choice_judge(tied, 4, 1, (tie_rule)t);
        EXPECT_NEAR(o.credit, credit[t], 1e-15);
        EXPECT(o.rank == rank[t] && o.tie && o.margin == 0);
    }
    EXPECT(choice_judge((float[]){ 1, NAN }, 2, 0, TIES_FIRST).invalid && !choice_judge((float[]){ 1, INFINITY }, 2, 1, TIES_FIRST).credit);
    EXPECT(isnan(choice_judge((float[]){ 1, NAN }, 2, 0, TIES_WRONG).margin));
}

/* The area by its definition, over all pairs. */
TEST(auroc_is_the_share_of_ordered_pairs) {
    vm_error e = { 0 };
    uint64_t seed = 9;
    for (int round = 0; round < 20; round++) {
        float p[30], q[20];
        double sum = 0;
        for (int i = 0; i < 30; i++) p[i] = (float)(test_rand(&seed) % 7); /* with many ties */
        for (int i = 0; i < 20; i++) q[i] = (float)(test_rand(&seed) % 6);
        for (int i = 0; i < 30; i++)
            for (int j = 0; j < 20; j++) sum += p[i] > q[j] ? 1 : p[i] == q[j] ? .5 : 0;
        estimate a;
        EXPECT(!auroc(p, 30, q, 20, &a, &e));
        EXPECT_NEAR(a.value, sum / 600, 1e-12);
        EXPECT(a.low < a.value && a.value < a.high);
    }
    estimate a;
    EXPECT(!auroc((float[]){ 2, NAN }, 2, (float[]){ 1 }, 1, &a, &e) && a.value == 1 && a.high == 1);
    EXPECT(!auroc(NULL, 0, (float[]){ 1 }, 1, &a, &e) && isnan(a.value));
}

TEST(valse_numbers) {
    vm_error e = { 0 };
    valse_scores v;
    const float c[] = { .9f, .6f, .4f, .5f }, f[] = { .2f, .7f, .4f, .1f };
    EXPECT(!valse_judge(4, c, f, c, f, &v, &e));
    EXPECT_NEAR(v.acc_r.value, 2 / 4.0, 1e-15); /* the equal one does not count */
    EXPECT_NEAR(v.p_c.value, 2 / 4.0, 1e-15);   /* above one half */
    EXPECT_NEAR(v.p_f.value, 3 / 4.0, 1e-15);
    EXPECT_NEAR(v.acc.value, 5 / 8.0, 1e-15);
    EXPECT(v.min.value == v.p_c.value);
    EXPECT_NEAR(v.auroc.value, 12.5 / 16, 1e-15);
    EXPECT(!valse_judge(4, c, f, NULL, NULL, &v, &e));
    EXPECT(isnan(v.p_c.value) && isnan(v.p_f.value) && isnan(v.acc.value) && isnan(v.min.value) && v.acc_r.value == .5);
}

/* Independent scores: 1/4, 1/4, 1/6. */
TEST(chance_of_random_scores) {
    int64_t right[PAIR_METRICS] = { 0 }, n = 200000;
    vm_rng r = vm_rng_at(3, 0);
    for (int64_t i = 0; i < n; i++) {
        float s[4];
        for (int k = 0; k < 4; k++) s[k] = vm_rng_f32(&r);
        pair_outcome o = pair_judge(s);
        for (int m = 0; m < PAIR_METRICS; m++) right[m] += o.right[m];
    }
    for (int m = 0; m < PAIR_METRICS; m++) EXPECT_NEAR((double)right[m] / (double)n, pair_chance[m], 0.005);
}

/* Values of R's prop.test(correct = FALSE) and of Newcombe, Stat. Med. 17 (1998), table I. */
TEST(wilson_known_values) {
    static const struct {
        int64_t k, n;
        double low, high;
    } t[] = { { 81, 263, 0.2553, 0.3662 }, { 15, 148, 0.0624, 0.1605 }, { 0, 20, 0, 0.1611 }, { 1, 29, 0.0061, 0.1718 },
              { 29, 29, 0.8830, 1 }, { 5, 10, 0.2366, 0.7634 } };
    for (int i = 0; i < VM_LEN(t); i++) {
        estimate x = share_estimate(t[i].k, t[i].n);
        EXPECT_NEAR(x.low, t[i].low, 6e-5);
        EXPECT_NEAR(x.high, t[i].high, 6e-5);
        EXPECT(x.low >= 0 && x.high <= 1 && x.low <= x.value && x.value <= x.high);
    }
    EXPECT(isnan(share_estimate(0, 0).value));
}

/* The paper's digits are shares of these counts. */
TEST(published_digits) {
    char got[16];
    static const struct {
        int64_t k, n;
        const char *want;
    } t[] = { { 461, 579, "79.62" }, { 3, 622, "0.48" }, { 62, 589, "10.53" } };
    for (int i = 0; i < VM_LEN(t); i++) {
        snprintf(got, sizeof got, "%.2f", 100 * share_estimate(t[i].k, t[i].n).value);
        EXPECT_STR(got, t[i].want);
    }
}

enum { N = 400 };
static float left[N], right_[N], flat[N];

static void fill(uint64_t seed, double share_a, double share_b) {
    for (int i = 0; i < N; i++) {
        left[i] = test_uniform(&seed) * .5 + .5 < share_a;
        right_[i] = test_uniform(&seed) * .5 + .5 < share_b;
    }
}

TEST(bootstrap_same_seed_same_result) {
    vm_error e = { 0 };
    estimate a[2], ma, mb, mc;
    const int64_t n[] = { N, N };
    const float *const x[] = { left, right_ }, *const y[] = { right_, flat };
    fill(1, .6, .5);
    EXPECT(!paired_bootstrap(2, n, x, y, 500, 7, a, &ma, &e));
    EXPECT(!paired_bootstrap(2, n, x, y, 500, 7, NULL, &mb, &e));
    EXPECT(!paired_bootstrap(2, n, x, y, 500, 8, NULL, &mc, &e));
    EXPECT(ma.low == mb.low && ma.high == mb.high && ma.value == mb.value);
    EXPECT(mc.value == ma.value && (mc.low != ma.low || mc.high != ma.high));
    EXPECT_NEAR(ma.value, (a[0].value + a[1].value) / 2, 1e-12);
}

TEST(bootstrap_turned_round_changes_sign) {
    vm_error e = { 0 };
    estimate a, b;
    const int64_t n[] = { N };
    const float *const x[] = { left }, *const y[] = { right_ };
    fill(2, .7, .5);
    EXPECT(!paired_bootstrap(1, n, x, y, 1000, 1, NULL, &a, &e));
    EXPECT(!paired_bootstrap(1, n, y, x, 1000, 1, NULL, &b, &e));
    EXPECT_NEAR(a.value, -b.value, 1e-15);
    EXPECT_NEAR(a.low, -b.high, 1e-12);
    EXPECT(a.low <= a.value && a.value <= a.high && a.low > 0);
}

/* Against the normal interval of a mean: d +- 1.96 s / sqrt(n). */
TEST(bootstrap_width) {
    vm_error e = { 0 };
    estimate a;
    const int64_t n[] = { N };
    const float *const x[] = { left }, *const y[] = { right_ };
    double s = 0, ss = 0;
    fill(3, .6, .5);
    for (int i = 0; i < N; i++) s += left[i] - right_[i], ss += (left[i] - right_[i]) * (left[i] - right_[i]);
    double half = 1.96 * sqrt((ss / N - s / N * (s / N)) / N);
    EXPECT(!paired_bootstrap(1, n, x, y, 4000, 1, NULL, &a, &e));
    EXPECT_NEAR(a.high - a.low, 2 * half, 0.15 * 2 * half);
}

/* Equal models differ by nothing at all; two independent bootstraps would not say so. */
TEST(bootstrap_is_paired) {
    vm_error e = { 0 };
    estimate a;
    const int64_t n[] = { N };
    const float *const x[] = { left };
    fill(4, .5, .5);
    EXPECT(!paired_bootstrap(1, n, x, x, 200, 1, NULL, &a, &e));
    EXPECT(a.value == 0 && a.low == 0 && a.high == 0);
}

TEST(bootstrap_empty_category_is_left_out) {
    vm_error e = { 0 };
    estimate each[2], mean;
    const int64_t n[] = { 0, N }, none[] = { 0 };
    const float *const x[] = { NULL, left };
    fill(5, .5, .5);
    EXPECT(!paired_bootstrap(2, n, x, NULL, 200, 1, each, &mean, &e));
    EXPECT(isnan(each[0].value) && mean.value == each[1].value);
    EXPECT(!paired_bootstrap(1, none, x, NULL, 200, 1, NULL, &mean, &e));
    EXPECT(isnan(mean.value) && isnan(mean.low));
}

TEST(bootstrap_out_of_memory) {
    vm_error e = { 0 };
    estimate mean;
    const int64_t n[] = { N };
    const float *const x[] = { left };
    vm_mem_fail_after(1);
    EXPECT(paired_bootstrap(1, n, x, NULL, 200, 1, NULL, &mean, &e) == VM_EDEVICE);
    vm_mem_fail_after(-1);
    EXPECT_HAS(e.msg, "out of memory");
}

/* Against sums of binomial coefficients, and two textbook values. */
TEST(mcnemar_exact) {
    for (int a = 0; a < 12; a++)
        for (int b = 0; b < 12; b++) {
            double p = 0, c = 1, all = pow(2, a + b);
            for (int i = 0; i <= VM_MIN(a, b); i++) p += c / all, c = c * (a + b - i) / (i + 1);
            EXPECT_NEAR(mcnemar(a, b), VM_MIN(1, 2 * p), 1e-12);
            EXPECT(mcnemar(a, b) == mcnemar(b, a));
        }
    EXPECT_NEAR(mcnemar(1, 9), 22.0 / 1024, 1e-12);
    EXPECT(mcnemar(0, 0) == 1 && mcnemar(5, 5) == 1);
    EXPECT(mcnemar(100000, 101000) > 0.02 && mcnemar(100000, 101000) < 0.03); /* z = 2.23 */
    EXPECT(mcnemar(0, 5000) == 0);
}

int main(void) {
    RUN(mcnemar_exact);
    RUN(pairs_strictly_greater);
    RUN(pairs_without_numbers_are_invalid_and_wrong);
    RUN(pairs_count_ties);
    RUN(pairs_match_and_mmvp);
    RUN(choices_and_ties);
    RUN(auroc_is_the_share_of_ordered_pairs);
    RUN(valse_numbers);
    RUN(chance_of_random_scores);
    RUN(wilson_known_values);
    RUN(published_digits);
    RUN(bootstrap_same_seed_same_result);
    RUN(bootstrap_turned_round_changes_sign);
    RUN(bootstrap_width);
    RUN(bootstrap_is_paired);
    RUN(bootstrap_empty_category_is_left_out);
    RUN(bootstrap_out_of_memory);
    return test_end();
}
