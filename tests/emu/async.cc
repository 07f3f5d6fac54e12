/* async.cc - cp.async: copies that happen behind the thread's back, at a time that nobody may count on.
 *
 * VISMIN_EMU_CPASYNC=late (at the wait: finds a missing wait) | early (at once: finds a missing barrier before a buffer
 * is filled again) | random:SEED. In the race lane the bytes are marked until the wait, and nobody may touch them. */
#include <stdlib.h>
#include <string.h>

#include "tests/emu/core.h"

namespace emu {
shadow *shared_cells();
static enum { LATE, EARLY, RANDOM } mode;
__attribute__((constructor)) static void read_mode() {
    const char *s = getenv("VISMIN_EMU_CPASYNC");
    if (s && !strcmp(s, "early")) mode = EARLY;
    else if (s && !strncmp(s, "random:", 7)) mode = RANDOM;
    else if (s && strcmp(s, "late")) fail_here("VISMIN_EMU_CPASYNC=%s: known are late, early, random:SEED", s);
}

static void carry(async_copy *c) {
    if (c->done) return;
    memcpy(c->dst, c->src, (size_t)c->src_bytes);
    memset(c->dst + c->src_bytes, 0, (size_t)(c->bytes - c->src_bytes));
    c->done = true;
}

void async_thread_ends(thread *t) {
    t->groups.clear(); /* empty ones may be left */
    if (!t->flying.empty())
        fail(t->flying[0].at, "the thread ends while %zu of its cp.async fly: wait for them", t->flying.size());
}
} /* namespace emu */

using namespace emu;

void emu_cp_async(void *smem, const void *from, int bytes, int src_bytes, const char *file, int line) {
    place at = { file, line, NULL };
    thread *t = now();
    if (src_bytes < 0 || src_bytes > bytes) fail(at, "cp.async of %d bytes with %d from the source", bytes, src_bytes);
    if (!in_shared(smem)) fail(at, "cp.async to %p, which is not shared memory", smem);
    if ((uintptr_t)from % (unsigned)bytes)
        fail(at, "cp.async of %d bytes from %p: not on a multiple of their size", bytes, from);
    access(smem, (size_t)bytes, EMU_WRITE, at);
    if (src_bytes) {
        check_range(from, (size_t)src_bytes, at, "cp.async reads");
        allocation *a = find_allocation(from);
        if (race_lane) shadow_access(&a->cells, (const char *)from, (size_t)src_bytes, EMU_READ, at);
    }
    if (race_lane) shadow_flying(shared_cells(), (char *)smem, (size_t)bytes, true, at);
    t->flying.push_back({ (char *)smem, (const char *)from, bytes, src_bytes, false, at });
    t->open++;
    if (mode == EARLY || (mode == RANDOM && random64() % 2)) carry(&t->flying.back());
}

void emu_cp_async_commit(void) {
    thread *t = now();
    t->groups.push_back(t->open);
    t->open = 0;
}

void emu_cp_async_wait(int groups) {
    thread *t = now();
    while ((int)t->groups.size() > groups) {
        for (size_t k = 0; k < t->groups[0]; k++) {
            async_copy *c = &t->flying[k];
            carry(c);
            if (race_lane) shadow_flying(shared_cells(), c->dst, (size_t)c->bytes, false, c->at);
        }
        t->flying.erase(t->flying.begin(), t->flying.begin() + (long)t->groups[0]);
        t->groups.erase(t->groups.begin());
    }
}
