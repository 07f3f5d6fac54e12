/* groupnorm.c - normalisation of groups of channels of pictures (Wu & He 2018), with the SiLU that follows it in
 * diffusion networks. Per picture and group of D channels, n = P D values:
 *
 *   h = (x - mean) r,  r = 1/sqrt(var + eps), biased variance;  y = act(h w + b), w and b per channel
 *   with g = dy w:  dx = r (g - mean(g) - h mean(g h));  dw = sum dy h;  db = sum dy over pictures and pixels
 *
 * Saved: mean and r. Statistics and sums run in chunks of pixels, so that one large picture is work for many, and
 * are joined in the order of the chunks. Bound by memory: two reads and one write forward, four reads and one write
 * back. */
#include "kernels/groupnorm.h"

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(groupnorm_cpu);
VM_CPU_DECLARE(groupnorm_back_cpu);
VM_CUDA_DECLARE(groupnorm_cuda);
VM_CUDA_DECLARE(groupnorm_back_cuda);

/* in x, w, b; out y, mean, r, moments of the chunks; i[0] type of y, i[1] groups, i[2] activation */
static vm_status infer(vm_graph *g, vm_node *n) {
    char a[64];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_value x = g->v[n->in[0]];
    int64_t C = x.ne[x.nd - 1];
    if (x.nd < 2) return vm_bad(g, "groupnorm: x %s, pictures (B,...,C) are needed", vm_shape_text(g, n->in[0], a));
    if (n->i[1] < 1 || C % n->i[1])
        return vm_bad(g, "groupnorm: %lld groups of %lld channels", (long long)n->i[1], (long long)C);
    if (n->i[2] != VM_NONE && n->i[2] != VM_SILU)
        return vm_bad(g, "groupnorm: SiLU is the only activation that can follow");
    for (int k = 1; k < 3; k++) {
        if (!n->in[k]) return vm_bad(g, "groupnorm: input %d is missing", k);
        if (!vm_check_float(g, n, k) || !vm_check_count(g, n, k, C)) return VM_EMODEL;
    }
    vm_groupnorm_shape s = vm_groupnorm_of(&x, n->i[1]);
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    for (int k = 0; k < 2; k++) vm_node_out(g, n, VM_F32, 2, (int64_t[]){ s.B, s.G });
    vm_node_out(g, n, VM_F32, 4, (int64_t[]){ s.B, s.K, 2, s.G });
    return VM_OK;
}

/* in dy, x, w, mean, r; out dx, dw, db, sums of the chunks, mean(g) and mean(g h) of the groups;
 * i[0] type of dx, i[1] groups, i[2] whether dw, db are asked for */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_groupnorm_shape s = vm_groupnorm_of(&g->v[n->in[1]], n->i[1]);
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    for (int k = 0; k < 2; k++) vm_node_out(g, n, VM_F32, 1, &s.C);
    vm_node_out(g, n, VM_F32, 4, (int64_t[]){ s.B, s.KB, 2, s.C });
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ s.B, 2, s.G });
    return VM_OK;
}
static const vm_op back_op = { .name = "groupnorm_back", .infer = infer_back, .cpu = VM_CPU(groupnorm_back_cpu),
                               .cuda = VM_CUDA(groupnorm_back_cuda), .acc_outs = 7 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], w = n->in[1], b = n->in[2];
    bool params = vm_wants(g, w) || vm_wants(g, b);
    if (!params && !vm_wants(g, x)) return;
    if (n->i[2] != VM_NONE) {
        vm_bad(g, "groupnorm: a fused activation has no gradient; build the graph with g->training");
        return;
    }
    vm_val in[] = { vm_dy(g, n, 0), x, w, n->out[1], n->out[2] };
    vm_node *back = vm_append(g, &back_op, 5, in, &(vm_node){ .i = { g->v[x].type, n->i[1], params } });
    if (!back) return;
    vm_val out[] = { back->out[0], back->out[1], back->out[2] };
    vm_add_grad(g, x, out[0]);
    vm_add_grad(g, w, out[1]);
    vm_add_grad(g, b, out[2]);
}
static const vm_op groupnorm = { .name = "groupnorm", .infer = infer, .grad = grad, .over = true,
                                 .cpu = VM_CPU(groupnorm_cpu), .cuda = VM_CUDA(groupnorm_cuda) };

vm_val vm_groupnorm(vm_graph *g, vm_val x, vm_val w, vm_val b, int groups, float eps, vm_unary_kind act, vm_type out) {
    bool apart = act != VM_NONE && g->training;
    vm_node init = { .i = { apart ? g->dtype : out, groups, apart ? VM_NONE : act }, .f = { (double)eps } };
    vm_val y = vm_append1(g, &groupnorm, 3, (vm_val[]){ x, w, b }, &init);
    return apart ? vm_unary(g, y, act, out) : y;
}
