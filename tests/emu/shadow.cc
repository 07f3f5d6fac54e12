/* shadow.cc - who was where: finds accesses of two threads to the same bytes with nothing between them that orders
 * them.
 *
 * A cell keeps the last writer and two readers of its bytes, each as thread, epoch of the block's barrier, the thread's
 * own clock and whether it was atomic. Two accesses, one of them a write, are in order when the thread is the same,
 * when a barrier of the block lies between (an older epoch), when both are of one warp and a __syncwarp carried the
 * clock of the first to the second, or when both are atomic. Blocks of a launch are never in order with each other.
 * Epochs grow for ever, so nothing is cleared between blocks or launches. */
#include <stdlib.h>
#include <string.h>

#include "tests/emu/core.h"
#include "tests/emu/memory.h"

namespace emu {
/* bits of cell.wrote and cell.read: 32 epoch, 18 clock, 10 thread, then flags */
static const uint64_t DEFINED = 1, FLIES = 2, ATOMIC = 4;
static inline uint32_t epoch_of(uint64_t s) { return (uint32_t)(s >> 32); }
static inline int clock_of(uint64_t s) { return (int)(s >> 14 & 0x3ffff); }
static inline int thread_of(uint64_t s) { return (int)(s >> 4 & 0x3ff); }

/* clocks[w][l][k]: how far lane l of warp w knows lane k; its own is [l][l] */
static int clocks[MAX_WARPS][WARP][WARP];

void clock_reset(int w) {
    if (!race_lane) return;
    memset(clocks[w], 0, sizeof clocks[w]);
    for (int l = 0; l < WARP; l++) clocks[w][l][l] = 1;
}
void clock_join(int w, uint32_t lanes) {
    if (!race_lane) return;
    int most[WARP] = {};
    for (uint32_t m = lanes; m; m &= m - 1)
        for (int k = 0; k < WARP; k++) most[k] = std::max(most[k], clocks[w][__builtin_ctz(m)][k]);
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        memcpy(clocks[w][l], most, sizeof most);
        clocks[w][l][l]++;
    }
}

static uint64_t stamp(uint64_t flags) {
    const thread *t = now();
    return (uint64_t)block_epoch << 32 | (uint64_t)clocks[t->n / WARP][t->lane][t->lane] << 14 | (uint64_t)t->n << 4 |
           flags;
}

enum order { ORDERED, RACE, OTHER_BLOCK };
/* Whether what was done at stamp s comes before what the running thread does now. */
static order compare(uint64_t s, bool atomic, bool shared) {
    uint32_t e = epoch_of(s);
    if (!e || e < (shared ? first_epoch : launch_epoch) || (atomic && (s & ATOMIC))) return ORDERED;
    if (e < first_epoch) return OTHER_BLOCK;
    if (e < block_epoch) return ORDERED;
    const thread *t = now();
    int other = thread_of(s);
    if (other == t->n) return ORDERED;
    if (other / WARP != t->n / WARP) return RACE;
    return clocks[t->n / WARP][t->lane][other % WARP] >= clock_of(s) ? ORDERED : RACE;
}

/* --- cells ------------------------------------------------------------------------------------------------------- */
void shadow_make(shadow *s, char *base, size_t bytes, bool shared) {
    *s = { base, bytes, 4, shared, (cell *)calloc(bytes / 4 + 1, sizeof(cell)) };
    if (!s->cells) fail_here("no memory for the shadow of %zu bytes", bytes);
}
void shadow_free(shadow *s) { free(s->cells); }

static void halve(shadow *s) {
    size_t n = s->bytes / (size_t)s->grain + 1;
    cell *c = (cell *)malloc(2 * n * sizeof *c);
    if (!c) fail_here("no memory for the shadow of %zu bytes", s->bytes);
    for (size_t i = 0; i < n; i++) c[2 * i] = c[2 * i + 1] = s->cells[i];
    free(s->cells);
    s->cells = c, s->grain /= 2;
}
/* The cells of p[0..bytes): smaller ones where these would hold other bytes as well. */
static cell *cells_of(shadow *s, const char *p, size_t bytes, size_t *n) {
    size_t at = (size_t)(p - s->base);
    while (s->grain > 1 && (at | bytes) % (size_t)s->grain) halve(s);
    *n = bytes / (size_t)s->grain;
    return s->cells + at / (size_t)s->grain;
}

void shadow_define(shadow *s, const char *p, size_t bytes, bool defined) {
    size_t n;
    for (cell *c = cells_of(s, p, bytes, &n), *end = c + n; c < end; c++) c->wrote = defined ? DEFINED : 0;
}
void shadow_copy(shadow *to, const char *dst, shadow *from, const char *src, size_t bytes) {
    size_t n, m;
    cell *a = cells_of(to, dst, bytes, &n), *b = cells_of(from, src, bytes, &m);
    while (n < m) halve(to), a = cells_of(to, dst, bytes, &n);
    while (m < n) halve(from), b = cells_of(from, src, bytes, &m);
    for (size_t i = 0; i < n; i++) a[i].wrote = b[i].wrote & DEFINED;
}

[[noreturn]] static void report(order o, uint64_t s, uint32_t where, bool wrote, const char *how, size_t bytes,
                                bool shared, place at) {
    const char *memory = shared ? "shared" : "global";
    if (o == OTHER_BLOCK)
        fail(at, "race: %s %zu bytes of %s memory that another block of this launch %s (thread %d, at %s)", how, bytes,
             memory, wrote ? "wrote" : "read", thread_of(s), text(where).c_str());
    fail(at, "race: %s %zu bytes of %s memory that thread %d %s at %s; no barrier lies between%s", how, bytes, memory,
         thread_of(s), wrote ? "wrote" : "read", text(where).c_str(),
         thread_of(s) / WARP == now()->n / WARP ? " (nor a __syncwarp)" : "");
}

static void remember_reader(cell *c, uint64_t s, uint32_t where) {
    int k = c->read[0] == s                      ? 0
            : c->read[1] == s                    ? 1
            : epoch_of(c->read[0]) < epoch_of(s) ? 0
            : epoch_of(c->read[1]) < epoch_of(s) ? 1
                                                 : -1;
    if (k < 0) { /* both of this epoch: keep two warps apart where there are two */
        int w = thread_of(s) / WARP;
        k = thread_of(c->read[0]) / WARP == w ? 0 : 1;
    }
    c->read[k] = s, c->read_at[k] = where;
}

void shadow_access(shadow *s, const char *p, size_t bytes, int kind, place at) {
    const char *how = kind & EMU_ATOMIC ? "updates" : kind & EMU_WRITE ? "writes" : "reads";
    bool atomic = kind & EMU_ATOMIC;
    uint32_t where = note(at);
    uint64_t mine = stamp(atomic ? ATOMIC : 0);
    size_t n;
    for (cell *c = cells_of(s, p, bytes, &n), *end = c + n; c < end; c++) {
        if (c->wrote & FLIES && (!s->shared || epoch_of(c->wrote) >= first_epoch))
            fail(at, "%s %zu bytes of %s memory while a cp.async into them flies (thread %d, at %s)", how, bytes,
                 s->shared ? "shared" : "global", thread_of(c->wrote), text(c->wrote_at).c_str());
        bool defined = c->wrote & DEFINED && (!s->shared || epoch_of(c->wrote) >= first_epoch);
        if (kind & EMU_READ && !defined)
            fail(at, "%s %zu bytes of %s memory that nobody wrote", how, bytes, s->shared ? "shared" : "global");
        order o = compare(c->wrote, atomic, s->shared);
        if (o) report(o, c->wrote, c->wrote_at, true, how, bytes, s->shared, at);
        if (!(kind & EMU_WRITE)) {
            remember_reader(c, mine, where);
            continue;
        }
        for (int k = 0; k < 2; k++)
            if ((o = compare(c->read[k], false, s->shared)))
                report(o, c->read[k], c->read_at[k], false, how, bytes, s->shared, at);
        c->wrote = mine | DEFINED, c->wrote_at = where;
    }
}

/* A cp.async into the bytes begins or ends. */
void shadow_flying(shadow *s, const char *p, size_t bytes, bool flies, place at) {
    size_t n;
    cell *c = cells_of(s, p, bytes, &n);
    for (size_t i = 0; i < n; i++) c[i].wrote = stamp(flies ? FLIES : 0) | DEFINED, c[i].wrote_at = note(at);
}
} /* namespace emu */
