/* metrics.c - see metrics.h. */
#include "pipeline/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/philox.h"

const char *const pair_metric_name[PAIR_METRICS] = { "text", "image", "group" };
const double pair_chance[PAIR_METRICS] = { 0.25, 0.25, 1.0 / 6 };

pair_outcome pair_judge(const float s[4]) {
    float s00 = s[0], s01 = s[1], s10 = s[2], s11 = s[3];
    pair_outcome o = { .invalid = isnan(s00) || isnan(s01) || isnan(s10) || isnan(s11) };
    if (o.invalid) return o;
    o.tie = s00 == s10 || s11 == s01 || s00 == s01 || s11 == s10;
    o.right[PAIR_TEXT] = s00 > s10 && s11 > s01;
    o.right[PAIR_IMAGE] = s00 > s01 && s11 > s10;
    o.right[PAIR_GROUP] = o.right[PAIR_TEXT] && o.right[PAIR_IMAGE];
    return o;
}

static const double z95 = 1.959963984540054; /* quantile .975 of the normal distribution */

estimate share_estimate(int64_t correct, int64_t n) {
    if (n <= 0) return (estimate){ NAN, NAN, NAN };
    double N = (double)n, p = (double)correct / N, zz = z95 * z95 / N;
    double centre = (p + zz / 2) / (1 + zz), half = sqrt(p * (1 - p) * zz + zz * zz / 4) / (1 + zz);
    /* at the ends the formula gives exactly 0 and 1; rounding does not */
    return (estimate){ p, correct == 0 ? 0 : fmax(0, centre - half), correct == n ? 1 : fmin(1, centre + half) };
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Quantile of sorted numbers, linear between neighbours. */
static double quantile(const double *x, int64_t n, double q) {
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

static void close_interval(estimate *out, double value, double *draws, int64_t n) {
    qsort(draws, (size_t)n, sizeof *draws, ascending);
    *out = (estimate){ value, quantile(draws, n, 0.025), quantile(draws, n, 0.975) };
}

static int difference(const uint8_t *a, const uint8_t *b, int64_t i) { return (a[i] != 0) - (b && b[i] != 0); }

vm_status paired_bootstrap(int categories, const int64_t *n, const uint8_t *const *a, const uint8_t *const *b,
                           int64_t resamples, uint64_t seed, estimate *each, estimate *mean, vm_error *e) {
    double *draws = vm_alloc((size_t)resamples * sizeof *draws), *sum = vm_calloc((size_t)resamples, sizeof *sum),
           value = 0;
    int filled = 0;
    *mean = (estimate){ NAN, NAN, NAN };
    if (!draws || !sum) {
        vm_free(draws), vm_free(sum);
        return vm_nomem(e, (size_t)resamples * sizeof *draws, "a bootstrap");
    }
    for (int k = 0; k < categories; k++) {
        if (each) each[k] = (estimate){ NAN, NAN, NAN };
        if (n[k] <= 0) continue;
        const uint8_t *bk = b ? b[k] : NULL;
        vm_rng rng = vm_rng_at(seed, (uint64_t)k);
        int64_t total = 0;
        for (int64_t i = 0; i < n[k]; i++) total += difference(a[k], bk, i);
        for (int64_t r = 0; r < resamples; r++) {
            int64_t t = 0;
            for (int64_t i = 0; i < n[k]; i++) t += difference(a[k], bk, vm_rng_below(&rng, (uint32_t)n[k]));
            draws[r] = (double)t / (double)n[k];
            sum[r] += draws[r];
        }
        value += (double)total / (double)n[k], filled++;
        if (each) close_interval(&each[k], (double)total / (double)n[k], draws, resamples);
    }
    for (int64_t r = 0; r < resamples; r++) sum[r] /= VM_MAX(filled, 1);
    if (filled) close_interval(mean, value / filled, sum, resamples);
    vm_free(draws);
    vm_free(sum);
    return VM_OK;
}
