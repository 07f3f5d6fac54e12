/* norm.c - normalisation of rows: layernorm, rmsnorm, l2norm.
 *
 *   layernorm  h = (x - mean) r,  r = 1/sqrt(var + eps);  y = h w + b         (Ba et al. 2016)
 *   rmsnorm    h = x r,           r = 1/sqrt(mean(x^2) + eps);  y = h w       (Zhang & Sennrich 2019)
 *     with g = dy w:  dx = r (g - [mean(g)] - h mean(g h));  dw = sum dy h;  db = sum dy
 *     ([..] for layernorm only; sums over rows). Saved: mean and r per row.
 *   l2norm     y = x / n,  n = max(|x|, eps);  dx = (dy - y <y, dy>) / n where |x| > eps, else dy / eps. Saved: y, |x|.
 *
 * Bound by memory: one read and one write of the rows forward, two reads and one write backward. */
#include "kernels/chunks.h"
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(norm_cpu);
VM_CPU_DECLARE(norm_back_cpu);
VM_CPU_DECLARE(l2norm_cpu);
VM_CPU_DECLARE(l2norm_back_cpu);
VM_CUDA_DECLARE(norm_cuda);
VM_CUDA_DECLARE(norm_back_cuda);
VM_CUDA_DECLARE(l2norm_cuda);
VM_CUDA_DECLARE(l2norm_back_cuda);

/* --- layernorm, rmsnorm: in x, w, b; out y, mean, r; i[0] type of y, i[1] whether the mean is subtracted ---------- */
static vm_status infer(vm_graph *g, vm_node *n) {
    int64_t C = vm_cols(g, n->in[0]);
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    for (int k = 1; k < 3; k++)
        if (n->in[k] && (!vm_check_float(g, n, k) || !vm_check_count(g, n, k, C))) return VM_EMODEL;
    if (n->in[2] && !n->in[1]) return vm_bad(g, "%s: a bias needs a weight", n->op->name);
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    vm_value x = g->v[n->in[0]];
    for (int k = 0; k < 2; k++) vm_node_out(g, n, VM_F32, x.nd - 1, x.ne);
    return VM_OK;
}

/* in dy, x, w, mean, r; out dx, dw, db, partial sums;
 * i[0] type of dx, i[1] as above, i[2] whether dw, db are asked for */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    int64_t C = vm_cols(g, n->in[1]);
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    for (int k = 0; k < 2; k++) vm_node_out(g, n, VM_F32, 1, &C);
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ vm_chunks_on(g, vm_rows(g, n->in[1]), C), 2, C });
    return VM_OK;
}
static const vm_op norm_back = { .name = "norm_back", .infer = infer_back, .cpu = VM_CPU(norm_back_cpu),
    .cuda = VM_CUDA(norm_back_cuda), .acc_outs = 7 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], w = n->in[1], b = n->in[2];
    bool params = vm_wants(g, w) || vm_wants(g, b);
    if (!params && !vm_wants(g, x)) return;
    vm_val in[] = { vm_dy(g, n, 0), x, w, n->out[1], n->out[2] };
    vm_node *back = vm_append(g, &norm_back, 5, in, &(vm_node){ .i = { g->v[x].type, n->i[1], params } });
    if (!back) return;
    vm_val out[3] = { back->out[0], back->out[1], back->out[2] };
    vm_add_grad(g, x, out[0]);
    vm_add_grad(g, w, out[1]);
    vm_add_grad(g, b, out[2]);
}

static const vm_op layernorm = { .name = "layernorm", .infer = infer, .grad = grad, .cpu = VM_CPU(norm_cpu),
    .cuda = VM_CUDA(norm_cuda) };
static const vm_op rmsnorm = { .name = "rmsnorm", .infer = infer, .grad = grad, .cpu = VM_CPU(norm_cpu),
    .cuda = VM_CUDA(norm_cuda) };

vm_val vm_layernorm(vm_graph *g, vm_val x, vm_val w, vm_val b, float eps, vm_type out) {
    return vm_append1(g, &layernorm, 3, (vm_val[]){ x, w, b }, &(vm_node){ .f = { (double)eps }, .i = { out, true } });
}
vm_val vm_rmsnorm(vm_graph *g, vm_val x, vm_val w, float eps, vm_type out) {
    return vm_append1(g, &rmsnorm, 3, (vm_val[]){ x, w, 0 }, &(vm_node){ .f = { (double)eps }, .i = { out, false } });
}

/* --- l2norm: in x; out y, |x| ------------------------------------------------------------------------------------- */
static vm_status infer_l2(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_value x = g->v[n->in[0]];
    vm_node_out(g, n, VM_F32, x.nd, x.ne);
    vm_node_out(g, n, VM_F32, x.nd - 1, x.ne);
    return VM_OK;
}

/* in dy, y, |x|; out dx */
static vm_status infer_l2_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    return VM_OK;
}
static const vm_op l2norm_back = { .name = "l2norm_back", .infer = infer_l2_back, .cpu = VM_CPU(l2norm_back_cpu),
    .cuda = VM_CUDA(l2norm_back_cuda), .acc_outs = 1 };

static void grad_l2(vm_graph *g, const vm_node *n) {
    if (!vm_wants(g, n->in[0])) return;
    vm_val in[] = { vm_dy(g, n, 0), n->out[0], n->out[1] };
    vm_node init = { .i = { g->v[n->in[0]].type }, .f = { n->f[0] } };
    vm_add_grad(g, n->in[0], vm_append1(g, &l2norm_back, 3, in, &init));
}
static const vm_op l2norm = { .name = "l2norm", .infer = infer_l2, .grad = grad_l2, .cpu = VM_CPU(l2norm_cpu),
    .cuda = VM_CUDA(l2norm_cuda) };

vm_val vm_l2norm(vm_graph *g, vm_val x, float eps) {
    return vm_append1(g, &l2norm, 1, &x, &(vm_node){ .f = { (double)eps } });
}
