/* pad.h - a box of zeros around a tensor, as few axes. */
#ifndef VM_PAD_H
#define VM_PAD_H
#include "kernels/both.h"
#include "kernels/graph.h"

/* Axis k has n[k] entries inside and all[k] with the padding, `before` of it in front. Axes without padding are
 * joined with the one before them, so that the last is as long a run as can be. Rows: everything but the last axis. */
typedef struct {
    int32_t nd;
    int64_t n[VM_AXES], before[VM_AXES], all[VM_AXES];
} vm_pad_box;

/* i: before of 6 axes, after of 6 axes; x: the tensor inside */
static inline vm_pad_box vm_pad_box_of(const vm_value *x, const int64_t *i) {
    vm_pad_box b;
    b.nd = 0;
    for (int k = 0; k < x->nd; k++) {
        bool padded = i[k] || i[VM_AXES + k];
        if (!padded && b.nd) { /* joins what stands before it */
            b.n[b.nd - 1] *= x->ne[k], b.before[b.nd - 1] *= x->ne[k], b.all[b.nd - 1] *= x->ne[k];
            continue;
        }
        b.n[b.nd] = x->ne[k], b.before[b.nd] = i[k], b.all[b.nd++] = x->ne[k] + i[k] + i[VM_AXES + k];
    }
    if (!b.nd) b.n[0] = b.all[0] = 1, b.before[0] = 0, b.nd = 1;
    return b;
}
VM_BOTH int64_t vm_pad_rows(const vm_pad_box *b, int outside) {
    int64_t r = 1;
    for (int32_t k = 0; k < b->nd - 1; k++) r *= outside ? b->all[k] : b->n[k];
    return r;
}
/* The row outside that holds row r inside */
VM_BOTH int64_t vm_pad_out(const vm_pad_box *b, int64_t r) {
    int64_t at = 0, step = 1;
    for (int32_t k = b->nd - 2; k >= 0; k--) {
        at += (r % b->n[k] + b->before[k]) * step;
        r /= b->n[k], step *= b->all[k];
    }
    return at;
}
/* The row inside that stands at row r outside, -1 in the padding */
VM_BOTH int64_t vm_pad_in(const vm_pad_box *b, int64_t r) {
    int64_t at = 0, step = 1;
    for (int32_t k = b->nd - 2; k >= 0; k--) {
        int64_t i = r % b->all[k] - b->before[k];
        if (i < 0 || i >= b->n[k]) return -1;
        at += i * step;
        r /= b->all[k], step *= b->n[k];
    }
    return at;
}

#endif
