/* box_cpu.c - see box.c. */
#include "kernels/box.h"
#include "kernels/cpu.h"
#include "kernels/ops.h"

static vm_status check(vm_graph *g, const int32_t *match, int64_t N, int64_t Q) {
    for (int64_t i = 0; i < N; i++)
        if (match[i] >= Q)
            return vm_fail(&g->err, VM_EINPUT, "box_loss: target %lld is matched with box %d of %lld", (long long)i,
                           (int)match[i], (long long)Q);
    return VM_OK;
}

vm_status VM_KERNEL(box_loss_cpu)(vm_graph *g, vm_node *n) {
    const vm_real *box = vm_in(g, n, 0), *target = vm_in(g, n, 1), *norm = vm_in(g, n, 3);
    const int32_t *match = vm_in(g, n, 2);
    vm_real *y = vm_o(g, n, 0), *term = vm_o(g, n, 1);
    int64_t N = vm_count(g, n->in[2]), Q = vm_dim(g, n->in[0], 1), T = vm_dim(g, n->in[1], 1);
    if (check(g, match, N, Q)) return g->err.status;
    for (int64_t i = 0; i < N; i++) {
        term[i] = 0;
        if (match[i] < 0) continue;
        const vm_real *p = box + (i / T * Q + match[i]) * 4, *t = target + i * 4;
        if (n->i[0] == VM_BOX_GIOU) term[i] = 1 - box_giou(box_of(p, true), box_of(t, true));
        else
            for (int k = 0; k < 4; k++) term[i] += (vm_real)fabs((double)(p[k] - t[k]));
    }
    *y = vm_row_sum(term, N) / *norm;
    return VM_OK;
}

vm_status VM_KERNEL(box_loss_back_cpu)(vm_graph *g, vm_node *n) {
    const vm_real *box = vm_in(g, n, 0), *target = vm_in(g, n, 1), *norm = vm_in(g, n, 3), *up = vm_in(g, n, 4);
    const int32_t *match = vm_in(g, n, 2);
    vm_real *d = vm_o(g, n, 0), scale = *up / *norm;
    int64_t N = vm_count(g, n->in[2]), Q = vm_dim(g, n->in[0], 1), T = vm_dim(g, n->in[1], 1);
    if (check(g, match, N, Q)) return g->err.status;
    if (!vm_adds(g, n, 0)) memset(d, 0, (size_t)vm_count(g, n->out[0]) * sizeof *d);
    for (int64_t i = 0; i < N; i++) {
        if (match[i] < 0) continue;
        const vm_real *p = box + (i / T * Q + match[i]) * 4, *t = target + i * 4;
        vm_real *to = d + (i / T * Q + match[i]) * 4;
        if (n->i[0] == VM_BOX_GIOU) box_giou_back(box_of(p, true), box_of(t, true), true, -scale, to);
        else
            for (int k = 0; k < 4; k++) to[k] += p[k] > t[k] ? scale : p[k] < t[k] ? -scale : 0;
    }
    return VM_OK;
}

vm_status VM_KERNEL(giou_cpu)(vm_graph *g, vm_node *n) {
    const vm_real *a = vm_in(g, n, 0), *b = vm_in(g, n, 1);
    vm_real *y = vm_o(g, n, 0);
    int64_t B = vm_dim(g, n->in[0], 0), N = vm_dim(g, n->in[0], 1), M = vm_dim(g, n->in[1], 1);
    bool centre = n->i[0];
#pragma omp parallel for schedule(static) if (B * N * M > VM_PAR_MIN / 8)
    for (int64_t i = 0; i < B * N; i++) {
        box_corners own = box_of(a + i * 4, centre);
        for (int64_t m = 0; m < M; m++) y[i * M + m] = box_giou(own, box_of(b + (i / N * M + m) * 4, centre));
    }
    return VM_OK;
}

vm_status VM_KERNEL(giou_back_cpu)(vm_graph *g, vm_node *n) {
    const vm_real *a = vm_in(g, n, 0), *b = vm_in(g, n, 1), *dy = vm_in(g, n, 2);
    vm_real *d = vm_o(g, n, 0);
    int64_t B = vm_dim(g, n->in[0], 0), N = vm_dim(g, n->in[0], 1), M = vm_dim(g, n->in[1], 1);
    bool centre = n->i[0], columns = n->i[1], add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (B * N * M > VM_PAR_MIN / 8)
    for (int64_t i = 0; i < B * N; i++) {
        box_corners own = box_of(a + i * 4, centre);
        vm_real sum[4] = { 0 };
        for (int64_t m = 0; m < M; m++) {
            int64_t other = i / N * M + m, at = columns ? other * N + i % N : i * M + m;
            box_giou_back(own, box_of(b + other * 4, centre), centre, dy[at], sum);
        }
        for (int k = 0; k < 4; k++) d[i * 4 + k] = (add ? d[i * 4 + k] : 0) + sum[k];
    }
    return VM_OK;
}
