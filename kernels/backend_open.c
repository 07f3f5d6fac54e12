/* backend_open.c - from the text of --device to a backend. */
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/devices.h"

static vm_backend *unknown(const char *device, vm_error *e) {
    vm_fail(e, VM_EUSAGE, "--device %s: unknown; known are auto, cpu, cuda, cuda:N", device);
    return NULL;
}

#if defined(VM_EMU)
/* An emulated device is asked for by its own name only: nobody shall take it for a graphics card. */
vm_backend *vm_backend_open(const char *device, vm_error *e) {
    if (!device || !strcmp(device, "auto") || !strcmp(device, "cpu")) return vm_backend_cpu();
    if (!strcmp(device, "emu")) return vm_backend_cuda(0, e);
    if (strncmp(device, "cuda", 4)) return unknown(device, e);
    vm_fail(e, VM_EDEVICE, "--device %s: this test build emulates CUDA on the processor; use --device emu", device);
    return NULL;
}
#elif defined(VM_HAVE_CUDA)
/* Which of the processes that a launcher started on this machine: Open MPI, Slurm, MPICH and its kin. */
static int local_rank(void) {
    static const char *const names[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID" };
    for (int k = 0; k < VM_LEN(names); k++)
        if (getenv(names[k])) return VM_MAX(atoi(getenv(names[k])), 0);
    return 0;
}
static vm_backend *own_device(vm_error *e) {
    int n = vm_cuda_count(e);
    return n ? vm_backend_cuda(local_rank() % n, e) : NULL;
}

vm_backend *vm_backend_open(const char *device, vm_error *e) {
    if (device && !strcmp(device, "cpu")) return vm_backend_cpu();
    if (!device || !strcmp(device, "auto")) {
        vm_backend *be = own_device(NULL);
        return be ? be : vm_backend_cpu();
    }
    if (!strcmp(device, "cuda")) return own_device(e);
    if (strncmp(device, "cuda:", 5)) return unknown(device, e);
    char *end = NULL;
    long n = strtol(device + 5, &end, 10);
    if (end == device + 5 || *end || n < 0 || n > 1023) return unknown(device, e);
    return vm_backend_cuda((int)n, e);
}
#else
vm_backend *vm_backend_open(const char *device, vm_error *e) {
    if (!device || !strcmp(device, "auto") || !strcmp(device, "cpu")) return vm_backend_cpu();
    if (strncmp(device, "cuda", 4)) return unknown(device, e);
    vm_fail(e, VM_EDEVICE, "--device %s: this program was built without CUDA; build it where nvcc is installed, or use --device cpu", device);
    return NULL;
}
#endif
