/* unary.c - activations and other functions of one element, and scale*x + shift.
 *
 * y = f(x);  dx = f'(x) dy, from x alone. With s(x) = 1/(1+e^-x), Phi and phi the normal distribution and its density:
 *   relu        max(x, 0)                          x > 0
 *   quick_gelu  x s(1.702 x)                       s (1 + 1.702 x (1 - s))
 *   gelu        x Phi(x)                           Phi + x phi            (Hendrycks & Gimpel 2016)
 *   gelu_tanh   x (1 + t)/2, t = tanh(u)           (1 + t)/2 + x/2 (1 - t^2) u',  u = sqrt(2/pi) (x + 0.044715 x^3)
 *   silu        x s(x)                             s (1 + x (1 - s))
 *   sigmoid, tanh, exp, log, square, sqrt, softplus = log(1 + e^x), neg
 * Bound by memory for the simple ones, by arithmetic for those with exp or erf when the data are in a cache. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(unary_cpu);
VM_CPU_DECLARE(unary_back_cpu);
VM_CPU_DECLARE(scale_cpu);
VM_CUDA_DECLARE(unary_cuda);
VM_CUDA_DECLARE(unary_back_cuda);
VM_CUDA_DECLARE(scale_cuda);

/* in x; out y; i[0] type of y, i[1] kind */
static vm_status infer(vm_graph *g, vm_node *n) {
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    return VM_OK;
}

/* in dy, x; out dx; i as above */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    return VM_OK;
}
static const vm_op unary_back = { .name = "unary_back", .infer = infer_back, .cpu = VM_CPU(unary_back_cpu),
    .cuda = VM_CUDA(unary_back_cuda), .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0];
    if (!vm_wants(g, x)) return;
    vm_node init = { .i = { g->v[x].type, n->i[1] } };
    vm_add_grad(g, x, vm_append1(g, &unary_back, 2, (vm_val[]){ vm_dy(g, n, 0), x }, &init));
}
static const vm_op unary = { .name = "unary", .infer = infer, .grad = grad, .cpu = VM_CPU(unary_cpu),
    .cuda = VM_CUDA(unary_cuda) };

vm_val vm_unary(vm_graph *g, vm_val x, vm_unary_kind k, vm_type out) {
    if (k == VM_NONE && x && g->v[x].type == out) return x;
    return vm_append1(g, &unary, 1, &x, &(vm_node){ .i = { out, k } });
}

/* --- scale: in x; out y = f[0] x + f[1]; i[0] type of y ----------------------------------------------------------- */
static void grad_scale(vm_graph *g, const vm_node *n);
static const vm_op scale_op = { .name = "scale", .infer = infer, .grad = grad_scale, .cpu = VM_CPU(scale_cpu),
    .cuda = VM_CUDA(scale_cuda), .acc_outs = 1 };

static void grad_scale(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], dy = vm_dy(g, n, 0);
    if (!vm_wants(g, x)) return;
    vm_node init = { .i = { g->v[x].type }, .f = { n->f[0] } };
    vm_add_grad(g, x, vm_append1(g, &scale_op, 1, &dy, &init));
}

vm_val vm_scale(vm_graph *g, vm_val x, float scale, float shift) {
    return vm_append1(g, &scale_op, 1, &x, &(vm_node){ .i = { VM_F32 }, .f = { (double)scale, (double)shift } });
}
