/* test.h - the whole test framework: named cases, checks that print at most five mismatches, a verdict.
 *
 *   TEST(rows_of_length_one) { EXPECT(f(1) == 2); }
 *   int main(void) { RUN(rows_of_length_one); return test_end(); }
 *
 * Each case prints "ok FILE.case" or "FAIL FILE.case"; tests/run.sh counts these lines. */
#ifndef VM_TEST_H
#define VM_TEST_H
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_bad, test_bad_total, test_checks;
#define TEST(name) static void test_##name(void)
#define RUN(name)                                                                                                  \
    do {                                                                                                           \
        const char *f_ = strrchr(__FILE__, '/') ? strrchr(__FILE__, '/') + 1 : __FILE__;                           \
        test_bad = 0;                                                                                              \
        test_##name();                                                                                             \
        test_bad_total += test_bad;                                                                                \
        printf("%s %.*s.%s\n", test_bad ? "FAIL" : "ok", (int)strcspn(f_, "."), f_, #name);                        \
        fflush(stdout);                                                                                            \
    } while (0)
#define MISMATCH(...)                                                                                              \
    do {                                                                                                           \
        if (test_bad++ < 5) fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__);           \
    } while (0)
#define EXPECT(cond)                                                                                               \
    do {                                                                                                           \
        test_checks++;                                                                                             \
        if (!(cond)) MISMATCH("expected %s\n", #cond);                                                             \
    } while (0)
#define EXPECT_NEAR(got, want, tol)                                                                                \
    do {                                                                                                           \
        double g_ = (got), w_ = (want), t_ = (tol);                                                                \
        test_checks++;                                                                                             \
        if (!(fabs(g_ - w_) <= t_)) MISMATCH("%s = %.9g, want %.9g within %.3g\n", #got, g_, w_, t_);                \
    } while (0)
#define EXPECT_STR(got, want)                                                                                      \
    do {                                                                                                           \
        const char *g_ = (got), *w_ = (want);                                                                      \
        test_checks++;                                                                                             \
        if (!g_ || strcmp(g_, w_)) MISMATCH("%s = \"%s\", want \"%s\"\n", #got, g_ ? g_ : "(null)", w_);             \
    } while (0)
/* got contains the words of want */
#define EXPECT_HAS(got, want)                                                                                      \
    do {                                                                                                           \
        const char *g_ = (got), *w_ = (want);                                                                      \
        test_checks++;                                                                                             \
        if (!g_ || !strstr(g_, w_)) MISMATCH("\"%s\" lacks \"%s\"\n", g_ ? g_ : "(null)", w_);                       \
    } while (0)

/* Small reproducible numbers for inputs: splitmix64. */
static inline uint64_t test_rand(uint64_t *s) {
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline double test_uniform(uint64_t *s) { return (double)(test_rand(s) >> 11) * 0x1p-53 * 2 - 1; } /* [-1,1) */

static inline int test_end(void) {
    fprintf(stderr, "%d checks, %d failed\n", test_checks, test_bad_total);
    return test_bad_total != 0;
}
#endif
