/* kv.c - keys and values of generated text, kept between runs (state): new rows are written behind those of each sequence.
 *
 *   row of sequence b, position at[b] + t  =  k[b,t]    for at[b] + t < lengths[b]
 *
 * Position p of sequence b is row b T + p of a cache (B,T,C), or row p mod T of page pages[b, p/T] of a cache in pages (P,T,C):
 * sequences of any length then share the memory. A sequence of length 0 is an empty place of the batch and writes nothing. The
 * result is a view of the cache, so that what attends reads it after the write. Bound by memory: the new rows, twice. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(kv_append_cpu);
VM_CUDA_DECLARE(kv_append_cuda);

/* in cache, k (B,t,C), at (B), lengths (B), pages (B,n) or 0; out the cache */
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value cache = g->v[n->in[0]], k = g->v[n->in[1]];
    char a[64], b[64];
    if (!vm_check_float(g, n, 0) || !vm_check_float(g, n, 1)) return VM_EMODEL;
    if (cache.kind != VM_PARAM && !cache.is_view) return vm_bad(g, "kv_append: the cache is no parameter");
    if (cache.nd != 3 || k.nd != 3 || cache.ne[2] != k.ne[2] || cache.ne[1] < 1)
        return vm_bad(g, "kv_append: rows %s do not fit a cache %s", vm_shape_text(g, n->in[1], a), vm_shape_text(g, n->in[0], b));
    for (int j = 2; j < 4; j++)
        if (!vm_check_type(g, n, j, VM_I32) || !vm_check_count(g, n, j, k.ne[0])) return VM_EMODEL;
    if (n->in[4] && (!vm_check_type(g, n, 4, VM_I32) || g->v[n->in[4]].nd != 2 || vm_dim(g, n->in[4], 0) != k.ne[0]))
        return vm_bad(g, "kv_append: a table of pages %s for %lld sequences", vm_shape_text(g, n->in[4], a), (long long)k.ne[0]);
    if (!n->in[4] && cache.ne[0] != k.ne[0])
        return vm_bad(g, "kv_append: %lld sequences and a cache of %lld", (long long)k.ne[0], (long long)cache.ne[0]);
    vm_node_view(g, n, n->in[0], 0, cache.nd, cache.ne);
    return VM_OK;
}

static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    *flops = 0;
    *bytes = (double)vm_count(g, n->in[1]) *
             (double)(vm_type_size(g->v[n->in[1]].type) + vm_type_size(g->v[n->in[0]].type));
}

static const vm_op kv_append = { .name = "kv_append", .infer = infer, .cost = cost, .cpu = VM_CPU(kv_append_cpu),
    .cuda = VM_CUDA(kv_append_cuda), .no_grad = true, .stateful = true };

vm_val vm_kv_append(vm_graph *g, vm_val cache, vm_val k, vm_val at, vm_val lengths, vm_val pages) {
    if (!k || !at || !lengths) return 0;
    return vm_append1(g, &kv_append, 5, (vm_val[]){ cache, k, at, lengths, pages }, NULL);
}
