/* chunks.h - sums over many rows that do not depend on the number of threads: the rows are cut into chunks by their
 * number alone, each chunk is summed by one thread, and the partial sums are added in chunk order. */
#ifndef VM_CHUNKS_H
#define VM_CHUNKS_H
#include "kernels/graph.h"

/* Chunks for R rows of C elements: enough for many cores, each worth waking one. 0 for no rows. */
static inline int64_t vm_chunks(int64_t R, int64_t C) {
    int64_t by_work = R * VM_MAX(C, (int64_t)1) / 8192;
    return VM_MIN(R, VM_MAX((int64_t)1, VM_MIN(by_work, (int64_t)64)));
}
static inline int64_t vm_chunk_begin(int64_t R, int64_t n_chunks, int64_t k) { return R * k / n_chunks; }

#endif
