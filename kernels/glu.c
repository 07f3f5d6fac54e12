/* glu.c - gated linear units (Dauphin et al. 2017; Shazeer 2020): y = value act(gate), with act SiLU (SwiGLU), GELU
 * or its tanh form (GEGLU), sigmoid (GLU). Value and gate are two tensors, or the two halves of the columns of one:
 *
 *   Llama, Mistral, Qwen   gate_proj and up_proj apart      Phi-3   gate_up_proj: gate, then value
 *   diffusers' GEGLU       value, then gate                 torch.nn.functional.glu: value, then gate
 *
 *   dvalue = dy act(gate);  dgate = dy value act'(gate)
 *
 * Bound by memory: everything is read once and written once. */
#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(glu_cpu);
VM_CPU_DECLARE(glu_back_cpu);
VM_CUDA_DECLARE(glu_cuda);
VM_CUDA_DECLARE(glu_back_cuda);

static bool is_gate(int64_t act) {
    return act == VM_SILU || act == VM_GELU || act == VM_GELU_TANH || act == VM_SIGMOID || act == VM_RELU ||
           act == VM_QUICK_GELU;
}

/* in value, gate; or x with both; out y; i[0] type of y, i[1] activation, i[2] whether the gate stands first in x */
static vm_status infer(vm_graph *g, vm_node *n) {
    char a[64], b[64];
    bool packed = n->n_in == 1;
    if (!packed && !n->in[1]) return vm_bad(g, "glu: no gate");
    if (!vm_check_float(g, n, 0) || (!packed && !vm_check_float(g, n, 1))) return VM_EMODEL;
    if (!is_gate(n->i[1])) return vm_bad(g, "glu: the activation of a gate is one of SiLU, GELU, sigmoid, ReLU");
    vm_value x = g->v[n->in[0]];
    if (packed && x.ne[x.nd - 1] % 2)
        return vm_bad(g, "glu: x %s, an even number of columns is needed", vm_shape_text(g, n->in[0], a));
    if (!packed && !vm_same_shape(g, n->in[0], n->in[1]))
        return vm_bad(g, "glu: value %s, gate %s", vm_shape_text(g, n->in[0], a), vm_shape_text(g, n->in[1], b));
    if (packed) x.ne[x.nd - 1] /= 2;
    vm_node_out(g, n, (vm_type)n->i[0], x.nd, x.ne);
    return VM_OK;
}

/* in dy, then as above; out dvalue, dgate; or dx with both; i[0] type of out[0], i[1], i[2] as above, i[3] type of
 * dgate */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, (vm_type)n->i[0], n->in[1]);
    if (n->n_in == 3) vm_out_like(g, n, (vm_type)n->i[3], n->in[2]);
    return VM_OK;
}
static const vm_op back_op = { .name = "glu_back", .infer = infer_back, .cpu = VM_CPU(glu_back_cpu),
                               .cuda = VM_CUDA(glu_back_cuda), .acc_outs = 3 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], gate = n->n_in == 2 ? n->in[1] : 0;
    if (!vm_wants(g, x) && !vm_wants(g, gate)) return;
    vm_val in[] = { vm_dy(g, n, 0), x, gate };
    vm_node init = { .i = { g->v[x].type, n->i[1], n->i[2], gate ? g->v[gate].type : 0 } };
    vm_node *back = vm_append(g, &back_op, gate ? 3 : 2, in, &init);
    if (!back) return;
    vm_val out[] = { back->out[0], gate ? back->out[1] : 0 };
    vm_add_grad(g, x, out[0]);
    vm_add_grad(g, gate, out[1]);
}
static const vm_op glu = { .name = "glu", .infer = infer, .grad = grad, .cpu = VM_CPU(glu_cpu),
                           .cuda = VM_CUDA(glu_cuda) };

vm_val vm_glu(vm_graph *g, vm_val value, vm_val gate, vm_unary_kind act, vm_type out) {
    return vm_append1(g, &glu, 2, (vm_val[]){ value, gate }, &(vm_node){ .i = { out, act } });
}
vm_val vm_glu_packed(vm_graph *g, vm_val x, bool gate_first, vm_unary_kind act, vm_type out) {
    return vm_append1(g, &glu, 1, &x, &(vm_node){ .i = { out, act, gate_first } });
}
