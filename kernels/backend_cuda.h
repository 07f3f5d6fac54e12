/* backend_cuda.h - what the launchers of kernels (*.cu) know of the CUDA device beside vm_backend: its stream, its limits, and
 * the block in device memory that tells kernels what varies from run to run. */
#ifndef VM_BACKEND_CUDA_H
#define VM_BACKEND_CUDA_H
#include "kernels/graph.h"

/* In device memory; the first three are written before each run in stream order. */
typedef struct {
    uint64_t seed, step; /* of the graph: keys of random ops */
    uint64_t graph;      /* which graph runs */
    uint64_t fault_graph;
    int64_t fault_value;
    int32_t fault_node;  /* index of the node */
    int32_t faulted;     /* 0 = none; a kernel that meets a value it cannot take fills in these (gpu_fault of gpu.cuh) */
} vm_gpu_block;

typedef struct {
    vm_backend be;
    void *stream;         /* cudaStream_t */
    int device, arch;     /* ordinal; 80, 86, 89, 90, ... */
    int sms;              /* streaming multiprocessors */
    size_t smem_block;    /* bytes of shared memory that a block can opt in to */
    vm_gpu_block *block;  /* device memory */
} vm_cuda;

static inline const vm_cuda *gpu_of(const vm_graph *g) { return (const vm_cuda *)(const void *)g->be; }
static inline void *gpu_stream(const vm_graph *g) { return gpu_of(g)->stream; }
static inline int gpu_node(const vm_graph *g, const vm_node *n) { return (int)(n - g->n); }

/* VM_OK when code (cudaError_t) is 0; else sets g->err to one sentence and returns its status. */
vm_status gpu_launched(vm_graph *g, int code);

/* A table of the node in device memory, the same address at every run: uploaded at the first, which nothing captures, then
 * `host` may be NULL. Lives as long as the plan. NULL and g->err when memory is out. */
const void *gpu_table(vm_graph *g, const vm_node *n, const void *host, size_t bytes);

#endif
