/* route_cpu.c - see route.c: a counting sort. */
#include "kernels/cpu.h"

vm_status VM_KERNEL(route_cpu)(vm_graph *g, vm_node *n) {
    const int32_t *id = vm_in(g, n, 0);
    int32_t *rows = vm_o(g, n, 0), *offsets = vm_o(g, n, 1), *place = vm_o(g, n, 2);
    int64_t N = vm_count(g, n->in[0]), k = vm_cols(g, n->in[0]), E = n->i[0];
    memset(offsets, 0, (size_t)(E + 1) * sizeof *offsets);
    for (int64_t i = 0; i < N; i++) {
        if (id[i] < 0 || id[i] >= E)
            return vm_fail(&g->err, VM_EINPUT, "route: expert %d of token %lld, there are %lld", (int)id[i], (long long)(i / k), (long long)E);
        offsets[id[i] + 1]++;
    }
    for (int64_t e = 0; e < E; e++) offsets[e + 1] += offsets[e];
    for (int64_t i = 0; i < N; i++) place[i] = offsets[id[i]]++, rows[place[i]] = (int32_t)(i / k);
    for (int64_t e = E; e > 0; e--) offsets[e] = offsets[e - 1]; /* each had moved to where the next begins */
    offsets[0] = 0;
    return VM_OK;
}
