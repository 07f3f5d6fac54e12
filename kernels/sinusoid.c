/* sinusoid.c - numbers as sines and cosines of many frequencies: timesteps of diffusion (Ho et al. 2020),
 * coordinates of boxes and cells (Carion et al. 2020), the angles of rotary embeddings (rope.c).
 *
 *   a_i = scale t f_i;  dt = sum over i of scale f_i (dsin_i cos a_i - dcos_i sin a_i)
 *
 * Angles are f32, as the published networks compute them; sine and cosine of that angle are exact to f32. The
 * frequencies are made once, when the node is. */
#include "kernels/sinusoid.h"

#include <string.h>

#include "kernels/infer.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(sinusoid_cpu);
VM_CPU_DECLARE(sinusoid_back_cpu);
VM_CUDA_DECLARE(sinusoid_cuda);
VM_CUDA_DECLARE(sinusoid_back_cuda);

/* in t; out y; i[0] type of y, i[1] C, i[2] layout; ptr vm_frequencies */
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value t = g->v[n->in[0]];
    if (t.type != VM_I32 && !vm_check_type(g, n, 0, VM_F32)) return VM_EMODEL;
    if (t.nd == VM_AXES) return vm_bad(g, "sinusoid: %d axes, and one more, at most %d", t.nd, VM_AXES);
    t.ne[t.nd] = n->i[1];
    vm_node_out(g, n, (vm_type)n->i[0], t.nd + 1, t.ne);
    return VM_OK;
}
/* in dy, t; out dt; i, ptr as above */
static vm_status infer_back(vm_graph *g, vm_node *n) {
    vm_out_like(g, n, VM_F32, n->in[1]);
    return VM_OK;
}
static const vm_op back_op = { .name = "sinusoid_back", .infer = infer_back, .cpu = VM_CPU(sinusoid_back_cpu),
                               .cuda = VM_CUDA(sinusoid_back_cuda), .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n) {
    if (!vm_wants(g, n->in[0])) return;
    vm_val in[] = { vm_dy(g, n, 0), n->in[0] };
    vm_node init = { .i = { n->i[0], n->i[1], n->i[2] }, .ptr = n->ptr };
    vm_add_grad(g, n->in[0], vm_append1(g, &back_op, 2, in, &init));
}
/* The frequencies belong to the first node; clones and gradients, of the same graph, read them there. */
static void free_frequencies(vm_node *n) { vm_free(n->cache); }
static const vm_op sinusoid = { .name = "sinusoid", .infer = infer, .grad = grad, .cpu = VM_CPU(sinusoid_cpu),
                                .cuda = VM_CUDA(sinusoid_cuda), .free_node = free_frequencies };

vm_val vm_sinusoid_of(vm_graph *g, vm_val t, int64_t C, int layout, const vm_frequencies *q, vm_type out) {
    if (!t || g->err.status) return 0;
    vm_frequencies *kept = vm_alloc(sizeof *kept);
    if (!kept) return vm_nomem(&g->err, sizeof *kept, "frequencies"), 0;
    *kept = *q;
    vm_node *n = vm_append(g, &sinusoid, 1, &t, &(vm_node){ .i = { out, C, layout }, .ptr = kept });
    if (!n) return vm_free(kept), 0;
    n->cache = kept;
    return n->out[0];
}

vm_val vm_sinusoid(vm_graph *g, vm_val t, vm_sinusoid_kind k, vm_type out) {
    int64_t half = k.C / 2;
    double scale = k.scale == 0 ? 1 : k.scale, period = k.period == 0 ? 10000 : k.period;
    if (k.C < 1 || half > VM_FREQUENCIES)
        return vm_bad(g, "sinusoid: %d columns, 1 to %d are possible", k.C, 2 * VM_FREQUENCIES + 1), 0;
    if (!(period > 0)) return vm_bad(g, "sinusoid: a period of %g", period), 0;
    if (half && (double)half - k.shift <= 0)
        return vm_bad(g, "sinusoid: a shift of %g for %d frequencies", k.shift, (int)half), 0;
    vm_frequencies q = { .n = half, .scale = (vm_real)scale, .amplitude = 1 };
    for (int64_t i = 0; i < half; i++) { /* in the steps of the published networks, each rounded to f32 */
        float e = (float)-log(period) * (float)i / (float)((double)half - k.shift);
        q.f[i] = (float)exp((double)e);
    }
    return vm_sinusoid_of(g, t, k.C, k.layout, &q, out);
}
