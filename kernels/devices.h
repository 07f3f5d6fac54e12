/* devices.h - looking at the CUDA devices of this machine and at NVIDIA's libraries, without opening a backend. */
#ifndef VM_DEVICES_H
#define VM_DEVICES_H
#include "kernels/base.h"

typedef struct {
    char name[256];
    int arch, sms;            /* 80, 86, 89, 90, ...; streaming multiprocessors */
    size_t memory, memory_free;
} vm_cuda_info;

/* How many there are; 0 and one sentence why there is none (also in builds without CUDA). */
int vm_cuda_count(vm_error *e);
vm_status vm_cuda_describe(int k, vm_cuda_info *out, vm_error *e);
/* 1000 major + 10 minor, as CUDA counts; 0 = none. */
int vm_cuda_driver(void);
int vm_cuda_runtime(void);

/* A library that is opened at run time where it is installed. */
typedef struct {
    const char *name;    /* "cuBLASLt", ... */
    const char *file;    /* "libcublasLt.so.13" */
    char version[32];    /* "" = cannot be opened */
    char why[200];       /* then */
} vm_gpu_library;
enum { VM_GPU_LIBRARIES = 3 };
void vm_gpu_libraries(vm_gpu_library out[VM_GPU_LIBRARIES]);
#endif
