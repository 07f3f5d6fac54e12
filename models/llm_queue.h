/* llm_queue.h - texts that are worked on together: requests wait, join as soon as there is a place and room, and leave
 * when they are done, between steps of one token each (Yu et al., "Orca", OSDI 2022). What a prompt has in common with
 * one that is there, or was not long ago, is not computed again.
 *
 *     llm_queue_new(&q, en, m, 16, e);
 *     llm_queue_add(q, &request);                               // at any time between steps
 *     while (llm_queue_busy(q)) llm_queue_step(q);
 *
 * llm_batch.h is this for requests that are all known. */
#ifndef VM_LLM_QUEUE_H
#define VM_LLM_QUEUE_H
#include "models/constrain.h"
#include "models/llm_decode.h"
#include "models/llm_sample.h"

/* An end token, the form or the caller; `most`; the model's context or cache; llm_queue_drop; an error of its own */
typedef enum { LLM_STOPPED, LLM_LENGTH, LLM_FULL, LLM_INTERRUPTED, LLM_FAILED } llm_finish;
typedef struct llm_request {
    const int32_t *ids; /* the prompt, n >= 1 */
    int64_t n;
    int64_t most;       /* further tokens */
    llm_sampling how;
    /* NULL, or at its start: the form of the text, which ends when it must; never cut inside when `most` is enough */
    constraint *limit;
    bool scored;        /* `scores` is wanted */
    /* Each NULL, or called when it gets its place: may still set `limit`; an error ends it, */
    vm_status (*start)(struct llm_request *r, vm_error *e);
    /* with each new token; true ends the text, and the end token itself is neither given nor kept, */
    bool (*token)(struct llm_request *r, int32_t id);
    /* when it leaves, with the results there; r may be freed then. */
    void (*done)(struct llm_request *r);
    void *ctx;
    /* results */
    int32_t *out;       /* vm_free */
    int64_t n_out, cap;
    llm_finish finish;
    int64_t shared;     /* tokens of the prompt that were not computed for it */
    const float *scores; /* in token(): the logits that the model gave for it (V), before penalties and masks */
    vm_error error;     /* LLM_FAILED */
    struct llm_request *next; /* the queue's own */
} llm_request;

typedef struct {
    int64_t prompt, shared, made; /* tokens of the prompts that were computed; that were shared; that were generated */
    int64_t failed;               /* requests */
    double prompt_s, made_s;
} llm_counts;

typedef struct llm_queue llm_queue;
/* At most `slots` <= LLM_SLOTS texts at a time. The engine and the model outlive it, and serve nobody else
 * meanwhile. */
vm_status llm_queue_new(llm_queue **out, llm_engine *en, const llm *m, int slots, vm_error *e);
void llm_queue_free(llm_queue *q); /* accepts NULL; what is there ends with LLM_INTERRUPTED */
/* r stays where it is until done. One that is longer than the context or the cache ends with LLM_FULL and no output. */
void llm_queue_add(llm_queue *q, llm_request *r);
/* Ends it with LLM_INTERRUPTED, wherever it is; not from its token(). */
void llm_queue_drop(llm_queue *q, llm_request *r);
/* Those that wait join where they can, then each text gets one token. Errors end the requests that they concern
 * (LLM_FAILED). */
void llm_queue_step(llm_queue *q);
int64_t llm_queue_busy(const llm_queue *q);    /* requests that are there */
int64_t llm_queue_waiting(const llm_queue *q); /* those of them without a place */
const llm_counts *llm_queue_counts(const llm_queue *q);
#endif
