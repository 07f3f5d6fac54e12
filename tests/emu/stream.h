/* stream.h - queues of the device: what launch.cc and cudart.cc put there and when it runs. */
#ifndef VM_EMU_STREAM_H
#define VM_EMU_STREAM_H
#include <deque>
#include <mutex>

#include "tests/emu/core.h"
#include "tests/emu/cudart.h"

namespace emu {
struct work {
    std::function<void()> run;
    std::function<bool()> ready; /* none = always */
};
} /* namespace emu */

struct CUgraph_st { std::vector<emu::work> list; };
struct CUgraphExec_st { std::vector<emu::work> list; };
struct CUevent_st {
    uint64_t asked, done; /* how many records were queued, and ran */
    double at;            /* seconds */
};
struct CUstream_st {
    std::deque<emu::work> queue;
    bool apart;           /* cudaStreamNonBlocking */
    CUgraph_st *capture;  /* NULL = none */
};

namespace emu {
extern std::recursive_mutex one_at_a_time; /* of the calls of the API */
void put(cudaStream_t s, work w);          /* NULL = the default stream */
void drain(cudaStream_t s);                /* until its queue is empty */
void drain_all();
void no_capture(const char *call);         /* a report when a stream captures */
} /* namespace emu */
#endif
