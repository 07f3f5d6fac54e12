/* comm.c - one process, and who is there. See comm.h. */
#include "kernels/comm.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/comm_mpi.h"

static vm_status gather(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e) {
    if (n && to != from) memmove(to, from, (size_t)n * sizeof *to);
    return VM_OK;
}
static vm_status reduce(vm_comm *c, float *x, int64_t n, vm_comm_op op, vm_error *e) { return VM_OK; }
static vm_status reduce_f64(vm_comm *c, double *x, int64_t n, vm_comm_op op, vm_error *e) { return VM_OK; }
static void end(vm_comm *c, int code) {}
static vm_status broadcast(vm_comm *c, void *x, size_t bytes, int root, vm_error *e) { return VM_OK; }

vm_comm *vm_comm_self(void) {
    static vm_comm one = { .name = "one process", .size = 1, .all_gather = gather, .reduce_scatter = gather, .all_reduce = reduce,
                           .broadcast = broadcast, .all_reduce_f64 = reduce_f64, .abort = end };
    return &one;
}

/* How many processes the launcher says there are: Open MPI, MPICH and its kin (PMI), PMIx under srun. */
static int launched(void) {
    static const char *const names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS" };
    for (int k = 0; k < VM_LEN(names); k++)
        if (getenv(names[k])) return atoi(getenv(names[k]));
    /* a Slurm job has this in its batch script as well, where nobody else runs: only tasks of srun have a step */
    const char *n = getenv("SLURM_STEP_NUM_TASKS");
    return n && getenv("SLURM_PROCID") ? atoi(n) : 1;
}

bool vm_comm_has_mpi(void) { return vm_mpi_open != NULL; }

vm_status vm_comm_open(vm_comm **out, vm_error *e) {
    int n = launched();
    *out = vm_comm_self();
    if (n <= 1) return VM_OK;
    if (vm_mpi_open) return vm_mpi_open(out, e);
    return vm_fail(e, VM_EDEVICE, "%d processes were started together, but this program was built without MPI; install libopenmpi-dev and build again", n);
}

void vm_comm_close(vm_comm *c) {
    if (c && c->close) c->close(c);
}

vm_status vm_comm_same(vm_comm *c, uint64_t x, bool *same, vm_error *e) {
    double part[4] = { (double)(x >> 32), -(double)(x >> 32), (double)(x & 0xffffffff), -(double)(x & 0xffffffff) };
    if (c->all_reduce_f64(c, part, 4, VM_COMM_MAX, e)) return e->status;
    *same = part[0] == -part[1] && part[2] == -part[3];
    return VM_OK;
}

#ifndef VM_HAVE_NCCL
vm_status vm_comm_nccl(vm_comm **out, vm_comm *host, void *stream, vm_error *e) {
    *out = NULL;
    return vm_fail(e, VM_EDEVICE, "this program was built without NCCL; install NVIDIA's CUDA toolkit with NCCL and build again");
}
#endif
