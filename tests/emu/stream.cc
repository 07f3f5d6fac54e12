/* stream.cc - streams, events and graphs: lists of work that runs when somebody waits, with VISMIN_EMU_ORDER=random in
 * a random order between streams. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <set>

#include "tests/emu/memory.h"
#include "tests/emu/stream.h"

namespace emu {
std::recursive_mutex one_at_a_time;
static std::set<cudaStream_t> streams;
static CUstream_st *standard() {
    static CUstream_st s;
    streams.insert(&s);
    return &s;
}
static cudaStream_t find(cudaStream_t s) {
    if (!s) return standard();
    if (!streams.count(s)) fail_here("%p is no stream", (void *)s);
    return s;
}

static bool step(cudaStream_t s) {
    if (s->queue.empty() || (s->queue.front().ready && !s->queue.front().ready())) return false;
    work w = s->queue.front();
    s->queue.pop_front();
    w.run();
    return true;
}
static bool randomly() {
    const char *s = getenv("VISMIN_EMU_ORDER");
    return s && !strncmp(s, "random", 6);
}

void drain(cudaStream_t s) {
    opened while_working;
    s = find(s);
    while (!s->queue.empty()) {
        if (randomly() && random64() % 2) { /* another one first */
            auto i = streams.begin();
            std::advance(i, (long)(random64() % streams.size()));
            step(*i);
            continue;
        }
        bool went = step(s);
        for (auto i = streams.begin(); !went && i != streams.end(); ++i) went = step(*i);
        if (!went) fail_here("a stream waits for ever for an event that nobody records");
    }
}
void drain_all() {
    for (cudaStream_t s : std::vector<cudaStream_t>(streams.begin(), streams.end())) drain(s);
}

void put(cudaStream_t s, work w) {
    s = find(s);
    if (s->capture) s->capture->list.push_back(std::move(w));
    else s->queue.push_back(std::move(w));
    if (!s->capture && setting("VISMIN_EMU_EAGER", 0)) drain(s);
}
void no_capture(const char *call) {
    for (cudaStream_t s : streams)
        if (s->capture) fail_here("%s while a stream captures a graph", call);
}

static double seconds() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
} /* namespace emu */

using namespace emu;
#define LOCKED std::lock_guard<std::recursive_mutex> locked(one_at_a_time)

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    LOCKED;
    *s = new CUstream_st{ {}, (flags & cudaStreamNonBlocking) != 0, NULL };
    streams.insert(*s);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *s) { return cudaStreamCreateWithFlags(s, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    LOCKED;
    drain(s);
    streams.erase(s);
    delete s;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    LOCKED;
    no_capture("cudaStreamSynchronize");
    drain(s);
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t s) {
    LOCKED;
    no_capture("cudaStreamQuery");
    drain(s);
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    LOCKED;
    no_capture("cudaDeviceSynchronize");
    drain_all();
    return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t s, void (*f)(void *), void *data) {
    LOCKED;
    put(s, { [=] { f(data); }, nullptr });
    return cudaSuccess;
}

/* --- events ------------------------------------------------------------------------------------------------------ */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return *e = new CUevent_st{}, cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    LOCKED;
    if (e->done < e->asked) drain_all();
    delete e;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    LOCKED;
    if (find(s)->capture) fail_here("cudaEventRecord into a capture: the emulation captures one stream");
    e->asked++;
    put(s, { [=] { e->done++, e->at = seconds(); }, nullptr });
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    LOCKED;
    if (find(s)->capture) fail_here("cudaStreamWaitEvent in a capture: the emulation captures one stream");
    uint64_t n = e->asked;
    put(s, { [] {}, [=] { return e->done >= n; } });
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    LOCKED;
    no_capture("cudaEventSynchronize");
    if (e->done < e->asked) drain_all();
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t e) { return cudaEventSynchronize(e); }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    LOCKED;
    if (!from->asked || !to->asked) return cudaErrorInvalidValue;
    if (from->done < from->asked || to->done < to->asked) return cudaErrorNotReady;
    *ms = (float)(1e3 * (to->at - from->at));
    return cudaSuccess;
}

/* --- graphs ------------------------------------------------------------------------------------------------------ */
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode) {
    LOCKED;
    if (!s || find(s)->capture) return cudaErrorStreamCaptureUnsupported;
    s->capture = new CUgraph_st{};
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) {
    LOCKED;
    *graph = find(s)->capture;
    s->capture = NULL;
    return *graph ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) {
    LOCKED;
    *status = find(s)->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    return *exec = new CUgraphExec_st{ graph->list }, cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s) {
    LOCKED;
    if (find(s)->capture) fail_here("cudaGraphLaunch while its stream captures a graph");
    for (const work &w : exec->list) put(s, w);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    return delete exec, cudaSuccess;
} /* queued launches hold copies */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, void **, size_t *n) { return *n = graph->list.size(), cudaSuccess; }
