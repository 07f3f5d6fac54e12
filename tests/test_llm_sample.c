/* test_llm_sample.c - draws of tokens: which can come, how often, and that a draw depends on seed, stream and index alone. */
#include "models/llm_sample.h"

#include <math.h>
#include <string.h>

#include "tests/test.h"

enum { V = 6, DRAWS = 40000 };
static const float logits[V] = { 1.0f, 3.0f, -2.0f, 3.0f, 0.5f, 2.0f };
static llm_sampler *sampler;

static int32_t draw(llm_sampling how, const int32_t *past, int64_t n, uint64_t index, const uint64_t *allowed) {
    float x[V];
    memcpy(x, logits, sizeof x);
    return llm_sample(sampler, &how, x, past, n, index, allowed);
}

/* Shares of many draws against the softmax over the tokens of a set. */
static void check(const char *what, llm_sampling how, const int *in, float scale) {
    double want[V], sum = 0;
    int64_t got[V] = { 0 };
    for (int i = 0; i < V; i++) sum += want[i] = in[i] ? exp((double)(logits[i] * scale)) : 0;
    for (int k = 0; k < DRAWS; k++) got[draw(how, NULL, 0, (uint64_t)k, NULL)]++;
    for (int i = 0; i < V; i++) {
        double share = (double)got[i] / DRAWS;
        if (fabs(share - want[i] / sum) > 0.012 || (!in[i] && got[i])) MISMATCH("%s: token %d came in %.4f, want %.4f\n", what, i, share, want[i] / sum);
        test_checks++;
    }
}

TEST(shares) {
    check("all", (llm_sampling){ .temperature = 1, .seed = 1 }, (int[]){ 1, 1, 1, 1, 1, 1 }, 1);
    check("hot", (llm_sampling){ .temperature = 4, .seed = 2 }, (int[]){ 1, 1, 1, 1, 1, 1 }, 0.25f);
    check("top-k", (llm_sampling){ .temperature = 1, .top_k = 3 }, (int[]){ 0, 1, 0, 1, 0, 1 }, 1);
    check("top-k of equal ones", (llm_sampling){ .temperature = 1, .top_k = 1 }, (int[]){ 0, 1, 0, 0, 0, 0 }, 1);
    check("top-k beyond", (llm_sampling){ .temperature = 1, .top_k = 99 }, (int[]){ 1, 1, 1, 1, 1, 1 }, 1);
    check("top-p", (llm_sampling){ .temperature = 1, .top_p = 0.7f }, (int[]){ 0, 1, 0, 1, 0, 0 }, 1); /* 0.392 + 0.392 */
    check("top-p of one", (llm_sampling){ .temperature = 1, .top_p = 0.01f }, (int[]){ 0, 1, 0, 0, 0, 0 }, 1);
    check("top-p of all but one", (llm_sampling){ .temperature = 1, .top_p = 0.99f }, (int[]){ 1, 1, 0, 1, 1, 1 }, 1);
    check("min-p", (llm_sampling){ .temperature = 1, .min_p = 0.3f }, (int[]){ 0, 1, 0, 1, 0, 1 }, 1);
    check("top-k and top-p", (llm_sampling){ .temperature = 1, .top_k = 3, .top_p = 0.9f }, (int[]){ 0, 1, 0, 1, 0, 1 }, 1);
}
TEST(greedy_and_masks) {
    EXPECT(draw((llm_sampling){ 0 }, NULL, 0, 0, NULL) == 1); /* the first of two equal ones */
    EXPECT(draw((llm_sampling){ 0 }, NULL, 0, 0, (const uint64_t[]){ 0x15 }) == 0);
    for (uint64_t k = 0; k < 200; k++) {
        int32_t id = draw((llm_sampling){ .temperature = 5 }, NULL, 0, k, (const uint64_t[]){ 0x14 });
        EXPECT(id == 2 || id == 4);
    }
    EXPECT(draw((llm_sampling){ .temperature = 1 }, NULL, 0, 0, (const uint64_t[]){ 0 }) == -1);
    float bad[V] = { 1, NAN, 1, 1, 1, 1 }, none[V] = { -INFINITY, -INFINITY, -INFINITY, 0, -INFINITY, -INFINITY };
    EXPECT(llm_sample(sampler, &(llm_sampling){ .temperature = 1 }, bad, NULL, 0, 0, NULL) == -1);
    EXPECT(llm_sample(sampler, &(llm_sampling){ .temperature = 1 }, none, NULL, 0, 0, NULL) == 3);
}
TEST(penalties) {
    const int32_t past[] = { 1, 3, 1, 2 };
    EXPECT(draw((llm_sampling){ .repetition = 2 }, past, 4, 0, NULL) == 5);  /* 3/2 and 3/2 against 2 */
    EXPECT(draw((llm_sampling){ .frequency = 0.5f }, past, 4, 0, NULL) == 3); /* 3 - 1 against 3 - 0.5 */
    EXPECT(draw((llm_sampling){ .presence = 1.5f }, past, 4, 0, NULL) == 5);
    float x[V];
    memcpy(x, logits, sizeof x);
    llm_sample(sampler, &(llm_sampling){ .repetition = 2 }, x, past, 4, 0, NULL);
    EXPECT_NEAR((double)x[2], -4, 0); /* what is negative grows */
    EXPECT(draw((llm_sampling){ 0 }, past, 4, 0, NULL) == 1); /* nothing is left of an earlier call */
}
TEST(draws_stand_alone) {
    llm_sampling a = { .temperature = 1, .seed = 7, .stream = 3 }, b = { .temperature = 1, .seed = 7, .stream = 4 };
    int differ = 0, again = 0;
    for (uint64_t k = 0; k < 100; k++) {
        differ += draw(a, NULL, 0, k, NULL) != draw(b, NULL, 0, k, NULL);
        again += draw(a, NULL, 0, 99 - k, NULL) == draw(a, NULL, 0, 99 - k, NULL);
    }
    EXPECT(differ > 20 && again == 100);
}

int main(void) {
    sampler = llm_sampler_new(V);
    RUN(shares);
    RUN(greedy_and_masks);
    RUN(penalties);
    RUN(draws_stand_alone);
    llm_sampler_free(sampler);
    return test_end();
}
