/* pool.h - what the kernels of pool.c read from a node. */
#ifndef VM_POOL_H
#define VM_POOL_H
#include "kernels/ops.h"

vm_pool vm_pool_of(const vm_node *n);

#endif
