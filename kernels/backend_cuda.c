/* backend_cuda.c - the CUDA device: opening it, memory, copies, errors. Runs are in cuda_run.c.
 *
 * Everything is queued on one stream in the order of the calls; an upload may return before its copy is done, but not before `src`
 * may be changed; a download waits. What a kernel cannot take (gpu_fault) stands in the device block and is found at the next
 * wait. */
#include "kernels/backend_cuda.h"

#ifdef VM_HAVE_CUDA
#include <inttypes.h>
#include <string.h>

#include "kernels/cuda_parts.h"

enum { DEVICES = 64, OLDEST_ARCH = 80 };

/* --- errors -------------------------------------------------------------------------------------------------------- */
/* One sentence and what to do; the code's own text in front where there is nothing better to say. */
vm_status cuda_failed(const cuda_device *d, vm_error *e, int code, const char *what) {
    const char *text = cudaGetErrorString((cudaError_t)code);
    switch (code) {
    case cudaSuccess: return VM_OK;
    case cudaErrorMemoryAllocation:
        return vm_fail(e, VM_EDEVICE, "%s: out of GPU memory at %s; take a smaller batch or --device cpu", d->name, what);
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
        return vm_fail(e, VM_EDEVICE, "%s: this program has no code for sm_%d that its driver can load (%s: %s); build with CUARCH=%d or update the driver",
                       d->name, d->c.arch, what, text, d->c.arch);
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorMisalignedAddress:
        return vm_fail(e, VM_EDEVICE, "%s: a kernel failed before %s was done (%s); this is a bug of the program: --check finds the kernel", d->name,
                       what, text);
    default: return vm_fail(e, VM_EDEVICE, "%s: %s failed: %s (CUDA error %d)", d->name, what, text, code);
    }
}

static vm_status faulted(cuda_device *d, const vm_gpu_block *b, vm_error *e) {
    char name[160];
    int code = cudaMemsetAsync(&d->c.block->faulted, 0, sizeof d->c.block->faulted, d->c.stream);
    vm_fail(e, VM_EINPUT, "%s: %s met the value %" PRId64 ", which is out of range", d->name,
            cuda_fault_name(d, b, name, sizeof name), b->fault_value);
    return code ? cuda_failed(d, e, code, "clearing the fault") : VM_EINPUT;
}

/* --- memory -------------------------------------------------------------------------------------------------------- */
static void *cuda_room(vm_backend *be, size_t bytes) {
    void *p = NULL;
    cudaSetDevice(cuda_of(be)->c.device); /* of this thread; another device may have been opened since */
    if (!cudaMalloc(&p, VM_MAX(bytes, (size_t)1))) return p;
    cudaGetLastError(); /* forget it: the caller says what the memory was for */
    return NULL;
}
static void cuda_free(vm_backend *be, void *p) {
    if (p) cudaFree(p);
}
static void *cuda_alloc(vm_backend *be, size_t bytes) {
    void *p = cuda_room(be, bytes);
    if (p && cudaMemsetAsync(p, 0, VM_MAX(bytes, (size_t)1), cuda_of(be)->c.stream)) return cuda_free(be, p), NULL;
    return p;
}

static vm_status cuda_upload(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    if (!bytes) return VM_OK;
    return cuda_failed(cuda_of(be), e, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, cuda_of(be)->c.stream), "a copy to the device");
}
static vm_status cuda_copy(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    if (!bytes || dst == src) return VM_OK;
    return cuda_failed(cuda_of(be), e, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, cuda_of(be)->c.stream), "a copy on the device");
}
static vm_status cuda_wait(vm_backend *be, vm_error *e) {
    cuda_device *d = cuda_of(be);
    vm_gpu_block b;
    int code = cudaMemcpyAsync(&b, d->c.block, sizeof b, cudaMemcpyDeviceToHost, d->c.stream);
    if (!code) code = cudaStreamSynchronize(d->c.stream);
    if (code) return cuda_failed(d, e, code, "waiting for the device");
    return b.faulted ? faulted(d, &b, e) : VM_OK;
}
static vm_status cuda_download(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    int code = bytes ? cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, cuda_of(be)->c.stream) : cudaSuccess;
    if (code) return cuda_failed(cuda_of(be), e, code, "a copy from the device");
    return cuda_wait(be, e);
}

static void cuda_memory(vm_backend *be, size_t *left, size_t *all) {
    if (cudaMemGetInfo(left, all)) *left = *all = 0;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */
vm_status cuda_no_device(vm_error *e, int ordinal, int code, int n) {
    switch (code) {
    case cudaSuccess:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: this machine has %d CUDA device%s; use cuda:0%s or --device cpu", ordinal, n, n == 1 ? "" : "s",
                       n > 1 ? " and up" : "");
    case cudaErrorInsufficientDriver:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: no NVIDIA driver, or one older than this program's CUDA %d.%d; install or update the driver, or use --device cpu",
                       ordinal, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    case cudaErrorNoDevice:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: the NVIDIA driver finds no device (CUDA_VISIBLE_DEVICES?); use --device cpu", ordinal);
    default:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: CUDA does not start: %s (error %d); use --device cpu", ordinal,
                       cudaGetErrorString((cudaError_t)code), code);
    }
}

static int attribute(int device, int which) {
    int x = 0;
    return cudaDeviceGetAttribute(&x, (enum cudaDeviceAttr)which, device) ? 0 : x;
}

static vm_status start(cuda_device *d, int ordinal, vm_error *e) {
    int n = 0, code = cudaGetDeviceCount(&n);
    if (code || ordinal >= n) return cuda_no_device(e, ordinal, code, n);
    d->c.device = ordinal;
    d->c.arch = 10 * attribute(ordinal, cudaDevAttrComputeCapabilityMajor) + attribute(ordinal, cudaDevAttrComputeCapabilityMinor);
    d->c.sms = attribute(ordinal, cudaDevAttrMultiProcessorCount);
    d->c.smem_block = (size_t)attribute(ordinal, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    if (d->c.arch < OLDEST_ARCH)
        return vm_fail(e, VM_EDEVICE, "%s: its architecture is sm_%d and kernels need sm_%d (Ampere) or newer; use --device cpu", d->name, d->c.arch,
                       OLDEST_ARCH);
    if ((code = cudaSetDevice(ordinal))) return cuda_failed(d, e, code, "opening the device");
    if ((code = cudaStreamCreateWithFlags((cudaStream_t *)&d->c.stream, cudaStreamNonBlocking))) return cuda_failed(d, e, code, "opening a stream");
    d->c.block = cuda_alloc(&d->c.be, sizeof *d->c.block);
    return d->c.block ? VM_OK : vm_nomem_on(&d->c.be, e, sizeof *d->c.block, "the device block");
}

vm_backend *vm_backend_cuda(int ordinal, vm_error *e) {
    static cuda_device *device[DEVICES];
    if (ordinal < 0 || ordinal >= DEVICES) return cuda_no_device(e, ordinal, cudaErrorNoDevice, 0), NULL;
    if (device[ordinal]) return &device[ordinal]->c.be;
    cuda_device *d = vm_calloc(1, sizeof *d);
    if (!d) return vm_nomem(e, sizeof *d, "the device"), NULL;
#ifdef VM_EMU
    snprintf(d->name, sizeof d->name, "emu");
#else
    snprintf(d->name, sizeof d->name, "cuda:%d", ordinal);
#endif
    d->c.be = (vm_backend){ .name = d->name, .device = VM_CUDA_DEV, .alloc = cuda_alloc, .room = cuda_room, .free = cuda_free,
                            .upload = cuda_upload, .download = cuda_download, .copy = cuda_copy, .run = cuda_run,
                            .forget = cuda_forget, .wait = cuda_wait, .memory = cuda_memory };
    if (start(d, ordinal, e)) {
        if (d->c.stream) cudaStreamDestroy(d->c.stream);
        vm_free(d);
        return NULL;
    }
    return &(device[ordinal] = d)->c.be;
}
#endif
