/* comm.h - several processes that work on one thing: who they are, and the collectives that training needs.
 *
 * Processes are started by mpirun or srun and talk through MPI (comm_mpi.c); a program built without MPI, or started alone, is
 * one process, and every collective is then a copy. On GPUs the same collectives run through NCCL on device memory
 * (comm_nccl.c), whose communicator is made over MPI.
 *
 * Every rank must call the same collectives in the same order. A decision that one rank takes (a step is skipped, a signal has
 * come) goes through vm_comm_any first, or the others wait forever. Sums have one order per number of ranks: all ranks get the
 * same bits. Errors: VM_EDEVICE, a peer is lost. */
#ifndef VM_COMM_H
#define VM_COMM_H
#include "kernels/base.h"

typedef enum { VM_COMM_SUM, VM_COMM_MAX, VM_COMM_MIN } vm_comm_op;

typedef struct vm_comm vm_comm;
struct vm_comm {
    const char *name; /* "one process", "mpi", "nccl" */
    int rank, size;
    /* n floats of every rank, in order of ranks -> to (size * n) */
    vm_status (*all_gather)(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e);
    /* from (size * n), summed over ranks; block `rank` of the sum -> to (n) */
    vm_status (*reduce_scatter)(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e);
    vm_status (*all_reduce)(vm_comm *c, float *x, int64_t n, vm_comm_op op, vm_error *e);      /* in place */
    vm_status (*broadcast)(vm_comm *c, void *x, size_t bytes, int root, vm_error *e);           /* in place */
    /* small numbers of the host, whatever device the rest is on */
    vm_status (*all_reduce_f64)(vm_comm *c, double *x, int64_t n, vm_comm_op op, vm_error *e);
    void (*abort)(vm_comm *c, int code); /* ends all ranks: this one cannot go on; does not return when there are others */
    void (*close)(vm_comm *c);
};

vm_comm *vm_comm_self(void); /* one process; never freed */
/* The processes that a launcher started together with this one; vm_comm_self without a launcher. VM_EDEVICE when a launcher has
 * started several and this program was built without MPI. */
vm_status vm_comm_open(vm_comm **out, vm_error *e);
void vm_comm_close(vm_comm *c); /* accepts NULL */
bool vm_comm_has_mpi(void);     /* was MPI there when the program was built? */
/* The ranks of host on GPUs: collectives take device memory and are queued on the stream (a cudaStream_t). NCCL is opened at run
 * time. host stays in use for small numbers. */
vm_status vm_comm_nccl(vm_comm **out, vm_comm *host, void *stream, vm_error *e);

static inline vm_status vm_comm_any(vm_comm *c, bool *flag, vm_error *e) { /* true on one rank: true on all */
    double x = *flag;
    if (c->all_reduce_f64(c, &x, 1, VM_COMM_MAX, e)) return e->status;
    *flag = x > 0;
    return VM_OK;
}
/* Do all ranks hold the same number (a hash of options, a count of records)? */
vm_status vm_comm_same(vm_comm *c, uint64_t x, bool *same, vm_error *e);
static inline vm_status vm_comm_barrier(vm_comm *c, vm_error *e) {
    double x = 0;
    return c->all_reduce_f64(c, &x, 1, VM_COMM_SUM, e);
}

/* Rows [*from, *to) of n that a rank works on: as even as it goes, in order of ranks. */
static inline void vm_comm_share(const vm_comm *c, int64_t n, int64_t *from, int64_t *to) {
    *from = n * c->rank / c->size, *to = n * (c->rank + 1) / c->size;
}
#endif
