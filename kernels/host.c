/* host.c - a C function between nodes: matching, sampling, whatever has no kernel. Its inputs and outputs are host
 * addresses; it ends a segment of what a GPU can run as one launch. */
#include "kernels/ops.h"

VM_CPU_DECLARE(host_cpu);

typedef struct {
    const char *name;
    vm_host_fn fn;
    void *ctx;
    int n;
    const vm_shape *shapes;
} call;

static vm_status infer(vm_graph *g, vm_node *n) {
    const call *c = n->ptr;
    for (int k = 0; k < c->n; k++) vm_node_out(g, n, c->shapes[k].type, c->shapes[k].nd, c->shapes[k].ne);
    return VM_OK;
}
static void free_call(vm_node *n) { vm_free(n->cache); }
static const vm_op host = { .name = "host", .infer = infer, .cpu = VM_CPU(host_cpu), .no_grad = true,
    .stateful = true, .host = true, .free_node = free_call };

bool vm_host(vm_graph *g, const char *name, vm_host_fn fn, void *ctx, int n_in, const vm_val *in, int n_out,
             const vm_shape *shapes, vm_val *out) {
    call now = { name, fn, ctx, n_out, shapes }, *kept = vm_alloc(sizeof *kept);
    vm_node *n = kept ? vm_append(g, &host, n_in, in, &(vm_node){ .ptr = &now }) : NULL;
    if (!n) {
        vm_free(kept);
        return false;
    }
    *kept = now;
    kept->shapes = NULL; /* the caller's; only inference reads them */
    n->ptr = n->cache = kept;
    for (int k = 0; k < n_out; k++) out[k] = n->out[k];
    return true;
}

/* for host_cpu.c */
vm_status vm_host_call(const vm_node *n, const void *const *in, void *const *out, vm_error *e) {
    const call *c = n->cache;
    vm_status st = c->fn(c->ctx, n->n_in, in, n->n_out, out, e);
    return st && !e->status ? vm_fail(e, st, "%s failed", c->name) : st;
}
