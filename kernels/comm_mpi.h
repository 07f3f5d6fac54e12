/* comm_mpi.h - the seam between comm.c and MPI, which is there or not when the program is built. */
#ifndef VM_COMM_MPI_H
#define VM_COMM_MPI_H
#include "kernels/comm.h"

extern vm_status (*const vm_mpi_open)(vm_comm **out, vm_error *e); /* NULL = built without MPI */
#endif
