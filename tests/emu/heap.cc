/* heap.cc - where device memory lies in the lanes without a sanitizer of addresses: one range, closed while no work
 * runs, so that host code that reads or writes it stops there as it would with a GPU. What was freed rests before it is
 * given out again. */
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>

#include "tests/emu/core.h"
#include "tests/emu/cudart.h"
#include "tests/emu/memory.h"

extern "C" char __executable_start, _end;

namespace emu {
static const size_t RANGE = (size_t)64 << 30, REST = (size_t)8 << 20, UNIT = 128, GROW = (size_t)4 << 20;
static char *begin, *top, *mapped; /* [begin, top) is given out or free, [begin, mapped) has pages */
static int doors = race_lane; /* how many want the range open; the race lane, slow as it is, leaves that to the fast one */
static std::map<char *, size_t> room;                  /* free */
static std::deque<std::pair<char *, size_t>> resting;
static size_t rests;

static void change(int rights) {
    if (mapped > begin && mprotect(begin, (size_t)(mapped - begin), rights))
        fail_here("the device's memory cannot be protected");
}
void heap_open() {
    if (!doors++) change(PROT_READ | PROT_WRITE);
}
void heap_close() {
    if (!--doors) change(PROT_NONE);
}

void heap_part(char *p, size_t bytes, bool open) {
    if (doors || !bytes || p < begin || p >= top) return;
    static const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)p / page * page, to = ((uintptr_t)p + bytes + page - 1) / page * page;
    if (mprotect((void *)from, to - from, open ? PROT_READ | PROT_WRITE : PROT_NONE))
        fail_here("the device's memory cannot be protected");
}

static void put_back(char *p, size_t bytes) {
    auto next = room.lower_bound(p);
    if (next != room.end() && p + bytes == next->first) bytes += next->second, next = room.erase(next);
    if (next != room.begin()) {
        auto before = std::prev(next);
        if (before->first + before->second == p) {
            before->second += bytes;
            return;
        }
    }
    room[p] = bytes;
}

char *heap_take(size_t bytes) {
    bytes = (bytes + UNIT - 1) / UNIT * UNIT;
    for (auto i = room.begin(); i != room.end(); ++i) {
        if (i->second < bytes) continue;
        char *p = i->first;
        size_t left = i->second - bytes;
        room.erase(i);
        if (left) room[p + bytes] = left;
        return p;
    }
    if (!begin) {
        begin = (char *)mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (begin == MAP_FAILED) fail_here("no addresses for the device's memory");
        top = mapped = begin;
    }
    if (bytes > (size_t)(begin + RANGE - top)) return NULL;
    char *p = top;
    top += bytes;
    if (top > mapped) {
        size_t more = ((size_t)(top - mapped) + GROW - 1) / GROW * GROW;
        more = std::min(more, (size_t)(begin + RANGE - mapped));
        if (mprotect(mapped, more, doors ? PROT_READ | PROT_WRITE : PROT_NONE)) return NULL;
        mapped += more;
    }
    return p;
}
void heap_give(char *p, size_t bytes) {
    bytes = (bytes + UNIT - 1) / UNIT * UNIT;
    memset(p, 0xff, bytes);
    resting.push_back({ p, bytes });
    for (rests += bytes; rests > REST; resting.pop_front()) {
        rests -= resting.front().second;
        put_back(resting.front().first, resting.front().second);
    }
}

#ifndef EMU_ASAN
/* --- what the processor forbids ---------------------------------------------------------------------------------- */
/* The call of ours that led here. */
static place culprit() {
    void *f[32];
    int n = backtrace(f, 32);
    for (int k = 2; k < n; k++) /* behind this and the handler */
        if ((char *)f[k] >= &__executable_start && (char *)f[k] < &_end) return { NULL, 0, f[k] };
    return {};
}
static bool in_heap(const char *p) { return p >= begin && p < mapped; }
static void forbidden(int sig, siginfo_t *i, void *) {
    const char *p = (const char *)i->si_addr;
    if (sig == SIGSEGV && in_heap(p) && !emu_now)
        fail(culprit(),
             "host code touches device memory at %p (a pointer from vm_data, vm_param.data or cudaMalloc); copy it "
             "first",
             i->si_addr);
    for (const thread &t : threads)
        if (t.f.stack && p < t.f.stack && p >= t.f.stack - 4096)
            fail_here("the stack of a thread is full (%zu bytes)", t.f.bytes);
    if (emu_now) fail(culprit(), "a kernel touches %p, where no memory is", i->si_addr);
    signal(sig, SIG_DFL); /* none of our business: the instruction is met again */
}
__attribute__((constructor)) static void listen() {
    static char stack[64 << 10];
    stack_t s = {};
    s.ss_sp = stack, s.ss_size = sizeof stack;
    struct sigaction a = {};
    a.sa_sigaction = forbidden, a.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (!sigaltstack(&s, NULL)) sigaction(SIGSEGV, &a, NULL), sigaction(SIGBUS, &a, NULL);
}
#endif
} /* namespace emu */

void emuMemoryOpen(int open) { open ? emu::heap_open() : emu::heap_close(); }
