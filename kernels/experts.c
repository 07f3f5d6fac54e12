/* experts.c - products of rows with the weight of their expert: rows sorted by expert, and where each expert's begin.
 *
 *   y[i] = x[i] W_e^T for offsets[e] <= i < offsets[e+1];  dx[i] = dy[i] W_e;  dW_e = sum of dy[i]^T x[i] over its rows
 *
 * x (M,K), W (E,N,K), offsets (E+1) i32 ascending from 0; rows from offsets[E] on belong to nobody and give zeros. Offsets are an input,
 * so one plan serves every routing. FLOPs 2 M N K; few rows per expert are bound by the bytes of the weights, which in 16 bits are read
 * where they lie (linear.h: vm_stays). */
#include "kernels/experts.h"

#include "kernels/infer.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

VM_CPU_DECLARE(experts_cpu);
VM_CPU_DECLARE(experts_dx_cpu);
VM_CPU_DECLARE(experts_dw_cpu);
VM_CUDA_DECLARE(experts_cuda);
VM_CUDA_DECLARE(experts_dx_cuda);
VM_CUDA_DECLARE(experts_dw_cuda);

void experts_free(vm_node *n) {
    experts_products *p = n->cache;
    for (int k = 0; p && k < 2 * EXPERTS_SIZES; k++) vm_gemm_free(p->of[k / EXPERTS_SIZES][k % EXPERTS_SIZES]);
    vm_free(p);
}

vm_gemm *experts_product(vm_graph *g, vm_node *n, int tail, int k, vm_gemm_shape s) {
    experts_products *p = n->cache ? n->cache : (n->cache = vm_calloc(1, sizeof *p));
    if (!p) return vm_nomem(&g->err, sizeof *p, "matrix products"), NULL;
    vm_gemm **one = &p->of[tail][k];
    if (*one && vm_gemm_of(*one)->add != s.add) vm_gemm_free(*one), *one = NULL;
    s.deterministic = g->deterministic;
    return *one ? *one : (*one = vm_gemm_new(&s, &g->err));
}

bool experts_offsets(vm_graph *g, const vm_node *n, const int32_t *o, int64_t E, int64_t M) {
    for (int64_t e = 0; e <= E; e++)
        if (o[e] < (e ? o[e - 1] : 0) || o[e] > M || (e == 0 && o[0] != 0))
            return vm_fail(&g->err, VM_EINPUT, "%s: offset %d at place %lld, they rise from 0 to at most %lld", n->op->name, (int)o[e],
                           (long long)e, (long long)M), false;
    return true;
}

static double size_of(const vm_graph *g, vm_val v) { return (double)vm_count(g, v) * (double)vm_type_size(g->v[v].type); }
static void cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes) {
    *flops = 2 * (double)vm_count(g, n->in[0]) * (double)n->i[1];
    *bytes = size_of(g, n->in[0]) + size_of(g, n->in[1]) + size_of(g, n->out[0]);
}

/* Room for one chunk of rows on either side, filled up to the size of a product. */
static void rows_room(vm_graph *g, vm_node *n, vm_type t, int64_t a, vm_type u, int64_t b) {
    if (g->be->device != VM_CPU_DEV) return;
    vm_node_out(g, n, t, 2, (int64_t[]){ EXPERTS_ROWS, a });
    vm_node_out(g, n, u, 2, (int64_t[]){ EXPERTS_ROWS, b });
}

/* in x (M,K), w (E,N,K), offsets; i[0] type of y, i[1] N; out y (M,N), room */
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], w = g->v[n->in[1]];
    vm_type t = (vm_type)n->i[0];
    char a[64], b[64];
    if (!vm_check_float(g, n, 0) || !(vm_stays(g, n->in[1]) || vm_check_type(g, n, 1, x.type)) || !vm_check_type(g, n, 2, VM_I32)) return VM_EMODEL;
    if (x.nd != 2 || w.nd != 3 || x.ne[1] != w.ne[2])
        return vm_bad(g, "experts: x %s does not fit weights %s", vm_shape_text(g, n->in[0], a), vm_shape_text(g, n->in[1], b));
    if (!vm_check_count(g, n, 2, w.ne[0] + 1)) return VM_EMODEL;
    if (t != VM_F32 && t != x.type)
        return vm_bad(g, "experts: %s -> %s is not possible", vm_type_name(x.type), vm_type_name(t));
    n->i[1] = w.ne[1];
    vm_node_out(g, n, t, 2, (int64_t[]){ x.ne[0], w.ne[1] });
    rows_room(g, n, x.type, x.ne[1], t, w.ne[1]);
    if (vm_stays(g, n->in[1])) vm_node_out(g, n, VM_F32, 1, (int64_t[]){ vm_few_room(x.ne[1]) });
    return VM_OK;
}

/* in dy (M,N), w (E,N,K), offsets; i[0] type of dx, i[1] K; out dx (M,K), room */
static vm_status infer_dx(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]];
    vm_node_out(g, n, (vm_type)n->i[0], 2, (int64_t[]){ dy.ne[0], n->i[1] });
    rows_room(g, n, dy.type, dy.ne[1], (vm_type)n->i[0], n->i[1]);
    return VM_OK;
}
static const vm_op experts_dx = { .name = "experts_dx", .infer = infer_dx, .cost = cost, .cpu = VM_CPU(experts_dx_cpu),
    .cuda = VM_CUDA(experts_dx_cuda), .acc_outs = 1, .free_node = experts_free };

/* in dy (M,N), x (M,K), offsets; i[0] E, i[1] K; out dW (E,N,K) f32, room */
static vm_status infer_dw(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]], x = g->v[n->in[1]];
    vm_node_out(g, n, VM_F32, 3, (int64_t[]){ n->i[0], dy.ne[1], x.ne[1] });
    rows_room(g, n, dy.type, dy.ne[1], x.type, x.ne[1]);
    return VM_OK;
}
static const vm_op experts_dw = { .name = "experts_dw", .infer = infer_dw, .cost = cost, .cpu = VM_CPU(experts_dw_cpu),
    .cuda = VM_CUDA(experts_dw_cuda), .acc_outs = 1, .free_node = experts_free };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val dy = vm_dy(g, n, 0), x = n->in[0], w = n->in[1], offsets = n->in[2];
    if (!vm_wants(g, x) && !vm_wants(g, w)) return;
    vm_type t = g->v[x].type;
    int64_t E = vm_dim(g, w, 0), K = vm_cols(g, x);
    vm_val d = g->v[dy].type == t ? dy : vm_cast(g, dy, t);
    if (vm_wants(g, w))
        vm_add_grad(g, w, vm_append1(g, &experts_dw, 3, (vm_val[]){ d, x, offsets }, &(vm_node){ .i = { E, K } }));
    if (vm_wants(g, x) && vm_stays(g, w)) w = vm_cast(g, w, t);
    if (vm_wants(g, x))
        vm_add_grad(g, x, vm_append1(g, &experts_dx, 3, (vm_val[]){ d, w, offsets }, &(vm_node){ .i = { t, K } }));
}
static const vm_op experts = { .name = "experts", .infer = infer, .grad = grad, .cost = cost, .cpu = VM_CPU(experts_cpu),
    .cuda = VM_CUDA(experts_cuda), .free_node = experts_free };

vm_val vm_experts(vm_graph *g, vm_val x, vm_val w, vm_val offsets, vm_type out) {
    if (!x || !w || !offsets) return 0;
    if (g->dtype != VM_F32 && g->v[x].type != g->dtype) x = vm_cast(g, x, g->dtype);
    if (x && g->v[w].type != g->v[x].type && !vm_stays(g, w)) w = vm_cast(g, w, g->v[x].type);
    return w ? vm_append1(g, &experts, 3, (vm_val[]){ x, w, offsets }, &(vm_node){ .i = { out } }) : 0;
}
