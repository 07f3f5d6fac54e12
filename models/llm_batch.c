/* llm_batch.c - see llm_batch.h. */
#include "models/llm_batch.h"

vm_status llm_batch(llm_engine *en, const llm *m, int64_t n, llm_request *r, int slots, bool (*stop)(void),
                    llm_counts *counts, vm_error *e) {
    llm_queue *q = NULL;
    if (llm_queue_new(&q, en, m, slots, e)) return e->status;
    for (int64_t i = 0; i < n; i++) llm_queue_add(q, &r[i]);
    while (llm_queue_busy(q) && !llm_queue_counts(q)->failed && !(stop && stop())) llm_queue_step(q);
    for (int64_t i = 0; i < n && !e->status && llm_queue_counts(q)->failed; i++)
        if (r[i].finish == LLM_FAILED) *e = r[i].error;
    if (counts) *counts = *llm_queue_counts(q);
    llm_queue_free(q);
    return e->status;
}
