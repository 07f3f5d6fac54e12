/* devices.c - see devices.h. */
#include "kernels/devices.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#ifdef VM_HAVE_CUDA
#include "kernels/cuda_parts.h"

int vm_cuda_count(vm_error *e) {
    int n = 0, code = cudaGetDeviceCount(&n);
    if (!code && n) return n;
    cuda_no_device(e, 0, code ? code : (int)cudaErrorNoDevice, 0);
    return 0;
}

int vm_cuda_driver(void) {
    int v = 0;
    return cudaDriverGetVersion(&v) ? 0 : v;
}
int vm_cuda_runtime(void) { return CUDART_VERSION; }

vm_status vm_cuda_describe(int k, vm_cuda_info *out, vm_error *e) {
    struct cudaDeviceProp p;
    int before = 0, code = cudaGetDeviceProperties(&p, k);
    *out = (vm_cuda_info){ 0 };
    if (!code) code = cudaGetDevice(&before);
    if (!code) code = cudaSetDevice(k);
    if (!code) code = cudaMemGetInfo(&out->memory_free, &out->memory);
    if (code) return cuda_no_device(e, k, code, 0);
    snprintf(out->name, sizeof out->name, "%s", p.name);
    out->arch = 10 * p.major + p.minor, out->sms = p.multiProcessorCount;
    cudaSetDevice(before);
    return VM_OK;
}
#else
int vm_cuda_count(vm_error *e) {
    vm_fail(e, VM_EDEVICE, "this program was built without CUDA; build it where nvcc is installed");
    return 0;
}
int vm_cuda_driver(void) { return 0; }
int vm_cuda_runtime(void) { return 0; }
vm_status vm_cuda_describe(int k, vm_cuda_info *out, vm_error *e) { return vm_cuda_count(e), VM_EDEVICE; }
#endif

/* The first of `files` that opens. All three tell 10000 major + 100 minor + patch, NCCL through a pointer. */
static void look(vm_gpu_library *l, const char *const *files, const char *symbol) {
    void *lib = NULL;
    for (; *files && !lib; files++) l->file = *files, lib = dlopen(*files, RTLD_LAZY | RTLD_LOCAL);
    if (!lib) {
        snprintf(l->why, sizeof l->why, "%s", dlerror());
        return;
    }
    void *f = dlsym(lib, symbol);
    size_t (*version)(void);
    int (*fill_in)(int *), v = 0;
    if (!f) snprintf(l->why, sizeof l->why, "%s has no %s", l->file, symbol);
    else if (!strcmp(symbol, "ncclGetVersion")) memcpy(&fill_in, &f, sizeof f), fill_in(&v);
    else memcpy(&version, &f, sizeof f), v = (int)version();
    if (f) snprintf(l->version, sizeof l->version, "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
    dlclose(lib);
}

void vm_gpu_libraries(vm_gpu_library out[VM_GPU_LIBRARIES]) {
    static const char *const blas[] = { "libcublasLt.so.13", "libcublasLt.so.12", NULL }, *const dnn[] = { "libcudnn.so.9", NULL },
                             *const nccl[] = { "libnccl.so.2", NULL };
    out[0] = (vm_gpu_library){ .name = "cuBLASLt" }, out[1] = (vm_gpu_library){ .name = "cuDNN" }, out[2] = (vm_gpu_library){ .name = "NCCL" };
    look(&out[0], blas, "cublasLtGetVersion");
    look(&out[1], dnn, "cudnnGetVersion");
    look(&out[2], nccl, "ncclGetVersion");
}
