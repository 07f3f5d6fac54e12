/* chunks.h - sums over many rows that do not depend on the number of threads: the rows are cut into chunks by their
 * number alone, each chunk is summed by one thread, and the partial sums are added in chunk order. */
#ifndef VM_CHUNKS_H
#define VM_CHUNKS_H
#include "kernels/graph.h"

/* Chunks for R rows of C elements, at most so many: each worth waking a thread. 0 for no rows. */
static inline int64_t vm_chunks_upto(int64_t most, int64_t R, int64_t C) {
    int64_t by_work = R * VM_MAX(C, (int64_t)1) / 8192;
    return VM_MIN(R, VM_MAX((int64_t)1, VM_MIN(by_work, most)));
}
/* Enough for many cores; on a GPU a chunk is a block of threads, and more of them keep it busy. */
static inline int64_t vm_chunks(int64_t R, int64_t C) { return vm_chunks_upto(64, R, C); }
static inline int64_t vm_chunks_on(const vm_graph *g, int64_t R, int64_t C) {
    return vm_chunks_upto(g->be->device == VM_CPU_DEV ? 64 : 256, R, C);
}
static inline int64_t vm_chunk_begin(int64_t R, int64_t n_chunks, int64_t k) { return R * k / n_chunks; }

#endif
