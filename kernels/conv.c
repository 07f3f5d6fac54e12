/* conv.c - y = act(x * w + b) [+ residual], two-dimensional convolution of channels-last pictures. FLOPs
 * 2 B OH OW N (C/groups) KH KW; bound by arithmetic except depthwise.
 *
 * Gradients: dx and dw are the adjoints of the sum (convolve.h), db = column sums of dy, dresidual = dy. In training an
 * activation is a node of its own, as in linear.c. A 1 x 1 kernel with stride 1 and no padding is vm_linear, gradients
 * and all. */
#include <inttypes.h>

#include "kernels/convolve.h"
#include "kernels/gpu_conv.h"
#include "kernels/infer.h"
#include "kernels/linear.h"

VM_CPU_DECLARE(conv2d_cpu);
VM_CPU_DECLARE(conv2d_dx_cpu);
VM_CPU_DECLARE(conv2d_dw_cpu);
VM_CUDA_DECLARE(conv2d_cuda);
VM_CUDA_DECLARE(conv2d_dx_cuda);
VM_CUDA_DECLARE(conv2d_dw_cuda);

static void free_conv(vm_node *n) {
    vm_convolve_free(n->cache);
    n->cache = NULL;
}

static void put(vm_node *n, vm_conv k) {
    const int64_t v[] = { k.KH, k.KW, k.stride[0], k.stride[1], k.dilation[0], k.dilation[1],
                          k.pad[0], k.pad[1], k.pad[2], k.pad[3], k.groups };
    for (int j = 0; j < VM_LEN(v); j++) n->i[j] = v[j];
}
vm_conv vm_conv_of(const vm_node *n) {
    const int64_t *i = n->i;
    return (vm_conv){ (int)i[0], (int)i[1], { (int)i[2], (int)i[3] }, { (int)i[4], (int)i[5] },
                      { (int)i[6], (int)i[7], (int)i[8], (int)i[9] }, (int)i[10] };
}

/* Rows (axis 0) or columns (1) of the output; 0 when the kernel does not fit. */
static int64_t extent(const vm_conv *k, int axis, int64_t n) {
    int64_t span = (axis ? k->KW : k->KH) - 1,
            room = n + k->pad[axis] + k->pad[axis + 2] - span * k->dilation[axis] - 1;
    return n < 1 || room < 0 ? 0 : room / k->stride[axis] + 1;
}

/* --- on a device (gpu_conv.h) ------------------------------------------------------------------------------------- */
vm_conv_plan vm_conv_plan_of(const vm_graph *g, const vm_node *n, vm_convolve_what what) {
    vm_conv k = vm_conv_of(n);
    const vm_value *y = &g->v[what == CONVOLVE_Y ? n->out[0] : n->in[0]],
                   *x = &g->v[what == CONVOLVE_Y ? n->in[0] : what == CONVOLVE_DX ? n->out[0] : n->in[1]];
    int64_t Cg = x->ne[3] / k.groups, Ng = y->ne[3] / k.groups, taps = (int64_t)k.KH * k.KW, sh = k.stride[0], sw = k.stride[1];
    vm_conv_plan s = { .M = y->ne[0] * y->ne[1] * y->ne[2], .N = Ng, .K = taps * Cg, .batch = k.groups };
    s.direct = k.groups > 1 && (Cg <= 4 || Ng <= 4);
    if (what == CONVOLVE_DX) { /* the largest phase */
        int ph = vm_conv_period(&k, 0), pw = vm_conv_period(&k, 1);
        s.M = x->ne[0] * ((x->ne[1] + sh - 1) / sh) * ((x->ne[2] + sw - 1) / sw), s.N = Cg, s.batch *= sh * sw;
        s.K = (int64_t)((k.KH + ph - 1) / ph) * ((k.KW + pw - 1) / pw) * Ng;
    }
    if (what == CONVOLVE_DW) s.K = s.M, s.M = Ng, s.N = taps * Cg;
    return s;
}

/* Further outputs: the weight in the kernels' order where no copy is kept, sums of parts. */
static void on_device(vm_graph *g, vm_node *n, vm_convolve_what what) {
    if (g->be->device != VM_CUDA_DEV) return;
    vm_conv_plan s = vm_conv_plan_of(g, n, what);
    bool dw = what == CONVOLVE_DW, phases = what == CONVOLVE_DX && s.batch != n->i[10];
    if (s.direct) {
        if (dw) vm_gpu_planned_sums(g, n, s.K, s.M * s.N * s.batch);
        return;
    }
    vm_type t = g->v[n->in[dw ? 1 : 0]].type;
    if (!dw && !vm_gpu_packs(g, n->in[1])) vm_node_out(g, n, t, 1, (int64_t[]){ vm_count(g, n->in[1]) });
    vm_gpu_planned(g, n, t, s.batch, s.M, s.N, s.K, false, phases || (!dw && g->deterministic));
}

/* in x, w, b, residual; out y */
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], w = g->v[n->in[1]];
    vm_conv k = vm_conv_of(n);
    const int64_t most = 1 << 20;
    char a[64], b[64];
    for (int j = 0; j < 11; j++)
        if (n->i[j] < (j < 6 || j == 10) || n->i[j] > most)
            return vm_bad(g, "conv2d: kernel, stride, dilation and groups are 1 to %" PRId64 ", padding 0 to as many",
                          most);
    if (!vm_can_multiply(g, x.type, (vm_type)n->i[VM_CONV_OUT]) || !vm_can_multiply(g, w.type, VM_F32))
        return vm_bad(g, "conv2d: %s x %s -> %s is not possible%s", vm_type_name(x.type), vm_type_name(w.type),
                      vm_type_name((vm_type)n->i[VM_CONV_OUT]), vm_f16_hint(g, x.type));
    if (x.nd != 4) return vm_bad(g, "conv2d: x %s, pictures (B,H,W,C) are needed", vm_shape_text(g, n->in[0], a));
    if (w.nd != 2 || x.ne[3] % k.groups || w.ne[0] % k.groups || w.ne[1] != x.ne[3] / k.groups * k.KH * k.KW)
        return vm_bad(g, "conv2d: x %s does not fit weight %s with a kernel of %d x %d in %d groups",
                      vm_shape_text(g, n->in[0], a), vm_shape_text(g, n->in[1], b), k.KH, k.KW, k.groups);
    if (n->in[2] && (g->v[n->in[2]].nd != 1 || g->v[n->in[2]].ne[0] != w.ne[0]))
        return vm_bad(g, "conv2d: bias %s for %" PRId64 " outputs", vm_shape_text(g, n->in[2], a), w.ne[0]);
    if (n->in[2] && !vm_check_type(g, n, 2, VM_F32)) return VM_EMODEL;
    int64_t OH = extent(&k, 0, x.ne[1]), OW = extent(&k, 1, x.ne[2]);
    if (!OH || !OW)
        return vm_bad(g, "conv2d: a kernel of %d x %d does not fit into x %s", k.KH, k.KW,
                      vm_shape_text(g, n->in[0], a));
    vm_node_out(g, n, (vm_type)n->i[VM_CONV_OUT], 4, (int64_t[]){ x.ne[0], OH, OW, w.ne[0] });
    on_device(g, n, CONVOLVE_Y);
    if (n->in[3]) {
        if (!vm_same_shape(g, n->in[3], n->out[0]))
            return vm_bad(g, "conv2d: residual %s for an output %s", vm_shape_text(g, n->in[3], a),
                          vm_shape_text(g, n->out[0], b));
        n->acc[0] = n->in[3];
    }
    return VM_OK;
}

/* in[1] of conv2d and conv2d_dx */
static bool packs(const vm_graph *g, const vm_node *n, int k) { return k == 1 && vm_convolve_packs(g, n->in[1]); }

/* y: the value shaped like the output, w: the one shaped like the weight */
static void cost_of(const vm_graph *g, const vm_node *n, vm_val y, vm_val w, double *flops, double *bytes) {
    const vm_val v[] = { n->in[0], n->in[1], n->out[0] };
    *flops = 2 * (double)vm_count(g, y) * (double)vm_cols(g, w), *bytes = 0;
    for (int k = 0; k < 3; k++) *bytes += (double)vm_count(g, v[k]) * (double)vm_type_size(g->v[v[k]].type);
}
static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost_of(g, n, n->out[0], n->in[1], flops, bytes);
}
static void cost_dx(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost_of(g, n, n->in[0], n->in[1], flops, bytes);
}
static void cost_dw(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    cost_of(g, n, n->in[0], n->out[0], flops, bytes);
}

/* in dy, w; out dx of dy's type */
static vm_status infer_dx(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]];
    vm_conv k = vm_conv_of(n);
    int64_t C = g->v[n->in[1]].ne[1] / (k.KH * k.KW) * k.groups;
    vm_node_out(g, n, dy.type, 4, (int64_t[]){ dy.ne[0], n->i[VM_CONV_H], n->i[VM_CONV_W], C });
    on_device(g, n, CONVOLVE_DX);
    return VM_OK;
}
static const vm_op conv2d_dx = { .name = "conv2d_dx", .infer = infer_dx, .cost = cost_dx, .cpu = VM_CPU(conv2d_dx_cpu),
                                 .cuda = VM_CUDA(conv2d_dx_cuda), .acc_outs = 1, .packs = packs, .free_node = free_conv };

/* in dy, x; out dw f32 */
static vm_status infer_dw(vm_graph *g, vm_node *n) {
    vm_conv k = vm_conv_of(n);
    vm_node_out(g, n, VM_F32, 2, (int64_t[]){ vm_cols(g, n->in[0]), vm_cols(g, n->in[1]) / k.groups * k.KH * k.KW });
    on_device(g, n, CONVOLVE_DW);
    return VM_OK;
}
static const vm_op conv2d_dw = { .name = "conv2d_dw", .infer = infer_dw, .cost = cost_dw, .cpu = VM_CPU(conv2d_dw_cpu),
                                 .cuda = VM_CUDA(conv2d_dw_cuda), .acc_outs = 1, .free_node = free_conv };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0), x = n->in[0], w = n->in[1], b = n->in[2], residual = n->in[3];
    vm_node init = { .i = { 0 } };
    if (n->i[VM_CONV_ACT] != VM_NONE) {
        vm_bad(g, "conv2d: a fused activation has no gradient; build the graph with g->training");
        return;
    }
    put(&init, vm_conv_of(n));
    init.i[VM_CONV_H] = g->v[x].ne[1], init.i[VM_CONV_W] = g->v[x].ne[2];
    if (vm_wants(g, b)) vm_add_grad(g, b, vm_column_sums(g, dy));
    if (vm_wants(g, x) || vm_wants(g, w)) {
        vm_val d = g->v[dy].type == g->v[x].type ? dy : vm_cast(g, dy, g->v[x].type);
        if (vm_wants(g, w)) vm_add_grad(g, w, vm_append1(g, &conv2d_dw, 2, (vm_val[]){ d, x }, &init));
        if (vm_wants(g, x)) vm_add_grad(g, x, vm_append1(g, &conv2d_dx, 2, (vm_val[]){ d, w }, &init));
    }
    if (residual) vm_add_grad(g, residual, dy);
}

static const vm_op conv2d = { .name = "conv2d", .infer = infer, .grad = grad, .cost = cost, .cpu = VM_CPU(conv2d_cpu),
                              .cuda = VM_CUDA(conv2d_cuda), .acc_outs = 1, .acc_in = 3, .packs = packs, .free_node = free_conv };

vm_val vm_conv2d(vm_graph *g, vm_val x, vm_val w, vm_val b, vm_conv k, vm_unary_kind act, vm_val residual,
                 vm_type out) {
    for (int j = 0; j < 2; j++) k.stride[j] += !k.stride[j], k.dilation[j] += !k.dilation[j];
    k.groups += !k.groups;
    if (!x || !w) return 0;
    bool pads = k.pad[0] || k.pad[1] || k.pad[2] || k.pad[3];
    if (k.KH == 1 && k.KW == 1 && k.stride[0] == 1 && k.stride[1] == 1 && !pads && k.groups == 1 && g->v[x].nd == 4)
        return vm_linear(g, x, w, b, act, residual, out);
    if (g->dtype != VM_F32 && g->v[x].type != g->dtype) x = vm_cast(g, x, g->dtype);
    if (x && g->v[w].type == VM_F16 && g->be->device != VM_CUDA_DEV) w = vm_cast(g, w, g->v[x].type);
    if (!x || !w) return 0;
    if (act != VM_NONE && (g->training || residual || act > VM_TANH)) { /* convolutions end in the first few only */
        vm_val h = vm_conv2d(g, x, w, b, k, VM_NONE, 0, g->dtype);
        vm_val y = vm_unary(g, h, act, residual ? VM_F32 : out);
        return residual ? vm_binary(g, y, residual, VM_ADD) : y;
    }
    if (residual) out = g->v[residual].type;
    vm_node init = { .i = { 0 } };
    put(&init, k);
    init.i[VM_CONV_OUT] = out, init.i[VM_CONV_ACT] = act;
    return vm_append1(g, &conv2d, 4, (vm_val[]){ x, w, b, residual }, &init);
}
