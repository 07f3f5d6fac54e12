/* llm_batch.h - many texts whose prompts are all known: the closed case of llm_queue.h. */
#ifndef VM_LLM_BATCH_H
#define VM_LLM_BATCH_H
#include "models/llm_queue.h"

/* All n requests, at most `slots` at a time. stop (may be NULL): asked between steps; true ends all. A request that is
 * longer than the context ends with LLM_FULL and no output; an error of one (LLM_FAILED) ends all. */
vm_status llm_batch(llm_engine *en, const llm *m, int64_t n, llm_request *r, int slots, bool (*stop)(void),
                    llm_counts *counts, vm_error *e);
#endif
