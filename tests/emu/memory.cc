/* memory.cc - what an address is: device memory, shared memory, the thread's own stack, a constant, or none of a
 * kernel's business.
 *
 * Every allocation of the device is a block of its own of exactly the asked size, full of 0xFF (NaN in every float
 * type), on an address that is a multiple of 64 and not of 128. Bytes around it stay 0xFF: who changes them is found
 * after the kernel. */
#include <stdlib.h>
#include <string.h>

#include <map>

#include "tests/emu/core.h"
#include "tests/emu/memory.h"

extern "C" char __executable_start, _end;
extern "C" __attribute__((weak)) char __data_start, __start_emu_constant,
    __stop_emu_constant; /* of the linker; shim.h __constant__ */

namespace emu {
enum { ALIGN = 64, AROUND = 64, OUTSIDE = 2 * AROUND + 2 * ALIGN, NEAR = 256 };
static std::map<const char *, allocation> all;
static allocation *last;
static struct { const char *p; size_t bytes; } gone[64]; /* the last freed, for reports */
static unsigned n_gone;
static size_t held;

allocation *find_allocation(const void *at) {
    const char *p = (const char *)at;
    if (last && p >= last->p && p < last->p + last->bytes) return last;
    auto i = all.upper_bound(p);
    if (i == all.begin()) return NULL;
    allocation *a = &(--i)->second;
    return p < a->p + a->bytes ? last = a : NULL;
}

void *device_take(size_t bytes) {
    if (bytes > device_memory() - held) return NULL;
#ifdef EMU_ASAN /* the sanitizer has red zones of its own, right behind the last byte */
    char *whole = NULL, *p;
    if (posix_memalign((void **)&whole, ALIGN, bytes)) return NULL;
    p = whole;
#else
    char *whole = heap_take(bytes + OUTSIDE), *p;
    if (!whole) return NULL;
    opened_part while_filled(whole, bytes + OUTSIDE);
    p = whole + AROUND;
    p += (2 * ALIGN - (uintptr_t)p % (2 * ALIGN) + ALIGN) % (2 * ALIGN);
    memset(whole, 0xff, (size_t)(p - whole) + AROUND + bytes);
#endif
    memset(p, 0xff, bytes);
    allocation a = { p, bytes, whole, {} };
    allocation *kept = &(all[p] = a);
    if (race_lane) shadow_make(&kept->cells, p, bytes, false);
    held += bytes;
    return p;
}

size_t device_held() { return held; }

#ifndef EMU_ASAN
static bool clean(const char *p) {
    static char ones[AROUND];
    if (!ones[0]) memset(ones, 0xff, sizeof ones);
    return !memcmp(p, ones, AROUND);
}
static void check_around(const allocation &a, const char *when) {
    if (clean(a.p - AROUND) && clean(a.p + a.bytes)) return;
    for (int k = 1; k <= AROUND; k++)
        if (a.p[-k] != (char)0xff)
            fail_here("%s: something wrote %d bytes before an allocation of %zu bytes", when, k, a.bytes);
    for (size_t k = 0; k < AROUND; k++)
        if (a.p[a.bytes + k] != (char)0xff)
            fail_here("%s: something wrote %zu bytes past the end of an allocation of %zu bytes", when, k, a.bytes);
}
void check_canaries(const char *when) {
    for (auto &i : all) check_around(i.second, when);
}
#else
static void check_around(const allocation &, const char *) {}
void check_canaries(const char *) {}
#endif

void device_give(void *p, const char *call) {
    auto i = all.find((char *)p);
    if (i == all.end()) fail_here("%s: %p is no allocation of the device, or it was freed before", call, p);
    opened_part while_checked((char *)i->second.whole, i->second.bytes + OUTSIDE);
    check_around(i->second, call);
    gone[n_gone++ % 64] = { i->second.p, i->second.bytes };
    held -= i->second.bytes;
    shadow_free(&i->second.cells);
#ifdef EMU_ASAN
    free(i->second.whole);
#else
    heap_give((char *)i->second.whole, i->second.bytes + OUTSIDE);
#endif
    all.erase(i);
    last = NULL;
}
/* --- whose memory is it ------------------------------------------------------------------------------------------ */
[[noreturn]] static void stray(const char *p, size_t bytes, int kind, place at) {
    const char *how = kind & EMU_WRITE ? "writes" : "reads";
    auto i = all.upper_bound(p);
    if (i != all.begin()) {
        auto b = std::prev(i);
        size_t over = (size_t)(p - b->second.p) - b->second.bytes;
        if (over < NEAR)
            fail(at, "%s %zu bytes, %zu bytes past the end of an allocation of %zu bytes", how, bytes, over,
                 b->second.bytes);
    }
    if (i != all.end() && (size_t)(i->first - p) < NEAR)
        fail(at, "%s %zu bytes, %zu bytes before an allocation of %zu bytes", how, bytes, (size_t)(i->first - p),
             i->second.bytes);
    for (auto &g : gone)
        if (g.p && p >= g.p && p < g.p + g.bytes) fail(at, "%s %zu bytes of an allocation that was freed", how, bytes);
    for (const thread &t : threads)
        if (t.f.stack && p >= t.f.stack && p < t.f.stack + t.f.bytes)
            fail(at, "%s %zu bytes of the local memory of another thread, number %d", how, bytes, t.n);
    if (!p) fail(at, "%s %zu bytes at NULL", how, bytes);
    fail(
        at,
        "%s %zu bytes at %p, which is not the device's memory (a pointer of the host, or far outside of an allocation)",
        how, bytes, (const void *)p);
}

/* What kernels may read of the program: constants, and who and where they are. */
static bool constant(const char *p) {
    const char *me = (const char *)threads, *now_p = (const char *)&emu_now, *here = (const char *)&emu_here;
    return (p >= &__executable_start && p < &__data_start) ||
           (p >= &__start_emu_constant && p < &__stop_emu_constant) || (p >= me && p < me + sizeof threads) ||
           (p >= now_p && p < now_p + sizeof emu_now) || (p >= here && p < here + sizeof emu_here);
}

void access(const void *at_p, size_t bytes, int kind, place at) {
    const char *p = (const char *)at_p;
    thread *t = now();
    if (!t) return; /* the host's own */
    if (!(bytes & (bytes - 1)) && (uintptr_t)p % bytes)
        fail(at, "%zu bytes at %p: not on a multiple of their size", bytes, at_p);
    if (p >= t->f.stack && p < t->f.stack + t->f.bytes) return;
    if (in_shared(p)) {
        check_shared(p, bytes, kind, at);
        return;
    }
    allocation *a = find_allocation(p);
    if (!a) {
        if (kind == EMU_READ && constant(p)) return;
        if (p >= &__executable_start && p < &_end)
            fail(at, "%s %zu bytes of a variable of the program, which a GPU does not see",
                 kind & EMU_WRITE ? "writes" : "reads", bytes);
        stray(p, bytes, kind, at);
    }
    if (bytes > a->bytes - (size_t)(p - a->p))
        fail(at, "%s %zu bytes at the end of an allocation of %zu bytes: %zu too many",
             kind & EMU_WRITE ? "writes" : "reads", bytes, a->bytes, bytes - (a->bytes - (size_t)(p - a->p)));
    if (race_lane) shadow_access(&a->cells, p, bytes, kind, at);
}

void check_range(const void *p, size_t bytes, place at, const char *what) {
    if (!bytes) return;
    allocation *a = find_allocation(p);
    if (!a) fail(at, "%s: %p is not device memory", what, p);
    if (bytes > a->bytes - (size_t)((const char *)p - a->p))
        fail(at, "%s: %zu bytes from byte %zu of an allocation of %zu bytes", what, bytes,
             (size_t)((const char *)p - a->p), a->bytes);
}
} /* namespace emu */

void emu_access(const void *p, size_t bytes, int kind, const char *file, int line) {
    emu::access(p, bytes, kind, { file, line, NULL });
}
