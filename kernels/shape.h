/* shape.h - how the kernels of shape.c see their tensors. */
#ifndef VM_SHAPE_H
#define VM_SHAPE_H
#include "kernels/graph.h"

/* x as outer x axis x inner */
static inline void vm_extents(const vm_value *x, int64_t axis, int64_t *outer, int64_t *inner) {
    *outer = *inner = 1;
    for (int k = 0; k < x->nd; k++) *(k < axis ? outer : inner) *= k == axis ? 1 : x->ne[k];
}

/* A permutation as a walk over the axes of y: size, stride in x, stride in y of each. */
typedef struct {
    int nd;
    int64_t ne[VM_AXES], from[VM_AXES], to[VM_AXES];
} vm_walk;

/* Axes of one entry are left out, those that stay neighbours joined. */
static inline vm_walk vm_walk_of(const vm_value *x, const int64_t *axes) {
    vm_walk w;
    w.nd = 0;
    for (int k = 0; k < x->nd; k++) {
        int64_t stride = 1, n = x->ne[axes[k]];
        for (int a = (int)axes[k] + 1; a < x->nd; a++) stride *= x->ne[a];
        if (n == 1) continue;
        if (w.nd && w.from[w.nd - 1] == stride * n) w.nd--, n *= w.ne[w.nd];
        w.ne[w.nd] = n, w.from[w.nd++] = stride;
    }
    if (!w.nd) w.nd = 1, w.ne[0] = w.from[0] = 1;
    for (int64_t k = w.nd - 1, stride = 1; k >= 0; stride *= w.ne[k--]) w.to[k] = stride;
    return w;
}

#endif
