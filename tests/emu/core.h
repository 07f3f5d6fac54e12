/* core.h - what the files of the emulated device share: threads, the running block, places in the source, reports. */
#ifndef VM_EMU_CORE_H
#define VM_EMU_CORE_H
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/emu/emu.h"

namespace emu {
enum { MAX_THREADS = 1024, WARP = 32, MAX_WARPS = MAX_THREADS / WARP };

/* --- reports (report.cc) ----------------------------------------------------------------------------------------- */
/* Where something was done: a file and line, or the address of an instruction; packed into 32 bits by note(). */
struct place {
    const char *file;
    int line;
    const void *pc;
};
uint32_t note(place p);
std::string text(uint32_t noted);
std::string text(place p);
/* Prints what is wrong, with kernel, block and thread where one runs, and ends the program. */
[[noreturn]] void fail(place p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
[[noreturn]] void fail_here(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* without a place */
int setting(const char *name, int otherwise);       /* a number from the environment */
uint64_t random64();                                /* of the seed in VISMIN_EMU_ORDER or VISMIN_EMU_CPASYNC */

/* --- threads (sched.cc, fiber.cc) -------------------------------------------------------------------------------- */
struct fiber {
    void *sp;             /* saved by the switch */
    char *stack;          /* lowest address */
    size_t bytes;
    void *fake;           /* of the address sanitizer */
};
void fiber_make(fiber *f, void (*body)());          /* body never returns */
void fiber_switch(fiber *from, fiber *to);          /* from becomes the fiber that runs now */

struct async_copy {
    char *dst;
    const char *src;
    int bytes, src_bytes;
    bool done;
    place at;
};
struct thread : emu_thread {
    fiber f;
    enum { READY, BARRIER, WARP_OP, DONE } state;
    place at;                                /* where it waits */
    std::vector<async_copy> flying;          /* in order of issue */
    std::vector<size_t> groups;              /* copies per committed group, oldest first */
    size_t open;                             /* copies not yet committed */
};
extern thread threads[MAX_THREADS];
static inline thread *now() { return const_cast<thread *>(static_cast<const thread *>(emu_now)); }

/* The operation that lanes of a warp are meeting for. */
struct lane_op {
    int op;
    uint32_t mask;
    place at;
    void *args;      /* the lane's own, on its stack */
};
struct warp {
    uint32_t alive;  /* lanes that exist and have not ended */
    uint32_t here;   /* lanes that wait in an operation */
    lane_op lane[WARP];
};
extern warp warps[MAX_WARPS];
void warp_lane_ends(thread *t);

void make_ready(thread *t);
void wait_here(int state, place at);     /* runs the others until somebody makes this thread ready */

struct launch {
    const char *kernel, *file; /* as written in GPU_LAUNCH */
    int line;
    emu_index grid, block;
    size_t smem;
    const void *fn;
    void (*call)(const void *args); /* the kernel with its arguments */
    std::shared_ptr<void> args;
};
extern const launch *running;            /* NULL outside of kernels */
void run_grid(const launch &l);
extern uint32_t block_epoch, first_epoch,
    launch_epoch; /* grow at every barrier: now, at the block's and launch's start */

/* --- memory ------------------------------------------------------------------------------------------------------ */
/* One cell per `grain` bytes says who was there (shadow.cc). Only race lanes have them. */
struct cell {
    uint64_t wrote, read[2];
    uint32_t wrote_at, read_at[2];
};
struct shadow {
    char *base;
    size_t bytes;
    int grain;
    bool shared;
    cell *cells;
};
struct allocation {
    char *p;
    size_t bytes;
    void *whole;         /* with what lies around it */
    shadow cells;
};
allocation *find_allocation(const void *p);              /* containing p, or NULL */
void check_range(const void *p, size_t bytes, place at, const char *what); /* inside one allocation */
void check_canaries(const char *when);
bool in_shared(const void *p);
void check_shared(const void *p, size_t bytes, int kind, place at);
void shared_begin(size_t dyn_bytes);                     /* a block starts */
void shared_end();
void access(const void *p, size_t bytes, int kind, place at);
void async_thread_ends(thread *t);

#ifdef EMU_RACE
enum { race_lane = 1 };
#else
enum { race_lane = 0 };
#endif
void shadow_make(shadow *s, char *base, size_t bytes, bool shared);
void shadow_define(shadow *s, const char *p, size_t bytes, bool defined); /* by the host, or a fresh array */
void shadow_copy(shadow *to, const char *dst, shadow *from, const char *src, size_t bytes);
void shadow_access(shadow *s, const char *p, size_t bytes, int kind, place at);
void shadow_flying(shadow *s, const char *p, size_t bytes, bool flies, place at);
void clock_reset(int warp);
void clock_join(int warp, uint32_t lanes);               /* __syncwarp */

/* --- device properties (device.cc) ------------------------------------------------------------------------------- */
int arch();
size_t smem_optin();                                     /* largest dynamic + static shared memory of a block */
size_t smem_allowed(const void *fn);                     /* what cudaFuncSetAttribute asked for; 48 KiB without */
} /* namespace emu */

#endif
