/* launch.h - in PTX builds shim.h launches the translation of what nvcc made of a kernel, not the host's compilation of it. */
#ifndef PTX_LAUNCH_H
#define PTX_LAUNCH_H
#include <memory>

#include "tests/emu/ptx/lane.h"

namespace emu {
struct translated {
    const lane_kernel *kernel;
    size_t bytes;
    alignas(16) unsigned char param[4096 + 16];
    void put(const void *x, size_t size, size_t align) { /* at the next offset that its alignment allows, as nvcc lays them out */
        bytes = (bytes + align - 1) / align * align;
        memcpy(param + bytes, x, size);
        bytes += size;
    }
    static void run(const void *t) { ((const translated *)t)->kernel->run(((const translated *)t)->param); }
};
namespace { /* of each file, as launch_kernel is */
template <class... P>
std::shared_ptr<void> translate(const char *name, const char *file, int line, void (*host)(P...), size_t threads, const P &...args) {
    std::shared_ptr<translated> t(new translated{});
    t->kernel = lane_find((const void *)host);
    if (!t->kernel) emu_trap("no translated PTX of this kernel is in the program", name, line);
    (t->put(&args, sizeof args, alignof(P)), ...);
    if (t->kernel->param_bytes != (int64_t)t->bytes) emu_trap("the translated PTX is of another version of this kernel", name, line);
    if (t->kernel->max_threads && threads > (size_t)t->kernel->max_threads) emu_trap("more threads than __launch_bounds__ promises", file, line);
    return t;
}
} /* namespace */
} /* namespace emu */
#endif
