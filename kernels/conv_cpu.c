/* conv_cpu.c - the convolutions of conv.c through convolve.h. */
#include "kernels/convolve.h"
#include "kernels/cpu.h"

/* The convolution of node n, made at its first run, and its workspace. Whether it adds may change from run to run,
 * though rarely: the first of several accumulated runs. */
static vm_convolve *convolution(vm_graph *g, vm_node *n, vm_convolve_what what, vm_val x, vm_val w, vm_val y,
                                void **scratch) {
    const vm_value *px = &g->v[x], *pw = &g->v[w], *py = &g->v[y];
    vm_convolve_shape s = { .what = what, .k = vm_conv_of(n), .x = px->type, .w = pw->type, .y = py->type };
    s.B = px->ne[0], s.H = px->ne[1], s.W = px->ne[2], s.C = px->ne[3];
    s.OH = py->ne[1], s.OW = py->ne[2], s.N = py->ne[3];
    s.add = vm_adds(g, n, 0), s.deterministic = g->deterministic;
    if (what == CONVOLVE_Y) s.bias = n->in[2] != 0, s.act = (vm_unary_kind)n->i[VM_CONV_ACT];
    if (what != CONVOLVE_DW) s.packed = vm_convolve_packs(g, w);
    if (n->cache && vm_convolve_of(n->cache)->add != s.add) n->op->free_node(n);
    if (!n->cache) n->cache = vm_convolve_new(&s, &g->err);
    if (!n->cache || !(*scratch = vm_scratch(g, vm_convolve_scratch(n->cache)))) return NULL;
    return n->cache;
}

static vm_status run(vm_graph *g, vm_node *n, vm_convolve_what what, vm_val x, vm_val w, vm_val y) {
    void *scratch = NULL;
    vm_convolve *m = convolution(g, n, what, x, w, y, &scratch);
    if (!m) return g->err.status;
    void *weights = vm_convolve_of(m)->packed ? vm_convolve_pack(m, g->v[w].param, &g->err) : g->v[w].data;
    const float *bias = what == CONVOLVE_Y ? vm_in(g, n, 2) : NULL;
    return weights ? vm_convolve_run(m, g->v[x].data, weights, bias, g->v[y].data, scratch, &g->err) : g->err.status;
}

vm_status VM_KERNEL(conv2d_cpu)(vm_graph *g, vm_node *n) {
    return run(g, n, CONVOLVE_Y, n->in[0], n->in[1], n->out[0]);
}
vm_status VM_KERNEL(conv2d_dx_cpu)(vm_graph *g, vm_node *n) {
    return run(g, n, CONVOLVE_DX, n->out[0], n->in[1], n->in[0]);
}
vm_status VM_KERNEL(conv2d_dw_cpu)(vm_graph *g, vm_node *n) {
    return run(g, n, CONVOLVE_DW, n->in[1], n->out[0], n->in[0]);
}
