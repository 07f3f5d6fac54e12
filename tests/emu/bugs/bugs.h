/* bugs.h - kernels with one bug each: what the lanes of the emulated device must catch (tests/emu/bugs.sh).
 *
 * A kernel is a template over the number of a bug; number NONE is the kernel as it should be. A bug is caught when the
 * program ends with a report, or when the result is wrong. */
#ifndef VM_EMU_BUGS_H
#define VM_EMU_BUGS_H
#include <stdio.h>
#include <stdlib.h>

#include "kernels/gpu.cuh"

#define BUG_LIST(X)                                                                                                \
    X(HALF_MASK, rows, "shuffle with half the mask")                                                               \
    X(ROW_GUARD, rows, "row guard > for >=")                                                                       \
    X(OFF_BY_ONE_VECTOR, rows, "vector load one element off")                                                      \
    X(NOT_ZEROED, rows, "shared accumulators not zeroed")                                                          \
    X(NO_TURN_BARRIER, rows, "no barrier between warps taking turns")                                              \
    X(BLOCKS_ADD, rows, "plain += to global memory from several blocks")                                           \
    X(DIVERGENT_SHUFFLE, rows, "shuffle inside a divergent branch")                                                \
    X(SIGNED_OVERFLOW, rows, "index overflows an int")                                                             \
    X(NOT_WRITTEN, rows, "the last column is not written")                                                         \
    X(GEMM_ROW_GUARD, gemm, "GEMM: row guard <=")                                                                  \
    X(ONE_GROUP_TOO_FEW, gemm, "cp.async waits for one group too few")                                             \
    X(NO_BARRIER_AFTER_WAIT, gemm, "no barrier after the wait for cp.async")                                       \
    X(NO_BARRIER_BEFORE_REFILL, gemm, "no barrier before the stage is refilled")                                   \
    X(BAD_STRIDE, gemm, "row stride that ldmatrix cannot take")                                                    \
    X(B_FRAGMENT, gemm, "wrong register of B")                                                                     \
    X(NO_COLUMN_GUARD, gemm, "epilogue without column guard")                                                      \
    X(NO_OPT_IN, gemm, "60 KiB of dynamic shared memory without opt-in")                                           \
    X(NO_ZERO_FILL, gemm, "cp.async beyond the matrix, not filled with zeros")                                     \
    X(NO_LAST_WAIT, gemm, "threads end while cp.async fly")                                                        \
    X(FLASH_NO_BARRIER, flash, "flash: no barrier before K and V are refilled")                                    \
    X(KEY_MASK, flash, "flash: key mask off by one")                                                               \
    X(A_SWAPPED, flash, "flash: registers 1 and 2 of A swapped")                                                   \
    X(NO_TRANS, flash, "flash: ldmatrix of V without .trans")                                                      \
    X(NO_RESCALE, flash, "flash: old sum not rescaled")                                                            \
    X(READS_TOO_FAR, reduce, "reduction reads x[n]")                                                               \
    X(NO_BARRIER, reduce, "reduction without barrier")                                                             \
    X(ONE_WARP_BARRIER, reduce, "barrier in one warp only")                                                        \
    X(TREE_NO_BARRIER, reduce, "tree without barriers at small strides")                                           \
    X(SLOT_REUSED, reduce, "result slot used again without barrier")                                               \
    X(SHARED_OVERRUN, reduce, "shared array overrun by one")                                                       \
    X(NO_SYNCWARP, reduce, "missing __syncwarp")                                                                   \
    X(BEFORE_BEGIN, reduce, "reads before the allocation")                                                         \
    X(EARLY_EXIT, reduce, "thread leaves before a shuffle of its warp")                                            \
    X(TWO_SITES, reduce, "the two sides of a branch have a barrier each")                                          \
    X(ATOMIC_MIXED, reduce, "plain read of what others update atomically")                                         \
    X(HOST_POINTER, host, "host pointer given to a kernel")                                                        \
    X(OTHERS_STACK, host, "pointer to another thread's local array")                                               \
    X(AFTER_FREE, host, "use after cudaFree")                                                                      \
    X(NO_SYNCHRONIZE, host, "host reads without waiting for the stream")                                           \
    X(NO_EVENT, host, "no event between two streams")                                                              \
    X(BLOCK_TOO_LARGE, host, "block of 1025 threads")                                                              \
    X(GRID_TOO_LARGE, host, "grid of 65536 blocks in y")                                                           \
    X(COPY_TOO_LONG, host, "copy longer than the allocation")                                                      \
    X(TWICE_FREED, host, "freed twice")                                                                            \
    X(MALLOC_IN_CAPTURE, host, "cudaMalloc while a stream captures")                                               \
    X(WRITES_PROGRAM, host, "kernel writes a variable of the program")                                             \
    X(EMPTY_KERNEL, host, "kernel that does nothing")                                                              \
    X(HOST_TOUCHES, host, "host reads device memory")                                                             \
    X(STACK_FULL, host, "local array larger than a thread's stack")                                               \
    X(WRONG_COPY, host, "device pointer where the copy says host")

enum {
    NONE,
#define X(name, suite, what) name,
    BUG_LIST(X)
#undef X
    BUGS
};

/* 0 = the results are right. Each runs its kernel with bug k, which may be NONE. */
int run_rows(int k);
int run_gemm(int k);
int run_flash(int k);
int run_reduce(int k);
int run_host(int k);

extern vm_graph *bug_graph; /* with a stream, for GPU_LAUNCH */
static inline float *bug_device(size_t n, const void *host, size_t bytes) { /* n bytes, copied from host */
    void *p = NULL;
    if (cudaMalloc(&p, n)) exit(3);
    if (bytes) cudaMemcpyAsync(p, host, bytes, cudaMemcpyHostToDevice, (cudaStream_t)gpu_stream(bug_graph));
    return (float *)p;
}
static inline void bug_fetch(void *host, const void *p, size_t bytes) {
    cudaMemcpyAsync(host, p, bytes, cudaMemcpyDeviceToHost, (cudaStream_t)gpu_stream(bug_graph));
    cudaStreamSynchronize((cudaStream_t)gpu_stream(bug_graph));
}
static inline float bug_random(uint64_t *s) { /* [-1,1) */
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*s >> 32) * 0x1p-31f;
}
static inline int bug_differs(float got, double want, double tol) { return !(fabs((double)got - want) <= tol); }

#endif
