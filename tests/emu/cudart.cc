/* cudart.cc - the device, its memory and copies; and launches with all the checks that a driver makes.
 *
 * VISMIN_EMU_ARCH=80 (default) | 86 | 89 | 90 | 100 | 120 sets the limits, VISMIN_EMU_MEMORY the MiB of device memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>

#include "tests/emu/memory.h"
#include "tests/emu/stream.h"

namespace emu {
enum { SMS = 3, SMEM_DEFAULT = 48 << 10 };
static std::map<const void *, size_t> allowed;
static std::map<const char *, size_t> pinned;

int arch() {
    static int a = setting("VISMIN_EMU_ARCH", 80);
    return a;
}
size_t smem_optin() {
    switch (arch()) {
    case 80: return 163 << 10;
    case 86: case 89: case 120: return 99 << 10;
    default: return 227 << 10;
    }
}
size_t smem_allowed(const void *fn) { return allowed.count(fn) ? allowed[fn] : (size_t)SMEM_DEFAULT; }
size_t device_memory() {
    static size_t n = (size_t)setting("VISMIN_EMU_MEMORY", 4096) << 20;
    return n;
}
static bool is_pinned(const void *p, size_t bytes) {
    auto i = pinned.upper_bound((const char *)p);
    return i != pinned.begin() && (--i, (const char *)p + bytes <= i->first + i->second);
}

/* --- launches ---------------------------------------------------------------------------------------------------- */
int queue_launch(const char *kernel, const char *file, int line, emu_index g, emu_index b, size_t smem, void *stream,
                 const void *fn, void (*call)(const void *), std::shared_ptr<void> args) {
    std::lock_guard<std::recursive_mutex> locked(one_at_a_time);
    launch l = { kernel, file, line, g, b, smem, fn, call, args };
    place at = { l.file, l.line, NULL };
    uint64_t threads_in_block = (uint64_t)b.x * b.y * b.z;
    if (!threads_in_block || threads_in_block > MAX_THREADS || b.z > 64)
        fail(at, "%s: a block of (%u,%u,%u) threads; 1 to 1024, and z at most 64", l.kernel, b.x, b.y, b.z);
    if (!g.x || !g.y || !g.z || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535)
        fail(at, "%s: a grid of (%u,%u,%u) blocks; at least 1, and y, z at most 65535", l.kernel, g.x, g.y, g.z);
    if (l.smem > smem_optin())
        fail(at, "%s: %zu bytes of dynamic shared memory; sm_%d has %zu for a block", l.kernel, l.smem, arch(),
             smem_optin());
    if (l.smem > smem_allowed(l.fn))
        fail(at, "%s: %zu bytes of dynamic shared memory without GPU_SMEM (allowed are %zu)", l.kernel, l.smem,
             smem_allowed(l.fn));
    put((cudaStream_t)stream, { [l] { run_grid(l); }, nullptr });
    return cudaSuccess;
}

static void copy_now(void *dst, const void *src, size_t bytes, bool to_device, bool from_device) {
    if (to_device) check_range(dst, bytes, {}, "the destination of a copy");
    if (from_device) check_range(src, bytes, {}, "the source of a copy");
    memmove(dst, src, bytes);
    if (!race_lane || !to_device) return;
    allocation *a = find_allocation(dst), *b = from_device ? find_allocation(src) : NULL;
    if (b) shadow_copy(&a->cells, (char *)dst, &b->cells, (const char *)src, bytes);
    else shadow_define(&a->cells, (char *)dst, bytes, true);
}
static void set_now(void *dst, int value, size_t bytes) {
    check_range(dst, bytes, {}, "cudaMemset");
    memset(dst, value, bytes);
    if (race_lane) shadow_define(&find_allocation(dst)->cells, (char *)dst, bytes, true);
}
} /* namespace emu */

using namespace emu;
#define LOCKED std::lock_guard<std::recursive_mutex> locked(one_at_a_time)

/* --- the device -------------------------------------------------------------------------------------------------- */
cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device ? cudaErrorInvalidDevice : cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { return *device = 0, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    if (device) return cudaErrorInvalidDevice;
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated sm_%d", arch());
    p->totalGlobalMem = device_memory(), p->sharedMemPerBlock = SMEM_DEFAULT;
    p->sharedMemPerBlockOptin = smem_optin(), p->sharedMemPerMultiprocessor = smem_optin() + 1024;
    p->regsPerBlock = 65536, p->warpSize = WARP, p->maxThreadsPerBlock = MAX_THREADS;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = MAX_THREADS, p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = arch() / 10, p->minor = arch() % 10;
    p->multiProcessorCount = SMS, p->maxThreadsPerMultiProcessor = 2048, p->l2CacheSize = 1 << 20;
    p->memoryBusWidth = 64, p->concurrentKernels = 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr a, int device) {
    struct cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, device)) return cudaErrorInvalidDevice;
    switch (a) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    default: return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *v) { return *v = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { return *v = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaDeviceReset(void) { return cudaDeviceSynchronize(); }
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    LOCKED;
    *total_bytes = device_memory(), *free_bytes = device_memory() - device_held();
    return cudaSuccess;
}

/* --- errors: only what a caller handles ever becomes one --------------------------------------------------------- */
static cudaError_t last_error;
static cudaError_t error(cudaError_t e) { return e ? last_error = e : e; }
cudaError_t cudaPeekAtLastError(void) { return last_error; }
cudaError_t cudaGetLastError(void) {
    cudaError_t e = last_error;
    return last_error = cudaSuccess, e;
}
const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    default: return "emulated error";
    }
}
const char *cudaGetErrorName(cudaError_t e) { return cudaGetErrorString(e); }

/* --- memory ------------------------------------------------------------------------------------------------------ */
cudaError_t cudaMalloc(void **p, size_t bytes) {
    LOCKED;
    no_capture("cudaMalloc");
    if (!bytes) return *p = NULL, cudaSuccess;
    return error((*p = device_take(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void *p) {
    LOCKED;
    if (!p) return cudaSuccess;
    no_capture("cudaFree");
    drain_all();
    device_give(p, "cudaFree");
    return cudaSuccess;
}
cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t) { return cudaMalloc(p, bytes); }
cudaError_t cudaFreeAsync(void *p, cudaStream_t s) {
    LOCKED;
    if (p) put(s, { [=] { device_give(p, "cudaFreeAsync"); }, nullptr });
    return cudaSuccess;
}
cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned) {
    LOCKED;
    pinned[(const char *)p] = bytes;
    return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *p) {
    LOCKED;
    drain_all();
    if (!pinned.erase((const char *)p)) fail_here("cudaHostUnregister: %p is not registered", p);
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
    if (!(*p = malloc(bytes ? bytes : 1))) return error(cudaErrorMemoryAllocation);
    memset(*p, 0xff, bytes);
    return cudaHostRegister(*p, bytes, 0);
}
cudaError_t cudaMallocHost(void **p, size_t bytes) { return cudaHostAlloc(p, bytes, 0); }
cudaError_t cudaFreeHost(void *p) {
    if (!p) return cudaSuccess;
    cudaHostUnregister(p);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
    LOCKED;
    if (!bytes) return cudaSuccess;
    bool to = find_allocation(dst), from = find_allocation(src);
    bool want_to =
        kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice || (kind == cudaMemcpyDefault && to);
    bool want_from =
        kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice || (kind == cudaMemcpyDefault && from);
    if (to != want_to)
        fail_here("a copy of %zu bytes to %s memory at %p, which is not", bytes, want_to ? "device" : "host", dst);
    if (from != want_from)
        fail_here("a copy of %zu bytes from %s memory at %p, which is not", bytes, want_from ? "device" : "host", src);
    if (to) check_range(dst, bytes, {}, "the destination of a copy");
    if (from) check_range(src, bytes, {}, "the source of a copy");
    bool capturing = s && s->capture;
    if (!from && !capturing && !is_pinned(src, bytes)) { /* staged: the caller may change it */
        auto staged = std::make_shared<std::vector<char>>((const char *)src, (const char *)src + bytes);
        put(s, { [=] { copy_now(dst, staged->data(), bytes, to, false); }, nullptr });
    } else {
        put(s, { [=] { copy_now(dst, src, bytes, to, from); }, nullptr });
    }
    if (!to && !capturing && !is_pinned(dst, bytes)) drain(s);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind) {
    LOCKED;
    no_capture("cudaMemcpy");
    cudaError_t e = cudaMemcpyAsync(dst, src, bytes, kind, NULL);
    drain(NULL);
    return e;
}
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s) {
    LOCKED;
    if (!bytes) return cudaSuccess;
    check_range(dst, bytes, {}, "cudaMemset");
    put(s, { [=] { set_now(dst, value, bytes); }, nullptr });
    return cudaSuccess;
}
cudaError_t cudaMemset(void *dst, int value, size_t bytes) { return cudaMemsetAsync(dst, value, bytes, NULL); }

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute a, int value) {
    LOCKED;
    if (a != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || (size_t)value > smem_optin())
        fail_here("GPU_SMEM of %d bytes; sm_%d has %zu for a block", value, arch(), smem_optin());
    allowed[kernel] = (size_t)value;
    return cudaSuccess;
}
