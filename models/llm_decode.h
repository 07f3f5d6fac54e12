/* llm_decode.h - generating text with a language model: sequences whose keys and values stay in a heap of pages, shared by plans for
 * chunks of a prompt and for one more token of many sequences at once.
 *
 *     llm_engine_new(&en, m, VM_F32, &(llm_engine_options){ .tokens = 4096, .longest = 2048 }, e);
 *     llm_prefill(en, &s, prompt, n, logits, e);
 *     while (...) llm_decode(en, 1, (llm_seq *[]){ &s }, &token, logits, e);
 *     llm_seq_free(en, &s);
 *
 * Sequences join and leave between calls. A fork shares the whole pages of its source and copies the last, half-filled one, so that a
 * prompt's beginning is computed and kept once (Kwon et al., "PagedAttention", SOSP 2023); on the processor it is also read once in each
 * step, for all sequences that share it. */
#ifndef VM_LLM_DECODE_H
#define VM_LLM_DECODE_H
#include "models/llm.h"

typedef struct llm_engine llm_engine;
/* All-zero is an empty sequence. */
typedef struct {
    int32_t *page;
    int64_t n, cap;  /* pages */
    int64_t length;  /* tokens in the cache */
} llm_seq;

typedef struct {
    int64_t tokens;  /* room of the cache for all sequences together, each in whole pages */
    int64_t longest; /* tokens of one sequence at most; 0 = the model's context */
    vm_type cache;   /* VM_F32 or VM_BF16: how keys and values are kept */
    bool deterministic;
    bool rounded;    /* activations of products with weights in 8 and 4 bits are rounded to 8 bits (vm_linear_q), on the processor */
} llm_engine_options;

enum { LLM_SLOTS = 32, LLM_CHUNK = 512, LLM_PAGE = 32 }; /* sequences of one decoding step; tokens of a chunk of a prompt, of a page */

/* m outlives the engine. dtype: of matrix products. */
vm_status llm_engine_new(llm_engine **out, const llm *m, vm_type dtype, const llm_engine_options *o, vm_error *e);
void llm_engine_free(llm_engine *en); /* accepts NULL */
int64_t llm_engine_room(const llm_engine *en);    /* tokens that new pages have room for */
int64_t llm_engine_longest(const llm_engine *en); /* tokens of one sequence at most */

/* Appends n tokens to the sequence; logits (V) of what follows the last one, NULL = not wanted. VM_EINPUT: longer than `longest`, a
 * token that the model has not; VM_EDEVICE: the cache is full (the sequence keeps what it had). */
vm_status llm_prefill(llm_engine *en, llm_seq *s, const int32_t *ids, int64_t n, float *logits, vm_error *e);
/* One token for each of n <= LLM_SLOTS sequences; logits (n,V). All or none of them grow. */
vm_status llm_decode(llm_engine *en, int n, llm_seq *const *s, const int32_t *ids, float *logits, vm_error *e);
/* to (empty) becomes the first `length` tokens of from; its further tokens are its own. */
vm_status llm_seq_fork(llm_engine *en, llm_seq *to, const llm_seq *from, int64_t length, vm_error *e);
void llm_seq_free(llm_engine *en, llm_seq *s); /* gives the pages back; s is empty then */

/* The graph of both: hidden states of t further tokens of S sequences behind the last norm, (S,t,H); keys and values go to cache[2 layer]
 * and cache[2 layer + 1]. at (S) i32: tokens before them; written (S): tokens of the sequence behind them, and no others are kept; seen (S):
 * keys that exist, at + t (0: an empty place); pages (S,n). */
typedef struct {
    vm_val ids, positions, at, written, seen, pages;
    vm_param *const *cache;
    int64_t length; /* see llm_hidden */
} llm_step;
vm_val llm_cached(vm_graph *g, const llm *m, const llm_step *x);
#endif
