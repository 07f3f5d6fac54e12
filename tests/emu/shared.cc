/* shared.cc - the shared memory of the running block: an arena of arrays with red zones between them.
 *
 * Dynamic shared memory begins the arena, on a multiple of 128. A static array is placed when the first thread comes to
 * its declaration: on a multiple of 16, not of 32. All is 0xFF until written. */
#include <string.h>

#include "tests/emu/core.h"

#ifdef EMU_ASAN
extern "C" void __asan_poison_memory_region(void const volatile *p, size_t n);
extern "C" void __asan_unpoison_memory_region(void const volatile *p, size_t n);
#else
static void __asan_poison_memory_region(void const volatile *, size_t) {}
static void __asan_unpoison_memory_region(void const volatile *, size_t) {}
#endif

namespace emu {
enum { ARENA = 512 << 10, ZONE = 32, MAX_SLOTS = 64, STATIC_LIMIT = 48 << 10 };
alignas(128) static char arena[ARENA];
static shadow cells;
static struct slot { const void *key; char *p; size_t bytes; } slots[MAX_SLOTS];
static int n_slots;
static size_t used = ARENA, statics, dyn;
static const char dyn_key = 0;

bool in_shared(const void *p) { return (const char *)p >= arena && (const char *)p < arena + ARENA; }

static char *take(const void *key, size_t bytes, place at) {
    if (n_slots == MAX_SLOTS || used + bytes + 2 * ZONE > ARENA) fail(at, "too many shared arrays for the emulation");
    if (key != &dyn_key) used += (used % 32 ? 32 - used % 32 : 0) + 16;
    char *p = arena + used;
    slots[n_slots++] = { key, p, bytes };
    __asan_unpoison_memory_region(p, bytes);
    used = (used + bytes + 15) / 16 * 16 + ZONE;
    return p;
}

void shared_begin(size_t dyn_bytes) {
    if (race_lane && !cells.base) shadow_make(&cells, arena, ARENA, true);
    __asan_unpoison_memory_region(arena, used);
    memset(arena, 0xff, used); /* what the block before had; beyond it all is 0xFF still */
    __asan_poison_memory_region(arena, ARENA);
    n_slots = 0, used = statics = 0, dyn = dyn_bytes;
    if (dyn) take(&dyn_key, dyn, {});
}

/* Red zones are as they were. */
void shared_end() {
    size_t at = 0;
    for (int k = 0; k <= n_slots; k++) {
        size_t to = k < n_slots ? (size_t)(slots[k].p - arena) : used;
        for (; at < to; at++)
            if (arena[at] != (char)0xff)
                fail_here("something wrote %zu bytes past the end of a shared array of %zu bytes",
                          k ? (size_t)(arena + at - slots[k - 1].p) - slots[k - 1].bytes : 0,
                          k ? slots[k - 1].bytes : (size_t)0);
        if (k < n_slots) at = to + slots[k].bytes;
    }
}

void check_shared(const void *at_p, size_t bytes, int kind, place at) {
    const char *p = (const char *)at_p;
    const slot *before = NULL;
    for (int k = 0; k < n_slots && p >= slots[k].p; k++) before = &slots[k];
    if (!before || p + bytes > before->p + before->bytes)
        fail(at, "%s %zu bytes of shared memory, %zu bytes past the begin of an array of %zu bytes",
             kind & EMU_WRITE ? "writes" : "reads", bytes, before ? (size_t)(p - before->p) : 0,
             before ? before->bytes : (size_t)0);
    if (race_lane) shadow_access(&cells, p, bytes, kind, at);
}
shadow *shared_cells() { return &cells; }
} /* namespace emu */

using namespace emu;

void *emu_shared(const void *key, size_t bytes, const char *file, int line) {
    for (int k = 0; k < n_slots; k++)
        if (slots[k].key == key) return slots[k].p;
    statics += (bytes + 15) / 16 * 16;
    if (statics > STATIC_LIMIT)
        fail({ file, line, NULL }, "%zu bytes of static shared memory: at most %d", statics, STATIC_LIMIT);
    if (statics + dyn > smem_optin())
        fail({ file, line, NULL }, "%zu bytes of static and %zu of dynamic shared memory: sm_%d has %zu for a block",
             statics, dyn, arch(), smem_optin());
    return take(key, bytes, { file, line, NULL });
}
void *emu_shared_dyn(const char *file, int line) {
    if (!dyn) fail({ file, line, NULL }, "dynamic shared memory, but the launch gave none");
    return arena;
}
uint32_t emu_shared_offset(const void *p) { return (uint32_t)((const char *)p - arena); }
void *emu_shared_at(uint32_t offset) { return offset < ARENA ? arena + offset : NULL; }
