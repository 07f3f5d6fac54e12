/* comm_mpi.c - the collectives of comm.h through MPI (MPI-3; Open MPI, MPICH). Compiled to nothing but a NULL without it. */
#include "kernels/comm_mpi.h"

#ifdef VM_HAVE_MPI
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

/* MPI counts with int. */
enum { MOST = 1 << 28 };

static MPI_Op mpi_op(vm_comm_op op) { return op == VM_COMM_SUM ? MPI_SUM : op == VM_COMM_MAX ? MPI_MAX : MPI_MIN; }

static vm_status check(int rc, const char *what, vm_error *e) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    if (rc == MPI_SUCCESS) return VM_OK;
    MPI_Error_string(rc, text, &n);
    return vm_fail(e, VM_EDEVICE, "MPI %s failed, a peer is lost: %s; start the same command again, it goes on from the last checkpoint", what, text);
}

static vm_status all_gather(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e) {
    if (n > MOST) return vm_fail(e, VM_EDEVICE, "MPI all_gather: %lld floats a rank are more than %d", (long long)n, MOST);
    return check(MPI_Allgather(from, (int)n, MPI_FLOAT, to, (int)n, MPI_FLOAT, MPI_COMM_WORLD), "all_gather", e);
}

static vm_status reduce_scatter(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e) {
    if (n > MOST) return vm_fail(e, VM_EDEVICE, "MPI reduce_scatter: %lld floats a rank are more than %d", (long long)n, MOST);
    return check(MPI_Reduce_scatter_block(from, to, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD), "reduce_scatter", e);
}

static vm_status all_reduce(vm_comm *c, float *x, int64_t n, vm_comm_op op, vm_error *e) {
    for (int64_t at = 0; at < n && !e->status; at += MOST)
        check(MPI_Allreduce(MPI_IN_PLACE, x + at, (int)VM_MIN(n - at, (int64_t)MOST), MPI_FLOAT, mpi_op(op), MPI_COMM_WORLD), "all_reduce", e);
    return e->status;
}

static vm_status all_reduce_f64(vm_comm *c, double *x, int64_t n, vm_comm_op op, vm_error *e) {
    return check(MPI_Allreduce(MPI_IN_PLACE, x, (int)n, MPI_DOUBLE, mpi_op(op), MPI_COMM_WORLD), "all_reduce", e);
}

static vm_status broadcast(vm_comm *c, void *x, size_t bytes, int root, vm_error *e) {
    for (size_t at = 0; at < bytes && !e->status; at += MOST)
        check(MPI_Bcast((char *)x + at, (int)VM_MIN(bytes - at, (size_t)MOST), MPI_BYTE, root, MPI_COMM_WORLD), "broadcast", e);
    return e->status;
}

static void end_all(vm_comm *c, int code) { MPI_Abort(MPI_COMM_WORLD, code); }

static void close_mpi(vm_comm *c) {
    int done = 0;
    MPI_Finalized(&done);
    if (!done) MPI_Finalize();
}

static vm_status open_mpi(vm_comm **out, vm_error *e) {
    static vm_comm world = { .name = "mpi", .all_gather = all_gather, .reduce_scatter = reduce_scatter, .all_reduce = all_reduce,
                             .broadcast = broadcast, .all_reduce_f64 = all_reduce_f64,
                             .abort = end_all, .close = close_mpi };
    int started = 0, level;
    MPI_Initialized(&started);
    /* only the thread that trains calls MPI */
    if (!started && check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "start", e)) return e->status;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (check(MPI_Comm_rank(MPI_COMM_WORLD, &world.rank), "rank", e) || check(MPI_Comm_size(MPI_COMM_WORLD, &world.size), "size", e)) return e->status;
    *out = &world;
    return VM_OK;
}

vm_status (*const vm_mpi_open)(vm_comm **out, vm_error *e) = open_mpi;
#else
vm_status (*const vm_mpi_open)(vm_comm **out, vm_error *e) = NULL;
#endif
