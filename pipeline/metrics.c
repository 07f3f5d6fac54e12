/* metrics.c - see metrics.h. */
#include "pipeline/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/philox.h"

const char *const pair_metric_name[PAIR_METRICS] = { "text", "image", "group" };
const double pair_chance[PAIR_METRICS] = { 0.25, 0.25, 1.0 / 6 };

const char *const tie_rule_name[3] = { "wrong", "half", "first" };

pair_outcome pair_judge(const float s[4]) {
    float s00 = s[0], s01 = s[1], s10 = s[2], s11 = s[3];
    pair_outcome o = { .invalid = !isfinite(s00) || !isfinite(s01) || !isfinite(s10) || !isfinite(s11) };
    if (o.invalid) return o;
    o.tie = s00 == s10 || s11 == s01 || s00 == s01 || s11 == s10;
    o.right[PAIR_TEXT] = s00 > s10 && s11 > s01;
    o.right[PAIR_IMAGE] = s00 > s01 && s11 > s10;
    o.right[PAIR_GROUP] = o.right[PAIR_TEXT] && o.right[PAIR_IMAGE];
    o.match = (double)s00 + (double)s11 > (double)s01 + (double)s10;
    o.mmvp = s00 > s01 && s11 >= s10;
    return o;
}

choice_outcome choice_judge(const float *s, int k, int gold, tie_rule ties) {
    choice_outcome o = { .margin = NAN };
    int higher = 0, equal = 0;
    double best = -INFINITY;
    for (int i = 0; i < k; i++) {
        if (!isfinite(s[i])) o.invalid = true;
        if (i == gold) continue;
        higher += s[i] > s[gold], equal += s[i] == s[gold];
        best = fmax(best, (double)s[i]);
    }
    if (o.invalid) return o;
    o.tie = equal > 0, o.margin = (double)s[gold] - best;
    o.rank = 1 + higher + (ties == TIES_WRONG ? equal : ties == TIES_HALF ? equal / 2.0 : 0);
    if (!higher) o.credit = !equal || ties == TIES_FIRST ? 1 : ties == TIES_HALF ? 1.0 / (1 + equal) : 0;
    return o;
}

static const double z95 = 1.959963984540054; /* quantile .975 of the normal distribution */

estimate share_estimate(double correct, int64_t n) {
    if (n <= 0) return (estimate){ NAN, NAN, NAN };
    double N = (double)n, p = correct / N, zz = z95 * z95 / N;
    double centre = (p + zz / 2) / (1 + zz), half = sqrt(p * (1 - p) * zz + zz * zz / 4) / (1 + zz);
    /* at the ends the formula gives exactly 0 and 1; rounding does not */
    return (estimate){ p, correct <= 0 ? 0 : fmax(0, centre - half), correct >= N ? 1 : fmin(1, centre + half) };
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

estimate percentile_interval(double value, double *draws, int64_t n) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(draws[i])) draws[kept++] = draws[i];
    if (!kept) return (estimate){ value, NAN, NAN };
    qsort(draws, (size_t)kept, sizeof *draws, ascending);
    return (estimate){ value, quantile(draws, kept, 0.025), quantile(draws, kept, 0.975) };
}

static double difference(const float *a, const float *b, int64_t i) {
    return (double)a[i] - (b ? (double)b[i] : 0);
}

vm_status paired_bootstrap(int categories, const int64_t *n, const float *const *a, const float *const *b,
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
        const float *bk = b ? b[k] : NULL;
        vm_rng rng = vm_rng_at(seed, (uint64_t)k);
        double total = 0;
        for (int64_t i = 0; i < n[k]; i++) total += difference(a[k], bk, i);
        for (int64_t r = 0; r < resamples; r++) {
            double t = 0;
            for (int64_t i = 0; i < n[k]; i++) t += difference(a[k], bk, vm_rng_below(&rng, (uint32_t)n[k]));
            draws[r] = t / (double)n[k];
            sum[r] += draws[r];
        }
        value += total / (double)n[k], filled++;
        if (each) each[k] = percentile_interval(total / (double)n[k], draws, resamples);
    }
    for (int64_t r = 0; r < resamples; r++) sum[r] /= VM_MAX(filled, 1);
    if (filled) *mean = percentile_interval(value / filled, sum, resamples);
    vm_free(draws);
    vm_free(sum);
    return VM_OK;
}

double mcnemar(int64_t only_a, int64_t only_b) {
    int64_t n = only_a + only_b, few = VM_MIN(only_a, only_b);
    double p = 0, log_all = lgamma((double)n + 1) - (double)n * log(2);
    for (int64_t i = 0; i <= few; i++) p += exp(log_all - lgamma((double)i + 1) - lgamma((double)(n - i) + 1));
    return fmin(1, 2 * p); /* an even split is counted twice */
}

/* --- VALSE -------------------------------------------------------------------------------------------------------- */
typedef struct {
    float s;
    bool positive;
} ranked;

static int by_score(const void *a, const void *b) {
    float x = ((const ranked *)a)->s, y = ((const ranked *)b)->s;
    return (x > y) - (x < y);
}

vm_status auroc(const float *positive, int64_t n_positive, const float *negative, int64_t n_negative, estimate *out,
                vm_error *e) {
    ranked *x = vm_alloc((size_t)(n_positive + n_negative) * sizeof *x + 1);
    int64_t n = 0, P = 0;
    double ranks = 0; /* of the positives, from 1 */
    *out = (estimate){ NAN, NAN, NAN };
    if (!x) return vm_nomem(e, (size_t)(n_positive + n_negative) * sizeof *x, "ranks");
    for (int64_t i = 0; i < n_positive + n_negative; i++) {
        float s = i < n_positive ? positive[i] : negative[i - n_positive];
        if (isfinite(s)) x[n++] = (ranked){ s, i < n_positive }, P += i < n_positive;
    }
    qsort(x, (size_t)n, sizeof *x, by_score);
    for (int64_t from = 0, to; from < n; from = to) {
        for (to = from; to < n && x[to].s == x[from].s;) to++;
        for (int64_t i = from; i < to; i++)
            if (x[i].positive) ranks += (double)(from + 1 + to) / 2; /* the mean of ranks from+1 .. to */
    }
    vm_free(x);
    double p = (double)P, q = (double)(n - P);
    if (p < 1 || q < 1) return VM_OK;
    double A = (ranks - p * (p + 1) / 2) / (p * q), q1 = A / (2 - A), q2 = 2 * A * A / (1 + A),
           var = (A * (1 - A) + (p - 1) * (q1 - A * A) + (q - 1) * (q2 - A * A)) / (p * q),
           half = z95 * sqrt(fmax(0, var));
    *out = (estimate){ A, fmax(0, A - half), fmin(1, A + half) };
    return VM_OK;
}

vm_status valse_judge(int64_t n, const float *caption, const float *foil, const float *p_caption, const float *p_foil,
                      valse_scores *out, vm_error *e) {
    const estimate none = { NAN, NAN, NAN };
    int64_t higher = 0, c = 0, f = 0;
    *out = (valse_scores){ none, none, none, none, none, none };
    for (int64_t i = 0; i < n; i++) {
        higher += caption[i] > foil[i];
        if (p_caption && p_foil) c += p_caption[i] > 0.5f, f += p_foil[i] < 0.5f;
    }
    out->acc_r = share_estimate((double)higher, n);
    if (p_caption && p_foil) {
        out->p_c = share_estimate((double)c, n), out->p_f = share_estimate((double)f, n);
        out->acc = share_estimate((double)(c + f), 2 * n);
        out->min = c < f ? out->p_c : out->p_f;
    }
    return auroc(caption, n, foil, n, &out->auroc, e);
}
