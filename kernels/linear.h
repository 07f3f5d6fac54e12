/* linear.h - what other op files need of linear.c. */
#ifndef VM_LINEAR_H
#define VM_LINEAR_H
#include "kernels/graph.h"

vm_val vm_column_sums(vm_graph *g, vm_val dy); /* dy (...,N) -> (N) f32: the gradient of a bias */

#endif
