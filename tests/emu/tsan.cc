/* tsan.cc - the race lane's ear: kernels compiled with -fsanitize=thread call a function for every load and store. The
 * program is linked without that sanitizer's runtime; these functions stand for it and ask access() of memory.cc. */
#include <string.h>

#include "tests/emu/core.h"

using namespace emu;

/* Host code of a .cu file comes here too: access() lets it pass. */
#define HERE (place{ NULL, 0, __builtin_return_address(0) })
static inline bool own(const void *p) { /* most accesses: the thread's own arrays */
    const thread *t = now();
    return !t || (size_t)((const char *)p - t->f.stack) < t->f.bytes;
}
static inline void look(const void *p, size_t bytes, int kind, place at) {
    if (!own(p)) access(p, bytes, kind, at);
}
#define HOOKS(n)                                                                                                   \
    extern "C" void __tsan_read##n(void *p) { look(p, n, EMU_READ, HERE); }                                      \
    extern "C" void __tsan_write##n(void *p) { look(p, n, EMU_WRITE, HERE); }                                    \
    extern "C" void __tsan_unaligned_read##n(void *p) { look(p, n, EMU_READ, HERE); }                            \
    extern "C" void __tsan_unaligned_write##n(void *p) { look(p, n, EMU_WRITE, HERE); }                          \
    extern "C" void __tsan_volatile_read##n(void *p) { look(p, n, EMU_READ, HERE); }                             \
    extern "C" void __tsan_volatile_write##n(void *p) { look(p, n, EMU_WRITE, HERE); }                           \
    extern "C" void __tsan_read_write##n(void *p) { look(p, n, EMU_READ | EMU_WRITE, HERE); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

/* A struct: any size, aligned as its largest member; byte by byte where it is no multiple of 4. */
static void range(void *p, size_t bytes, int kind, place at) {
    if (own(p)) return;
    size_t each = ((uintptr_t)p | bytes) % 4 ? 1 : 4;
    for (size_t i = 0; i < bytes; i += each) access((char *)p + i, each, kind, at);
}
extern "C" void __tsan_read_range(void *p, size_t n) { range(p, n, EMU_READ, HERE); }
extern "C" void __tsan_write_range(void *p, size_t n) { range(p, n, EMU_WRITE, HERE); }
extern "C" void *__tsan_memcpy(void *d, const void *s, size_t n) {
    range((void *)s, n, EMU_READ, HERE), range(d, n, EMU_WRITE, HERE);
    return memcpy(d, s, n);
}
extern "C" void *__tsan_memmove(void *d, const void *s, size_t n) {
    range((void *)s, n, EMU_READ, HERE), range(d, n, EMU_WRITE, HERE);
    return memmove(d, s, n);
}
extern "C" void *__tsan_memset(void *d, int x, size_t n) {
    range(d, n, EMU_WRITE, HERE);
    return memset(d, x, n);
}

extern "C" void __tsan_init(void) {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit(void) {}
extern "C" void __tsan_vptr_update(void *, void *) {}
extern "C" void __tsan_vptr_read(void *) {}

/* Reference counts of the launch's arguments, on the host. */
extern "C" int __tsan_atomic32_fetch_add(volatile int *p, int x, int) { int old = *p; return *p = old + x, old; }
extern "C" int __tsan_atomic32_load(const volatile int *p, int) { return *p; }
extern "C" char __tsan_atomic8_load(const volatile char *p, int) { return *p; }
