/* window.c - pictures (B,H,W,C) as windows of tokens (Liu et al. 2021, "Swin"), and back. Padding to whole windows
 * (zeros, right and below), the cyclic shift and the partition are one permutation; back, padding is dropped. Each
 * is the other's gradient. Bound by memory.
 *
 * The merging of 2 x 2 patches between stages is the partition into windows of 2 x 2 read as one row of 4 C columns,
 * tokens down the columns first, as the published weights stand. */
#include "kernels/window.h"

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(window_cpu);
VM_CPU_DECLARE(unwindow_cpu);
VM_CUDA_DECLARE(window_cuda);
VM_CUDA_DECLARE(unwindow_cuda);

/* i: B, H, W, size, shift, across. */
static bool fits(vm_graph *g, const vm_node *n) {
    const int64_t *i = n->i;
    if (i[3] < 1 || i[3] > 1024 || i[4] < 0 || i[4] >= i[3]) {
        vm_bad(g, "%s: windows of %lld, shifted by %lld: 1 to 1024, and a shift below", n->op->name, (long long)i[3],
               (long long)i[4]);
        return false;
    }
    int64_t nh = (i[1] + i[3] - 1) / i[3], nw = (i[2] + i[3] - 1) / i[3];
    if (i[0] < 0 || i[1] < 0 || i[2] < 0 || (double)i[0] * (double)(nh * i[3]) * (double)(nw * i[3]) > 0x7fffffff) {
        vm_bad(g, "%s: %lld pictures of %lld x %lld, at most 2^31 tokens", n->op->name, (long long)i[0],
               (long long)i[1], (long long)i[2]);
        return false;
    }
    return true;
}
vm_window_shape vm_window_of(const vm_node *n) {
    const int64_t *i = n->i;
    return (vm_window_shape){ (int32_t)i[0], (int32_t)i[1], (int32_t)i[2], (int32_t)i[3], (int32_t)i[4],
                              (int32_t)((i[1] + i[3] - 1) / i[3]), (int32_t)((i[2] + i[3] - 1) / i[3]), (int32_t)i[5] };
}

/* in x; out windows (B nh nw, size size, C) */
static vm_status infer_window(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    char a[64];
    if (!vm_check_float(g, n, 0)) return VM_EMODEL;
    if (x.nd != 4) return vm_bad(g, "window: x %s, pictures (B,H,W,C) are needed", vm_shape_text(g, n->in[0], a));
    for (int k = 0; k < 3; k++) n->i[k] = x.ne[k];
    if (!fits(g, n)) return VM_EMODEL;
    vm_window_shape s = vm_window_of(n);
    vm_node_out(g, n, x.type, 3, (int64_t[]){ x.ne[0] * s.nh * s.nw, n->i[3] * n->i[3], x.ne[3] });
    return VM_OK;
}
/* in windows; out x */
static vm_status infer_unwindow(vm_graph *g, vm_node *n) {
    vm_value y = g->v[n->in[0]];
    char a[64];
    if (!vm_check_float(g, n, 0) || !fits(g, n)) return VM_EMODEL;
    vm_window_shape s = vm_window_of(n);
    if (y.nd != 3 || y.ne[0] != n->i[0] * s.nh * s.nw || y.ne[1] != n->i[3] * n->i[3])
        return vm_bad(g, "unwindow: %s for %lld pictures of %lld x %lld in windows of %lld",
                      vm_shape_text(g, n->in[0], a), (long long)n->i[0], (long long)n->i[1], (long long)n->i[2],
                      (long long)n->i[3]);
    vm_node_out(g, n, y.type, 4, (int64_t[]){ n->i[0], n->i[1], n->i[2], y.ne[2] });
    return VM_OK;
}

static void grad(vm_graph *g, const vm_node *n);
static const vm_op window = { .name = "window", .infer = infer_window, .grad = grad, .cpu = VM_CPU(window_cpu),
                              .cuda = VM_CUDA(window_cuda), .acc_outs = 1 };
static const vm_op unwindow = { .name = "unwindow", .infer = infer_unwindow, .grad = grad, .cpu = VM_CPU(unwindow_cpu),
                                .cuda = VM_CUDA(unwindow_cuda), .acc_outs = 1 };
static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0);
    vm_node init = { .i = { n->i[0], n->i[1], n->i[2], n->i[3], n->i[4], n->i[5] } };
    if (vm_wants(g, n->in[0]))
        vm_add_grad(g, n->in[0], vm_append1(g, n->op == &window ? &unwindow : &window, 1, &dy, &init));
}

vm_val vm_window(vm_graph *g, vm_val x, int size, int shift) {
    return vm_append1(g, &window, 1, &x, &(vm_node){ .i = { 0, 0, 0, size, shift } });
}
vm_val vm_unwindow(vm_graph *g, vm_val y, int64_t B, int64_t H, int64_t W, int size, int shift) {
    return vm_append1(g, &unwindow, 1, &y, &(vm_node){ .i = { B, H, W, size, shift } });
}
vm_val vm_patch_merge(vm_graph *g, vm_val x) {
    vm_val y = vm_append1(g, &window, 1, &x, &(vm_node){ .i = { 0, 0, 0, 2, 0, true } });
    if (!y) return 0;
    vm_value v = g->v[x];
    return vm_reshape(g, y, 4, (int64_t[]){ v.ne[0], (v.ne[1] + 1) / 2, (v.ne[2] + 1) / 2, 4 * v.ne[3] });
}

/* --- constants of windowed attention, on the host ----------------------------------------------------------------- */
int64_t vm_window_count(int64_t H, int64_t W, int size) { return ((H + size - 1) / size) * ((W + size - 1) / size); }

/* Which of three bands of the rolled axis of n windows position p lies in: what came around the edge is a stranger. */
static int band(int64_t n, int size, int shift, int64_t p) {
    return p < n * size - size ? 0 : p < n * size - shift ? 1 : 2;
}
void vm_window_mask(float *mask, int64_t H, int64_t W, int size, int shift) {
    int64_t nh = (H + size - 1) / size, nw = (W + size - 1) / size, T = (int64_t)size * size;
    for (int64_t w = 0; w < nh * nw; w++)
        for (int64_t i = 0; i < T; i++)
            for (int64_t j = 0; j < T; j++) {
                int64_t r = w / nw * size, q = w % nw * size;
                bool same = band(nh, size, shift, r + i / size) == band(nh, size, shift, r + j / size) &&
                            band(nw, size, shift, q + i % size) == band(nw, size, shift, q + j % size);
                mask[(w * T + i) * T + j] = shift && !same ? -100.0f : 0.0f;
            }
}
void vm_window_relative(int32_t *ids, int size) {
    for (int i = 0, T = size * size; i < T; i++)
        for (int j = 0; j < T; j++)
            ids[i * T + j] = (i / size - j / size + size - 1) * (2 * size - 1) + i % size - j % size + size - 1;
}
