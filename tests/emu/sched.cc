/* sched.cc - blocks one after the other, their threads in turns: who runs next, the barrier of the block, deadlocks.
 *
 * VISMIN_EMU_ORDER=forward | reverse (last thread and last block first) | random:SEED. A thread runs until it waits. */
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <map>

#include "tests/emu/core.h"

const emu_thread *emu_now;
emu_block emu_here;

namespace emu {
thread threads[MAX_THREADS];
const launch *running;
uint32_t block_epoch, first_epoch, launch_epoch;

static enum { FORWARD, REVERSE, RANDOM } order;
static uint64_t dice = 1;
__attribute__((constructor)) static void read_order() {
    const char *s = getenv("VISMIN_EMU_ORDER"), *c = getenv("VISMIN_EMU_CPASYNC");
    if (s && !strcmp(s, "reverse")) order = REVERSE;
    else if (s && !strncmp(s, "random:", 7)) order = RANDOM, dice += strtoull(s + 7, NULL, 10);
    else if (s && strcmp(s, "forward")) fail_here("VISMIN_EMU_ORDER=%s: known are forward, reverse, random:SEED", s);
    if (c && !strncmp(c, "random:", 7)) dice += strtoull(c + 7, NULL, 10) << 32;
}
uint64_t random64() { /* splitmix64 */
    uint64_t z = (dice += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- who is ready: a ring ---------------------------------------------------------------------------------------- */
static thread *ring[MAX_THREADS];
static unsigned head, n_ready;
static thread *&slot(unsigned k) { return ring[(head + k) % MAX_THREADS]; }
static fiber outside; /* whoever called run_grid */
static int n_threads, n_alive;

void make_ready(thread *t) {
    t->state = thread::READY;
    slot(n_ready++) = t;
}

static void deadlock() {
    std::map<std::string, int> where;
    for (int i = 0; i < n_threads; i++)
        if (threads[i].state != thread::DONE)
            where[text(threads[i].at) + (threads[i].state == thread::BARRIER ? " at a barrier of the block"
                                                                             : " in an operation of the warp")]++;
    std::string all;
    for (auto &w : where) all += "\n  " + std::to_string(w.second) + " threads wait for ever: " + w.first;
    fail_here("deadlock%s", all.c_str());
}

static thread *next_ready() {
    if (!n_ready) return NULL;
    if (order == REVERSE) return slot(--n_ready);
    if (order == RANDOM) std::swap(slot(0), slot((unsigned)(random64() % n_ready)));
    thread *t = slot(0);
    head = (head + 1) % MAX_THREADS, n_ready--;
    return t;
}

static void go_on(thread *from) {
    thread *t = next_ready();
    if (!t && n_alive) deadlock();
    if (t == from) return;
    emu_now = t;
    fiber_switch(&from->f, t ? &t->f : &outside);
}
void wait_here(int state, place at) {
    thread *t = now();
    t->state = (decltype(t->state))state, t->at = at;
    go_on(t);
}

/* --- the barrier of the block ------------------------------------------------------------------------------------ */
static struct {
    int arrived, op, holds; /* holds: for how many the predicate does */
    place at;
    int result;
} bar;

static void release() {
    bar.result = bar.op == EMU_OR ? bar.holds > 0 : bar.op == EMU_AND ? bar.holds == bar.arrived : bar.holds;
    bar.arrived = bar.holds = 0;
    block_epoch++;
    for (int w = 0; w * WARP < n_threads; w++) clock_reset(w);
    for (int i = 0; i < n_threads; i++)
        if (threads[i].state == thread::BARRIER) make_ready(&threads[i]);
}

int emu_barrier_at(int op, int pred, place at) {
    if (!bar.arrived) bar.at = at, bar.op = op;
    else if (bar.at.line != at.line || strcmp(bar.at.file, at.file) || bar.op != op)
        fail(at, "barrier in divergent code: %d threads of the block wait at %s", bar.arrived, text(bar.at).c_str());
    bar.arrived++, bar.holds += pred != 0;
    thread *t = now();
    t->state = thread::BARRIER, t->at = at;
    if (bar.arrived == n_alive) release();
    go_on(t);
    return bar.result;
}

/* --- threads and blocks ------------------------------------------------------------------------------------------ */
static void body() {
    for (;;) {
        thread *t = now();
        running->call(running->args.get());
        async_thread_ends(t);
        t->state = thread::DONE;
        warp_lane_ends(t);
        if (--n_alive && bar.arrived == n_alive) release();
        go_on(t);
    }
}

static void run_block(emu_index b) {
    emu_index d = running->block;
    emu_here.idx = b;
    n_alive = n_threads;
    first_epoch = ++block_epoch;
    shared_begin(running->smem);
    for (int w = 0; w * WARP < n_threads; w++) {
        int lanes = std::min((int)WARP, n_threads - w * WARP);
        warps[w].alive = lanes == WARP ? ~0u : (1u << lanes) - 1, warps[w].here = 0;
        clock_reset(w);
    }
    for (int i = 0; i < n_threads; i++) {
        thread *t = &threads[i];
        t->idx = { (unsigned)i % d.x, (unsigned)i / d.x % d.y, (unsigned)i / d.x / d.y };
        t->at = { running->file, running->line, NULL };
        make_ready(t);
    }
    thread *t = next_ready();
    emu_now = t;
    fiber_switch(&outside, &t->f);
    emu_now = NULL;
    shared_end();
}

void run_grid(const launch &l) {
    running = &l;
    emu_here.dim = l.block, emu_here.grid = l.grid;
    n_threads = (int)(l.block.x * l.block.y * l.block.z);
    for (int i = 0; i < n_threads; i++) {
        thread *t = &threads[i];
        t->n = i, t->lane = i % WARP;
        if (!t->f.stack) fiber_make(&t->f, body);
    }
    outside = fiber{};
    launch_epoch = ++block_epoch;
    uint64_t n = (uint64_t)l.grid.x * l.grid.y * l.grid.z;
    std::vector<uint32_t> shuffled(order == RANDOM ? n : 0);
    for (uint64_t i = 0; i < shuffled.size(); i++) {
        shuffled[i] = (uint32_t)i;
        std::swap(shuffled[i], shuffled[random64() % (i + 1)]);
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t b = order == RANDOM ? shuffled[i] : order == REVERSE ? n - 1 - i : i;
        run_block(
            { (unsigned)(b % l.grid.x), (unsigned)(b / l.grid.x % l.grid.y), (unsigned)(b / l.grid.x / l.grid.y) });
    }
    check_canaries(l.kernel);
    running = NULL;
}
} /* namespace emu */

void emu_barrier(const char *file, int line) { emu::emu_barrier_at(EMU_OR, 0, { file, line, NULL }); }
int emu_barrier_vote(int op, int pred, const char *file, int line) {
    return emu::emu_barrier_at(op, pred, { file, line, NULL });
}
void emu_yield(const char *file, int line) {
    emu::thread *t = emu::now();
    if (emu::order == emu::REVERSE) { /* to the end that is served last */
        emu::head = (emu::head + emu::MAX_THREADS - 1) % emu::MAX_THREADS, emu::n_ready++;
        emu::slot(0) = t;
    } else {
        emu::make_ready(t);
    }
    emu::wait_here(emu::thread::READY, { file, line, NULL });
}
