/* optim.c - the optimizer step as ops: norm of all gradients, AdamW (Loshchilov & Hutter 2019, decoupled decay).
 *
 *   g' = scale g;  m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2
 *   p = p - lr wd p;  p = p - lr/(1-b1^t) m / (sqrt(v/(1-b2^t)) + eps)
 *
 * Both read param->grad and write state in place, so they live in a graph of their own that runs after the gradients
 * are complete. Bound by bytes: 4 reads and 3 writes of f32 per element. */
#include <string.h>

#include "kernels/ops.h"
#include "kernels/optim.h"

VM_CPU_DECLARE(grad_sqnorm_cpu);
VM_CPU_DECLARE(adamw_cpu);
VM_CPU_DECLARE(average_cpu);
VM_CUDA_DECLARE(grad_sqnorm_cuda);
VM_CUDA_DECLARE(adamw_cuda);
VM_CUDA_DECLARE(average_cuda);

static void free_list(vm_node *n) { vm_free(n->cache); }

/* no inputs; out the sum, partial sums of a GPU; i[0] parameters, i[1] chunks of them; cache their list */
static vm_status infer_norm(vm_graph *g, vm_node *n) {
    vm_node_out(g, n, VM_F32, 1, (int64_t[]){ 1 });
    vm_node_out(g, n, VM_F32, 1, &n->i[1]);
    return VM_OK;
}
static const vm_op grad_sqnorm = { .name = "grad_sqnorm",
                                   .infer = infer_norm,
                                   .cpu = VM_CPU(grad_sqnorm_cpu),
                                   .cuda = VM_CUDA(grad_sqnorm_cuda),
                                   .no_grad = true,
                                   .stateful = true,
                                   .free_node = free_list };

vm_val vm_grad_sqnorm(vm_graph *g, int n, vm_param *const *p) {
    vm_param **list = vm_calloc((size_t)n + 1, sizeof *list);
    if (!list) return vm_nomem(&g->err, (size_t)n * sizeof *list, "the parameter list"), 0;
    memcpy(list, p, (size_t)n * sizeof *list);
    int64_t chunks = 0;
    for (int k = 0; k < n; k++) chunks += (vm_param_count(p[k]) + VM_SQNORM_CHUNK - 1) / VM_SQNORM_CHUNK;
    vm_node *node = vm_append(g, &grad_sqnorm, 0, NULL, &(vm_node){ .i = { n, chunks } });
    if (!node) return vm_free(list), 0;
    node->cache = list;
    return node->out[0];
}

static vm_status infer_adamw(vm_graph *g, vm_node *n) {
    const vm_param *p = n->ptr;
    if (g->v[n->in[0]].type != VM_F32 || vm_count(g, n->in[0]) != 4)
        return vm_bad(g, "adamw: hyper must be 4 f32 values");
    if (p->type != VM_F32)
        return vm_bad(g, "adamw: %s is stored as %s; masters are f32", p->name, vm_type_name(p->type));
    if (!p->data) return vm_bad(g, "adamw: %s has no data; load or initialise the weights first", p->name);
    if (p->borrowed) return vm_bad(g, "adamw: %s is mapped from a file; load weights for writing", p->name);
    return VM_OK;
}
static void ran(vm_graph *g, vm_node *n) { vm_param_touch(n->ptr); }
static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    double N = (double)vm_param_count(n->ptr);
    *flops = 14 * N, *bytes = 28 * N;
}
static const vm_op adamw = {
    .name = "adamw", .infer = infer_adamw, .cost = cost, .cpu = VM_CPU(adamw_cpu), .cuda = VM_CUDA(adamw_cuda), .no_grad = true,
    .stateful = true, .ran = ran
};

void vm_adamw(vm_graph *g, vm_param *p, vm_val hyper, vm_adam a) {
    size_t bytes = (size_t)vm_param_count(p) * sizeof(float);
    if (!p->m) p->m = p->be->alloc(p->be, bytes);
    if (!p->v) p->v = p->be->alloc(p->be, bytes);
    if (!p->m || !p->v) vm_nomem_on(p->be, &g->err, bytes, "optimizer moments");
    else vm_append(g, &adamw, 1, &hyper, &(vm_node){ .ptr = p, .f = { a.beta1, a.beta2, a.eps, a.weight_decay } });
}

/* --- moving average --------------------------------------------------------------------------------------------------- */
static vm_status infer_average(vm_graph *g, vm_node *n) {
    return vm_count(g, n->in[0]) == 1 && g->v[n->in[0]].type == VM_F32 ? VM_OK : vm_bad(g, "average: the decay is one f32 value");
}
static const vm_op average = {
    .name = "average", .infer = infer_average, .cpu = VM_CPU(average_cpu), .cuda = VM_CUDA(average_cuda), .no_grad = true,
    .stateful = true
};

void vm_average(vm_graph *g, vm_param *p, vm_val decay) {
    size_t bytes = (size_t)vm_param_count(p) * sizeof(vm_real);
    bool fresh = !p->average;
    if (fresh && !(p->average = p->be->alloc(p->be, bytes))) {
        vm_nomem_on(p->be, &g->err, bytes, "the moving average");
        return;
    }
    if (fresh && p->be->copy(p->be, p->average, p->data, bytes, &g->err)) return;
    vm_append(g, &average, 1, &decay, &(vm_node){ .ptr = p });
}
