/* cuda_parts.h - what the two files of the CUDA backend share: backend_cuda.c (device, memory) and cuda_run.c (runs). In test
 * builds (VM_EMU) both stand on the emulated runtime of tests/emu. */
#ifndef VM_CUDA_PARTS_H
#define VM_CUDA_PARTS_H
#ifdef VM_EMU
#include "tests/emu/cudart.h"
#else
#include <cuda_runtime_api.h>
#endif

#include "kernels/backend_cuda.h"

typedef struct cuda_kept cuda_kept; /* what is kept of a planned graph (cuda_run.c) */

typedef struct {
    vm_cuda c;
    char name[16];
    cuda_kept *graphs;      /* all that have run: a fault names one of them */
    uint64_t next_id;
    const vm_node *running; /* whose launcher is at work: errors name it */
} cuda_device;

static inline cuda_device *cuda_of(vm_backend *be) { return (cuda_device *)(void *)be; }

/* VM_OK when code (cudaError_t) is 0; else one sentence: what failed and what to do. */
vm_status cuda_failed(const cuda_device *d, vm_error *e, int code, const char *what);
/* Why there is no such device, of n that code (cudaError_t) or their number leaves. */
vm_status cuda_no_device(vm_error *e, int ordinal, int code, int n);
/* The node that stands in a device block as faulted, by name. */
const char *cuda_fault_name(const cuda_device *d, const vm_gpu_block *b, char *buf, size_t size);

/* run(d, g, n), and the same on the processor (cuda_check.c). */
vm_status cuda_checked(vm_graph *g, vm_node *n, vm_status (*run)(cuda_device *, vm_graph *, vm_node *));
vm_status cuda_run(vm_backend *be, vm_graph *g);
void cuda_forget(vm_backend *be, vm_graph *g);
#endif
