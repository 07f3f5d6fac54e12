/* reduce.h - sums for gradient rules of other ops. */
#ifndef VM_REDUCE_H
#define VM_REDUCE_H
#include "kernels/ops.h"

/* scale * the sum of x over its repetitions of `like` (x's trailing part has like's entries): f32, like's shape. */
vm_val vm_sum_to(vm_graph *g, vm_val x, vm_val like, float scale);

#endif
