/* backend.h - the only border between models and devices: memory, copies, and how a planned graph is run.
 * Kernels per op stand in vm_op (graph.h), one entry per device. */
#ifndef VM_BACKEND_H
#define VM_BACKEND_H
#include "kernels/base.h"

struct vm_graph;
typedef enum { VM_CPU_DEV, VM_CUDA_DEV } vm_device;

/* What --check counts: every op of a device is also computed on the processor and compared (slow). */
typedef struct {
    int64_t ops, values, skipped; /* compared; not compared because they change state */
    double worst;                 /* largest difference, in units of what is allowed */
    char worst_op[160];
} vm_check;

typedef struct vm_backend {
    const char *name; /* "cpu", "cuda:0" */
    vm_device device;
    void *(*alloc)(struct vm_backend *be, size_t bytes);  /* zeroed, 64-byte aligned; NULL when out of memory */
    void *(*room)(struct vm_backend *be, size_t bytes);   /* the same with any content: what is written before it is read */
    void (*free)(struct vm_backend *be, void *p);
    vm_status (*upload)(struct vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e);
    vm_status (*download)(struct vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e);
    vm_status (*copy)(struct vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e); /* device to device, in stream order */
    vm_status (*run)(struct vm_backend *be, struct vm_graph *g); /* all nodes in order; first error ends it */
    void (*forget)(struct vm_backend *be, struct vm_graph *g);   /* addresses change: drops g->kept; NULL = run keeps nothing */
    vm_status (*wait)(struct vm_backend *be, vm_error *e);       /* until all that was queued is done, and whether it went well */
    void (*memory)(struct vm_backend *be, size_t *left, size_t *all); /* bytes; NULL = the host's */
    vm_check *check; /* of the caller; NULL = runs are not checked */
} vm_backend;

vm_backend *vm_backend_cpu(void); /* one per process, never freed */
/* "cpu"; "cuda:N": the N-th CUDA device; "cuda": the first, or of several processes on a machine each its own; "auto": the first CUDA device if there is one, else cpu; "emu": the emulated
 * device of test builds. One per device and process, never freed. NULL and one sentence when there is none. */
vm_backend *vm_backend_open(const char *device, vm_error *e);
vm_backend *vm_backend_cuda(int ordinal, vm_error *e); /* in builds with CUDA */
void *vm_backend_stream(const vm_backend *be);          /* cudaStream_t of a CUDA device; NULL of others, emulated ones too */

/* vm_nomem of that backend: says how much memory it has. */
vm_status vm_nomem_on(vm_backend *be, vm_error *e, size_t bytes, const char *what);
bool vm_has_bf16(const vm_backend *be); /* has the device products of bf16? */

/* n bytes of a backend's memory under a host address: the memory itself on the processor, a copy elsewhere.
 *   if (!vm_mirror_open(&m, p->be, p->grad, bytes, true, e)) { ... m.host ...; vm_mirror_close(&m, false, e); }
 * read: the copy begins as what is there (p NULL gives host NULL). written: what the caller changed goes back. */
typedef struct {
    vm_backend *be;
    void *there, *host;
    size_t bytes;
} vm_mirror;
vm_status vm_mirror_open(vm_mirror *m, vm_backend *be, const void *p, size_t bytes, bool read, vm_error *e);
vm_status vm_mirror_close(vm_mirror *m, bool written, vm_error *e);

/* --- the processor ------------------------------------------------------------------------------------------------- */
int vm_cpu_level(void);            /* 0 = baseline, 1 = x86-64-v3, 2 = x86-64-v4 */
void vm_cpu_force(int level);      /* tests: at most what the processor has; -1 = best */
bool vm_cpu_has_bf16(void);        /* native bf16 dot products */
bool vm_cpu_has_vnni(void);        /* products of 64 bytes added in fours */
void vm_threads(int n);            /* 0 = from affinity mask and cgroup quota */
int vm_num_threads(void);

#endif
