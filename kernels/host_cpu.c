/* host_cpu.c - on the CPU a host op is a call. */
#include "kernels/cpu.h"

vm_status vm_host_call(const vm_node *n, const void *const *in, void *const *out, vm_error *e);

vm_status VM_KERNEL(host_cpu)(vm_graph *g, vm_node *n) {
    const void *in[VM_MAX_IN];
    void *out[VM_MAX_OUT];
    for (int k = 0; k < n->n_in; k++) in[k] = vm_in(g, n, k);
    for (int k = 0; k < n->n_out; k++) out[k] = vm_o(g, n, k);
    return vm_host_call(n, in, out, &g->err);
}
