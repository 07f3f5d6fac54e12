/* backend_open.c - from the text of --device to a backend. */
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

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
vm_backend *vm_backend_open(const char *device, vm_error *e) {
    if (device && !strcmp(device, "cpu")) return vm_backend_cpu();
    if (!device || !strcmp(device, "auto")) {
        vm_backend *be = vm_backend_cuda(0, NULL);
        return be ? be : vm_backend_cpu();
    }
    if (strncmp(device, "cuda", 4) || (device[4] && device[4] != ':')) return unknown(device, e);
    char *end = NULL;
    long n = device[4] ? strtol(device + 5, &end, 10) : 0;
    if (end && (end == device + 5 || *end || n < 0 || n > 1023)) return unknown(device, e);
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
