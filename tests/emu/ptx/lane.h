/* lane.h - what translated PTX stands on beside ops.h: the emulated device (tests/emu/emu.h) with the addresses of PTX.
 *
 * Generic, global, const and local addresses are those of the host; shared ones are bytes from the beginning of the arena.
 * Every access is checked by emu_access, which knows allocations, shared arrays, and in race lanes who was there before.
 * A launch finds the translation of a kernel by the address of the host's own compilation of it (lane_find). */
#ifndef PTX_LANE_H
#define PTX_LANE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/emu/emu.h"
#ifdef __cplusplus
extern "C" {
#endif

/* --- kernels ------------------------------------------------------------------------------------------------------------ */
typedef struct {
    const char *name;      /* mangled */
    void (*host)(void);    /* the host's compilation, NULL when the program has none */
    void (*run)(const unsigned char *param);
    int64_t param_bytes;   /* parameters, each at the next offset that its alignment allows */
    int64_t max_threads;   /* __launch_bounds__; 0: none */
    int64_t shared_bytes;  /* static */
    const char *file;
} lane_kernel;
void lane_enlist(const lane_kernel *k, int n);
const lane_kernel *lane_find(const void *host); /* NULL: no translation of it is linked */
const lane_kernel *lane_named(const char *name);

/* --- special registers ---------------------------------------------------------------------------------------------------- */
static inline uint32_t lane_axis(const emu_index *i, int k) { return k == 0 ? i->x : k == 1 ? i->y : i->z; }
static inline uint32_t lane_tid(int k) { return lane_axis(&emu_now->idx, k); }
static inline uint32_t lane_ntid(int k) { return lane_axis(&emu_here.dim, k); }
static inline uint32_t lane_ctaid(int k) { return lane_axis(&emu_here.idx, k); }
static inline uint32_t lane_nctaid(int k) { return lane_axis(&emu_here.grid, k); }
static inline uint32_t lane_id(void) { return (uint32_t)emu_now->lane; }
static inline uint32_t lane_warp(void) { return (uint32_t)emu_now->n / 32; }
uint64_t lane_clock(void); /* grows at every call */

/* --- memory --------------------------------------------------------------------------------------------------------------------- */
enum { LANE_ATOMIC = EMU_READ | EMU_WRITE | EMU_ATOMIC, LANE_EXCHANGE = EMU_WRITE | EMU_ATOMIC };
static inline void *lane_global_at(uint64_t a, int bytes, int kind, const char *file, int line) {
    emu_access((void *)(uintptr_t)a, (size_t)bytes, kind, file, line);
    return (void *)(uintptr_t)a;
}
static inline void *lane_local_at(uint64_t a, int bytes, int kind, const char *file, int line) {
    return lane_global_at(a, bytes, kind, file, line);
}
static inline void *lane_const_at(uint64_t a, int bytes, int kind, const char *file, int line) {
    return lane_global_at(a, bytes, kind, file, line);
}
static inline void *lane_shared_at(uint32_t offset, int bytes, int kind, const char *file, int line) {
    void *p = emu_shared_at(offset);
    if (!p) emu_trap("an address outside of shared memory", file, line);
    emu_access(p, (size_t)bytes, kind, file, line);
    return p;
}
uint32_t lane_shared(const void *key, size_t bytes, int align, const char *name); /* the array, in this block */
static inline uint32_t lane_shared_dynamic(void) { return 0; } /* begins the arena */
static inline uint64_t lane_from_shared(uint64_t offset) { return (uint64_t)(uintptr_t)emu_shared_at(0) + (uint32_t)offset; }
static inline uint64_t lane_to_shared(uint64_t a) { return a - (uint64_t)(uintptr_t)emu_shared_at(0); }
static inline bool lane_is_shared(uint64_t a) {
    uint64_t offset = a - (uint64_t)(uintptr_t)emu_shared_at(0);
    return offset < 0xffffffffu && emu_shared_at((uint32_t)offset) != NULL;
}
bool lane_is_local(uint64_t a);
static inline bool lane_is_global(uint64_t a) { return !lane_is_shared(a) && !lane_is_local(a); }
static inline void lane_cp_async(uint32_t to, uint64_t from, int bytes, int src_bytes, const char *file, int line) {
    emu_cp_async(emu_shared_at(to), (const void *)(uintptr_t)from, bytes, src_bytes, file, line);
}

/* --- warps ------------------------------------------------------------------------------------------------------------------------ */
enum { LANE_up, LANE_down, LANE_bfly, LANE_idx };
/* shfl.sync: c holds the last lane of a segment (low 5 bits) and the mask of segments (bits 8 to 12). */
uint32_t lane_shfl(int how, uint32_t mask, uint32_t x, uint32_t b, uint32_t c, bool *inside, const char *file, int line);
static inline void lane_ldmatrix(int tiles, int trans, uint32_t *r, uint32_t from, const char *file, int line) {
    emu_ldmatrix(tiles, trans, r, emu_shared_at(from), file, line);
}
void lane_stmatrix(int tiles, int trans, const uint32_t *r, uint32_t to, const char *file, int line);
/* The shapes that kernels/gpu.cuh has no wrapper for: c (16,8) += a (16,k) b (k,8), each lane's registers as the PTX ISA says. */
enum { LANE_BF16, LANE_F16, LANE_TF32, LANE_S8, LANE_U8 };
void lane_mma(int a_type, int b_type, int k, int f16_sums, int saturate, uint32_t *c, const uint32_t *a, const uint32_t *b,
              const char *file, int line);
#ifdef __cplusplus
}
#endif
#endif
