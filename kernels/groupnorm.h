/* groupnorm.h - sizes that groupnorm.c plans and its kernels walk. */
#ifndef VM_GROUPNORM_H
#define VM_GROUPNORM_H
#include "kernels/graph.h"

/* B pictures of P pixels with C channels, G groups of D channels. Pixels are walked in chunks, K forward and KB
 * backward: the forward pass keeps two numbers per chunk and group, the backward pass two per chunk and channel,
 * hence fewer chunks. */
typedef struct {
    int64_t B, P, C, G, D, K, KB;
} vm_groupnorm_shape;

static inline vm_groupnorm_shape vm_groupnorm_of(const vm_value *x, int64_t groups) {
    vm_groupnorm_shape s;
    s.B = x->ne[0], s.P = 1, s.C = x->ne[x->nd - 1], s.G = groups;
    for (int k = 1; k < x->nd - 1; k++) s.P *= x->ne[k];
    s.D = s.C / s.G;
    int64_t by_work = s.P * s.C / 8192;
    s.K = VM_MIN(s.P, VM_MAX((int64_t)1, VM_MIN(by_work, (int64_t)512)));
    s.KB = VM_MIN(s.K, VM_MAX((int64_t)1, VM_MIN(s.P / 32, (int64_t)256)));
    return s;
}

#endif
