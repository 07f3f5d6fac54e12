/* emu.h - the emulated device as kernels see it: what shim.h and translated PTX call.
 *
 * A thread of a block is a fiber; one block runs at a time, on one thread of the system. Every call names the place in
 * the source that made it, for the report that ends the program when a rule is broken. Calls that wait: barriers, and
 * everything that the threads of a warp do together. */
#ifndef VM_EMU_H
#define VM_EMU_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct { unsigned x, y, z; } emu_index;
typedef struct { emu_index idx; int n, lane; } emu_thread; /* n: number in the block; lane = n mod 32 */
typedef struct { emu_index idx, dim, grid; } emu_block;
extern const emu_thread *emu_now;  /* the thread that runs; NULL outside of kernels */
extern emu_block emu_here;         /* its block; kernels only read it */

/* --- barriers of the block ------------------------------------------------------------------------------------------ */
enum { EMU_OR, EMU_AND, EMU_COUNT };
void emu_barrier(const char *file, int line);
int emu_barrier_vote(int op, int pred, const char *file, int line); /* __syncthreads_or, _and, _count */

/* --- operations of the warp: every lane of mask must come to the same place ------------------------------------------ */
enum { EMU_SHFL_IDX, EMU_SHFL_UP, EMU_SHFL_DOWN, EMU_SHFL_XOR };
enum { EMU_BALLOT, EMU_ANY, EMU_ALL, EMU_MATCH_ANY };
enum { EMU_RED_ADD, EMU_RED_MIN, EMU_RED_MAX, EMU_RED_MIN_S, EMU_RED_MAX_S, EMU_RED_AND, EMU_RED_OR, EMU_RED_XOR };
enum { EMU_BF16, EMU_F16 };
void emu_syncwarp(uint32_t mask, const char *file, int line);
/* A lane outside mask gives all ones. PTX's c operand is (32 - width) << 8 | 31 (0 for up). */
uint64_t emu_shfl(int mode, uint32_t mask, uint64_t x, int arg, int width, const char *file, int line);
uint32_t emu_vote(int op, uint32_t mask, uint64_t x, const char *file, int line);
uint32_t emu_reduce(int op, uint32_t mask, uint32_t x, const char *file, int line);
void emu_mma_16816(int type, float *c, const uint32_t *a, const uint32_t *b, const char *file, int line); /* c += a b */
void emu_ldmatrix(int tiles, int trans, uint32_t *r, const void *smem, const char *file, int line);

/* --- memory --------------------------------------------------------------------------------------------------------- */
enum { EMU_READ = 1, EMU_WRITE = 2, EMU_ATOMIC = 4 };
/* Before an access: bounds, alignment, and with EMU_RACE whether it may happen now. */
void emu_access(const void *p, size_t bytes, int kind, const char *file, int line);
void *emu_shared(const void *key, size_t bytes, const char *file,
                 int line); /* the array declared at key, in this block */
void *emu_shared_dyn(const char *file, int line);
uint32_t emu_shared_offset(const void *p); /* addresses of PTX: bytes from the beginning of shared memory */
void *emu_shared_at(uint32_t offset);
/* bytes 4, 8 or 16 from device to shared memory; only src_bytes are read, the rest becomes zeros */
void emu_cp_async(void *smem, const void *from, int bytes, int src_bytes, const char *file, int line);
void emu_cp_async_commit(void);
void emu_cp_async_wait(int groups); /* until at most so many of the newest groups fly */

void emu_trap(const char *what, const char *file, int line); /* the kernel gives up: ends the program */
void emu_yield(const char *file, int line);                  /* lets the others run: inside loops that wait for them */

#ifdef __cplusplus
}
#endif
#endif
