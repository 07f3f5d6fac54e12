/* route.c - rows sorted by the expert that each is sent to: what vm_experts reads.
 *
 *   experts (M,k) i32: the experts of token m. In the order (expert, m, slot) entry (m,j) stands at place[m,j];
 *   rows[place[m,j]] = m;  offsets[e] = the number of entries with an expert below e
 *
 * So x_sorted = gather_rows(x, rows), and gather_rows(y, place) (M,k,C) brings the results back. Bound by the launch. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(route_cpu);
VM_CUDA_DECLARE(route_cuda);

/* in experts (M,k); i[0] E; out rows (M*k), offsets (E+1), place (M,k) */
static vm_status infer(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->in[0]), E = n->i[0];
    char s[64];
    if (!vm_check_type(g, n, 0, VM_I32)) return VM_EMODEL;
    if (g->v[n->in[0]].nd != 2 || E < 1 || N > INT32_MAX)
        return vm_bad(g, "route: %s entries for %lld experts", vm_shape_text(g, n->in[0], s), (long long)E);
    vm_node_out(g, n, VM_I32, 1, &N);
    vm_node_out(g, n, VM_I32, 1, (int64_t[]){ E + 1 });
    vm_out_like(g, n, VM_I32, n->in[0]);
    return VM_OK;
}
static const vm_op route = { .name = "route", .infer = infer, .cpu = VM_CPU(route_cpu), .cuda = VM_CUDA(route_cuda), .no_grad = true };

vm_routing vm_route(vm_graph *g, vm_val experts, int64_t E) {
    vm_val rows = vm_append1(g, &route, 1, &experts, &(vm_node){ .i = { E } });
    if (!rows) return (vm_routing){ 0 };
    const vm_node *n = &g->n[g->v[rows].node];
    return (vm_routing){ n->out[0], n->out[1], n->out[2] };
}
