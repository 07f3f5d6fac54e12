/* llm_batch.h - many texts at once: requests join the batch as soon as a place is free and leave it when they are done (Yu et al., "Orca",
 * OSDI 2022). What all prompts begin with is computed once and shared. */
#ifndef VM_LLM_BATCH_H
#define VM_LLM_BATCH_H
#include "models/constrain.h"
#include "models/llm_decode.h"
#include "models/llm_sample.h"

typedef enum { LLM_STOPPED, LLM_LENGTH, LLM_FULL, LLM_INTERRUPTED } llm_finish; /* an end token or the caller; `most`; the model's context; stop() */
typedef struct llm_request {
    const int32_t *ids; /* the prompt, n >= 1 */
    int64_t n;
    int64_t most;       /* further tokens */
    llm_sampling how;
    constraint *limit;  /* NULL, or at its start: the form of the text, which ends when it must; with enough tokens it is never cut inside */
    /* NULL, or called with each new token; true ends the text. The end token itself is neither given nor kept. */
    bool (*token)(struct llm_request *r, int32_t id);
    void (*done)(struct llm_request *r); /* NULL, or called when it leaves the batch, with the results there */
    void *ctx;
    /* results */
    int32_t *out;       /* vm_free */
    int64_t n_out, cap;
    llm_finish finish;
} llm_request;

typedef struct {
    int64_t prompt, shared, made; /* tokens of the prompts that were computed; that were shared; that were generated */
    double prompt_s, made_s;
} llm_counts;

/* All n requests, at most `slots` at a time. shared: the cache keeps what they begin with. stop (may be NULL): asked between steps; true
 * ends all. Errors of one request (longer than the context) end it with LLM_FULL and no output. */
vm_status llm_batch(llm_engine *en, const llm *m, int64_t n, llm_request *r, int slots, bool (*stop)(void), llm_counts *counts, vm_error *e);
#endif
