/* llm_sample.h - the next token from logits: penalties, temperature, top-k, top-p, min-p, then a draw that depends on (seed, stream,
 * index) alone, so that a text can be made again by itself, in any order and on any shard. */
#ifndef VM_LLM_SAMPLE_H
#define VM_LLM_SAMPLE_H
#include "kernels/base.h"

typedef struct {
    float temperature;         /* 0 = the most likely token, the first of equal ones */
    int64_t top_k;             /* only the k most likely; 0 = all */
    float top_p;               /* the fewest most likely ones that reach p together, at least one; 0 or 1 = all */
    float min_p;               /* only those with at least min_p times the largest probability; 0 = all */
    float repetition;          /* logits of tokens that the text has: positive ones divided by it, others multiplied; 0 or 1 = off (Keskar et al. 2019) */
    float presence, frequency; /* subtracted once, and once for each time; 0 = off */
    uint64_t seed, stream;     /* stream: of the text */
} llm_sampling;

typedef struct llm_sampler llm_sampler; /* scratch for V tokens; serves one thread */
llm_sampler *llm_sampler_new(int64_t V);  /* NULL when memory is out */
void llm_sampler_free(llm_sampler *s);
/* The token number `index` of the text (of whose n tokens so far `past` are) from logits (V), which it may change. allowed (bit id % 64
 * of word id / 64) or NULL. -1 when no token is left or a logit is not a number. */
int32_t llm_sample(llm_sampler *s, const llm_sampling *how, float *logits, const int32_t *past, int64_t n, uint64_t index, const uint64_t *allowed);
#endif
