/* llm_sample.c - see llm_sample.h. */
#include "models/llm_sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/philox.h"

typedef struct {
    float logit;
    int32_t id;
} candidate;

struct llm_sampler {
    int64_t V;
    candidate *c;
    uint16_t *count; /* of each token in the text so far; zeros between calls */
};

llm_sampler *llm_sampler_new(int64_t V) {
    llm_sampler *s = vm_calloc(1, sizeof *s);
    if (!s) return NULL;
    *s = (llm_sampler){ .V = V, .c = vm_alloc((size_t)V * sizeof *s->c), .count = vm_calloc((size_t)V, sizeof *s->count) };
    if (s->c && s->count) return s;
    llm_sampler_free(s);
    return NULL;
}

void llm_sampler_free(llm_sampler *s) {
    if (!s) return;
    vm_free(s->c), vm_free(s->count);
    vm_free(s);
}

static void punish(llm_sampler *s, const llm_sampling *how, float *logits, const int32_t *past, int64_t n) {
    float r = how->repetition > 0 ? how->repetition : 1;
    if (r == 1 && how->presence == 0 && how->frequency == 0) return;
    for (int64_t i = 0; i < n; i++) s->count[past[i]] = (uint16_t)VM_MIN(s->count[past[i]] + 1, UINT16_MAX);
    for (int64_t i = 0; i < n; i++) {
        int32_t id = past[i];
        if (!s->count[id]) continue; /* done */
        float x = logits[id];
        logits[id] = (x > 0 ? x / r : x * r) - how->presence - how->frequency * (float)s->count[id];
        s->count[id] = 0;
    }
}

/* The larger logit first, of equal ones the lower id. */
static bool before(candidate a, candidate b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }
static int by_logit(const void *a, const void *b) { return before(*(const candidate *)a, *(const candidate *)b) ? -1 : 1; }

/* Moves c[i] down a heap whose top is the worst of n. */
static void sift(candidate *c, int64_t n, int64_t i) {
    candidate x = c[i];
    for (int64_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && before(c[k], c[k + 1])) k++;
        if (!before(x, c[k])) break;
        c[i] = c[k];
    }
    c[i] = x;
}

/* The k best of n candidates, in any order, to the front. */
static int64_t keep_best(candidate *c, int64_t n, int64_t k) {
    if (k <= 0 || k >= n) return n;
    for (int64_t i = k / 2; i-- > 0;) sift(c, k, i);
    for (int64_t i = k; i < n; i++)
        if (before(c[i], c[0])) c[0] = c[i], sift(c, k, 0);
    return k;
}

/* Tokens of less than (1 - p) / V are not in the set: all of them together have less than 1 - p. Only the others are sorted. */
static int64_t keep_nucleus(candidate *c, int64_t n, float top, float scale, float p) {
    double sum = 0, reached = 0;
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) sum += exp((double)((c[i].logit - top) * scale));
    double least = (1 - (double)p) / (double)n * sum;
    for (int64_t i = 0; i < n; i++)
        if (exp((double)((c[i].logit - top) * scale)) >= least) c[m++] = c[i];
    qsort(c, (size_t)m, sizeof *c, by_logit);
    for (int64_t i = 0; i < m; i++)
        if ((reached += exp((double)((c[i].logit - top) * scale))) >= (double)p * sum) return i + 1;
    return m;
}

int32_t llm_sample(llm_sampler *s, const llm_sampling *how, float *logits, const int32_t *past, int64_t n, uint64_t index, const uint64_t *allowed) {
    candidate *c = s->c, best = { -INFINITY, -1 };
    int64_t m = 0;
    punish(s, how, logits, past, n);
    for (int64_t i = 0; i < s->V; i++) {
        if (allowed && !allowed[i / 64]) {
            i |= 63;
            continue;
        }
        if (allowed && !(allowed[i / 64] >> i % 64 & 1)) continue;
        if (isnan(logits[i])) return -1;
        if (logits[i] == -INFINITY) continue;
        c[m] = (candidate){ logits[i], (int32_t)i };
        if (best.id < 0 || logits[i] > best.logit) best = c[m];
        m++;
    }
    if (how->temperature <= 0 || m < 2) return best.id;
    if (best.logit == INFINITY) return best.id;
    float scale = 1 / how->temperature;
    m = keep_best(c, m, how->top_k);
    if (how->top_p > 0 && how->top_p < 1) m = keep_nucleus(c, m, best.logit, scale, how->top_p);
    double sum = 0, at = 0, least = how->min_p > 0 ? log((double)how->min_p) : -INFINITY;
    for (int64_t i = 0; i < m; i++) {
        double x = (double)((c[i].logit - best.logit) * scale);
        sum += x >= least ? exp(x) : 0;
    }
    vm_rng r = vm_rng_at(how->seed, how->stream);
    r.index = index;
    double u = vm_rng_f64(&r) * sum;
    int32_t last = best.id;
    for (int64_t i = 0; i < m; i++) {
        double x = (double)((c[i].logit - best.logit) * scale);
        if (x < least) continue;
        last = c[i].id;
        if ((at += exp(x)) > u) break;
    }
    return last;
}
