/* infer.h - checks that the shape inference of many ops shares. Each sets the graph's error by the op's name. */
#ifndef VM_INFER_H
#define VM_INFER_H
#include "kernels/graph.h"

static inline bool vm_is_float(vm_type t) { return t == VM_F32 || t == VM_BF16 || t == VM_F16; }

/* Whether products of type t make results of type out: in f32 all do, else they stay in their type. f16 needs a device, on the
 * processor it is a type of storage. */
static inline bool vm_can_multiply(const vm_graph *g, vm_type t, vm_type out) {
    return (t == VM_F32 || t == VM_BF16 || (t == VM_F16 && g->be->device == VM_CUDA_DEV)) && (out == VM_F32 || out == t);
}
static inline const char *vm_f16_hint(const vm_graph *g, vm_type t) { /* the end of the sentence that refuses it */
    return t == VM_F16 && g->be->device != VM_CUDA_DEV ? " on this device; use --dtype bf16 or f32" : "";
}
/* in[k] is f32, bf16 or f16 and has at least one axis */
static inline bool vm_check_float(vm_graph *g, const vm_node *n, int k) {
    const vm_value *x = &g->v[n->in[k]];
    if (vm_is_float(x->type) && x->nd > 0) return true;
    char s[64];
    vm_bad(g, "%s: input %d is %s%s, a float tensor is needed", n->op->name, k, vm_type_name(x->type),
           vm_shape_text(g, n->in[k], s));
    return false;
}
/* in[k] has type t */
static inline bool vm_check_type(vm_graph *g, const vm_node *n, int k, vm_type t) {
    if (g->v[n->in[k]].type == t) return true;
    vm_bad(g, "%s: input %d is %s, %s is needed", n->op->name, k, vm_type_name(g->v[n->in[k]].type), vm_type_name(t));
    return false;
}
/* in[k] has n elements */
static inline bool vm_check_count(vm_graph *g, const vm_node *n, int k, int64_t count) {
    if (vm_count(g, n->in[k]) == count) return true;
    char s[64];
    vm_bad(g, "%s: input %d is %s, %lld entries are needed", n->op->name, k, vm_shape_text(g, n->in[k], s),
           (long long)count);
    return false;
}
/* One more output with the shape of v. */
static inline void vm_out_like(vm_graph *g, vm_node *n, vm_type t, vm_val v) {
    vm_value x = g->v[v];
    vm_node_out(g, n, t, x.nd, x.ne);
}

#endif
