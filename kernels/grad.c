/* grad.c - reverse mode: walks the nodes backwards and appends gradient nodes, which are ordinary ops.
 *
 * Rules kept here, once for all ops:
 *  - only values on a path from `wrt` to the outputs get gradients (wants_grad);
 *  - the first contribution to a gradient is the gradient, later ones are summed onto it in node order, inside the
 *    producing kernel where it can (vm_op.acc_outs), else by the `accumulate` op;
 *  - gradients of parameters live in param->grad, outside the arena;
 *  - nodes of a checkpoint segment are cloned right before their first backward use; the clone is what gradient rules
 *    see, its values know their originals (vm_value.orig), and its random key is the original's, so the gradients are
 *    bit-equal with and without it. */
#include <string.h>

#include "kernels/ops.h"

/* --- ops of this file -------------------------------------------------------------------------------------------- */
VM_CPU_DECLARE(ones_cpu);
VM_CPU_DECLARE(accumulate_cpu);
VM_CUDA_DECLARE(ones_cuda);
VM_CUDA_DECLARE(accumulate_cuda);

static vm_status infer_like(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node_out(g, n, VM_F32, x.nd, x.ne);
    return VM_OK;
}
static const vm_op ones = {
    .name = "ones", .infer = infer_like, .cpu = VM_CPU(ones_cpu), .cuda = VM_CUDA(ones_cuda), .no_grad = true
};

/* out = acc + in; acc is set by the caller */
static vm_status infer_accumulate(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node_out(g, n, (vm_type)n->i[0], x.nd, x.ne);
    return VM_OK;
}
static const vm_op accumulate = { .name = "accumulate",
                                  .infer = infer_accumulate,
                                  .cpu = VM_CPU(accumulate_cpu),
                                  .cuda = VM_CUDA(accumulate_cuda),
                                  .acc_outs = 1 };

/* --- questions of gradient rules --------------------------------------------------------------------------------- */
static vm_val canon(const vm_graph *g, vm_val v) { return g->v[v].orig; }

vm_val vm_grad(const vm_graph *g, vm_val v) { return v ? g->v[canon(g, v)].grad : 0; }
vm_val vm_dy(const vm_graph *g, const vm_node *n, int k) { return vm_grad(g, n->out[k]); }
bool vm_wants(const vm_graph *g, vm_val v) { return v && g->v[canon(g, v)].wants_grad; }

/* The storage value of a parameter's gradient; made (*fresh) at the first contribution. */
static vm_val grad_storage(vm_graph *g, vm_val w, bool *fresh) {
    *fresh = false;
    for (int64_t i = w + 1; i < g->n_v; i++)
        if (g->v[i].kind == VM_GRAD && g->v[i].param == g->v[w].param) return (vm_val)i;
    vm_param *p = g->v[w].param;
    if (!p->grad && !(p->grad = p->be->alloc(p->be, (size_t)vm_param_count(p) * sizeof(vm_real)))) {
        vm_nomem_on(p->be, &g->err, (size_t)vm_param_count(p) * sizeof(vm_real), "a gradient");
        return 0;
    }
    if (!vm_grow(&g->v, &g->cap_v, g->n_v + 1, sizeof *g->v)) return vm_nomem(&g->err, sizeof *g->v, "the graph"), 0;
    vm_val v = (vm_val)g->n_v++;
    g->v[v] = g->v[w];
    g->v[v].kind = VM_GRAD, g->v[v].type = VM_F32, g->v[v].root = g->v[v].orig = v, g->v[v].grad = 0, g->v[v].node = -1;
    *fresh = true;
    return v;
}

/* Whether v is some value's gradient already: a rule that passes dy on hands out such a one. */
static bool passed_on(const vm_graph *g, vm_val v) {
    for (int64_t i = 1; i < g->n_v; i++)
        if (g->v[i].grad == v) return true;
    return false;
}

/* Whether dv may turn into a sum with `onto`: it is of this backward pass, nobody has read it, onto is older. */
static bool may_sum(const vm_graph *g, vm_val dv, vm_val onto) {
    int at = g->v[dv].node;
    if (at < g->back_from || g->v[onto].node >= at || g->v[dv].is_output || passed_on(g, dv)) return false;
    for (int64_t i = at + 1; i < g->n_n; i++)
        for (int k = 0; k < g->n[i].n_in; k++)
            if (g->n[i].in[k] == dv) return false;
    return true;
}

/* Makes output k of dv's node a sum onto `onto`, or appends an accumulate node. Returns the summed value. */
static vm_val sum_onto(vm_graph *g, vm_val dv, vm_val onto, bool first) {
    vm_node *n = may_sum(g, dv, onto) ? &g->n[g->v[dv].node] : NULL;
    for (int k = 0; n && k < n->n_out; k++)
        if (n->out[k] == dv && (n->op->acc_outs >> k & 1) && !n->acc[k] && g->v[dv].type == g->v[onto].type) {
            n->acc[k] = onto, n->acc_first[k] = first;
            return dv;
        }
    n = vm_append(g, &accumulate, 1, &dv, &(vm_node){ .i = { g->v[onto].type } });
    if (!n) return 0;
    n->acc[0] = onto, n->acc_first[0] = first;
    return n->out[0];
}

void vm_add_grad(vm_graph *g, vm_val v, vm_val dv) {
    if (!v || !dv || !vm_wants(g, v)) return;
    v = canon(g, v);
    if (vm_count(g, v) != vm_count(g, dv)) {
        char a[64], b[64];
        vm_bad(g, "a gradient %s for a value %s", vm_shape_text(g, dv, a), vm_shape_text(g, v, b));
        return;
    }
    vm_value as = g->v[v];
    if (as.kind != VM_PARAM && !vm_same_shape(g, v, dv)) dv = vm_reshape(g, dv, as.nd, as.ne); /* axes of 1 more or less */
    vm_val old = g->v[v].grad;
    if (g->v[v].kind == VM_PARAM) {
        bool first;
        vm_val store = grad_storage(g, v, &first);
        if (store && sum_onto(g, dv, store, first)) g->v[v].grad = store;
    } else if (!old) {
        g->v[v].grad = dv;
    } else {
        bool wider = g->v[old].type != VM_F32 && g->v[dv].type == VM_F32; /* the wider one holds the sum */
        vm_val sum = wider ? sum_onto(g, old, dv, false) : sum_onto(g, dv, old, false);
        g->v[v].grad = sum; /* summing may have moved g->v */
    }
}

/* --- recomputation ----------------------------------------------------------------------------------------------- */
void vm_checkpoint_begin(vm_graph *g) {
    if (g->segment) vm_bad(g, "checkpoint segments do not nest");
    g->segment = ++g->n_segments;
}
void vm_checkpoint_end(vm_graph *g) { g->segment = 0; }

/* Appends clones of the nodes of a segment; clone[v] is the value that repeats v. */
static bool clone_segment(vm_graph *g, int segment, int64_t n_fwd, vm_val *clone) {
    for (int64_t i = 0; i < n_fwd; i++) {
        if (g->n[i].segment != segment) continue;
        vm_node o = g->n[i];
        if (o.op->stateful)
            return vm_bad(g, "%s writes state and may not stand in a checkpoint segment", o.op->name), false;
        vm_val in[VM_MAX_IN];
        for (int k = 0; k < o.n_in; k++) in[k] = clone[o.in[k]] ? clone[o.in[k]] : o.in[k];
        vm_node *c = vm_append(g, o.op, o.n_in, in, &o);
        if (!c) return false;
        c->key = o.key, c->label = o.label;
        for (int k = 0; k < o.n_out; k++) clone[o.out[k]] = c->out[k], g->v[c->out[k]].orig = canon(g, o.out[k]);
    }
    return true;
}

/* --- the walk ---------------------------------------------------------------------------------------------------- */
static void mark_wanted(vm_graph *g, int n_wrt, const vm_val *wrt) {
    for (int64_t v = 1; v < g->n_v; v++) {
        g->v[v].wants_grad = !wrt && g->v[v].kind == VM_PARAM && g->v[v].param->trainable;
        g->v[v].grad = 0;
    }
    for (int k = 0; k < n_wrt; k++)
        if (wrt[k]) g->v[wrt[k]].wants_grad = true;
    for (int64_t i = 0; i < g->n_n; i++) {
        const vm_node *n = &g->n[i];
        bool any = false;
        for (int k = 0; k < n->n_in; k++) any |= n->in[k] && g->v[n->in[k]].wants_grad;
        for (int k = 0; any && !n->op->no_grad && k < n->n_out; k++) {
            vm_type t = g->v[n->out[k]].type;
            g->v[n->out[k]].wants_grad = t == VM_F32 || t == VM_BF16 || t == VM_F16;
        }
    }
}

void vm_backward(vm_graph *g, int n, const vm_val *outputs, const vm_val *seeds, int n_wrt, const vm_val *wrt) {
    if (g->err.status) return;
    if (g->segment) {
        vm_bad(g, "a checkpoint segment is still open at the backward pass");
        return;
    }
    g->back_from = g->n_n;
    int64_t n_fwd = g->n_n, n_v = g->n_v;
    vm_val *clone = vm_calloc((size_t)n_v, sizeof *clone);
    bool *cloned = vm_calloc((size_t)g->n_segments + 1, sizeof *cloned);
    if (!clone || !cloned) {
        vm_nomem(&g->err, (size_t)n_v * sizeof *clone, "the backward pass");
        goto done;
    }
    mark_wanted(g, n_wrt, wrt);
    for (int k = 0; k < n; k++) {
        if (!outputs[k]) goto done;
        vm_val seed = seeds && seeds[k] ? seeds[k] : vm_append1(g, &ones, 1, &outputs[k], NULL);
        vm_add_grad(g, outputs[k], seed);
    }
    for (int64_t i = n_fwd - 1; i >= 0 && !g->err.status; i--) {
        vm_node node = g->n[i];
        bool reached = false;
        for (int k = 0; k < node.n_out; k++) reached |= vm_wants(g, node.out[k]) && vm_grad(g, node.out[k]);
        if (!reached) continue;
        g->scope = node.label;
        if (!node.op->grad) {
            vm_bad(g, "op %s has no gradient rule", node.op->name);
            break;
        }
        if (node.segment && !cloned[node.segment]) {
            cloned[node.segment] = true;
            if (!clone_segment(g, node.segment, n_fwd, clone)) break;
        }
        if (node.segment) {
            for (int k = 0; k < node.n_in; k++)
                if (node.in[k] && clone[node.in[k]]) node.in[k] = clone[node.in[k]];
            for (int k = 0; k < node.n_out; k++) node.out[k] = clone[node.out[k]];
        }
        node.op->grad(g, &node);
    }
    g->scope = NULL;
done:
    vm_free(clone);
    vm_free(cloned);
}
