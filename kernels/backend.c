/* backend.c - what all backends have in common: host addresses of their memory, and the sentence when there is none left. */
#include <string.h>

#include "kernels/backend_cuda.h"

void *vm_backend_stream(const vm_backend *be) {
    return be->device == VM_CUDA_DEV && strcmp(be->name, "emu") ? ((const vm_cuda *)(const void *)be)->stream : NULL;
}

vm_status vm_mirror_open(vm_mirror *m, vm_backend *be, const void *p, size_t bytes, bool read, vm_error *e) {
    *m = (vm_mirror){ be, (void *)(uintptr_t)p, (void *)(uintptr_t)p, bytes };
    if (be->device == VM_CPU_DEV || !p) return VM_OK;
    if (!(m->host = vm_alloc(bytes + 1))) return vm_nomem(e, bytes, "a copy of what is on the device");
    if (!read || !be->download(be, m->host, p, bytes, e)) return VM_OK;
    vm_free(m->host);
    m->host = NULL;
    return e ? e->status : VM_EDEVICE;
}

vm_status vm_mirror_close(vm_mirror *m, bool written, vm_error *e) {
    vm_status st = VM_OK;
    if (m->host == m->there) return VM_OK;
    if (written && m->host) st = m->be->upload(m->be, m->there, m->host, m->bytes, e);
    vm_free(m->host);
    m->host = NULL;
    return st;
}

vm_status vm_nomem_on(vm_backend *be, vm_error *e, size_t bytes, const char *what) {
    size_t left = 0, all = 0;
    if (!be->memory) return vm_nomem(e, bytes, what);
    be->memory(be, &left, &all);
    return vm_fail(e, VM_EDEVICE,
                   "%s: out of memory: %.1f MB for %s, %.1f MB of %.1f MB are free; take a smaller batch (training: --chunk N, --recompute), or "
                   "--device cpu",
                   be->name, (double)bytes * 1e-6, what, (double)left * 1e-6, (double)all * 1e-6);
}
