/* matmul.c - c = scale * op(a) op(b), batched over equal leading axes. Gradients are products again:
 * with C = s A B: dA = s dC B^T, dB = s A^T dC, written for each of the four stored layouts. */
#include <inttypes.h>

#include "kernels/gemm.h"
#include "kernels/gpu_gemm.h"
#include "kernels/infer.h"

VM_CPU_DECLARE(matmul_cpu);
VM_CUDA_DECLARE(matmul_cuda);

static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value a = g->v[n->in[0]], b = g->v[n->in[1]];
    bool ta = n->i[0], tb = n->i[1], fits = a.nd == b.nd && a.nd >= 2;
    for (int k = 0; fits && k < a.nd - 2; k++) fits = a.ne[k] == b.ne[k];
    int64_t *am = a.ne + a.nd - 2, *bm = b.ne + b.nd - 2;
    char s[64], t[64];
    if (!vm_check_float(g, n, 0) || !vm_check_float(g, n, 1)) return VM_EMODEL;
    if (!vm_can_multiply(g, a.type, (vm_type)n->i[2]))
        return vm_bad(g, "matmul: %s x %s -> %s is not possible%s", vm_type_name(a.type), vm_type_name(b.type),
                      vm_type_name((vm_type)n->i[2]), vm_f16_hint(g, a.type));
    if (!fits || am[ta ? 0 : 1] != bm[tb ? 1 : 0] || a.type != b.type)
        return vm_bad(g, "matmul: %s%s %s does not fit %s%s %s", vm_shape_text(g, n->in[0], s), ta ? "^T" : "",
                      vm_type_name(a.type), vm_shape_text(g, n->in[1], t), tb ? "^T" : "", vm_type_name(b.type));
    int64_t M = am[ta ? 1 : 0], N = bm[tb ? 0 : 1], K = am[ta ? 0 : 1], batch = 1;
    for (int k = 0; k < a.nd - 2; k++) batch *= a.ne[k];
    am[0] = M, am[1] = N;
    vm_node_out(g, n, (vm_type)n->i[2], a.nd, a.ne);
    vm_gpu_planned(g, n, a.type, batch, M, N, K, !ta, g->deterministic);
    return VM_OK;
}

static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double c = (double)vm_count(g, n->out[0]), a = (double)vm_count(g, n->in[0]), b = (double)vm_count(g, n->in[1]);
    *flops = 2 * c * (double)vm_dim(g, n->in[0], n->i[0] ? -2 : -1);
    *bytes = (a + b) * (double)vm_type_size(g->v[n->in[0]].type) + c * (double)vm_type_size(g->v[n->out[0]].type);
}

static vm_val like(vm_graph *g, vm_val x, vm_val as) {
    return g->v[x].type == g->v[as].type ? x : vm_cast(g, x, g->v[as].type);
}

static void grad(vm_graph *g, const vm_node *n) {
    vm_val a = n->in[0], b = n->in[1], dc = vm_dy(g, n, 0);
    bool ta = n->i[0], tb = n->i[1];
    float s = (float)n->f[0];
    if (!vm_wants(g, a) && !vm_wants(g, b)) return;
    dc = like(g, dc, a);
    if (vm_wants(g, a))
        vm_add_grad(g, a,
                    ta ? vm_matmul(g, b, dc, tb, true, s, g->v[a].type)
                       : vm_matmul(g, dc, b, false, !tb, s, g->v[a].type));
    if (vm_wants(g, b))
        vm_add_grad(g, b,
                    tb ? vm_matmul(g, dc, a, true, ta, s, g->v[b].type)
                       : vm_matmul(g, a, dc, !ta, false, s, g->v[b].type));
}

static const vm_op matmul = { .name = "matmul", .infer = infer, .grad = grad, .cost = cost, .cpu = VM_CPU(matmul_cpu),
                              .cuda = VM_CUDA(matmul_cuda), .acc_outs = 1, .free_node = vm_gemm_node_free };

vm_val vm_matmul(vm_graph *g, vm_val a, vm_val b, bool ta, bool tb, float scale, vm_type out) {
    if (!a || !b) return 0;
    vm_value av = g->v[a];
    if (g->v[b].nd == 2 && av.nd > 2 && !ta) { /* one b for all rows of a */
        vm_val flat = vm_reshape(g, a, 2, (int64_t[]){ vm_rows(g, a), vm_cols(g, a) });
        vm_val c = vm_matmul(g, flat, b, false, tb, scale, out);
        if (!c) return 0;
        av.ne[av.nd - 1] = vm_cols(g, c);
        return vm_reshape(g, c, av.nd, av.ne);
    }
    return vm_append1(g, &matmul, 2, (vm_val[]){ a, b }, &(vm_node){ .i = { ta, tb, out }, .f = { scale } });
}
